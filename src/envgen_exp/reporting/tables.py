"""A study's numbers and its tables: on the terminal, in the page, as Markdown, CSV and LaTeX; each made once."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envgen_exp import seeding
from envgen_exp.reporting.claims import MARGIN, MARK, comparable, paper_score
from envgen_exp.reporting.collect import CONTRASTS, Arm, FoundRun, Study
from envgen_exp.reporting.statistics import (
    Comparison,
    Equivalence,
    bootstrap_interval,
    difference_power,
    equivalence,
    holm,
    iqm,
    mean_interval,
    mean_sd,
    permutation,
    probability_of_improvement,
    smallest,
    units,
    welch,
    wilson,
)
from envgen_exp.reporting.summary import RunSummary
from envgen_exp.run_folder import write_over
from envgen_exp.tracking.progress import duration

STEPS = ("designed", "original", "feedback", "report", "validation")
"""Kinds of environment steps, those that train first."""

DIAGNOSTICS = "Diagnostics, not to be compared: "
"""How the titles of their tables begin."""

WIDTH = 78
"""Columns that the tables need; a narrower terminal wraps their lines rather than lose a column."""


@dataclass(frozen=True)
class ArmResult:
    """An arm's numbers."""

    arm: Arm
    iqm: float
    iqm_interval: tuple[float, float] | None
    pooled: float | None
    """Score of the success rates pooled over runs; None for a family that is not installed."""
    paper: float | None
    """The paper's score of this arm, where it was run as the paper did."""
    equivalence: Equivalence | None
    """Of the training-episode score with the paper's."""

    @property
    def n(self) -> str:
        """Runs, as design sets × seeds where sets are shared."""
        sizes = sorted({len(runs) for runs in self.arm.sets})
        if len(self.arm.sets) == 1:
            return str(sizes[0])
        return f"{len(self.arm.sets)} × {'-'.join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))}"


@dataclass(frozen=True)
class ContrastResult:
    """The difference of two arms' scores."""

    ours: Arm
    theirs: Arm
    comparison: Comparison | None
    """None where there are too few runs for one."""
    holm: float | None
    permutation: tuple[float, float] | None
    improvement: float
    """Probability that a run of ours is above one of theirs."""
    improvement_interval: tuple[float, float] | None
    needed: int | None
    """Independent runs an arm that would show a difference of MARGIN points with 80 % power."""


@dataclass(frozen=True)
class SkillResult:
    """One skill's success in the report evaluations of an arm, in percent."""

    skill: str
    runs: int
    episodes: int
    pooled: float
    pooled_interval: tuple[float, float]
    """Wilson's, as if all episodes were independent: of these agents."""
    mean: float
    mean_interval: tuple[float, float] | None
    """Over runs: of the arm."""


