"""report.html of a sweep: the tables, score curves with bands, skills by arm, cost against score."""

from __future__ import annotations

import itertools
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from envgen_exp.errors import EnvGenError
from envgen_exp.families.family import Reference
from envgen_exp.guard.writing import write_atomic
from envgen_exp.reporting.page import Cell, Markup, Section, element, fold, joined, page, table
from envgen_exp.reporting.plots import Series, bars, legend, line_chart
from envgen_exp.reporting.references import beside, levels, references_of, sees
from envgen_exp.reporting.run.skills import by_tree
from envgen_exp.reporting.statistics import mean_sd
from envgen_exp.reporting.study.analysis import Analysis, SkillResult
from envgen_exp.reporting.study.answers import answers
from envgen_exp.reporting.study.collect import Arm, FoundRun, Study
from envgen_exp.reporting.study.parts import error_sheets, score_sheets
from envgen_exp.reporting.study.tables import (
    Sheet,
    SkillsOfArm,
    sheets,
    skill_parts,
    skill_sheet,
    spread,
    unfinished,
)
from envgen_exp.run.folder import REPORT
from envgen_exp.run.summary import RunSummary
from envgen_exp.tracking.progress import duration

COLOURS = 8
"""Arms in one chart; more arms make more charts."""

BARS = 4
"""Arms in one chart of skills."""

FAINT_RUNS = 12
"""An arm with at most so many runs shows each of them behind its mean."""

WRAPPED = 24
"""A row's name with more letters is wrapped."""

_LAST = "They have few episodes and so are biased low; the last point is the report evaluation. "

CHARTS = 6
"""Charts of one sort at most; the tables hold all arms."""


def make_sweep_report(analysis: Analysis) -> Path:
    """Write the page of a study into its folder and return its path; RunFolderError where it can't be written."""
    path = analysis.study.folder / REPORT
    write_atomic(path, render(analysis).encode())
    return path


def render(analysis: Analysis) -> str:
    """The page of a study."""
    study = analysis.study
    parts = [Section("tables", "Tables", tables(analysis))]
    if study.arms:
        parts += [
            Section("curves", "Score curves", curves(study)),
            Section("skills", "Skills by arm", skills(analysis)),
            Section("cost", "Cost against score", costs(study)),
        ]
    if found := answers(analysis):
        parts.append(Section("designs", "What the designs did", joined(map(_table, found))))
    parts.append(Section("runs", "Runs", runs(study)))
    finished = sum(len(arm.runs) for arm in (*study.arms, *study.diagnostics))
    number = len(study.arms) + len(study.diagnostics)
    subtitle = f"{number} arms, {finished} finished runs, {len(study.unfinished)} unfinished"
    notice = f"Unfinished runs: {len(study.unfinished)}; they count in no number." if study.unfinished else ""
    return page(f"Sweep {study.folder.resolve().name}", subtitle, notice, parts)


def tables(analysis: Analysis) -> Markup:
    """The study's tables, and what a reader must know before comparing rows."""
    found = [*sheets(analysis), *score_sheets(analysis), *error_sheets(analysis)]
    parts: list[object] = [] if found else [element("p", "No run is finished yet.")]
    for sheet in found:
        parts += [element("h3", sheet.title), _table(sheet)]
    study = analysis.study
    ours = [
        [arm.label, spread(arm.values(lambda s: s.score)), f"{run.training_steps:,}", sees(run), "report episodes", "-"]
        for arm in study.arms
        for run in arm.runs[:1]
    ]
    parts.append(beside(_references(study), ours))
    if analysis.notes:
        parts += [element("h3", "Before comparing rows"), element("ul", *(element("li", n) for n in analysis.notes))]
    return joined(parts)


def _references(study: Study) -> Sequence[Reference]:
    """Those that belong to every arm: of one original."""
    found = [references_of(arm.runs[0]) for arm in study.arms]
    return found[0] if found and all(one == found[0] for one in found) else ()


def _table(sheet: Sheet) -> Markup:
    rows = [[Cell(row[0], css="wrap" if len(row[0]) > WRAPPED else ""), *row[1:]] for row in sheet.rows]
    return table(sheet.caption, sheet.headers, rows, css="heads", numbers=sheet.numbers)


