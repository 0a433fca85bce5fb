"""The charts of docs/results.md and docs/results/."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from envgen_exp.families.family import Parted
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.claims import MARGIN
from envgen_exp.reporting.study.collect import Arm, FoundRun
from envgen_exp.run.summary import RunSummary, Successes

COLOURS = ("#1f6f8b", "#c8553d", "#5b7f3a", "#7a4f9a", "#b8860b", "#4a4a4a", "#d46a9f", "#2aa198", "#8b5a2b", "#6c71c4")
matplotlib.rcParams |= {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
FEW = 5
"""Arms whose bands one picture can hold."""


def curves(run: FoundRun) -> dict[str, list[float]]:
    """Its windows, with NaN where there is no point."""
    return {name: [math.nan if value is None else value for value in line] for name, line in run.windows.items()}


def band(
    axis: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    colour: str,
    label: str | None = None,
    *,
    shaded: bool = True,
) -> None:
    """The mean of some lines, (runs, points), and a band of one standard deviation."""
    mean, sd = y.mean(axis=0), y.std(axis=0, ddof=min(1, len(y) - 1))
    axis.plot(x, mean, color=colour, linewidth=1.5, marker="o", markersize=2.5, label=label)
    if shaded:
        axis.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)


def save(figure: Figure, file: Path, name: str) -> None:
    """The same file for the same numbers."""
    matplotlib.rcParams["svg.hashsalt"] = name
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def draw_learning(arms: Sequence[tuple[str, Arm]], levels: Mapping[str, float], file: Path) -> None:
    """Both curves of all arms, by name: a thin line a seed, their mean, and a band of one standard deviation.

    `levels` are a random policy's score and return.
    """
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    for axis, (name, label) in zip(axes, (("score", "score, %"), ("return", "mean return")), strict=True):
        for (called, arm), colour in zip(arms, COLOURS[: len(arms)], strict=True):
            lines = [curves(run) for run in arm.runs]
            x = np.array(lines[0]["steps"]) / 1e6
            y = np.array([line[name] for line in lines])
            for line in y:
                axis.plot(x, line, color=colour, linewidth=0.6, alpha=0.5)
            band(axis, x, y, colour, called)
        axis.axhline(levels[name], color="#777777", linestyle="--", linewidth=1, label="random policy")
        axis.set(xlabel="million training steps", ylabel=label, ylim=(0, None))
    axes[0].legend()
    save(figure, file, "learning")


def draw_study(arms: Sequence[Arm], file: Path) -> None:
    """A small chart for each arm: its mean score over training, a band of one standard deviation, adaptive's grey."""
    columns = min(5, len(arms))
    shape = -(-len(arms) // columns), columns
    figure, axes = pyplot.subplots(
        *shape,
        figsize=(1.9 * columns, 1.9 * shape[0]),
        constrained_layout=True,
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    lines = {arm.label: [curves(run) for run in arm.runs] for arm in arms}
    beside = next((arm for arm in arms if arm.name == "adaptive"), None)
    for axis, arm in zip(axes.flat, arms, strict=False):
        for other, colour in ((beside, "#999999"), (arm, COLOURS[0])):
            if other is None:
                continue
            x = np.array(lines[other.label][0]["steps"]) / 1e6
            y = np.array([line["score"] for line in lines[other.label]])
            if other is arm:
                band(axis, x, y, colour)
            else:
                axis.plot(x, y.mean(axis=0), color=colour, linewidth=1.5)
        varied = [part.rpartition(".")[2] for part in arm.label.split(", ") if "=" in part][:1]
        axis.set_title("\n".join([f"{arm.name}, n={len(arm.runs)}", *varied]), fontsize=8)
        axis.tick_params(labelsize=7)
    axes.flat[0].set_ylim(bottom=0)  # all share it
    for axis in axes.flat[len(arms) :]:
        axis.set_visible(False)
    figure.supxlabel("million training steps", fontsize=8)
    figure.supylabel("score in the original, %", fontsize=8)
    save(figure, file, "study")


def draw_parts(arms: Sequence[Arm], family: Parted, file: Path) -> None:
    """A chart for each part of the score: after each cycle the mean of an arm's runs and a band of one standard
    deviation, and to the right the report evaluation."""
    names = tuple(family.score_parts(dict.fromkeys(family.skills, 0.0)))
    figure, axes = pyplot.subplots(1, len(names), figsize=(4.5 * len(names), 3.6), constrained_layout=True)

    def parts(summary: RunSummary, counts: Successes) -> list[float]:
        found = family.score_parts({skill: counts.rate(skill) for skill in summary.skills})
        return [found[name] for name in names]

    for place, (arm, colour) in enumerate(zip(arms, COLOURS[: len(arms)], strict=True)):
        flat, end = arm.runs[0].flat, arm.runs[0].training_steps / 1e3
        cycle = (flat["schedule.designed_steps"] + flat["schedule.original_steps"]) / 1e3
        feedback = np.array(
            [[parts(s, counts) for counts in s.feedback] for s in arm.summaries]
        )  # (runs, cycles, parts)
        report = np.array([parts(s, s.report) for s in arm.summaries])
        x = cycle * np.arange(1, feedback.shape[1] + 1)
        for axis, y, last in zip(axes, np.moveaxis(feedback, 2, 0), report.T, strict=True):
            band(axis, x, y, colour, f"{arm.name}, n={len(y)}")
            at = end + cycle / 6 * place
            axis.errorbar(
                at, last.mean(), last.std(ddof=min(1, len(y) - 1)), color=colour, marker="s", markersize=4, capsize=2
            )
    for axis, name in zip(axes, names, strict=True):
        axis.set(title=name, xlabel="thousand training frames", ylabel="right, %")
    axes[0].legend()
    save(figure, file, "parts")


def draw_verdict(analysis: Analysis, file: Path) -> None:
    """Each arm's mean score over training, a few with a band of one standard deviation, and the differences with their
    95 % intervals."""
    arms = analysis.study.arms
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for arm, colour in zip(arms, COLOURS[: len(arms)], strict=True):
        lines = [curves(run) for run in arm.runs]
        x, y = np.array(lines[0]["steps"]) / 1e6, np.array([line["score"] for line in lines])
        band(left, x, y, colour, f"{arm.name}, n={len(y)}", shaded=len(arms) <= FEW)
    left.set(xlabel="million training steps", ylabel="score in the original, %", ylim=(0, None))
    left.legend()
    known = [(one, test) for one in analysis.contrasts if (test := one.difference.test)]
    right.axvspan(-MARGIN, MARGIN, color="#eeeeee", zorder=0)
    for place, (one, found) in enumerate(reversed(known)):
        main = (one.ours.name, one.theirs.name) in analysis.study.mains
        colour = "#222222" if main else "#777777"
        pairs = [value for group in one.difference.paired for value in group]
        right.plot(pairs, [place - 0.18] * len(pairs), "o", color=colour, markersize=3, alpha=0.4, markeredgewidth=0)
        right.plot([found.low, found.high], [place, place], color=colour, linewidth=3 if main else 2)
        right.plot(found.difference, place, "o", color=colour)
    right.axvline(0, color="#777777", linewidth=1)
    names = [f"{one.ours.name} - {one.theirs.name}" for one, _ in reversed(known)]
    right.set(yticks=range(len(names)), yticklabels=names, xlabel="points of report score, with 95 % interval")
    right.set_ylim(-0.5, len(known) - 0.5)
    save(figure, file, "verdict")
