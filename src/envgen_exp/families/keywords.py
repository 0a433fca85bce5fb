"""What a caller of `gymnasium.make` types: settings, designs, sizes and options, each refused in one line."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from envgen_exp.config import EnvConfig
from envgen_exp.errors import ArgumentError, ConfigError, DesignError
from envgen_exp.families import FAMILIES
from envgen_exp.families.design import Design
from envgen_exp.families.family import Family
from envgen_exp.families.typed import read_design

RENDER_MODES = ("rgb_array",)

DesignLike = Design | Mapping[str, Any] | None
"""A family's design, its settings by name (those left out are the defaults), or None for the original."""
Size = int | tuple[int, int]
"""Rows and columns of a picture in pixels, or one number for both."""


def configure(family: str, settings: Mapping[str, Any]) -> EnvConfig:
    """The family's config from keyword arguments; enums by name. ConfigError for what it has not."""
    config = FAMILIES.config(family, EnvConfig) if family in FAMILIES.names else EnvConfig
    hints = typing.get_type_hints(config)
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(config) if field.name != "name"}
    values: dict[str, Any] = {"name": family}
    for name, value in settings.items():
        if name not in kinds:
            raise ArgumentError(f"{family}: got an unexpected keyword argument {name!r}{_instead(name, kinds)}")
        kind = kinds[name]
        if issubclass(kind, Enum):
            names = [member.name for member in kind]
            if not isinstance(value, kind) and value not in names:
                raise ConfigError(f"{name}: {value!r}{_instead(value, names)}")
            values[name] = value if isinstance(value, kind) else kind[value]
        else:
            # Every other setting is a number of something; 0 threads are as many as there are cores.
            values[name] = check_count(name, value, least=0 if name == "num_threads" else 1)
    made: EnvConfig = config(**values)
    return made


def bound(config: EnvConfig, max_episode_steps: int) -> EnvConfig:
    """The config with none of its episode lengths above `max_episode_steps`."""
    check_count("max_episode_steps", max_episode_steps)
    lengths = [field.name for field in dataclasses.fields(config) if field.name.endswith("_length")]
    if not lengths:
        raise ConfigError(f"max_episode_steps: {config.name} has no setting for the length of an episode; leave it out")
    return dataclasses.replace(config, **{name: min(max_episode_steps, getattr(config, name)) for name in lengths})


def to_design(family: Family, design: DesignLike) -> Design | None:
    """A design from what a caller gives; DesignError says which setting is wrong and what is allowed."""
    if design is None or isinstance(design, family.design_model):
        return design
    if not isinstance(design, Mapping):
        name = family.design_model.__name__
        raise DesignError(f"design: needs a {name}, a dict of settings or None, got {type(design).__name__}")
    return read_design(design, family)


def _instead(name: object, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f", allowed: {', '.join(allowed)}" + (f"; did you mean {near[0]}?" if near else "")


def check_count(name: str, value: object, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"{name}: {value!r}, allowed are whole numbers from {least}")
    return int(value)


def check_seed(seed: object) -> int:
    return check_count("seed", seed, least=0)


def check_size(size: object) -> tuple[int, int]:
    both = size if isinstance(size, tuple | list) else (size, size)
    if len(both) != 2:
        raise ConfigError(f"size: {size!r}, allowed are one number of pixels or rows and columns")
    rows, columns = (check_count("size", pixels) for pixels in both)
    return rows, columns


def check_render_mode(render_mode: str | None) -> str | None:
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ConfigError(f"render_mode: {render_mode!r}, allowed are None and {', '.join(map(repr, RENDER_MODES))}")
    return render_mode


def check_autoreset(mode: object) -> AutoresetMode:
    """The mode; ConfigError for DISABLED: engines begin the next episode in the step that ends one."""
    allowed = {one.value: one for one in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)}
    found = allowed.get(mode.value if isinstance(mode, AutoresetMode) else str(mode))
    if found is None:
        raise ConfigError(f"autoreset_mode: {mode!r}{_instead(mode, allowed)}")
    return found


def check_options(options: dict[str, Any] | None, allowed: tuple[str, ...]) -> dict[str, Any]:
    for name in options or {}:
        if name not in allowed:
            raise ConfigError(f"options: there is no option {name!r}{_instead(name, allowed)}")
    return options or {}
