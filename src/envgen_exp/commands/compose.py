"""From what was typed to a checked, frozen config: one run, every run of a sweep, or a resumed one.

Every error is a ConfigError (RunFolderError where a folder to resume is none) of one line, raised before anything is
written.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import itertools
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envgen_exp.commands import searchpath
from envgen_exp.commands.explain import explain
from envgen_exp.commands.inputs import enclose
from envgen_exp.commands.validation import validate
from envgen_exp.config import LLMConfig, LLMKind, Prompt, RunConfig
from envgen_exp.errors import ConfigError, EnvGenError, RunFolderError
from envgen_exp.guard.frozen import freeze, plain
from envgen_exp.guard.secrets import refuse_secrets_in, use
from envgen_exp.llm.recording import open_recording
from envgen_exp.run import schemas
from envgen_exp.run.identity import identity
from envgen_exp.run.record import RunRecord
from envgen_exp.run.schemas import CONF as CONF
from envgen_exp.run.stored import quoted, structured, told_again

STUDIED = ("laptop", "paper", "verdict")
"""Options of `scale` at which an experiment is a study: phases too short for an episode are refused, not only told."""

_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError)
"""What Hydra and OmegaConf raise for a wrong value, key, option or file."""


def compose_run(overrides: Sequence[str], *, in_sweep: bool = False) -> RunConfig:
    """The config of one run; with resume=FOLDER that folder's config, changed by what was typed alone.

    One `in_sweep` may lack the run that its designer needs: the sweep gives it one of its own.
    """
    parsed = _parse(overrides)
    for override in parsed:
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: several values make several runs: add -m (a list is written [a,b])"
            )
    schemas.register()
    with _one_line(parsed):
        typed = OmegaConf.create({o.key_or_group: o.value() for o in parsed if o.key_or_group == "resume"})
        resume = typed.get("resume")
    stored = None if resume is None else RunRecord(Path(str(resume))).config
    config = _frozen(parsed) if stored is None else _resumed(stored, Path(str(resume)), parsed)
    if config.designer.prompt is Prompt.auto:
        config = dataclasses.replace(
            config, designer=dataclasses.replace(config.designer, prompt=_own_prompt(config.llm))
        )
    validate(config)
    if stored is not None:
        _check_key_is_meant(config.llm, parsed, Path(str(resume)))
    if not (in_sweep and config.designer.wants_source):
        config = enclose(config, stored)
    use(config.llm.key_variable)
    refuse_secrets_in(plain(config), os.environ)
    return config


def _own_prompt(llm: LLMConfig) -> Prompt:
    """What designer.prompt=auto is; for a replay what it was for the model that was asked."""
    if llm.kind is not LLMKind.replay or llm.replay_from is None:
        return llm.kind.prompt
    with contextlib.suppress(RunFolderError, KeyError):  # what is no recording is refused where it is replayed
        return LLMKind[open_recording(Path(llm.replay_from)).client].prompt
    return llm.kind.prompt


def _check_key_is_meant(llm: LLMConfig, parsed: Sequence[Override], folder: Path) -> None:
    typed = {override.key_or_group for override in parsed}
    words = told_again(llm)
    if "llm" not in typed and not {word.partition("=")[0] for word in words} <= typed:
        raise ConfigError(
            f"resume={folder}: its config says which key is sent where, and a folder may come from anybody: if this is "
            f"meant, add {shlex.join(words)}"
        )


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep, composed before the first starts."""

    overrides: tuple[str, ...]
    """What Hydra's launcher is handed for it, but for what is Hydra's own."""
    varied: str
    """What tells it from the sweep's other runs, e.g. 'seed=3 arm=fixed'."""
    config: RunConfig
    source: Path | None = None
    """Folder of the sweep's run that this one's designer is given."""

    @property
    def name(self) -> str:
        """What tells it from others, or all of its overrides where there are no others."""
        return self.varied or " ".join(self.overrides)


