"""Turns Hydra's and OmegaConf's composition errors into one line: what, where, what is allowed, the nearest match."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from envgen_exp.commands.searchpath import folders
from envgen_exp.config import RunConfig
from envgen_exp.guard.frozen import schema
from envgen_exp.registry import nearest
from envgen_exp.run.schemas import CONF


def explain(error: BaseException, overrides: Sequence[Override]) -> str:
    """One line for an error that was raised while `overrides` were composed."""
    where = _file(str(error), folders(overrides))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options or () if not option.startswith("schema")]
        return f"{where}{group}={name}: no such option{nearest(name, options)}; allowed: {_listed(options)}"
    at = _omegaconf_error(error)
    if at is not None and at.key is not None:
        return _explain_key(at, where, _typed(overrides, at.full_key, getattr(at, "value", None)))
    # An override that Hydra could not place, without a cause that says more.
    unplaced = re.search(r"Could not override '([^']+)'", str(error))
    if unplaced:
        key = unplaced[1]
        return f"{_typed(overrides, key) or where + key}: no such key{nearest(key, [*groups_of(CONF), *_known_keys()])}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name} line {error.problem_mark.line + 1}: {error.problem}"
    return where + _first_line(error)


def _explain_key(error: Any, where: str, typed: str) -> str:
    """An OmegaConf error that names a key: there is none such, or its value is wrong."""
    name, full_key = str(error.key), error.full_key
    siblings = _fields(error.object_type)
    if siblings and name not in siblings:
        section = full_key.removesuffix(name)
        allowed = dict.fromkeys([*siblings, *(groups_of(CONF) if not section else ())])
        close = nearest(full_key, [*(section + key for key in allowed), *_known_keys()])
        return f"{typed or where + full_key}: no such key{close}; allowed: {_listed(allowed)}"
    if name in siblings and isinstance(error, ValidationError):
        value = "null" if error.value is None else error.value
        shown = typed or f"{where}{full_key}={value}"
        return f"{shown}: allowed is {allowed_values(siblings[name])}{_nearest_value(siblings[name], shown)}"
    return f"{typed or where + full_key}: {_first_line(error)}"


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


def _known_keys(section: type | None = None, prefix: str = "") -> list[str]:
    """Every key of a config class, RunConfig's if none is given, sections included, dotted."""
    keys = []
    for name, hint in _fields(section or schema(RunConfig)).items():
        keys.append(prefix + name)
        for own in [] if section else _own_schemas(name):
            keys += _known_keys(own, f"{name}.")
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            keys += _known_keys(hint, f"{prefix}{name}.")
    return keys


def _own_schemas(group: str) -> list[type]:
    """The classes of a group's sections, plug-ins' with settings of their own too."""
    store = ConfigStore.instance()
    if group not in store.repo:
        return []
    found = (OmegaConf.get_type(store.load(f"{group}/{file}").node) for file in store.list(group))
    return [cls for cls in dict.fromkeys(found) if cls is not None]


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
        error = error.__cause__ or error.__context__
    return error


def _typed(overrides: Sequence[Override], full_key: str, value: object = None) -> str:
    """The argument that set a key, to this value if there are several; nothing where a file of conf/ did."""
    found = [one for one in overrides if one.key_or_group == full_key or one.key_or_group.startswith(f"{full_key}.")]
    found.sort(key=lambda one: str(one.value()) == str(value))
    return (found[-1].input_line or "") if found else ""


def _file(text: str, own: Sequence[Path]) -> str:
    """'conf/experiment/x.yaml: ' where Hydra says that it was reading this file, in conf/ or in an own folder."""
    named = re.match(r"In '([^']+)'", text)
    if not named or named[1] in ("config", "hydra/config"):
        return ""
    file = f"{named[1]}.yaml"
    theirs = [folder for folder in own if (folder / file).exists() and not (CONF / file).exists()]
    return f"{(theirs or [Path('conf')])[0] / file}: "


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("raised while composing config:"):
        return lines[1]
    return re.sub(r"^\w+ raised while resolving interpolation: ", "", lines[0]) if lines else type(error).__name__


def _listed(names: Iterable[str]) -> str:
    return " | ".join(names) or "none"
