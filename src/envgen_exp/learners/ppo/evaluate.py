"""Evaluation without updates: whole episodes by quota."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from envgen_exp.families.vector import Buffers, EpisodeRecord, Observation, VectorEnv
from envgen_exp.learners.playing import play
from envgen_exp.learners.ppo.agent import Agent, sample_actions


@torch.inference_mode()
def evaluate(
    agent: Agent,
    env: VectorEnv,
    episodes_per_slot: Sequence[int],
    generator: torch.Generator,
    device: torch.device,
    on_episode: Callable[[EpisodeRecord], None] | None = None,
) -> list[EpisodeRecord]:
    """As `play`, with actions sampled by `generator`, which is on `device`; nothing is learned."""
    left = torch.tensor(episodes_per_slot)
    memory = agent.nothing(len(left), device)
    rewards = torch.zeros(len(left), device=device)

    def choose(obs: Observation) -> NDArray[Any]:
        playing = left.nonzero().squeeze(1)
        seen = {name: torch.from_numpy(x).to(device) for name, x in obs.items()}
        starts = torch.zeros(1, len(playing), dtype=torch.bool, device=device)
        earned = rewards[playing] if agent.recalls else None
        logits, _, memory[playing] = agent.follow(seen, memory[playing], starts, earned)
        actions: NDArray[Any] = sample_actions(logits, generator)[0].cpu().numpy()
        return actions

    def stepped(out: Buffers) -> None:
        rewards.copy_(torch.from_numpy(out.rewards))

    def ended(record: EpisodeRecord) -> None:
        left[record.slot] -= 1
        memory[record.slot] = rewards[record.slot] = 0
        if on_episode is not None:
            on_episode(record)

    return play(env, episodes_per_slot, choose, ended, stepped if agent.recalls else None)