def curves(study: Study) -> Markup:
    """The score after each cycle and at the end, by arm: mean over seeds and a band of one SD."""
    charts = []
    for arms in _chunks(study.arms, COLOURS):
        series = []
        for colour, arm in enumerate(arms, start=1):
            if len(arm.runs) <= FAINT_RUNS:
                series += [Series(f"seed {run.flat['seed']}", _curve(run), colour, faint=True) for run in arm.runs]
            series.append(_mean_curve(arm, colour))
        last = "; ".join(f"{arm.label}: {spread(arm.values(lambda s: s.score))}" for arm in arms)
        chart = line_chart(
            "Score in the original by training steps",
            series,
            alt=f"Score by training steps for each arm; in the report evaluation {last}",
            unit=" %",
            x_range=(0, max(run.training_steps for arm in arms for run in arm.runs)),
            size=(440, 220),
            levels=levels(_references(study), {run.training_steps for arm in arms for run in arm.runs}),
        )
        items = [(f"{arm.label} (n={len(arm.runs)})", colour, False) for colour, arm in enumerate(arms, start=1)]
        charts.append(element("div", element("div", chart, class_="one"), legend(items)))
    other_look = any(_summary(run).report.other_look for arm in study.arms for run in arm.runs)
    note = (
        "Points are the feedback evaluations. "
        + ("The report evaluation looks at frames of another look, and is no point. " if other_look else _LAST)
        + "Bands are one SD over seeds; thin lines are single runs. Where a band has no width there is one run, or the "
        "runs don't differ: their score is not certain for that."
    )
    grid = element("div", *charts, class_="charts wide")
    return joined([element("p", note, class_="note"), grid, _left_out(study, COLOURS)])


def skills(analysis: Analysis) -> Markup:
    """Success in the report evaluation by skill and arm."""
    charts = []
    for part in map(_by_tree, itertools.islice(skill_parts(analysis, BARS), CHARTS)):
        groups = [(arm.label, colour, [_bar(one) for one in results]) for colour, (arm, results) in enumerate(part, 1)]
        names = [one.skill for one in part[0][1]]
        alt = f"Bars of success by skill for {'; '.join(arm.label for arm, _ in part)}; the table below has the numbers"
        chart = bars("Success in the report evaluation, percent of episodes", names, groups, alt=alt)
        items = [(label, colour, False) for label, colour, _ in groups]
        numbers = fold("The numbers", _table(skill_sheet(part)), is_open=True)
        charts.append(element("div", element("div", legend(items), chart, class_="bars"), numbers, class_="beside"))
    note = (
        "Means over runs; whiskers are 95 % intervals over runs, or over episodes where there is one run or the runs "
        "don't differ."
    )
    return joined([element("p", note, class_="note"), *charts, _left_out(analysis.study, BARS)])


def _by_tree(part: Sequence[SkillsOfArm]) -> Sequence[SkillsOfArm]:
    """The arms with their skills in the order in which they come in reach; as they are for a game that is missing."""
    try:
        place = {skill: number for number, skill in enumerate(by_tree(part[0][0].runs[0]))}
    except EnvGenError:
        return part
    return [(arm, sorted(results, key=lambda one: place.get(one.skill, len(place)))) for arm, results in part]


def _bar(one: SkillResult) -> tuple[float, float, float]:
    low, high = one.mean_interval or one.pooled_interval
    return one.mean, low, high


def costs(study: Study) -> Markup:
    """What runs cost, in dollars where a language model was asked and in time, against what they scored."""
    parts = []
    asked = any(_summary(run).uses_llm for arm in study.arms for run in arm.runs)
    for arms in _chunks(study.arms, COLOURS):
        charts = [_scatter(arms, "Score by wall time", "minutes", lambda s: s.seconds / 60)]
        if asked:
            charts.insert(0, _scatter(arms, "Score by cost", "dollars", lambda s: s.cost if s.uses_llm else 0.0))
        items = [(arm.label, colour, True) for colour, arm in enumerate(arms, start=1)]
        parts += [legend(items), element("div", *charts, class_="charts")]
    note = "A dot is a run, with the 95 % interval of its score over episodes where an arm has few."
    note += " Runs whose price is not known have no dot in dollars." if asked else " No run asked a language model."
    return joined([element("p", note, class_="note"), *parts, _left_out(study, COLOURS)])


