"""The tiny family keeps the batch contract, so that tests on it are tests of the contract."""

from __future__ import annotations

import numpy as np
import pytest
from batch import Batch
from tiny_env import BEST_RETURN, CELLS, HALF, SPECS, TinyDesign, TinyVectorEnv

from envgen_exp.errors import EngineError, StateError
from envgen_exp.families.design import design_key
from envgen_exp.seeding import WorldSet, world_seed


def towards_the_door(obs: np.ndarray) -> np.ndarray:
    """The best action of each slot."""
    return np.where(obs[:, 1, 0] == 1, 1, 2).astype(np.int64)


def test_the_best_policy_gets_the_best_return_and_the_next_episode_starts_at_once() -> None:
    env = TinyVectorEnv([None] * 6, range(6), WorldSet.TRAIN)
    b = Batch(env)
    env.reset(b.obs)
    doors = b.obs["cells"][:, 1].argmax(axis=1)
    assert set(doors) == {0, CELLS - 1}
    for _ in range(HALF):
        records = env.step(towards_the_door(b.obs["cells"]), b.out)
    assert [r.slot for r in records] == list(range(6))
    for slot, record in enumerate(records):
        assert record.episode_return == pytest.approx(BEST_RETURN)
        assert (record.length, record.truncated, record.skills) == (HALF, False, (HALF, 1, 0))
        assert record.world_seed == world_seed(slot, 1, WorldSet.TRAIN)
    assert b.terminations.all()
    assert not b.truncations.any()
    np.testing.assert_array_equal(b.final_obs["cells"][:, 0].argmax(axis=1), doors)
    np.testing.assert_array_equal(b.obs["cells"][:, 0].argmax(axis=1), HALF)


def test_time_runs_out() -> None:
    env = TinyVectorEnv([None], [0], length=5)
    b = Batch(env)
    env.reset(b.obs)
    for _ in range(4):
        assert env.step(np.zeros(1, np.int64), b.out) == []
    (record,) = env.step(np.zeros(1, np.int64), b.out)
    assert record.truncated
    assert b.truncations[0]
    assert not b.terminations[0]
    assert record.episode_return == pytest.approx(-0.05)


@pytest.mark.parametrize("observation", sorted(SPECS))
def test_a_slots_state_is_its_whole_future(observation: str) -> None:
    rng = np.random.default_rng(0)
    env = TinyVectorEnv([None, TinyDesign(head_start=2)], [3, 4], observation=observation, length=7)
    b = Batch(env)
    env.reset(b.obs)
    for _ in range(11):
        env.step(rng.integers(0, 3, 2), b.out)
    env.set_design(0, TinyDesign(head_start=1))
    other = TinyVectorEnv([None, None], [8, 9], observation=observation, length=7)
    c = Batch(other)
    for slot in range(2):
        other.set_state(slot, env.get_state(slot))
    designs = set()
    for _ in range(30):
        actions = rng.integers(0, 3, 2)
        records = env.step(actions, b.out)
        assert records == other.step(actions, c.out)
        designs |= {(r.slot, r.design) for r in records}
        for name in b.obs:
            np.testing.assert_array_equal(b.obs[name], c.obs[name])
        np.testing.assert_array_equal(b.rewards, c.rewards)
    assert {(0, design_key(TinyDesign(head_start=1))), (1, design_key(TinyDesign(head_start=2)))} <= designs


def test_inactive_slots_keep_their_game_and_their_buffers() -> None:
    env = TinyVectorEnv([None] * 2, range(2))
    b = Batch(env)
    env.reset(b.obs)
    state, seen = env.get_state(1), b.obs["cells"][1].copy()
    b.rewards[1] = 42
    env.step(np.array([1, 77]), b.out, active=np.array([True, False]))
    assert env.get_state(1) == state
    np.testing.assert_array_equal(b.obs["cells"][1], seen)
    assert b.rewards.tolist() == [np.float32(-0.01), 42]


def test_wrong_calls_are_refused() -> None:
    env = TinyVectorEnv([None], [0])
    b = Batch(env)
    with pytest.raises(EngineError, match="before reset"):
        env.step(np.zeros(1, np.int64), b.out)
    env.reset(b.obs)
    with pytest.raises(EngineError, match="out of range"):
        env.step(np.array([3]), b.out)
    with pytest.raises(StateError):
        env.set_state(0, b"[]")
    env.close()
    with pytest.raises(EngineError, match="closed"):
        env.reset(b.obs)
