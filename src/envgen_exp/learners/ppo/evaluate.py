"""Evaluation without updates: whole episodes by quota."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from envgen_exp.errors import ConfigError
from envgen_exp.families.vector import Buffers, EpisodeRecord, VectorEnv
from envgen_exp.learners.ppo.agent import Agent, sample_actions
from envgen_exp.learners.ppo.rollout import torch_dtype


@torch.inference_mode()
def evaluate(
    agent: Agent,
    env: VectorEnv,
    episodes_per_slot: Sequence[int],
    generator: torch.Generator,
    device: torch.device,
    on_episode: Callable[[EpisodeRecord], None] | None = None,
) -> list[EpisodeRecord]:
    """Play a new environment until each slot has its quota of whole episodes, and return them by slot and episode.

    Actions are sampled with `generator`, which is on `device`; nothing is learned. A slot that has its quota stops and
    leaves the batch: counting whichever episodes end first would favour short ones. `on_episode` sees each episode
    as it ends.
    """
    remaining = np.asarray(episodes_per_slot, dtype=np.int64)
    if remaining.shape != (env.num_envs,) or (remaining < 0).any():
        raise ConfigError(
            f"evaluation: needs a number of episodes for each of {env.num_envs} slots, not {list(remaining)}"
        )
    remaining = remaining.copy()
    obs = {
        name: torch.zeros((env.num_envs, *spec.shape), dtype=torch_dtype(spec.dtype))
        for name, spec in env.observation_spec.items()
    }
    out = dataclasses.replace(
        Buffers.zeros(env.observation_spec, env.num_envs), obs={name: x.numpy() for name, x in obs.items()}
    )
    actions = np.zeros(env.num_envs, dtype=np.int64)

    episodes: list[EpisodeRecord] = []
    env.reset(out.obs)
    active = remaining > 0
    slots = torch.from_numpy(np.flatnonzero(active))
    while len(slots) > 0:
        whole = len(slots) == env.num_envs
        logits, _ = agent({name: (x if whole else x[slots]).to(device) for name, x in obs.items()})
        actions[active] = sample_actions(logits, generator)[0].cpu().numpy()
        ended = env.step(actions, out, active=None if whole else active)
        for record in ended:
            episodes.append(record)
            remaining[record.slot] -= 1
            if on_episode is not None:
                on_episode(record)
        if ended:
            active = remaining > 0
            slots = torch.from_numpy(np.flatnonzero(active))
    return sorted(episodes, key=lambda record: (record.slot, record.episode))
