"""Refuses values that no run can have, before anything is written: one line with key, value and what is allowed.

What a family, a network or a machine can't do is said by them; here stands what the config alone decides:
the ranges in its fields' metadata, and what contradicts another value.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any
from urllib.parse import urlsplit

from envgen_exp.config import LLMKind, RunConfig, Section
from envgen_exp.errors import ConfigError
from envgen_exp.guard.secrets import check_key_variable, refuse_address


def validate(config: RunConfig) -> None:
    """Raise ConfigError for the first value that is out of range or contradicts another."""
    _check_ranges("", config)
    for section in vars(config).values():
        if isinstance(section, Section):
            section.check(config)
    _check_llm(config)
    for name in (config.main_contrast, *config.contrasts):
        if not re.fullmatch(r"\s*\S.* - .*\S\s*", name):
            raise ConfigError(f"main_contrast, contrasts: {name!r}: allowed is 'arm - arm'")
    if config.resume is not None and config.folder is not None:
        raise ConfigError(f"folder={config.folder}: a resumed run stays in its folder; leave out folder or resume")


def _check_llm(config: RunConfig) -> None:
    llm = config.llm
    if llm.kind is LLMKind.litellm and not llm.model:
        raise ConfigError("llm.model is empty: allowed is litellm's name of a model, e.g. openai/gpt-4o")
    if llm.kind is LLMKind.replay and llm.replay_from is None:
        raise ConfigError("llm=replay needs the run whose replies serve again: llm.from=FOLDER")
    if llm.kind is not LLMKind.replay and llm.replay_from is not None:
        raise ConfigError(f"llm.from={llm.replay_from}: only llm=replay takes recorded replies")
    if llm.kind is not LLMKind.embedded and llm.weights is not None:
        raise ConfigError(f"llm.weights={llm.weights}: only llm=embedded runs weights")
    if (llm.input_price is None) != (llm.output_price is None):
        raise ConfigError("llm.input_price, llm.output_price: one without the other sets no price; allowed are both")
    check_key_variable(llm.key_variable)
    if llm.api_base is not None:
        refuse_address(llm.api_base)
        form = r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/[!-~]*)?"
        if not re.fullmatch(form, llm.api_base) or not _has_a_place(llm.api_base):
            shown = f"={llm.api_base}" if re.fullmatch(r"[\w./:-]{1,100}", llm.api_base) else ""
            raise ConfigError(f"llm.api_base{shown}: allowed is an address, e.g. http://127.0.0.1:8000/v1")


def _has_a_place(address: str) -> bool:
    try:
        return bool(urlsplit(address).hostname) and urlsplit(address).port != 0
    except ValueError:  # a port above 65535, or brackets around what is no address
        return False


def _check_ranges(prefix: str, section: Any) -> None:
    for field in dataclasses.fields(section):
        key, value = prefix + field.name, getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            _check_ranges(f"{key}.", value)
        elif "registry" in field.metadata:
            field.metadata["registry"].require(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value}: allowed is a finite number")
        elif value is not None and "allowed" in field.metadata and not field.metadata["allowed"].accepts(value):
            raise ConfigError(f"{key}={value}: allowed is {field.metadata['allowed'].words}")
