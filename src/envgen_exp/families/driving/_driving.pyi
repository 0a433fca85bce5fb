"""The native scene generator and rasteriser's names and types, built from native/driving/.

`painter` is its Python side and the only one to call it. Arrays that do not fit raise TypeError or ValueError; nothing
is drawn.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

recipe: list[tuple[str, int]]
"""The parts of a recipe and how many numbers each has, in the order of its row."""
strata: list[str]
num_labels: int
inverse: int
"""The inverse depth of what is 1/1024 m ahead."""
metre: int
"""Lengths are counted in this part of a metre."""

def describe(recipes: NDArray[np.int32], seed: int, other_look: bool) -> dict[str, Any]:
    """The scene of the first recipe and a seed, in numbers by the names of native/driving/scene.h; `things` is a list
    of such."""

class Painter:
    """Draws batches of frames with several threads."""

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
    def draw_scenes(
        self,
        *,
        scenes: list[dict[str, Any]],
        images: NDArray[np.uint8],
        labels: NDArray[np.float32],
        strata: NDArray[np.bool_],
    ) -> None:
        """Scenes as `describe` gives them, or others with the same names."""
