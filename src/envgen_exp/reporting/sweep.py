"""report.html of a sweep: tables, score curves with bands, skills by arm, cost against score; from summaries alone."""

from __future__ import annotations

import shlex
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from envgen_exp.reporting.collect import Arm, FoundRun, Study, average, dollars, spread
from envgen_exp.reporting.html import REPORT
from envgen_exp.reporting.page import Cell, Markup, Section, element, fold, joined, page, table
from envgen_exp.reporting.plots import Series, bars, legend, line_chart, scatter
from envgen_exp.reporting.statistics import mean_sd, wilson
from envgen_exp.reporting.summary import RunSummary
from envgen_exp.run_folder import write_atomic
from envgen_exp.tracking.progress import duration

COLOURS = 8
"""Arms in one chart; more arms make more charts."""

BARS = 4
"""Arms in one chart of skills."""

FAINT_RUNS = 12
"""An arm with at most so many runs shows each of them behind its mean."""

CHARTS = 6
"""Charts of one sort at most; the tables hold all arms."""


def make_sweep_report(study: Study) -> Path:
    """Write the page of a study into its folder and return its path; RunFolderError where it can't be written."""
    write_atomic(study.folder / REPORT, render(study).encode())
    return study.folder / REPORT


def render(study: Study) -> str:
    """The page of a study."""
    parts = [Section("tables", "Results", tables(study))]
    if study.arms:
        parts += [
            Section("curves", "Score curves", curves(study)),
            Section("skills", "Skills by arm", skills(study)),
            Section("cost", "Cost against score", costs(study)),
        ]
    parts.append(Section("runs", "Runs", runs(study)))
    finished = sum(len(arm.runs) for arm in study.arms)
    subtitle = f"{len(study.arms)} arms, {finished} finished runs, {len(study.unfinished)} unfinished"
    notice = f"{len(study.unfinished)} runs are not finished and count in no number." if study.unfinished else ""
    return page(f"Sweep {study.folder.resolve().name}", subtitle, notice, parts)


def tables(study: Study) -> Markup:
    """The arms' results and costs, and what a reader must know before comparing rows."""
    notes = element("ul", *(element("li", note) for note in study.notes)) if study.notes else ""
    if not study.arms:
        return joined([element("p", "No run is finished yet."), notes])
    results = table(
        "Mean ± SD over seeds. Report score and reward are of the report evaluation, the headline; the "
        "training-episode score is of the training episodes of the last phase, as the paper reads it.",
        ["arm", "seeds", "report score %", "training-episode score %", "reward"],
        (
            [
                Cell(arm.label, css="wrap"),
                str(len(arm.runs)),
                spread(arm.values(lambda s: s.score)),
                spread(arm.values(lambda s: s.training_score)),
                spread(arm.values(lambda s: s.reward)),
            ]
            for arm in study.arms
        ),
    )
    kinds = ("designed", "original", "feedback", "report")
    spent = table(
        "Means of a run. Designed and original steps train, feedback and report steps only evaluate.",
        ["arm", "LLM calls", "dollars", *(f"{kind} steps" for kind in kinds), "wall time"],
        (
            [
                Cell(arm.label, css="wrap"),
                average(arm.values(lambda s: s.llm_calls)),
                dollars(arm),
                *(average(arm.values(_steps(kind))) for kind in kinds),
                duration(mean_sd(arm.values(lambda s: s.seconds))[0]),
            ]
            for arm in study.arms
        ),
    )
    return joined([results, spent, element("h3", "Before comparing rows") if notes else "", notes])


def curves(study: Study) -> Markup:
    """The score after each cycle and at the end, by arm: mean over seeds and a band of one SD."""
    charts = []
    for arms in _chunks(study.arms, COLOURS):
        series = []
        for colour, arm in enumerate(arms, start=1):
            if len(arm.runs) <= FAINT_RUNS:
                series += [Series(f"seed {run.config['seed']}", _curve(run), colour, faint=True) for run in arm.runs]
            series.append(_mean_curve(arm, colour))
        last = "; ".join(f"{arm.label}: {spread(arm.values(lambda s: s.score))}" for arm in arms)
        chart = line_chart(
            "Score in the original by training steps",
            series,
            alt=f"Score by training steps for each arm; at the end {last}",
            unit=" %",
            x_range=(0, max(run.training_steps for arm in arms for run in arm.runs)),
            size=(440, 220),
        )
        items = [(f"{arm.label} (n={len(arm.runs)})", colour, False) for colour, arm in enumerate(arms, start=1)]
        charts.append(joined([element("div", chart, style="max-width:40rem"), legend(items)]))
    note = (
        "Points are the feedback evaluations, few episodes and so biased low; the last one is the report evaluation. "
        "Bands are one SD over seeds; thin lines are single runs."
    )
    return joined([element("p", note, class_="note"), *charts, _left_out(study, COLOURS)])


