"""The first set of a language model's designs, kept for all cycles: what design does without adaptation."""

from __future__ import annotations

from dataclasses import replace

from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.designers.proposal import Proposal
from envgen_exp.llm.prompt import Feedback
from envgen_exp.llm.source import Message


class Fixed(Adaptive):
    """Asks once, exactly what the adaptive designer asks first."""

    def num_calls(self, cycles: int) -> int:
        """One."""
        return 1

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The first cycle's designs, in every cycle."""
        if self._last is None:
            return super().design(cycle, None)
        return replace(self._last, notes=(), repairs=0)

    def preview(self) -> list[list[Message]]:
        """The one chat."""
        return super().preview()[:1]
