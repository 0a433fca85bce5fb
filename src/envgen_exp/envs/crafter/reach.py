"""What can be done in a world: which resources can be reached from the start, and so which skills can be shown.

The answer is optimistic: it ignores danger, time and the inventory's limit, so a skill that it calls impossible is
impossible, while one that it calls possible may still be hard. Costs and requirements are the package's data.yaml; the
cells that a chunk needs before creatures appear in it are those of `crafter.Env._balance_chunk`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from envgen_exp.envs.crafter.observation import OBJECTS
from envgen_exp.envs.crafter.upstream import AREA, CHUNK, ITEMS, MATERIALS, SKILLS, constants

SOURCES: Mapping[str, str] = {
    item: material for material, info in constants.collect.items() for item in info["receive"]
}
"""The material that gives each item that can be collected."""

_ENDLESS = 10**6
_SPAWNS: Mapping[str, tuple[str, str, int]] = {
    "eat_cow": ("cow", "grass", 30),
    "defeat_zombie": ("zombie", "grass", 50),
    "defeat_skeleton": ("skeleton", "path", 6),
}
"""The creature of a skill, and how many cells of which material a chunk needs before more of them appear there."""


@dataclass(frozen=True)
class Bill:
    """What showing one skill takes at least."""

    items: Mapping[str, int]
    """Units of each item that are used up, be they starting ones."""
    cells: tuple[tuple[str, ...], ...]
    """For each of these, a cell of one of its materials must be there, to collect it or to place something there."""


@dataclass(frozen=True)
class Reach:
    """What one world allows."""

    possible: frozenset[str]
    lacking: Mapping[str, str]
    """For each impossible skill what the world lacks for it, e.g. 'no water'."""


def bill(skill: str, items: Mapping[str, int]) -> Bill | None:
    """What `skill` takes for a player who starts with `items`; None for a skill that takes no items."""
    verb, _, name = skill.partition("_")
    needs: Counter[str] = Counter()
    cells: list[tuple[str, ...]] = []
    made: list[str] = []

    def craft(verb: str, name: str) -> None:
        if name in made:
            return
        made.append(name)
        info = getattr(constants, verb)[name]
        needs.update(info["uses"])
        if verb == "place":
            cells.append(tuple(info["where"]))
        for station in info.get("nearby", ()):
            craft("place", station)

    def equip(material: str) -> None:
        for tool in constants.collect[material]["require"]:
            if not items.get(tool):
                craft("make", tool)

    if verb == "collect":
        cells.append((SOURCES[name],))
        equip(SOURCES[name])
    elif verb in ("place", "make"):
        craft(verb, name)
    elif skill == "eat_plant":
        craft("place", "plant")
    else:
        return None
    before = None
    while needs != before:
        before = needs.copy()
        for item in before:
            if before[item] > items.get(item, 0):
                equip(SOURCES[item])
    return Bill({item: needs[item] for item in ITEMS if needs[item]}, tuple(cells))


class Explorer:
    """Says what worlds allow a player who starts with the same items in all of them."""

    def __init__(self, items: Mapping[str, int]) -> None:
        self._items = items
        self._bills = {skill: bill(skill, items) for skill in SKILLS}

    def explore(self, maps: NDArray[np.uint8]) -> Reach:
        """What a world allows that is given in the ids of a symbolic view, (2, 64, 64)."""
        materials, objects = maps
        start = tuple(np.argwhere(np.isin(objects, [i + 1 for i, name in enumerate(OBJECTS) if "player" in name]))[0])
        tools = {item for item, amount in self._items.items() if amount}
        possible: frozenset[str] = frozenset()
        while True:
            become = _become(tools, "place_stone" in possible)
            walkable = _cells(materials, become, constants.walkable)
            walkable[start] = True
            labels, _ = ndimage.label(walkable)
            region = labels == labels[start]
            near = ndimage.binary_dilation(region)
            supply = self._supply(np.bincount(materials[near], minlength=len(MATERIALS) + 1), tools)
            lacking = {}
            for skill in SKILLS:
                lack = self._lack(skill, materials, objects, region, near, supply, become)
                if lack:
                    lacking[skill] = lack
            found = frozenset(SKILLS) - lacking.keys()
            if found == possible:
                return Reach(possible, lacking)
            possible = found
            tools |= {skill.removeprefix("make_") for skill in found if skill.startswith("make_")}

    def _supply(self, counts: NDArray[np.intp], tools: set[str]) -> dict[str, int]:
        """Units of each item that can be had, the starting ones included."""
        supply = dict(self._items)
        for item, material in SOURCES.items():
            info, cells = constants.collect[material], int(counts[MATERIALS.index(material) + 1])
            if cells and tools.issuperset(info["require"]):
                more = _ENDLESS if info["leaves"] == material else cells * info["receive"][item]
                supply[item] = supply.get(item, 0) + more
        return supply

    def _lack(
        self,
        skill: str,
        materials: NDArray[np.uint8],
        objects: NDArray[np.uint8],
        region: NDArray[np.bool_],
        near: NDArray[np.bool_],
        supply: Mapping[str, int],
        become: Mapping[str, frozenset[str]],
    ) -> str | None:
        """What is missing for a skill, or None if nothing is."""
        if skill in _SPAWNS:
            creature, material, cells = _SPAWNS[skill]
            here = (objects == OBJECTS.index(creature) + 1) & region
            if here.any() or _spawns(_cells(materials, become, [material]), region, cells):
                return None
            return f"no {creature}"
        needed = self._bills[skill]
        if needed is None:
            return None
        for item, amount in needed.items.items():
            if supply.get(item, 0) < amount:
                source = SOURCES[item]
                few = materials[near] == MATERIALS.index(source) + 1
                return f"too little {source}" if few.any() else f"no {source}"
        for wanted in needed.cells:
            if not _cells(materials, become, wanted)[near].any():
                return f"no {' or '.join(wanted)}"
        return None


def _become(tools: set[str], stones: bool) -> dict[str, frozenset[str]]:
    """What a cell of each material can be turned into by collecting and, with `stones`, by placing stones."""
    become = {material: {material} for material in MATERIALS}
    for reached in become.values():
        fresh = set(reached)
        while fresh:
            material = fresh.pop()
            info = constants.collect.get(material)
            after = {info["leaves"]} if info and tools.issuperset(info["require"]) else set()
            if stones and material in constants.place["stone"]["where"]:
                after.add("stone")
            fresh |= after - reached
            reached |= after
    return {material: frozenset(reached) for material, reached in become.items()}


def _cells(
    materials: NDArray[np.uint8], become: Mapping[str, frozenset[str]], wanted: Sequence[str]
) -> NDArray[np.bool_]:
    """Which cells are of one of the wanted materials, or can be."""
    ids = [index + 1 for index, material in enumerate(MATERIALS) if become[material].intersection(wanted)]
    found: NDArray[np.bool_] = np.isin(materials, ids)
    return found


def _spawns(cells: NDArray[np.bool_], region: NDArray[np.bool_], needed: int) -> bool:
    """Whether creatures can appear within reach: in a chunk with as many cells as needed, one of them in the region."""
    for x in range(0, AREA[0], CHUNK[0]):
        for y in range(0, AREA[1], CHUNK[1]):
            chunk = cells[x : x + CHUNK[0], y : y + CHUNK[1]]
            if chunk.sum() >= needed and (chunk & region[x : x + CHUNK[0], y : y + CHUNK[1]]).any():
                return True
    return False
