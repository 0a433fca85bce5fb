"""What designs did and took: what they taught, which skills make a difference, when they came, a model's minutes."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envgen_exp.families.design import settings_key
from envgen_exp.reporting.statistics import Groups, mean_interval, units
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.collect import Arm, FoundRun, comparable
from envgen_exp.reporting.study.contrasts import pairs
from envgen_exp.reporting.study.curves import WINDOWS, counted, designs, rate_of, targets
from envgen_exp.reporting.study.tables import Sheet, SkillsOfArm, average, skill_parts, spread
from envgen_exp.tracking.progress import duration

PASSED = 0.1
"""Success rate at which a skill counts as come.

The first episode that shows it, which the paper's Figure 5 takes, is luck and comes sooner where more episodes are
played. Of a window's episodes, some 500 at the paper's steps, a tenth is neither.
"""

MOST = 3
"""Values of a setting that are told."""

_END = WINDOWS // 4
"""Last points of a curve from which its slope at the end is taken."""


@dataclass(frozen=True)
class Taught:
    """What a cycle did in one run, in points of success."""

    targets: float
    """Skills that at least one of its designs is to train."""
    gap: float | None
    """Of its training episodes: in designs above the original."""
    targeted: float | None
    """Change of the targeted skills from the feedback evaluation before to that after; None in the first cycle."""
    untargeted: float | None
    difference: float | None
    beside: float | None
    """The difference, less that of the same skills in the original's run with this seed."""


def taught(run: FoundRun, cycle: int, original: FoundRun | None) -> Taught:
    """What a cycle that trained in designs did; `original` is the run without designs to put beside it."""
    gap, wanted = run.gaps.get(str(cycle)), targets(run)[cycle]
    targeted, untargeted = _changes(run, cycle, wanted)
    both = _difference(targeted, untargeted)
    theirs = _difference(*_changes(original, cycle, wanted)) if original else None
    known = cycle > 1  # before the first one the two agents are the same, but nobody has evaluated them
    return Taught(
        targets=len(wanted),
        gap=_difference(*gap) if gap else None,
        targeted=targeted if known else None,
        untargeted=untargeted if known else None,
        difference=both if known else None,
        beside=_difference(both, theirs),
    )


def _changes(run: FoundRun, cycle: int, wanted: set[str]) -> tuple[float | None, float | None]:
    """Mean change of the targeted skills and of all others over a cycle; before the first it is taken for 0."""
    assert run.summary is not None, "arms hold finished runs alone"
    after, before = run.summary.feedback[cycle - 1], run.summary.feedback[cycle - 2] if cycle > 1 else None
    change = {
        skill: 100 * (after.rate(skill) - (before.rate(skill) if before else 0.0)) for skill in run.summary.skills
    }
    sides = [[change[skill] for skill in change if (skill in wanted) is side] for side in (True, False)]
    ours, others = (statistics.fmean(some) if some else None for some in sides)
    return ours, others


