"""The vector engine against procgen itself: stock and solved levels, locks, time-outs, skills, states, the long run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from batch import Batch
from heist_player import Player, actions
from numpy.typing import NDArray

from envgen_exp.errors import StateError
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.heist import engine, procgen_state, settled, stock
from envgen_exp.families.heist.building import build, steps_needed
from envgen_exp.families.heist.config import HeistConfig, HeistMode
from envgen_exp.families.heist.design import HeistDesign
from envgen_exp.families.heist.family import HeistFamily
from envgen_exp.families.heist.levels import Cell, read_level, solve, write_level
from envgen_exp.families.heist.pool import Pool
from envgen_exp.families.heist.settled import SafeState
from envgen_exp.families.heist.state import decode, encode
from envgen_exp.families.heist.upstream import Games
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.seeding import WorldSet, world_seed

DESIGNS: tuple[Design, ...] = (
    HeistDesign(maze_size="3x3", world_size=5, locks="none"),
    HeistDesign(maze_size="5x5"),
    HeistDesign(maze_size="5x5", world_size=15, locks="two"),
    HeistDesign(maze_size="7x7", locks="two", locks_open=1),
    HeistDesign(maze_size="7x7", locks="three", keys_held=3),
    HeistDesign(locks="three"),
    HeistDesign(locks="three", locks_open=1, keys_held=1),
    HeistDesign(locks="two", walls_removed=100),
    HeistDesign(locks="two", view="partial", walls_removed=20),
    HeistDesign(locks="one", gem_distance_least=15, gem_distance_most=20, timeout=150),
    HeistDesign(locks="none", gem_distance_most=2, timeout=20),
    HeistDesign(maze_size="15x15", world_size=15, locks="three", walls_removed=30),
)
"""Every setting at several values; the smallest and the largest levels."""

FRESH = HeistConfig(pool_size=30, num_threads=1)


def vector(
    designs: Sequence[Design | None], seeds: Sequence[int] | None = None, config: HeistConfig = FRESH, **changes: object
) -> Batch:
    """A new environment with its buffers, in the worlds of training."""
    config = dataclasses.replace(config, **changes)  # type: ignore[arg-type]
    seeds = range(len(designs)) if seeds is None else seeds
    return Batch(HeistFamily(config).vector(designs, seeds, WorldSet.TRAIN))


def moves(steps: int, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Random actions that hold on to a direction, and so get about; some of them idle."""
    rng = np.random.default_rng(seed)
    fresh = rng.integers(0, 15, (steps, count))
    kept = rng.random((steps, count)) < 0.6
    for step in range(1, steps):
        fresh[step, kept[step]] = fresh[step - 1, kept[step]]
    return fresh


# The original


@pytest.mark.parametrize("mode", HeistMode, ids=lambda mode: mode.value)
def test_the_original_is_the_stock_game(mode: HeistMode) -> None:
    """Frames, rewards and ends of whole episodes, time-outs among them, beside procgen's own environments."""
    count, episodes = 3, 2
    batch = vector([None] * count, mode=mode).reset()
    twins = {}
    for slot in range(count):
        for episode in range(1, episodes + 1):
            seed = world_seed(slot, episode, WorldSet.TRAIN)
            twins[slot, episode] = stock_env(mode, seed)
    episode = [1] * count
    rows = moves(1100 * episodes, count, seed=3)
    timeouts = 0
    for slot in range(count):
        np.testing.assert_array_equal(batch.obs["pixels"][slot], twins[slot, 1].observe()[1]["rgb"][0])
    for row in rows:
        records = {record.slot: record for record in batch.step(row)}
        for slot in range(count):
            twin = twins.get((slot, episode[slot]))
            if twin is None:
                continue
            twin.act(row[slot : slot + 1])
            reward, seen, first = twin.observe()
            assert batch.rewards[slot] == reward[0]
            assert (slot in records) == first[0]
            if first[0]:
                assert records[slot].truncated == (not twin.get_info()[0]["prev_level_complete"])
                timeouts += records[slot].truncated
                episode[slot] += 1
                twin = twins.get((slot, episode[slot]))
                seen = None if twin is None else twin.observe()[1]
            if first[0] and twin is not None:
                assert decode(batch.env.get_state(slot)).game == settled.settle(procgen_state.read(twin.get_state()[0]))
            if seen is not None:
                np.testing.assert_array_equal(batch.obs["pixels"][slot], seen["rgb"][0])
        if min(episode) > episodes:
            break
    assert min(episode) > episodes
    assert timeouts