class Analysis:
    """All numbers of a study, each computed once, when it is first asked for."""

    def __init__(self, study: Study) -> None:
        self.study = study

    @functools.cached_property
    def arms(self) -> list[ArmResult]:
        """Of the arms that may stand in one table."""
        return [_arm_result(arm) for arm in self.study.arms]

    @functools.cached_property
    def diagnostics(self) -> list[ArmResult]:
        """Of those that may not."""
        return [_arm_result(arm) for arm in self.study.diagnostics]

    @functools.cached_property
    def contrasts(self) -> list[ContrastResult]:
        """Of all pairs of arms that a contrast names and that can be compared.

        Holm's correction goes over the preregistered ones, and apart from them over the others.
        """
        by_name: dict[str, list[Arm]] = {}
        for arm in self.study.arms:
            by_name.setdefault(arm.name, []).append(arm)
        found = [
            _contrast(a, b)
            for ours, theirs in self.study.contrasts
            for a in by_name.get(ours, [])
            for b in by_name.get(theirs, [])
            if a is not b and comparable(a.runs[0], b.runs[0])
        ]
        for preregistered in (True, False):
            family = [i for i, one in enumerate(found) if _preregistered(one) == preregistered]
            tested = [(i, one.p) for i in family if (one := found[i].comparison) is not None]
            for (i, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
                found[i] = dataclasses.replace(found[i], holm=p)
        return found

    @functools.cached_property
    def skills(self) -> list[tuple[Arm, list[SkillResult]]]:
        """By arm, diagnostics last."""
        return [(arm, _skills(arm)) for arm in (*self.study.arms, *self.study.diagnostics)]

    @functools.cached_property
    def notes(self) -> list[str]:
        """What a reader must know before comparing rows."""
        notes = list(self.study.notes)
        if self.study.unfinished:
            notes.append(f"unfinished runs: {len(self.study.unfinished)}; they count in no number")
        few = [arm.label for arm in self.study.arms if len(arm.runs) == 1]
        if few:
            notes.append(f"one run has no spread and no interval: {'; '.join(few)}")
        names = {arm.name for arm in self.study.arms}
        compared = {(one.ours.name, one.theirs.name) for one in self.contrasts}
        for pair in self.study.contrasts:
            if set(pair) <= names and pair not in compared:
                notes.append(f"{' - '.join(pair)} is not compared: no two of these arms have all else equal")
        return notes


def _arm_result(arm: Arm) -> ArmResult:
    groups = arm.groups(lambda s: s.score)
    rng = seeding.generator(0, "report", "interquartile mean", arm.label)
    scores = arm.values(lambda s: s.score)
    paper = paper_score(arm.runs[0])
    training = arm.groups(lambda s: s.training_score)
    return ArmResult(
        arm=arm,
        iqm=float(iqm(_array(scores))),
        iqm_interval=bootstrap_interval(groups, iqm, rng),
        pooled=_pooled(arm),
        paper=paper,
        equivalence=equivalence(training, paper, MARGIN) if paper is not None and training else None,
    )


def _array(values: Sequence[float]) -> Any:
    return units([values])


def _pooled(arm: Arm) -> float | None:
    summaries = arm.summaries
    episodes = sum(s.report.episodes for s in summaries)
    rates = {skill: sum(s.report.successes[skill] for s in summaries) / episodes for skill in summaries[0].skills}
    return arm.score_of(rates)


def _contrast(ours: Arm, theirs: Arm) -> ContrastResult:
    a, b = ours.groups(lambda s: s.score), theirs.groups(lambda s: s.score)
    comparison = welch(a, b)
    needed = None
    if comparison is not None:
        sd = ((units(a).var(ddof=1) + units(b).var(ddof=1)) / 2) ** 0.5
        needed = smallest(lambda n: difference_power(n, float(sd), MARGIN) >= 0.8)
    seen, interval = probability_of_improvement(a, b)
    return ContrastResult(
        ours=ours,
        theirs=theirs,
        comparison=comparison,
        holm=None,
        permutation=permutation(a, b, seeding.generator(0, "report", "permutation", ours.label, theirs.label)),
        improvement=seen,
        improvement_interval=interval,
        needed=needed,
    )


def _preregistered(one: ContrastResult) -> bool:
    return f"{one.ours.name} - {one.theirs.name}" in CONTRASTS


def _skills(arm: Arm) -> list[SkillResult]:
    results = []
    reports = [summary.report for summary in arm.summaries]
    episodes = sum(report.episodes for report in reports)
    for skill in arm.summaries[0].skills:
        successes = sum(report.successes[skill] for report in reports)
        low, high = wilson(successes, episodes)
        ends = mean_interval(arm.groups(functools.partial(_percent, skill)))
        results.append(
            SkillResult(
                skill=skill,
                runs=len(reports),
                episodes=episodes,
                pooled=100 * successes / episodes,
                pooled_interval=(100 * low, 100 * high),
                mean=mean_sd([100 * report.rate(skill) for report in reports])[0],
                mean_interval=ends and (max(0.0, ends[0]), min(100.0, ends[1])),
            )
        )
    return results


def _percent(skill: str, summary: RunSummary) -> float:
    return 100 * summary.report.rate(skill)


# Tables as text


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
        made += [_results(analysis.arms), *_contrasts(analysis), *_beside_paper(analysis.arms), *_costs(analysis.arms)]
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
                _number(one.iqm) + (_ends(one.iqm_interval) or " (n=1)"),
                _number(one.pooled),
                spread(one.arm.values(lambda s: s.training_score)),
                spread(one.arm.values(lambda s: s.reward)),
            ]
            for one in results
        ],
    )


