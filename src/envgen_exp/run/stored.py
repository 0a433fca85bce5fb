"""A stored config under its schema, text taken literally, and the command that continues its run."""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envgen_exp.config import LLMConfig, LLMKind, RunConfig
from envgen_exp.errors import ConfigError, RunFolderError
from envgen_exp.guard.frozen import freeze, literal, schema, spoken
from envgen_exp.run.pasted import pasted
from envgen_exp.run.schemas import PLUG_INS, register, registered


def structured(values: Mapping[str, Any], folder: Path) -> DictConfig:
    """Plain values of a run's config.yaml under the schema that they were written from."""
    register()
    try:
        base = OmegaConf.structured(schema(RunConfig))
        for group, section in values.items():
            if isinstance(section, dict) and group in ConfigStore.instance().repo:
                found = _section_class(group, section)
                if found is not None:
                    base[group] = OmegaConf.structured(found)
                elif OmegaConf.is_missing(base, group):
                    raise ValueError(f"no {group} has the keys {', '.join(section)}")
        base.merge_with(literal(dict(values)))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        key, value = getattr(error, "full_key", None), getattr(error, "value", None)
        what = " ".join(str(error).split()) if not key else f"{key}={value} is not what it may be"
        raise RunFolderError(f"{folder}/config.yaml is not of this version: {spoken(what)}") from error
    assert isinstance(base, DictConfig)
    return base


@dataclass(frozen=True)
class _Stored:
    """A stored config, known by its text and by the plug-ins that there are."""

    text: str
    plug_ins: tuple[object, ...]
    values: Mapping[str, Any] = field(compare=False)
    folder: Path = field(compare=False)


def stored_config(values: Mapping[str, Any], folder: Path) -> RunConfig:
    """Plain values of a run's config.yaml as its config; which is worked out once for all folders with these values."""
    return _config(_Stored(repr(values), registered(), values, folder))


@functools.lru_cache(16)
def _config(stored: _Stored) -> RunConfig:
    return freeze(structured(stored.values, stored.folder), RunConfig)


def section(kind: type, values: Mapping[str, Any]) -> Any:
    """Plain values of one section as its frozen class; ValueError where they are another class's."""
    try:
        base = OmegaConf.structured(schema(kind))
        base.merge_with(literal(dict(values)))
        return freeze(base, kind)
    except OmegaConfBaseException as error:
        raise ValueError(spoken(" ".join(str(error).split()))) from error


def _section_class(group: str, section: Mapping[str, Any]) -> type | None:
    """The schema that a section was written from: the one in Hydra's store with its name, else with its keys.

    Where these are more or fewer than what all plug-ins of the group have, it is that of the plug-in that it names.
    """
    stored = ConfigStore.instance().repo[group]  # its own method copies each
    nodes = [stored[name].node for name in sorted(stored)]
    named = [
        node for node in nodes if not OmegaConf.is_missing(node, "name") and node.get("name") == section.get("name")
    ]
    alike = [OmegaConf.get_type(node) for node in named or nodes if named or node.keys() == section.keys()]
    for of, registry, common in PLUG_INS:
        name = section.get(registry.key.rpartition(".")[2])
        if of == group and not named and name in registry.names and schema(common) not in alike:
            with contextlib.suppress(ConfigError):  # it does not load
                return schema(registry.config(name, common))
    return alike[0] if alike else None


def resume_command(folder: Path, llm: LLMConfig) -> str:
    """What goes on with the run in a folder, to be pasted."""
    return pasted(shlex.join(["python", "run.py", f"resume={quoted(str(folder))}", *told_again(llm)]))


def told_again(llm: LLMConfig) -> list[str]:
    """What has to be typed on resume, since it says which key goes where: a folder may come from anybody.

    A provider's own key, sent to that provider, and a server that is sent none need no word.
    """
    if llm.kind is not LLMKind.litellm or not (llm.key_variable or may_send_a_key(llm)):
        return []
    words = {
        "api_base": llm.api_base,
        "key_variable": llm.key_variable,
        "model": llm.model if "://" in llm.model else "",
    }
    return [f"llm.{key}={quoted(value)}" for key, value in words.items() if value]


def may_send_a_key(llm: LLMConfig) -> bool:
    # litellm has ways of its own to find a key, and models that are addresses.
    keyless = ("openai", "hosted_vllm", "ollama", "ollama_chat", "lm_studio")
    return "://" in llm.model or (llm.api_base is not None and llm.model.split("/")[0] not in keyless)


def quoted(text: str) -> str:
    """A text as Hydra's overrides write it, taken literally; a plain one as it is."""
    if re.fullmatch(r"(?!(?i:null|true|false|nan|inf)$)(?:[A-Za-z_/]|\.{1,2}/)[\w./~:@+-]*", text, re.ASCII):
        return text
    text = re.sub(r"(\\*)(\$\{)", r"\1\1\\\2", text)
    return "'" + re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + ("\\'" if end[2] else ""), text) + "'"
