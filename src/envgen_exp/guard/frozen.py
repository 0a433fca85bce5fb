"""Frozen config classes as Hydra wants them, and back: mutable twins, plain values, and text that stays as it is."""

from __future__ import annotations

import dataclasses
import re
import typing
from dataclasses import field
from enum import Enum
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from envgen_exp.errors import ConfigError

_T = TypeVar("_T")
_schemas: dict[type, type] = {}


def schema(frozen: type) -> type:
    """The mutable twin of a frozen config class, which is what Hydra and OmegaConf accept as a schema."""
    if frozen not in _schemas:
        hints = typing.get_type_hints(frozen)
        inherited = [base for base in frozen.__bases__ if dataclasses.is_dataclass(base)]
        own = []
        for f in dataclasses.fields(frozen):
            hint = hints[f.name]
            nested = dataclasses.is_dataclass(hint) and isinstance(hint, type)
            hint = schema(hint) if nested else hint
            if f.default_factory is not dataclasses.MISSING:
                factory = schema(f.default_factory) if nested else f.default_factory  # type: ignore[arg-type]
                own.append((f.name, hint, field(default_factory=factory)))
            else:
                own.append((f.name, hint, field(default=f.default, metadata=dict(f.metadata))))
        bases = tuple(schema(base) for base in inherited)
        _schemas[frozen] = dataclasses.make_dataclass(frozen.__name__, own, bases=bases)
        _schemas[frozen].__module__ = frozen.__module__
    return _schemas[frozen]


def frozen_twin(mutable: type) -> type:
    """The frozen config class that a schema was made from."""
    return next(frozen for frozen, twin in _schemas.items() if twin is mutable)


def literal(value: Any) -> Any:
    """Plain values with each text that OmegaConf would interpret, e.g. ${seed} or ???, marked; `freeze` unmarks it."""
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    if isinstance(value, str) and ("${" in value or value == "???" or "\0" in value):
        return f"\0{value.encode(errors='surrogatepass').hex()}\0"
    return value


def spoken(text: str) -> str:
    """A text as it was before `literal` marked it, or one that quotes such a text."""
    return re.sub(r"\0([0-9a-f]*)\0", lambda mark: bytes.fromhex(mark[1]).decode(errors="surrogatepass"), text)


def freeze(composed: DictConfig, kind: type[_T]) -> _T:
    """The composed config as frozen dataclasses, of which `kind` is the outermost; ConfigError for a missing value."""
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise ConfigError(f"config: no value for {', '.join(missing)}")
    frozen = _freeze(OmegaConf.to_object(composed))
    assert isinstance(frozen, kind)
    return frozen


def _freeze(value: Any) -> Any:
    frozen_types = {twin: frozen for frozen, twin in _schemas.items()}
    if type(value) in frozen_types:
        names = [f.name for f in dataclasses.fields(value)]
        return frozen_types[type(value)](**{name: _freeze(getattr(value, name)) for name in names})
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_freeze(item) for item in value]
    return spoken(value) if isinstance(value, str) else value


def plain(config: Any) -> dict[str, Any]:
    """A frozen config as plain values for YAML and JSON; enums by name."""

    def convert(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: convert(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, Enum):
            return value.name
        if isinstance(value, list | tuple):
            return [convert(item) for item in value]
        return value

    result: dict[str, Any] = convert(config)
    return result
