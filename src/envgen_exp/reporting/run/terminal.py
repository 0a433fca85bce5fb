"""The table at the end of a run: what the agent can do, how it got there, what it cost."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envgen_exp.config import AgentConfig
from envgen_exp.learners.intervals import wilson
from envgen_exp.reporting.statistics import changed, mean_sd
from envgen_exp.run.summary import Evaluation, RunSummary, Successes
from envgen_exp.tracking.progress import duration

_OF_ALL = ("llm.max_", "designer.num_designs", "designer.prompt")
"""Settings that hold whichever option of their group is taken."""


def print_summary(summary: RunSummary, console: Console, commands: Sequence[str]) -> None:
    """The table and what belongs to it; folder and commands unwrapped, to be copied."""
    console.print(skill_table(summary, console.width))
    console.print()
    console.print(facts(summary))
    for line in ("folder", f"  {shlex.quote(str(summary.folder))}", "next", *(f"  {command}" for command in commands)):
        console.print(Text(line, style="" if line.startswith(" ") else "bold"), soft_wrap=True)


def skill_table(summary: RunSummary, width: int) -> Table:
    """Skills by cycles, the report evaluation with its intervals and the change, for `width` columns.

    Numbers are never cut: where they don't fit, cycles between the first and the latest go, then the intervals, then
    all cycles, then letters of the skills' names.
    """
    count = len(summary.feedback)
    candidates = [(shown_cycles(count, room), True) for room in range(max(count, 2), 1, -1)]
    names = max(len(skill) for skill in summary.skills)
    for cycles, intervals in [*candidates, (shown_cycles(count, 2), False), ([], False)]:
        columns = _columns(summary, cycles, intervals)
        room = width - 2 - sum(max(len(header), *map(len, cells)) + 2 for header, cells in columns)
        if room >= names:
            break
    table = Table(
        title=f"{summary.family}: success in the original, percent of episodes", title_justify="left", box=None
    )
    table.add_column("skill", overflow="ellipsis", no_wrap=True, max_width=max(room, 5))
    for header, _ in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for row, name in enumerate((*summary.skills, "score")):
        style = "bold" if name == "score" else ""
        table.add_row(Text(name, style=style), *(cells[row] for _, cells in columns))
    table.caption = f"report: {summary.report.episodes:,} episodes"
    if summary.feedback:
        table.caption = f"cycle: feedback evaluation, {summary.feedback[0].episodes:,} episodes; {table.caption}"
    if last := _last(summary):
        table.caption += f"; change: {last[0]} - cycle 1 in points, * where its 95 % interval leaves out 0"
    table.caption_justify = "left"
    return table


def shown_cycles(num_cycles: int, room: int) -> list[int]:
    """Which cycles (from 1) get a column where there is room for `room` >= 2: the first, then the latest."""
    if num_cycles <= room:
        return list(range(1, num_cycles + 1))
    return [1, *range(num_cycles - room + 2, num_cycles + 1)]


def _columns(summary: RunSummary, cycles: Sequence[int], intervals: bool) -> list[tuple[str, list[Text]]]:
    """Header and cells of each column right of the names: a cell for each skill, and one for the score."""
    skills, report = summary.skills, summary.report
    columns = []
    for cycle in cycles:
        rates = [Text(percent(summary.feedback[cycle - 1].rate(skill))) for skill in skills]
        columns.append((f"cycle {cycle}", [*rates, Text(f"{summary.feedback_scores[cycle - 1]:.1f}")]))
    rates = [Text(percent(report.rate(skill)), style="bold") for skill in skills]
    columns.append(("report", [*rates, Text(f"{summary.score:.1f}", style="bold")]))
    if intervals:
        ends = [wilson(report.successes[skill], report.tried(skill)) for skill in skills]
        words = [Text(f"{percent(low)} - {percent(high)}") for low, high in ends]
        columns.append(("95 % interval", [*words, Text(f"{summary.score_low:.1f} - {summary.score_high:.1f}")]))
    if last := _last(summary):
        columns.append(("change", [*(_change(summary.feedback[0], last[1], skill) for skill in skills), Text()]))
    return columns


def _last(summary: RunSummary) -> tuple[str, Successes] | None:
    """The last evaluation that the first can be compared with, and its column; None where there is none."""
    if not summary.feedback:
        return None
    if not summary.report.other_look:
        return "report", summary.report
    return (f"cycle {len(summary.feedback)}", summary.feedback[-1]) if len(summary.feedback) > 1 else None


def _change(first: Successes, last: Successes, skill: str) -> Text:
    change = changed(skill, first, last)
    style = {"rose": "green", "fell": "red"}.get(change.word, "dim")
    return Text(f"{change.points:+.1f} {' ' if style == 'dim' else '*'}", style=style)


def facts(summary: RunSummary) -> Table:
    """Score, training-episode score, calls, steps and time."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")

    def add(name: str, words: str) -> None:
        table.add_row(Text(name), Text(words))

    add("score", score_line(summary))
    for one in summary.midway:
        add(f"at {one.step:,}", midway_line(one))
    if summary.trains:
        add("training", training_line(summary))
    add("LLM calls", llm_line(summary))
    if summary.trains:
        add("steps", steps_line(summary.steps))
        add("wall time", duration(summary.seconds))
    else:
        add("an episode", episode_line(summary))
        add("answers", answers_line(summary))
    return table


