"""The only owner of paths in a run's folder: identity, lock, atomic writes, finished phases.

config.yaml      the resolved config, its identity, versions, what was chosen at start, processor and commit
phases/          one JSON for each finished phase, numbered in order
llm/             ledger.jsonl and calls/
metrics.jsonl    the truth of every curve; holds no clock readings
timings.jsonl    clock readings
episodes.jsonl   one line for each finished training or evaluation episode
checkpoints/     the last two
pictures/        sampled worlds of each cycle's designs
videos/          films of evaluation episodes
drives/          what drives by the trained network came to, a JSON and a film each
report_at/       one JSON for each evaluation of evaluation.report_at
summary.json     steps, seconds and updates; all else that tables show is read from the files above
report.html      its page
wandb/           a published view
"""

from __future__ import annotations

import datetime
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envgen_exp.config import RunConfig
from envgen_exp.errors import IdentityError, RunFolderError
from envgen_exp.guard.frozen import plain
from envgen_exp.guard.lock import Lock
from envgen_exp.guard.reading import (
    MAX_YAML,
    dump_yaml,
    load_yaml,
    read_json,
    read_text,
)
from envgen_exp.guard.writing import UNFINISHED, disk_errors, open_own, write_atomic, write_json
from envgen_exp.learners import preset, traits
from envgen_exp.run.identity import ON_RESUME, counted, identity, identity_of
from envgen_exp.run.stored import quoted, stored_config

FORMAT = 1
"""Version of the folder's layout and file formats."""

REPORT = "report.html"
"""The page of a run, or of a sweep."""

MIN_FREE_BYTES = 64 * 2**20
"""A run does not start with less free disk space than this: two checkpoints of the laptop network and its logs."""

MAX_SHOWN = 120
"""Characters of a value that a line names; what a run is told or designed in can be long."""


class Files:
    """Where things are in a run's folder, whoever has it open. Nobody else spells these names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.phases = path / "phases"
        self.llm = path / "llm"
        self.metrics = path / "metrics.jsonl"
        self.timings = path / "timings.jsonl"
        self.episodes = path / "episodes.jsonl"
        self.checkpoints = path / "checkpoints"
        self.pictures = path / "pictures"
        self.videos = path / "videos"
        self.drives = path / "drives"
        self.report_at = path / "report_at"
        self.summary = path / "summary.json"
        self.report = path / REPORT

    def phase_file(self, index: int, name: str) -> Path:
        """The result of a phase."""
        return self.phases / f"{index:03d}-{name}.json"

    def midway_file(self, step: int) -> Path:
        """The result of the evaluation that evaluation.report_at asks for after so many training steps."""
        return self.report_at / f"{step}.json"

    def finished_phase(self, index: int, name: str) -> dict[str, Any]:
        """What a finished phase left; RunFolderError where it is missing."""
        value = read_json(self.phase_file(index, name))
        if not isinstance(value, dict):
            raise RunFolderError(f"{self.phase_file(index, name)} is no phase's result")
        return value


class RunFolder(Files):
    """An open run folder; it is locked for as long as the process lives or until `close`."""

    def __init__(self, path: Path, lock: Lock) -> None:
        super().__init__(path)
        self._lock = lock

    # Opening

    @classmethod
    def create(
        cls,
        config: RunConfig,
        *,
        command: str,
        versions: Mapping[str, str],
        chosen: Mapping[str, Any],
        origin: Mapping[str, str] | None = None,
    ) -> RunFolder:
        """Make the folder of a new run, or raise RunFolderError with nothing written."""
        path = Path(config.folder) if config.folder else new_path(config)
        check_new(path)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(path).free
        if free < MIN_FREE_BYTES:
            raise RunFolderError(
                f"no disk space left for {path}: {free / 2**20:.0f} MiB free, {MIN_FREE_BYTES / 2**20:.0f} MiB needed"
            )
        folder = cls(path, _lock(path))
        document = {
            "format": FORMAT,
            "identity": identity(config),
            "command": command,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": dict(versions),
            "chosen": dict(chosen),
            "origin": dict(origin or {}),
            "config": plain(config),
        }
        write_atomic(folder.config, dump_yaml(document).encode())
        return folder

    @classmethod
    def reopen(cls, config: RunConfig) -> RunFolder:
        """Open the folder that `config.resume` names; IdentityError where the config is another run's."""
        assert config.resume is not None
        path = Path(config.resume)
        document = read_config(path)
        # Not what the folder has for its identity: an older version may have counted more keys.
        if identity_of(document["config"]) != identity(config):
            changes = _differences(counted(document["config"]), counted(plain(config)))
            raise IdentityError(
                f"resume={path}: this would be another run ({'; '.join(changes) or 'other defaults'}); "
                "on resume may change tracker, checkpoint, evaluation.report_at, paths, threads, and a model's "
                "address, caps, prices, retries and time-outs"
            )
        folder = cls(path, _lock(path))
        with disk_errors(path):
            for left_by_a_kill in path.rglob(f".*{UNFINISHED}"):
                left_by_a_kill.unlink()
        return folder

    def keep(self, config: RunConfig) -> None:
        """Write down what was typed on resume, for the next one, and in the command that repeats the run."""
        document = read_config(self.path)
        values = plain(config)
        if _keep(document["config"], plain(stored_config(document["config"], self.path)), values):
            words = (_typed_now(word, values) for word in shlex.split(document["command"]))
            document["command"] = shlex.join(words)
            write_atomic(self.config, dump_yaml(document).encode())

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        self._lock.close()

    # Phases

    def finish_phase(self, index: int, name: str, result: Mapping[str, Any]) -> None:
        """The one atomic write that ends a phase."""
        write_json(self.phase_file(index, name), {"format": FORMAT, "phase": name, **result})


