"""Plug-ins by name: built-in ones and those that installed packages bring by entry points, alike."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from envgen_exp.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """The plug-ins of one kind; each is loaded when it is asked for."""

    def __init__(self, key: str, group: str, built_in: Mapping[str, str]) -> None:
        """`key` is the config key that names a plug-in, e.g. env.name; `built_in` says where each lies, module:name.

        Other packages name theirs in the entry points' group envgen_exp.GROUP, e.g. envgen_exp.families.
        """
        self.key = key
        self.group = f"envgen_exp.{group}"
        self._built_in = dict(built_in)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all plug-ins, built-in ones first."""
        return (*self._built_in, *sorted({point.name for point in entry_points(group=self.group)} - {*self._built_in}))

    def find(self, name: str) -> T:
        """The plug-in of this name; ConfigError where there is none."""
        if name in self._built_in:
            module, _, attribute = self._built_in[name].partition(":")
            return cast(T, getattr(import_module(module), attribute))
        for point in entry_points(group=self.group, name=name):
            loaded: Any = point.load()
            return cast(T, loaded)
        close = nearest(name, self.names)
        raise ConfigError(f"{self.key}={name}: there is none of this name{close}; allowed: {' | '.join(self.names)}")


def nearest(word: str, candidates: Iterable[str]) -> str:
    """', did you mean X?' or nothing; of a dotted candidate the last part may be the one that was meant."""
    best, best_ratio = "", 0.65
    for candidate in candidates:
        for form in {candidate, candidate.rpartition(".")[2]}:
            ratio = difflib.SequenceMatcher(None, word.lower(), form.lower()).ratio()
            if ratio > best_ratio:
                best, best_ratio = candidate, ratio
    return f", did you mean {best}?" if best else ""