def skills(study: Study) -> Markup:
    """Success in the report evaluation by skill and arm."""
    charts: list[Markup] = []
    for names in dict.fromkeys(_summary(arm.runs[0]).skills for arm in study.arms):
        ours = [arm for arm in study.arms if _summary(arm.runs[0]).skills == names]
        for arms in _chunks(ours, BARS):
            groups = [(arm.label, colour, [_rate(arm, skill) for skill in names]) for colour, arm in enumerate(arms, 1)]
            alt = (
                f"Bars of success by skill for {'; '.join(arm.label for arm in arms)}; the table below has the numbers"
            )
            items = [(arm.label, colour, False) for colour, arm in enumerate(arms, start=1)]
            chart = bars("Success in the report evaluation, percent of episodes", names, groups, alt=alt)
            rows = (
                [skill, *(f"{values[i][0]:.1f} [{values[i][1]:.1f}, {values[i][2]:.1f}]" for _, _, values in groups)]
                for i, skill in enumerate(names)
            )
            numbers = table("Success, percent, with the same intervals", ["skill", *(a.label for a in arms)], rows)
            charts.append(joined([legend(items), chart, fold("The numbers", numbers)]))
    note = "Means over seeds; dotted whiskers are one SD over seeds, or the 95 % Wilson interval where n=1."
    grid = element("div", *(element("div", chart) for chart in charts), class_="charts wide")
    return joined([element("p", note, class_="note"), grid, _left_out(study, BARS)])


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
    return scatter(title, groups, alt=alt, x_name=x_name, unit=" %")


def runs(study: Study) -> Markup:
    """Every run, with a link to its own page where it has one."""
    rows: list[list[object]] = []
    for arm in study.arms:
        for run in arm.runs:
            s = _summary(run)
            score = f"{s.score:.2f} [{s.score_low:.2f}, {s.score_high:.2f}]"
            rows.append(
                [
                    _link(run),
                    Cell(arm.label, css="wrap"),
                    str(run.config["seed"]),
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
                table("Finished runs", headers, rows, numbers=2),
                is_open=len(rows) <= FAINT_RUNS,
            )
        )
    for run in study.unfinished:
        resume = f"python run.py resume={shlex.quote(str(run.folder))}"
        words = f"Unfinished: {run.label}, seed {run.config['seed']}, {run.finished_phases} phases done; to go on:"
        parts.append(element("p", words, element("br"), element("code", resume)))
    return joined(parts)


def _link(run: FoundRun) -> object:
    if not (run.folder / REPORT).exists():
        return run.folder.name
    return element("a", run.folder.name, href=f"{urllib.parse.quote(run.folder.name)}/{REPORT}")


def _summary(run: FoundRun) -> RunSummary:
    assert run.summary is not None, "arms hold finished runs alone"
    return run.summary


def _curve(run: FoundRun) -> list[tuple[float, float | None]]:
    """(training steps, score) of each feedback evaluation and of the report evaluation."""
    summary = _summary(run)
    cycle = run.config["schedule.designed_steps"] + run.config["schedule.original_steps"]
    points: list[tuple[float, float | None]] = [(n * cycle, s) for n, s in enumerate(summary.feedback_scores, start=1)]
    return [*points, (run.training_steps, summary.score)]


def _mean_curve(arm: Arm, colour: int) -> Series:
    points: list[tuple[float, float | None]] = []
    ends = []
    for column in zip(*map(_curve, arm.runs), strict=False):
        mean, sd = mean_sd([y for _, y in column if y is not None])
        points.append((column[0][0], mean))
        ends.append((mean - (sd or 0.0), mean + (sd or 0.0)))
    return Series(arm.label, points, colour, ends=ends)


def _rate(arm: Arm, skill: str) -> tuple[float, float, float]:
    """Mean success in percent, and the ends of its whisker."""
    reports = [_summary(run).report for run in arm.runs]
    mean, sd = mean_sd([100 * report.rate(skill) for report in reports])
    if sd is None:
        low, high = wilson(reports[0].successes[skill], reports[0].episodes)
        return mean, 100 * low, 100 * high
    return mean, max(0.0, mean - sd), min(100.0, mean + sd)


def _steps(kind: str) -> Callable[[RunSummary], float | None]:
    return lambda summary: summary.steps.get(kind)


def _chunks(arms: Sequence[Arm], size: int) -> Iterator[Sequence[Arm]]:
    for start in range(0, min(len(arms), size * CHARTS), size):
        yield arms[start : start + size]


def _left_out(study: Study, size: int) -> Markup:
    more = len(study.arms) - size * CHARTS
    return element("p", f"{more} further arms stand in the tables alone.", class_="note") if more > 0 else Markup("")
