"""The obvious stack that benchmarks/ppo.py compares with: crafter's own environments in subprocesses, a plain PPO loop.

    python benchmarks/plain_ppo.py --iterations 4 [--without-numba]

The loop is written in CleanRL's manner, in float32: Gymnasium's AsyncVectorEnv with a process an environment, the
Nature network on float observations, advantages step by step. It prints its steps a second; the first iteration, which
compiles and warms up, does not count. Without numba the worlds are made as after a plain `pip install crafter`.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

if "--without-numba" in sys.argv:
    sys.modules["numba"] = None  # type: ignore[assignment]  # before opensimplex looks for it

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical

from envgen_exp.families.crafter.upstream import env as crafter

NUM_ACTIONS = 17
WARM_UP = 200
"""Random steps before anything is timed: episodes last about 170, so that new worlds then come at their usual rate."""


class Crafter(gymnasium.Env[NDArray[np.uint8], int]):
    """The package's environment behind Gymnasium's interface."""

    observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(NUM_ACTIONS)

    def __init__(self, seed: int) -> None:
        self.game = crafter.Env(seed=seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        return self.game.reset(), {}

    def step(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        obs, reward, done, info = self.game.step(action)
        dead = info["discount"] == 0
        return obs, float(reward), bool(dead), bool(done and not dead), {}


class Agent(nn.Module):
    """The Nature network with an actor and a critic, on observations (B, 64, 64, 3) as floats."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, 512),
            nn.ReLU(),
        )
        self.actor, self.critic = nn.Linear(512, NUM_ACTIONS), nn.Linear(512, 1)

    def forward(self, obs: Tensor) -> tuple[Categorical, Tensor]:
        hidden = self.body(obs.permute(0, 3, 1, 2) / 255.0)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1)


def train(args: argparse.Namespace) -> float:
    """Steps a second after the first iteration."""
    torch.manual_seed(0)
    envs = gymnasium.vector.AsyncVectorEnv([lambda seed=seed: Crafter(seed) for seed in range(args.num_envs)])
    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    shape = args.num_steps, args.num_envs
    obs = torch.zeros((*shape, 64, 64, 3))
    actions, logprobs, rewards, dones, values = (torch.zeros(shape) for _ in range(5))
    frames = envs.reset()[0]
    for _ in range(WARM_UP):
        frames = envs.step(envs.action_space.sample())[0]
    next_obs, next_done = torch.tensor(frames, dtype=torch.float32), torch.zeros(args.num_envs)
    started = time.perf_counter()
    for iteration in range(args.iterations + 1):
        if iteration == 1:
            started = time.perf_counter()
        for step in range(args.num_steps):
            obs[step], dones[step] = next_obs, next_done
            with torch.no_grad():
                policy, value = agent(next_obs)
                action = policy.sample()
                values[step], actions[step], logprobs[step] = value, action, policy.log_prob(action)
            frames, reward, terminations, truncations, _ = envs.step(action.numpy())
            rewards[step] = torch.tensor(reward)
            next_obs = torch.tensor(frames, dtype=torch.float32)
            next_done = torch.tensor(terminations | truncations, dtype=torch.float32)

        with torch.no_grad():
            next_value = agent(next_obs)[1]
            advantages, last = torch.zeros(shape), torch.zeros(args.num_envs)
            for step in reversed(range(args.num_steps)):
                goes_on = 1 - (next_done if step == args.num_steps - 1 else dones[step + 1])
                after = next_value if step == args.num_steps - 1 else values[step + 1]
                delta = rewards[step] + args.gamma * after * goes_on - values[step]
                advantages[step] = last = delta + args.gamma * args.gae_lambda * goes_on * last
            returns = advantages + values

        batch = [x.flatten(0, 1) for x in (obs, actions, logprobs, advantages, returns)]
        for _ in range(args.update_epochs):
            for index in torch.randperm(len(batch[1])).chunk(args.num_minibatches):
                b_obs, b_actions, b_logprobs, b_advantages, b_returns = (x[index] for x in batch)
                policy, value = agent(b_obs)
                ratio = (policy.log_prob(b_actions) - b_logprobs).exp()
                b_advantages = (b_advantages - b_advantages.mean()) / (b_advantages.std() + 1e-8)
                pg_loss = torch.max(-b_advantages * ratio, -b_advantages * ratio.clamp(0.8, 1.2)).mean()
                v_loss = 0.5 * (value - b_returns).pow(2).mean()
                loss = pg_loss - 0.01 * policy.entropy().mean() + 0.5 * v_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
    seconds = time.perf_counter() - started
    envs.close()
    return float(args.iterations * args.num_steps * args.num_envs / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=4, help="rollouts and updates that are timed")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--num-steps", type=int, default=128)
    parser.add_argument("--update-epochs", type=int, default=3)
    parser.add_argument("--num-minibatches", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--gamma", type=float, default=0.95)
    parser.add_argument("--gae-lambda", type=float, default=0.65)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves torch's own choice")
    parser.add_argument("--without-numba", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(train(args))


if __name__ == "__main__":
    main()
