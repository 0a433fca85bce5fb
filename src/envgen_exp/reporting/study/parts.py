"""What a study's score is made of, where it has parts, and errors in the labels' units, where frames are looked at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envgen_exp.errors import EnvGenError
from envgen_exp.families.family import Labelled, Parted
from envgen_exp.learners.supervised.measures import PAPER_RMSE
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.collect import Arm, FoundRun
from envgen_exp.reporting.study.contrasts import difference
from envgen_exp.reporting.study.tables import Sheet, ends, spread
from envgen_exp.run import plan
from envgen_exp.run.summary import RunSummary

Found = Mapping[str, Any]
"""What a run found of frames, or a part of it, as `measures.details` gives it."""

Pick = Callable[[Found], Found]
"""Finds the errors of one label in some frames."""


def part_sheets(analysis: Analysis) -> list[Sheet]:
    """The tables, as far as there is something in them."""
    arms = analysis.study.arms
    try:
        families = [arm.runs[0].family for arm in arms]
    except EnvGenError:  # of a package that is not installed here
        return []
    made = []
    if families and all(isinstance(family, Parted) for family in families):
        made += _parts(analysis)
    looked = [arm for arm, family in zip(arms, families, strict=True) if isinstance(family, Labelled)]
    if looked and all("frames" in run.result(plan.REPORT) for arm in looked for run in arm.runs):
        made += _errors(looked)
    return made


def _parts(analysis: Analysis) -> list[Sheet]:
    family = analysis.study.arms[0].runs[0].family
    assert isinstance(family, Parted)

    def part(name: str, summary: RunSummary) -> float:
        return family.score_parts({skill: summary.report.rate(skill) for skill in summary.skills})[name]

    names = tuple(family.score_parts(dict.fromkeys(family.skills, 0.0)))
    numbers = [functools.partial(part, name) for name in names]
    made = [
        Sheet(
            "Parts of the score",
            "Percent, of the report evaluation: mean ± SD over runs. The score is their mean.",
            ("arm", *names),
            [[arm.label, *(spread(arm.values(number)) for number in numbers)] for arm in analysis.study.arms],
        )
    ]
    rows = []
    for one in analysis.contrasts:
        found = [difference(one.ours, one.theirs, number) for number in numbers]
        tests = [each.test for each in found]
        sure = [ends((test.low, test.high) if test else None) for test in tests]
        cells = [f"{each.points:+.2f}{interval}" for each, interval in zip(found, sure, strict=True)]
        rows.append([f"{one.ours.label} - {one.theirs.label}", *cells])
    if rows:
        caption = "Points with their 95 % interval, by pairs of runs with one seed, corrected for nothing."
        made.append(Sheet("Differences in the parts", caption, ("difference", *names), rows))
    return made


def _errors(arms: Sequence[Arm]) -> list[Sheet]:
    family, first = arms[0].runs[0].family, _frames(arms[0].runs[0])
    assert isinstance(family, Labelled)
    columns = tuple(header for arm in arms for header in (arm.label, "missed %"))
    distances = [
        [_named(row), _band(row), *_mean_errors(arms, _of_label(place))]
        for place, row in enumerate(first["errors"])
        if row["there"]
    ]
    caption = (
        "Of the report evaluation: mean error of labels that are there and were said to be, mean ± SD over runs; "
        "missed: those that are there and were said not to be."
    )
    made = [Sheet("Errors by distance", caption, ("label", "range", *columns), distances, numbers=2)]
    for label in (label for label in family.labels if label.by_stratum):
        strata = [
            [part["stratum"], *_mean_errors(arms, _of_stratum(part["stratum"], label.name))]
            for part in first["strata"]
            if part[label.name]["there"]
        ]
        title = f"Errors by stratum: {label.name}, {label.unit}"
        made.append(Sheet(title, "As above, in the frames of each stratum.", ("stratum", *columns), strata))
    paper = [
        [
            _named(row),
            f"{PAPER_RMSE[row['label']]:g}",
            *(spread(_known(arm, _of_label(place), "paper_rmse")) for arm in arms),
        ]
        for place, row in enumerate(first["errors"])
        if row["whole"] and row["label"] in PAPER_RMSE
    ]
    if paper:
        caption = (
            "Root mean square error, where a wrong 'there or not' is a jump beyond the range. The paper's: validation "
            "error of the 28.3 M weights of Martinez et al. 2017 on roads that it was trained on. Ours: on roads that "
            "look otherwise than all that was trained on."
        )
        headers = ("label", "paper", *(arm.label for arm in arms))
        made.append(Sheet("Beside the paper, as it counts", caption, headers, paper))
    return made


def _frames(run: FoundRun) -> Found:
    frames: Found = run.result(plan.REPORT)["frames"]
    return frames


def _of_label(place: int) -> Pick:
    return lambda frames: frames["errors"][place]


def _of_stratum(stratum: str, label: str) -> Pick:
    return lambda frames: next((part[label] for part in frames["strata"] if part["stratum"] == stratum), {})


def _known(arm: Arm, pick: Pick, name: str) -> list[float]:
    """A number of each run that has it."""
    found = (pick(_frames(run)).get(name) for run in arm.runs)
    return [value for value in found if value is not None]


def _mean_errors(arms: Sequence[Arm], pick: Pick) -> list[str]:
    """Two cells for each arm."""
    cells = []
    for arm in arms:
        misses, there = (sum(_known(arm, pick, name)) for name in ("misses", "there"))
        cells += [spread(_known(arm, pick, "mae")), f"{100 * misses / there:.1f}" if there else "-"]
    return cells


def _named(row: Found) -> str:
    return f"{row['label']}, {row['unit']}"


def _band(row: Found) -> str:
    return "all" if row["whole"] else f"{row['low']:.3g} to {row['high']:.3g}"
