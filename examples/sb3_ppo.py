"""Stable-Baselines3's PPO, unmodified: trained in a designed world and the original, evaluated in the original.

pip install '.[examples]'
python examples/sb3_ppo.py --total-timesteps 100000
"""

from __future__ import annotations

import argparse
import time
import warnings

import gymnasium
import numpy as np
from sb3_vec_env import EngineVecEnv
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

import envgen_exp  # noqa: F401  registers the environments

ENV_ID = "EnvGen/Crafter-v0"
DESIGN = {"target_biome": "grassland", "tree_rarity": "very common"}


def train(total_timesteps: int, num_envs: int = 8, num_episodes: int = 10, seed: int = 1) -> tuple[float, float]:
    """Mean return in the original before and after training; the same worlds both times."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ENV_ID).unwrapped)

    # One environment in the design, one in the original, and so on; the engine steps them all at once.
    envs = EngineVecEnv(ENV_ID, num_envs, designs=[DESIGN, None])
    envs.seed(seed)
    original = make_vec_env(ENV_ID, n_envs=num_envs, seed=seed + 1000, env_kwargs={"max_episode_steps": 500})

    model = PPO("CnnPolicy", envs, n_steps=64, batch_size=128, n_epochs=3, gamma=0.95, seed=seed, device="auto")
    before = evaluate(model, original, num_episodes, seed + 1000)
    started = time.monotonic()
    model.learn(total_timesteps)
    steps_per_second = model.num_timesteps / (time.monotonic() - started)
    after = evaluate(model, original, num_episodes, seed + 1000)
    print(f"{model.num_timesteps} steps, {steps_per_second:.0f} steps/s; return in the original", end=" ")
    print(f"before training {before[0]:.2f} ± {before[1]:.2f}, after {after[0]:.2f} ± {after[1]:.2f}", end=" ")
    print(f"(mean and standard deviation of {num_episodes} episodes of at most 500 steps)")
    envs.close()
    original.close()
    return before[0], after[0]


def evaluate(model: PPO, envs: VecEnv, num_episodes: int, seed: int) -> tuple[float, float]:
    envs.seed(seed)
    mean, deviation = evaluate_policy(model, envs, n_eval_episodes=num_episodes, deterministic=False)
    return float(np.mean(mean)), float(np.mean(deviation))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total-timesteps", type=int, default=100_000)
    train(parser.parse_args().total_timesteps)