@dataclass(frozen=True)
class Sweep:
    """A multirun as it is going to be launched."""

    folder: Path
    own: tuple[str, ...]
    """The override that names config folders of one's own, which each of its runs is composed with."""
    launcher: str
    """The option of hydra/launcher, e.g. 'joblib'."""
    settings: Mapping[str, Any]
    """That launcher's settings."""
    study: bool
    """Whether it is an experiment at a scale from which conclusions are drawn."""
    runs: tuple[SweptRun, ...]
    """In the order in which Hydra's basic sweeper launches them."""


def compose_sweep(overrides: Sequence[str]) -> Sweep:
    """All runs of a multirun, each of them checked."""
    parsed = _parse(overrides)
    composed = _with_hydra(parsed)
    with _one_line(parsed):
        chosen = composed.hydra.runtime.choices
        study = chosen["experiment"] is not None and chosen["scale"] in STUDIED
        launcher = str(chosen["hydra/launcher"])
        settings = {str(key): value for key, value in composed.hydra.launcher.items()}
        folder = Path(composed.hydra.sweep.dir)
        if launcher == "ray":
            folder = folder.resolve()  # its workers may start elsewhere
    choices = _choices(composed, parsed)
    runs: list[SweptRun] = []
    seen: dict[str, str] = {}
    for job in itertools.product(*choices.values()):
        varied = " ".join(item for item, values in zip(job, choices.values(), strict=True) if len(values) > 1)
        try:
            config = compose_run(job, in_sweep=True)
        except EnvGenError as error:
            raise type(error)(f"{error} (in the run {varied})" if varied else str(error)) from error
        if config.folder is not None:
            raise ConfigError(f"folder={config.folder}: the runs of a sweep can't share a folder; leave it out")
        name = config.resume or identity(config)
        if name in seen:
            raise ConfigError(f"the runs '{seen[name]}' and '{varied}' of the sweep are one and the same experiment")
        seen[name] = varied
        runs.append(SweptRun(tuple(item for item in job if not item.lstrip("+").startswith("hydra")), varied, config))
    for number, run in enumerate(runs):
        if run.config.designer.wants_source:
            source = _source(run, [other.config for other in runs])
            runs[number] = dataclasses.replace(run, source=folder / identity(source))
    own = tuple(str(override.input_line) for override in searchpath.chosen(parsed))
    return Sweep(folder, own, launcher, settings, study, tuple(runs))


def own_folders(overrides: Sequence[str]) -> list[Path]:
    """Config folders of one's own that the overrides name."""
    return searchpath.folders(_parse(overrides))


def spelled_out(overrides: Sequence[str]) -> list[str]:
    """The overrides with the options that a glob(...) finds in its place."""
    return [str(override.input_line) for override in _parse(overrides)]


def sweep_choices(overrides: Sequence[str]) -> dict[str, list[str]]:
    """What a multirun varies and what it fixes: the values of each key, e.g. {'seed': ['seed=0', 'seed=1'], ...}."""
    parsed = _parse(overrides)
    return _choices(_with_hydra(parsed), parsed)


def hydra_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """What Hydra itself is told, of one run or of a sweep."""
    composed = _with_hydra(_parse(overrides))
    settings: Any = OmegaConf.to_container(composed.hydra, resolve=False, enum_to_str=True)
    return {"hydra": settings}


def _with_hydra(parsed: Sequence[Override]) -> DictConfig:
    with _one_line(parsed):
        return _compose([o for o in parsed if not o.is_sweep_override()], with_hydra=True)


def _choices(composed: DictConfig, parsed: Sequence[Override]) -> dict[str, list[str]]:
    params = [f"{key}={value}" for key, value in (composed.hydra.sweeper.get("params") or {}).items()]
    choices: dict[str, list[str]] = {}
    for override in (*_parse(params), *parsed):
        key = override.get_key_element()
        swept = override.is_sweep_override()
        values = override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
        choices[key] = [f"{key}={value}" for value in values]
    return choices


