"""A new set of a language model's designs each cycle, of which none is told how the agent does.

Every cycle asks the adaptive designer's first question in a chat of its own, with another sampling seed; at a
temperature of 0 a model has one answer to it, so that a temperature above 0 is needed.
"""

from __future__ import annotations

from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.llm.prompt import Feedback
from envgen_exp.llm.source import Message


class Resample(Adaptive):
    """Asks the first question again and again."""

    redraws = True

    def preview(self) -> list[list[Message]]:
        """The one chat that each cycle sends."""
        return super().preview()[:1]

    def _telling(self, feedback: Feedback | None) -> None:
        return None

    def _ask(self, feedback: Feedback | None) -> list[Message]:
        return self._question(feedback)

    def _draw(self, cycle: int) -> int:
        return cycle - 1
