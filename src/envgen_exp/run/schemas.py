"""The schemas in Hydra's store: ours, and those of every plug-in with settings of its own."""

from __future__ import annotations

import functools
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from envgen_exp.config import DesignerConfig, EnvConfig, LLMConfig, RunConfig, TrackerConfig
from envgen_exp.designers import DESIGNERS
from envgen_exp.errors import ConfigError, SecretError
from envgen_exp.families import FAMILIES
from envgen_exp.guard.frozen import schema
from envgen_exp.learners import GROUPS
from envgen_exp.registry import Registry

PLUG_INS: tuple[tuple[str, Registry[Any], type], ...] = (
    ("env", FAMILIES, EnvConfig),
    ("designer", DESIGNERS, DesignerConfig),
    *GROUPS,
)
"""The groups of conf/ that name plug-ins, each with its registry and what their settings extend."""


def registered() -> tuple[object, ...]:
    """The plug-ins that there are: while it is the same, so are the schemas."""
    return tuple(registry.names for _, registry, _ in PLUG_INS)


def register() -> None:
    """Put the schemas into Hydra's store; conf/ refers to them as `schema` and `<group>/schema_<name>`.

    A plug-in that another package brings is an option of its group by its name alone, without a file in conf/.

    conf/ may also write ${steps:N}, the steps N at the run's scale; ${steps:N,PARTS}, a part of them; and
    ${whole:N,SIZE}, how many times SIZE goes into N. OmegaConf's own ${oc.env:NAME} is refused.
    """
    OmegaConf.register_new_resolver("steps", _steps, replace=True)
    OmegaConf.register_new_resolver("whole", lambda number, size: number // size, replace=True)
    OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)
    store(registered())


@functools.lru_cache(1)
def store(registered: tuple[object, ...]) -> None:
    """Put the schemas of these plug-ins into Hydra's store."""
    schemas = ConfigStore.instance()
    for group, _, _ in PLUG_INS:
        schemas.repo.pop(group, None)  # with what is there no longer
    schemas.store(name="schema", node=schema(RunConfig))
    for group, section in (("llm", LLMConfig), ("tracker", TrackerConfig)):
        schemas.store(name=f"schema_{group}", group=group, node=schema(section))
    for group, registry, common in PLUG_INS:
        schemas.store(name=f"schema_{group}", group=group, node=schema(common))
        for name in registry.names:
            try:
                own = registry.config(name, common)
            except ConfigError:  # which says so where it is chosen
                own = common
            if own is not common:
                schemas.store(name=f"schema_{name}", group=group, node=schema(own))
            if not registry.is_built_in(name):
                named = {"name": name, registry.key.rpartition(".")[2]: name}
                schemas.store(name=name, group=group, node=schema(own)(**named))


def _steps(at_scale_one: int, parts: int = 1, *, _root_: DictConfig) -> int:
    return round(at_scale_one * float(_root_.schedule.scale) / parts)


def _refuse_environment(name: Any, default: Any = None) -> Any:
    raise SecretError(
        f"reads the environment variable {name}, and a config is written to files: let the shell fill in what is no "
        f'secret ("${name}"); keys are read from environment variables alone (llm.key_variable names which)'
    )
