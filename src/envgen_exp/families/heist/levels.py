"""Levels for designs: built at random from a seed, proven solvable, and written as procgen's bytes.

A cell is (x, y) with y up, as in procgen. A level's locks form a chain, as in the stock game: key k + 1 lies where lock
k lets one in, the gem where the last one does. So whoever has the gem has opened every lock and collected every key.
"""

from __future__ import annotations

import contextlib
import functools
import math
import random
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from envgen_exp import seeding
from envgen_exp.errors import DesignError
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.heist import blob
from envgen_exp.families.heist.blob import SafeBlob
from envgen_exp.families.heist.design import Plan, contradiction, plan
from envgen_exp.seeding import WorldSet

Cell = tuple[int, int]

TRIES = 300
"""Mazes that are tried for one level before its design is refused."""

STEPS_PER_CELL = 2.5
"""Steps of the game that a walk takes for each of its cells, with room to spare: straight on at full speed 1.63."""

SPARE_STEPS = 10
"""Steps that a walk takes on top."""

_JITTER = 0.124
"""How far keys and the gem lie from the middle of their cell at most: a little less than in stock, so that nothing
touches a neighbouring cell, not even by rounding."""

_PARTIAL_VIEW = 8
"""Cells that a partial view is wide, as in stock's memory mode."""


@dataclass(frozen=True)
class Level:
    """Where everything is when an episode begins; keys and locks are numbered by their theme."""

    size: int
    """Cells that the world is wide and high."""
    free: frozenset[Cell]
    """Cells that are no wall; locks are among them."""
    start: Cell
    keys: dict[int, Cell]
    locks: dict[int, Cell]
    held: frozenset[int]
    """Keys that the player holds."""
    num_locks: int
    """Locks of the chain, those included that are gone from the start."""
    gem: Cell


def read_level(game: blob.Game) -> Level:
    """The level of a state of procgen's; keys and the gem count as lying in the cell of their middle."""
    cells = [(int(row["x"]), int(row["y"])) for row in game.entities]
    kinds, themes = game.entities["type"].tolist(), game.entities["image_theme"].tolist()

    def of(kind: int) -> dict[int, Cell]:
        return {theme: cell for k, theme, cell in zip(kinds, themes, cells, strict=True) if k == kind}

    return Level(
        size=game.world_dim,
        free=frozenset((x, y) for y, x in np.argwhere(game.grid == blob.SPACE).tolist()),
        start=cells[0],
        keys=of(blob.KEY),
        locks=of(blob.LOCK),
        held=frozenset(theme for theme, held in enumerate(game.has_keys) if held),
        num_locks=game.num_keys,
        gem=cells[kinds.index(blob.GEM)],
    )


def solve(level: Level, *, barred: Collection[int] = ()) -> list[Cell] | None:
    """A walk from the start to the gem that fetches each key before its lock, cell by cell; None if there is none.

    Locks in `barred` stay shut whatever the player holds.
    """
    walk, held = [level.start], set(level.held)
    while True:
        shut = {cell for lock, cell in level.locks.items() if lock not in held or lock in barred}
        ways = _ways(level, walk[-1], shut)
        if level.gem in ways:
            return walk + _way(ways, level.gem)
        near = [key for key, cell in level.keys.items() if key not in held and cell in ways]
        if not near:
            return None
        key = min(near, key=lambda key: (len(_way(ways, level.keys[key])), key))
        walk += _way(ways, level.keys[key])
        held.add(key)


def needless(level: Level) -> list[int]:
    """The locks without whose opening the gem can be had all the same."""
    return [lock for lock in level.locks if solve(level, barred=(lock,)) is not None]


def _ways(level: Level, start: Cell, shut: Collection[Cell]) -> dict[Cell, Cell]:
    """For each cell that can be reached, the one before it on a shortest way from `start`."""
    unseen = set(level.free).difference(shut, [start])
    before = {start: start}
    queue = deque([start])
    while queue:
        x, y = queue.popleft()
        for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if cell in unseen:
                unseen.remove(cell)
                before[cell] = (x, y)
                queue.append(cell)
    return before


def _way(ways: dict[Cell, Cell], goal: Cell) -> list[Cell]:
    way = []
    while ways[goal] != goal:
        way.append(goal)
        goal = ways[goal]
    return way[::-1]


# Building


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


# Writing


