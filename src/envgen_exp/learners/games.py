"""Running games as plain values: what a slot leaves and what it goes on from, in a checkpoint or between phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from envgen_exp.errors import CheckpointError, StateError
from envgen_exp.families.vector import Observation, VectorEnv
from envgen_exp.learners.learner import Game


def running(env: VectorEnv, obs: Observation) -> list[Game]:
    """Each slot's game: its state, and the observation that the next action is chosen from."""
    return [
        {
            "state": torch.frombuffer(bytearray(env.get_state(slot)), dtype=torch.uint8),
            "obs": {name: torch.from_numpy(x[slot].copy()) for name, x in obs.items()},
        }
        for slot in range(env.num_envs)
    ]


def go_on(env: VectorEnv, obs: Observation, games: Sequence[Game | None]) -> None:
    """Put games into their slots; CheckpointError where they are none of this environment's."""
    for slot, game in enumerate(games):
        if game is None:
            continue
        seen: dict[str, Any] = {name: x.numpy() for name, x in game["obs"].items()}
        if {name: x.shape for name, x in seen.items()} != {name: x.shape[1:] for name, x in obs.items()}:
            raise CheckpointError(f"checkpoint: slot {slot}: its game was seen by another agent")
        try:
            env.set_state(slot, game["state"].numpy().tobytes())
        except StateError as error:
            raise CheckpointError(f"checkpoint: slot {slot}: {error}") from error
        for name, x in seen.items():
            obs[name][slot] = x
