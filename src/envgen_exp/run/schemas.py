"""The schemas in Hydra's store, ours and those of every plug-in, and what Hydra composes by them."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from envgen_exp.config import DesignerConfig, EnvConfig, LLMConfig, RunConfig, TrackerConfig
from envgen_exp.designers import DESIGNERS
from envgen_exp.errors import ConfigError, SecretError
from envgen_exp.families import FAMILIES
from envgen_exp.guard.frozen import freeze, schema
from envgen_exp.learners import GROUPS
from envgen_exp.registry import Registry

_PACKAGE = Path(__file__).resolve().parents[1]
CONF = next((conf for conf in [_PACKAGE / "conf"] if conf.is_dir()), _PACKAGE.parents[1] / "conf")
"""conf/ of the installed package, into which the build copies it, else of the clone that this file lies in."""

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

    conf/ may also write ${steps:N}, the steps N at the run's scale; ${steps:N,PARTS}, a part of them;
    ${whole:N,SIZE}, how many times SIZE goes into N; and ${pick:N,[A,B]}, of a list that begins anew at its end the
    N-th, from 0. OmegaConf's own ${oc.env:NAME} is refused.
    """
    OmegaConf.register_new_resolver("steps", _steps, replace=True)
    OmegaConf.register_new_resolver("whole", lambda number, size: number // size, replace=True)
    OmegaConf.register_new_resolver("pick", lambda number, values: values[number % len(values)], replace=True)
    OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)
    found = ConfigStore.instance().repo.get("schema.yaml")
    if found is None or OmegaConf.get_type(found.node) is not schema(RunConfig):
        store.cache_clear()  # a launcher has put its own process's store in place of this one
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
            if not registry.is_built_in(name) and not (CONF / group / f"{name}.yaml").exists():
                named = {"name": name, registry.key.rpartition(".")[2]: name}
                schemas.store(name=name, group=group, node=schema(own)(**named))


@functools.lru_cache(64)
def composed(words: tuple[str, ...], stamp: int, registered: object) -> DictConfig:
    """What Hydra makes of these words; whoever changes it copies it first."""
    with hydra():
        return compose("config", overrides=list(words))


def preset(words: tuple[str, ...], values: Mapping[str, Any]) -> RunConfig:
    """The config that these options stand for, with these values, unchecked."""
    register()
    config = copy.deepcopy(composed(words, stamp(), registered()))
    for key, value in values.items():
        OmegaConf.update(config, key, value)
    return freeze(config, RunConfig)


def stamp(*own: Path) -> int:
    """A number that is another one once a file of conf/, or of these folders, has changed."""
    walked = (found for folder in (CONF, *own) for found in os.walk(folder))
    files = [file for folder, _, names in walked for file in (os.stat(f"{folder}/{name}") for name in names)]
    return hash(tuple((file.st_ino, file.st_mtime_ns, file.st_size) for file in files))


@contextmanager
def hydra() -> Iterator[ConfigLoader]:
    """Hydra on conf/, set aside for as long where one is running already: a sweep's run composes inside of one."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    # Whenever it composes, Hydra copies its sources, and with one of them the whole store, of which it takes copies
    # alone. At other times a copy is one: a launcher keeps the store of the process that began the sweep.
    ConfigStore.__deepcopy__ = lambda store, _: store  # type: ignore[attr-defined]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="envgen"):
            yield GlobalHydra.instance().config_loader()
    finally:
        del ConfigStore.__deepcopy__  # type: ignore[attr-defined]
        GlobalHydra.instance().hydra = running


def _steps(at_scale_one: int, parts: int = 1, *, _root_: DictConfig) -> int:
    return round(at_scale_one * float(_root_.schedule.scale) / parts)


def _refuse_environment(name: Any, default: Any = None) -> Any:
    raise SecretError(
        f"reads the environment variable {name}, and a config is written to files: let the shell fill in what is no "
        f'secret ("${name}"); keys are read from environment variables alone (llm.key_variable names which)'
    )