def _source(run: SweptRun, configs: Sequence[RunConfig]) -> RunConfig:
    """The run that one of the same sweep needs of it: the next lower seed's, else the next higher's.

    So seeds added above change no pair.
    """

    def same(config: RunConfig) -> dict[str, Any]:
        values = plain(config)
        return {key: values[key] for key in values.keys() - {"seed", "arm", "design_set", "designer"}}

    ours = run.config
    served = {c.seed: c for c in configs if ours.designer.is_served_by(c.designer) and same(c) == same(ours)}
    lower, higher = [s for s in served if s < ours.seed], [s for s in served if s > ours.seed]
    if not lower and not higher:
        raise ConfigError(f"the {ours.designer.name} '{run.name}' needs {ours.designer.wants_source}")
    return served[max(lower) if lower else min(higher)]


def register_plain() -> None:
    """Put the schemas into Hydra's store as plain values, for launchers that send them to other processes.

    The classes of the schema are made at run time: pickled, they arrive as different, broken ones.
    """
    schemas.register()
    store = ConfigStore.instance()
    groups = [field.name for field in dataclasses.fields(RunConfig) if field.name in store.repo]
    for path in ["schema.yaml", *(f"{group}/{file}" for group in groups for file in store.list(group))]:
        group, _, name = path.rpartition("/")
        store.store(name=name, group=group or None, node=OmegaConf.to_container(store.load(path).node))
    schemas.store.cache_clear()  # whoever composes next puts them back


def _resumed(stored: RunConfig, folder: Path, parsed: Sequence[Override]) -> RunConfig:
    if len(parsed) == 1:  # resume=FOLDER alone
        return dataclasses.replace(stored, folder=None, resume=str(folder))
    values = plain(stored) | {"folder": None}
    own, groups = searchpath.chosen(parsed), _groups(parsed)
    typed = plain(_frozen([*own, *groups])) if groups else {}
    for override in groups:
        if isinstance(values.get(override.key_or_group), dict):
            values[override.key_or_group] = typed[override.key_or_group]
        else:
            # No section, e.g. an experiment or an arm: what it sets is where it differs from having none.
            without = _frozen([*own, *(other for other in groups if other is not override)])
            _copy_differences(plain(without), typed, values)
    config = structured(values, folder)
    with _one_line(parsed):
        for override in parsed:
            if override not in groups and not override.key_or_group.startswith("hydra"):
                OmegaConf.update(config, override.key_or_group, override.value())
        return freeze(config, RunConfig)