def stock_env(mode: HeistMode, seed: int):  # type: ignore[no-untyped-def]
    """procgen's own environment, which plays the level with this seed for ever."""
    from procgen import ProcgenGym3Env

    return ProcgenGym3Env(
        num=1,
        env_name="heist",
        distribution_mode=mode.value,
        start_level=seed,
        num_levels=1,
        num_threads=0,
        rand_seed=int(seed) % 1000,
    )


# Solving


def solve_levels(design: Design, count: int, together: int = 50) -> None:
    """Have the scripted player solve `count` levels of a design in the real game."""
    pool = Pool(design, count)
    games = Games(together)
    for start in range(0, count, together):
        numbers = [(start + slot) * len(WorldSet) for slot in range(together)]
        for slot, number in enumerate(numbers):
            games.put(slot, pool.level(number).game)
        walks = [solve(pool.drawn(number)) or [] for number in numbers]
        players = [Player(walk) for walk in walks]
        needed = [steps_needed(walk) for walk in walks]
        taken = np.zeros(together, np.bool_)
        for step in range(1, max(needed) + 1):
            games.act(actions(games, players, taken))
            assert (games.first == (games.rewards == 10)).all()
            assert (step <= np.array(needed))[games.first & ~taken].all()
            taken |= games.first
            if taken.all():
                break
        assert taken.all()


@pytest.mark.parametrize("design", DESIGNS, ids=design_key)
def test_fifty_levels_of_each_design_are_solved(design: Design) -> None:
    solve_levels(design, 50)


@pytest.mark.long
@pytest.mark.parametrize("design", DESIGNS, ids=design_key)
def test_a_thousand_levels_of_each_design_are_solved(design: Design) -> None:
    solve_levels(design, 1000)


def test_stock_levels_are_solved_too() -> None:
    games = Games(40)
    for mode in HeistMode:
        for slot in range(40):
            games.put(slot, stock.generator(mode).level(slot).game)
        players = [Player(solve(read_level(procgen_state.read(games.get(slot)))) or []) for slot in range(40)]
        taken = np.zeros(40, np.bool_)
        for _ in range(600):
            games.act(actions(games, players, taken))
            taken |= games.rewards == 10
            if taken.all():
                break
        assert taken.all()


# Locks


@pytest.mark.parametrize("theme", range(3))
def test_locks_block_without_their_key_and_open_with_it(theme: int) -> None:
    """A player walks through a lock: with all keys but its own it is held up in front of it, with all it is not."""
    games, tried = Games(2), 0
    for seed in range(20):
        level = build(HeistDesign(locks="three", locks_open=theme, maze_size="9x9"), seed)
        every = dataclasses.replace(level, keys={}, held=frozenset(range(3)))
        but_one = dataclasses.replace(every, held=every.held - {theme})
        walk = solve(every) or []
        if level.locks[theme] not in walk:
            continue  # of this lock only the key behind it matters
        tried += 1
        through = walk[: walk.index(level.locks[theme]) + 2]
        assert solve(but_one) is None
        for slot, one in enumerate((but_one, every)):
            games.put(slot, write_level(one, seed))
        players = [Player(through), Player(through)]
        for _ in range(steps_needed(through)):
            games.act(actions(games, players))
            if games.first.any():
                break  # the gem lies right behind the lock
        held_up = procgen_state.read(games.get(0))
        assert theme in held_up.themes(procgen_state.LOCK)
        assert cell_of(held_up) in through[:-2]
        if not games.first[1]:
            passed = procgen_state.read(games.get(1))
            assert theme not in passed.themes(procgen_state.LOCK)
            assert cell_of(passed) not in through[:-2]
    assert tried >= 8


def cell_of(state: procgen_state.Game) -> Cell:
    """The cell of the player's middle."""
    return int(state.entities[0]["x"]), int(state.entities[0]["y"])


# Time and skills


def test_time_runs_out_at_the_exact_step() -> None:
    small = HeistDesign(maze_size="5x5", locks="none", timeout=20)
    designs = [small, HeistDesign(locks="two", timeout=60, maze_size="5x5"), None]
    batch = vector(designs, designed_length=45, original_length=33).reset()
    lengths: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for row in moves(400, 3):
        for record in batch.step(row):
            assert record.truncated == (record.skills[-1] == 0)
            assert record.truncated == bool(batch.truncations[record.slot])
            assert record.episode_return == (0 if record.truncated else 10)
            if record.truncated:
                lengths[record.slot].add(record.length)
    assert lengths == {0: {20}, 1: {45}, 2: {33}}


