"""The games, a folder each: Crafter, driving, Heist, and whatever an installed package brings; `env.name` says which.

A package names its families in the entry points' group `envgen_exp.families`: a callable each that takes the section
`env` and returns the `Family`.
"""

from __future__ import annotations

from collections.abc import Callable

from envgen_exp.config import EnvConfig
from envgen_exp.errors import ConfigError
from envgen_exp.families.family import Family, Playable
from envgen_exp.registry import Registry

FAMILIES: Registry[Callable[[EnvConfig], Family]] = Registry(
    "env.name",
    "families",
    {
        "crafter": "envgen_exp.families.crafter.family:CrafterFamily",
        "driving": "envgen_exp.families.driving.family:DrivingFamily",
        "heist": "envgen_exp.families.heist.family:HeistFamily",
    },
    {
        "crafter": "envgen_exp.families.crafter.config:CrafterConfig",
        "driving": "envgen_exp.families.driving.config:DrivingConfig",
        "heist": "envgen_exp.families.heist.config:HeistConfig",
    },
)


def make_family(config: EnvConfig) -> Family:
    """The family that `config.name` says; ConfigError for an unknown one, or for settings that are not its own."""
    made = FAMILIES.find(config.name)
    if not isinstance(config, own := FAMILIES.config(config.name, EnvConfig)):
        raise ConfigError(f"env.name={config.name}: needs the settings of {own.__name__} (env={config.name})")
    return made(config)


def make_playable(config: EnvConfig) -> Playable:
    """As `make_family`, of a family whose games are stepped; ConfigError for another one."""
    family = make_family(config)
    if not isinstance(family, Playable):
        raise ConfigError(f"env={config.name}: its games are not stepped, so that nobody can play them")
    return family
