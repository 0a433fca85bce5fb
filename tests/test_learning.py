"""The presets for a CPU learn: seconds of `ppo=symbolic` on the original Crafter beat a random policy."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from envgen_exp import seeding
from envgen_exp.commands.compose import compose_run
from envgen_exp.families import make_family
from envgen_exp.learners.ppo.ppo import PPO
from envgen_exp.learners.ppo.training import TrainingPhase
from envgen_exp.seeding import WorldSet

RANDOM_RETURN = 1.36
"""A random policy's mean return over 1,000 episodes (docs/results/learning.md)."""
STEPS = 24_576


def test_seconds_of_symbolic_training_beat_a_random_policy() -> None:
    config = compose_run(["ppo=symbolic", "designer=original", "env.num_threads=1"])
    family = make_family(config.env)
    learner = PPO.create(config.ppo, family.observation_spec, family.num_actions, 0, torch.device("cpu"))
    num_envs = config.ppo.num_envs
    seeds = seeding.integers(0, "worlds", "learning", count=num_envs)
    with contextlib.closing(family.vector([None] * num_envs, seeds, WorldSet.VALIDATION)) as env:
        reports = list(TrainingPhase(learner, env, STEPS, config.ppo, STEPS))
    returns = [episode.episode_return for report in reports for episode in report.episodes]
    # An episode's return has a standard deviation of 1.3, so the mean of 80 has a standard error of 0.15.
    assert np.mean(returns[-80:]) > RANDOM_RETURN + 0.7
