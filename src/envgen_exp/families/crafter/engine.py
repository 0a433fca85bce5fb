"""The native engine: Crafter in C++ behind the batch contract, bit for bit the reference engine's game.

It is handed everything that is known elsewhere: rules, pictures, daylight and designs by `tables`, worlds' seeds by
`families.slots`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.errors import EngineError
from envgen_exp.families.crafter import _crafter
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import generated
from envgen_exp.families.crafter.state import SlotState, game_bytes
from envgen_exp.families.crafter.tables import make_art, make_daylight, make_items, make_rules, make_terrain
from envgen_exp.families.crafter.upstream import AREA, ITEMS, SKILLS
from envgen_exp.families.crafter.vector import CrafterVector
from envgen_exp.families.design import Design
from envgen_exp.families.slots import Slot, check_buffers
from envgen_exp.families.vector import Buffers, EpisodeRecord, Observation, check_observation
from envgen_exp.seeding import WorldSet

_REFUSALS = (BufferError, TypeError, LookupError, AttributeError, EngineError)
"""What the native module, buffers and a mapping that are none raise."""


def make_world(design: Design | None, seed: int) -> NDArray[np.uint8]:
    """The world that an episode with this world seed starts in, in the ids of a symbolic view, (2, 64, 64)."""
    if not 0 <= seed < 2**32:
        raise EngineError(f"world seed: {seed} is none, allowed are 0 to {2**32 - 1}")
    out = np.zeros((2, *AREA), np.uint8)
    _world_maker().make(seed, make_terrain(design), out[None])
    return out


class NativeVector(CrafterVector[Slot]):
    """Many Crafter games stepped at once by several threads; see `families.vector.VectorEnv`.

    Beside the contract it has EnvPool's `send` and `recv`, whose order depends on timing. An instance is used by one
    thread at a time, in the process that made it. What fails in the middle of a call, in any of its threads, raises
    EngineFailure there (MemoryError where memory was missing); after that it can only be closed.

    Args:
        config: what is observed, how long episodes are, and how many threads step them (0: one for each core).
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
        super().__init__(config, Slot, designs, seeds, worlds)
        self._names = tuple(self.observation_spec)
        self._native = _crafter.Vector(
            rules=make_rules(),
            art=make_art(),
            daylight=make_daylight(max(config.designed_length, config.original_length)),
            symbolic=config.observation is Observe.symbolic,
            num_slots=len(designs),
            num_threads=config.num_threads or len(os.sched_getaffinity(0)),
        )
        for index, design in enumerate(designs):
            self._plan(index, design)

    def reset(self, obs: Observation) -> None:
        try:
            self._native.reset(self._arrays(obs))
        except _REFUSALS as error:
            check_observation("obs", obs, self.observation_spec, self.num_envs)
            raise EngineError(str(error)) from None
        for index in range(self.num_envs):
            self._begun(index)

    def step(
        self, actions: NDArray[np.int64], out: Buffers, *, active: NDArray[np.bool_] | None = None
    ) -> list[EpisodeRecord]:
        if active is not None:
            check_buffers(out).check_mask(active)
        try:
            last = None if out.final_obs is None else self._arrays(out.final_obs)
            ended = self._native.step(
                actions, self._arrays(out.obs), out.rewards, out.terminations, out.truncations, active, last
            )
        except _REFUSALS as error:
            # The engine says that something is wrong; these checks, which cost time, say what.
            self._check_handed(actions, out, active)
            raise EngineError(str(error)) from None
        return [self._ended(*episode) for episode in ended]

    def send(self, actions: NDArray[np.int64], slots: Sequence[int] | NDArray[np.int64] | None = None) -> None:
        """Step slots (None: all) in the background, each with the action of the same index.

        Until `recv` has returned a slot, nothing else can be done with it.
        """
        try:
            chosen = np.arange(self.num_envs) if slots is None else np.array(slots)
        except ValueError:  # lists of several lengths
            chosen = np.array(None)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise EngineError(f"slots: needs the numbers of slots, got {slots!r:.80}")
        if not isinstance(actions, np.ndarray) or actions.shape != chosen.shape or actions.dtype != np.int64:
            raise EngineError(
                f"actions: needs a numpy array of shape {chosen.shape} and dtype int64, one for each slot"
            )
        try:
            self._native.send(list(zip(chosen.tolist(), actions.tolist(), strict=True)))
        except TypeError:
            raise EngineError(f"slots: needs numbers from 0 to {self.num_envs - 1}, got {slots!r:.80}") from None

    def recv(self, out: Buffers) -> tuple[NDArray[np.int64], list[EpisodeRecord]]:
        """Wait for as many sent slots as `out` has rows, the first that are ready, and write one row for each.

        Returns the slots of the rows and the episodes that ended; ended slots have begun their next episode.
        """
        if check_buffers(out).final_obs is not None:
            raise EngineError("final_obs: recv has no last observations of ended episodes, only step has")
        rewards: object = out.rewards
        count = len(rewards) if isinstance(rewards, np.ndarray) and rewards.ndim else 0
        try:
            slots, ended = self._native.receive(
                count, self._arrays(out.obs), out.rewards, out.terminations, out.truncations
            )
        except _REFUSALS as error:
            out.check(self.observation_spec, count)
            raise EngineError(str(error)) from None
        return np.array(slots, np.int64), [self._ended(*episode) for episode in ended]

    def inventory(self) -> NDArray[np.uint8]:
        """Each slot's items in the order of `upstream.ITEMS`, (num_envs, 16)."""
        return self._numbers()[0]

    def achievements(self) -> NDArray[np.int32]:
        """How often each slot's running episode has shown each skill, (num_envs, 22)."""
        return self._numbers()[1]

    def positions(self) -> NDArray[np.int32]:
        """Each slot's player as x and y, (num_envs, 2)."""
        return self._numbers()[2]

    def daylight(self) -> NDArray[np.float64]:
        """Each slot's daylight, (num_envs,)."""
        return self._numbers()[3]

    def semantic(self) -> NDArray[np.uint8]:
        """Each slot's world as the package's `info['semantic']`, (num_envs, 64, 64), x before y."""
        out = np.empty((self.num_envs, *AREA), np.uint8)
        self._native.semantic(out)
        return out

    def maps(self) -> NDArray[np.uint8]:
        out = np.empty((self.num_envs, 2, *AREA), np.uint8)
        self._native.maps(out)
        return out

    def _arrays(self, obs: Observation) -> tuple[NDArray[Any], ...]:
        if len(obs) != len(self._names):
            raise BufferError("obs: another number of arrays")
        return tuple([obs[name] for name in self._names])

    def _numbers(self) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        count = self.num_envs
        out = (
            np.empty((count, len(ITEMS)), np.uint8),
            np.empty((count, len(SKILLS)), np.int32),
            np.empty((count, 2), np.int32),
            np.empty(count, np.float64),
        )
        self._native.numbers(*out)
        return out

    def _release(self) -> None:
        self._native.close()

    def _index(self, slot: object) -> int:
        index = super()._index(slot)
        self._native.check(index)  # whether anything can be done with it now
        return index

    def _save(self, index: int) -> tuple[bytes, float]:
        return self._native.get_state(index), self._native.episode_return(index)

    def _load(self, index: int, found: SlotState) -> None:
        if found.game is None:
            self._native.forget(index)
        else:
            length, episode_return = self._length(found.design), float(found.slot["episode_return"])
            self._native.set_state(index, game_bytes(found), length, episode_return)

    def _plan(self, index: int, design: Design | None, world: int | None = None) -> None:
        """Tell the engine what the slot plays next; it makes the world when it has time."""
        made = generated(design, self._config)
        seed = self._slots[index].coming_world(world)
        self._native.plan(index, seed, make_terrain(made), make_items(made), self._length(design))
        super()._plan(index, design, world)

    def _begun(self, index: int) -> None:
        """A slot's planned episode has begun."""
        slot = self._slots[index]
        slot.begin()
        self._plan(index, slot.next_design)

    def _ended(
        self, index: int, length: int, episode_return: float, truncated: bool, skills: tuple[int, ...]
    ) -> EpisodeRecord:
        """A slot's episode has ended, and its next has begun."""
        record = self._slots[index].record(index, length, episode_return, truncated, skills)
        self._begun(index)
        return record


@functools.cache
def _world_maker() -> _crafter.WorldMaker:
    return _crafter.WorldMaker(make_rules())
