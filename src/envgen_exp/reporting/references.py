"""Scores of others beside a run's: as lines in its charts where the steps are the same, as rows with what differs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from envgen_exp.errors import EnvGenError
from envgen_exp.families.family import Reference, Referenced
from envgen_exp.reporting.page import Cell, Markup, element, fold, joined, table
from envgen_exp.run.record import RunRecord

NEAR = 0.05
"""A score of so many steps more or less is a line in a run's chart."""


def references_of(run: RunRecord) -> Sequence[Reference]:
    """Those of the run's original; none where its family has none, or is not installed."""
    try:
        return run.family.references if isinstance(run.family, Referenced) else ()
    except EnvGenError:
        return ()


def sees(run: RunRecord) -> str:
    """What a run's agent sees of the game."""
    return str(run.flat["env.observation"]) if run.learner.trains else "words"


def levels(references: Sequence[Reference], steps: Collection[int]) -> list[tuple[float, str]]:
    """The lines of a chart of runs with so many training steps: (score, name)."""
    return [(one.score, _name(one)) for one in references if one.line and _belongs(one, steps)]


def _belongs(one: Reference, steps: Collection[int]) -> bool:
    return not one.steps or any(abs(one.steps - ours) <= NEAR * ours for ours in steps)


def _name(one: Reference) -> str:
    return " ".join([f"{one.name}: {one.score:.1f} %", *([f"({one.sees}, {one.source})"] if one.steps else [])])


def beside(references: Sequence[Reference], ours: Sequence[Sequence[object]]) -> Markup:
    """The table to unfold: rows of ours, then the references; columns as in `HEADERS`."""
    if not references:
        return Markup("")
    rows: list[Sequence[object]] = [*ours]
    for one in references:
        score = Cell(" ".join([f"{one.score:g}", one.spread]).strip())
        steps = "-" if one.steps is None else f"{one.steps:,}"
        rows.append([one.name, score, steps, one.sees or "-", one.read, one.source])
    caption = (
        "Scores of the same game. Rows differ in training steps, in what is seen, in the network and in the episodes "
        "that are scored: compare what is equal."
    )
    made = table(caption, HEADERS, rows, numbers=1, words=3)
    note = "A chart has those as lines that belong there: of as many training steps, or of none."
    return fold("Beside other scores of this game", joined([made, element("p", note, class_="note")]))


HEADERS = ("score of", "score %", "training steps", "sees", "over", "source")
