"""report.html of one run: a page that opens without a network and shows what happened, finished or not."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml

from envgen_exp.families.family import Labelled
from envgen_exp.guard.writing import write_atomic
from envgen_exp.learners import preset
from envgen_exp.reporting.page import Markup, Section, element, facts, fold, joined, page, table
from envgen_exp.reporting.plots import Series, legend, line_chart
from envgen_exp.reporting.references import beside, levels, references_of, sees
from envgen_exp.reporting.run.conversation import conversation, stand_in
from envgen_exp.reporting.run.drives import drives
from envgen_exp.reporting.run.films import films
from envgen_exp.reporting.run.frames import frames
from envgen_exp.reporting.run.grades import grades
from envgen_exp.reporting.run.lineage import lineage
from envgen_exp.reporting.run.skills import gap, heat_map, skill_curves
from envgen_exp.reporting.run.terminal import answers_line, episode_line, midway_line, steps_line
from envgen_exp.run.folder import REPORT
from envgen_exp.run.pasted import pasted
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import Evaluation
from envgen_exp.tracking.progress import duration


def write_report(folder: Path) -> Path:
    """Write a run's report.html, finished or not, and return its path. Never raises: what goes wrong is one line.

    This is what a run calls; `make_report` is the same and raises.
    """
    try:
        return make_report(folder)
    except Exception as error:  # noqa: BLE001 - a page is no reason to end a run
        print(f"{folder / REPORT} could not be made: {' '.join(str(error).split())}", file=sys.stderr)
        return folder / REPORT


def make_report(folder: Path) -> Path:
    """Write a run's report.html from its files and return its path; EnvGenError where the folder is no run."""
    record = RunRecord(folder)
    record.check_phases()
    write_atomic(folder / REPORT, render(record).encode())
    return folder / REPORT


def render(data: RunRecord) -> str:
    """The page of a run. A part that can't be made says so in its place, one without data is left out."""
    parts: tuple[tuple[str, str, Callable[[RunRecord], Markup]], ...] = (
        ("headline", "Headline", headline),
        ("skills", "Skills by cycle" if data.learner.trains else "Skills", heat_map),
        ("grades", "Easy and hard worlds", grades),
        ("curves", "Skill curves", skill_curves),
        ("lineage", "Designs and what came of them", lineage),
        ("gap", "Designed against original", gap),
        ("frames", "Errors and worst frames", frames),
        ("drives", "Closed loop", drives),
        ("episodes", "Episodes of the report evaluation", episodes),
        ("learning", "Learning curves", learning),
        ("videos", "Videos", films),
        ("conversation", "LLM conversation", conversation),
        ("config", "Config", config),
    )
    sections = []
    for anchor, title, make in parts:
        try:
            content = make(data)
        except Exception as error:  # noqa: BLE001 - the other parts are still worth reading
            content = element("p", f"This part could not be made: {type(error).__name__}: {error}", class_="notice")
        if content:
            sections.append(Section(anchor, title, content))
    c = data.config
    who = [f"designer={c.designer.name}", "=".join(preset(c))] if data.learner.trains else [f"agent={c.agent.name}"]
    llm = [f"llm={c.llm.name}{'' if data.uses_llm else ' (not an LLM)'}"] if data.asks else []
    subtitle = ", ".join([c.env.name, who[0], *llm, *who[1:], f"seed {c.seed}"])
    return page(f"Run {data.folder.resolve().name}", subtitle, _notice(data), sections)


def steps_done(data: RunRecord) -> int:
    """Training steps so far."""
    return int(data.rows[-1]["step"]) if data.rows else 0


def _notice(data: RunRecord) -> str:
    if data.finished:
        return ""
    steps = f" and {steps_done(data):,} of {data.total_steps:,} training steps" if data.total_steps else ""
    done = f"{len(data.phases)} of {len(data.planned)} phases{steps}"
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"Not finished: {done} are done. This page shows what there was on {now}."


# Headline


def headline(data: RunRecord) -> Markup:
    """Score, reward, calls, dollars, steps and time as tiles, and the score's curve."""
    words = element("div", element("ul", *_tiles(data), class_="tiles"), *_words(data))
    chart = score_chart(data)
    top = element("div", words, element("div", chart), class_="beside") if chart else words
    return joined([top, beside(references_of(data), [reference_row(data)])])


