"""How far a run is: its phases, counters and logs, and the checkpoints from which it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envgen_exp import checkpoint
from envgen_exp.config import RunConfig
from envgen_exp.envs.vector import EpisodeRecord
from envgen_exp.plan import PlannedPhase, phases
from envgen_exp.run_folder import RunFolder
from envgen_exp.tracking.metrics import Log
from envgen_exp.tracking.progress import Progress
from envgen_exp.tracking.wandb import Tracker

STEP_KINDS = ("designed", "original", "feedback", "report")


class Session:
    """Walks the planned phases in order: finished ones are read back, the next one is done.

    `parts` are the things that carry state from phase to phase; each has state_dict() and load_state_dict(), and
    together with the counters they are a checkpoint.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, parts: Mapping[str, Any], tracker: Tracker, progress: Progress
    ) -> None:
        self.folder = folder
        self.tracker = tracker
        self.progress = progress
        self.steps = dict.fromkeys(STEP_KINDS, 0)
        """Environment steps so far, by kind."""
        self.seconds = 0.0
        """Wall time so far, over all resumes."""
        self.resumed_inside: dict[str, Any] | None = None
        """State of the phase that a checkpoint interrupted, for that phase to take up."""
        self._config = config.checkpoint
        self._parts = parts
        self._phases = phases(config)
        self._position = 0
        self._walked = 0
        self._checkpoint = 0
        self._saved_steps = 0
        self._saved_at = self._ticked_at = time.monotonic()
        self._logs: dict[str, Log] = {}

    # Opening

    def start(self) -> list[str]:
        """Open the logs at the newest whole checkpoint, or at nothing; returns a line for each thing to tell."""
        self._checkpoint, state, notes = checkpoint.load_latest(self.folder.checkpoints)
        paths = {"metrics": self.folder.metrics, "timings": self.folder.timings, "episodes": self.folder.episodes}
        for name, path in paths.items():
            Log.cut(path, state["logs"][name] if state else 0)
            self._logs[name] = Log(path)
        if state:
            self._position = state["position"]
            self.steps = dict(state["steps"])
            self.seconds = state["seconds"]
            self.resumed_inside = state["inside"]
            for name, part in self._parts.items():
                part.load_state_dict(state["parts"][name])
        self._saved_steps = self.trained
        return notes

    @property
    def trained(self) -> int:
        """Training steps so far: the x-axis of every curve."""
        return self.steps["designed"] + self.steps["original"]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self._position == len(self._phases)

    def steps_left(self) -> int:
        """Training steps of the phases not walked yet."""
        return sum(phase.steps for phase in self._phases[self._walked :])

    # Phases

    def phase(self, work: Callable[[PlannedPhase], dict[str, Any]]) -> dict[str, Any]:
        """The next phase's result: read back if it is finished, else `work` is done and ended by one atomic write."""
        index, planned = self._walked, self._phases[self._walked]
        self._walked += 1
        if index < self._position:
            return self.folder.finished_phase(index, planned.name)
        self.progress.phase(planned.name, planned.steps or planned.episodes, planned.cycle)
        self.current = planned
        result = work(planned)
        self.folder.finish_phase(index, planned.name, result)
        self._position = index + 1
        self.resumed_inside = None
        self.save()
        return result

    def save_when_due(self, inside: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint inside a phase if its schedule says so; `inside` gives the phase's state."""
        by_steps = self._config.every_steps and self.trained - self._saved_steps >= self._config.every_steps
        by_time = self._config.every_seconds and time.monotonic() - self._saved_at >= self._config.every_seconds
        if by_steps or by_time:
            self.save(inside())

    def save(self, inside: dict[str, Any] | None = None) -> None:
        """Flush the logs and write a checkpoint that points at their ends."""
        self.tick()
        state = {
            "position": self._position,
            "steps": self.steps,
            "seconds": self.seconds,
            "inside": inside,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "logs": {name: log.position() for name, log in self._logs.items()},
        }
        self._checkpoint += 1
        size = checkpoint.save(self.folder.checkpoints, self._checkpoint, state)
        self._saved_steps, self._saved_at = self.trained, time.monotonic()
        self.time({"checkpoint_bytes": size, "checkpoint_seconds": self.tick()})

    # Logs

    def tick(self) -> float:
        """Seconds since the last tick, added to the run's wall time."""
        now = time.monotonic()
        passed, self._ticked_at = now - self._ticked_at, now
        self.seconds += passed
        return passed

    def log(self, values: Mapping[str, float | int | None]) -> None:
        """A row of metrics at the current training step."""
        row = {"step": self.trained, "phase": self.current.name, "cycle": self.current.cycle, **values}
        self._logs["metrics"].append(row)
        self.tracker.publish(row)

    def time(self, values: Mapping[str, float | int]) -> None:
        """A row of clock readings at the current training step."""
        self._logs["timings"].append({"step": self.trained, "phase": self.current.name, **values})

    def episodes(self, records: Sequence[EpisodeRecord], skills: Sequence[str]) -> None:
        """A row for each finished episode."""
        for record in records:
            shown = {skill: count for skill, count in zip(skills, record.skills, strict=True) if count}
            row = {"step": self.trained, "phase": self.current.name, **vars(record), "skills": shown}
            self._logs["episodes"].append(row)

    def finished_episodes(self, phase: str) -> list[dict[str, Any]]:
        """The rows of a phase's episodes, from the log."""
        self._logs["episodes"].flush()
        with self.folder.episodes.open() as file:
            rows = (json.loads(line) for line in file)
            return [row for row in rows if row["phase"] == phase]

    def close(self) -> None:
        """Close logs, tracker and display; a checkpoint is not written."""
        for log in self._logs.values():
            log.close()
        self.tracker.close()
        self.progress.close()
