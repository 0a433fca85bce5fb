"""Levels for designs, built at random from a seed and proven solvable."""

from __future__ import annotations

import functools
import math
import random
from collections import deque
from collections.abc import Collection, Sequence
from typing import TypeVar

from envgen_exp.errors import DesignError
from envgen_exp.families.design import Design
from envgen_exp.families.heist.design import Plan, contradiction, plan
from envgen_exp.families.heist.levels import Cell, Level, needless, solve

TRIES = 300
"""Mazes that are tried for one level before its design is refused."""

STEPS_PER_CELL = 2.5
"""Steps of the game that a walk takes for each of its cells, with room to spare: straight on at full speed 1.63."""

SPARE_STEPS = 10
"""Steps that a walk takes on top."""


def build(design: Design, seed: int) -> Level:
    """The level of a design with this seed; DesignError says why there is none.

    Mazes are drawn until one allows all that the design asks for, TRIES at most. The level has been solved, and every
    lock of it blocks.
    """
    wanted = plan(design)
    if why := contradiction(wanted):
        raise DesignError(f"no level can be like this: {why}")
    chance = random.Random(seed)
    misfits: dict[str, list[tuple[int, ...]]] = {}
    for _ in range(TRIES):
        try:
            return _draw(wanted, chance)
        except _MisfitError as misfit:
            misfits.setdefault(misfit.why, []).append(misfit.numbers)
    reasons = [
        f"{len(numbers)} x {why.format(*_least_and_most(numbers))}"
        for why, numbers in sorted(misfits.items(), key=lambda reason: -len(reason[1]))
    ]
    raise DesignError(
        f"none of {TRIES} mazes of {wanted.maze_size}x{wanted.maze_size} cells fits: {'; '.join(reasons)}"
    )


class _MisfitError(Exception):
    """A maze in which the level can't be made; `why` has places for the least and the most of the numbers."""

    def __init__(self, why: str, *numbers: int) -> None:
        super().__init__(why)
        self.why = why
        self.numbers = numbers


def _least_and_most(numbers: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    every = [number for some in numbers for number in some]
    return (min(every), max(every)) if every else ()


def _draw(plan: Plan, chance: random.Random) -> Level:
    """One maze with everything in it, or _MisfitError."""
    size = plan.maze_size
    neighbours, _ = _lattice(size)
    free = _maze(size, chance)
    locks = _lock_cells(free, neighbours, plan.num_locks, chance)
    starts = [c for c, is_free in enumerate(free) if is_free and c not in locks and locks.isdisjoint(neighbours[c])]
    if not starts:
        raise _MisfitError("there is no start away from the locks")
    start = _pick(starts, chance)
    chain, part = _parts(free, neighbours, start, locks, chance)
    _remove_walls(free, part, neighbours, plan.walls_removed, chance)

    def places(number: int) -> list[int]:
        return [cell for cell, its in enumerate(part) if its == number and cell != start]

    keys = {}
    for key in plan.to_fetch:
        if not (cells := places(key)):
            raise _MisfitError(f"there is no place for key {key + 1}")
        keys[key] = _pick(cells, chance)
    distances = _distances(free, neighbours, start)
    least, most = plan.gem_distance
    cells = [cell for cell in places(plan.num_locks) if cell not in keys.values()]
    fitting = [cell for cell in cells if least <= distances[cell] <= most]
    if not fitting:
        if not cells:
            raise _MisfitError("there is no place for the gem")
        raise _MisfitError("the gem could only be {} to {} cells away", *(distances[cell] for cell in cells))
    gem = _pick(fitting, chance)

    dx, dy = (int(chance.random() * (plan.world_size - size + 1)) for _ in range(2))

    def cell(index: int) -> Cell:
        return index % size + dx, index // size + dy

    level = Level(
        size=plan.world_size,
        free=frozenset(cell(index) for index, is_free in enumerate(free) if is_free),
        start=cell(start),
        keys={key: cell(index) for key, index in keys.items()},
        locks={lock: cell(chain[lock]) for lock in plan.shut},
        held=frozenset(plan.shut) - frozenset(plan.to_fetch),
        num_locks=plan.num_locks,
        gem=cell(gem),
    )
    walk = solve(level)
    if walk is None or needless(level):
        raise _MisfitError("the gem could be had without opening every lock")
    if (steps := steps_needed(walk)) > plan.timeout:
        raise _MisfitError("a solution may take {} to {} steps", steps)
    return level


def steps_needed(walk: Sequence[Cell]) -> int:
    """Steps of the game in which a player who knows the walk is through with it."""
    return math.ceil(STEPS_PER_CELL * (len(walk) - 1)) + SPARE_STEPS


@functools.cache
def _lattice(size: int) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, int, int], ...]]:
    """For a maze of size x size cells, index y * size + x: each cell's neighbours, and the walls between rooms.

    A wall is its own cell and the two rooms beside it. Rooms have even x and y.
    """

    def index(x: int, y: int) -> int:
        return y * size + x

    neighbours = tuple(
        tuple(
            index(x + dx, y + dy)
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
            if 0 <= x + dx < size and 0 <= y + dy < size
        )
        for y in range(size)
        for x in range(size)
    )
    across = [(index(x, y), index(x - 1, y), index(x + 1, y)) for y in range(0, size, 2) for x in range(1, size, 2)]
    up = [(index(x, y), index(x, y - 1), index(x, y + 1)) for y in range(1, size, 2) for x in range(0, size, 2)]
    return neighbours, tuple(across + up)


