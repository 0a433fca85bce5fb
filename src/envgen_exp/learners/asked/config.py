"""What a learner that is asked and learns nothing says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from envgen_exp.config import AgentConfig


@dataclass(frozen=True)
class AskedConfig(AgentConfig):
    """A language model that plays."""

    trains: ClassVar[bool] = False
    asks: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = (
        "designer",
        "ppo",
        "schedule",
        "cycles",
        "evaluation",
        "device",
        "design_set",
    )
    report: ClassVar[str] = "agent.episodes"

    @classmethod
    def label(cls, config: Mapping[str, Any]) -> str:
        """It plays itself."""
        return "plays itself"