def _tiles(data: RunRecord) -> list[Markup]:
    summary, latest = data.summary, max(data.feedback.values(), key=lambda e: e.cycle, default=None)
    tiles = []
    if data.report is not None:
        values = data.report.values
        ends = f"95 % interval {values['score/report_low']:.2f} to {values['score/report_high']:.2f}"
        note = f"{ends}; report evaluation, {data.report.counts.episodes:,} episodes in the original"
        tiles.append(_tile("Score", f"{values['score/report']:.2f} %", note, main=True))
        tiles.append(_tile("Reward", f"{values['return/report']:.2f}", "mean return of the same episodes"))
        for e in data.midway:
            tiles.append(_tile(f"Score at {e.step:,} steps", f"{e.values['score/midway']:.2f} %", midway_line(e)))
        if (training := values.get("score/training_last_phase")) is not None:
            tiles.append(_tile("Training-episode score", f"{training:.2f} %", "last phase, as the paper reads it"))
    elif latest is not None:
        low, high = feedback_interval(data, latest)
        note = f"95 % interval {low:.2f} to {high:.2f}; {latest.counts.episodes:,} episodes: noisy and biased low"
        tiles.append(
            _tile(f"Feedback score, cycle {latest.cycle}", f"{latest.values['score/feedback']:.2f} %", note, main=True)
        )
        tiles.append(_tile("Return", f"{latest.values['return/feedback']:.2f}", "mean of the same episodes"))
    else:
        tiles.append(_tile("Score", "none yet", "no evaluation has ended", main=True))
    if data.uses_llm:
        spent = data.spent
        cost, why = f"{spent.cost:.2f}", "of the calls so far"
        if not spent.cost_known:
            cost, why = (f"≥ {cost}", "of some calls it is not known") if spent.cost else ("?", "price not known")
        tokens = f"{spent.prompt_tokens:,} prompt and {spent.completion_tokens:,} completion tokens"
        model = data.config.llm.model or data.config.llm.name
        tiles.append(_tile("LLM calls", f"{spent.calls:,}", f"to {model}, {tokens}"))
        tiles.append(_tile("Dollars", cost, why))
    else:
        why = stand_in(data) if data.asks else "the designer asks none"
        tiles.append(_tile("LLM calls", "0", why))
        tiles.append(_tile("Dollars", "0", "no LLM was asked"))
    if data.total_steps:
        share = "" if data.finished else f" of {data.total_steps:,}"
        tiles.append(_tile("Training steps", f"{steps_done(data):,}", f"designed and original together{share}"))
    if summary:
        tiles.append(_tile("Wall time", duration(summary.seconds), "over all resumes"))
    elif data.total_steps:
        seconds = sum(row.get(f"seconds/{k}") or 0 for row in data.timings for k in ("env", "inference", "update"))
        tiles.append(_tile("Training time", duration(seconds), "so far, without evaluation"))
    return tiles


def _tile(name: str, value: str, more: str, *, main: bool = False) -> Markup:
    parts = (("name", name), ("value", value), ("more", more))
    return element("li", *(element("span", text, class_=css) for css, text in parts), class_="main" if main else None)


def _words(data: RunRecord) -> list[Markup]:
    if data.summary is None:
        return []
    lines = [f"Environment steps: {steps_line(data.summary.steps)}."] if data.total_steps else []
    if data.summary.by_episode:
        lines += [f"An episode: {episode_line(data.summary)}.", f"Answers: {answers_line(data.summary)}."]
    return [element("p", line, class_="note") for line in lines]


def feedback_interval(data: RunRecord, evaluation: Evaluation) -> tuple[float, float]:
    """95 % interval of a feedback evaluation's score over its episodes."""
    return data.phase_episodes(f"cycle{evaluation.cycle}-evaluate").score_interval(data.family)


def score_series(data: RunRecord, colours: Sequence[int] = (3, 4, 5), name: str = "") -> list[Series]:
    """The score of each evaluation with its interval; `colours` are those of feedback, report and midway."""
    series = []

    def add(what: str, colour: int, found: Sequence[Evaluation], ends: Sequence[tuple[float, float]], key: str) -> None:
        if found:
            points = [(e.step, e.values[key]) for e in found]
            series.append(Series(f"{name}{what}", points, colour, dots=True, ends=ends))

    def stored(key: str, found: Sequence[Evaluation]) -> list[tuple[float, float]]:
        return [(e.values[f"{key}_low"], e.values[f"{key}_high"]) for e in found]

    feedback, report = list(data.feedback.values()), [data.report] if data.report is not None else []
    ends = [feedback_interval(data, e) for e in feedback]
    add("feedback evaluation", colours[0], feedback, ends, "score/feedback")
    add("report evaluation", colours[1], report, stored("score/report", report), "score/report")
    add("report evaluation on the way", colours[2], data.midway, stored("score/midway", data.midway), "score/midway")
    return series


def score_chart(data: RunRecord) -> Markup:
    """The score of each evaluation with its interval, against training steps."""
    series = score_series(data)
    if not series or not data.total_steps:
        return Markup("")
    words = [f"cycle {e.cycle}: {e.values['score/feedback']:.2f} %" for e in data.feedback.values()]
    words += [f"at {e.step:,} steps: {e.values['score/midway']:.2f} %" for e in data.midway]
    if data.report is not None:
        words.append(f"report: {data.report.values['score/report']:.2f} %")
    chart = line_chart(
        "Score in the original, 95 % intervals over episodes",
        series,
        alt=f"Score by training steps; {', '.join(words)}",
        unit=" %",
        x_range=(0, data.total_steps),
        shades=data.designed_spans,
        marks=data.cycle_ends,
        size=(440, 200),
        levels=levels(references_of(data), [data.total_steps]),
    )
    items = [(s.name, s.colour, True) for s in series]
    note = element("p", "A score from few episodes reads low: rare skills are missed altogether.", class_="note")
    return joined([element("div", chart, class_="one"), legend(items, "training in designed worlds"), note])