def test_the_gem_in_the_last_step_counts_and_one_step_later_does_not() -> None:
    design = HeistDesign(maze_size="5x5", locks="one")
    for seed in range(6):
        probe = vector([design], [seed]).reset()
        record, played = play_out(probe, design)
        assert not record.truncated
        assert record.skills == (1, 0, 0, 1, 0, 0, 1)
        for limit in (record.length, record.length - 1):
            batch = vector([design], [seed], designed_length=limit).reset()
            ended = [other for row in played[:limit] for other in batch.step([row])]
            assert len(ended) == 1
            assert ended[0].truncated == (limit < record.length)
            assert ended[0].skills[-1] == (limit == record.length)
            assert bool(batch.terminations[0]) == (limit == record.length)
            assert batch.rewards[0] == (10 if limit == record.length else 0)


def play_out(batch: Batch, design: Design) -> tuple[EpisodeRecord, list[int]]:
    """Have the scripted player solve a slot's running level through the engine; its record, and what it did."""
    state = decode(batch.env.get_state(0))
    assert state.game is not None
    player = Player(solve(read_level(procgen_state.read(state.game))) or [])
    played = []
    for _ in range(500):
        game = decode(batch.env.get_state(0)).game
        assert game is not None
        row = procgen_state.read(game).entities[0]
        played.append(player.action((row["x"], row["y"]), (row["vx"], row["vy"])))
        if ended := batch.step(played[-1:]):
            assert ended[0].design == design_key(design)
            return ended[0], played
    raise AssertionError("not solved")


def test_skills_are_exact_to_the_last_step() -> None:
    """Each episode is played again in a game of procgen's, and what lies there after the last step is counted."""
    designs: list[Design | None] = [*DESIGNS, None, None, None, None]
    count, limit = len(designs), 70
    batch = vector(designs, designed_length=limit, original_length=limit).reset()
    games = Games(1)
    played: list[list[int]] = [[] for _ in designs]
    shown: Counter[tuple[int, ...]] = Counter()
    for step, row in enumerate(moves(1500, count, seed=5)):
        for slot, action in enumerate(row.tolist()):
            played[slot].append(action)
        so_far = batch.env.achievements() if step % 4 == 0 else None  # type: ignore[attr-defined]
        for record in batch.step(row):
            slot = record.slot
            games.put(0, beginning(designs[slot], record.world_seed))
            there = things(games)
            for action in played[slot][:-1]:
                games.act(action)
            before = things(games)
            assert so_far is None or so_far[slot].tolist() == [*((there - before)[thing] for thing in THINGS), 0]
            games.act(played[slot][-1])
            after = Counter() if games.first[0] else things(games)
            assert games.first[0] == (not record.truncated)
            assert record.truncated or not before
            assert record.length == len(played[slot])
            gone = there - after
            assert record.skills == (*(gone[thing] for thing in THINGS), int(not record.truncated))
            shown[record.skills] += 1
            played[slot].clear()
    assert len(shown) > 10
    assert sum(number for skills, number in shown.items() if skills[-1]) > 20


THINGS = [(kind, theme) for kind in (procgen_state.KEY, procgen_state.LOCK) for theme in range(3)]


def things(games: Games) -> Counter[tuple[int, int]]:
    """The keys and locks that are there in a game."""
    game = procgen_state.read(games.get(0))
    return Counter((kind, theme) for kind in (procgen_state.KEY, procgen_state.LOCK) for theme in game.themes(kind))


def beginning(design: Design | None, seed: int, config: HeistConfig = FRESH) -> SafeState:
    """The state with which an episode in this world begins."""
    if design is None:
        return stock.generator(config.mode).level(seed).game
    return Pool(design, config.pool_size).level(seed).game


