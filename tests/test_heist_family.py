"""Heist as a family: what it says of itself and of designs, against the game; and where procgen can't be loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batch import Batch

from envgen_exp.config import DesignerConfig, Engine, LLMConfig, LLMKind, Observe
from envgen_exp.designers import Feedback, make_designer
from envgen_exp.designers.means import Means
from envgen_exp.errors import ConfigError, EngineError
from envgen_exp.families import make_family
from envgen_exp.families.family import Graded
from envgen_exp.families.heist import procgen_state, stock
from envgen_exp.families.heist.config import HeistConfig, HeistMode
from envgen_exp.families.heist.design import SKILLS, HeistDesign
from envgen_exp.families.heist.family import HeistFamily
from envgen_exp.families.heist.levels import read_level
from envgen_exp.families.heist.references import RANDOM
from envgen_exp.families.heist.upstream import Games
from envgen_exp.learners.intervals import wilson
from envgen_exp.llm.client import make_client
from envgen_exp.seeding import WorldSet, world_seed

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def family() -> HeistFamily:
    return HeistFamily(HeistConfig(pool_size=20))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine": Engine.reference}, "env.engine=reference"),
        ({"observation": Observe.symbolic}, "env.observation=symbolic"),
        ({"pool_size": 0}, "env.pool_size=0"),
        ({"original_length": -1}, "env.original_length=-1"),
    ],
)
def test_settings_that_heist_does_not_have(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        make_family(HeistConfig(**settings))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


LOADING = """
import sys
from envgen_exp.config import Engine
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.heist.config import HeistConfig
from envgen_exp.families import FAMILIES, make_family
from envgen_exp.errors import ConfigError
path = list(sys.path)

def attempt():
    try:
        make_family(HeistConfig()).vector([None], [0]).close()
    except ConfigError as error:
        print(error)
    assert sys.path == path
    assert "heist" in FAMILIES.names
    make_family(CrafterConfig(engine=Engine.reference)).vector([None], [0]).get_state(0)

sys.modules["procgen"] = None
attempt()
del sys.modules["procgen"]

import cffi
real = cffi.FFI.dlopen
def dlopen(self, name, flags=0):
    raise OSError(
        f"cannot load library '{name}': libGL.so.1: cannot open shared object file: No such file or directory.  "
        f"Additionally, ctypes.util.find_library() did not manage to locate a library called '{name}'"
    )
cffi.FFI.dlopen = dlopen
attempt()

cffi.FFI.dlopen = real
attempt()
"""


def test_without_procgen_crafter_works_and_heist_says_in_a_line_what_is_missing() -> None:
    """Nothing else is said, and nothing changed: procgen's packages print, warn and add to sys.path at import."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADING], capture_output=True, text=True, timeout=120, check=True
    )
    package, library = done.stdout.splitlines()
    for words in ("procgen can't be imported", "pip install procgen-mirror", "3.11"):
        assert words in package
    for words in ("libGL.so.1: cannot open shared object file", "apt install libgl1 libglib2.0-0"):
        assert words in library
    assert done.stderr == ""


@pytest.mark.parametrize("mode", HeistMode, ids=lambda mode: mode.value)
def test_what_the_family_says_of_the_original(mode: HeistMode) -> None:
    family = HeistFamily(HeistConfig(mode=mode, original_length=777))
    assert family.engine == f"procgen 0.10.7, {mode.value} mode"
    game, rules = family.brief.game, " ".join(family.brief.rules)
    assert f"{mode.value} mode" in game
    assert "777 steps." in game
    short = HeistFamily(HeistConfig(mode=mode, designed_length=200))
    assert "1000 steps, and one of a design after 200 steps if its timeout is not less." in short.brief.game
    far = HeistDesign(maze_size="15x15", locks="three", gem_distance_least=40)
    findings = {len(one.check(far, num_worlds=4).findings): one for one in (family, short)}
    assert "4 levels take more than the 200 steps of an episode" in short.check(far, num_worlds=4).findings[1]
    assert findings.keys() == {1, 2}
    sample = [family.grade(world_seed(0, episode, WorldSet.VALIDATION)) for episode in range(1, 257)]
    for number, name in enumerate(("no locks", "one lock", "two locks", "three locks")):
        assert f"{sample.count(number) / 256:.0%} have {name}" in rules
    level = read_level(procgen_state.read(stock.generator(mode).level(1).game))
    assert f"{level.size} x {level.size} cells" in rules


def test_full_speed_is_three_cells_in_five_steps(family: HeistFamily) -> None:
    games = Games(1)
    design = HeistDesign(maze_size="15x15", locks="none", walls_removed=100, gem_distance_least=15)
    games.put(0, family._pool(design, None).level(0).game)
    places = []
    for action in [1] * 40 + [7] * 15:  # to the left wall, then right
        games.act(action)
        places.append(float(procgen_state.read(games.get(0)).entities[0]["x"]))
    assert places[-1] - places[-6] == pytest.approx(3, abs=0.1)


