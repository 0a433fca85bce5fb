"""Learners that ask a language model for each action: each a chain of questions, listed here."""

from __future__ import annotations

from collections.abc import Mapping

from envgen_exp.learners.asked.chain import Question, in_order
from envgen_exp.learners.asked.direct import QUESTIONS as DIRECT
from envgen_exp.learners.asked.spring import QUESTIONS as SPRING

CHAINS: Mapping[str, tuple[Question, ...]] = {
    "direct": in_order(DIRECT),
    "spring": in_order(SPRING),
}
"""By agent, what it is asked for one action, each question after those whose answers it is shown."""