def score_line(summary: RunSummary) -> str:
    """The headline in words."""
    return (
        f"{summary.score:.2f} % [{summary.score_low:.2f}, {summary.score_high:.2f}], report evaluation,"
        f" {summary.report.episodes:,} episodes in the original; mean return {summary.reward:.2f}"
    )


def midway_line(one: Evaluation) -> str:
    """An evaluation in the midst of training in words."""
    low, high = one.values["score/midway_low"], one.values["score/midway_high"]
    return (
        f"{one.values['score/midway']:.2f} % [{low:.2f}, {high:.2f}], after {one.step:,} training steps,"
        f" {one.counts.episodes:,} episodes in the original; mean return {one.values['return/midway']:.2f}"
    )


def training_line(summary: RunSummary) -> str:
    """The paper's training-episode score in words, told apart from the report evaluation's."""
    if summary.training_score is None:
        return "no training episode ended in the last phase, so there is no training-episode score"
    reward = "" if summary.training_reward is None else f", mean return {summary.training_reward:.2f}"
    return (
        f"training-episode score {summary.training_score:.2f} %{reward}"
        f" ({summary.training_episodes:,} training episodes of the last phase, as the paper reads it)"
    )


def steps_line(steps: Mapping[str, int]) -> str:
    """Environment steps in words: training by kind, then what trained nothing."""
    training = {kind: count for kind, count in steps.items() if kind in ("designed", "original")}
    others = [f"{kind} {count:,}" for kind, count in steps.items() if kind not in training]
    kinds = " + ".join(f"{kind} {count:,}" for kind, count in training.items())
    return ", ".join([f"training {kinds} = {sum(training.values()):,}", *others])


def episode_line(summary: RunSummary) -> str:
    """What an episode of a language model that played took: mean ± SD over episodes."""
    took = summary.by_episode
    parts = [f"{_spread(took['steps'], ',.0f')} steps", f"{_spread(took['calls'], ',.0f')} LLM calls"]
    dollars = [value for value in took["dollars"] if value is not None]
    parts.append(f"${_spread(dollars, '.2f')}" if len(dollars) == len(took["dollars"]) else "price not known")
    parts.append(f"{_spread(took['seconds'], ',.0f')} s of waiting for answers (n={len(took['steps'])})")
    return ", ".join(parts)


def _spread(values: Sequence[float | None], form: str) -> str:
    mean, sd = mean_sd([value for value in values if value is not None])
    return f"{mean:{form}}" if sd is None else f"{mean:{form}} ± {sd:{form}}"


def answers_line(summary: RunSummary) -> str:
    """How well a language model that played could be understood, and how many episodes were cut."""
    repairs, idle, cut = (sum(n or 0 for n in summary.by_episode[name]) for name in ("repairs", "idle", "cut"))
    return (
        f"{repairs:,.0f} went back because they named no action, {idle:,.0f} steps were idle for want of one; "
        f"{cut:.0f} of {summary.report.episodes} episodes were cut by agent.max_steps"
    )


def llm_line(summary: RunSummary) -> str:
    """Calls, tokens and cost in words; what is no language model is named so."""
    if summary.uses_llm:
        cost = "price not known" if summary.cost is None else f"${summary.cost:.2f}"
        if summary.cost is None and summary.known_cost:
            cost = f"at least ${summary.known_cost:.2f}"
        tokens = f"{summary.prompt_tokens:,} prompt and {summary.completion_tokens:,} completion tokens"
        return f"{summary.llm_calls} to {summary.llm}, {tokens}, {cost}"
    if not summary.asks:
        return f"0 (designer={summary.designer} asks for no designs)"
    if summary.llm == "offline":
        return "0 (offline stand-in, not an LLM)"
    return f"0 (llm={summary.llm} asked no language model)"


def next_commands(summary: RunSummary) -> list[str]:
    """Commands worth trying after this run, as one types them in a clone whose environment is active."""
    # A replay serves the very run that was recorded.
    commands = [] if summary.llm == "replay" else [varied(summary.command, seed=str(summary.seed + 1))]
    if summary.trains:
        other = "adaptive" if summary.designer == "original" else "original"
        by_arm = any(word.startswith("arm=") for word in shlex.split(summary.command))
        commands.append(varied(summary.command, **{"arm" if by_arm else "designer": other}))
        if summary.asks and not summary.uses_llm:
            commands.append(varied(summary.command, llm="gpt4"))
    else:
        commands.append(varied(summary.command, agent=AgentConfig.name))
    for offline in sorted(Path(summary.folder).glob("wandb/offline-run-*")):
        commands.append(f"python -m wandb sync {shlex.quote(str(offline))}")
    commands.append(f"python -m envgen_exp report {shlex.quote(summary.folder)}")
    return commands


def varied(command: str, **overrides: str) -> str:
    """A run's command with other values; what names its folder goes, and what fits the old values alone."""
    dropped = {*overrides, "resume", "folder"}
    if dropped & {"arm", "designer", "agent"}:  # an arm sets one of the others
        dropped |= {"arm", "designer"}

    def stays(word: str) -> bool:
        key = word.split("=")[0].lstrip("+")
        return key not in dropped and (key.split(".")[0] not in dropped or key.startswith(_OF_ALL))

    kept = [word for word in shlex.split(command) if stays(word)]
    return shlex.join([*kept, *(f"{key}={value}" for key, value in overrides.items())])


def percent(rate: float) -> str:
    """A rate as percent: 12.3, 100, 0; small ones keep two digits."""
    value = 100 * rate
    if value in (0.0, 100.0):
        return f"{value:.0f}"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"
