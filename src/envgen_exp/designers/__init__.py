"""Who writes the designs of a cycle; one file a designer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.means import Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.errors import ConfigError
from envgen_exp.learners.curriculum import Curriculum
from envgen_exp.llm.prompt import Feedback
from envgen_exp.llm.source import Message
from envgen_exp.registry import Registry

__all__ = ["DESIGNERS", "Designer", "Feedback", "Means", "Proposal", "asks", "make_designer"]


class Designer(Protocol):
    """Writes designs, cycle after cycle; its state goes into checkpoints."""

    uses_llm: ClassVar[bool]
    """Whether it needs a client."""
    redraws: ClassVar[bool]
    """Whether it asks the same more than once and needs different answers."""
    designs: ClassVar[bool]
    """Whether there are designs to train in, or else the original stands in their place."""
    draws: ClassVar[bool]
    """Whether what it designs depends on the design set."""

    def __init__(self, config: DesignerConfig, means: Means) -> None: ...

    @classmethod
    def validation(cls, config: Any, cycles: int) -> tuple[int, int]:
        """Training steps and episodes by which it ranks designs in a run; `config` is its own section."""

    @classmethod
    def deducts(cls, config: Any) -> bool:
        """Whether the steps by which it ranks designs are taken off the run's last training phase."""

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


DESIGNERS: Registry[type[Designer]] = Registry(
    "designer.name",
    "designers",
    {
        "adaptive": "envgen_exp.designers.adaptive:Adaptive",
        "original": "envgen_exp.designers.original:Original",
        "fixed": "envgen_exp.designers.fixed:Fixed",
        "resample": "envgen_exp.designers.resample:Resample",
        "placebo": "envgen_exp.designers.placebo:Placebo",
        "random": "envgen_exp.designers.random:Random",
        "easy_to_hard": "envgen_exp.designers.ranked:EasyToHard",
        "adversarial": "envgen_exp.designers.ranked:Adversarial",
        "plr": "envgen_exp.designers.plr:PLR",
        "sfl": "envgen_exp.designers.sfl:SFL",
        "archive": "envgen_exp.designers.archive:Archive",
        "archive_mutated": "envgen_exp.designers.archive:ArchiveMutated",
        "generator": "envgen_exp.designers.generator:Generator",
        "gifts_only": "envgen_exp.designers.half:GiftsOnly",
        "terrain_only": "envgen_exp.designers.half:TerrainOnly",
        "human": "envgen_exp.designers.human:Human",
    },
    {
        "placebo": "envgen_exp.designers.config:PlaceboConfig",
        "human": "envgen_exp.designers.config:HumanConfig",
        "easy_to_hard": "envgen_exp.designers.config:EasyToHardConfig",
        "adversarial": "envgen_exp.designers.config:CandidatesConfig",
        "plr": "envgen_exp.designers.config:PLRConfig",
        "sfl": "envgen_exp.designers.config:SFLConfig",
    },
)


def make_designer(config: DesignerConfig, means: Means) -> Designer:
    """The designer that a config names; one that asks a language model needs a client. Raises ConfigError."""
    if config.num_designs < 1:
        raise ConfigError(f"designer.num_designs={config.num_designs}: allowed is 1 or more")
    return DESIGNERS.find(config.name)(config, means)


def asks(name: str) -> bool:
    """Whether the designer of this name asks a language model, or what stands in for one."""
    try:
        return DESIGNERS.find(name).uses_llm
    except ConfigError:
        return False
