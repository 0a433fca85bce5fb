"""A run's progress: its phases, counters and logs, and the checkpoints from which it continues."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from envgen_exp.config import RunConfig
from envgen_exp.errors import CheckpointError, ConfigError
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.guard.reading import understood
from envgen_exp.learners import traits
from envgen_exp.run import checkpoint
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.plan import PlannedPhase, phases
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import STEP_KINDS
from envgen_exp.tracking import metrics
from envgen_exp.tracking.progress import make_progress, row_words
from envgen_exp.tracking.wandb import make_tracker

SNAPSHOT_SHARE = 100
"""Between two snapshots in memory pass this many times what one costs, so that they stay below 1 % of a run."""


class Session:
    """Walks the planned phases in order: finished ones are read back, the next one is done.

    `parts` are the things that carry state from phase to phase; each has state_dict() and load_state_dict(), and
    together with the counters they are a checkpoint.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, parts: Mapping[str, Any], *, saves_games: bool = True
    ) -> None:
        """Open the run at its newest whole checkpoint, or at nothing."""
        self.folder = folder
        self.saves_games = saves_games
        """Whether running games can be saved; else there are no boundaries, and a phase that is cut off begins anew."""
        self.steps = dict.fromkeys(STEP_KINDS, 0)
        """Environment steps so far, by kind."""
        self.seconds = 0.0
        """Wall time so far, over all resumes."""
        self.visual_seconds = 0.0
        """Spent on pictures, films and W&B since this process began."""
        self._visual_logged = 0.0
        self._inside: dict[str, Any] | None = None
        """State of the phase that a checkpoint interrupted."""
        self._parts = {name: part for name, part in parts.items() if part is not None}
        self._schedule = config.checkpoint
        self._own_metrics = traits(config.agent.name).metrics
        self._phases = phases(config)
        self.current = self._phases[0]
        """The phase that runs."""
        self._position = 0
        self._walked = 0
        self._checkpoint, state, damaged = checkpoint.load_latest(folder.checkpoints)
        done = len([*folder.phases.glob("*.json")])
        with understood(folder.metrics):
            begun = {row["phase"] for row in metrics.read(folder.metrics)} if state is None else set()
        # The first phase may have ended before there was one, but then no other has begun.
        if state is None and (done > 1 or begun - {self.current.name}):
            raise CheckpointError(f"more than a phase has begun, and {folder.checkpoints} holds no checkpoint of it")
        logs = {"metrics": folder.metrics, "timings": folder.timings, "episodes": folder.episodes}
        with understood(folder.checkpoints):
            for name, path in logs.items():
                metrics.Log.cut(path, state["logs"][name] if state else 0)
            if state:
                self._restore(state)
        for step in config.evaluation.report_at:
            if step <= self.trained and not folder.midway_file(step).exists():
                raise ConfigError(
                    f"evaluation.report_at: {step}; the run has {self.trained:,} training steps: allowed are later ones"
                )
        if config.resume is not None:
            folder.keep(config)
        self._logs = {name: metrics.Log(path) for name, path in logs.items()}
        self._saved_steps = self.stepped
        self._saved_at = self._ticked_at = self._snapped_at = time.monotonic()
        self._snap_seconds = 0.0
        self._snapshot: dict[str, Any] | None = None
        """A checkpoint that is not written yet."""
        self._saving = threading.Lock()  # the thread that watches for signals may save too
        self.progress = make_progress(
            total_steps=sum(phase.steps for phase in self._phases),
            done_steps=self.trained,
            verbosity=config.verbosity,
        )
        with ExitStack() as unless_it_starts:
            unless_it_starts.callback(self.progress.close)
            for line in damaged:
                self.progress.message(f"passed over: {line}")
            self.tracker = make_tracker(
                config, folder.path, self.progress.message, RunRecord, sum(p.steps for p in self._phases)
            )
            self.tracker.start(metrics.read(folder.metrics), metrics.read(folder.timings))
            unless_it_starts.pop_all()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._position = state["position"]
        self.steps = dict(state["steps"])
        self.seconds = state["seconds"]
        self._inside = state["inside"]
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])

    @property
    def trained(self) -> int:
        """Training steps so far: the x-axis of every curve."""
        return self.steps["designed"] + self.steps["original"]

    @property
    def stepped(self) -> int:
        """Training steps so far, with those of agents that only rank designs: what checkpoints go by."""
        return self.trained + self.steps["validation"]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self._position == len(self._phases)

    def steps_left(self) -> int:
        """Training steps of the phases not walked yet."""
        return sum(phase.steps for phase in self._phases[self._walked :])

    # Phases

    def phase(self, work: Callable[[PlannedPhase, dict[str, Any] | None], dict[str, Any]]) -> dict[str, Any]:
        """The next phase's result: read back if it is finished, else `work` is done and ended by one atomic write.

        `work` is handed the phase's state where a checkpoint interrupted it, as its last `boundary` gave it.
        """
        index, planned = self._walked, self._phases[self._walked]
        self._walked += 1
        if index < self._position:
            return self.folder.finished_phase(index, planned.name)
        self.current = planned
        inside, self._inside = self._inside, None
        result = work(planned, inside)
        self.folder.finish_phase(index, planned.name, result)
        self._position = index + 1
        self._log_readings({"seconds/visual": self.visual_seconds - self._visual_logged})
        self._visual_logged = self.visual_seconds
        self.save()
        return result

    def boundary(self, inside: Callable[[], dict[str, Any]]) -> None:
        """A point inside a phase from which a run can go on; `inside` gives the phase's state.

        It is kept in memory, for a signal that comes before the next one, and written if the schedule says so.
        """
        if not self.saves_games:
            return
        now = time.monotonic()
        by_steps = self._schedule.every_steps and self.stepped - self._saved_steps >= self._schedule.every_steps
        by_time = self._schedule.every_seconds and now - self._saved_at >= self._schedule.every_seconds
        if by_steps or by_time:
            self.save(inside())
        elif now - self._snapped_at >= SNAPSHOT_SHARE * self._snap_seconds:
            self._snapshot = self._state(inside())
            self._snapped_at = time.monotonic()
            self._snap_seconds = self._snapped_at - now

    def save(self, inside: dict[str, Any] | None = None) -> None:
        """Write a checkpoint of this moment."""
        self._snapshot = self._state(inside)
        self.save_snapshot()

    def save_snapshot(self) -> None:
        """Write the latest snapshot as a checkpoint, if it is not written yet."""
        with self._saving:
            if self._snapshot is None:
                return
            start = time.monotonic()
            for log in self._logs.values():
                log.sync()
            size = checkpoint.save(self.folder.checkpoints, self._checkpoint + 1, self._snapshot)
            self._checkpoint += 1
            self._snapshot = None
            self._saved_steps, self._saved_at = self.stepped, time.monotonic()
        self._log_readings({"checkpoint/bytes": size, "seconds/checkpoint": self._saved_at - start})

    def _state(self, inside: dict[str, Any] | None) -> dict[str, Any]:
        self.tick()
        return {
            "position": self._position,
            "steps": dict(self.steps),
            "seconds": self.seconds,
            "inside": inside,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "logs": {name: log.position() for name, log in self._logs.items()},
        }

    # Logs

    def tick(self) -> float:
        """Seconds since the last tick, added to the run's wall time."""
        now = time.monotonic()
        passed, self._ticked_at = now - self._ticked_at, now
        self.seconds += passed
        return passed

    def log(self, values: Mapping[str, Any], readings: Mapping[str, Any] | None = None) -> None:
        """A row of metrics at the current training step, and one of clock readings where there are some.

        The names stand in tracking.metrics.METRICS, or are the learner's own.
        """
        where = (self.trained, self.current.name, self.current.cycle)
        row = metrics.row(*where, values, own=self._own_metrics)
        self._logs["metrics"].append(row)
        timing = metrics.row(*where, readings, clock=True, own=self._own_metrics) if readings else None
        if timing:
            self._logs["timings"].append(timing)
        self.progress.detail(row_words(row))
        with self.visual():
            self.tracker.publish(row, timing)

    def _log_readings(self, readings: Mapping[str, Any]) -> None:
        where = (self.trained, self.current.name, self.current.cycle)
        timing = metrics.row(*where, readings, clock=True, own=self._own_metrics)
        self._logs["timings"].append(timing)
        self.tracker.time(timing)

    @contextmanager
    def visual(self) -> Iterator[None]:
        """Count the block's time as spent on what one looks at."""
        begun = time.monotonic()
        yield
        self.visual_seconds += time.monotonic() - begun

    def episodes(self, records: Sequence[EpisodeRecord], earlier: Sequence[Mapping[str, int]] = ()) -> None:
        """A row for each finished episode, and how many steps of each were in which `earlier` phases."""
        where = (self.trained, self.current.name, self.current.cycle)
        for record, before in zip(records, earlier or itertools.repeat({}), strict=False):
            self._logs["episodes"].append(metrics.episode_row(*where, record, before))

    def finished_episodes(self, phase: str) -> list[dict[str, Any]]:
        """The rows of a phase's finished episodes, from the log."""
        self._logs["episodes"].flush()
        return [row for row in metrics.read(self.folder.episodes) if row["phase"] == phase]

    def close(self) -> None:
        """Close logs, tracker and display, once; writes no checkpoint."""
        logs, self._logs = self._logs, {}
        with ExitStack() as stack:  # all of them, whichever fails
            for close in (self.progress.close, self.tracker.close, *(log.close for log in logs.values())):
                stack.callback(close)
