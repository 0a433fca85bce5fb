"""Who writes the designs of a cycle; one file a designer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.designers.fixed import Fixed
from envgen_exp.designers.generator import Generator
from envgen_exp.designers.half import GiftsOnly, TerrainOnly
from envgen_exp.designers.human import Human
from envgen_exp.designers.means import Means
from envgen_exp.designers.original import Original
from envgen_exp.designers.placebo import Placebo
from envgen_exp.designers.plr import PLR
from envgen_exp.designers.proposal import Proposal
from envgen_exp.designers.random import Random
from envgen_exp.designers.ranked import Adversarial, EasyToHard
from envgen_exp.designers.resample import Resample
from envgen_exp.errors import ConfigError
from envgen_exp.learners.curriculum import Curriculum
from envgen_exp.llm.prompt import Feedback
from envgen_exp.llm.source import Message

__all__ = ["DESIGNERS", "Designer", "Feedback", "Means", "Proposal", "asks", "make_designer"]


class Designer(Protocol):
    """Writes designs, cycle after cycle; its state goes into checkpoints."""

    uses_llm: ClassVar[bool]
    """Whether it needs a client."""
    redraws: ClassVar[bool]
    """Whether it asks the same more than once and needs different answers."""

    def __init__(self, config: DesignerConfig, means: Means) -> None: ...

    def num_calls(self, cycles: int) -> int:
        """How often it asks in so many cycles, repairs not counted."""

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The designs of a cycle, counted from 1; `feedback` is of the cycle before, None in the first.

        Raises LLMError where a client was asked and gave no answer; the state is then as before.
        """

    def curriculum(self, slots: Sequence[int]) -> Curriculum | None:
        """Who chooses the world of every episode in these slots of a training phase; None: they follow from seeds."""

    def preview(self) -> list[list[Message]]:
        """The chats that it would send, as far as they are known before the run.

        None, or the first, or the first and what a later cycle adds to it; with the first alone every call sends it.
        """

    def example_reply(self) -> str:
        """A typical answer, for an estimate of the cost; empty where nobody is asked."""

    def state_dict(self) -> dict[str, Any]:
        """What the next cycle needs to know, as plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""


DESIGNERS: dict[str, type[Designer]] = {
    "adaptive": Adaptive,
    "original": Original,
    "fixed": Fixed,
    "resample": Resample,
    "placebo": Placebo,
    "random": Random,
    "easy_to_hard": EasyToHard,
    "adversarial": Adversarial,
    "plr": PLR,
    "generator": Generator,
    "gifts_only": GiftsOnly,
    "terrain_only": TerrainOnly,
    "human": Human,
}


def make_designer(config: DesignerConfig, means: Means) -> Designer:
    """The designer that a config names; one that asks a language model needs a client. Raises ConfigError."""
    made = DESIGNERS.get(config.name)
    if made is None:
        raise ConfigError(f"designer.name={config.name}: there is no such designer; there are {', '.join(DESIGNERS)}")
    if config.num_designs < 1:
        raise ConfigError(f"designer.num_designs={config.num_designs}: allowed is 1 or more")
    return made(config, means)


def asks(name: str) -> bool:
    """Whether the designer of this name asks a language model, or what stands in for one."""
    made = DESIGNERS.get(name)
    return made is not None and made.uses_llm