def test_checks_say_what_levels_hold_and_allow(family: HeistFamily) -> None:
    whole = family.check(HeistDesign(locks="three"))
    assert whole.playable
    assert whole.impossible == ()
    assert whole.counts["keys"] == whole.counts["locks"] == 3
    some = family.check(HeistDesign(locks="three", locks_open=1, keys_held=1, targets=("collect_key_2", "take_gem")))
    assert some.impossible == ("collect_key_1", "collect_key_2", "open_lock_1")
    assert any("key 3, lock 2 and lock 3 are" in finding for finding in some.findings)
    assert any("targets that no level allows: collect_key_2" in finding for finding in some.findings)
    none = family.check(HeistDesign(maze_size="3x3", locks="three"))
    assert not none.playable
    assert len(none.findings) == 1
    assert "none of 300 mazes of 3x3 cells fits" in none.findings[0]
    with pytest.raises(EngineError):
        family.check(HeistDesign(), num_worlds=0)


def test_what_is_impossible_is_never_shown(family: HeistFamily) -> None:
    """Random play in designed levels shows what the check calls possible, and nothing else."""
    designs = [
        HeistDesign(locks="two", locks_open=1, maze_size="5x5"),
        HeistDesign(locks="two", keys_held=1, maze_size="5x5"),
        HeistDesign(locks="none", maze_size="5x5"),
    ]
    env = family.vector([designs[slot % 3] for slot in range(24)], range(24), WorldSet.TRAIN)
    batch = Batch(env).reset()
    rng = np.random.default_rng(0)
    shown = [np.zeros(len(SKILLS), int) for _ in designs]
    for _ in range(1500):
        for record in batch.step(rng.integers(0, 9, 24)):
            shown[record.slot % 3] += record.skills
    for design, counts in zip(designs, shown, strict=True):
        impossible = family.check(design, num_worlds=4).impossible
        assert [skill for skill, number in zip(SKILLS, counts, strict=True) if not number] == list(impossible)


def test_the_stand_in_designs_what_can_be_played(tmp_path: Path) -> None:
    """Through all stages of learning: every design can be built and allows what it aims at."""
    family = HeistFamily(HeistConfig())
    config = DesignerConfig(name="adaptive")
    client = make_client(LLMConfig(name="offline", kind=LLMKind.offline), tmp_path, family, run="test")
    designer = make_designer(config, Means(family, client))
    feedback = None
    first: set[str] = set()
    for cycle in range(1, 9):
        proposal = designer.design(cycle, feedback)
        assert proposal.repairs == 0
        assert proposal.filled == ()
        for check, design in zip(proposal.checks, proposal.designs, strict=True):
            assert check is not None
            assert design is not None
            assert check.playable
            assert design.targets
            assert not set(design.targets) & set(check.impossible)
        first |= {str(design.settings()) for design in proposal.designs if design is not None}
        rates = {skill: min(1.0, 0.15 * (cycle - 1) * (1 - 0.1 * place)) for place, skill in enumerate(SKILLS)}
        feedback = Feedback(
            cycle=cycle, designs=proposal.designs, mean=rates, sd=dict.fromkeys(SKILLS, 0.0), episodes=100, steps_left=0
        )
    assert len(first) > 6


def test_a_world_is_graded_by_its_locks(family: HeistFamily) -> None:
    assert isinstance(family, Graded)
    assert family.grade_name == "locks"
    seeds = [world_seed(0, episode, WorldSet.VALIDATION) for episode in range(1, 41)]
    assert {family.grade(seed) for seed in seeds} == {0, 1, 2, 3}


def test_the_docs_have_what_random_actions_reach(family: HeistFamily) -> None:
    rows = [line.strip("| ").split(" | ") for line in (DOCS / "heist.md").read_text().splitlines() if line[:2] == "| "]
    for mode, found in RANDOM.items():
        (row,) = (row for row in rows if row[0] == mode.name and len(row) == 7)
        assert row[1] == f"{found.score:.1f} %"
        assert row[2:6] == [f"{taken} of {episodes}" for taken, episodes in found.by_grade.values()]
        taken, episodes = map(sum, zip(*found.by_grade.values(), strict=True))
        low, high = wilson(taken, episodes)
        assert episodes == 1000
        assert found.score == pytest.approx(100 * taken / episodes)
        assert found.spread == f"[{100 * low:.1f}, {100 * high:.1f}]"
    assert family.references == (RANDOM[HeistMode.easy],)
    assert HeistFamily(HeistConfig(original_length=60)).references == ()


def test_pictures_show_the_episode_of_the_world(family: HeistFamily) -> None:
    """The whole level as the game draws it; for a partial view more than the agent sees."""
    for design in (None, HeistDesign(locks="two"), HeistDesign(locks="two", view="partial", world_size=15)):
        env = family.vector([design], [4], WorldSet.TRAIN)
        obs = {"pixels": np.zeros((1, 64, 64, 3), np.uint8)}
        env.reset(obs)
        seed = world_seed(4, 1, WorldSet.TRAIN)
        small = obs["pixels"][0].astype(float)
        whole = family.picture(design, seed, unit=8)
        size = 15 if design is not None and design.settings()["world_size"] == 15 else 9
        assert whole.shape == (8 * size, 8 * size, 3)
        drawn = env.frame(0, (64, 64)).astype(float)  # type: ignore[attr-defined]
        assert np.abs(drawn - small).mean() < 12  # smooth at 512 pixels and scaled, against rough at 64
        rows = np.arange(64) * len(whole) // 64
        matches = np.abs(whole[rows[:, None], rows].astype(float) - small).mean() < 25
        assert matches == (design is None or design.settings()["view"] == "whole")


def test_disallowed_pictures(family: HeistFamily) -> None:
    for unit in (0, 65):
        with pytest.raises(EngineError, match="unit"):
            family.picture(None, 1, unit=unit)
