"""Plug-ins by name: built-in ones and those that installed packages bring by entry points, alike."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from envgen_exp.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """The plug-ins of one kind; each is loaded when it is asked for."""

    def __init__(
        self, key: str, group: str, built_in: Mapping[str, str], configs: Mapping[str, str] | None = None
    ) -> None:
        """`key` is the config key that names a plug-in, e.g. env.name; `built_in` says where each lies, module:name.

        `configs` says where the config class of a built-in one with settings of its own lies, in a module that loads
        fast: it is needed for every command line. Other packages name theirs in the entry points'
        group envgen_exp.GROUP, e.g. envgen_exp.families.
        """
        self.key = key
        self.group = f"envgen_exp.{group}"
        self.built_in = dict(built_in)
        self._configs = dict(configs or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Of all plug-ins, built-in ones first."""
        return (*self.built_in, *sorted({point.name for point in self._points()} - {*self.built_in}))

    def find(self, name: str) -> T:
        """The plug-in of this name; ConfigError where there is none, or where another package's does not load."""
        if name in self.built_in:
            return cast(T, _loaded(self.built_in[name]))
        self.require(name)
        point = next(point for point in self._points() if point.name == name)
        try:
            return cast(T, point.load())
        except Exception as error:
            what = " ".join(str(error).split())
            raise ConfigError(f"{self.key}={name}: does not load: {type(error).__name__}: {what}") from error

    def require(self, name: str) -> None:
        """ConfigError where there is no plug-in of this name; nothing is loaded."""
        if name not in self.built_in and name not in self.names:
            close, allowed = nearest(name, self.names), " | ".join(self.names)
            raise ConfigError(f"{self.key}={name}: there is none of this name{close}; allowed: {allowed}")

    def _points(self) -> Iterable[EntryPoint]:
        return _found(entry_points, self.group, tuple(sys.path))

    def is_built_in(self, name: str) -> bool:
        """Whether it is one of this package's own."""
        return name in self.built_in

    def config(self, name: str, common: type) -> type:
        """The config class of a plug-in: what it names as `Config`, else `common`. ConfigError as `find`."""
        if self.is_built_in(name):
            return cast(type, _loaded(self._configs[name])) if name in self._configs else common
        return cast(type, getattr(self.find(name), "Config", common))


@functools.lru_cache(64)
def _found(search: Callable[..., Iterable[EntryPoint]], group: str, path: tuple[str, ...]) -> Iterable[EntryPoint]:
    """What installed packages bring; to look for it is slow, and each command line asks many times."""
    return tuple(search(group=group))


def _loaded(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """', did you mean X?' or nothing; of a dotted candidate the last part may be the one that was meant."""
    best, best_ratio = "", 0.65
    for candidate in candidates:
        for form in {candidate, candidate.rpartition(".")[2]}:
            ratio = difflib.SequenceMatcher(None, word.lower(), form.lower()).ratio()
            if ratio > best_ratio:
                best, best_ratio = candidate, ratio
    return f", did you mean {best}?" if best else ""
