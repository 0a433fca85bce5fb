"""The batch contract: many environments stepped at once, writing into the caller's buffers, which are checked here.

The autoreset rule (Gymnasium's SAME_STEP): a slot whose episode ends in a step starts its next episode within that
same step. The reward and the two flags belong to the ended episode, the observation is the first of the next one, and
the ended episode's last observation goes to `final_obs` where the caller asks for it.

Slots are numbered 0..num_envs-1 and are independent of each other: what happens in a slot depends on its seed, its
designs and its actions alone, never on the number of slots or threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import EngineError
from envgen_exp.families.design import Design

Observation = Mapping[str, NDArray[Any]]
"""Named arrays, each (num_envs, *shape) as in `VectorEnv.observation_spec`."""


@dataclass(frozen=True)
class ArraySpec:
    """One named part of an observation: its shape for a single environment, its dtype and the range of its values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Buffers:
    """Where a step writes: arrays with a row for each slot, C-contiguous along everything but possibly the first axis.

    EngineError where two of them share memory: one would overwrite the other.
    """

    obs: Observation
    rewards: NDArray[np.float32]
    """(num_envs,), as are the two flags."""
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    """True only where the time limit alone ended the episode; the two flags are never both true."""
    final_obs: Observation | None = None
    """Where the last observations of ended episodes go, if anywhere."""

    def __post_init__(self) -> None:
        arrays = [(name, array) for name, array in self._arrays() if isinstance(array, np.ndarray)]
        for place, (name, array) in enumerate(arrays):
            for other, its in arrays[:place]:
                if np.may_share_memory(array, its) and np.shares_memory(array, its):
                    raise EngineError(f"{name}: shares memory with {other}")

    @classmethod
    def zeros(cls, spec: Mapping[str, ArraySpec], num_envs: int, *, final_obs: Observation | None = None) -> Buffers:
        """New ones for so many slots of this observation, but for `final_obs`."""
        rewards, flags = np.zeros(num_envs, np.float32), np.zeros((2, num_envs), np.bool_)
        return cls(zero_observation(spec, num_envs), rewards, flags[0], flags[1], final_obs)

    def check(self, spec: Mapping[str, ArraySpec], num_envs: int) -> None:
        """EngineError where they are not what so many slots of this observation need."""
        check_observation("obs", self.obs, spec, num_envs)
        if self.final_obs is not None:
            check_observation("final_obs", self.final_obs, spec, num_envs)
        _check_array("rewards", self.rewards, (num_envs,), np.float32)
        _check_array("terminations", self.terminations, (num_envs,), np.bool_)
        _check_array("truncations", self.truncations, (num_envs,), np.bool_)

    def check_mask(self, active: object) -> None:
        """EngineError where a step would write into the mask of what it steps."""
        for name, flags in (("terminations", self.terminations), ("truncations", self.truncations)):
            if isinstance(active, np.ndarray) and isinstance(flags, np.ndarray) and np.may_share_memory(active, flags):
                raise EngineError(f"active: shares memory with {name}")

    def _arrays(self) -> Iterator[tuple[str, object]]:
        for name, obs in (("obs", self.obs), ("final_obs", self.final_obs)):
            if isinstance(obs, Mapping):
                yield from ((f"{name}[{key!r}]", array) for key, array in obs.items())
        yield from (("rewards", self.rewards), ("terminations", self.terminations), ("truncations", self.truncations))


def zero_observation(spec: Mapping[str, ArraySpec], num_envs: int) -> dict[str, NDArray[Any]]:
    """Arrays for an observation of so many slots."""
    return {name: np.zeros((num_envs, *part.shape), part.dtype) for name, part in spec.items()}


def check_observation(name: str, obs: object, spec: Mapping[str, ArraySpec], num_envs: int) -> None:
    """EngineError unless it holds a fitting array for each name of the spec, and no other."""
    if not isinstance(obs, Mapping):
        raise EngineError(f"{name}: needs a mapping with the arrays {', '.join(spec)}, got {type(obs).__name__}")
    if set(obs) != set(spec):
        raise EngineError(
            f"{name}: needs exactly the arrays {', '.join(spec)}, got {', '.join(map(str, obs)) or 'none'}"
        )
    for key, part in spec.items():
        _check_array(f"{name}[{key!r}]", obs[key], (num_envs, *part.shape), part.dtype)


