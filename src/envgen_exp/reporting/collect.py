"""Gathers the runs of a sweep's folder into one table: a row for each arm, with its spread over seeds.

An arm is everything of a config but its seed. What can't be compared stands in rows of its own, with a note that says
why; an unfinished run is named and counts in no number.
"""

from __future__ import annotations

import functools
import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envgen_exp.config import NOT_IDENTITY
from envgen_exp.errors import RunFolderError
from envgen_exp.reporting.statistics import mean_sd
from envgen_exp.reporting.summary import RunSummary
from envgen_exp.run_folder import read_config, read_json
from envgen_exp.tracking.progress import duration


@dataclass(frozen=True)
class FoundRun:
    """One run's folder, finished or not."""

    folder: Path
    config: dict[str, Any]
    """Flat: 'ppo.num_envs' -> 8."""
    machine: dict[str, Any]
    """Versions and what was chosen at start."""
    finished_phases: int
    summary: RunSummary | None
    """None for an unfinished run."""

    @property
    def label(self) -> str:
        """What a table calls the run's arm."""
        designer, llm = self.config["designer.name"], self.config["llm.name"]
        if designer == "original":
            return f"original, {self.config['ppo.name']}"
        stand_in = " (not an LLM)" if self.config["llm.kind"] == "offline" else ""
        return f"{designer}, {llm}{stand_in}, {self.config['ppo.name']}"

    @functools.cached_property
    def treatment(self) -> dict[str, Any]:
        """What makes the arm: all of the config that can change a result, without the seed."""
        ignored = (*NOT_IDENTITY, "seed", *(("llm",) if self.config["designer.name"] == "original" else ()))
        return {
            key: value
            for key, value in self.config.items()
            if not any(key == name or key.startswith(f"{name}.") for name in ignored)
        }

    @property
    def training_steps(self) -> int:
        """Environment steps of training that the config asks for."""
        designed, original, final = (self.config[f"schedule.{k}_steps"] for k in ("designed", "original", "final"))
        return int(self.config["cycles"] * (designed + original) + final)


@dataclass(frozen=True)
class Arm:
    """The finished runs of one arm, one for each seed."""

    label: str
    runs: tuple[FoundRun, ...]

    def values(self, number: Callable[[RunSummary], float | None]) -> list[float]:
        """A number of each run's summary, where it has one."""
        found = (number(run.summary) for run in self.runs if run.summary is not None)
        return [value for value in found if value is not None]


@dataclass(frozen=True)
class Study:
    """What a sweep's folder holds."""

    folder: Path
    arms: tuple[Arm, ...]
    unfinished: tuple[FoundRun, ...]
    notes: tuple[str, ...]
    """What a reader must know before comparing rows."""


def collect(folder: Path) -> Study:
    """Read all runs below a sweep's folder; RunFolderError where there is none."""
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is not a folder")
    found, notes = [], []
    for file in sorted(folder.glob("*/config.yaml")):
        try:
            found.append(read_run(file.parent))
        except RunFolderError as error:
            notes.append(f"passed over: {error}")
    if not found:
        reason = f" ({notes[0]})" if notes else ""
        raise RunFolderError(f"{folder} is neither a run nor a sweep: no folder in it holds a run{reason}")
    finished = [run for run in found if run.summary is not None]
    arms, repeats = _arms(finished)
    return Study(
        folder=folder,
        arms=arms,
        unfinished=tuple(run for run in found if run.summary is None),
        notes=(*_differences(finished), *repeats, *notes),
    )


def read_run(folder: Path) -> FoundRun:
    """One run's folder; RunFolderError where it is none or its summary can't be read."""
    document = read_config(folder)
    file = folder / "summary.json"
    return FoundRun(
        folder=folder,
        config=dict(_flat("", document["config"])),
        machine={**document.get("versions", {}), **document.get("chosen", {})},
        finished_phases=len(list(folder.glob("phases/*.json"))),
        summary=RunSummary.from_json(read_json(file), str(file)) if file.exists() else None,
    )


WIDTH = 78
"""Columns that the tables need; a narrower terminal wraps their lines rather than lose a column."""


def print_study(study: Study, console: Console) -> None:
    """The arms' results and costs, the notes, and what is unfinished."""

    def tell(line: str, style: str = "") -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    tell(str(study.folder), style="bold")
    if study.arms:
        console.width = max(WIDTH, console.width)
        console.print(_results(study.arms))
        tell("mean ± SD over seeds; report score and reward: report evaluation, the headline;")
        tell("training-episode score: training episodes of the last phase, as the paper reads it")
        tell("")
        console.print(_costs(study.arms))
        tell("means of a run; designed and original steps train, feedback and report steps only evaluate")
    for note in study.notes:
        tell(f"note: {note}")
    for run in study.unfinished:
        phases = f"{run.finished_phases} phases done"
        tell(f"unfinished, in no number: {run.label}, seed {run.config['seed']}, {phases}; to go on:")
        tell(f"  python run.py resume={shlex.quote(str(run.folder))}")


