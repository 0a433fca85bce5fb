"""Questions that build on each other's answers: a directed acyclic graph whose last answer is the action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One node of the graph."""

    name: str
    """What the ledger calls it."""
    text: str
    needs: tuple[str, ...] = ()
    """Questions whose answers it is shown."""


def in_order(questions: Sequence[Question]) -> tuple[Question, ...]:
    """The questions in topological order, as they are listed where that leaves a choice.

    Raises ValueError for a name that stands twice or is missing, for a circle, and where the last question is not the
    only one whose answer no other needs.
    """
    names = [question.name for question in questions]
    needed = {name for question in questions for name in question.needs}
    if len(set(names)) < len(names) or not needed <= set(names):
        raise ValueError(f"names stand twice or are missing: {names}, needed are {sorted(needed)}")
    order: list[Question] = []
    left = list(questions)
    while left:
        answered = {question.name for question in order}
        ready = next((question for question in left if answered.issuperset(question.needs)), None)
        if ready is None:
            raise ValueError(f"these questions need each other: {[question.name for question in left]}")
        order.append(ready)
        left.remove(ready)
    if [name for name in names if name not in needed] != [order[-1].name]:
        raise ValueError(f"answers that nothing is made of: {[name for name in names if name not in needed]}")
    return tuple(order)
