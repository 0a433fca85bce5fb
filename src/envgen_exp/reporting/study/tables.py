"""The tables of a study, as rows of text."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from envgen_exp.reporting.page import number
from envgen_exp.reporting.statistics import against_number, mean_sd, units
from envgen_exp.reporting.study.analysis import (
    Analysis,
    ArmResult,
    SkillResult,
    steps_of,
    updates,
)
from envgen_exp.reporting.study.claims import MARGIN
from envgen_exp.reporting.study.collect import Arm, Study, comparable
from envgen_exp.reporting.study.contrasts import Difference, Number, difference
from envgen_exp.reporting.study.preregistered import FEWEST, decided, mains, reasons
from envgen_exp.run.summary import PLAYED_KINDS, RunSummary
from envgen_exp.tracking.progress import duration

DIAGNOSTICS = "Diagnostics, not to be compared: "
"""How the titles of their tables begin."""


@dataclass(frozen=True)
class Sheet:
    """One table, its cells as they are printed."""

    title: str
    caption: str
    headers: tuple[str, ...]
    rows: list[list[str]]
    numbers: int = 1
    """From this column on cells are numbers."""


def sheets(analysis: Analysis) -> list[Sheet]:
    """The tables of a study, as far as there is something in them."""
    made = []
    if analysis.arms:
        made += [_results(analysis.arms), *_midway(analysis.arms), *_contrasts(analysis), *_beside_original(analysis)]
        made += [*_verdict(analysis), *_beside_paper(analysis.arms), *_costs(analysis.arms)]
    if analysis.diagnostics:
        made += [_results(analysis.diagnostics, DIAGNOSTICS), *_costs(analysis.diagnostics, DIAGNOSTICS)]
    return made


def _results(results: Sequence[ArmResult], words: str = "") -> Sheet:
    return Sheet(
        _title(words, "Results"),
        "Score (percent) and reward are of the report evaluation, the headline: mean ± SD over runs; n is runs, or "
        "design sets × seeds. IQM: interquartile mean with the 95 % interval of a nested bootstrap (design sets, then "
        "seeds). Pooled: score of the success rates over all runs. Training: score over the training episodes of the "
        "last phase, as the paper reads it.",
        ("arm", "n", "score", "IQM [95 %]", "pooled", "training", "reward"),
        [
            [
                one.arm.label,
                one.n,
                spread(one.arm.values(lambda s: s.score)),
                number(one.iqm)
                + (_ends(one.iqm_interval) or _no_spread(len(units(one.arm.groups(lambda s: s.score))))),
                number(one.pooled),
                spread(one.arm.values(lambda s: s.training_score)),
                spread(one.arm.values(lambda s: s.reward)),
            ]
            for one in results
        ],
    )


def _midway(results: Sequence[ArmResult]) -> list[Sheet]:
    """What evaluation.report_at asked for."""
    steps = sorted({e.step for one in results for summary in one.arm.summaries for e in summary.midway})
    if not steps:
        return []

    return [
        Sheet(
            "Score in the midst of training",
            "Percent, of report evaluations after so many training steps, in other worlds than those of the last one: "
            "mean ± SD over runs.",
            ("arm", *(f"{step:,} steps" for step in steps)),
            [
                [one.arm.label, *(spread(one.arm.values(functools.partial(_score_at, step))) for step in steps)]
                for one in results
            ],
        )
    ]


def _contrasts(analysis: Analysis) -> list[Sheet]:
    if not analysis.contrasts:
        return []
    main = " and ".join(" - ".join(pair) for pair in analysis.study.mains)
    times = analysis.is_main.count(True)
    tested = f"tested {times} times here, its p multiplied by that" if times > 1 else "tested alone"
    return [
        Sheet(
            "Differences",
            "Points of report score with 95 % interval and p, by pairs of runs with the same seed (a t test, over "
            "design sets where runs share them); with 0 pairs, and beside it, Welch's. Corrected: one main contrast is "
            f"fixed before any run, {main}, and {tested}; all others are one family, fixed too, and their p is "
            f"multiplied by its size, {analysis.family}. Shuffled: a permutation test; ≥ is the smallest p it can "
            "give, where that is above 0.05. P(better): probability that a run of the first is above one of the other. "
            f"The last column: independent pairs, or runs an arm, that would show {MARGIN:g} points with 80 % power.",
            (
                *("difference", "points [95 %]", "pairs", "p", "corrected", "Welch's p", "shuffled"),
                *("P(better) [95 %]", f"n for {MARGIN:g}"),
            ),
            [
                [
                    f"{one.ours.label} - {one.theirs.label}",
                    points(one.difference),
                    str(one.difference.pairs),
                    p_value(one.difference.test.p if one.difference.test else None),
                    p_value(one.corrected),
                    p_value(one.difference.welch.p if one.difference.welch else None),
                    _shuffled(one.permutation),
                    f"{one.improvement:.2f}{_ends(one.improvement_interval)}",
                    "-" if one.needed is None else f"{one.needed:,}",
                ]
                for one in analysis.contrasts
            ],
        )
    ]


def _beside_original(analysis: Analysis) -> list[Sheet]:
    """What a reader asks of each arm, whatever was planned."""
    arms = analysis.study.arms
    steps = sorted({e.step for arm in arms for summary in arm.summaries for e in summary.midway})
    numbers: dict[str, Number] = {f"{step:,} steps": functools.partial(_score_at, step) for step in steps}
    numbers["at the end"] = _score
    rows = [
        [f"{arm.label} - {original.label}", *(points(difference(arm, original, number)) for number in numbers.values())]
        for original in arms
        for arm in arms
        if original.name == "original" and arm.name != "original" and comparable(arm.runs[0], original.runs[0])
    ]
    caption = (
        "Points of report score above the original's with 95 % intervals, by pairs of runs with the same seed, or "
        "Welch's. Corrected for nothing; what does not stand under Differences was not planned."
    )
    return [Sheet("Beside the original", caption, ("difference", *numbers), rows)] if rows else []


def _score(summary: RunSummary) -> float:
    return summary.score


def _score_at(step: int, summary: RunSummary) -> float | None:
    return next((e.values["score/midway"] for e in summary.midway if e.step == step), None)


def _verdict(analysis: Analysis) -> list[Sheet]:
    """What a preregistered study says, and where it helps, why."""
    said = [
        (one, words)
        for main in mains(analysis)
        for one, words in [(main, decided(analysis, main)), *reasons(analysis, main)]
    ]
    if not said:
        return []
    return [
        Sheet(
            "Verdict",
            "By the rule that was fixed before the first run, in docs/verdict.md: of the 95 % interval of the main "
            f"difference, where all arms of the core have the same {FEWEST} seeds or more. It stands when all seeds "
            "are run; a part of them decides nothing. Where EnvGen helps, other differences with a corrected p below "
            "0.05 say why. One pair less: the lowest and the highest p, uncorrected, as each pair (design set, where "
            "runs share them) in turn is left out, and how often it is not below 0.05; it decides nothing. Last column "
            "as under Differences.",
            (
                *("difference", "points [95 %]", "pairs", "corrected", "what it says"),
                *("p, one pair less", f"n for {MARGIN:g}"),
            ),
            [
                [
                    f"{one.ours.label} - {one.theirs.label}",
                    points(one.difference),
                    str(one.difference.pairs),
                    p_value(one.corrected),
                    words,
                    one_less(one.difference),
                    "-" if one.needed is None else f"{one.needed:,}",
                ]
                for one, words in said
            ],
        )
    ]


def one_less(found: Difference) -> str:
    """How far p goes as each pair in turn is left out."""
    values = units(found.paired) if found.paired else np.zeros(0)
    tests = [against_number([np.delete(values, place).tolist()], 0.0) for place in range(len(values))]
    found_p = [test.p for test in tests if test]
    if not found_p:
        return "-"
    above = sum(p >= 0.05 for p in found_p)
    return f"{p_value(min(found_p))} to {p_value(max(found_p))}, not below 0.05 in {above} of {len(found_p)}"


def points(found: Difference) -> str:
    """A difference with its 95 % interval, or why it has none; '-' where an arm has no such number."""
    if not (found.paired or (found.ours and found.theirs)):
        return "-"
    test = found.test
    return f"{found.points:+.2f}" + (_ends((test.low, test.high)) if test else _no_spread(found.count))


def _no_spread(count: int) -> str:
    """Why a number has no interval."""
    return " (n=1)" if count == 1 else f" (n={count}, no spread)"


def _shuffled(found: tuple[float, float] | None) -> str:
    if found is None:
        return "-"
    return p_value(found[0]) if found[1] <= 0.05 else f"{p_value(found[0])} (≥ {p_value(found[1])})"


def _beside_paper(results: Sequence[ArmResult]) -> list[Sheet]:
    there = [one for one in results if one.paper is not None]
    if not there:
        return []
    return [
        Sheet(
            "Beside the paper",
            "Training-episode score beside the paper's, which is taken as exact. Two one-sided tests: p below 0.05 "
            f"means equal within {MARGIN:g} points. Power: chance to show that if the truth is the paper's number; n: "
            "independent runs for a power of 80 %.",
            ("arm", "ours", "paper", "difference [90 %]", "p", "power", "n"),
            [
                [
                    one.arm.label,
                    spread(one.arm.values(lambda s: s.training_score)),
                    number(one.paper),
                    *(
                        ["too few runs", "-", "-", "-"]
                        if one.equivalence is None
                        else [
                            f"{one.equivalence.difference:+.2f}{_ends((one.equivalence.low, one.equivalence.high))}",
                            p_value(one.equivalence.p),
                            f"{100 * one.equivalence.power:.0f} %",
                            "-" if one.equivalence.needed is None else f"{one.equivalence.needed:,}",
                        ]
                    ),
                ]
                for one in there
            ],
        )
    ]


def _costs(results: Sequence[ArmResult], words: str = "") -> list[Sheet]:
    kinds = [kind for kind in PLAYED_KINDS if any(one.arm.values(steps_of(kind)) for one in results)]
    return [
        Sheet(
            _title(words, "Costs"),
            "Means of a run; updates are steps of the optimizer.",
            ("arm", "LLM calls", "tokens", "dollars", "updates", "wall time"),
            [
                [
                    one.arm.label,
                    average(one.arm.values(lambda s: s.llm_calls)),
                    average(one.arm.values(lambda s: s.prompt_tokens + s.completion_tokens)),
                    dollars(one.arm),
                    average(one.arm.values(updates)),
                    duration(mean_sd(one.arm.values(lambda s: s.seconds))[0]),
                ]
                for one in results
            ],
        ),
        Sheet(
            _title(words, "Environment steps"),
            "Means of a run. Designed and original steps train, the others don't: they are beyond the training budget, "
            "but for validation that is taken off it (`designer.deduct`)."
            + (" Midway are those of evaluation.report_at." if "midway" in kinds else ""),
            ("arm", *kinds),
            [[one.arm.label, *(average(one.arm.values(steps_of(kind))) for kind in kinds)] for one in results],
        ),
    ]


def _title(words: str, title: str) -> str:
    return f"{words}{title.lower()}" if words else title


SkillsOfArm = tuple[Arm, list[SkillResult]]


def skill_sheets(analysis: Analysis) -> list[Sheet]:
    """Success by skill, a few arms side by side."""
    return [skill_sheet(part) for part in skill_parts(analysis, 4)]


def skill_parts(analysis: Analysis, at_once: int) -> Iterator[list[SkillsOfArm]]:
    """Arms that may stand together and have the same skills, so many at once."""
    together: dict[tuple[bool, tuple[str, ...]], list[SkillsOfArm]] = {}
    for arm, results in analysis.skills:
        key = bool(arm.runs[0].diagnostic), tuple(one.skill for one in results)
        together.setdefault(key, []).append((arm, results))
    for ours in together.values():
        for start in range(0, len(ours), at_once):
            yield ours[start : start + at_once]


def skill_sheet(part: Sequence[SkillsOfArm]) -> Sheet:
    """Success by skill of these arms."""
    return Sheet(
        _title(DIAGNOSTICS if part[0][0].runs[0].diagnostic else "", "Success by skill"),
        "Percent of the report evaluation's episodes (of frames: of those that ask for it) that showed the skill: mean "
        "over runs with its 95 % interval; "
        "where runs don't differ, or there is one, the interval over their episodes, marked *.",
        ("skill", *(arm.label for arm, _ in part)),
        [[one.skill, *(_rate(results[row]) for _, results in part)] for row, one in enumerate(part[0][1])],
    )


def _rate(one: SkillResult) -> str:
    if one.mean_interval is None:
        digits = 2 if one.pooled_interval[1] < 1 or one.pooled_interval[0] > 99 else 1
        return f"{one.pooled:.{digits}f}{_ends(one.pooled_interval, digits)}*"
    return f"{one.mean:.1f}{_ends(one.mean_interval, 1)}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± sample standard deviation; 'n=1' stands where one run has no spread, '-' where there is no number."""
    if not values:
        return "-"
    mean, sd = mean_sd(values)
    return f"{mean:.{digits}f} (n=1)" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def dollars(arm: Arm) -> str:
    """Mean cost of a run; '?' where a run's price is not known, '-' where no language model was asked."""
    if not any(summary.uses_llm for summary in arm.summaries):
        return "-"
    return "?" if (cost := mean_cost(arm)) is None else f"{cost:.2f}"


def mean_cost(arm: Arm) -> float | None:
    """In dollars; None where a run's price is not known, or no run is finished."""
    known = arm.values(lambda s: s.cost)
    return mean_sd(known)[0] if known and len(known) == len(arm.summaries) else None


def average(values: Sequence[float]) -> str:
    """A mean of counts."""
    if not values:
        return "-"
    mean, _ = mean_sd(values)
    return f"{mean:,.0f}" if mean == round(mean) else f"{mean:,.1f}"


def _ends(interval: tuple[float, float] | None, digits: int = 2) -> str:
    return "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def p_value(value: float | None) -> str:
    """p with two digits."""
    if value is None:
        return "-"
    return "<0.0001" if value < 1e-4 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def unfinished(study: Study) -> list[tuple[str, str]]:
    """Each unfinished run in words, and the command that goes on with it."""
    return [
        (f"{run.label}, seed {run.flat['seed']}, {len(run.phases)} phases done", run.resume_command)
        for run in study.unfinished
    ]
