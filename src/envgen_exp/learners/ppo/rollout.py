"""Rollouts: buffers that the environment writes into, the collecting loop, and advantages."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envgen_exp.families.vector import ArraySpec, Buffers, EpisodeRecord, VectorEnv
from envgen_exp.learners.curriculum import Curriculum, set_next_worlds
from envgen_exp.learners.ppo.agent import Agent, sample_actions
from envgen_exp.learners.ppo.value_norm import ValueNorm


class RolloutBuffer:
    """Memory for one rollout, allocated once and used for all.

    What the environment writes lies in the host's memory, (time, env, ...): `obs` has num_steps + 1 entries, of which
    the last is the first of the next rollout. What the network reads or gives lies on `device`; on a CPU they are one.
    """

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        observation_spec: Mapping[str, ArraySpec],
        device: torch.device,
        remembers: int = 0,
        recalled: int = 0,
    ) -> None:
        on_host = device.type == "cpu"

        def host(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(shape, dtype=dtype, pin_memory=not on_host)

        self.num_steps, self.num_envs, self.device = num_steps, num_envs, device
        self.obs = {
            name: host(num_steps + 1, num_envs, *spec.shape, dtype=torch_dtype(spec.dtype))
            for name, spec in observation_spec.items()
        }
        self.device_obs = self.obs if on_host else {n: torch.empty_like(x, device=device) for n, x in self.obs.items()}
        self.final_obs = {name: torch.zeros_like(x[0]) for name, x in self.obs.items()}
        self.actions = host(num_steps, num_envs, dtype=torch.int64)
        self.rewards = host(num_steps, num_envs, dtype=torch.float32)
        self.terminations = host(num_steps, num_envs, dtype=torch.bool)
        self.truncations = host(num_steps, num_envs, dtype=torch.bool)
        self.memory = torch.zeros(num_envs, remembers)
        """What the agent remembers of each slot's episode, before the first observation."""
        self.memory_after = torch.zeros(num_envs, remembers, device=device)
        """The same before the last one."""
        self.recalled = torch.zeros(num_steps, num_envs, recalled, device=device)
        """The skill that was shown last, as an agent that recalls it has it at each step."""
        self.timeout_values = torch.zeros(num_steps, num_envs)
        """Value of the last observation where an episode ran out of time and values are bootstrapped there, else 0."""
        self.logprobs = torch.zeros(num_steps, num_envs, device=device)
        self.values = torch.zeros(num_steps + 1, num_envs, device=device)
        """In units of reward (denormalised)."""
        # NumPy views of the same memory, one a step, so that the loop makes none.
        self.obs_at = [{n: x[t].numpy() for n, x in self.obs.items()} for t in range(num_steps + 1)]
        self.actions_at = list(self.actions.numpy())
        results = self.obs_at[1:], self.rewards.numpy(), self.terminations.numpy(), self.truncations.numpy()
        self.out_at = [Buffers(*arrays) for arrays in zip(*results, strict=True)]
        final_obs = {n: x.numpy() for n, x in self.final_obs.items()}
        self.out_with_final_at = [dataclasses.replace(out, final_obs=final_obs) for out in self.out_at]

    def upload(self, step: int) -> dict[str, Tensor]:
        """The observations of a step on the device, (num_envs, *shape)."""
        if self.device_obs is not self.obs:
            for name, x in self.obs.items():
                self.device_obs[name][step].copy_(x[step], non_blocking=True)
        return {name: x[step] for name, x in self.device_obs.items()}

    def carry_over(self, step: int) -> None:
        """Make the observations of `step` the first ones."""
        for x in self.obs.values():
            x[0].copy_(x[step])
        self.memory.copy_(self.memory_after)

    def carried(self) -> dict[str, NDArray[Any]]:
        """What goes from one rollout to the next, an entry for each slot: first observations and, if any, memory."""
        return self.obs_at[0] | ({"memory": self.memory.numpy()} if self.memory.numel() else {})


def rollout_bytes(num_steps: int, num_envs: int, observation_spec: Mapping[str, ArraySpec]) -> int:
    """What a `RolloutBuffer` takes of the host's memory, at the least."""
    seen = sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in observation_spec.values())
    views = 500 * (len(observation_spec) + 3)
    return num_steps * (num_envs * (seen + 26) + views)


@dataclass(frozen=True)
class Rollout:
    """What an update learns from: the first `num_steps` steps of a buffer, each tensor (num_steps, num_envs, ...)."""

    obs: Mapping[str, Tensor]
    actions: Tensor
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    memory: Tensor
    """(num_envs, remembers), before the first step."""
    starts: Tensor
    """Where another episode begins than that of the step before."""
    recalled: Tensor
    """(num_steps, num_envs, n), the skill that was shown last; n is 0 for an agent that doesn't recall it."""


@dataclass(frozen=True)
class Collected:
    """What happened while a rollout was collected."""

    episodes: list[EpisodeRecord]
    env_seconds: float
    inference_seconds: float


