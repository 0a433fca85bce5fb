"""Plain PPO: every slot plays the original, on the same number of steps; asks nobody."""

from __future__ import annotations

from typing import Any

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.proposal import Proposal
from envgen_exp.envs.family import Family
from envgen_exp.llm.client import Client
from envgen_exp.llm.prompt import Feedback
from envgen_exp.llm.source import Message


class Original:
    """The designer that designs nothing."""

    uses_llm = False

    def __init__(self, config: DesignerConfig, family: Family, client: Client | None) -> None:
        self._num_designs = config.num_designs

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """As many originals as there would be designs."""
        return Proposal(designs=(None,) * self._num_designs, checks=(None,) * self._num_designs)

    def preview(self) -> list[list[Message]]:
        """It sends nothing."""
        return []

    def example_reply(self) -> str:
        """Nobody answers."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """It remembers nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """It remembers nothing."""
