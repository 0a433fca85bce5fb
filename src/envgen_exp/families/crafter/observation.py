"""What an agent sees of Crafter, in one place for both engines: layouts, ids and specs.

`pixels`: the frame that crafter renders.

| key | shape | dtype | meaning |
|---|---|---|---|
| pixels | (64, 64, 3) | uint8 | rows, columns, RGB |

`symbolic`: the same 9 x 7 cells and the same inventory as numbers, with neither light nor noise. One seed is one game
in both observations: where a frame's night noise is drawn from the game's random stream, a symbolic observation takes
the same draws.

| key | shape | dtype | meaning |
|---|---|---|---|
| view | (2, 9, 7) | uint8 | [0, x, y] is the material's id, [1, x, y] the object's; x to the right, y downwards |
| inventory | (16,) | uint8 | counts in the order of `upstream.ITEMS`: health, food, drink, energy, things, tools |
| daylight | (1,) | float32 | 0 is the darkest, 1 the brightest |

The player stands at [:, 4, 3]. A material's id is that of the package, its index in `upstream.MATERIALS` + 1, and 0 is
outside the world. An object's id is its texture's index in `OBJECTS` + 1, and 0 is none: so it tells where the player
and arrows face, whether the player sleeps (as in a frame, a sleeper's facing is hidden) and whether a plant is ripe.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envgen_exp.config import Observe
from envgen_exp.families.crafter.upstream import ACTIONS, ITEMS, MATERIALS, MOST
from envgen_exp.families.symmetry import Symmetry
from envgen_exp.families.vector import ArraySpec

FRAME = (64, 64)
"""Rows and columns of a frame in pixels."""
GRID = (9, 9)
"""Cells of a frame, x and y: the view above, the inventory below."""
VIEW = (9, 7)
"""Cells of the world that are in view, x and y."""
UNIT = (7, 7)
"""Pixels of a cell."""
NIGHT_BELOW = 0.5
"""Frames with less daylight than this draw noise: one uniform for each of the view's 63 x 49 pixels."""

OBJECTS: tuple[str, ...] = (
    "player-left",
    "player-right",
    "player-up",
    "player-down",
    "player-sleep",
    "cow",
    "zombie",
    "skeleton",
    "arrow-left",
    "arrow-right",
    "arrow-up",
    "arrow-down",
    "plant",
    "plant-ripe",
)
"""Textures of objects; an object's symbolic id is its texture's index + 1."""

SYMMETRY = Symmetry(
    ACTIONS, {"view": (("outside", *MATERIALS), ("none", *OBJECTS))}, {"pixels": (UNIT[0], *VIEW, GRID[1])}
)
"""The rules don't change when the world is mirrored, three exceptions apart (tests/test_symmetry.py)."""

_SPECS: Mapping[Observe, Mapping[str, ArraySpec]] = {
    Observe.pixels: {"pixels": ArraySpec((*FRAME, 3), np.dtype(np.uint8), 0, 255)},
    Observe.symbolic: {
        "view": ArraySpec((2, *VIEW), np.dtype(np.uint8), 0, max(len(MATERIALS), len(OBJECTS))),
        "inventory": ArraySpec((len(ITEMS),), np.dtype(np.uint8), 0, MOST),
        "daylight": ArraySpec((1,), np.dtype(np.float32), 0, 1),
    },
}


def observation_spec(observe: Observe) -> Mapping[str, ArraySpec]:
    """The arrays of an observation by name."""
    return _SPECS[observe]