def _contrasts(analysis: Analysis) -> list[Sheet]:
    if not analysis.contrasts:
        return []
    return [
        Sheet(
            "Differences",
            "Points of report score with Welch's 95 % interval; p, also after Holm. Shuffled: a "
            "permutation test; ≥ is the smallest p it can give, where that is above 0.05. P(better): probability that "
            "a run of the first is above one of the second. The last column: independent runs an arm that would show "
            f"{MARGIN:g} points with 80 % power.",
            ("difference", "points [95 %]", "p", "p (Holm)", "shuffled", "P(better) [95 %]", f"n for {MARGIN:g}"),
            [
                [
                    f"{one.ours.label} - {one.theirs.label}",
                    f"{mean_of(one.ours) - mean_of(one.theirs):+.2f} (n=1)"
                    if one.comparison is None
                    else f"{one.comparison.difference:+.2f}{_ends((one.comparison.low, one.comparison.high))}",
                    _p(one.comparison.p if one.comparison else None),
                    _p(one.holm),
                    _shuffled(one.permutation),
                    f"{one.improvement:.2f}{_ends(one.improvement_interval)}",
                    "-" if one.needed is None else f"{one.needed:,}",
                ]
                for one in analysis.contrasts
            ],
        )
    ]


def _shuffled(found: tuple[float, float] | None) -> str:
    if found is None:
        return "-"
    return _p(found[0]) if found[1] <= 0.05 else f"{_p(found[0])} (≥ {_p(found[1])})"


def mean_of(arm: Arm) -> float:
    """Mean score over independent units, as tests take it."""
    return float(units(arm.groups(lambda s: s.score)).mean())


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
                    _number(one.paper),
                    *(
                        ["too few runs", "-", "-", "-"]
                        if one.equivalence is None
                        else [
                            f"{one.equivalence.difference:+.2f}{_ends((one.equivalence.low, one.equivalence.high))}",
                            _p(one.equivalence.p),
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
    kinds = [kind for kind in STEPS if any(one.arm.values(_steps(kind)) for one in results)]
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
                    average(one.arm.values(_updates)),
                    duration(mean_sd(one.arm.values(lambda s: s.seconds))[0]),
                ]
                for one in results
            ],
        ),
        Sheet(
            _title(words, "Environment steps"),
            "Means of a run. Designed and original steps train; the others are beyond the training budget.",
            ("arm", *kinds),
            [[one.arm.label, *(average(one.arm.values(_steps(kind))) for kind in kinds)] for one in results],
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
        "Percent of the report evaluation's episodes that showed the skill: mean over runs with its 95 % interval; one "
        "run has the interval over its episodes, marked *.",
        ("skill", *(arm.label for arm, _ in part)),
        [[one.skill, *(_rate(results[row]) for _, results in part)] for row, one in enumerate(part[0][1])],
    )


def _rate(one: SkillResult) -> str:
    if one.mean_interval is None:
        return f"{one.pooled:.1f}{_ends(one.pooled_interval, 1)}*"
    return f"{one.mean:.1f}{_ends(one.mean_interval, 1)}"


def spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation; 'n=1' stands where one run has no spread, '-' where there is no number."""
    if not values:
        return "-"
    mean, sd = mean_sd(values)
    return f"{mean:.2f} (n=1)" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def dollars(arm: Arm) -> str:
    """Mean cost of a run; '?' where a run's price is not known, '-' where no language model was asked."""
    asked = [summary for summary in arm.summaries if summary.uses_llm]
    if not asked:
        return "-"
    costs = [summary.cost for summary in asked if summary.cost is not None]
    return f"{mean_sd(costs)[0]:.2f}" if len(costs) == len(asked) else "?"


def average(values: Sequence[float]) -> str:
    """A mean of counts."""
    if not values:
        return "-"
    mean, _ = mean_sd(values)
    return f"{mean:,.0f}" if mean == round(mean) else f"{mean:,.1f}"


def _steps(kind: str) -> Callable[[RunSummary], float | None]:
    return lambda summary: summary.steps.get(kind)


def _updates(summary: RunSummary) -> float | None:
    return summary.updates or None  # an older summary has none


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _ends(interval: tuple[float, float] | None, digits: int = 2) -> str:
    return "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.0001" if value < 1e-4 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


# Files


