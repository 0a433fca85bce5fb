"""Everything that a report shows of one run's folder, finished or not, read from its files alone."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import RunConfig
from envgen_exp.designers import Proposal
from envgen_exp.errors import RunFolderError
from envgen_exp.families import make_family
from envgen_exp.families.family import Family
from envgen_exp.guard.reading import read_json, within
from envgen_exp.learners.skills import SkillReport
from envgen_exp.run import plan
from envgen_exp.run.folder import read_config
from envgen_exp.run.stored import load_config
from envgen_exp.run.summary import RunSummary, Successes
from envgen_exp.tracking import metrics

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Episodes:
    """The finished episodes of one phase, or those of it in one design."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    shown: NDArray[np.bool_]
    """(episodes, skills): whether each showed each skill."""

    def __len__(self) -> int:
        return len(self.returns)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], num_skills: int) -> Episodes:
        """From rows of episodes.jsonl."""
        rows = list(rows)
        shown = np.array([row["skills"] for row in rows]).reshape(len(rows), num_skills) > 0
        return cls(
            np.array([row["episode_return"] for row in rows], float),
            np.array([row["length"] for row in rows], int),
            shown,
        )

    def successes(self, skills: tuple[str, ...]) -> Successes:
        """How many showed each skill."""
        return Successes(len(self), dict(zip(skills, self.shown.sum(axis=0).tolist(), strict=True)))


@dataclass(frozen=True)
class Evaluation:
    """One feedback evaluation, or the report evaluation."""

    cycle: int
    step: int
    """Training steps before it."""
    counts: Successes
    sd: Mapping[str, float]
    """Standard deviation over seeds of each skill's success rate, as the designer saw it."""
    values: Mapping[str, float]
    """The metrics of its row, e.g. score/feedback."""


