"""The forms in which a model or a person writes designs down: sets, names, files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from envgen_exp.errors import ConfigError, RunFolderError
from envgen_exp.guard.reading import load_yaml, read_text

MAX_BYTES = 200_000
"""A larger file of designs is not read."""

SETS = {
    *("designs", "environments", "envs", "configs", "configurations", "worlds", "environmentconfigs", "settings"),
    *("levels", "scenarios"),
}
"""Names under which a list of designs stands."""

_LONG = 100
"""Characters of no name."""

_NUMBERED = re.compile(
    r"(?:design|env|environment|world|config|configuration|level|scenario)"
    r"(?:[\W_]*\d{1,3}|[\W_]+[a-z])(?: ?[:(–—-].*)?|\d{1,3}",
    re.IGNORECASE,
)


def read_file(file: Path, where: str) -> str:
    """The text of a file of designs. ConfigError for what is no file, too large or no text."""
    try:
        return read_text(file, MAX_BYTES)
    except RunFolderError as error:
        raise ConfigError(f"{where}: can't be read: {error}") from error


def load(text: str, where: str) -> Any:
    """The value of a YAML or JSON text. ConfigError for what is none, an alias and a name that stands twice."""
    try:
        return load_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{where}: is no YAML: {error}") from error


def listed(value: Any) -> list[dict[str, Any]] | None:
    """The designs of a list, alone or under one of `SETS`, or of objects that are numbered; None for anything else."""
    if isinstance(value, dict):
        if len(value) == 1 and squeeze(next(iter(value))) in SETS:
            inner = next(iter(value.values()))
            return listed(inner) if isinstance(inner, list) or listed(inner) is not None else None
        value = list(value.values()) if value and all(map(numbered, value)) else None
    return value if isinstance(value, list) and value and all(isinstance(one, dict) for one in value) else None


def numbered(name: Any) -> bool:
    """Whether a name tells one design of a set from the others, e.g. design_1, "World B" or "Environment 2: coal"."""
    text = str(name)
    return len(text) < _LONG and _NUMBERED.fullmatch(text.strip()) is not None


def squeeze(text: Any) -> str:
    """Letters and digits alone, in lower case: what names and words are compared by; nothing of a text too long."""
    text = str(text)
    return re.sub(r"[\W_]+", "", text).casefold() if len(text) < _LONG else ""
