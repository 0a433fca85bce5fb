"""Levels: what is where in a maze, how it is solved, and its state in procgen.

A cell is (x, y) with y up, as in procgen. A level's locks form a chain, as in the stock game: key k + 1 lies where lock
k lets one in, the gem where the last one does. So whoever has the gem has opened every lock and collected every key.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from envgen_exp.families.heist import procgen_state, settled
from envgen_exp.families.heist.settled import SafeState

Cell = tuple[int, int]

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


def read_level(game: procgen_state.Game) -> Level:
    """The level of a state of procgen's; keys and the gem count as lying in the cell of their middle."""
    cells = [(int(row["x"]), int(row["y"])) for row in game.entities]
    kinds, themes = game.entities["type"].tolist(), game.entities["image_theme"].tolist()

    def of(kind: int) -> dict[int, Cell]:
        return {theme: cell for k, theme, cell in zip(kinds, themes, cells, strict=True) if k == kind}

    return Level(
        size=game.world_dim,
        free=frozenset((x, y) for y, x in np.argwhere(game.grid == procgen_state.SPACE).tolist()),
        start=cells[0],
        keys=of(procgen_state.KEY),
        locks=of(procgen_state.LOCK),
        held=frozenset(theme for theme, held in enumerate(game.has_keys) if held),
        num_locks=game.num_keys,
        gem=cells[kinds.index(procgen_state.GEM)],
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


def write_level(level: Level, seed: int, *, partial_view: bool = False) -> SafeState:
    """The level as a state of procgen's, with looks and ties as `seed` draws them."""
    chance = random.Random(seed + 2**32)

    def beside(cell: Cell) -> tuple[float, float]:
        return tuple(at + 0.5 + _JITTER * (2 * chance.random() - 1) for at in cell)  # type: ignore[return-value]

    def middle(cell: Cell) -> tuple[float, float]:
        return cell[0] + 0.5, cell[1] + 0.5

    things = [(cell, procgen_state.KEY, theme) for theme, cell in level.keys.items()]
    things += [(cell, procgen_state.LOCK, theme) for theme, cell in level.locks.items()]
    things.append((level.gem, procgen_state.GEM, 0))
    entities = [settled.entity(procgen_state.PLAYER, *middle(level.start))]
    for cell, kind, theme in sorted(things):
        entities.append(settled.entity(kind, *(middle if kind == procgen_state.LOCK else beside)(cell), theme=theme))
    entities += [
        settled.entity(procgen_state.RING_KEY, *settled.ring_place(theme), theme=theme)
        for theme in range(level.num_locks)
    ]
    # A generator's words may be any; short ones are read six times faster, which is most of what a new episode costs.
    words = [b"%d" % int(10 * chance.random()) for _ in range(procgen_state.MT_WORDS)]
    size = level.size
    grid = np.full((size, size), procgen_state.WALL, np.int32)
    for x, y in level.free:
        grid[y, x] = procgen_state.SPACE
    game = procgen_state.Game(
        options=settled.record("options", center_agent=partial_view),
        level_rng=procgen_state.Rng(1, b""),
        rng=procgen_state.Rng(1, b" ".join([*words, b"%d" % procgen_state.MT_WORDS])),
        episode=settled.record("episode", current_level_seed=seed, grid_size=size * size),
        entities=np.array(entities, procgen_state.ENTITY),
        misc=settled.record(
            "misc", background_index=int(chance.random() * procgen_state.NUM_BACKGROUNDS), bg_pct_x=chance.random()
        ),
        asset_rng=procgen_state.Rng(0, b""),
        view=settled.record(
            "view", main_width=size, main_height=size, visibility=_PARTIAL_VIEW if partial_view else size
        ),
        grid=grid,
        num_keys=level.num_locks,
        world_dim=size,
        has_keys=tuple(int(key in level.held) for key in range(level.num_locks)),
    )
    return settled.checked(procgen_state.write(game))
