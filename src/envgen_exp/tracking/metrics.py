"""The append-only JSONL logs that are the truth of a run, and the one table of metric names.

metrics.jsonl holds what must be equal after a resume: no clock readings. timings.jsonl holds the clock readings and
episodes.jsonl one `EpisodeRecord` a line. docs/reference.md shows the table.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envgen_exp.errors import RunFolderError
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.guard.reading import read_rows
from envgen_exp.guard.writing import disk_errors, open_own
from envgen_exp.learners import LEARNERS, traits
from envgen_exp.learners.learner import Metric
from envgen_exp.learners.skills import rate, success_counts

_KINDS = {
    "designed": "training episodes in designed worlds that ended since the last such row",
    "original": "training episodes in the original that ended since the last such row",
    "feedback": "the feedback evaluation that the designer sees",
    "report": "the report evaluation, which carries the score",
    "midway": "an evaluation that evaluation.report_at asks for",
}

_OURS: tuple[Metric, ...] = (
    *(Metric(f"skill/{kind}/<skill>", "share", f"Episodes that showed the skill: {d}.") for kind, d in _KINDS.items()),
    *(Metric(f"return/{kind}", "reward", f"Mean episode return: {d}.") for kind, d in _KINDS.items()),
    *(Metric(f"length/{kind}", "steps", f"Mean episode length: {d}.") for kind, d in _KINDS.items()),
    *(Metric(f"episodes/{kind}", "episodes", f"What those numbers rest on: {d}.") for kind, d in _KINDS.items()),
    Metric("score/report", "%", "The headline: the family's score from the report evaluation."),
    Metric("score/report_low", "%", "Lower end of its 95 % interval over episodes."),
    Metric("score/report_high", "%", "Upper end of its 95 % interval over episodes."),
    Metric("score/midway", "%", "The score from an evaluation that evaluation.report_at asks for."),
    Metric("score/midway_low", "%", "Lower end of its 95 % interval over episodes."),
    Metric("score/midway_high", "%", "Upper end of its 95 % interval over episodes."),
    Metric("score/feedback", "%", "The score from a feedback evaluation: few episodes, so noisy and biased low."),
    Metric("score/training_last_phase", "%", "The paper's score: over the training episodes of the last phase."),
    Metric(
        "return/training_last_phase", "reward", "The paper's reward: the same episodes' mean return, last 100 k steps."
    ),
    Metric("llm/calls", "calls", "Requests to a language model so far; the offline stand-in counts none."),
    Metric("llm/prompt_tokens", "tokens", "Prompt tokens so far."),
    Metric("llm/completion_tokens", "tokens", "Completion tokens so far."),
    Metric("llm/cost_dollars", "dollars", "Cost of the calls so far, where prices are known."),
    Metric("designs/repaired", "designs", "Notes on the cycle's designs: what was corrected, filled in or refused."),
    Metric("steps/designed", "steps", "Training steps in designed worlds so far."),
    Metric("steps/original", "steps", "Training steps in the original so far."),
    Metric("steps/feedback", "steps", "Steps of feedback evaluations so far; they train nothing."),
    Metric("steps/report", "steps", "Steps of the report evaluation; they train nothing."),
    Metric("steps/midway", "steps", "Steps of the evaluations that evaluation.report_at asks for; they train nothing."),
    Metric("steps/validation", "steps", "Steps that ranked designs so far; they train the agent nothing."),
    Metric("updates", "updates", "Steps of the agent's optimizer so far, one a minibatch."),
    Metric("speed/steps_per_second", "steps/s", "Training steps a second in the rollout and its update.", clock=True),
    Metric("seconds/env", "s", "Time of the rollout in the environments.", clock=True),
    Metric("seconds/inference", "s", "Time of the rollout in the network.", clock=True),
    Metric("seconds/update", "s", "Time of the update.", clock=True),
    Metric("seconds/visual", "s", "Time in pictures, films and W&B since the last such row.", clock=True),
    Metric("seconds/checkpoint", "s", "Time to write a checkpoint.", clock=True),
    Metric("checkpoint/bytes", "bytes", "Size of a checkpoint.", clock=True),
)
METRICS: tuple[Metric, ...] = tuple(
    dict.fromkeys((*_OURS, *(one for name in LEARNERS.built_in for one in traits(name).metrics)))
)
"""Every name that may stand in metrics.jsonl or timings.jsonl beside step, phase and cycle; learners of other packages
have their own."""


@functools.lru_cache(maxsize=4096)
def describe(name: str, own: tuple[Metric, ...] = ()) -> Metric | None:
    """The entry for a metric's full name, e.g. 'skill/report/collect_coal', in the table or a learner's own; None if it
    has none."""
    for metric in (*METRICS, *own):
        if re.fullmatch(re.escape(metric.name).replace("<skill>", "[a-z0-9_]+"), name):
            return metric
    return None


def row(
    step: int, phase: str, cycle: int, values: Mapping[str, Any], *, clock: bool = False, own: tuple[Metric, ...] = ()
) -> dict[str, Any]:
    """A row of metrics.jsonl (`clock=False`) or timings.jsonl: `step` counts training steps of the whole run.

    Its values are plain, with None for NaN and infinities, and sorted by name.
    Raises ValueError for a name that neither the table nor a learner's `own` has, or has for the other log.
    """
    for name in values:
        metric = describe(name, own)
        if metric is None or metric.clock != clock:
            raise ValueError(f"{name!r} is no {'clock reading' if clock else 'metric'} of tracking.metrics.METRICS")
    made: dict[str, Any] = _jsonable({"step": step, "phase": phase, "cycle": cycle, **dict(sorted(values.items()))})
    return made


def episode_row(
    step: int, phase: str, cycle: int, record: EpisodeRecord, earlier: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """A row of episodes.jsonl: the phase is that in which the episode ended; `earlier` names its steps in others."""
    crossed = {"earlier": dict(earlier)} if earlier else {}
    values = {name: value for name, value in dataclasses.asdict(record).items() if name != "trials" or value}
    return {"step": step, "phase": phase, "cycle": cycle, **values, **crossed}


def episode_record(row: Mapping[str, Any]) -> EpisodeRecord:
    """The record that a row of episodes.jsonl was made from."""
    values = {field.name: row.get(field.name, field.default) for field in dataclasses.fields(EpisodeRecord)}
    return EpisodeRecord(**{**values, "skills": tuple(values["skills"]), "trials": tuple(values["trials"])})


def episode_values(kind: str, skills: Sequence[str], records: Sequence[EpisodeRecord]) -> dict[str, float]:
    """Success rates, mean return and mean length of `records`, named for `kind`; empty without records."""
    if not records:
        return {}
    counts, numbers = success_counts(records, len(skills)), [record.episodes for record in records]
    values = {f"skill/{kind}/{skill}": rate(*of_it) for skill, *of_it in zip(skills, *map(list, counts), strict=True)}
    returns = np.repeat([record.episode_return for record in records], numbers)
    values[f"return/{kind}"] = float(np.mean(returns))
    values[f"length/{kind}"] = sum(record.length for record in records) / sum(numbers)
    values[f"episodes/{kind}"] = sum(numbers)
    return values


class Log:
    """One JSONL file that only grows; rows wait in memory until `flush`.

    Floats are written so that reading gives the same float; NaN and infinities become null. Keys keep the row's order.
    A failed write leaves the file as it was before and the rows waiting.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._waiting: list[bytes] = []
        with disk_errors(self.path):
            self._file = open_own(self.path)
            self._size = _whole_lines(self._file)
            os.ftruncate(self._file, self._size)

    def append(self, values: Mapping[str, Any]) -> None:
        """Add one row; it is on disk after the next `flush`."""
        self._waiting.append(json.dumps(_jsonable(values), allow_nan=False, separators=(",", ":")).encode() + b"\n")

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add several rows."""
        for values in rows:
            self.append(values)

    def flush(self) -> None:
        """Hand the waiting rows to the operating system; raises RunFolderError, e.g. on a full disk."""
        data = b"".join(self._waiting)
        with disk_errors(self.path):
            try:
                written = 0
                while written < len(data):
                    written += os.pwrite(self._file, data[written:], self._size + written)
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
        self._size += len(data)
        self._waiting.clear()

    def position(self) -> int:
        """Bytes in the file with all rows so far: what a checkpoint notes, after `sync`, and `cut` takes."""
        self.flush()
        return self._size

    def sync(self) -> None:
        """Wait until all rows are safely on disk."""
        self.flush()
        with disk_errors(self.path):
            os.fsync(self._file)

    def close(self) -> None:
        """Flush and close."""
        try:
            self.flush()
        finally:
            os.close(self._file)

    @staticmethod
    def cut(path: Path | str, position: int) -> None:
        """Bring the file back to what it was when `position()` gave `position`; a missing file counts as empty.

        Raises RunFolderError where the file can't have been in that state.
        """
        path = Path(path)
        with disk_errors(path):
            handle = open_own(path)
            try:
                size = os.fstat(handle).st_size
                if 0 <= position <= size and (not position or os.pread(handle, 1, position - 1) == b"\n"):
                    os.ftruncate(handle, position)
                    return
            finally:
                os.close(handle)
            raise RunFolderError(
                f"{path}: has {size} bytes and no row that ends at byte {position}, where the "
                "checkpoint left it; the file was changed or belongs to another run"
            )


def read(path: Path | str) -> Iterator[dict[str, Any]]:
    """The rows of a log, also of one that is being written; a torn last line is left out, a missing file is empty.

    Raises RunFolderError for a line that is no row.
    """
    return read_rows(Path(path))


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value


def _whole_lines(file: int) -> int:
    """Bytes of a file up to its last end of a line."""
    size = os.fstat(file).st_size
    while size:
        start = max(0, size - 2**20)
        found = os.pread(file, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0