class RunData:
    """One run's folder; what is not there yet is simply missing."""

    def __init__(self, folder: Path) -> None:
        """Raises RunFolderError where the folder is no run of this version, ConfigError for an unknown family."""
        self.folder = folder
        self.document = read_config(folder)
        self.config: RunConfig = load_config(folder)
        self.family: Family = make_family(self.config.env)
        self.skills = self.family.skills
        self.planned = plan.phases(self.config)
        self.results = self._results()
        """The result of each finished phase, by its name."""

    @property
    def finished(self) -> bool:
        """Whether every phase is done and the summary written."""
        return self.summary is not None

    @functools.cached_property
    def summary(self) -> RunSummary | None:
        """The numbers of a finished run."""
        file = self.folder / "summary.json"
        return RunSummary.from_json(read_json(file), str(file)) if os.path.lexists(file) else None

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """metrics.jsonl."""
        return list(metrics.read(self.folder / "metrics.jsonl"))

    @functools.cached_property
    def timings(self) -> list[dict[str, Any]]:
        """timings.jsonl."""
        return list(metrics.read(self.folder / "timings.jsonl"))

    @functools.cached_property
    def episodes(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of episodes.jsonl, by phase."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in metrics.read(self.folder / "episodes.jsonl"):
            found.setdefault(row["phase"], []).append(row)
        return found

    def phase_episodes(self, phase: str) -> Episodes:
        """The finished episodes of a phase."""
        return Episodes.of(self.episodes.get(phase, []), len(self.skills))

    def training_episodes(self, cycle: int, kind: str, design: str | None = None) -> Episodes:
        """The finished episodes of a cycle's training in designs (kind designed) or in the original."""
        rows = [
            row
            for phase in (f"cycle{cycle}-train-designed", f"cycle{cycle}-train-original", f"cycle{cycle}-train-blend")
            for row in self.episodes.get(phase, [])
            if (row["design"] == "original") == (kind == "original") and design in (None, row["design"])
        ]
        return Episodes.of(rows, len(self.skills))

    def curve(self, name: str, *, clock: bool = False) -> list[Point]:
        """A metric against training steps, where it stands in a row."""
        rows = self.timings if clock else self.rows
        return [(row["step"], row[name]) for row in rows if name in row]

    def latest(self, name: str) -> float | None:
        """A metric in the last row that has it; None without one, or where that number does not exist."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)

    @functools.cached_property
    def proposals(self) -> dict[int, Proposal]:
        """The designs of each cycle that has some."""
        model = self.family.design_model
        return {
            result["cycle"]: Proposal.from_json(result["proposal"], model)
            for result in self.results.values()
            if "proposal" in result
        }

    @functools.cached_property
    def feedback(self) -> dict[int, Evaluation]:
        """The feedback evaluation of each cycle that has one."""
        found = {}
        for phase in self.planned:
            if phase.kind == "feedback" and phase.name in self.results:
                found[phase.cycle] = self._evaluation(phase)
        return found

    @functools.cached_property
    def report(self) -> Evaluation | None:
        """The report evaluation, which carries the score."""
        last = self.planned[-1]
        return self._evaluation(last) if last.name in self.results else None

    @functools.cached_property
    def starts(self) -> dict[str, int]:
        """The training step at which each planned phase begins."""
        found, steps = {}, 0
        for phase in self.planned:
            found[phase.name] = steps
            steps += phase.steps
        return found

    @property
    def designed_spans(self) -> list[tuple[float, float]]:
        """From which training step to which there is training in designed worlds."""
        if all(design is None for proposal in self.proposals.values() for design in proposal.designs):
            return []
        phases = [phase for phase in self.planned if phase.kind in ("designed", "blend")]
        return [(self.starts[phase.name], self.starts[phase.name] + phase.steps) for phase in phases]

    @property
    def cycle_ends(self) -> list[float]:
        """Training steps at which a cycle ends."""
        return [self.starts[phase.name] for phase in self.planned if phase.kind == "feedback"]

    @property
    def total_steps(self) -> int:
        """Training steps of the whole plan."""
        return plan.training_steps(self.config)

    @functools.cached_property
    def calls(self) -> list[dict[str, Any]]:
        """The ledger's requests in order: what was sent, with what became of it and, where answered, its record."""
        events = list(metrics.read(self.folder / "llm" / "ledger.jsonl"))
        sent: dict[tuple[int, int], dict[str, Any]] = {}
        for event in events:
            key = event.get("call", 0), event.get("attempt", 0)
            if event["event"] == "sent":
                sent[key] = {"sent": event, "outcome": None, "record": None}
            elif key in sent:
                sent[key]["outcome"] = event
                if event["event"] == "answered":
                    sent[key]["record"] = self._record(event["file"])
        return list(sent.values())

    def _record(self, file: str) -> dict[str, Any] | None:
        try:
            value = read_json(within(self.folder / "llm", file))
        except RunFolderError:
            return None
        return value if isinstance(value, dict) else None

    def _evaluation(self, phase: plan.PlannedPhase) -> Evaluation:
        result = self.results[phase.name]
        report = SkillReport.from_json(result["skills"])
        counts = np.array(report.successes).sum(axis=0)
        return Evaluation(
            cycle=phase.cycle,
            step=self.starts[phase.name],
            counts=Successes(sum(report.episodes), dict(zip(report.skills, counts.tolist(), strict=True))),
            sd={skill: sd for skill, (_, sd) in report.mean_and_sd().items()},
            values=result["values"],
        )

    def _results(self) -> dict[str, dict[str, Any]]:
        found = {}
        for index, phase in enumerate(self.planned):
            file = self.folder / "phases" / f"{index:03d}-{phase.name}.json"
            if not file.exists():
                break
            value = read_json(file)
            if not isinstance(value, dict):
                raise RunFolderError(f"{file} is no phase's result")
            found[phase.name] = value
        return found


def times(value: float | None, factor: float) -> float | None:
    """A multiple; of nothing, nothing."""
    return None if value is None else value * factor
