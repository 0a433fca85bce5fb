"""The installed crafter package, for all of this folder: rules and textures come from here and from nowhere else.

The package imports gym where there is one, only to register itself, and gym then prints that it is unmaintained.
Crafter does without it, so it is hidden while the package loads; whoever has imported gym before is not disturbed.

It imports opensimplex too, and with it numba, which takes as long as all the rest; the native engine does without.
So opensimplex is replaced, for the package alone, by a stand-in that imports it when the package makes a world.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands in for a module, which is imported when something in it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


_stand_ins = {"gym": None, "opensimplex": _Later("opensimplex")}
_hidden = {name: module for name, module in _stand_ins.items() if name not in sys.modules}
sys.modules.update(_hidden)  # type: ignore[arg-type]
try:
    from crafter import constants, engine, env, objects, worldgen
finally:
    for _name in _hidden:
        del sys.modules[_name]

ACTIONS: tuple[str, ...] = tuple(constants.actions)
"""The 17 actions; an action is an index into this."""
MATERIALS: tuple[str, ...] = tuple(constants.materials)
"""The 12 materials; a material's id in the maps is its index + 1."""
ITEMS: tuple[str, ...] = tuple(constants.items)
"""The 16 items of the inventory, the four vital ones first."""
MOST: int = max(info["max"] for info in constants.items.values())
"""The inventory never holds more of an item."""
SKILLS: tuple[str, ...] = tuple(constants.achievements)
"""The 22 achievements, in the order of `VectorEnv.skills`."""
AREA = (64, 64)
"""Cells of a world, x and y."""
CHUNK = (12, 12)
"""Cells of the chunks in which the package balances the number of creatures."""

__all__ = [
    "ACTIONS",
    "AREA",
    "CHUNK",
    "ITEMS",
    "MATERIALS",
    "MOST",
    "SKILLS",
    "constants",
    "engine",
    "env",
    "objects",
    "worldgen",
]