def write_tables(analysis: Analysis) -> list[Path]:
    """Write tables.md, tables.tex, arms.csv, skills.csv and contrasts.csv into the study's folder; return their paths.

    RunFolderError where they can't be written or a file of that name is somebody else's.
    """
    folder = analysis.study.folder
    files: list[tuple[str, str, str]] = [
        ("tables.md", markdown(analysis), MARK),
        ("tables.tex", latex(analysis), _TEX_MARK),
        ("arms.csv", _csv("arm", arm_records(analysis)), "arm"),
        ("skills.csv", _csv("arm", skill_records(analysis)), "arm"),
        ("contrasts.csv", _csv("contrast", contrast_records(analysis)), "contrast"),
    ]
    for name, text, mark in files:
        write_over(folder / name, text, functools.partial(_begins_with, mark))
    return [folder / name for name, _, _ in files]


def _begins_with(mark: str, text: str) -> bool:
    return text.startswith((f"{mark}\n", f"{mark},"))


_TEX_MARK = "% written by python -m envgen_exp.report; changes are lost"


def markdown(analysis: Analysis) -> str:
    """All tables, and what to know before comparing rows."""
    study = analysis.study
    lines = [MARK, f"# {study.folder.resolve().name}", ""]
    if not study.arms and not study.diagnostics:
        lines += ["No run is finished yet.", ""]
    for sheet in (*sheets(analysis), *skill_sheets(analysis)):
        lines += [f"## {sheet.title}", "", sheet.caption, "", _bars(sheet.headers)]
        lines.append("|" + "".join("---|" if i < sheet.numbers else "---:|" for i in range(len(sheet.headers))))
        lines += [*map(_bars, sheet.rows), ""]
    if analysis.notes:
        lines += ["## Before comparing rows", "", *(f"- {note}" for note in analysis.notes), ""]
    if study.unfinished:
        lines += ["## Unfinished runs", "", *(f"- {words}: `{command}`" for words, command in unfinished(study)), ""]
    return "\n".join(lines)