def _keep(stored: dict[str, Any], was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Put what a resume changes of `was` into what is `stored` of it; returns whether anything was changed."""
    changed = False
    for key in ON_RESUME:
        *parents, last = key.split(".")
        target, old, new = stored, was, now
        for name in parents:
            target, old, new = target.setdefault(name, {}), old[name], new[name]
        if old[last] != new[last]:
            target[last], changed = new[last], True
    return changed


def _typed_now(word: str, values: Mapping[str, Any]) -> str:
    """A word of a run's command with the value that a resume gave its key; an option of a group stays."""
    key, _, _ = word.partition("=")
    value: Any = values if any(f"{key}.".startswith(f"{one}.") for one in ON_RESUME) else {}
    for name in key.split("."):
        value = value.get(name, {}) if isinstance(value, dict) else {}
    if isinstance(value, dict):
        return word
    return f"{key}={quoted(value) if isinstance(value, str) else json.dumps(value).replace(' ', '')}"


def check_new(path: Path) -> None:
    """RunFolderError where a new run can't have this folder; nothing is written."""
    if (path / "config.yaml").exists():
        again = shlex.quote(f"resume={quoted(str(path))}")
        raise RunFolderError(f"folder={path} holds a run already: go on with it by {again}")
    if path.exists() and (not path.is_dir() or any(not p.name.startswith("lock") for p in path.iterdir())):
        raise RunFolderError(f"folder={path} is not an empty folder; choose another name")
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not os.access(there, os.W_OK):
        raise RunFolderError(f"folder={path}: {there} can't be written")


def read_config(path: Path) -> dict[str, Any]:
    """The config.yaml of a run folder as plain values; RunFolderError where the folder is no run of this version."""
    file = path / "config.yaml"
    if not os.path.isdir(path):  # which raises nothing, whatever the name
        raise RunFolderError(f"{path} is not a folder")
    if not os.path.lexists(file):
        raise RunFolderError(f"{path} is not a run's folder: it has no config.yaml")
    try:
        document = load_yaml(read_text(file, MAX_YAML), aliases=True)  # earlier versions wrote some
    except ValueError as error:
        raise RunFolderError(f"can't read {file}: {error}") from error
    return checked_config(document, file, path)


def checked_config(document: Any, file: Path, path: Path) -> dict[str, Any]:
    """What `read_config` takes from a file, however it was come by."""
    if not isinstance(document, dict) or "format" not in document:
        raise RunFolderError(f"{file} is not a run's config: it has no format")
    if document["format"] != FORMAT:
        raise RunFolderError(f"{path} was written in format {document['format']}; this version reads format {FORMAT}")
    missing = [key for key in ("identity", "command", "config", "versions", "chosen") if key not in document]
    if missing:
        raise RunFolderError(f"{file} is not a run's config: it lacks {', '.join(missing)}")
    sections = ("config", "versions", "chosen", "origin")
    wrong = [key for key in sections if not isinstance(document.get(key, {}), dict)]
    if wrong:
        raise RunFolderError(f"{file} is not a run's config: {wrong[0]} has no keys")
    return document


def is_finished(path: Path) -> bool:
    """Whether nothing is left to do for the run in a folder; its report is the last thing that a run writes."""
    files = Files(path)
    return files.summary.exists() and files.report.exists()


def new_path(config: RunConfig) -> Path:
    """The folder of a new run that names none: by time and by what is run."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    who = f"{config.designer.name}-{config.llm.name}-{preset(config)[1]}"
    if not traits(config.agent.name).trains:
        who = f"{config.agent.name}-{config.llm.name}"
    name = f"{stamp}-{config.env.name}-{who}-s{config.seed}"
    path = Path(config.runs_dir) / name
    number = 1
    while path.exists():
        number += 1
        path = Path(config.runs_dir) / f"{name}-{number}"
    return path


def _lock(path: Path) -> Lock:
    return Lock(path, open_own(path / "lock"))


def _differences(stored: Mapping[str, Any], typed: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key in stored.keys() | typed.keys():
        name = prefix + key
        old, new = stored.get(key), typed.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{name}.")
        else:
            lines.append(f"{name} was {_shortened(old)}, is {_shortened(new)}")
    return sorted(lines)


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
