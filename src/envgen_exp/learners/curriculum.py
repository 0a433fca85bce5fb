"""Training in worlds chosen one by one: a curriculum picks each episode's world and is told what it taught."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.design import Design
from envgen_exp.families.vector import VectorEnv


class Curriculum(Protocol):
    """Chooses the worlds of some slots of one training phase."""

    @property
    def slots(self) -> Container[int]:
        """Whose worlds it chooses."""

    def begin(self, slots: Sequence[int]) -> None:
        """A phase begins: in these slots nothing is chosen and no episode runs; the others go on with theirs."""

    def choose(self, slot: int) -> tuple[Design, int]:
        """Design and world seed of the slot's next episode that has none yet."""

    def learn(self, advantages: NDArray[np.float32], dones: NDArray[np.bool_]) -> None:
        """What each step of a rollout taught, (num_steps, num_envs); `dones` where an episode ended with the step."""


def set_next_worlds(curriculum: Curriculum, env: VectorEnv, slots: Iterable[int]) -> None:
    """Let the curriculum choose the next episode of those of the slots that are its own."""
    for slot in slots:
        if slot in curriculum.slots:
            design, world = curriculum.choose(slot)
            env.set_design(slot, design, world=world)
