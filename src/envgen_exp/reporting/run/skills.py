"""The sections of a run's page about its skills: by cycle, over steps, in the designs against the original."""

from __future__ import annotations

import math
from collections.abc import Sequence

from envgen_exp.learners.intervals import Z95, wilson
from envgen_exp.reporting.page import Cell, Markup, by_change, element, joined, percent_bar, table
from envgen_exp.reporting.plots import Series, legend, line_chart
from envgen_exp.reporting.run.terminal import percent
from envgen_exp.reporting.statistics import changed
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import Episodes, Evaluation, Successes


def by_tree(data: RunRecord) -> list[str]:
    """The skills in the order in which they come in reach: each after those that it requires, easy ones first."""
    known = [rule.skill for rule in data.family.skill_rules]
    return sorted(data.skills, key=lambda skill: known.index(skill) if skill in known else len(known))


def changes(data: RunRecord) -> list[float | None]:
    """By how many points each skill changed from the first evaluation to the last, in the order of `by_tree`.

    A report evaluation of another look is left out: it is harder, whatever was learned.
    """
    report = [data.report] if data.report and not data.report.counts.other_look else []
    found = [*data.feedback.values(), *report]
    if len(found) < 2:
        return [None] * len(data.skills)
    return [100 * (found[-1].counts.rate(skill) - found[0].counts.rate(skill)) for skill in by_tree(data)]


def heat_map(data: RunRecord) -> Markup:
    """Skills by evaluations: the rate as the cell's colour, the change from the one before with its significance."""
    evaluations = [*data.feedback.values(), *([data.report] if data.report else [])]
    if not evaluations:
        return element("p", "No evaluation has ended yet.", class_="note")
    if not data.feedback and data.report:
        return _report_alone(by_tree(data), data.report)
    names = [f"cycle {e.cycle}" for e in data.feedback.values()] + (["report"] if data.report else [])
    headers = [
        "skill",
        *(
            joined([name, element("div", f"{e.counts.episodes:,} episodes", class_="note")])
            for name, e in zip(names, evaluations, strict=True)
        ),
    ]
    other_look = data.report is not None and data.report.counts.other_look
    rows: list[list[object]] = []
    for skill in by_tree(data):
        cells: list[object] = [skill]
        for number, one in enumerate(evaluations):
            before = evaluations[number - 1].counts if number and not (one is data.report and other_look) else None
            cells.append(_heat_cell(skill, one.counts, before))
        rows.append(cells)
    scores = [e.values["score/feedback"] for e in data.feedback.values()]
    scores += [data.report.values["score/report"]] if data.report else []
    rows.append(["score", *(Cell(f"{score:.2f}") for score in scores)])
    compared = len(data.skills) * (len(evaluations) - 1 - other_look)
    caption = (
        "Success in the original, percent of episodes. Beside it the change in points from the column before: ▲ or ▼ "
        "where its 95 % interval (Newcombe) leaves out 0, else ≈, within noise."
    )
    chance = (
        f"Of {compared} changes about {compared / 20:.0f} would be marked by chance if nothing had moved. All feedback "
        "evaluations play the same worlds; the report evaluation "
        + ("looks at frames of another look, and no change is told." if other_look else "plays others.")
    )
    parts = [table(caption, headers, rows, css="heat total", changes=changes(data))]
    return joined([by_change(), *parts, element("p", chance, class_="note")] if compared else parts)


def _report_alone(skills: Sequence[str], report: Evaluation) -> Markup:
    """The success rates of a run without feedback evaluations, each with its interval."""
    rows: list[list[object]] = []
    for skill in skills:
        low, high = wilson(report.counts.successes[skill], report.counts.tried(skill))
        count = f"{report.counts.successes[skill]} of {report.counts.tried(skill):,}"
        rows.append([skill, count, _heat_cell(skill, report.counts, None), f"{percent(low)} to {percent(high)}"])
    caption = "Success in the original, report evaluation"
    return table(caption, ["skill", "episodes", "percent", "95 % interval"], rows, css="heat")


def _heat_cell(skill: str, counts: Successes, before: Successes | None) -> Cell:
    rate = counts.rate(skill)
    low, high = wilson(counts.successes[skill], counts.tried(skill))
    parts: list[object] = [percent(rate)]
    if before is not None:
        parts.append(change(skill, before, counts))
    tip = (
        f"{skill}: {counts.successes[skill]} of {counts.tried(skill)}, 95 % interval {percent(low)} to {percent(high)}"
    )
    return Cell(joined(parts), style=percent_bar(rate), title=tip)


def change(skill: str, before: Successes, after: Successes) -> Markup:
    """A change in points, looking like noise where it is within noise."""
    found = changed(skill, before, after)
    if found.word == "within noise":
        words = f"≈ {found.points:+.1f}" if found.points else "≈ 0"
        return element("span", words, class_="change noise", title=found.word)
    sign, css = ("▲", "up") if found.word == "rose" else ("▼", "down")
    return element("span", f"{sign} {found.points:+.1f}", class_=f"change {css}")


