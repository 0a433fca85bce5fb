"""What a config names in other files: read once and copied into it, so that identity covers it and a resume needs none.

Whether the family can use it is asked before the first phase, by the designer.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

from envgen_exp.config import HumanConfig, LLMConfig, PlaceboConfig, RunConfig
from envgen_exp.errors import ConfigError, RunFolderError
from envgen_exp.families.forms import listed, load, read_file
from envgen_exp.run.folder import feedback_reports, read_config


def enclose(config: RunConfig, stored: RunConfig | None = None) -> RunConfig:
    """The config with the content of what it names; `stored` is the config of the run that is gone on with.

    Raises ConfigError or RunFolderError for what is not there or not readable.
    """
    designer, old = config.designer, stored.designer if stored else None
    if isinstance(designer, PlaceboConfig):
        if isinstance(old, PlaceboConfig) and designer.placebo_from in (None, old.placebo_from):
            designer = dataclasses.replace(designer, told=old.told)
        elif designer.placebo_from is not None:
            designer = dataclasses.replace(designer, told=_told(Path(designer.placebo_from), config))
        elif not designer.told:
            raise ConfigError("designer=placebo needs the run whose rates it is told: designer.placebo_from=FOLDER")
    elif isinstance(designer, HumanConfig):
        if isinstance(old, HumanConfig) and designer.file in (None, old.file):
            designer = dataclasses.replace(designer, sets=old.sets)
        elif designer.file is not None:
            designer = dataclasses.replace(designer, sets=_sets(Path(designer.file), config))
        elif not designer.sets:
            raise ConfigError("designer=human needs the file with the designs: designer.file=FILE")
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


def wants_source(config: RunConfig) -> bool:
    """Whether the config is a placebo's that names no run whose rates it is told."""
    designer = config.designer
    return isinstance(designer, PlaceboConfig) and designer.placebo_from is None and not designer.told


def _told(folder: Path, config: RunConfig) -> list[Any]:
    """The feedback evaluations of another run, so many as this one tells of."""
    where, theirs = f"designer.placebo_from={folder}", read_config(folder)["config"]
    if theirs["env"]["name"] != config.env.name:
        raise ConfigError(f"{where}: its family is {theirs['env']['name']}, this run's is {config.env.name}")
    if theirs["seed"] == config.seed:
        raise ConfigError(
            f"{where}: its seed is {config.seed} too, so that its first cycle may be this run's own; "
            "allowed is a run with another seed"
        )
    needed, reports = config.cycles - 1, feedback_reports(folder)
    if len(reports) < needed:
        raise RunFolderError(
            f"{where}: has finished {len(reports)} feedback evaluations, a run of cycles={config.cycles} is told "
            f"{needed}"
        )
    return reports[:needed]


def _sets(file: Path, config: RunConfig) -> list[Any]:
    """The designs of each cycle as they stand in a file."""
    where = f"designer.file={file}"
    found = load(read_file(file, where), where)
    one = listed(found)
    if one is not None:
        found = [one] * config.cycles
    count = config.designer.num_designs
    if not isinstance(found, list) or not all(isinstance(designs, list) for designs in found) or not found:
        raise ConfigError(f"{where}: needs a list of designs, or a list of such lists, one a cycle")
    if len(found) != config.cycles:
        raise ConfigError(f"{where}: has designs for {len(found)} cycles, the run has cycles={config.cycles}")
    for cycle, designs in enumerate(found, start=1):
        if len(designs) != count or not all(isinstance(design, dict) for design in designs):
            raise ConfigError(
                f"{where}: cycle {cycle}: needs designer.num_designs={count} designs, each with its settings, "
                f"has {len(designs)}"
            )
    return found
