"""What a study's score is made of, where it has parts, and errors in the labels' units, where frames are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envgen_exp.errors import EnvGenError
from envgen_exp.families.family import Family, Labelled, Parted
from envgen_exp.learners.supervised.measures import PAPER_RMSE
from envgen_exp.reporting.run.frames import PAPER_NOTE, band, named
from envgen_exp.reporting.statistics import mean_sd
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.collect import Arm
from envgen_exp.reporting.study.contrasts import Number, difference
from envgen_exp.reporting.study.tables import Sheet, points, spread
from envgen_exp.run.summary import RunSummary


def score_sheets(analysis: Analysis) -> list[Sheet]:
    """The parts of the score, where the family tells them: of each arm, and the differences of arms."""
    family = _family(analysis)
    if not isinstance(family, Parted):
        return []
    numbers = {name: _part(family, name) for name in family.score_parts(dict.fromkeys(family.skills, 0.0))}
    arms = analysis.study.arms
    made = Sheet(
        "Parts of the score",
        "Percent, of the report evaluation: mean ± SD over runs. The score is their mean.",
        ("part", *(arm.label for arm in arms)),
        [[name, *(spread(arm.values(number)) for arm in arms)] for name, number in numbers.items()],
    )
    return [made, *_differences(analysis, "Differences in the parts", "Points", "part", numbers)]


def error_sheets(analysis: Analysis) -> list[Sheet]:
    """Errors in the labels' units, where all arms look at frames of one family."""
    family = _family(analysis)
    if not isinstance(family, Labelled):
        return []
    arms = analysis.study.arms
    rows = {_place(row): row for s in _summaries(arms) for row in s.frames["errors"] if row["there"]}
    columns = tuple(header for arm in arms for header in (arm.label, "missed %"))
    caption = (
        "Of all that the report evaluation looks at, events too: mean error of labels that are there and were said to "
        "be, mean ± SD over runs; missed: those that are there and were said not to be, mean over runs."
    )
    distances = [
        [named(row), band(row), *_cells(arms, *(_error(place, name) for name in ("mae", "missed")))]
        for place, row in rows.items()
    ]
    made = [Sheet("Errors by distance", caption, ("label", "range", *columns), distances, numbers=2)]
    for label in (label for label in family.labels if label.by_stratum):
        strata = dict.fromkeys(
            part["stratum"] for s in _summaries(arms) for part in s.frames["strata"] if part[label.name]["there"]
        )
        errors = {name: {s: _stratum(s, label.name, name) for s in strata} for name in ("mae", "missed")}
        cells = [[s, *_cells(arms, errors["mae"][s], errors["missed"][s])] for s in strata]
        title = f"Errors by stratum: {label.name}, {label.unit}"
        made.append(Sheet(title, "As above, in the frames of each stratum.", ("stratum", *columns), cells))
        title = f"Differences by stratum: {label.name}, {label.unit}"
        made += _differences(analysis, title, "Of mean errors", "stratum", errors["mae"])
    paper = [
        [
            named(row),
            f"{PAPER_RMSE[row['label']]:g}",
            *(spread(arm.values(_error(place, "paper_rmse"))) for arm in arms),
        ]
        for place, row in rows.items()
        if row["whole"] and row["label"] in PAPER_RMSE
    ]
    if paper:
        headers = ("label", "paper", *(arm.label for arm in arms))
        made.append(Sheet("Beside the paper: root mean square errors", PAPER_NOTE, headers, paper))
    return made


def _family(analysis: Analysis) -> Family | None:
    """That of all arms; None where there are several, or it is of a package that is not installed here."""
    runs = [arm.runs[0] for arm in analysis.study.arms]
    try:
        return runs[0].family if len({run.flat["env.name"] for run in runs}) == 1 else None
    except EnvGenError:
        return None


def _summaries(arms: Sequence[Arm]) -> list[RunSummary]:
    return [summary for arm in arms for summary in arm.summaries]


def _differences(analysis: Analysis, title: str, words: str, first: str, numbers: Mapping[str, Number]) -> list[Sheet]:
    """Of each number, for each contrast."""
    contrasts = analysis.contrasts
    rows = [
        [name, *(points(difference(c.ours, c.theirs, number)) for c in contrasts)] for name, number in numbers.items()
    ]
    caption = f"{words}, with 95 % intervals: by pairs of runs with the same seed, or Welch's; corrected for nothing."
    headers = (first, *(f"{c.ours.name} - {c.theirs.name}" for c in contrasts))
    return [Sheet(title, caption, headers, rows)] if contrasts else []


def _part(family: Parted, name: str) -> Number:
    return lambda s: family.score_parts({skill: s.report.rate(skill) for skill in s.skills})[name]


def _place(row: Mapping[str, Any]) -> tuple[str, float, bool]:
    return row["label"], row["low"], row["whole"]


def _error(place: tuple[str, float, bool], name: str) -> Number:
    """What a run found of a label in a part of its range."""
    return lambda s: _of(next((row for row in s.frames["errors"] if _place(row) == place), {}), name)


def _stratum(stratum: str, label: str, name: str) -> Number:
    """What a run found of a label in the frames of a stratum."""
    return lambda s: _of(next((p[label] for p in s.frames["strata"] if p["stratum"] == stratum), {}), name)


def _of(row: Mapping[str, Any], name: str) -> float | None:
    if name == "missed":
        return 100 * row["misses"] / row["there"] if row.get("there") else None
    value: float | None = row.get(name)
    return value


def _cells(arms: Sequence[Arm], error: Number, missed: Number) -> list[str]:
    """Two for each arm."""
    cells = []
    for arm in arms:
        shares = arm.values(missed)
        cells += [spread(arm.values(error)), f"{mean_sd(shares)[0]:.1f}" if shares else "-"]
    return cells