def skill_curves(data: RunRecord) -> Markup:
    """A small chart for each skill: training episodes of both kinds, feedback and report evaluations."""
    if not data.total_steps:
        return Markup("")
    spans, ends = data.designed_spans, data.cycle_ends
    charts = []
    moved = changes(data)
    for skill, change in zip(by_tree(data), moved, strict=True):
        series = [
            Series(f"training, {kind}", [(x, y and 100 * y) for x, y in data.curve(f"skill/{kind}/{skill}")], colour)
            for kind, colour in (("designed", 2), ("original", 1))
        ]
        found = list(data.feedback.values())
        series.append(dots("feedback evaluation", skill, found, 3))
        if data.report is not None:
            series.append(dots("report evaluation", skill, [data.report], 4))
        words = [f"{percent(e.counts.rate(skill))} % in cycle {e.cycle}" for e in found]
        words += [f"{percent(data.report.counts.rate(skill))} % at the end"] if data.report is not None else []
        last = [data.report] if data.report is not None else found[-1:]
        now = f" {percent(last[0].counts.rate(skill))} %" if last else ""
        chart = line_chart(
            joined([skill, element("span", now, class_="more")]),
            series,
            alt=f"{skill} by training steps: {', '.join(words) or 'training episodes alone'}",
            unit=" %",
            y_range=(0, 100),
            x_range=(0, data.total_steps),
            shades=spans,
            marks=ends,
            size=(300, 150),
        )
        charts.append(element("div", chart, data_change=None if change is None else f"{change:.4f}"))
    items = [
        ("training episodes, original", 1, False),
        ("training episodes, designed", 2, False),
        ("feedback evaluation", 3, True),
        ("report evaluation", 4, True),
    ]
    note = (
        "Success rate in percent of episodes. Dots have 95 % Wilson intervals; lines are of the training episodes that "
        "ended since the point before; beside the name the last evaluation's. Dotted lines end a cycle."
    )
    return joined(
        [
            element("p", note, class_="note"),
            by_change() if None not in moved else "",
            legend(items, "training in designed worlds"),
            element("div", *charts, class_="charts small"),
        ]
    )


def dots(name: str, skill: str, evaluations: Sequence[Evaluation], colour: int) -> Series:
    """A skill's success in evaluations with Wilson's intervals."""
    points = [(e.step, 100 * e.counts.rate(skill)) for e in evaluations]
    ends = [wilson(e.counts.successes[skill], e.counts.tried(skill)) for e in evaluations]
    return Series(name, points, colour, dots=True, ends=[(100 * low, 100 * high) for low, high in ends])


def gap(data: RunRecord) -> Markup:
    """How well the skills that a cycle's designs should train go in those designs, and in the original beside them."""
    rows: list[list[object]] = []
    shown: dict[str, list[tuple[int, float, float]]] = {"designed": [], "original": []}
    for cycle, proposal in data.proposals.items():
        designs = [design for design in proposal.designs if design is not None]
        if not designs:
            continue
        targets = sorted({target for design in designs for target in design.targets if target in data.skills})
        columns = [data.skills.index(target) for target in targets] or list(range(len(data.skills)))
        both = {kind: data.training_episodes(cycle, kind) for kind in ("designed", "original")}
        cells: list[object] = [f"cycle {cycle}", len(columns)]
        means = []
        for kind, episodes in both.items():
            found = mean_interval(episodes, columns)
            if found is None:
                cells += [f"{len(episodes):,}", "-", "-"]
                continue
            mean, half = found
            means.append((mean, half))
            shown[kind].append((cycle, mean, half))
            cells += [f"{len(episodes):,}", f"{episodes.mean_return:.2f}", f"{mean:.1f} ± {half:.1f}"]
        if len(means) == 2:
            (one, e1), (other, e2) = means
            half = math.hypot(e1, e2)
            css = "noise" if abs(one - other) <= half else "clear"
            cells.append(Cell(f"{one - other:+.1f} ± {half:.1f}", css=css))
        else:
            cells.append("-")
        rows.append(cells)
    if not rows:
        return Markup("")
    series = [
        Series(
            f"training, {kind}",
            [(cycle + shift, mean) for cycle, mean, _ in values],
            colour,
            dots=True,
            ends=[(max(0.0, mean - half), min(100.0, mean + half)) for _, mean, half in values],
        )
        for (kind, values), colour, shift in zip(shown.items(), (2, 1), (-0.06, 0.06), strict=True)
    ]
    words = "; ".join(f"{kind}: " + ", ".join(f"{m:.0f} % in cycle {c}" for c, m, _ in v) for kind, v in shown.items())
    chart = line_chart(
        "Mean success over the claimed skills, 95 % intervals over episodes",
        series,
        alt=f"Mean success over the skills that the designs should train; {words}",
        unit=" %",
        x_name="cycle",
        x_range=(0.5, max(data.proposals) + 0.5),
        size=(440, 200),
        whole=True,
    )
    headers = ["cycle", "claimed skills", "designed episodes", "return", "success %"]
    headers += ["original episodes", "return", "success %", "gap, points"]
    note = (
        "Training episodes of the same cycle. A large gap says that the agent does in the designs what it does not do "
        "in the original: overfitting, or designs that give items away or put things nearer. Success is the mean over "
        "the skills that the cycle's designs should train (all skills where they name none)."
    )
    items = [("training, designed", 2, True), ("training, original", 1, True)]
    return joined(
        [
            element(
                "div",
                element("div", element("div", chart, class_="one"), legend(items)),
                element("p", note, class_="note"),
                class_="beside",
            ),
            table("Success in designed worlds against the original, ± half a 95 % interval", headers, rows),
        ]
    )


def mean_interval(episodes: Episodes, columns: Sequence[int]) -> tuple[float, float] | None:
    """Percent of these skills that an episode shows, half of its 95 % interval; None for fewer than two episodes."""
    shown, trials = (of[:, columns].sum(axis=1) for of in (episodes.shown, episodes.trials))
    if (trials > 0).sum() < 2:
        return None
    shares = 100 * shown[trials > 0] / trials[trials > 0]
    return float(shares.mean()), float(Z95 * shares.std(ddof=1) / math.sqrt(len(shares)))