def _bars(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def latex(analysis: Analysis) -> str:
    """All tables for \\input, in booktabs' style."""
    lines = [_TEX_MARK, r"% needs \usepackage{booktabs}"]
    for sheet in (*sheets(analysis), *skill_sheets(analysis)):
        lines += [
            r"\begin{table}",
            rf"  \caption{{{_tex(sheet.title)}. {_tex(sheet.caption)}}}",
            rf"  \begin{{tabular}}{{{'l' * sheet.numbers}{'r' * (len(sheet.headers) - sheet.numbers)}}}",
            r"    \toprule",
            f"    {' & '.join(map(_tex, sheet.headers))} \\\\",
            r"    \midrule",
            *(f"    {' & '.join(map(_tex, row))} \\\\" for row in sheet.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


_TEX = {letter: rf"\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "<": "$<$",
    ">": "$>$",
}


def _tex(text: str) -> str:
    escaped = "".join(_TEX.get(letter, letter) for letter in text)
    return f"{{}}{escaped}" if escaped.startswith("[") else escaped  # else an argument of the line break before


def arm_records(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each arm, numbers unrounded."""
    rows = []
    for one in (*analysis.arms, *analysis.diagnostics):
        arm, same = one.arm, one.equivalence
        row: dict[str, Any] = {"arm": arm.label, "name": arm.name, "diagnostic": " ".join(arm.runs[0].diagnostic)}
        row |= {"runs": len(arm.runs), "design_sets": len({run.design_set for run in arm.runs})}
        row["independent_units"] = len(units(arm.groups(lambda s: s.score)))
        for name, values in (
            ("score", arm.values(lambda s: s.score)),
            ("training_score", arm.values(lambda s: s.training_score)),
            ("reward", arm.values(lambda s: s.reward)),
            ("training_reward", arm.values(lambda s: s.training_reward)),
        ):
            row[f"{name}_mean"], row[f"{name}_sd"] = mean_sd(values) if values else (None, None)
        row |= {"score_pooled": one.pooled, "score_iqm": one.iqm}
        row["score_iqm_low"], row["score_iqm_high"] = one.iqm_interval or (None, None)
        row["paper_score"] = one.paper
        for field in ("difference", "low", "high", "p", "margin", "power", "needed"):
            row[f"equivalence_{field}"] = getattr(same, field) if same else None
        for name, values in (
            ("llm_calls", arm.values(lambda s: s.llm_calls)),
            ("prompt_tokens", arm.values(lambda s: s.prompt_tokens)),
            ("completion_tokens", arm.values(lambda s: s.completion_tokens)),
            ("dollars", arm.values(lambda s: s.cost)),
            *((f"{kind}_steps", arm.values(_steps(kind))) for kind in STEPS),
            ("updates", arm.values(_updates)),
            ("seconds", arm.values(lambda s: s.seconds)),
        ):
            row[name] = mean_sd(values)[0] if values else None
        rows.append(row)
    return rows


def skill_records(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each arm and skill, in percent."""
    rows = []
    for arm, results in analysis.skills:
        for one in results:
            row = {"arm": arm.label, "skill": one.skill, "runs": one.runs, "episodes": one.episodes}
            row |= {"pooled": one.pooled, "mean": one.mean}
            row["pooled_low"], row["pooled_high"] = one.pooled_interval
            row["mean_low"], row["mean_high"] = one.mean_interval or (None, None)
            rows.append(row)
    return rows


def contrast_records(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each difference."""
    rows = []
    for one in analysis.contrasts:
        row: dict[str, Any] = {"contrast": f"{one.ours.name} - {one.theirs.name}"}
        row |= {"ours": one.ours.label, "theirs": one.theirs.label}
        row |= {"ours_runs": len(one.ours.runs), "theirs_runs": len(one.theirs.runs)}
        row["difference"] = mean_of(one.ours) - mean_of(one.theirs)
        for field in ("low", "high", "p", "free"):
            row[field] = getattr(one.comparison, field) if one.comparison else None
        row["p_holm"] = one.holm
        row["p_permutation"], row["p_permutation_smallest"] = one.permutation or (None, None)
        row["p_better"] = one.improvement
        row["p_better_low"], row["p_better_high"] = one.improvement_interval or (None, None)
        row[f"runs_needed_for_{MARGIN:g}_points"] = one.needed
        rows.append(row)
    return rows


def _csv(first: str, rows: Sequence[dict[str, Any]]) -> str:
    """Rows under their names; `first` is the first name, which stands there without any row as well."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [first], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# The terminal


def print_study(analysis: Analysis, console: Console) -> None:
    """The tables, the notes, and what is unfinished."""
    study = analysis.study

    def tell(line: str, style: str = "") -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    tell(str(study.folder), style="bold")
    console.width = max(WIDTH, console.width)
    numbers: dict[str, str] = {}
    for arm in (*study.arms, *study.diagnostics):
        numbers[arm.label] = str(len(numbers) + 1)
        tell(f"{numbers[arm.label]:>3}  {arm.label}")
    pairs = {f"{a} - {b}": f"{i} - {j}" for a, i in numbers.items() for b, j in numbers.items()} if numbers else {}
    for sheet in sheets(analysis):
        console.print()
        console.print(_rich(sheet, {**numbers, **pairs}))
        console.print(Text(sheet.caption, style="dim"))
    console.print()
    for note in analysis.notes:
        tell(f"note: {note}")
    for words, command in unfinished(study):
        tell(f"unfinished, in no number: {words}; to go on:")
        tell(f"  {command}")


def unfinished(study: Study) -> list[tuple[str, str]]:
    """Each unfinished run in words, and the command that goes on with it."""
    return [(_state(run), f"python run.py resume={shlex.quote(str(run.folder))}") for run in study.unfinished]


def _state(run: FoundRun) -> str:
    return f"{run.label}, seed {run.config['seed']}, {len(run.phases)} phases done"


def _rich(sheet: Sheet, names: dict[str, str]) -> Table:
    table = Table(title=sheet.title, title_justify="left", box=None)
    rows = [(names.get(row[0], row[0]), *row[1:]) for row in sheet.rows]
    for header, *cells in zip(sheet.headers, *rows, strict=True):
        words = [word for cell in (header, *cells) for word in cell.split()]
        table.add_column(header, justify="right", min_width=max(map(len, words)))  # a number is never cut
    for row in rows:
        table.add_row(*map(Text, row))
    return table