def reference_row(data: RunRecord) -> list[object]:
    """The run beside the references."""
    seen = sees(data)
    if data.report is None:
        return ["this run", "-", f"{data.total_steps:,}", seen, "not finished", "-"]
    v = data.report.values
    score = f"{v['score/report']:.2f} [{v['score/report_low']:.2f}, {v['score/report_high']:.2f}]"
    return ["this run", score, f"{data.total_steps:,}", seen, f"{data.report.counts.episodes:,} report episodes", "-"]


# Learning


_LOSSES = (
    ("loss/policy", "Policy loss"),
    ("loss/value", "Value loss"),
    ("loss/entropy", "Entropy, nats"),
    ("loss/approx_kl", "Approximate KL"),
    ("loss/clip_fraction", "Clip fraction"),
    ("loss/explained_variance", "Explained variance"),
    ("loss/grad_norm", "Gradient norm"),
    ("loss/total", "Loss"),
    ("loss/presence", "Loss, whether a label is there"),
    ("loss/distance", "Loss, what it is"),
    ("loss/learning_rate", "Learning rate"),
)


def learning(data: RunRecord) -> Markup:
    """Return, episode length, losses and speed against training steps."""
    if not data.total_steps:
        return Markup("")
    spans, ends = data.designed_spans, data.cycle_ends

    def chart(title: str, series: Sequence[Series], alt: str) -> Markup:
        return line_chart(
            title, series, alt=alt, shades=spans, marks=ends, x_range=(0, data.total_steps), size=(380, 190)
        )

    charts = []
    lengths = [] if isinstance(data.family, Labelled) else [("length", "Episode length, steps")]  # a frame is a step
    for name, title in (("return", "Episode return"), *lengths):
        kinds = [("designed", 2, False), ("original", 1, False), ("feedback", 3, True), ("report", 4, True)]
        series = [Series(k, data.curve(f"{name}/{k}"), colour, dots=dots) for k, colour, dots in kinds]
        last = ", ".join(f"{s.name} {s.points[-1][1]:.4g}" for s in series if s.points and s.points[-1][1] is not None)
        charts.append(chart(title, series, f"{title} by training steps; last: {last}"))
    logged = {metric.name for metric in data.learner.metrics}
    for name, title in (loss for loss in _LOSSES if loss[0] in logged):
        points = data.curve(name)
        charts.append(chart(title, [Series(title, points, 1)], _range_words(title, points)))
    speed = data.curve("speed/steps_per_second", clock=True)
    charts.append(chart("Training steps a second", [Series("speed", speed, 6)], _range_words("Speed", speed)))
    items = [("original", 1, False), ("designed", 2, False), ("feedback evaluation", 3, True), ("report", 4, True)]
    return joined([legend(items, "training in designed worlds"), element("div", *charts, class_="charts")])


def _range_words(title: str, points: Sequence[tuple[float, float | None]]) -> str:
    values = [y for _, y in points if y is not None]
    if not values:
        return f"{title}: no data"
    return f"{title} by training steps: from {values[0]:.3g} to {values[-1]:.3g}, median {np.median(values):.3g}"


# Episodes


def episodes(data: RunRecord) -> Markup:
    """What each episode of the report evaluation took, where the learner asked for it."""
    took = data.summary.by_episode if data.summary else {}
    if not took:
        return Markup("")
    rows = [
        [number, *("?" if value is None else f"{value:,.4g}" for value in values)]
        for number, values in enumerate(zip(*took.values(), strict=True), start=1)
    ]
    note = "Seconds are those of requests; an episode is cut (1) where agent.max_steps ended it."
    return joined([table("Each episode", ["episode", *took], rows), element("p", note, class_="note")])


# Config


def config(data: RunRecord) -> Markup:
    """The command that repeats the run, versions, what was chosen at start, and the whole config."""
    document = data.document
    parts: list[object] = [
        element("h3", "The command that repeats it"),
        element("pre", pasted(document["command"]), class_="command"),
    ]
    if not data.finished:
        parts += [
            element("h3", "The command that goes on with it"),
            element("pre", data.resume_command, class_="command"),
        ]
    again = pasted(f"python -m envgen_exp report {shlex.quote(str(data.folder))}")
    parts += [element("h3", "The command that makes this page again"), element("pre", again, class_="command")]
    known = {
        "identity": document["identity"],
        "started": document.get("started", ""),
        **document["versions"],
        **document["chosen"],
        **document.get("origin", {}),
    }
    parts += [element("h3", "Machine and versions"), facts(known.items())]
    text = yaml.safe_dump(document["config"], sort_keys=False)
    parts.append(fold("The whole config", element("pre", text, tabindex="0")))
    return joined(parts)
