"""PPO in one file, in CleanRL's manner, on a vector environment: half of the slots in a design, half in the original.

    python examples/cleanrl_ppo.py --total-timesteps 500000

It prints mean return and skills of the episodes that ended, apart for design and original.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass, fields

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import envgen_exp  # noqa: F401  registers the environments

DESIGN = {"target_biome": "grassland", "tree_rarity": "very common"}


@dataclass
class Args:
    env_id: str = "EnvGen/Crafter-v0"
    """the environment, with Crafter's symbolic observation"""
    total_timesteps: int = 500_000
    """environment steps, all slots together"""
    seed: int = 1
    """of worlds, weights and actions"""
    num_envs: int = 16
    """slots of the vector environment"""
    num_steps: int = 128
    """steps of each slot in a rollout"""
    learning_rate: float = 5e-4
    """Adam's step size"""
    gamma: float = 0.97
    """discount"""
    gae_lambda: float = 0.9
    """lambda of the generalised advantage estimate"""
    update_epochs: int = 3
    """passes over a rollout"""
    num_minibatches: int = 4
    """minibatches of a pass"""
    clip_coef: float = 0.2
    """clip range of the policy ratio"""
    ent_coef: float = 0.01
    """weight of the entropy bonus"""
    vf_coef: float = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 0.5
    """gradients are scaled down to this norm"""


class Agent(nn.Module):
    """Policy and value of the symbolic observation: one-hot cells, inventory and daylight through two layers."""

    def __init__(self, space: gymnasium.spaces.Dict, num_actions: int) -> None:
        super().__init__()
        self.num_ids = int(space["view"].high.max()) + 1
        cells = int(np.prod(space["view"].shape)) * self.num_ids
        numbers = int(np.prod(space["inventory"].shape) + np.prod(space["daylight"].shape))
        self.most = float(space["inventory"].high.max())
        self.body = nn.Sequential(nn.Linear(cells + numbers, 256), nn.Tanh(), nn.Linear(256, 128), nn.Tanh())
        self.actor = nn.Linear(128, num_actions)
        self.critic = nn.Linear(128, 1)
        nn.init.orthogonal_(self.actor.weight, 0.01)

    def forward(self, obs: dict[str, Tensor]) -> tuple[Categorical, Tensor]:
        cells = nn.functional.one_hot(obs["view"].long(), self.num_ids).flatten(1).float()
        hidden = self.body(torch.cat([cells, obs["inventory"] / self.most, obs["daylight"]], 1))
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1)


def train(args: Args) -> dict[str, list[float]]:
    """Returns of all episodes that ended, 'designed' and 'original'."""
    torch.manual_seed(args.seed)
    envs = gymnasium.make_vec(
        args.env_id,
        num_envs=args.num_envs,
        vectorization_mode="vector_entry_point",
        observation="symbolic",
        designs=[DESIGN, None],
    )
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(envs)
    agent = Agent(envs.single_observation_space, envs.single_action_space.n)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    shape = (args.num_steps, args.num_envs)
    obs = {name: torch.zeros(shape + box.shape) for name, box in envs.single_observation_space.items()}
    actions = torch.zeros(shape, dtype=torch.int64)
    logprobs, rewards, dones, values = (torch.zeros(shape) for _ in range(4))
    returns: dict[str, list[float]] = defaultdict(list)
    shown: dict[str, list[np.ndarray]] = defaultdict(list)

    def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array).float() for name, array in arrays.items()}

    started = time.monotonic()
    next_obs, _ = envs.reset(seed=args.seed)
    next_done = torch.zeros(args.num_envs)
    batch_size = args.num_envs * args.num_steps
    num_iterations = max(1, args.total_timesteps // batch_size)
    for iteration in range(1, num_iterations + 1):
        for step in range(args.num_steps):
            seen = tensors(next_obs)
            for name in obs:
                obs[name][step] = seen[name]
            dones[step] = next_done
            with torch.no_grad():
                policy, values[step] = agent(seen)
                actions[step] = policy.sample()
                logprobs[step] = policy.log_prob(actions[step])
            next_obs, reward, terminations, truncations, infos = envs.step(actions[step].numpy())
            rewards[step] = torch.from_numpy(reward)
            next_done = torch.from_numpy(terminations | truncations).float()
            for slot in np.flatnonzero(infos.get("_final_info", [])):
                world = "original" if infos["final_info"]["design"][slot] == "original" else "designed"
                returns[world].append(float(infos["episode"]["r"][slot]))
                shown[world].append(infos["final_info"]["skills"][slot] > 0)

        with torch.no_grad():
            next_value = agent(tensors(next_obs))[1]
        advantages = torch.zeros(shape)
        last = torch.zeros(args.num_envs)
        for step in reversed(range(args.num_steps)):
            ended = next_done if step == args.num_steps - 1 else dones[step + 1]
            after = next_value if step == args.num_steps - 1 else values[step + 1]
            delta = rewards[step] + args.gamma * after * (1 - ended) - values[step]
            advantages[step] = last = delta + args.gamma * args.gae_lambda * (1 - ended) * last
        targets = advantages + values

        flat = {name: array.flatten(0, 1) for name, array in obs.items()}
        for _ in range(args.update_epochs):
            for picked in torch.randperm(batch_size).chunk(args.num_minibatches):
                policy, value = agent({name: array[picked] for name, array in flat.items()})
                ratio = (policy.log_prob(actions.flatten()[picked]) - logprobs.flatten()[picked]).exp()
                advantage = advantages.flatten()[picked]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
                policy_loss = -torch.min(advantage * ratio, advantage * clipped).mean()
                value_loss = 0.5 * (value - targets.flatten()[picked]).pow(2).mean()
                loss = policy_loss + args.vf_coef * value_loss - args.ent_coef * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()

        if iteration % max(1, num_iterations // 10) == 0:
            steps = iteration * batch_size
            means = ", ".join(f"{name} {np.mean(r[-100:]):.2f}" for name, r in sorted(returns.items()))
            speed = steps / (time.monotonic() - started)
            print(f"{steps} steps, {speed:.0f} steps/s, mean return of the last 100 episodes: {means}")
    envs.close()

    for world, episodes in sorted(shown.items()):
        rates = np.mean(episodes[-100:], axis=0)
        best = sorted(zip(rates, envs.unwrapped.skills, strict=True), reverse=True)[:5]
        print(f"{world}: " + ", ".join(f"{skill} {100 * rate:.0f} %" for rate, skill in best))
    return returns


def parse() -> Args:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Args):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    return Args(**vars(parser.parse_args()))


if __name__ == "__main__":
    train(parse())
