"""Copies the files that a config names into it: they count for its identity, and a resume does not need them.

Whether the family can use it is asked before the first phase, by the designer.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

from envgen_exp.config import LLMConfig, RunConfig
from envgen_exp.errors import ConfigError
from envgen_exp.guard.reading import understood
from envgen_exp.run.record import RunRecord


def enclose(config: RunConfig, stored: RunConfig | None = None) -> RunConfig:
    """The config with the content of what it names; `stored` is the config of the run that is gone on with.

    Raises ConfigError or RunFolderError for what is not there or not readable.
    """
    designer = config.designer.enclosed(config, stored.designer if stored else None, _of_run)
    return dataclasses.replace(config, designer=designer, llm=_named(config.llm))


def _named(llm: LLMConfig) -> LLMConfig:
    """With weights of one's own, the model's name is the file's with the beginning of its hash."""
    if llm.weights is None:
        return llm
    file = Path(llm.weights)
    where = f"llm.weights={llm.weights}"
    try:
        with file.open("rb") as handle:
            if handle.read(4) != b"GGUF":
                raise ConfigError(f"{where}: is no GGUF file")
        known = file.stat()
        return dataclasses.replace(llm, model=f"{file.name} {_digest(file, known.st_size, known.st_mtime_ns)[:12]}")
    except OSError as error:
        raise ConfigError(f"{where}: can't be read: {error.strerror or error}") from error


@functools.cache
def _digest(file: Path, size: int, changed: int) -> str:
    """A file's SHA-256, once for each of its states: the runs of a sweep share their weights."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _of_run(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    record = RunRecord(folder)
    with understood(folder):
        return record.document["config"], [result["skills"] for result in record.feedback_results]
