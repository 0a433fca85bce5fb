"""A vector environment together with its buffers, so that a test steps it in one line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.vector import Buffers, EpisodeRecord, VectorEnv, zero_observation


class Batch:
    """Buffers for `env`; after each call they hold what it wrote."""

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        self.final_obs = zero_observation(env.observation_spec, env.num_envs)
        self.out = Buffers.zeros(env.observation_spec, env.num_envs, final_obs=self.final_obs)

    @property
    def obs(self) -> dict[str, NDArray]:
        return dict(self.out.obs)

    @property
    def rewards(self) -> NDArray:
        return self.out.rewards

    @property
    def terminations(self) -> NDArray:
        return self.out.terminations

    @property
    def truncations(self) -> NDArray:
        return self.out.truncations

    def reset(self) -> Batch:
        self.env.reset(self.obs)
        return self

    def step(self, actions: Sequence[int] | NDArray, active: NDArray | None = None) -> list[EpisodeRecord]:
        return self.env.step(np.asarray(actions, np.int64), self.out, active=active)

    def states(self) -> list[bytes]:
        return [self.env.get_state(slot) for slot in range(self.env.num_envs)]

    def seen(self) -> tuple[bytes, ...]:
        """Everything that the last call wrote, final observations apart."""
        arrays = [*self.obs.values(), self.rewards, self.terminations, self.truncations]
        return tuple(array.tobytes() for array in arrays)