def _check_array(name: str, array: object, shape: tuple[int, ...], dtype: type[np.generic] | np.dtype[Any]) -> None:
    if not isinstance(array, np.ndarray):
        raise EngineError(
            f"{name}: needs a numpy array of shape {shape} and dtype {np.dtype(dtype)}, got {type(array).__name__}"
        )
    if array.shape != shape or array.dtype != dtype:
        raise EngineError(
            f"{name}: needs shape {shape} and dtype {np.dtype(dtype)}, got shape {array.shape} and dtype {array.dtype}"
        )
    if not array.flags.writeable:
        raise EngineError(f"{name}: the array is read-only")
    if len(array) and not array[0:1].flags.c_contiguous:
        raise EngineError(f"{name}: must be C-contiguous along every axis but the first")
    if len(array) > 1 and abs(array.strides[0]) < array[0].nbytes:
        raise EngineError(f"{name}: rows overlap")


@dataclass(frozen=True)
class EpisodeRecord:
    """One finished episode, whole: from its first step to its last, whatever was checkpointed in between."""

    slot: int
    episode: int
    """Which of the slot's episodes it was, counted from 1."""
    world_seed: int
    design: str
    """`design_key` of the design that it was played in; 'original' for the stock game."""
    length: int
    """Steps."""
    episode_return: float
    """Sum of rewards, added in float64 in the order of the steps."""
    truncated: bool
    """Ended by the time limit and not by the game."""
    skills: tuple[int, ...]
    """How often each skill was shown in the episode, in the order of `VectorEnv.skills`."""
    trials: tuple[int, ...] = ()
    """Of a record that stands for as many episodes as it has steps, such as frames that are looked at once: in how many
    of them each skill was asked for, and `skills` in how many of these it was shown. Empty: it is one episode."""

    @property
    def episodes(self) -> int:
        """How many it stands for."""
        return self.length if self.trials else 1


class VectorEnv(Protocol):
    """`num_envs` environments of one family behind one call.

    Errors: `EngineError` for wrong buffers, actions out of range or a closed environment (no game changes), and
    `StateError` for state bytes that are not whole and of this version.
    """

    @property
    def num_envs(self) -> int: ...

    @property
    def num_actions(self) -> int: ...

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]: ...

    @property
    def skills(self) -> tuple[str, ...]: ...

    def reset(self, obs: Observation) -> None:
        """Start the next episode of every slot and write its first observation into `obs`.

        The first call starts episode 1; each slot's n-th episode plays the world `seeding.world_seed(seed, n, worlds)`,
        if `set_design` does not name another.
        """

    def step(
        self, actions: NDArray[np.int64], out: Buffers, *, active: NDArray[np.bool_] | None = None
    ) -> list[EpisodeRecord]:
        """Step every slot once (or only those that `active` names) and return the episodes that ended, by slot.

        `actions` and `active` are (num_envs,). A slot that is not active keeps its game; its entries in the buffers are
        left as they are.
        """

    def set_design(self, slot: int, design: Design | None, *, world: int | None = None) -> None:
        """Use `design` (None: the original) from the slot's next episode on.

        With `world`, a world's seed of the slot's set, that episode plays this world in place of its own; the one after
        it plays what it would have played.
        """

    def get_state(self, slot: int) -> bytes:
        """Everything that the slot's future depends on: the game, its random stream, its running episode's record,
        its design, the design and world set for the next episode, its seed and episode count. Versioned and checked."""

    def set_state(self, slot: int, state: bytes) -> None:
        """Put a slot into a state of `get_state`; it plays on exactly as the original would.

        A run does without the two where an environment has neither: then no game waits between phases, and a phase that
        is cut off begins anew.
        """

    def close(self) -> None: ...
