"""The batch contract: many environments stepped at once, writing into the caller's buffers.

The autoreset rule (Gymnasium's SAME_STEP): a slot whose episode ends in a step starts its next episode within that
same step. The reward and the two flags belong to the ended episode, the observation is the first of the next one, and
the ended episode's last observation goes to `final_obs` where the caller asks for it.

Slots are numbered 0..num_envs-1 and are independent of each other: what happens in a slot depends on its seed, its
designs and its actions alone, never on the number of slots or threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
        self,
        actions: NDArray[np.int64],
        obs: Observation,
        rewards: NDArray[np.float32],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        *,
        active: NDArray[np.bool_] | None = None,
        final_obs: Observation | None = None,
    ) -> list[EpisodeRecord]:
        """Step every slot once (or only those that `active` names) and return the episodes that ended, by slot.

        All arrays are C-contiguous along everything but possibly the first axis, (num_envs, ...). A slot that is not
        active keeps its game; its entries in the buffers are left as they are. `truncations` is true only where the
        time limit alone ended the episode; the two flags are never both true.
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
        """Put a slot into a state of `get_state`; it plays on exactly as the original would."""

    def close(self) -> None: ...
