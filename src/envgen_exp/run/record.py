"""The one reader of a run's folder, finished or going on: config, phases, logs, ledger, and what they come to.

Each file is read when it is first asked for, so that a list of a thousand runs takes seconds; nothing is written,
locked or mended.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envgen_exp.config import AgentConfig, EnvConfig, LLMConfig, LLMKind, RunConfig
from envgen_exp.designers import Proposal, asks
from envgen_exp.errors import RunFolderError
from envgen_exp.families import FAMILIES, make_family
from envgen_exp.families.design import design_key
from envgen_exp.families.family import Family
from envgen_exp.guard.reading import read_json, understood, within
from envgen_exp.learners import LEARNERS, traits
from envgen_exp.llm import ledger
from envgen_exp.run import plan
from envgen_exp.run.folder import Files, read_config
from envgen_exp.run.stored import resume_command, section, stored_config
from envgen_exp.run.summary import Episodes, Evaluation, RunSummary, Successes
from envgen_exp.tracking import metrics

Point = tuple[float, float | None]


class RunRecord:
    """One run's folder; what is not there yet is simply missing."""

    def __init__(self, folder: Path) -> None:
        """Raises RunFolderError where the folder is no run of this version."""
        self.folder = folder
        self.files = Files(folder)
        self.document = read_config(folder)
        """config.yaml: the config as it was stored, its identity, versions, and what was chosen at start."""
        self._results: dict[str, dict[str, Any]] = {}

    # Config

    @functools.cached_property
    def config(self) -> RunConfig:
        """The config that the run was made with; takes as long as reading a hundred stored ones."""
        return stored_config(self.document["config"], self.folder)

    @functools.cached_property
    def flat(self) -> dict[str, Any]:
        """The stored config: 'env.name' -> 'crafter'."""
        return flattened(self.document["config"])

    @functools.cached_property
    def learner(self) -> type[AgentConfig]:
        """What its learner says of itself; older configs have no such choice. ConfigError where it is not installed."""
        return traits(self._agent)

    @property
    def _agent(self) -> str:
        return str(self.flat.get("agent.name", AgentConfig.name))

    @property
    def asks(self) -> bool:
        """Whether its designer, or its learner, asks what stands behind `llm`."""
        return self.learner.asks or (self.learner.trains and asks(self.flat["designer.name"]))

    @property
    def uses_llm(self) -> bool:
        """Whether a real language model is asked: not by the offline stand-in, nor where nothing is designed."""
        return self.asks and LLMKind[self.flat["llm.kind"]].is_model

    @property
    def resume_command(self) -> str:
        """What goes on with the run."""
        return resume_command(self.folder, section(LLMConfig, self.document["config"]["llm"]))

    @functools.cached_property
    def diagnostic(self) -> tuple[str, ...]:
        """Settings with which the run stands in no table beside others, e.g. env.original=fork."""
        return _diagnostic(self.flat["env.name"], json.dumps(self.document["config"]["env"]))

    @functools.cached_property
    def family(self) -> Family:
        """Its game; ConfigError where it is not installed."""
        return make_family(self.config.env)

    @property
    def skills(self) -> tuple[str, ...]:
        """In the family's order."""
        return self.family.skills

    @functools.cached_property
    def planned(self) -> list[plan.PlannedPhase]:
        """Every phase that the config asks for."""
        return plan.phases(self.config)

    # Phases

    @functools.cached_property
    def phases(self) -> dict[str, int]:
        """The finished phases by name, with their numbers; RunFolderError where one is missing between others."""
        found = {}
        stems = [file.stem.partition("-") for file in self.files.phases.glob("[0-9]*.json")]
        for index, (number, _, name) in enumerate(sorted(stems, key=lambda stem: (len(stem[0]), stem))):
            if number != f"{index:03d}":
                raise RunFolderError(f"{self.folder}: phases/ lacks phase {index:03d}")
            found[name] = index
        return found

    def result(self, phase: str) -> dict[str, Any]:
        """What a finished phase left."""
        if phase not in self._results:
            self._results[phase] = self.files.finished_phase(self.phases[phase], phase)
        return self._results[phase]

    def check_phases(self) -> None:
        """RunFolderError where the finished phases are not those of the plan, as in runs of earlier versions."""
        for name, planned in zip(self.phases, self.planned, strict=False):
            if name != planned.name:
                raise RunFolderError(
                    f"{self.folder}: its phase {name} is none of this version, where {planned.name} stands: made by "
                    "another version, it can't be read or gone on with"
                )

    @property
    def feedback_results(self) -> list[dict[str, Any]]:
        """What the finished feedback evaluations left, cycle by cycle."""
        return [self.result(name) for name in self.phases if name.endswith("-evaluate")]

    @functools.cached_property
    def finished(self) -> bool:
        """Whether every phase is done and the summary written."""
        return os.path.lexists(self.files.summary)

    @functools.cached_property
    def summary(self) -> RunSummary | None:
        """What a finished run came to, put together from its files; RunFolderError where one does not say."""
        if not self.finished:
            return None
        kept = self._kept()
        if not isinstance(kept, dict) or not {"steps", "seconds"} <= kept.keys():
            raise RunFolderError(f"{self.files.summary} is no run's summary: it needs steps and seconds")
        if plan.REPORT not in self.phases:
            raise RunFolderError(
                f"{self.folder}: has a summary, but phases/ lacks the report evaluation: not whole, or made by "
                "another version"
            )
        with understood(self.folder):
            found = self._summary(kept)
        for name in ("score", "score_low", "score_high", "reward", "training_score", "training_reward"):
            value = getattr(found, name)
            if value is None and name.startswith("training"):
                continue
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise RunFolderError(f"{self.folder}: its {name} is {value}, not a number")
        return found

    def _kept(self) -> Any:
        """summary.json."""
        return read_json(self.files.summary)

    def _summary(self, kept: Mapping[str, Any]) -> RunSummary:
        flat, report, feedback = self.flat, self.result(plan.REPORT), self.feedback_results
        values = report["values"]
        spent = self.spent if self.uses_llm else ledger.Totals()
        return RunSummary(
            folder=str(self.folder),
            command=str(self.document["command"]),
            family=flat["env.name"],
            designer=flat["designer.name"],
            llm=flat["llm.name"],
            seed=flat["seed"],
            trains=self.learner.trains,
            asks=self.asks,
            uses_llm=self.uses_llm,
            skills=tuple(report["skills"]["skills"]),
            feedback=tuple(Successes.of(result["skills"]) for result in feedback),
            feedback_scores=tuple(result["values"]["score/feedback"] for result in feedback),
            report=Successes.of(report["skills"]),
            score=values["score/report"],
            score_low=values["score/report_low"],
            score_high=values["score/report_high"],
            reward=values["return/report"],
            training_score=values.get("score/training_last_phase"),
            training_reward=values.get("return/training_last_phase"),
            training_episodes=self.last_training_episodes,
            llm_calls=spent.calls,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            cost=spent.cost if spent.cost_known else None,
            known_cost=spent.cost,
            steps=dict(kept["steps"]),
            seconds=float(kept["seconds"]),
            updates=int(kept.get("updates", 0)),
            midway=tuple(self.midway),
            frames=report.get("frames", {}),
            by_episode=self.takings if self.learner.asks else {},
        )

    @functools.cached_property
    def last_training_episodes(self) -> int:
        """Episodes of the original that ended in the last phase that trained."""
        results = ((name, self.result(name)) for name in reversed(self.phases))
        name, last = next(((name, result) for name, result in results if result.get("steps")), ("", {"episodes": 0}))
        if last.get("kind") in (None, "original"):
            return int(last["episodes"])
        rows = [row for row in self.episodes.get(name, []) if row["design"] == design_key(None)]
        return len(Episodes.of(rows, len(self.skills)))

    @functools.cached_property
    def takings(self) -> Mapping[str, list[float | None]]:
        """What each episode of the report evaluation took, where the learner asks for it."""
        records = [metrics.episode_record(row) for row in self.episodes.get(plan.REPORT, [])]
        totals = functools.partial(ledger.totals, self.events)
        return LEARNERS.find(self._agent).takings(self.config, self.result(plan.REPORT), records, totals)

    # Logs

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """metrics.jsonl."""
        return list(metrics.read(self.files.metrics))

    @functools.cached_property
    def timings(self) -> list[dict[str, Any]]:
        """timings.jsonl."""
        return list(metrics.read(self.files.timings))

    @functools.cached_property
    def episodes(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of episodes.jsonl, by phase."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in metrics.read(self.files.episodes):
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
        """A metric against training steps, where it stands in a row; None between two stretches of training between
        which it was not measured through a whole phase of training."""
        places = {phase.name: place for place, phase in enumerate(phase for phase in self.planned if phase.steps)}
        points: list[Point] = []
        before = None
        for row in self.timings if clock else self.rows:
            if name not in row:
                continue
            place = places.get(row.get("phase", ""))
            if place is not None:
                if before is not None and place > before + 1:
                    points.append((row["step"], None))
                before = place
            points.append((row["step"], row[name]))
        return points

    @functools.cached_property
    def proposals(self) -> dict[int, Proposal]:
        """The designs of each cycle that has some."""
        model = self.family.design_model
        return {
            result["cycle"]: Proposal.from_json(result["proposal"], model)
            for result in map(self.result, self.phases)
            if "proposal" in result
        }

    @functools.cached_property
    def feedback(self) -> dict[int, Evaluation]:
        """The feedback evaluation of each cycle that has one."""
        found = {}
        for phase in self.planned:
            if phase.kind == "feedback" and phase.name in self.phases:
                found[phase.cycle] = self._evaluation(phase)
        return found

    @functools.cached_property
    def report(self) -> Evaluation | None:
        """The report evaluation, which carries the score."""
        last = self.planned[-1]
        return self._evaluation(last) if last.name in self.phases else None

    @functools.cached_property
    def midway(self) -> list[Evaluation]:
        """The evaluations that evaluation.report_at asked for so far, by their steps."""
        found = self.midway_results
        with understood(self.files.report_at):
            return [Evaluation.of(result["cycle"], result["step"], result) for result in found]

    @property
    def midway_results(self) -> list[Any]:
        """Of these, what their files keep."""
        files = (file for file in self.files.report_at.glob("*.json") if file.stem.isdecimal())
        return [read_json(file) for file in sorted(files, key=lambda file: int(file.stem))]

    @functools.cached_property
    def starts(self) -> dict[str, int]:
        """The training step at which each phase begins, by what was trained so far and as it is planned."""
        found, steps = {}, 0
        for phase in self.planned:
            found[phase.name] = steps
            trained = phase.steps and phase.name in self.phases
            steps += self.result(phase.name)["steps"] if trained else phase.steps
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

    # What was asked, and what there is to look at

    @functools.cached_property
    def events(self) -> list[dict[str, Any]]:
        """The ledger's events, oldest first."""
        return ledger.read(self.files.llm)

    @property
    def calls(self) -> list[ledger.Request]:
        """The ledger's requests in order, each with what became of it."""
        return ledger.requests(self.events)

    @functools.cached_property
    def spent(self) -> ledger.Totals:
        """What real language models were asked so far."""
        return ledger.totals(self.events)

    def exchange(self, outcome: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Request and answer of a call that ended so; None where none is kept."""
        if outcome is None or outcome["event"] != "answered":
            return None
        try:
            value = read_json(within(self.files.llm, outcome["file"]))
        except RunFolderError:
            return None
        return value if isinstance(value, dict) else None

    def pictures(self, phase: str, what: str) -> list[Path]:
        """Of a phase's designs: what is "map" or "view"."""
        return sorted(self.files.pictures.glob(f"{phase}-*-{what}.png"))

    def films(self, phase: str = "") -> list[Path]:
        """Of a phase, or all."""
        return sorted(self.files.videos.glob(f"{phase}-*.mp4" if phase else "*.mp4"))

    def film(self, file: Path) -> dict[str, Any] | None:
        """What a film shows; None where that is not known."""
        facts = file.with_suffix(".json")
        return read_json(facts) if facts.exists() else None

    def _evaluation(self, phase: plan.PlannedPhase) -> Evaluation:
        return Evaluation.of(phase.cycle, self.starts[phase.name], self.result(phase.name))


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config as plain values, flat: 'env.name' -> 'crafter'."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


@functools.lru_cache(maxsize=64)
def _diagnostic(family: str, env: str) -> tuple[str, ...]:
    if family not in FAMILIES.names:  # then nobody knows
        return ()
    kind, stored = FAMILIES.config(family, EnvConfig), json.loads(env)
    known = [field.name for field in dataclasses.fields(kind) if field.name in stored]  # another version may have more
    found: EnvConfig = section(kind, {name: stored[name] for name in known})
    return tuple(found.diagnostics())
