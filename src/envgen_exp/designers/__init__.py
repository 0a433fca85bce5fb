"""Who writes the designs of a cycle; one file a designer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.designers.original import Original
from envgen_exp.designers.proposal import Proposal
from envgen_exp.envs.family import Family
from envgen_exp.errors import ConfigError
from envgen_exp.llm.client import Client
from envgen_exp.llm.prompt import Feedback
from envgen_exp.llm.source import Message

__all__ = ["DESIGNERS", "Designer", "Feedback", "Proposal", "make_designer"]


class Designer(Protocol):
    """Writes designs, cycle after cycle; its state goes into checkpoints."""

    @property
    def uses_llm(self) -> bool:
        """Whether it needs a client."""

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The designs of a cycle, counted from 1; `feedback` is of the cycle before, None in the first.

        Raises LLMError where a client was asked and gave no answer; the state is then as before.
        """

    def preview(self) -> list[list[Message]]:
        """The chats that it would send, as far as they are known before the run: first, and one with feedback."""

    def example_reply(self) -> str:
        """A typical answer, for an estimate of the cost; empty where nobody is asked."""

    def state_dict(self) -> dict[str, Any]:
        """What the next cycle needs to know, as plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""


DESIGNERS: dict[str, Callable[[DesignerConfig, Family, Client | None], Designer]] = {
    "adaptive": Adaptive,
    "original": Original,
}


def make_designer(config: DesignerConfig, family: Family, client: Client | None) -> Designer:
    """The designer that a config names; one that asks a language model needs a client."""
    made = DESIGNERS.get(config.name)
    if made is None:
        raise ConfigError(f"designer.name={config.name}: there is no such designer; there are {', '.join(DESIGNERS)}")
    if config.num_designs < 1:
        raise ConfigError(f"designer.num_designs={config.num_designs}: allowed is 1 or more")
    return made(config, family, client)
