"""Two runs side by side in one page: what differs in their configs, scores, skills, curves and films.

Intervals are over the episodes of these two agents. What another pair of seeds would show is a study's to say.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import urllib.parse
from pathlib import Path

from envgen_exp.errors import RunFolderError
from envgen_exp.families.family import Labelled
from envgen_exp.guard.writing import write_atomic
from envgen_exp.reporting.page import Cell, Markup, Section, by_change, element, joined, page, percent_bar, table
from envgen_exp.reporting.plots import Series, legend, line_chart
from envgen_exp.reporting.references import beside, levels, references_of
from envgen_exp.reporting.run import films
from envgen_exp.reporting.run.page_of_run import reference_row, score_series
from envgen_exp.reporting.run.skills import by_tree, dots
from envgen_exp.reporting.run.terminal import percent
from envgen_exp.reporting.statistics import Change, changed
from envgen_exp.run import plan
from envgen_exp.run.folder import REPORT
from envgen_exp.run.identity import counted
from envgen_exp.run.record import RunRecord, flattened
from envgen_exp.run.summary import Evaluation
from envgen_exp.tracking.progress import duration

SIDES = ("A", "B")
_COLOURS = (1, 2)
_FILM_BYTES = 2_000_000
"""A larger film is linked."""

Pair = tuple[RunRecord, RunRecord]


def make_page_of_two(first: Path, second: Path, out: Path | None = None) -> Path:
    """Write both runs' page, if not to `out` into the first one's folder, and return its path.

    RunFolderError where one is no run, or where they are of two games.
    """
    pair = RunRecord(first), RunRecord(second)
    games = [str(run.flat["env.name"]) for run in pair]
    if games[0] != games[1]:
        names = " and ".join(games)
        raise RunFolderError(f"{first} and {second} are runs of {names}: side by side stand runs of one game")
    for run in pair:
        run.check_phases()
    path = out or first / f"beside-{'-'.join(names_of(pair)[1].split('/'))}.html"
    write_atomic(path, render(pair, path).encode())
    return path


def render(pair: Pair, path: Path) -> str:
    """The page; `path` is where it will lie, for links."""
    parts = (
        Section("headline", "Headline", headline(pair, path)),
        Section("config", "What differs", differences(pair)),
        Section("skills", "Skills", skills(pair)),
        Section("curves", "Skill curves", curves(pair)),
        Section("learning", "Learning curves", learning(pair)),
        Section("videos", "Videos", videos(pair, path)),
    )
    names = names_of(pair)
    unfinished = [name for name, run in zip(names, pair, strict=True) if not run.finished]
    notice = f"Not finished: {', '.join(unfinished)}. " if unfinished else ""
    if pair[0].total_steps != pair[1].total_steps:
        steps = " and ".join(f"{run.total_steps:,}" for run in pair)
        notice += f"The runs have not the same training steps ({steps}): a difference may be theirs."
    subtitle = f"{pair[0].config.env.name}; A is {names[0]}, B is {names[1]}"
    return page(f"{names[0]} beside {names[1]}", subtitle, notice, [part for part in parts if part.content])


def names_of(pair: Pair) -> list[str]:
    """The runs' folders, with those that hold them where the same run stands in two places."""
    folders = [run.folder.resolve() for run in pair]
    return ["/".join(folder.parts[-2:]) if folders[0].name == folders[1].name else folder.name for folder in folders]


def both(pair: Pair) -> tuple[Evaluation, Evaluation, str] | None:
    """An evaluation of each that can be compared, and which: the reports, else those of the latest cycle of both."""
    one, other = pair
    if one.report is not None and other.report is not None:
        return one.report, other.report, "report evaluation"
    cycles = one.feedback.keys() & other.feedback.keys()
    if not cycles:
        return None
    last = max(cycles)
    return one.feedback[last], other.feedback[last], f"feedback evaluation of cycle {last}"