def _copy_differences(old: Mapping[str, Any], new: Mapping[str, Any], target: dict[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and value.keys() == old[name].keys() == target[name].keys():
            _copy_differences(old[name], value, target[name])
        elif old[name] != value:
            target[name] = value


def _frozen(parsed: Sequence[Override]) -> RunConfig:
    with _one_line(parsed):
        return freeze(_compose(parsed), RunConfig)


def _compose(parsed: Sequence[Override], *, with_hydra: bool = False) -> DictConfig:
    """What Hydra makes of the overrides. Composing is slow: what differs in single values alone is composed once."""
    schemas.register()
    choosing = _groups(parsed)
    words = tuple(str(o.input_line) for o in parsed if o in choosing or o.key_or_group.startswith("hydra"))
    if not with_hydra:
        stamp = schemas.stamp(*searchpath.folders(parsed))
        config = copy.deepcopy(schemas.composed(words, stamp, schemas.registered()))
        with contextlib.suppress(*_ERRORS):  # Hydra's own words for them follow
            for override in parsed:
                if override.input_line not in words:
                    OmegaConf.update(config, override.key_or_group, override.value())
            return config
    with schemas.hydra():
        return compose("config", overrides=[str(o.input_line) for o in parsed], return_hydra_config=with_hydra)


@contextmanager
def _one_line(parsed: Sequence[Override]) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        for group, registry, common in schemas.PLUG_INS:
            for override in parsed:
                if override.key_or_group == group and override.value() in registry.names:
                    registry.config(str(override.value()), common)  # one that does not load has no keys to be found
        raise ConfigError(explain(error, parsed)) from error


def _groups(parsed: Iterable[Override]) -> list[Override]:
    """Those that choose an option of a config group, e.g. env=heist."""
    own = searchpath.chosen(parsed := list(parsed))
    return [override for override in parsed if _options(override.key_or_group, own)]


def _options(key: str, own: Sequence[Override]) -> list[str]:
    """What a config group may be, schemas included; nothing for what is none."""
    schemas.register()
    words, stamp = tuple(str(o.input_line) for o in own), schemas.stamp(*searchpath.folders(own))
    return _listed(key, words, stamp, schemas.registered())


@functools.lru_cache(256)
def _listed(key: str, own: tuple[str, ...], stamp: int, registered: object) -> list[str]:
    with schemas.hydra() as loader:
        return list(loader.get_group_options(key, overrides=list(own)))


def _as_hydra_reads(text: str) -> str:
    """An override in Hydra's grammar, whose plain values have ASCII letters alone and know no home folder."""
    key, equals, value = text.partition("=")
    if key == "llm.from":  # which can't be the name of a field in Python
        key = "llm.replay_from"
    if value.startswith("~/"):
        value = quoted(os.path.expanduser(value))
    elif not value.isascii() and not re.search(r"[\x00-\x1f,\[\]{}()'\"\\$=*?]", value):
        value = quoted(value)
    return f"{key}{equals}{value}"


def _quoted_twice(text: str) -> str:
    key, _, value = text.partition("=")
    return shlex.quote(f"{key}={quoted(value)}")


_IGNORED = {
    "hydra.run.dir": "folder=FOLDER says where a run goes",
    "hydra.output_subdir": "folder=FOLDER says where a run goes",
    "hydra.sweep.subdir": "hydra.sweep.dir=FOLDER says where a sweep goes, its runs' configs name their folders",
    "hydra.job.chdir": "a run works in the folder that it is started in",
    "hydra.verbose": "verbosity=verbose tells more",
}
"""Settings of Hydra's that would do nothing, and what does."""


def _parse(overrides: Iterable[str]) -> list[Override]:
    """The overrides as Hydra reads them; ConfigError for one that it can't read or that this project has no use for."""
    parsed: list[Override] = []
    parser = OverridesParser.create()
    # Folders of one's own first: others choose options that lie in them.
    for text in sorted(overrides, key=lambda text: not text.startswith(searchpath.KEY)):
        try:
            override = parser.parse_override(_as_hydra_reads(text))
        except HydraException as error:
            hint = "; a value with brackets, braces, quotes, = or , stands in quotes, twice in a shell: "
            hint = hint + _quoted_twice(text) if "=" in text else ""
            raise ConfigError(f"{text}: not of the form KEY=VALUE{hint}") from error
        key = override.key_or_group
        if key == searchpath.KEY:
            override = parser.parse_override(searchpath.whole(override))
        if key in _IGNORED:
            raise ConfigError(f"{text}: changes nothing here; {_IGNORED[key]}")
        if not key.startswith("hydra"):
            if not key or override.package is not None:
                raise ConfigError(f"{text}: not of the form KEY=VALUE, where KEY is one that --help lists")
            if override.is_delete():
                raise ConfigError(f"{text}: nothing can be removed; {key}=VALUE sets another value")
            if override.is_add() or override.is_force_add():
                raise ConfigError(f"{text}: no keys can be added; write it without +")
        options = [name for name in _options(key, searchpath.chosen(parsed)) if not name.startswith("schema")]
        if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
            found = override.value().filter(options)  # type: ignore[union-attr]
            if not found:
                raise ConfigError(f"{text}: fits no option; allowed: {' | '.join(options) or 'none'}")
            override = parser.parse_override(f"{key}={','.join(found)}")
        value = override.value()
        if override.value_type is ValueType.INTERVAL_SWEEP:
            raise ConfigError(f"{text}: an interval has no values to run through; allowed: 1,2,3 or range(1,4)")
        if override.is_sweep_override() and next(override.sweep_string_iterator(), None) is None:
            raise ConfigError(f"{text}: holds no value to run; allowed: range(1) and more")
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
            override = parser.parse_override(f"{key}={int(value)}")  # 1e6 is a whole number too
        if options and value is None:
            raise ConfigError(f"{text}: allowed: {' | '.join(options)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{text}: allowed is a finite number")
        parsed.append(override)
    return parsed
