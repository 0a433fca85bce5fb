"""procgen's state bytes: byte for byte there and back, settled without a change to the game, and never believed."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from envgen_exp.errors import StateError
from envgen_exp.families.heist import building, levels, procgen_state, settled
from envgen_exp.families.heist.config import HeistMode
from envgen_exp.families.heist.design import HeistDesign
from envgen_exp.families.heist.settled import SafeState
from envgen_exp.families.heist.upstream import RESTART, Games, load

LEVELS = 1000


class Stock:
    """procgen's own environments, untouched, of one mode."""

    def __init__(self, mode: HeistMode) -> None:
        self.num = 50
        self.env = load().ProcgenGym3Env(
            num=self.num, env_name="heist", distribution_mode=mode.value, rand_seed=7, num_threads=0
        )

    def act(self, actions: NDArray) -> list[bytes]:
        """Step all games; their states."""
        self.env.act(actions)
        self.env.observe()
        return self.env.get_state()

    def new_levels(self) -> list[bytes]:
        """Begin another level in each game; their states."""
        return self.act(np.full(self.num, RESTART))


@pytest.fixture(scope="module", params=HeistMode, ids=lambda mode: mode.value)
def stock(request: pytest.FixtureRequest) -> Stock:
    return Stock(request.param)


def test_a_thousand_levels_there_and_back(stock: Stock) -> None:
    """And those of running games: three steps on, with speed and rotation."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(LEVELS // stock.num):
        states = [(0, raw) for raw in stock.new_levels()]
        for steps in (1, 2, 3):
            later = [(steps, raw) for raw in stock.act(rng.integers(0, 9, stock.num))]
        for steps, raw in states + later:
            game = procgen_state.read(raw)
            assert procgen_state.write(game) == raw
            assert procgen_state.read_left(raw) == (
                frozenset(game.themes(procgen_state.KEY)),
                frozenset(game.themes(procgen_state.LOCK)),
            )
            kept = settled.settle(game)
            assert settled.checked(kept) == kept
            seen.add((steps, kept))
    assert len(seen) == 2 * LEVELS


def test_a_settled_state_plays_on_as_it_was(stock: Stock) -> None:
    """With many idle steps, in which the game's own generator breaks ties."""
    raw, kept, quick = Games(4), Games(4), Games(4)
    rng = np.random.default_rng(1)
    for index, state in enumerate(stock.act(rng.integers(0, 9, stock.num))[:4]):
        raw.put(index, SafeState(state))
        kept.put(index, settled.settle(procgen_state.read(state)))
        quick.put(index, settled.quickly_written(procgen_state.read(state)))
    running = np.ones(4, np.bool_)
    for _ in range(150):
        actions = rng.choice([0, 2, 6, 8, 4, 4, 4, 1], 4)
        for games in (raw, kept, quick):
            games.act(actions)
        for games in (kept, quick):
            np.testing.assert_array_equal(raw.rewards[running], games.rewards[running])
            np.testing.assert_array_equal(raw.first[running], games.first[running])
        running &= ~raw.first  # the next levels differ
        for games in (kept, quick):
            np.testing.assert_array_equal(raw.frames[running], games.frames[running])
        for index in np.flatnonzero(running):
            assert len({settled.settle(procgen_state.read(one.get(index))) for one in (raw, kept, quick)}) == 1
    assert running.any()


def a_state() -> bytes:
    return levels.write_level(building.build(HeistDesign(locks="three", keys_held=1), 5), 5)


def after_some_steps() -> bytes:
    games = Games(1)
    games.put(0, SafeState(a_state()))
    for action in (7, 8, 8, 5, 2):
        games.act(action)
    return settled.settle(procgen_state.read(games.get(0)))


def refused(data: bytes) -> bool:
    try:
        settled.checked(data)
    except StateError as error:
        return "\n" not in str(error)
    return False


def damaged(state: bytes) -> list[bytes]:
    """The state with each number outside the generator's text replaced by others, cut short, and grown."""
    text = procgen_state.read(state).rng.text
    start = state.index(text)
    numbers = [*range(0, start, 4), *range(start + len(text), len(state) - 3, 4)]
    values = [b"\0\0\0\x80", b"\xff\xff\xff\xff", b"\x03\0\0\0", b"\0\0\xc0\x7f", b"\0\0\0@"]
    changed = [state[:at] + value + state[at + 4 :] for at in numbers for value in values]
    cut = [state[:end] for end in range(0, len(state), 97)] + [state[:-4], state + b"\0\0\0\0"]
    return [data for data in changed + cut if data != state]