def headline(pair: Pair, path: Path) -> Markup:
    """Numbers of each, the difference of their scores, and their curves."""
    rows: list[list[object]] = []
    for side, run in zip(SIDES, pair, strict=True):
        name = element("a", f"{side}: {run.folder.resolve().name}", href=_link(path, run.folder / REPORT))
        summary = run.summary
        if summary is None:
            rows.append([name, "not finished", "-", "-", f"{run.total_steps:,}", "-", "-", "-"])
            continue
        training = "-" if summary.training_score is None else f"{summary.training_score:.2f}"
        score = f"{summary.score:.2f} [{summary.score_low:.2f}, {summary.score_high:.2f}]"
        dollars = f"{summary.cost:.2f}" if summary.uses_llm and summary.cost is not None else "-"
        numbers = [score, f"{summary.reward:.2f}", training, f"{run.total_steps:,}", duration(summary.seconds)]
        rows.append([name, *numbers, summary.llm_calls, dollars])
    headers = ["run", "score % [95 %]", "reward", "training-episode score", "training steps", "wall time"]
    headers += ["LLM calls", "dollars"]
    parts = [table("Report evaluation in the original, intervals over episodes", headers, rows)]
    if (change := score_difference(pair)) is not None:
        parts.append(element("p", f"B - A: {_points(change)} points of score ({_reading(change)})."))
    series, items = [], []
    ours, theirs = (references_of(run) for run in pair)
    references = ours if ours == theirs else ()  # those of one original
    steps = max(run.total_steps for run in pair)
    for side, run, colour in zip(SIDES, pair, _COLOURS, strict=True):
        # B's dots beside A's, which would lie below them.
        shift = 0.008 * steps * (side == "B")
        for one in score_series(run, (colour,) * 3, f"{side}, "):
            series.append(dataclasses.replace(one, points=[(x + shift, y) for x, y in one.points]))
        items.append((f"{side}: {run.folder.resolve().name}", colour, True))
    if series and steps:
        last = "; ".join(f"{one.name}: {one.points[-1][1]:.2f} %" for one in series)
        chart = line_chart(
            "Score in the original, 95 % intervals over episodes",
            series,
            alt=f"Score by training steps of both runs; last {last}",
            unit=" %",
            x_range=(0, 1.01 * steps),
            size=(440, 200),
            levels=levels(references, [run.total_steps for run in pair]),
        )
        parts += [element("div", chart, class_="one"), legend(items)]
    names = [name for name, _, _ in items]
    both_rows = [[name, *reference_row(run)[1:]] for name, run in zip(names, pair, strict=True)]
    return joined([*parts, beside(references, both_rows)])


def score_difference(pair: Pair) -> Change | None:
    """B's score less A's with a 95 % interval, of their two as Newcombe's is made of Wilson's; None without reports."""
    if any(run.report is None for run in pair):
        return None
    (a, a_low, a_high), (b, b_low, b_high) = (
        [run.report.values[f"score/report{end}"] for end in ("", "_low", "_high")] for run in pair if run.report
    )
    return Change(b - a, b - a - math.hypot(b - b_low, a_high - a), b - a + math.hypot(b_high - b, a - a_low))


def _points(change: Change) -> str:
    return f"{change.points:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"


def _reading(change: Change) -> str:
    return {"rose": "B is higher", "fell": "A is higher"}.get(change.word, "within noise")


def differences(pair: Pair) -> Markup:
    """The keys of the configs that differ and can change a result, and versions."""
    stored = []
    for run in pair:
        versions = {f"version of {name}": value for name, value in run.document["versions"].items()}
        stored.append({**flattened(counted(run.document["config"])), **versions})
    keys = [key for key in dict.fromkeys([*stored[0], *stored[1]]) if stored[0].get(key) != stored[1].get(key)]
    if not keys:
        return element("p", "Nothing that can change a result: the configs and versions are the same.")
    rows = [[key, *(_value(one[key]) if key in one else "-" for one in stored)] for key in keys]
    return table("Config keys that can change a result, and versions", ["key", *SIDES], rows, words=1)


def _value(value: object) -> Cell:
    text = value if isinstance(value, str) else json.dumps(value)
    return Cell(text if len(text) <= 300 else f"{text[:300]} ...", css="wrap" if len(text) > 30 else "")


