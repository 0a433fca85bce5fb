"""Pictures of a whole world, drawn off-screen with the package's textures: no light, no noise, no draw from a game."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import EngineError
from envgen_exp.families.crafter.observation import OBJECTS
from envgen_exp.families.crafter.upstream import AREA, MATERIALS, constants, engine


def draw_map(maps: NDArray[np.uint8], unit: int) -> NDArray[np.uint8]:
    """A world in the ids of a symbolic view, (2, 64, 64), as (64 * unit, 64 * unit, 3) uint8, rows before columns."""
    if not 1 <= unit <= 64:
        raise EngineError(f"unit: {unit} pixels a cell, allowed are 1 to 64")
    cells = _ground(unit)[maps[0] - 1]  # (64, 64, unit, unit, 3)
    canvas: NDArray[np.uint8] = cells.swapaxes(1, 2).reshape(AREA[0] * unit, AREA[1] * unit, 3)
    for x, y in np.argwhere(maps[1]):
        texture = _textures().get(OBJECTS[maps[1, x, y] - 1], (unit, unit))
        engine._draw_alpha(canvas, (x * unit, y * unit), texture)
    return canvas.transpose(1, 0, 2).copy()


@functools.cache
def _ground(unit: int) -> NDArray[np.uint8]:
    """The textures of all materials, (materials, unit, unit, 3)."""
    return np.stack([_textures().get(name, (unit, unit))[..., :3] for name in MATERIALS])


@functools.cache
def _textures() -> Any:
    return engine.Textures(constants.root / "assets")
