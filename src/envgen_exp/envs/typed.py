"""A design as a person types it: `target_biome: mountain, iron_rarity: common`, or a file of such settings.

What a person types is taken as it stands or refused; a model's replies are read with more patience in llm/reply.py.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from envgen_exp.envs.family import Design, Family
from envgen_exp.errors import DesignError, RunFolderError
from envgen_exp.reading import MAX_YAML, load_yaml, read_text

MAX_CHARACTERS = 20_000
"""A longer text or file is not read."""


def parse_design(text: str, family: Family) -> Design:
    """The design that `text` is: settings, or the name of a YAML or JSON file of them. Raises DesignError.

    Settings are `name: value`, with commas between them in one line, and may stand in braces; what is left out has its
    default; in Crafter even all defaults together are not the original, whose generator differs.
    """
    source = _read(text)
    if source is None:
        if ":" not in text:
            raise DesignError(f"design: {text!r} is neither a file nor settings like '{_example(family)}'")
        source = text.strip()
        if "\n" not in source and not source.startswith("{"):
            source = f"{{{source}}}"
    if len(source) > MAX_CHARACTERS:
        raise DesignError(f"design: {len(source):,} characters are too many, at most {MAX_CHARACTERS:,}")
    try:
        settings = load_yaml(source)
    except ValueError as error:
        raise DesignError(f"design: can't be read as '{_example(family)}': {error}") from error
    if not isinstance(settings, dict):
        raise DesignError(f"design: needs settings like '{_example(family)}', not {str(settings)[:60]!r}")
    return read_design(settings, family)


def read_design(settings: Mapping[str, Any], family: Family) -> Design:
    """The design with these settings, and its purpose and targets if they are there; DesignError names what is wrong
    and what is allowed."""
    model = family.design_model
    allowed = {setting.name: setting.allowed() for setting in family.vocabulary}
    for name, value in settings.items():
        if name not in model.model_fields:
            raise DesignError(f"design: there is no setting {name!r}, allowed: {_choices(str(name), allowed)}")
        try:
            _validate(model, {name: value})
        except (ValidationError, TypeError, ValueError):
            what = allowed.get(name, "a text" if name == "purpose" else "a list of skills")
            choices = next((setting.choices for setting in family.vocabulary if setting.name == name), ())
            raise DesignError(f"design: {name}={value!r}, allowed: {what}{_nearest(str(value), choices)}") from None
    try:
        return _validate(model, settings)
    except ValidationError as error:
        wrong = "; ".join(problem["msg"] for problem in error.errors())
        raise DesignError(f"design: these settings can't stand together: {wrong}") from None


def _read(name: str) -> str | None:
    """The text of a file; None where there is none of this name."""
    file = Path(name)
    try:
        if not file.exists():
            return None
    except OSError:  # too long for a name
        return None
    try:
        return read_text(file, MAX_YAML)
    except RunFolderError as error:
        raise DesignError(f"design: {error}") from error


def _validate(model: type[Design], settings: Mapping[str, Any]) -> Design:
    # As JSON, since a strict model takes a list for a tuple only there.
    return model.model_validate_json(json.dumps(dict(settings)))


def _choices(name: str, allowed: Iterable[str]) -> str:
    return ", ".join(allowed) + _nearest(name, allowed)


def _nearest(word: str, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _example(family: Family) -> str:
    """The first two settings with their defaults, as they are typed."""
    return ", ".join(f"{setting.name}: {setting.default}" for setting in family.vocabulary[:2])