def _scatter(arms: Sequence[Arm], title: str, x_name: str, cost: Callable[[RunSummary], float | None]) -> Markup:
    groups = []
    for colour, arm in enumerate(arms, start=1):
        summaries = [_summary(run) for run in arm.runs]
        known = [(x, s) for s in summaries for x in [cost(s)] if x is not None]
        # With many runs, intervals hide the dots.
        ends = [(s.score_low, s.score_high) for _, s in known] if len(known) <= FAINT_RUNS else []
        groups.append(Series(arm.label, [(x, s.score) for x, s in known], colour, dots=True, ends=ends))
    alt = f"{title}: each run's {x_name} against its score, by arm"
    right = 1.06 * max((x for group in groups for x, _ in group.points), default=0.0) or 1.0
    return line_chart(title, groups, alt=alt, x_name=x_name, unit=" %", size=(380, 240), x_range=(0.0, right))


def runs(study: Study) -> Markup:
    """Every run, with a link to its own page where it has one."""
    rows: list[list[object]] = []
    for arm in (*study.arms, *study.diagnostics):
        for run in arm.runs:
            s = _summary(run)
            score = f"{s.score:.2f} [{s.score_low:.2f}, {s.score_high:.2f}]"
            rows.append(
                [
                    _link(run),
                    Cell(arm.label, css="wrap"),
                    str(run.flat["seed"]),
                    score,
                    f"{s.reward:.2f}",
                    duration(s.seconds),
                ]
            )
    parts: list[object] = []
    if rows:
        headers = ["run", "arm", "seed", "score % [95 % interval]", "reward", "wall time"]
        parts.append(
            fold(
                f"{len(rows)} finished runs",
                table("Score, reward and wall time of each", headers, rows, numbers=2),
                is_open=len(rows) <= FAINT_RUNS,
            )
        )
    for words, command in unfinished(study):
        parts.append(element("p", f"Unfinished: {words}; to go on:", element("br"), element("code", command)))
    return joined(parts)


def _link(run: FoundRun) -> object:
    if not (run.folder / REPORT).exists():
        return run.folder.name
    return element("a", run.folder.name, href=f"{urllib.parse.quote(run.folder.name)}/{REPORT}")


def _summary(run: FoundRun) -> RunSummary:
    assert run.summary is not None, "arms hold finished runs alone"
    return run.summary


def _curve(run: FoundRun) -> list[tuple[float, float | None]]:
    """(training steps, score) of each feedback evaluation and of the report evaluation, if its frames look alike."""
    summary = _summary(run)
    cycle = run.flat["schedule.designed_steps"] + run.flat["schedule.original_steps"]
    points: list[tuple[float, float | None]] = [(n * cycle, s) for n, s in enumerate(summary.feedback_scores, start=1)]
    return points if summary.report.other_look else [*points, (run.training_steps, summary.score)]


def _mean_curve(arm: Arm, colour: int) -> Series:
    points: list[tuple[float, float | None]] = []
    ends = []
    for column in zip(*map(_curve, arm.runs), strict=False):
        mean, sd = mean_sd([y for _, y in column if y is not None])
        points.append((column[0][0], mean))
        ends.append((mean - (sd or 0.0), mean + (sd or 0.0)))
    return Series(arm.label, points, colour, ends=ends)


def _chunks(arms: Sequence[Arm], size: int) -> Iterator[Sequence[Arm]]:
    for start in range(0, min(len(arms), size * CHARTS), size):
        yield arms[start : start + size]


def _left_out(study: Study, size: int) -> Markup:
    more = len(study.arms) - size * CHARTS
    return element("p", f"{more} further arms stand in the tables alone.", class_="note") if more > 0 else Markup("")
