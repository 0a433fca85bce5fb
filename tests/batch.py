"""A vector environment together with its buffers, so that a test steps it in one line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.vector import EpisodeRecord, VectorEnv


class Batch:
    """Buffers for `env`; after each call they hold what it wrote."""

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        count = env.num_envs
        self.obs = self._observation()
        self.final_obs = self._observation()
        self.rewards = np.zeros(count, np.float32)
        self.terminations = np.zeros(count, np.bool_)
        self.truncations = np.zeros(count, np.bool_)

    def _observation(self) -> dict[str, NDArray]:
        return {
            name: np.zeros((self.env.num_envs, *spec.shape), spec.dtype)
            for name, spec in self.env.observation_spec.items()
        }

    def reset(self) -> Batch:
        self.env.reset(self.obs)
        return self

    def step(self, actions: Sequence[int] | NDArray, active: NDArray | None = None) -> list[EpisodeRecord]:
        return self.env.step(
            np.asarray(actions, np.int64),
            self.obs,
            self.rewards,
            self.terminations,
            self.truncations,
            active=active,
            final_obs=self.final_obs,
        )

    def states(self) -> list[bytes]:
        return [self.env.get_state(slot) for slot in range(self.env.num_envs)]

    def seen(self) -> tuple[bytes, ...]:
        """Everything that the last call wrote, final observations apart."""
        arrays = [*self.obs.values(), self.rewards, self.terminations, self.truncations]
        return tuple(array.tobytes() for array in arrays)
