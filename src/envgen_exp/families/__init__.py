"""The registry of environment families: Crafter, Heist, and whatever an installed package brings by entry point.

A package registers a family in the group `envgen_exp.families`, under the name that `env.name` says, as a callable
that takes the `EnvConfig` and returns the `Family`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points

from envgen_exp.config import CrafterConfig, EnvConfig, HeistConfig
from envgen_exp.errors import ConfigError
from envgen_exp.families.family import Family

GROUP = "envgen_exp.families"
"""The entry points' group."""


def family_names() -> tuple[str, ...]:
    """The names of all families that can be made."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def make_family(config: EnvConfig) -> Family:
    """The family that `config.name` says; ConfigError for an unknown one."""
    if config.name in _BUILT_IN:
        return _BUILT_IN[config.name](config)
    for point in entry_points(group=GROUP, name=config.name):
        make: Callable[[EnvConfig], Family] = point.load()
        return make(config)
    names = family_names()
    near = difflib.get_close_matches(config.name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"env.name: no family {config.name!r}, there are {', '.join(names)}{hint}")


def _make_crafter(config: EnvConfig) -> Family:
    from envgen_exp.families.crafter.family import CrafterFamily

    if not isinstance(config, CrafterConfig):
        raise ConfigError("env.name=crafter: needs Crafter's own settings (env=crafter)")
    return CrafterFamily(config)


def _make_heist(config: EnvConfig) -> Family:
    from envgen_exp.families.heist.family import HeistFamily

    if not isinstance(config, HeistConfig):
        raise ConfigError("env.name=heist: needs Heist's own settings (env=heist)")
    return HeistFamily(config)


_BUILT_IN: dict[str, Callable[[EnvConfig], Family]] = {"crafter": _make_crafter, "heist": _make_heist}
