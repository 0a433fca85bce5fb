"""Turns Hydra's and OmegaConf's composition errors into one line: what, where, what is allowed, the nearest match."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from omegaconf.errors import OmegaConfBaseException, ValidationError

from envgen_exp.config import RunConfig, schema


def explain(error: BaseException, overrides: Sequence[Override], conf: Path) -> str:
    """One line for an error that was raised while `overrides` were composed from the files of `conf`."""
    where = _file(str(error))
    keys = [key for key, _ in all_keys(schema(RunConfig))]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options or () if not option.startswith("schema")]
        return f"{where}{group}={name}: no such option{nearest(name, options)}; allowed: {_listed(options)}"
    at = _omegaconf_error(error)
    if at is not None and at.key is not None:
        typed = _typed(overrides, at.full_key)
        known = _fields(at.object_type)
        name = str(at.key)
        if name in known and isinstance(at, ValidationError):
            shown = typed or f"{where}{at.full_key}={getattr(at, 'value', '')}"
            return f"{shown}: allowed is {allowed_values(known[name])}{_nearest_value(known[name], shown)}"
        if known and name not in known:
            shown = typed or f"{where}{at.full_key}"
            section = at.full_key.removesuffix(name)
            siblings = dict.fromkeys([*known, *(groups_of(conf) if not section else ())])
            close = nearest(at.full_key, [*(section + key for key in siblings), *keys])
            return f"{shown}: no such key{close}; allowed: {_listed(siblings)}"
        return f"{typed or where + at.full_key}: {_first_line(at)}"
    text = str(error)
    # "Could not override 'a.b'", without a cause that says more.
    named = re.search(r"^Could not override '([^']+)'", text)
    if named:
        return f"{_typed(overrides, named[1]) or named[1]}: no such key{nearest(named[1], [*groups_of(conf), *keys])}"
    return where + _first_line(error)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """', did you mean X?' or nothing; of a dotted candidate the last part may be the one that was meant."""
    best, best_ratio = "", 0.65
    for candidate in candidates:
        for form in {candidate, candidate.rpartition(".")[2]}:
            ratio = difflib.SequenceMatcher(None, word.lower(), form.lower()).ratio()
            if ratio > best_ratio:
                best, best_ratio = candidate, ratio
    return f", did you mean {best}?" if best else ""


def allowed_values(hint: Any) -> str:
    """What a field with this type takes, in words."""
    inner, optional = _without_none(hint)
    if isinstance(inner, type) and issubclass(inner, Enum):
        words = " | ".join(inner.__members__)
    elif dataclasses.is_dataclass(inner):
        words = f"a value for each of its keys: {_listed(f.name for f in dataclasses.fields(inner))}"
    elif typing.get_origin(inner) is list:
        words = "a list, e.g. [a,b]"
    else:
        words = {int: "a whole number, e.g. 1000 or 1_000", float: "a number", bool: "true | false"}.get(
            inner, "a text"
        )
    return words + (" or null" if optional else "")


def groups_of(conf: Path) -> list[str]:
    """The config groups of this project, Hydra's own left out."""
    return sorted(path.name for path in conf.iterdir() if path.is_dir() and path.name != "hydra")


def all_keys(section: type, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Every key of a config class with its type, sections included, dotted."""
    for name, hint in _fields(section).items():
        yield prefix + name, hint
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from all_keys(hint, f"{prefix}{name}.")


def _nearest_value(hint: Any, shown: str) -> str:
    inner, _ = _without_none(hint)
    if isinstance(inner, type) and issubclass(inner, Enum):
        return nearest(shown.rpartition("=")[2], inner.__members__)
    return ""


def _without_none(hint: Any) -> tuple[Any, bool]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        inner = [item for item in typing.get_args(hint) if item is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return hint, False


def _fields(section: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(section):
        return {}
    return {f.name: f.type for f in dataclasses.fields(section)}


def _omegaconf_error(error: BaseException | None) -> Any:
    while error is not None and not (isinstance(error, OmegaConfBaseException) and error.full_key):
        error = error.__cause__
    return error


def _typed(overrides: Sequence[Override], full_key: str) -> str:
    """The argument that set a key, or nothing where a file of conf/ did."""
    for override in overrides:
        key = override.key_or_group
        if key == full_key or key.startswith(f"{full_key}."):
            return override.input_line or ""
    return ""


def _file(text: str) -> str:
    """'conf/experiment/x.yaml: ' where Hydra says that it was reading this file."""
    named = re.match(r"In '([^']+)'", text)
    return f"conf/{named[1]}.yaml: " if named and named[1] not in ("config", "hydra/config") else ""


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _listed(names: Iterable[str]) -> str:
    return " | ".join(names) or "none"