@torch.inference_mode()
def collect(
    agent: Agent,
    value_norm: ValueNorm,
    env: VectorEnv,
    buffer: RolloutBuffer,
    num_steps: int,
    generator: torch.Generator,
    *,
    bootstrap_timeouts: bool = False,
    curriculum: Curriculum | None = None,
) -> Collected:
    """Play `num_steps` steps of every environment from the observations at index 0 of the buffer, and fill it.

    Actions are sampled with `generator`, which is on the buffer's device. Where a `curriculum` chooses worlds, each
    episode that begins is followed by the choice of the next.
    """
    episodes: list[EpisodeRecord] = []
    env_seconds = inference_seconds = 0.0
    started = time.perf_counter()
    mean, std = value_norm.mean_and_std()
    on_host = buffer.device.type == "cpu"
    buffer.timeout_values.zero_()
    out_at = buffer.out_with_final_at if bootstrap_timeouts else buffer.out_at
    memory = buffer.memory.to(buffer.device)
    same = torch.zeros(1, buffer.num_envs, dtype=torch.bool, device=buffer.device)
    rewards: Tensor | None = None  # those that led to the first observation were seen with it, in the rollout before
    for t in range(num_steps):
        logits, values, memory = agent.follow(buffer.upload(t), memory, same, rewards)
        if agent.recalls:
            buffer.recalled[t] = memory[:, : buffer.recalled.shape[2]]
        actions, logprobs = sample_actions(logits, generator)
        buffer.actions[t].copy_(actions, non_blocking=True)
        buffer.logprobs[t].copy_(logprobs)
        buffer.values[t].copy_(values * std + mean)
        if not on_host:
            torch.cuda.current_stream(buffer.device).synchronize()
        inferred = time.perf_counter()
        inference_seconds += inferred - started
        ended = env.step(buffer.actions_at[t], out_at[t])
        episodes += ended
        if curriculum is not None:
            set_next_worlds(curriculum, env, [record.slot for record in ended])
        started = time.perf_counter()
        env_seconds += started - inferred
        if agent.recalls:
            rewards = buffer.rewards[t].to(buffer.device, copy=True)
        if bootstrap_timeouts and out_at[t].truncations.any():
            slots = torch.from_numpy(np.flatnonzero(out_at[t].truncations))
            final = {name: x[slots].to(buffer.device) for name, x in buffer.final_obs.items()}
            on_device = slots.to(buffer.device)
            earned = None if rewards is None else rewards[on_device]
            _, values, _ = agent.follow(final, memory[on_device], same[:, slots], earned)
            buffer.timeout_values[t, slots] = (values * std + mean).cpu()
        if agent.remembers and ended:
            memory[[record.slot for record in ended]] = 0
            if rewards is not None:
                rewards[[record.slot for record in ended]] = 0
    _, values, seen = agent.follow(buffer.upload(num_steps), memory, same, rewards)
    buffer.memory_after.copy_(seen if agent.recalls else memory)
    buffer.values[num_steps].copy_(values * std + mean)
    return Collected(episodes, env_seconds, inference_seconds + time.perf_counter() - started)


def compute_gae(
    rewards: Tensor, values: Tensor, dones: Tensor, next_value: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """Generalised advantage estimates (T, N) (Schulman et al. 2016, equation 16).

    rewards, values, dones: (T, N); `dones[t]` says that the episode ended with step t, so that neither the value nor
    the advantage of what follows counts. next_value: (N,), of the observation after the last step.
    """
    next_values = torch.cat([values[1:], next_value.unsqueeze(0)])
    goes_on = 1 - dones.to(values.dtype)
    deltas = rewards + gamma * next_values * goes_on - values
    decays = gamma * gae_lambda * goes_on
    advantages = torch.empty_like(deltas)
    advantage = torch.zeros_like(next_value)
    for t in range(len(deltas) - 1, -1, -1):
        advantage = torch.addcmul(deltas[t], decays[t], advantage, out=advantages[t])
    return advantages


@torch.no_grad()
def finish(buffer: RolloutBuffer, num_steps: int, gamma: float, gae_lambda: float) -> Rollout:
    """The rollout of a filled buffer, advantages and returns included, on the buffer's device.

    Where an episode ended, by the game or by the time limit, nothing is bootstrapped but `timeout_values`.
    """
    values = buffer.values[: num_steps + 1].cpu()
    dones = buffer.terminations[:num_steps] | buffer.truncations[:num_steps]
    rewards = buffer.rewards[:num_steps] + gamma * buffer.timeout_values[:num_steps]
    # On the host: a recursion over time is a thousand tiny operations.
    advantages = compute_gae(rewards, values[:-1], dones, values[-1], gamma, gae_lambda)
    returns = advantages + values[:-1]

    def on_device(x: Tensor) -> Tensor:
        return x.to(buffer.device, non_blocking=True)

    return Rollout(
        obs={name: x[:num_steps] for name, x in buffer.device_obs.items()},
        actions=on_device(buffer.actions[:num_steps]),
        logprobs=buffer.logprobs[:num_steps],
        values=buffer.values[:num_steps],
        advantages=on_device(advantages),
        returns=on_device(returns),
        memory=on_device(buffer.memory),
        starts=on_device(torch.cat([torch.zeros_like(dones[:1]), dones[:-1]])),
        recalled=buffer.recalled[:num_steps],
    )


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """The torch dtype of the same numbers."""
    return torch.from_numpy(np.empty(0, dtype)).dtype