def skills(pair: Pair) -> Markup:
    """Success of both by skill, and the difference."""
    found = both(pair)
    if found is None:
        return element("p", "No evaluation of both has ended yet.", class_="note")
    one, other, what = found
    rows, moved = [], []
    for skill in by_tree(pair[0]):
        change = changed(skill, one.counts, other.counts)
        css = {"rose": "t2", "fell": "t1"}.get(change.word, "noise")
        cells = [Cell(percent(rate), style=percent_bar(rate)) for rate in (e.counts.rate(skill) for e in (one, other))]
        words = f"{change.points:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"
        rows.append([skill, *cells, Cell(words, css=css), Cell(_reading(change), css=css)])
        moved.append(change.points)
    caption = (
        f"Success in the original, percent of episodes ({what}: {one.counts.episodes:,} and "
        f"{other.counts.episodes:,}); B - A in points with Newcombe's 95 % interval"
    )
    note = f"Of {len(rows)} differences about {len(rows) / 20:.0f} would be marked by chance if the agents were equal."
    made = table(caption, ["skill", *SIDES, "B - A", "reading"], rows, css="heat", changes=moved)
    return joined([by_change(), made, element("p", note, class_="note")])


def curves(pair: Pair) -> Markup:
    """A chart for each skill: training episodes in the original, and the evaluations, of both."""
    steps = max(run.total_steps for run in pair)
    if not steps:
        return Markup("")
    found, charts = both(pair), []
    for skill in by_tree(pair[0]):
        series = []
        for side, run, colour in zip(SIDES, pair, _COLOURS, strict=True):
            points = [(x, y and 100 * y) for x, y in run.curve(f"skill/original/{skill}")]
            series.append(Series(f"{side}, training", points, colour))
            ended = [*run.feedback.values(), *([run.report] if run.report else [])]
            series.append(dots(f"{side}, evaluation", skill, ended, colour))
        rates = [] if found is None else [percent(e.counts.rate(skill)) for e in found[:2]]
        chart = line_chart(
            joined([skill, element("span", f" {' / '.join(rates)} %" if rates else "", class_="more")]),
            series,
            alt=f"{skill} by training steps of both runs, percent: {' and '.join(rates) or 'training episodes alone'}",
            unit=" %",
            y_range=(0, 100),
            x_range=(0, steps),
            size=(300, 150),
        )
        moved = 0.0 if found is None else changed(skill, found[0].counts, found[1].counts).points
        charts.append(element("div", chart, data_change=f"{moved:.4f}"))
    note = "Training episodes in the original as lines, evaluations as dots with 95 % Wilson intervals."
    return joined(
        [element("p", note, class_="note"), by_change(), _legend(pair), element("div", *charts, class_="charts small")]
    )


def learning(pair: Pair) -> Markup:
    """Return, episode length and speed of both."""
    steps = max(run.total_steps for run in pair)
    if not steps:
        return Markup("")
    charts = []
    for name, title in (
        ("return/original", "Episode return in the original"),
        ("length/original", "Episode length in the original, steps"),
        ("loss/entropy", "Entropy, nats"),
        ("loss/explained_variance", "Explained variance"),
        ("speed/steps_per_second", "Training steps a second"),
    ):
        series = [
            Series(side, run.curve(name, clock=name.startswith("speed")), colour)
            for side, run, colour in zip(SIDES, pair, _COLOURS, strict=True)
        ]
        says_nothing = name.startswith("length") and isinstance(pair[0].family, Labelled)  # a frame is a step
        if any(one.points for one in series) and not says_nothing:
            alt = f"{title} by training steps of both runs"
            charts.append(line_chart(title, series, alt=alt, x_range=(0, steps), size=(380, 190)))
    return joined([_legend(pair), element("div", *charts, class_="charts")]) if charts else Markup("")


def videos(pair: Pair, path: Path) -> Markup:
    """The films of the report evaluations, or others where there are none: the first of A beside the first of B."""
    found = [run.films(plan.REPORT) or run.films() for run in pair]
    if not any(found):
        return Markup("")
    parts = []
    for number in range(max(map(len, found))):
        for side, run, files in zip(SIDES, pair, found, strict=True):
            if number >= len(files):
                parts.append(element("p", f"{side} has no such film.", class_="note"))
                continue
            file = files[number]
            small = file.stat().st_size <= _FILM_BYTES
            parts.append(films.figure(run, file, f"{side}: {file.stem}", _link(path, file), embedded=small))
    return joined([films.control(), element("div", *parts, class_="charts two")])


def _legend(pair: Pair) -> Markup:
    names = zip(SIDES, pair, _COLOURS, strict=True)
    return legend([(f"{side}: {run.folder.resolve().name}", colour, False) for side, run, colour in names])


def _link(path: Path, file: Path) -> str:
    return urllib.parse.quote(os.path.relpath(file.resolve(), path.resolve().parent))
