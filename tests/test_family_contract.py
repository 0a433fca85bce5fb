"""What every family and every engine must keep: the protocol, and the batch contract of families/vector.py."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from batch import Batch
from numpy.typing import NDArray

from envgen_exp.config import Engine, EnvConfig, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError, StateError
from envgen_exp.families import FAMILIES, make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import Family
from envgen_exp.families.vector import VectorEnv
from envgen_exp.seeding import WorldSet, world_seed

ENGINES = [Engine.reference]
if importlib.util.find_spec("envgen_exp.families.crafter.engine"):
    ENGINES.append(Engine.native)

CONFIGS = {
    f"crafter-{engine.value}-{observe.value}": CrafterConfig(
        engine=engine, observation=observe, designed_length=30, original_length=40
    )
    for engine in ENGINES
    for observe in Observe
}


@pytest.fixture(scope="module", params=CONFIGS)
def config(request: pytest.FixtureRequest) -> EnvConfig:
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def family(config: EnvConfig) -> Family:
    return make_family(config)


def actions(family: Family, count: int, steps: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, family.num_actions, (steps, count))


def a_design(family: Family) -> Design:
    return family.default_designs(1)[0]


def test_protocol(family: Family) -> None:
    env = family.vector([None], [0])
    assert env.skills == family.skills
    assert env.num_actions == family.num_actions
    assert dict(env.observation_spec) == dict(family.observation_spec)
    assert list(family.brief.skills) == list(family.skills)
    assert {rule.skill for rule in family.skill_rules} == set(family.skills)
    words = [setting.name for setting in family.vocabulary]
    assert list(family.design_model().settings()) == words
    assert family.design_model().settings() == {setting.name: setting.default for setting in family.vocabulary}
    assert family.name in FAMILIES.names


def test_default_designs_differ_and_are_playable(family: Family) -> None:
    designs = family.default_designs(4)
    assert len({design_key(design) for design in designs}) == 4
    assert len(family.default_designs(9)) == 9
    for design in designs:
        check = family.check(design, num_worlds=4)
        assert check.playable
        assert not set(design.targets) & set(check.impossible)
        assert set(design.targets) <= set(family.skills)


def test_observations_stay_in_their_range_and_change(family: Family) -> None:
    batch = Batch(family.vector([None, a_design(family)], [1, 2], WorldSet.TRAIN)).reset()
    first = {name: array.copy() for name, array in batch.obs.items()}
    for row in actions(family, 2, 45):
        batch.step(row)
        for name, spec in family.observation_spec.items():
            assert batch.obs[name].min() >= spec.low
            assert batch.obs[name].max() <= spec.high
    assert any((batch.obs[name] != first[name]).any() for name in first)


def test_slots_depend_on_their_own_seed_design_and_actions_alone(family: Family) -> None:
    designs, seeds = [None, a_design(family), None], [3, 4, 5]
    moves = actions(family, 3, 60)
    together = Batch(family.vector(designs, seeds, WorldSet.TRAIN)).reset()
    alone = [Batch(family.vector([d], [s], WorldSet.TRAIN)).reset() for d, s in zip(designs, seeds, strict=True)]
    for row in moves:
        together.step(row)
        for slot, batch in enumerate(alone):
            batch.step(row[slot : slot + 1])
            for name in batch.obs:
                np.testing.assert_array_equal(batch.obs[name][0], together.obs[name][slot])
            assert batch.rewards[0] == together.rewards[slot]


def test_episodes_end_and_begin_again_in_the_same_step(family: Family) -> None:
    designs, seeds = [None, a_design(family)], [6, 7]
    fresh = Batch(family.vector(designs, seeds, WorldSet.TRAIN))
    firsts = [{name: array.copy() for name, array in fresh.reset().obs.items()} for _ in range(8)]
    batch = Batch(family.vector(designs, seeds, WorldSet.TRAIN)).reset()
    returns, lengths, records = np.zeros(2), np.zeros(2, int), []
    for row in actions(family, 2, 100, seed=1):
        for array in batch.final_obs.values():
            array.fill(77)
        ended = batch.step(row)
        returns += batch.rewards
        lengths += 1
        assert [record.slot for record in ended] == np.flatnonzero(batch.terminations | batch.truncations).tolist()
        assert not (batch.terminations & batch.truncations).any()
        for slot in range(2):
            assert all((array[slot] == 77).all() for array in batch.final_obs.values()) == (
                slot not in [record.slot for record in ended]
            )
        for record in ended:
            slot = record.slot
            assert record.length == lengths[slot]
            assert record.episode_return == pytest.approx(returns[slot], abs=1e-5)
            assert record.truncated == batch.truncations[slot]
            assert record.world_seed == world_seed(seeds[slot], record.episode, WorldSet.TRAIN)
            assert record.design == design_key(designs[slot])
            assert len(record.skills) == len(family.skills)
            for name, array in batch.obs.items():
                np.testing.assert_array_equal(array[slot], firsts[record.episode][name][slot])
            returns[slot] = lengths[slot] = 0
        records += ended
    for slot in range(2):
        episodes = [record.episode for record in records if record.slot == slot]
        assert episodes == list(range(1, len(episodes) + 1))
        assert len(episodes) >= 2


def test_final_observation_is_what_the_episode_ended_with(config: EnvConfig) -> None:
    """With the limit one step later the same game goes on, and shows in `obs` what was final before."""
    sooner, later = (make_family(dataclasses.replace(config, original_length=length)) for length in (12, 13))
    batch = Batch(sooner.vector([None], [8], WorldSet.TRAIN)).reset()
    longer = Batch(later.vector([None], [8], WorldSet.TRAIN)).reset()
    for row in actions(sooner, 1, 12, seed=2):
        batch.step(row)
        longer.step(row)
    assert batch.truncations[0]
    assert not longer.truncations[0]
    for name in batch.obs:
        np.testing.assert_array_equal(batch.final_obs[name], longer.obs[name])


def test_inactive_slots_keep_their_game_and_their_entries(family: Family) -> None:
    moves = actions(family, 3, 30, seed=3)
    batch = Batch(family.vector([None, None, None], [1, 2, 3], WorldSet.TRAIN)).reset()
    active = np.array([True, False, True])
    before = batch.states()
    for array in batch.obs.values():
        array[1].fill(7)
    batch.rewards[1], batch.terminations[1], batch.truncations[1] = 7, True, True
    for row in moves:
        row[1] = -5  # of no interest
        batch.step(row, active)
    after = batch.states()
    assert after[1] == before[1]
    assert after[0] != before[0]
    assert after[2] != before[2]
    assert all((array[1] == 7).all() for array in batch.obs.values())
    assert batch.rewards[1] == 7
    assert batch.terminations[1]
    assert batch.truncations[1]


def test_a_design_takes_effect_with_the_next_episode(family: Family) -> None:
    design = a_design(family)
    batch = Batch(family.vector([None], [9], WorldSet.TRAIN)).reset()
    batch.env.set_design(0, design)
    batch.env.set_state(0, batch.env.get_state(0))  # a state keeps the design that waits
    keys = []
    for row in actions(family, 1, 150, seed=4):
        for record in batch.step(row):
            keys.append(record.design)
            if record.episode == 2:
                batch.env.set_design(0, None)
    assert keys[:4] == ["original", design_key(design), design_key(design), "original"]


def test_a_world_can_be_set_for_the_next_episode_alone(family: Family) -> None:
    batch = Batch(family.vector([None], [9], WorldSet.TRAIN)).reset()
    world = world_seed(77, 1, WorldSet.TRAIN)
    batch.env.set_design(0, None, world=world)
    batch.env.set_state(0, batch.env.get_state(0))  # a state keeps the world that waits
    records = [record for row in actions(family, 1, 150, seed=4) for record in batch.step(row)]
    own = [world_seed(9, episode, WorldSet.TRAIN) for episode in (1, 2, 3)]
    assert [record.world_seed for record in records[:3]] == [own[0], world, own[2]]
    other = Batch(family.vector([None], [9], WorldSet.TRAIN))
    other.env.set_design(0, None, world=world)
    fresh = Batch(family.vector([None], [77], WorldSet.TRAIN)).reset()
    for name, array in other.reset().obs.items():
        np.testing.assert_array_equal(array, fresh.obs[name])
    for bad in (world + 1, -1, 2**31, True, "1"):
        with pytest.raises(EngineError, match=r"^world: "):
            batch.env.set_design(0, None, world=bad)  # type: ignore[arg-type]


def test_a_state_plays_on_elsewhere_exactly(family: Family) -> None:
    moves = actions(family, 2, 90, seed=5)
    here = Batch(family.vector([None, a_design(family)], [10, 11], WorldSet.FEEDBACK)).reset()
    for row in moves[:25]:
        here.step(row)
    # Other slots, designs, seeds and worlds: the state brings its own.
    there = Batch(family.vector([a_design(family), None], [0, 0], WorldSet.TRAIN))
    for slot, state in enumerate(here.states()):
        there.env.set_state(slot, state)
    assert there.states() == here.states()
    for row in moves[25:]:
        assert here.step(row) == there.step(row)
        assert here.seen() == there.seen()
    assert there.states() == here.states()


def test_a_state_before_the_first_reset(family: Family) -> None:
    here = family.vector([a_design(family)], [12], WorldSet.TRAIN)
    there = family.vector([None], [0], None)
    there.set_state(0, here.get_state(0))
    assert Batch(there).reset().seen() == Batch(here).reset().seen()


def test_damaged_states_are_refused_and_change_nothing(family: Family) -> None:
    env = family.vector([a_design(family)], [13], WorldSet.TRAIN)
    Batch(env).reset().step([1])
    state = env.get_state(0)
    places = np.linspace(0, len(state) - 1, 60).astype(int)
    flipped = [state[:i] + bytes([state[i] ^ 1]) + state[i + 1 :] for i in places]
    for damaged in [b"", b"nonsense", state[:-1], state[:10], state + b"\0", *flipped]:
        with pytest.raises(StateError):
            env.set_state(0, damaged)
        assert env.get_state(0) == state
    with pytest.raises(StateError):
        env.set_state(0, None)  # type: ignore[arg-type]


def step_with(env: VectorEnv, argument: str, value: object) -> None:
    """A step whose other arguments are good."""
    given: dict[str, Any] = {"actions": np.zeros(2, np.int64), "active": None, argument: value}
    actions, active = given.pop("actions"), given.pop("active")
    env.step(actions, dataclasses.replace(Batch(env).out, **given), active=active)


def read_only(array: NDArray) -> NDArray:
    array.flags.writeable = False
    return array


BAD_ARGUMENTS: dict[str, tuple[str, Callable[[VectorEnv], object]]] = {
    "action too large": ("actions", lambda env: np.array([0, env.num_actions])),
    "action negative": ("actions", lambda env: np.array([-1, 0])),
    "actions of another dtype": ("actions", lambda env: np.zeros(2, np.int32)),
    "actions of another shape": ("actions", lambda env: np.zeros(3, np.int64)),
    "actions as a list": ("actions", lambda env: [0, 0]),
    "no observation": ("obs", lambda env: {}),
    "observation is no mapping": ("obs", lambda env: np.zeros(3)),
    "one array more": ("obs", lambda env: {**Batch(env).obs, "more": np.zeros(2)}),
    "observation of another dtype": ("obs", lambda env: {k: v.astype(np.int16) for k, v in Batch(env).obs.items()}),
    "observation for fewer slots": ("obs", lambda env: {k: v[:1] for k, v in Batch(env).obs.items()}),
    "observation in Fortran's order": ("obs", lambda env: {k: scattered(v) for k, v in Batch(env).obs.items()}),
    "read-only observation": ("obs", lambda env: {k: read_only(v) for k, v in Batch(env).obs.items()}),
    "bad final observation": ("final_obs", lambda env: {}),
    "rewards in double": ("rewards", lambda env: np.zeros(2)),
    "rewards read-only": ("rewards", lambda env: read_only(np.zeros(2, np.float32))),
    "terminations as bytes": ("terminations", lambda env: np.zeros(2, np.uint8)),
    "too many truncations": ("truncations", lambda env: np.zeros(3, np.bool_)),
    "active as numbers": ("active", lambda env: np.ones(2, np.int64)),
    "active for fewer slots": ("active", lambda env: np.ones(1, np.bool_)),
}


def scattered(array: NDArray) -> NDArray:
    """The same shape with gaps between the numbers of one slot."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_are_refused_and_change_nothing(family: Family, name: str) -> None:
    env = family.vector([None, None], [1, 2], WorldSet.TRAIN)
    Batch(env).reset()
    before = Batch(env).states()
    argument, make = BAD_ARGUMENTS[name]
    with pytest.raises(EngineError) as error:
        step_with(env, argument, make(env))
    assert argument in str(error.value)
    assert "\n" not in str(error.value)
    assert Batch(env).states() == before


