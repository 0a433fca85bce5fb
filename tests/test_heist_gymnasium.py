"""Heist as Gymnasium environments: Gymnasium's own checks, designs, seeds, final observations, pictures."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envgen_exp.families.gymnasium
from envgen_exp.errors import DesignError
from envgen_exp.families.design import design_key
from envgen_exp.families.heist.design import SKILLS, HeistDesign
from envgen_exp.seeding import world_seed

assert envgen_exp.families.gymnasium  # importing it registers the environments

ID = "EnvGen/Heist-v0"
SMALL = {"maze_size": "3x3", "world_size": 5, "locks": "none"}
POOL = {"pool_size": 8}


@pytest.mark.parametrize("design", [None, SMALL], ids=["original", "designed"])
def test_gymnasium_checks_pass(design: dict[str, Any] | None) -> None:
    check_env(gymnasium.make(ID, design=design, render_mode="rgb_array", **POOL).unwrapped)


def test_a_won_episode_and_one_out_of_time() -> None:
    """The last observation of either has the maze of the episode, not of the next."""
    seen = set()
    near = {**SMALL, "gem_distance_most": 2}
    env = gymnasium.make(ID, design=near, designed_length=25, **POOL)
    for seed in range(12):
        before, _ = env.reset(seed=seed)
        rng = np.random.default_rng(seed)
        while True:
            obs, reward, terminated, truncated, info = env.step(int(rng.integers(0, 9)))
            assert (obs != before).any(axis=2).mean() < 0.3
            before = obs
            if terminated or truncated:
                break
        assert reward == (10 if terminated else 0)
        assert info["skills"].tolist() == [0] * (len(SKILLS) - 1) + [int(terminated)]
        assert info["world_seed"] == world_seed(seed, 1)
        assert info["design"] == design_key(HeistDesign(**near))
        seen.add(terminated)
    assert seen == {True, False}


def test_a_vector_with_designs() -> None:
    envs = gymnasium.make_vec(
        ID, num_envs=4, vectorization_mode="vector_entry_point", designs=[None, SMALL], designed_length=30, **POOL
    )
    envs.reset(seed=5)
    designs = set()
    for _ in range(70):
        _, _, terminations, truncations, infos = envs.step(envs.action_space.sample())
        for slot in np.flatnonzero(terminations | truncations):
            designs.add((int(slot), infos["final_info"]["design"][slot]))
            assert infos["final_obs"][slot].shape == (64, 64, 3)
    assert designs == {(1, design_key(HeistDesign(**SMALL))), (3, design_key(HeistDesign(**SMALL)))}
    envs.close()


def test_pictures_are_the_games_own() -> None:
    env = gymnasium.make(ID, render_mode="rgb_array", size=128, **POOL)
    obs, _ = env.reset(seed=1)
    picture = env.render()
    assert picture.shape == (128, 128, 3)
    coarse = picture.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(coarse - obs).mean() < 12


def test_designs_that_cannot_be_are_refused_in_a_line() -> None:
    with pytest.raises(DesignError, match="locks"):
        gymnasium.make(ID, design={"locks": 7})
    env = gymnasium.make(ID, design={"locks": "one", "keys_held": 3}, **POOL)
    with pytest.raises(DesignError, match="keys_held=3") as error:
        env.reset(seed=0)
    assert "\n" not in str(error.value)
