"""Levels are as their designs say, can be solved, block where they have a lock, and are never in two sets."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from envgen_exp.errors import DesignError
from envgen_exp.families.design import Design
from envgen_exp.families.heist import procgen_state, stock
from envgen_exp.families.heist.building import build, steps_needed
from envgen_exp.families.heist.config import HeistMode
from envgen_exp.families.heist.design import LOCKS, VOCABULARY, HeistDesign, plan
from envgen_exp.families.heist.levels import Cell, Level, needless, read_level, solve, write_level
from envgen_exp.families.heist.pool import Pool, level_seeds
from envgen_exp.seeding import WorldSet, world_seed


def any_design() -> st.SearchStrategy[Design]:
    """Any design of the vocabulary, with numbers that more often fit together than not."""

    def value(name: str, low: int, high: int) -> st.SearchStrategy[int]:
        some = {"locks_open": (0, 1), "keys_held": (0, 1), "gem_distance_least": (1, 8), "timeout": (150, 1000)}
        return st.integers(*some.get(name, (low, high))) | st.integers(low, high)

    fields = {s.name: st.sampled_from(s.choices) if s.choices else value(s.name, s.low, s.high) for s in VOCABULARY}
    return st.builds(HeistDesign, **fields)


def test_a_level_is_as_its_design_says_or_refused_in_a_line() -> None:
    refusals: list[str] = []
    levels: list[Level] = []

    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(any_design(), st.integers(0, 2**31 - 2))
    def one(design: Design, seed: int) -> None:
        try:
            level = build(design, seed)
        except DesignError as error:
            refusals.append(str(error))
            return
        check_level(level, design, seed)
        levels.append(level)

    one()
    assert len(levels) > 50
    assert len(refusals) > 20
    assert all("\n" not in refusal and len(refusal) < 400 for refusal in refusals)


def check_level(level: Level, design: Design, seed: int) -> None:
    wanted = plan(design)
    assert level.size == max(wanted.world_size, wanted.maze_size)
    assert extent(level) <= wanted.maze_size
    assert set(level.locks) == set(range(wanted.locks_open, wanted.num_locks))
    assert set(level.keys) == set(range(wanted.locks_open + wanted.keys_held, wanted.num_locks))
    assert level.held == set(level.locks) - set(level.keys)
    assert len({level.start, level.gem, *level.keys.values(), *level.locks.values()}) == 2 + len(level.keys) + len(
        level.locks
    )
    least, most = wanted.gem_distance
    assert least <= distance(level, level.start, level.gem) <= most
    walk = solve(level)
    assert walk is not None
    assert obeys_the_rules(level, walk)
    assert steps_needed(walk) <= wanted.timeout
    for lock in level.locks:
        assert not reachable(level, without=lock)
    game = procgen_state.read(write_level(level, seed, partial_view=wanted.partial_view))
    assert read_level(game) == level
    assert game.options["center_agent"] == wanted.partial_view


def extent(level: Level) -> int:
    cells = np.array(list(level.free))
    return int((cells.max(axis=0) - cells.min(axis=0)).max()) + 1


def cells(level: Level, shut: Sequence[Cell] = ()) -> np.ndarray:
    grid = np.zeros((level.size, level.size), np.bool_)
    for cell in level.free:
        grid[cell] = cell not in shut
    return grid


def distance(level: Level, start: Cell, goal: Cell) -> int:
    """By growing a blot from the start until it covers the goal."""
    blot = np.zeros((level.size, level.size), np.bool_)
    blot[start] = True
    free = cells(level)
    for steps in range(level.size**2):
        if blot[goal]:
            return steps
        blot = ndimage.binary_dilation(blot) & free
    raise AssertionError("the goal can't be reached")


def reachable(level: Level, without: int) -> bool:
    """Whether the gem can be had although one lock stays shut: flood, take keys, open locks, until nothing changes."""
    held, opened = set(level.held), set[int]()
    while True:
        labels, _ = ndimage.label(cells(level, [cell for lock, cell in level.locks.items() if lock not in opened]))
        here = labels == labels[level.start]
        held |= {key for key, cell in level.keys.items() if here[cell]}
        near = ndimage.binary_dilation(here)
        more = {lock for lock in held if lock in level.locks and near[level.locks[lock]]} - opened - {without}
        if here[level.gem] or not more:
            return bool(here[level.gem])
        opened |= more


def obeys_the_rules(level: Level, walk: Sequence[Cell]) -> bool:
    """Whether a walk goes from cell to cell through the maze, enters locks with their keys alone, and takes the gem."""
    held = set(level.held)
    for before, (x, y) in zip([level.start, *walk], walk, strict=False):
        if abs(x - before[0]) + abs(y - before[1]) > 1 or (x, y) not in level.free:
            return False
        held |= {key for key, cell in level.keys.items() if cell == (x, y)}
        if any(cell == (x, y) and lock not in held for lock, cell in level.locks.items()):
            return False
    return walk[0] == level.start and walk[-1] == level.gem


@pytest.mark.parametrize("size", ["3x3", "9x9", "15x15"])
def test_without_removed_walls_a_maze_is_a_tree_as_in_stock(size: str) -> None:
    rooms = (int(size.partition("x")[0]) + 1) // 2
    shapes = set()
    for seed in range(60):
        level = build(HeistDesign(maze_size=size, locks="none"), seed)
        assert len(level.free) == 2 * rooms**2 - 1  # as many passages as a tree of the rooms has edges
        assert ndimage.label(cells(level))[1] == 1
        shapes.add(level.free)
    assert len(shapes) > (10 if rooms == 2 else 50)


@pytest.mark.parametrize("keys_held", [1, 2, 3])
def test_locks_whose_keys_are_held_lie_on_the_way_too(keys_held: int) -> None:
    """No key behind a lock makes one open it here: each has to stand between the player and what it needs."""
    for seed in range(25):
        level = build(HeistDesign(locks="three", keys_held=keys_held), seed)
        assert not any(reachable(level, without=lock) for lock in range(3))


def test_removed_walls_open_rooms_but_no_way_past_a_lock() -> None:
    free = []
    for percent in (0, 30, 60, 100):
        built = [build(HeistDesign(locks="two", walls_removed=percent), seed) for seed in range(20)]
        assert not any(needless(level) for level in built)
        free.append(np.mean([len(level.free) for level in built]))
    assert free == sorted(free)
    assert free[0] == 49
    assert free[-1] > 62
    bare = build(HeistDesign(locks="none", walls_removed=100, maze_size="9x9"), 1)
    assert len(bare.free) == 81


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"locks": "one", "keys_held": 2}, "keys_held=2, but 1 lock is shut"),
        ({"locks": "two", "locks_open": 2, "keys_held": 1}, "keys_held=1, but no locks are shut"),
        ({"locks": "none", "locks_open": 1}, "locks_open=1, but locks=none"),
        ({"gem_distance_least": 9, "gem_distance_most": 4}, "gem_distance_least=9 is more than gem_distance_most=4"),
        ({"locks": "three", "maze_size": "3x3"}, "there is no place for key"),
        ({"locks": "none", "gem_distance_least": 60}, "the gem could only be"),
        ({"locks": "three", "timeout": 20}, "a solution may take"),
    ],
)
def test_designs_that_cannot_be_met_are_refused_with_the_reason(settings: dict[str, str | int], reason: str) -> None:
    with pytest.raises(DesignError, match=reason) as error:
        build(HeistDesign(**settings), 0)
    assert "\n" not in str(error.value)


def test_levels_of_stock_are_chains_too() -> None:
    """What the engine concludes from a taken gem, and the solver, hold for procgen's own levels."""
    numbers: Counter[tuple[HeistMode, int]] = Counter()
    for mode in HeistMode:
        for seed in range(300):
            level = read_level(procgen_state.read(stock.generator(mode).level(seed).game))
            walk = solve(level)
            assert walk is not None
            assert obeys_the_rules(level, walk)
            assert needless(level) == []
            assert set(level.keys) == set(level.locks) == set(range(len(level.locks)))
            numbers[mode, len(level.locks)] += 1
    assert all(numbers[mode, number] > 15 for mode in HeistMode for number in range(len(LOCKS)))


