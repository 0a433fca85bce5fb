"""The vector environment as a VecEnv of Stable-Baselines3: one call of the engine a step, and its arrays uncopied.

    envs = EngineVecEnv("EnvGen/Crafter-v0", num_envs=16, designs=[{"tree_rarity": "very common"}, None])
    PPO("CnnPolicy", envs).learn(100_000)

Ends of episodes are told as by VecMonitor, so it needs none. `envs.set_attr("design", [...])` changes designs from each
slot's next episode on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

import envgen_exp  # noqa: F401  registers the environments

Indices = int | Iterable[int] | None


class EngineVecEnv(VecEnv):
    """`kwargs` are those of `gymnasium.make_vec`."""

    def __init__(self, env_id: str, num_envs: int, **kwargs: Any) -> None:
        made = gymnasium.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", **kwargs)
        self.envs = made.unwrapped
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        super().__init__(num_envs, self.envs.single_observation_space, self.envs.single_action_space)

    def reset(self) -> Any:
        obs, _ = self.envs.reset(seed=self._seeds)
        self._reset_seeds()
        self._returns[:] = self._lengths[:] = 0
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        obs, rewards, terminations, truncations, ends = self.envs.step(self._actions)
        dones = terminations | truncations
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for slot in np.flatnonzero(dones):
            end = ends["final_info"]
            infos[slot] = {
                "terminal_observation": ends["final_obs"][slot],
                "TimeLimit.truncated": bool(truncations[slot]),
                "episode": {"r": float(self._returns[slot]), "l": int(self._lengths[slot])},
                "skills": end["skills"][slot],
                "world_seed": int(end["world_seed"][slot]),
                "design": str(end["design"][slot]),
            }
        self._returns[dones] = self._lengths[dones] = 0
        return obs, rewards, dones, infos

    def close(self) -> None:
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        return self.envs.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        return self._chosen(self.envs.get_attr(attr_name), indices)

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        values = list(self.envs.get_attr(attr_name))
        for slot in self._get_indices(indices):
            values[slot] = value
        self.envs.set_attr(attr_name, values)

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        return self._chosen(self.envs.call(method_name, *args, **kwargs), indices)

    def env_is_wrapped(self, wrapper_class: type, indices: Indices = None) -> list[bool]:
        return self._chosen([False] * self.num_envs, indices)

    def _chosen(self, values: Sequence[Any], indices: Indices) -> list[Any]:
        return [values[slot] for slot in self._get_indices(indices)]
