"""What a designer is given to work with, and what it is where it says nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from envgen_exp.families.design import Design
from envgen_exp.families.family import Family
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.learners.curriculum import Curriculum
from envgen_exp.llm.client import Client
from envgen_exp.llm.source import Message

Worth = Callable[[Sequence[EpisodeRecord]], float]
"""A number for the episodes that were played in a design."""


def mean_return(records: Sequence[EpisodeRecord]) -> float:
    """Over the episodes."""
    return float(np.mean([record.episode_return for record in records]))


class Trial(Protocol):
    """Plays designs, without learning, to see how an agent does in them."""

    def __call__(
        self, designs: Sequence[Design], *, episodes: int, by_pupil: bool, worth: Worth = mean_return
    ) -> list[float]:
        """What so many episodes in each design are worth, with the same world seeds in all of them.

        The agent is the run's as it is, or a pupil: a new one that has trained `designer.validation_steps` in the
        original. All of it is counted as validation steps.
        """


@dataclass(frozen=True)
class Means:
    """What a designer works with."""

    family: Family
    client: Client | None = None
    """Who is asked; None where nothing will be."""
    cycles: int = 1
    """Cycles of the run."""
    design_set: int = 0
    """Root of every stream that it draws designs from."""
    seed: int = 0
    """Root of the run's other streams."""
    trial: Trial | None = None
    """None where no design will be tried."""


class Defaults:
    """What a designer is that says nothing else: it asks nobody and remembers nothing."""

    uses_llm: ClassVar[bool] = False
    redraws: ClassVar[bool] = False
    designs: ClassVar[bool] = True
    draws: ClassVar[bool] = True

    @classmethod
    def validation(cls, config: Any, cycles: int) -> tuple[int, int]:
        """It ranks nothing."""
        return 0, 0

    @classmethod
    def deducts(cls, config: Any) -> bool:
        """Nothing."""
        return False

    def num_calls(self, cycles: int) -> int:
        """None."""
        return 0

    def curriculum(self, slots: Sequence[int]) -> Curriculum | None:
        """Worlds follow from seeds."""
        return None

    def preview(self) -> list[list[Message]]:
        """It sends nothing."""
        return []

    def example_reply(self) -> str:
        """Nobody answers."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