_Neighbours = Sequence[Sequence[int]]


def _maze(size: int, chance: random.Random) -> list[bool]:
    """Whether each cell is free in a maze with one way between any two places: a random spanning tree of the rooms.

    As in stock procgen, walls are tried in random order and removed where they part rooms that nothing joins yet.
    """
    _, walls = _lattice(size)
    free = [index // size % 2 == index % size % 2 == 0 for index in range(size * size)]
    root = list(range(size * size))

    def find(room: int) -> int:
        while root[room] != room:
            root[room] = room = root[root[room]]
        return room

    for wall, one, other in _shuffled(walls, chance):
        a, b = find(one), find(other)
        if a != b:
            root[a] = b
            free[wall] = True
    return free


def _lock_cells(free: Sequence[bool], neighbours: _Neighbours, count: int, chance: random.Random) -> set[int]:
    """Where locks go: as in stock at forks; where there are too few, at other cells with two sides."""
    forks: list[int] = []
    others: list[int] = []
    for cell, is_free in enumerate(free):
        sides = sum(free[near] for near in neighbours[cell]) if is_free else 0
        if sides > 1:
            (forks if sides > 2 else others).append(cell)
    chosen = _shuffled(forks, chance)[:count]
    chosen += _shuffled(others, chance)[: count - len(chosen)]
    if len(chosen) < count:
        raise _MisfitError("there is no room for the locks")
    return set(chosen)


def _parts(
    free: Sequence[bool], neighbours: _Neighbours, start: int, locks: Collection[int], chance: random.Random
) -> tuple[list[int], list[int]]:
    """The locks' order, and of each cell the number of locks that must be open before it can be reached.

    The next lock is any one that can be touched once those before it are open. Walls and locks have part -1.
    """
    part = [-1] * len(free)
    part[start] = 0
    chain: list[int] = []
    touched: list[int] = []
    source = start
    while True:
        number = len(chain)
        stack = [source]
        while stack:
            for near in neighbours[stack.pop()]:
                if near in locks:
                    if near not in touched and near not in chain:
                        touched.append(near)
                elif free[near] and part[near] < 0:
                    part[near] = number
                    stack.append(near)
        if not touched:
            return chain, part
        source = touched.pop(int(chance.random() * len(touched)))
        chain.append(source)


def _remove_walls(
    free: list[bool], part: list[int], neighbours: _Neighbours, share: float, chance: random.Random
) -> None:
    """Free a share of the walls inside the maze, but none that touches a lock or parts two parts of the chain.

    A wall with walls on all sides waits until one of them is gone.
    """
    walls = [cell for cell, is_free in enumerate(free) if not is_free]
    waiting = _shuffled(walls, chance)[: round(share * len(walls))]
    while waiting:
        left = []
        for wall in waiting:
            sides = {part[near] for near in neighbours[wall] if free[near]}
            if len(sides) == 1 and -1 not in sides:
                free[wall], part[wall] = True, sides.pop()
            elif not sides:
                left.append(wall)
        if len(left) == len(waiting):
            return
        waiting = left


def _distances(free: Sequence[bool], neighbours: _Neighbours, start: int) -> dict[int, int]:
    """How many cells of walking each free cell is from the start, locks aside."""
    distances = {start: 0}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for near in neighbours[cell]:
            if free[near] and near not in distances:
                distances[near] = distances[cell] + 1
                queue.append(near)
    return distances


# Only `random()` is drawn from: its numbers are the same in every version of Python.


def _pick(items: Sequence[int], chance: random.Random) -> int:
    return items[int(chance.random() * len(items))]


_T = TypeVar("_T")


def _shuffled(items: Sequence[_T], chance: random.Random) -> list[_T]:
    return sorted(items, key=lambda _: chance.random())