def test_a_held_key_is_seen_on_its_pixel_in_every_view() -> None:
    """The engine reads a game that ran out of time only if one of these pixels shows a key."""
    games = Games(1)
    for seed in range(300):
        world = 5 + seed % 11
        partial = "partial" if seed % 2 else "whole"
        design = HeistDesign(locks="three", world_size=world, view=partial, maze_size="7x7", walls_removed=seed % 100)
        level = build(design, seed)
        for mask in range(8):
            held = frozenset(theme for theme in range(3) if mask >> theme & 1)
            games.put(0, write_level(dataclasses.replace(level, held=held), seed, partial_view=partial == "partial"))
            for theme, (row, column, colour) in enumerate(engine._RING_PIXELS):
                if theme in held:
                    assert tuple(games.frames[0, row, column]) == colour
    rng = np.random.default_rng(0)
    for mode in HeistMode:
        for seed in range(100):
            game = procgen_state.read(stock.generator(mode).level(seed).game)
            has_keys = tuple(rng.integers(0, 2, game.num_keys).tolist())
            games.put(0, SafeState(procgen_state.write(dataclasses.replace(game, has_keys=has_keys))))
            for held, (row, column, colour) in zip(has_keys, engine._RING_PIXELS, strict=False):
                assert not held or tuple(games.frames[0, row, column]) == colour


# Frames and states


def test_the_last_frame_of_a_won_episode() -> None:
    """It is what the game shows one step on where there is no gem to take, but for the gem itself."""
    games = Games(1)
    won = 0
    for seed in range(8):
        design = HeistDesign(maze_size="5x5", locks="none" if seed % 2 else "one")
        batch = vector([design], [seed]).reset()
        record, played = play_out(batch, design)
        start = procgen_state.read(beginning(design, record.world_seed))
        for gem in (False, True):
            entities = start.entities[(start.entities["type"] != procgen_state.GEM) | gem]
            games.put(0, SafeState(procgen_state.write(dataclasses.replace(start, entities=entities))))
            for action in played[: len(played) - gem]:
                games.act(action)
            if not gem:
                without = games.frames[0].copy()
        state = procgen_state.read(games.get(0))  # one step before the end, with the gem
        thing = state.entities[state.entities["type"] == procgen_state.GEM][0]
        unit = 64 / state.world_dim
        left, right = (int((thing["x"] + side * thing["rx"]) * unit) for side in (-1, 1))
        top, bottom = (int(64 - (thing["y"] - side * thing["ry"]) * unit) for side in (-1, 1))
        final = batch.final_obs["pixels"][0]
        differs = (final != without).any(axis=2)
        assert differs.any()
        differs[top - 1 : bottom + 2, left - 1 : right + 2] = False
        assert not differs.any()
        won += 1
    assert won == 8


def test_slots_that_rest_now_and_then_play_on_as_alone() -> None:
    """A slot's episodes are those of its own actions, however often the others play without it."""
    designs: list[Design | None] = [None, DESIGNS[3], DESIGNS[5], None]
    together = vector(designs, designed_length=40, original_length=50).reset()
    alone = [
        vector([design], [slot], designed_length=40, original_length=50).reset() for slot, design in enumerate(designs)
    ]
    rng = np.random.default_rng(0)
    for row in moves(300, 4, seed=8):
        active = rng.random(4) < 0.6
        records = together.step(row, active)
        expected = []
        for slot in np.flatnonzero(active):
            expected += [dataclasses.replace(record, slot=slot) for record in alone[slot].step(row[slot : slot + 1])]
        assert records == expected
        taken = together.env.achievements()  # type: ignore[attr-defined]
        for slot, one in enumerate(alone):
            assert taken[slot].tolist() == one.env.achievements()[0].tolist()  # type: ignore[attr-defined]
            np.testing.assert_array_equal(together.obs["pixels"][slot], one.obs["pixels"][0])
            for record in records:
                if record.slot == slot:
                    np.testing.assert_array_equal(together.final_obs["pixels"][slot], one.final_obs["pixels"][0])
    assert [state for one in alone for state in one.states()] == together.states()


def test_positions() -> None:
    batch = vector([None, DESIGNS[0]]).reset()
    first = batch.env.positions()  # type: ignore[attr-defined]
    for slot, state in enumerate(batch.states()):
        game = decode(state).game
        assert game is not None
        assert tuple(first[slot]) == tuple(procgen_state.read(game).entities[0][["x", "y"]])
    batch.step([4, 4], np.array([True, False]))
    for row in moves(20, 2):
        batch.step(row, np.array([True, False]))
    after = batch.env.positions()  # type: ignore[attr-defined]
    assert (after[0] != first[0]).any()
    assert (after[1] == first[1]).all()