def _results(arms: Sequence[Arm]) -> Table:
    return _table(
        "arm|what|n|report score %|training-episode score %|reward",
        arms,
        lambda arm: [
            arm.label,
            str(len(arm.runs)),
            spread(arm.values(lambda s: s.score)),
            spread(arm.values(lambda s: s.training_score)),
            spread(arm.values(lambda s: s.reward)),
        ],
    )


def _costs(arms: Sequence[Arm]) -> Table:
    kinds = ("designed", "original", "feedback", "report")
    return _table(
        f"arm|LLM calls|dollars|{'|'.join(f'{kind} steps' for kind in kinds)}|wall time",
        arms,
        lambda arm: [
            average(arm.values(lambda s: s.llm_calls)),
            dollars(arm),
            *(average(arm.values(_steps(kind))) for kind in kinds),
            duration(mean_sd(arm.values(lambda s: s.seconds))[0]),
        ],
    )


def _table(headers: str, arms: Sequence[Arm], cells: Callable[[Arm], list[str]]) -> Table:
    table = Table(box=None)
    for header in headers.split("|"):
        if header == "what":
            table.add_column(overflow="fold")
        else:
            table.add_column(header, justify="right", min_width=max(map(len, header.split())))
    for number, arm in enumerate(arms, start=1):
        table.add_row(str(number), *map(Text, cells(arm)))
    return table


def spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation; 'n=1' stands where one run has no spread, '-' where there is no number."""
    if not values:
        return "-"
    mean, sd = mean_sd(values)
    return f"{mean:.2f} (n=1)" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def dollars(arm: Arm) -> str:
    """Mean cost of a run; '?' where a run's price is not known, '-' where no language model was asked."""
    asked = [run.summary for run in arm.runs if run.summary is not None and run.summary.uses_llm]
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


def _arms(finished: Sequence[FoundRun]) -> tuple[tuple[Arm, ...], list[str]]:
    by_treatment: dict[str, list[FoundRun]] = defaultdict(list)
    for run in finished:
        by_treatment[json.dumps(run.treatment, sort_keys=True)].append(run)
    arms, notes = [], []
    for runs in by_treatment.values():
        seeds: dict[int, FoundRun] = {}
        for run in runs:
            first = seeds.setdefault(run.config["seed"], run)
            if first is not run:
                notes.append(f"{run.folder} repeats {first.folder} (same arm and seed): counted once")
        same = [others for others in by_treatment.values() if others[0].label == runs[0].label]
        label = ", ".join([runs[0].label, *_distinction(runs[0], [others[0] for others in same])])
        arms.append(Arm(label, tuple(seeds[seed] for seed in sorted(seeds))))
    return tuple(sorted(arms, key=lambda arm: arm.label)), notes


def _distinction(run: FoundRun, others: Iterable[FoundRun]) -> list[str]:
    """What tells an arm from those with the same label, as key=value."""
    mine = run.treatment
    keys = {key for other in others for key in {**other.treatment, **mine} if other.treatment.get(key) != mine.get(key)}
    return [f"{key}={mine.get(key)}" for key in sorted(keys)]


def _differences(runs: Sequence[FoundRun]) -> list[str]:
    notes = []
    for name, values in (
        ("training steps a run", {f"{run.training_steps:,}" for run in runs}),
        ("episodes of the report evaluation", {f"{run.config['evaluation.report_episodes']:,}" for run in runs}),
        ("families", {run.config["env.name"] for run in runs}),
    ):
        if len(values) > 1:
            notes.append(f"the rows differ in {name} ({', '.join(sorted(values))}): compare only what is equal")
    keys = {key for run in runs for key in run.machine}
    for key in sorted(keys):
        values = {str(run.machine.get(key)) for run in runs}
        if len(values) > 1 and key not in ("network", "parameters"):
            notes.append(f"the runs differ in {key} ({', '.join(sorted(values))})")
    for run in runs:
        done = sum(run.summary.steps.get(kind, 0) for kind in ("designed", "original")) if run.summary else 0
        if done != run.training_steps:
            notes.append(f"{run.folder} trained {done:,} steps where its config asks for {run.training_steps:,}")
    return notes


def _flat(prefix: str, values: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
