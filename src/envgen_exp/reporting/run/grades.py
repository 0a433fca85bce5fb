"""The report evaluation by how hard its worlds are, where the family grades them."""

from __future__ import annotations

from typing import Any

from envgen_exp.families.family import Graded
from envgen_exp.learners.intervals import score_interval, wilson
from envgen_exp.reporting.page import Markup, element, joined, table
from envgen_exp.reporting.plots import bars, legend
from envgen_exp.reporting.references import references_of
from envgen_exp.run import plan
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import Episodes


def grades(data: RunRecord) -> Markup:
    """Score, return and length of the report evaluation's episodes by grade, beside those of random actions."""
    family, rows = data.family, data.episodes.get(plan.REPORT, [])
    if not isinstance(family, Graded) or not rows:
        return Markup("")
    by_grade: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_grade.setdefault(family.grade(row["world_seed"]), []).append(row)
    names, ours, cells = [], [], []
    for grade, played in sorted(by_grade.items()):
        found = Episodes.of(played, len(data.skills))
        rates = dict(zip(data.skills, found.shown.mean(axis=0).tolist(), strict=True))
        score, (low, high) = family.score(rates), score_interval(found.shown, data.skills, family.score)
        names.append(f"{family.grade_name}: {grade}")
        ours.append((score, low, high))
        numbers = [f"{len(found):,}", f"{score:.1f} [{low:.1f}, {high:.1f}]"]
        cells.append([*numbers, f"{found.mean_return:.2f}", f"{found.mean_length:,.0f}"])
    groups = [("report evaluation", 4, ours)]
    headers = [family.grade_name, "episodes", "score % [95 %]", "return", "length, steps"]
    for one in references_of(data):
        if one.by_grade:
            theirs = [_percent(*one.by_grade.get(grade, (0, 0))) for grade in sorted(by_grade)]
            groups.append((one.name, 8, theirs))
            headers.append(f"{one.name}, % [95 %]")
            for line, (score, low, high) in zip(cells, theirs, strict=True):
                line.append(f"{score:.1f} [{low:.1f}, {high:.1f}]")
    words = ", ".join(f"{name}: {score:.1f} %" for name, (score, _, _) in zip(names, ours, strict=True))
    chart = bars("Score, 95 % intervals over episodes", names, groups, alt=f"Score by {family.grade_name}: {words}")
    note = (
        f"The original's worlds differ in {family.grade_name}, and so in how hard they are: a score says little alone."
    )
    lines = [[str(grade), *line] for grade, line in zip(sorted(by_grade), cells, strict=True)]
    return joined(
        [
            element("p", note, class_="note"),
            element("div", joined([chart, legend([(name, colour, True) for name, colour, _ in groups])]), class_="one"),
            table("The report evaluation's episodes", headers, lines),
        ]
    )


def _percent(taken: int, episodes: int) -> tuple[float, float, float]:
    """A rate and its 95 % interval."""
    low, high = wilson(taken, episodes)
    return 100 * taken / max(episodes, 1), 100 * low, 100 * high