def write_level(level: Level, seed: int, *, partial_view: bool = False) -> SafeBlob:
    """The level as a state of procgen's, with looks and ties as `seed` draws them."""
    chance = random.Random(seed + 2**32)

    def beside(cell: Cell) -> tuple[float, float]:
        return tuple(at + 0.5 + _JITTER * (2 * chance.random() - 1) for at in cell)  # type: ignore[return-value]

    def middle(cell: Cell) -> tuple[float, float]:
        return cell[0] + 0.5, cell[1] + 0.5

    things = [(cell, blob.KEY, theme) for theme, cell in level.keys.items()]
    things += [(cell, blob.LOCK, theme) for theme, cell in level.locks.items()]
    things.append((level.gem, blob.GEM, 0))
    entities = [blob.entity(blob.PLAYER, *middle(level.start))]
    for cell, kind, theme in sorted(things):
        entities.append(blob.entity(kind, *(middle if kind == blob.LOCK else beside)(cell), theme=theme))
    entities += [blob.entity(blob.RING_KEY, *blob.ring_place(theme), theme=theme) for theme in range(level.num_locks)]
    # A generator's words may be any; short ones are read six times faster, which is most of what a new episode costs.
    words = [b"%d" % int(10 * chance.random()) for _ in range(blob.MT_WORDS)]
    size = level.size
    grid = np.full((size, size), blob.WALL, np.int32)
    for x, y in level.free:
        grid[y, x] = blob.SPACE
    game = blob.Game(
        options=blob.record("options", center_agent=partial_view),
        level_rng=blob.Rng(1, b""),
        rng=blob.Rng(1, b" ".join([*words, b"%d" % blob.MT_WORDS])),
        episode=blob.record("episode", current_level_seed=seed, grid_size=size * size),
        entities=np.array(entities, blob.ENTITY),
        misc=blob.record(
            "misc", background_index=int(chance.random() * blob.NUM_BACKGROUNDS), bg_pct_x=chance.random()
        ),
        asset_rng=blob.Rng(0, b""),
        view=blob.record("view", main_width=size, main_height=size, visibility=_PARTIAL_VIEW if partial_view else size),
        grid=grid,
        num_keys=level.num_locks,
        world_dim=size,
        has_keys=tuple(int(key in level.held) for key in range(level.num_locks)),
    )
    return blob.checked(blob.write(game))


# Choosing


@dataclass(frozen=True)
class Beginning:
    """What an episode begins with."""

    game: SafeBlob
    keys: frozenset[int]
    """Keys that lie in the maze."""
    locks: frozenset[int]
    """Locks that are shut."""


class Pool:
    """The levels that a design's episodes are played in, the same in every run: `size` for each set of worlds.

    A world's seed says by its remainder which set it is of (`seeding.WorldSet`), and so which levels it can be; the
    seeds of levels keep that remainder, so that no level of one set is in another.
    """

    def __init__(self, design: Design, size: int) -> None:
        self.design = design
        self.size = size
        self._partial_view = plan(design).partial_view
        self._built: dict[tuple[WorldSet, int], Beginning] = {}
        self._filled: set[WorldSet] = set()

    def fill(self, worlds: WorldSet) -> None:
        """Build all levels of a set that are not built yet; DesignError where one can't be built."""
        if worlds not in self._filled:
            for index in range(self.size):
                self._level(worlds, index)
            self._filled.add(worlds)

    def level(self, world_seed: int) -> Beginning:
        """The level of the world with this seed."""
        return self._level(*self._place(world_seed))

    def drawn(self, world_seed: int) -> Level:
        """The same as it was built, without procgen's bytes."""
        return self._draw(*self._place(world_seed))[0]

    def _place(self, world_seed: int) -> tuple[WorldSet, int]:
        number, worlds = divmod(world_seed, len(WorldSet))
        return WorldSet(worlds), number % self.size

    def _level(self, worlds: WorldSet, index: int) -> Beginning:
        if (worlds, index) not in self._built:
            level, seed = self._draw(worlds, index)
            game = write_level(level, seed, partial_view=self._partial_view)
            self._built[worlds, index] = Beginning(game, frozenset(level.keys), frozenset(level.locks))
        return self._built[worlds, index]

    def _draw(self, worlds: WorldSet, index: int) -> tuple[Level, int]:
        *seeds, last = level_seeds(self.design, worlds, index)
        for seed in seeds:
            with contextlib.suppress(DesignError):
                return build(self.design, seed), seed
        return build(self.design, last), last


_SEEDS = 8
"""Seeds that are tried for one level: a design that passed a check can still fail with some."""


def level_seeds(design: Design, worlds: WorldSet, index: int) -> list[int]:
    """The seeds of a design's level, of which the first one with which it can be built counts."""
    sets = len(WorldSet)
    drawn = seeding.integers(0, "heist", design_key(design), worlds.name, index, count=_SEEDS)
    return [seed // sets * sets + worlds for seed in drawn]
