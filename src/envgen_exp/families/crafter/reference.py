"""The reference engine: the crafter package itself, made deterministic, behind the batch contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import generated
from envgen_exp.families.crafter.ordered import OrderedEnv, make_world
from envgen_exp.families.crafter.state import SlotState, pack_game
from envgen_exp.families.crafter.vector import CrafterVector
from envgen_exp.families.design import Design
from envgen_exp.families.slots import Slot
from envgen_exp.families.vector import Buffers, EpisodeRecord, Observation, check_observation
from envgen_exp.seeding import WorldSet

__all__ = ["ReferenceVector", "make_world"]


class _Slot(Slot):
    """One environment of a vector with its game."""

    env: OrderedEnv
    episode_return = 0.0


class ReferenceVector(CrafterVector[_Slot]):
    """Several crafter games in one process, stepped one after the other; see `families.vector.VectorEnv`.

    Args:
        config: what is observed and how long episodes are.
        designs: each slot's design; None is the original.
        seeds: each slot's seed.
        worlds: the set that worlds are drawn from; None plays crafter's own sequence of worlds.
    """

    def __init__(
        self,
        config: CrafterConfig,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet | None = None,
    ) -> None:
        super().__init__(config, _Slot, designs, seeds, worlds)
        for slot in self._slots:
            slot.env = OrderedEnv(config.observation)

    def reset(self, obs: Observation) -> None:
        self._check_open()
        check_observation("obs", obs, self.observation_spec, self.num_envs)
        for index in range(self.num_envs):
            self._start(index, obs)

    def step(
        self, actions: NDArray[np.int64], out: Buffers, *, active: NDArray[np.bool_] | None = None
    ) -> list[EpisodeRecord]:
        records = []
        for index in self._check_step(actions, out, active):
            slot = self._slots[index]
            seen, reward, done, info = slot.env.step(int(actions[index]))
            slot.episode_return += float(reward)
            dead = info["discount"] == 0
            out.rewards[index] = reward
            out.terminations[index] = dead
            out.truncations[index] = done and not dead
            if not done:
                _write(seen, out.obs, index)
                continue
            if out.final_obs is not None:
                _write(seen, out.final_obs, index)
            skills = tuple(info["achievements"].values())
            records.append(slot.record(index, slot.env._step, slot.episode_return, not dead, skills))
            self._start(index, out.obs)
        return records

    def inventory(self) -> NDArray[np.uint8]:
        """Each slot's items in the order of `upstream.ITEMS`, (num_envs, 16)."""
        return np.array([list(env._player.inventory.values()) for env in self._games()], np.uint8)

    def achievements(self) -> NDArray[np.int32]:
        """How often each slot's running episode has shown each skill, (num_envs, 22)."""
        return np.array([list(env._player.achievements.values()) for env in self._games()], np.int32)

    def positions(self) -> NDArray[np.int32]:
        """Each slot's player as x and y, (num_envs, 2)."""
        return np.array([env._player.pos for env in self._games()], np.int32)

    def semantic(self) -> NDArray[np.uint8]:
        """Each slot's world as the package's `info['semantic']`, (num_envs, 64, 64), x before y."""
        return np.stack([env._sem_view() for env in self._games()])

    def maps(self) -> NDArray[np.uint8]:
        return np.stack([env._world.map() for env in self._games()])

    def daylight(self) -> NDArray[np.float64]:
        """Each slot's daylight, (num_envs,)."""
        return np.array([env._world.daylight for env in self._games()], np.float64)

    def _games(self) -> list[OrderedEnv]:
        self._check_open()
        self._check_begun(range(self.num_envs))
        return [slot.env for slot in self._slots]

    def _start(self, index: int, obs: Observation) -> None:
        """Begin a slot's next episode and write its first observation."""
        slot = self._slots[index]
        slot.begin()
        slot.episode_return = 0.0
        design = generated(slot.design, self._config)
        _write(slot.env.start(slot.world_seed, design, self._length(slot.design)), obs, index)

    def _save(self, index: int) -> tuple[bytes, float]:
        return pack_game(*self._slots[index].env.save()), self._slots[index].episode_return

    def _load(self, index: int, found: SlotState) -> None:
        self._slots[index].episode_return = float(found.slot["episode_return"])
        if found.game is not None:
            self._slots[index].env.load(found, self._length(found.design))


def _write(seen: Mapping[str, NDArray[Any]], obs: Observation, index: int) -> None:
    for key, array in seen.items():
        obs[key][index] = array
