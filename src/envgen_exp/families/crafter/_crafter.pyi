"""The native Crafter engine, built from native/; `engine` is its Python side and the only one to call it.

Calls with wrong values raise EngineError or StateError, arrays of a wrong kind BufferError; then nothing has changed.
What fails in the middle of a call, in whichever thread, raises EngineFailure, or MemoryError where memory was missing;
from then on everything but `close` raises EngineFailure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

area: int
"""Cells of a world along each axis."""
chunk: int
"""Cells of a chunk along each axis."""
looks: list[str]
"""The textures of objects, in the order of their ids, from 1."""

_Arrays = tuple[NDArray[Any], ...]
"""An observation's arrays in the order of its spec."""
_Ended = tuple[int, int, float, bool, tuple[int, ...]]
"""An ended episode: slot, length, return, whether truncated, and how often each skill was shown."""

def kernels() -> str:
    """The inner loops in use: the best for this processor, or what ENVGEN_CRAFTER_KERNELS names."""

class Terrain:
    """A design as the world generator's numbers."""

    def __init__(
        self,
        *,
        designed: bool,
        mountain_absolute: bool,
        mountain_scale: float,
        water_scale: float,
        start_threshold: float,
        start_material: int,
        coal: float,
        iron: float,
        diamond: float,
        tree: float,
        ore_gate: float,
        zombie_distance: float,
        skeleton_distance: float,
    ) -> None: ...

class Rules:
    """The package's data.yaml."""

    def __init__(
        self,
        *,
        actions: Sequence[str],
        materials: Sequence[str],
        walkable: Sequence[str],
        items: Sequence[tuple[str, int, int]],
        collect: Mapping[str, tuple[Mapping[str, int], Mapping[str, int], float, str]],
        place: Mapping[str, tuple[Mapping[str, int], Sequence[str], str]],
        make: Mapping[str, tuple[Mapping[str, int], Sequence[str], int]],
        skills: Sequence[str],
    ) -> None: ...

class Art:
    """The pictures of all cells; arrays are flat, see native/render.h."""

    def __init__(
        self,
        *,
        rules: Rules,
        tiles: NDArray[np.uint8],
        nights: NDArray[np.uint16],
        items: NDArray[np.uint8],
        vignette: NDArray[np.float64],
    ) -> None: ...

class WorldMaker:
    """Makes worlds to look at, without a game."""

    def __init__(self, rules: Rules) -> None: ...
    def make(self, seed: int, terrain: Terrain, out: NDArray[np.uint8]) -> None:
        """A new world's materials and objects, written into (1, 2, 64, 64)."""

class Vector:
    """Many games and the threads that step them."""

    def __init__(
        self,
        *,
        rules: Rules,
        art: Art,
        daylight: NDArray[np.float64],
        symbolic: bool,
        num_slots: int,
        num_threads: int,
    ) -> None: ...
    def close(self) -> None: ...
    def plan(self, slot: int, seed: int, terrain: Terrain, items: Sequence[int], length: int) -> None: ...
    def reset(self, obs: _Arrays) -> None: ...
    def step(
        self,
        actions: NDArray[np.int64],
        obs: _Arrays,
        rewards: NDArray[np.float32],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        active: NDArray[np.bool_] | None,
        final_obs: _Arrays | None,
    ) -> list[_Ended]: ...
    def send(self, moves: Sequence[tuple[int, int]]) -> None: ...
    def receive(
        self,
        count: int,
        obs: _Arrays,
        rewards: NDArray[np.float32],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
    ) -> tuple[list[int], list[_Ended]]: ...
    def check(self, slot: int) -> None: ...
    def get_state(self, slot: int) -> bytes: ...
    def set_state(self, slot: int, state: bytes, length: int, episode_return: float) -> None: ...
    def episode_return(self, slot: int) -> float: ...
    def forget(self, slot: int) -> None: ...
    def numbers(
        self,
        inventory: NDArray[np.uint8],
        skills: NDArray[np.int32],
        positions: NDArray[np.int32],
        daylight: NDArray[np.float64],
    ) -> None: ...
    def maps(self, out: NDArray[np.uint8]) -> None: ...
    def semantic(self, out: NDArray[np.uint8]) -> None: ...
