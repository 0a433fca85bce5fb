"""What can be done in a world: which resources can be reached from the start, and so which skills can be shown.

The answer is optimistic: it ignores danger, time and the inventory's limit, so a skill that it calls impossible is
impossible, while one that it calls possible may still be hard. Costs and requirements are the package's data.yaml; the
cells that a chunk needs before creatures appear in it are those of `crafter.Env._balance_chunk`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.crafter.observation import OBJECTS
from envgen_exp.families.crafter.upstream import AREA, CHUNK, ITEMS, MATERIALS, SKILLS, constants

SOURCES: Mapping[str, str] = {
    item: material for material, info in constants.collect.items() for item in info["receive"]
}
"""The material that gives each item that can be collected."""

_ENDLESS = 10**6
_PLAYERS = np.array([False, *("player" in name for name in OBJECTS)])
"""Whether an object is the player, by its id."""
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
        region = np.zeros(AREA, np.bool_)
        region[tuple(np.argwhere(_PLAYERS[objects])[0])] = True
        tools = frozenset(item for item, amount in self._items.items() if amount)
        stones = False
        while True:
            # What can be reached with more tools holds what can be reached with fewer.
            region = _flood(_table(tools, stones, tuple(constants.walkable))[materials], region)
            near = np.bincount(materials[_spread(region)], minlength=len(MATERIALS) + 1)
            world = _World(materials, objects, region, near, self._supply(near, tools), tools, stones)
            lacking = {}
            for skill in SKILLS:
                lack = self._lack(skill, world)
                if lack:
                    lacking[skill] = lack
            found = frozenset(SKILLS) - lacking.keys()
            more = tools.union(skill.removeprefix("make_") for skill in found if skill.startswith("make_"))
            if (more, "place_stone" in found) == (tools, stones):
                return Reach(found, lacking)
            tools, stones = more, "place_stone" in found

    def _supply(self, counts: NDArray[np.intp], tools: frozenset[str]) -> dict[str, int]:
        """Units of each item that can be had, the starting ones included."""
        supply = dict(self._items)
        for item, material in SOURCES.items():
            info, cells = constants.collect[material], int(counts[MATERIALS.index(material) + 1])
            if cells and tools.issuperset(info["require"]):
                more = _ENDLESS if info["leaves"] == material else cells * info["receive"][item]
                supply[item] = supply.get(item, 0) + more
        return supply

    def _lack(self, skill: str, world: _World) -> str | None:
        """What is missing for a skill, or None if nothing is."""
        if skill in _SPAWNS:
            creature, material, cells = _SPAWNS[skill]
            here = (world.objects == OBJECTS.index(creature) + 1) & world.region
            if here.any() or _spawns(world.can_be(material)[world.materials], world.region, cells):
                return None
            return f"no {creature}"
        needed = self._bills[skill]
        if needed is None:
            return None
        for item, amount in needed.items.items():
            if world.supply.get(item, 0) < amount:
                source = SOURCES[item]
                return f"too little {source}" if world.near[MATERIALS.index(source) + 1] else f"no {source}"
        for wanted in needed.cells:
            if not world.near[world.can_be(*wanted)].any():
                return f"no {' or '.join(wanted)}"
        return None


@dataclass(frozen=True)
class _World:
    """A world with the tools that can be had in it, and whether stones can be placed."""

    materials: NDArray[np.uint8]
    objects: NDArray[np.uint8]
    region: NDArray[np.bool_]
    """The cells that the player can walk to."""
    near: NDArray[np.intp]
    """How many cells of each material are in the region or beside it, by the material's id."""
    supply: Mapping[str, int]
    tools: frozenset[str]
    stones: bool

    def can_be(self, *wanted: str) -> NDArray[np.bool_]:
        """Whether a cell of each material is or can become a wanted one, by the material's id."""
        return _table(self.tools, self.stones, wanted)


@functools.cache
def _table(tools: frozenset[str], stones: bool, wanted: tuple[str, ...]) -> NDArray[np.bool_]:
    """Whether a cell of each material is or can become a wanted one, by the material's id; 0 is none."""
    become = _become(tools, stones)
    return np.array([False, *(not become[material].isdisjoint(wanted) for material in MATERIALS)])


@functools.cache
def _become(tools: frozenset[str], stones: bool) -> dict[str, frozenset[str]]:
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


def _flood(walkable: NDArray[np.bool_], start: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells of `start`, and all that can be walked to from them, one step up, down or sideways at a time."""
    # Sets of cells as whole numbers, a bit for each: a step of all cells at once is four shifts.
    width = start.shape[1] + 1  # one cell that nobody can walk on keeps a row's end from the next row
    allowed, region, before = _bits(walkable | start), _bits(start), 0
    while region != before:
        before = region
        region |= (region << 1 | region >> 1 | region << width | region >> width) & allowed
    cells = np.frombuffer(region.to_bytes(-(-start.shape[0] * width // 8), "little"), np.uint8)
    grid = np.unpackbits(cells, count=start.shape[0] * width, bitorder="little").reshape(-1, width)
    return grid[:, :-1].astype(np.bool_)


def _bits(cells: NDArray[np.bool_]) -> int:
    """A bit for each cell, row by row, with one that is 0 after every row."""
    return int.from_bytes(np.packbits(np.pad(cells, ((0, 0), (0, 1))), bitorder="little").tobytes(), "little")


def _spread(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region and the cells that share a side with it."""
    near = region.copy()
    near[1:] |= region[:-1]
    near[:-1] |= region[1:]
    near[:, 1:] |= region[:, :-1]
    near[:, :-1] |= region[:, 1:]
    return near


def _spawns(cells: NDArray[np.bool_], region: NDArray[np.bool_], needed: int) -> bool:
    """Whether creatures can appear within reach: in a chunk with as many cells as needed, one of them in the region."""
    there = cells & region
    return bool(((_per_chunk(cells) >= needed) & (_per_chunk(there) > 0)).any())


def _per_chunk(cells: NDArray[np.bool_]) -> NDArray[np.intp]:
    """How many cells of each chunk are set; the chunks at the far edges are smaller."""
    rows: NDArray[np.intp] = np.add.reduceat(cells, range(0, AREA[0], CHUNK[0]), axis=0, dtype=np.intp)
    return np.add.reduceat(rows, range(0, AREA[1], CHUNK[1]), axis=1)