def _difference(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def answers(analysis: Analysis) -> list[Sheet]:
    """The tables, as far as there is something in them."""
    arms = analysis.study.arms
    parts = list(skill_parts(analysis, 4))
    made = [_designs(arms), *map(_named, parts), *map(_chosen, parts), _minutes(arms), _carried(analysis)]
    return [sheet for sheet in [*made, *map(_unlocks, parts)] if sheet.rows]


def _originals(arm: Arm, arms: Sequence[Arm]) -> Mapping[int, FoundRun]:
    """By seed the runs of `original` that an arm's can be compared with, cycle by cycle."""

    def cycles(run: FoundRun) -> tuple[int, int]:
        return run.flat["cycles"], run.flat["schedule.designed_steps"] + run.flat["schedule.original_steps"]

    runs = [run for one in arms if one.name == "original" for run in one.runs]
    return {r.flat["seed"]: r for r in runs if comparable(arm.runs[0], r) and cycles(arm.runs[0]) == cycles(r)}


def _designs(arms: Sequence[Arm]) -> Sheet:
    return Sheet(
        "What the designs did",
        "Points of success by cycle, means over runs. Designed - original: of the cycle's training episodes, in its "
        "designs above the original, ± SD, over the skills that the designs are to train (all where they name none). "
        "Targets: how many skills at least one design is to train. Targeted: their change from the feedback "
        "evaluation before the cycle to that after it; untargeted: that of the others. Weak skills are targeted, and "
        "what was low by chance rises by itself; and skills rise without designs. So the last column takes off the "
        "difference of the same skills over the same cycle in original's run of the seed. In brackets 95 % intervals; "
        "(5 of 15): in so many runs alone there are skills of both kinds, or there is a run to compare with.",
        ("arm", "cycle", "designed - original", "targets", "targeted", "untargeted", "difference", "beside original"),
        [row for arm in arms for row in _cycles(arm, _originals(arm, arms))],
        numbers=2,
    )


def _cycles(arm: Arm, originals: Mapping[int, FoundRun]) -> Iterator[list[str]]:
    for cycle in sorted({cycle for run in arm.runs for cycle in targets(run)}):
        sets = [
            [taught(run, cycle, originals.get(run.flat["seed"])) for run in runs if cycle in targets(run)]
            for runs in arm.sets
        ]
        gaps, wanted = ([value for some in _column(sets, name) for value in some] for name in ("gap", "targets"))
        names = ("targeted", "untargeted", "difference", "beside")
        changes = [_points(_column(sets, name), sum(map(len, sets))) for name in names]
        yield [arm.label, str(cycle), spread(gaps), average(wanted), *changes]


def _named(part: Sequence[SkillsOfArm]) -> Sheet:
    by_arm = {
        arm.label: [wanted for run in arm.runs for cycle, wanted in targets(run).items() if cycle > 1]
        for arm, _ in part
    }
    naming = {label: cycles for label, cycles in by_arm.items() if any(cycles)}
    return Sheet(
        "Which skills the designs name",
        "Percent of the cycles after the first, over all runs, in which at least one design is to train the skill: in "
        "the first nothing is known of the agent. Arms that keep their first designs repeat them; those whose designs "
        "name none are left out. Where a small model is asked, its compact prompt leaves out the agent's strongest "
        "skills and has each design choose from a group of the others, weakest first.",
        ("skill", *naming),
        [
            [
                one.skill,
                *(f"{100 * sum(one.skill in c for c in cycles) / len(cycles):.0f}" for cycles in naming.values()),
            ]
            for one in part[0][1]
            if naming
        ],
    )


def _chosen(part: Sequence[SkillsOfArm]) -> Sheet:
    by_arm = {arm.label: [d for run in arm.runs for some in designs(run).values() for d in some] for arm, _ in part}
    made = {label: [_plain(design) for design in some] for label, some in by_arm.items() if some}
    keys = dict.fromkeys(key for some in made.values() for design in some for key in design)
    held = {arm.label: [one for run in arm.runs for one in counted(run)] for arm, _ in part}
    things = dict.fromkeys(what for label in made for one in held[label] for what in one)
    rows = [
        ["designs", *(f"{len(some):,}" for some in made.values())],
        ["distinct", *(f"{len(set(map(settings_key, some))):,}" for some in made.values())],
        *([key, *(_most([one[key] for one in some if key in one]) for some in made.values())] for key in keys),
        *(
            [f"{what}, mean", *(average([one[what] for one in held[label] if what in one]) for label in made)]
            for what in things
        ),
    ]
    return Sheet(
        "What the designs set",
        f"The {MOST} most frequent values of each setting, with the share of an arm's designs that have this value. "
        "Distinct: how many of the designs differ. Below, where it was counted, what their worlds hold, on average.",
        ("", *made),
        rows if made else [],
    )


def _plain(design: Mapping[str, Any]) -> Mapping[str, Any]:
    """What it sets, without the words."""
    return {key: value for key, value in design.items() if key not in ("purpose", "targets")}


def _most(values: Sequence[object]) -> str:
    counts = Counter(map(str, values)).most_common(MOST)
    return ", ".join(f"{value} ({100 * count / len(values):.0f} %)" for value, count in counts) or "-"


def _column(sets: Sequence[Sequence[Taught]], name: str) -> list[list[float]]:
    """One of the numbers by design set, of the runs that have it."""
    found = [[value for one in some if (value := getattr(one, name)) is not None] for some in sets]
    return [group for group in found if group]


def _points(groups: Groups, of: int = 0, digits: int = 1) -> str:
    """Their mean with its interval, and how many `of` so many runs have the number, where not all do."""
    if not groups:
        return "-"
    ends, known = mean_interval(groups), sum(map(len, groups))
    mean, *both = (f"{value:+.{digits}f}" for value in (units(groups).mean(), *(ends or ())))
    some = f" ({known} of {of})" if known < of else ""
    return (f"{mean} [{', '.join(both)}]" if both else mean) + some


@dataclass(frozen=True)
class ModelTime:
    """What an arm's language model took, means of a run, and what training would have made of it."""

    seconds: float
    speed: float
    """Training steps a second of all the other time, evaluations included."""
    steps: float
    """That the model's time would have been at this speed."""
    rises: list[float]
    """Points of score by which each run of `original` would rise in so many, did its curve go on as at its end."""


def model_time(arm: Arm, arms: Sequence[Arm]) -> ModelTime:
    """Of an arm that asks a model; `original` is sought among `arms`."""
    seconds = [run.spent.seconds for run in arm.runs]
    others = [s.seconds - of_model for s, of_model in zip(arm.summaries, seconds, strict=True)]
    speeds = [run.training_steps / other for run, other in zip(arm.runs, others, strict=True)]
    steps = statistics.fmean(speed * of_model for speed, of_model in zip(speeds, seconds, strict=True))
    slopes = [slope for run in _originals(arm, arms).values() if (slope := _slope(run)) is not None]
    return ModelTime(statistics.fmean(seconds), statistics.fmean(speeds), steps, [steps * slope for slope in slopes])


def _minutes(arms: Sequence[Arm]) -> Sheet:
    asked = [arm for arm in arms if any(run.trains and run.spent.seconds for run in arm.runs)]
    found = [(arm.label, model_time(arm, arms)) for arm in asked]
    return Sheet(
        "What the language model's time would have trained",
        "Means of a run: the time in which requests were answered; training steps a second of all the other time, "
        "evaluations included; the steps that the one would have been at the other; and the points of score by which "
        "original would rise in so many, did its curve go on as over the last quarter of its training (a straight "
        "line through the score of its training episodes, ± SD over its runs): a curve that flattens rises less. None "
        "where training frames seldom ask for some skills, so that there is no such curve.",
        ("arm", "the model's time", "steps/s", "steps in that time", "original would rise by"),
        [[label, duration(t.seconds), f"{t.speed:,.0f}", f"{t.steps:,.0f}", spread(t.rises)] for label, t in found],
    )


def _slope(run: FoundRun) -> float | None:
    """Points of score a training step, over the end of a run's curve; None where it has no two points there."""
    ends = zip(run.windows.get("steps", [])[-_END:], run.windows.get("score", [])[-_END:], strict=True)
    known = [(x, y) for x, y in ends if x is not None and y is not None]
    return float(np.polyfit([x for x, _ in known], [y for _, y in known], 1)[0]) if len(known) > 1 else None


def _carried(analysis: Analysis) -> Sheet:
    mains = [one for one in analysis.contrasts if (one.ours.name, one.theirs.name) in analysis.study.mains]
    found = {f"{one.ours.label} - {one.theirs.label}": carried(one.ours, one.theirs) for one in mains}
    known = {label: skills for label, skills in found.items() if skills}
    return Sheet(
        "Which skills make the difference",
        "Points of the main difference that are gone where both runs of a pair get their mean of one skill's success, "
        "with 95 % intervals, corrected for nothing: it says where a difference comes from, and tests nothing.",
        ("skill", *known),
        [
            [skill, *(_points(skills.get(skill, []), digits=2) for skills in known.values())]
            for skill in dict.fromkeys(skill for skills in known.values() for skill in skills)
        ],
    )


def carried(ours: Arm, theirs: Arm) -> dict[str, Groups]:
    """By skill, for each pair of runs, the points of their difference in score that are its own; pairs by design set.

    A share of what is no sum, the score: together they are about the difference. Empty for arms of a family without a
    score here, and for arms whose runs are not compared in pairs.
    """
    found: dict[str, list[list[float]]] = defaultdict(list)
    for group in pairs(ours, theirs, lambda s: s.score):
        owned: dict[str, list[float]] = defaultdict(list)
        for both in group:
            rates = [{skill: s.report.rate(skill) for skill in s.skills} for (run, _) in both if (s := run.summary)]
            whole = _difference(*map(ours.score_of, rates))
            for skill in rates[0]:
                alike = {skill: statistics.fmean(one[skill] for one in rates)}
                own = _difference(whole, _difference(*(ours.score_of({**one, **alike}) for one in rates)))
                if own is not None:
                    owned[skill].append(own)
        for skill, points in owned.items():
            found[skill].append(points)
    return dict(found)


def _unlocks(part: Sequence[SkillsOfArm]) -> Sheet:
    known = any(rate_of(part[0][1][0].skill) in run.windows for arm, _ in part for run in arm.runs)
    return Sheet(
        "When skills come",
        f"Training steps, in designs and in the original, until a skill is shown in {100 * PASSED:.0f} % of the "
        f"training episodes in the original, looked at by each {WINDOWS}th of the training: median over runs, and how "
        "many came there; never: half or fewer. The paper's Figure 5 takes the first episode that shows a skill, "
        "which is luck and comes sooner where more episodes are played. A window in which all training was in "
        "designs, as in the first it may be, has no episode of the original. What came in it is counted later, so "
        "that arms with designs look later than original.",
        ("skill", *(arm.label for arm, _ in part)),
        [[one.skill, *(_unlock(arm, one.skill) for arm, _ in part)] for one in part[0][1] if known],
    )


def _unlock(arm: Arm, skill: str) -> str:
    curves = [run.windows for run in arm.runs if rate_of(skill) in run.windows]
    if not curves or any(
        y is None for c in curves for y, z in zip(c[rate_of(skill)], c["return"], strict=True) if z is not None
    ):
        return "-"
    steps = [
        next((x for x, y in zip(c["steps"], c[rate_of(skill)], strict=True) if x and y and y >= PASSED), math.inf)
        for c in curves
    ]
    median, came = statistics.median(steps), sum(map(math.isfinite, steps))
    return f"{median:,.0f} ({came} of {len(steps)})" if math.isfinite(median) else f"never ({came} of {len(steps)})"