def digest(num_threads: int) -> str:
    """A hash of all that 130 steps in all kinds of levels show."""
    designs = [*DESIGNS, None, None]
    batch = vector(designs, num_threads=num_threads, designed_length=60, original_length=80).reset()
    found = hashlib.sha256()
    for row in moves(130, len(designs), seed=2):
        found.update(repr(batch.step(row)).encode())
        found.update(b"".join(batch.seen()))
        found.update(batch.final_obs["pixels"].tobytes())
    for state in batch.states():
        found.update(state)
    return found.hexdigest()


def test_the_same_with_threads_and_in_another_process() -> None:
    here = digest(1)
    assert digest(2) == here
    there = subprocess.run(
        [sys.executable, "-c", "import test_heist_engine; print(test_heist_engine.digest(1))"],
        env={**os.environ, "PYTHONHASHSEED": "3", "PYTHONPATH": os.path.dirname(__file__)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert there.stdout.strip() == here


def test_states_of_other_environments_are_refused() -> None:
    state = vector([None]).reset().states()[0]
    for changes in ({"mode": HeistMode.hard}, {"original_length": 7}, {"designed_length": 7}, {"pool_size": 31}):
        other = vector([None], **changes)
        with pytest.raises(StateError, match=next(iter(changes))):
            other.env.set_state(0, state)


def test_states_with_a_right_checksum_and_wrong_contents_are_refused() -> None:
    batch = vector([DESIGNS[5]]).reset()
    for row in moves(30, 1):
        batch.step(row)
    good = batch.states()[0]
    found = decode(good)
    assert found.game is not None
    assert encode(found) == good
    none, twice = found.slot.copy(), found.slot.copy()
    none["keys"], none["locks"] = 0, 0
    twice["keys"] = 2
    payload = good[14:]
    game = found.game
    for wrong in (
        dataclasses.replace(found, slot=none),
        dataclasses.replace(found, slot=twice),
        dataclasses.replace(found, game=None),
        dataclasses.replace(found, game=SafeState(game[:-4])),
        dataclasses.replace(
            found, game=SafeState(game.replace(struct.pack("<i", procgen_state.WALL), struct.pack("<i", 3), 1))
        ),
    ):
        with pytest.raises(StateError):
            batch.env.set_state(0, encode(wrong))
    for wrong_payload in (payload[:50], payload + b"\0", payload.replace(b'"three"', b'"seven"')):
        header = good[:6] + struct.pack("<II", len(wrong_payload), zlib.crc32(wrong_payload))
        with pytest.raises(StateError):
            batch.env.set_state(0, header + wrong_payload)
    assert batch.states()[0] == good


# The long run


def soak(steps: int) -> None:
    """All that an environment can do, at random: steps with and without rests, new designs, states there and back."""
    rng = np.random.default_rng(0)
    designs: list[Design | None] = [*DESIGNS, None, None, None, None] * 4
    count = len(designs)
    batch = vector(designs, designed_length=90, original_length=120).reset()
    rows = moves(steps // count, count, seed=9)
    episodes, lengths = np.ones(count, int), np.zeros(count, int)
    won = 0
    for number, row in enumerate(rows):
        active = rng.random(count) < 0.9 if number % 10 == 0 else None
        out = batch.out if number % 20 == 0 else dataclasses.replace(batch.out, final_obs=None)
        records = batch.env.step(row, out, active=active)
        lengths += 1 if active is None else active
        for record in records:
            slot = record.slot
            assert (record.episode, record.length) == (episodes[slot], lengths[slot])
            assert record.world_seed == world_seed(slot, record.episode, WorldSet.TRAIN)
            assert record.episode_return == 10 * record.skills[-1]
            assert all(key >= lock for key, lock in zip(record.skills[:3], record.skills[3:6], strict=True)) or (
                record.design != "original"
            )
            episodes[slot], lengths[slot] = record.episode + 1, 0
            won += record.skills[-1]
        if number % 50 == 0:
            slot = int(rng.integers(count))
            batch.env.set_design(slot, designs[int(rng.integers(count))])
            state = batch.env.get_state(slot)
            batch.env.set_state(slot, state)
            assert batch.env.get_state(slot) == state
    assert episodes.min() > steps // 20_000
    assert won > steps // 2_000


def test_twenty_thousand_steps() -> None:
    soak(20_000)


@pytest.mark.long
def test_two_hundred_thousand_steps() -> None:
    soak(200_000)