def test_damaged_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    """What a check lets pass, since it is a state that Heist can have, is played in a process of its own."""
    passed, count = [], 0
    for state in (a_state(), after_some_steps()):
        for data in damaged(state):
            count += 1
            if not refused(data):
                passed.append(data)
    assert count > 4000
    assert len(passed) < 0.1 * count
    (tmp_path / "passed").write_bytes(pickle.dumps(passed))
    done = subprocess.run(
        [sys.executable, "-c", PLAY, str(tmp_path / "passed")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["played", str(len(passed))]


PLAY = """
import pickle, sys
import numpy as np
from envgen_exp.families.heist.upstream import Games
passed = pickle.load(open(sys.argv[1], "rb"))
games, rng = Games(1), np.random.default_rng(0)
for data in passed:
    games.put(0, data)
    for action in rng.integers(0, 15, 12):
        games.act(action)
print("played", len(passed))
"""


def test_what_crashes_procgen_is_refused() -> None:
    game = procgen_state.read(a_state())

    def with_entities(**values: float) -> procgen_state.Game:
        entities = game.entities.copy()
        for name, value in values.items():
            entities[name][1] = value
        return dataclasses.replace(game, entities=entities)

    def with_misc(**values: float) -> procgen_state.Game:
        misc = game.misc.copy()
        for name, value in values.items():
            misc[name] = value
        return dataclasses.replace(game, misc=misc)

    words = game.rng.text.split()
    grid = game.grid.copy()
    grid[0, 0] = 7
    for wrong in (
        with_entities(image_theme=3),
        with_entities(image_theme=2),  # there is a third key or lock already, or it is not of this type
        with_entities(type=5),
        with_entities(type=0),
        with_entities(x=float("nan")),
        with_entities(y=99.0),
        with_entities(vx=1.0),
        with_misc(background_index=9),
        with_misc(background_index=-1),
        with_misc(bg_pct_x=float("inf")),
        dataclasses.replace(game, entities=game.entities[1:]),
        dataclasses.replace(game, entities=game.entities[:0]),
        dataclasses.replace(game, entities=game.entities[game.entities["type"] != procgen_state.GEM]),
        dataclasses.replace(game, grid=grid),
        dataclasses.replace(game, grid=game.grid[:, :-1].copy()),
        dataclasses.replace(game, has_keys=game.has_keys[:1]),
        dataclasses.replace(game, has_keys=(0, 2, 0)),
        dataclasses.replace(game, num_keys=2),
        dataclasses.replace(game, world_dim=11),
        dataclasses.replace(game, rng=procgen_state.Rng(1, b"")),
        dataclasses.replace(game, rng=procgen_state.Rng(0, game.rng.text)),
        dataclasses.replace(game, rng=procgen_state.Rng(1, b" ".join([*words[:-1], b"625"]))),
        dataclasses.replace(game, rng=procgen_state.Rng(1, b" ".join([b"4294967296", *words[1:]]))),
        dataclasses.replace(game, rng=procgen_state.Rng(1, b" ".join(words[1:]))),
        dataclasses.replace(game, level_rng=game.rng),
    ):
        assert refused(procgen_state.write(wrong))


def test_what_a_settled_state_holds_is_what_stock_has(stock: Stock) -> None:
    """The constants of the codec against a new level of procgen's."""
    game = procgen_state.read(stock.new_levels()[0])
    for block in ("options", "episode", "misc", "view"):
        ours, theirs = settled.record(block), getattr(game, block)
        for name in ours.dtype.names:
            if ours[name] and name not in ("timeout", "level_seed_low", "level_seed_high"):
                assert ours[name] == theirs[name], name
    for row in game.entities:
        kind, theme = int(row["type"]), int(row["image_theme"])
        ours = settled.entity(kind, row["x"], row["y"], theme=theme)
        assert ours.tobytes() == row.tobytes()
        if kind == procgen_state.RING_KEY:
            assert (row["x"], row["y"]) == tuple(np.float32(settled.ring_place(theme)))
