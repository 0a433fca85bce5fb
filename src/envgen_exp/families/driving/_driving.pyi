from typing import Any

import numpy as np
from numpy.typing import NDArray

recipe: list[tuple[str, int]]
strata: list[str]
num_labels: int
inverse: int
metre: int

def describe(recipes: NDArray[np.int32], seed: int, other_look: bool) -> dict[str, Any]: ...

class Painter:
    def __init__(self, num_threads: int) -> None: ...
    def draw(
        self,
        *,
        recipes: NDArray[np.int32],
        which: NDArray[np.int32],
        seeds: NDArray[np.int64],
        other_look: bool,
        mirrored: bool,
        images: NDArray[np.uint8],
        labels: NDArray[np.float32],
        strata: NDArray[np.bool_],
        inverses: NDArray[np.int32] | None = None,
        ids: NDArray[np.uint8] | None = None,
    ) -> None: ...
