"""A family made from a game for one player keeps the contract of every family: tested is the tutorial's corridor.

That it is found once it is installed, and that a run plays it, is tests/test_tutorial.py's.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch import Batch
from test_family_contract import (  # noqa: F401 - each is collected here again, with this file's family
    test_a_design_takes_effect_with_the_next_episode,
    test_a_state_before_the_first_reset,
    test_a_state_plays_on_elsewhere_exactly,
    test_bad_arguments_are_refused_and_change_nothing,
    test_buffers_that_share_memory_are_refused,
    test_damaged_states_are_refused_and_change_nothing,
    test_default_designs_differ_and_are_playable,
    test_episodes_end_and_begin_again_in_the_same_step,
    test_inactive_slots_keep_their_game_and_their_entries,
    test_observations_stay_in_their_range_and_change,
    test_protocol,
    test_rows_may_lie_apart,
    test_score_of_equal_rates_is_that_rate,
    test_slots_depend_on_their_own_seed_design_and_actions_alone,
    test_wrong_calls,
)

from envgen_exp.config import Engine, EnvConfig, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError, StateError
from envgen_exp.families import make_family
from envgen_exp.families.family import Family
from envgen_exp.families.one_player import Game

EXAMPLE = Path(__file__).parents[1] / "examples" / "corridor"
spec = importlib.util.spec_from_file_location("corridor", EXAMPLE / "corridor.py")
assert spec is not None
assert spec.loader is not None
corridor = importlib.util.module_from_spec(spec)
spec.loader.exec_module(corridor)


class Short(corridor.Corridor):
    """Episodes end early, so that a few steps have many."""

    max_steps = 30


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """The corridor as an installed package has it: known by its entry point."""
    site = tmp_path_factory.mktemp("site")
    (site / "short_corridor.py").write_text("import test_one_player\nCorridor = test_one_player.Short\n")
    metadata = site / "short_corridor-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: short-corridor\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[envgen_exp.families]\ncorridor = short_corridor:Corridor\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield make_family(EnvConfig(name="corridor"))


def test_a_player_who_knows_the_way(family: Family) -> None:
    """To the key and then to the door pays 1.5, in as many steps as there are cells to walk."""
    for seed in range(20):
        batch = Batch(family.vector([None], [seed])).reset()
        door_right = tuple(batch.obs["pixels"][0, 32, 59]) == corridor.LOCKED  # 15 cells of 4 pixels, 2 left over
        to_key, to_door = (corridor.LEFT, corridor.RIGHT) if door_right else (corridor.RIGHT, corridor.LEFT)
        rewards, ended = [], []
        while not rewards or rewards[-1] < 0.5:
            ended += batch.step([to_key])
            rewards.append(float(batch.rewards[0]))
        for _ in range(14):
            assert not ended
            ended = batch.step([to_door])
        assert 1 <= len(rewards) <= 13
        assert batch.rewards[0] == 1
        assert batch.terminations[0]
        assert ended[0].skills == (1, 1)
        assert ended[0].episode_return == 1.5
        assert ended[0].length == len(rewards) + 14


def test_a_picture_has_a_square_for_each_cell(family: Family) -> None:
    short = family.design_model(cells=7)
    small, large = (family.picture(short, 5, unit=unit) for unit in (1, 4))
    assert small.shape == (1, 7, 3)
    assert large.shape == (4, 28, 3)
    np.testing.assert_array_equal(large[::4, ::4], small)
    assert family.picture(None, 5, unit=2).shape == (2, 30, 3)
    assert any((family.picture(short, seed, unit=1) != small).any() for seed in range(8))


def test_a_check_counts_what_a_random_player_shows(family: Family) -> None:
    easy = family.design_model(cells=5, key="in_hand")
    found = family.check(easy, num_worlds=32)
    assert found == family.check(easy, num_worlds=32)
    assert found.playable
    assert not found.impossible
    # With the key in hand none can be taken, and five cells are soon walked.
    assert "take_key in 0" in found.findings[0]
    assert int(found.findings[0].rpartition("open_door in ")[2]) >= 24
    with pytest.raises(EngineError):
        family.check(easy, num_worlds=0)


class Strange(Game):
    """What a game must not do, as its design or seed says."""

    def __init__(self, settings: Mapping[str, Any] | None, seed: int) -> None:
        if settings is not None and settings["cells"] == 5:
            raise DesignError("cells=5 leaves no room")
        self.kept: Any = 0
        self.seed = seed

    def step(self, action: int) -> tuple[float, bool, list[str]]:
        self.kept = (1, 2) if action else np.zeros(2)
        return 0.0, False, ["fly"] if action else []

    def draw(self) -> Any:
        return np.zeros((1, 65 if self.seed == 1 else 1, 3), np.uint8)


def test_what_a_game_must_not_do_is_said() -> None:
    class Family(corridor.Corridor):
        game = Strange

    family = Family(EnvConfig(name="corridor"))
    found = family.check(family.design_model(cells=5))
    assert not found.playable
    assert found.findings == ("cells=5 leaves no room",)
    batch = Batch(family.vector([None], [0])).reset()
    with pytest.raises(EngineError, match="'fly' is none of the brief's skills"):
        batch.step([1])
    with pytest.raises(EngineError, match=r"Strange\.kept: \(1, 2\) is no plain value"):
        batch.env.get_state(0)
    batch.step([0])
    with pytest.raises(EngineError, match="Strange: an attribute is no plain value"):
        batch.env.get_state(0)
    with pytest.raises(EngineError, match=r"Strange\.draw: needs uint8 of shape"):
        family.picture(None, 1)


def test_a_state_of_another_family_is_refused(family: Family) -> None:
    class Other(Short):
        name = "other"

    state = Other(EnvConfig(name="other")).vector([None], [0]).get_state(0)
    with pytest.raises(StateError, match="not one of corridor"):
        family.vector([None], [0]).set_state(0, state)


@pytest.mark.parametrize("wrong", [{"observation": Observe.symbolic}, {"engine": Engine.reference}])
def test_settings_that_it_has_not_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="corridor"):
        corridor.Corridor(EnvConfig(name="corridor", **wrong))