def test_buffers_that_share_memory_are_refused(family: Family) -> None:
    """Whole arrays, single entries, and rows between each other's; what lies side by side in one array is good."""
    batch = Batch(family.vector([None, None], [1, 2]))
    name, array = next(iter(batch.obs.items()))
    for wrong in (
        {"final_obs": batch.obs},
        {"final_obs": {**batch.final_obs, name: array[::-1]}},
        {"truncations": batch.terminations},
        {
            "rewards": np.zeros(2, np.float32),
            "terminations": (both := np.zeros(3, np.bool_))[:2],
            "truncations": both[1:],
        },
    ):
        with pytest.raises(EngineError, match="shares memory with") as error:
            dataclasses.replace(batch.out, **wrong)
        assert "\n" not in str(error.value)
    between = np.zeros((2, 2), np.bool_)
    dataclasses.replace(batch.out, terminations=between[:, 0], truncations=between[:, 1])


def test_rows_may_lie_apart(family: Family) -> None:
    """Buffers are contiguous but for their first axis: a rollout's [:, t] or every second row."""
    plain = Batch(family.vector([None, None], [1, 2], WorldSet.TRAIN))
    apart = Batch(family.vector([None, None], [1, 2], WorldSet.TRAIN))
    apart.out = dataclasses.replace(
        apart.out,
        obs={name: np.zeros((2, 3, *array.shape[1:]), array.dtype)[:, 1] for name, array in plain.obs.items()},
        rewards=np.zeros((2, 3), np.float32)[:, 1],
    )
    plain.reset()
    apart.reset()
    for row in actions(family, 2, 45, seed=6):
        plain.step(row)
        apart.step(row)
        assert plain.seen() == apart.seen()