def content(game: bytes) -> str:
    """What a level looks like, its number apart: everything that an agent could know it by."""
    state = procgen_state.read(game)
    parts = state.grid, state.entities, state.misc, state.view
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def test_no_level_of_one_set_is_in_another() -> None:
    """Checked on the levels themselves, for all modes of the original and for a design with few mazes."""
    generators = [stock.generator(mode).level for mode in HeistMode]
    generators.append(Pool(HeistDesign(maze_size="3x3", world_size=5, locks="none"), 200).level)
    for level in generators:
        seen = {
            worlds: {
                content(level(world_seed(seed, episode, worlds)).game) for seed in range(5) for episode in range(40)
            }
            for worlds in WorldSet
        }
        assert all(len(some) > 120 for some in seen.values())
        every = Counter(key for some in seen.values() for key in some)
        assert set(every.values()) == {1}


def test_seeds_of_levels_keep_to_their_set() -> None:
    for worlds in WorldSet:
        for index in range(50):
            assert {seed % len(WorldSet) for seed in level_seeds(HeistDesign(), worlds, index)} == {worlds}


def test_a_pool_is_finite_and_even() -> None:
    pool = Pool(HeistDesign(locks="none", maze_size="5x5"), 20)
    pool.fill(WorldSet.TRAIN)
    met = Counter(pool.level(world_seed(3, episode, WorldSet.TRAIN)).game for episode in range(1, 2001))
    assert len(met) == 20
    assert min(met.values()) > 50
    assert pool.level(8) is pool.level(8 + 20 * len(WorldSet))