def test_wrong_calls(family: Family) -> None:
    env = family.vector([None], [1], WorldSet.TRAIN)
    batch = Batch(env)
    with pytest.raises(EngineError, match="reset"):
        batch.step([0])
    with pytest.raises(EngineError, match="obs"):
        env.reset({})
    for slot in (-1, 1, True, None):
        with pytest.raises(EngineError, match="slot"):
            env.get_state(slot)  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="design"):
        env.set_design(0, {"target_biome": "natural"})  # type: ignore[arg-type]
    for designs, seeds in (([], []), ([None], [1, 2]), ([None], ["1"]), ([None], [2**64])):
        with pytest.raises(EngineError):
            family.vector(designs, seeds)  # type: ignore[arg-type]
    with pytest.raises(DesignError):
        family.vector(["natural"], [1])  # type: ignore[list-item]
    batch.reset()
    env.close()
    for call in (lambda: batch.step([0]), batch.reset, lambda: env.get_state(0), lambda: env.set_design(0, None)):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_score_of_equal_rates_is_that_rate(family: Family) -> None:
    scores = [family.score(dict.fromkeys(family.skills, rate)) for rate in (0.0, 0.01, 0.5, 1.0)]
    assert scores[0] == 0
    assert scores[-1] == pytest.approx(100)
    assert all(low < high for low, high in pairwise(scores))
    with pytest.raises(EngineError):
        family.score({})
    with pytest.raises(EngineError):
        family.score(dict.fromkeys(family.skills, 1.5))


def test_pictures(family: Family) -> None:
    one = family.picture(a_design(family), 5, unit=2)
    assert one.dtype == np.uint8
    assert one.ndim == 3
    assert one.shape[2] == 3
    np.testing.assert_array_equal(one, family.picture(a_design(family), 5, unit=2))
    assert (one != family.picture(a_design(family), 6, unit=2)).any()
    larger = family.picture(None, 5, unit=4)
    assert larger.shape == (2 * one.shape[0], 2 * one.shape[1], 3)


@pytest.mark.parametrize(("name", "near"), [("craftr", "crafter"), ("Crafter", "crafter"), ("xyz", None)])
def test_unknown_families(name: str, near: str | None) -> None:
    with pytest.raises(ConfigError) as error:
        make_family(EnvConfig(name=name))
    assert "crafter" in str(error.value)
    assert ("did you mean crafter" in str(error.value)) == (near is not None)
