"""A design as a person types it: `target_biome: mountain, iron_rarity: common`, or a file of such settings.

It is read as a model's reply is, in any spelling and with groups, but nothing is clamped or left out: that is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from envgen_exp.errors import ConfigError, DesignError
from envgen_exp.families.design import Design
from envgen_exp.families.family import Family
from envgen_exp.families.forms import MAX_BYTES, SETS, listed, load, read_file, squeeze
from envgen_exp.families.reading import Reader


def parse_design(text: str, family: Family) -> Design:
    """The one design that `text` is, as in `parse_designs`."""
    designs = parse_designs(text, family)
    if len(designs) != 1:
        raise DesignError(f"design: {text!r} holds {len(designs)} designs, needs one")
    return designs[0]


def parse_designs(text: str, family: Family) -> list[Design]:
    """The designs that `text` is: settings, or the name of a YAML or JSON file of them. Raises DesignError.

    Settings are `name: value`, with commas between them in one line, and may stand in braces; what is left out has its
    default; in Crafter even all defaults together are not the original, whose generator differs. A file holds one
    design, a list of them or, for each cycle, a list of lists.
    """
    try:
        source = _read(text)
        if source is None:
            if ":" not in text:
                raise DesignError(f"design: {text!r} is neither a file nor settings like '{_example(family)}'")
            source = text.strip()
            if "\n" not in source and not source.startswith("{"):
                source = f"{{{source}}}"
        if len(source) > MAX_BYTES:
            raise DesignError(f"design: {len(source):,} characters are too many, at most {MAX_BYTES:,}")
        value = load(source, "design")
    except ConfigError as error:
        raise DesignError(str(error)) from error
    if isinstance(value, list) and value and all(isinstance(one, list) for one in value):
        value = [design for designs in value for design in designs]
    found = listed(value)
    if found is None and isinstance(value, dict) and not any(squeeze(name) in SETS - {"settings"} for name in value):
        found = [value]
    if found is None:
        raise DesignError(
            f"design: needs a list of designs or settings like '{_example(family)}', not {str(value)[:60]!r}"
        )
    return [read_design(settings, family) for settings in found]


def read_design(settings: Mapping[str, Any], family: Family) -> Design:
    """The design with these settings, and its purpose and targets if they are there; DesignError names what is wrong
    and what is allowed."""
    reading = Reader(family.vocabulary, family.skills, strict=True).read(settings)
    for fault in reading.faults:
        if fault.setting is not None:
            allowed = fault.setting.allowed() + _nearest(str(fault.value), fault.setting.choices)
            raise DesignError(f"design: {fault.setting.name}={fault.value!r}, allowed: {allowed}")
        names = [setting.name for setting in family.vocabulary]
        if fault.name:
            raise DesignError(f"design: there is no setting {fault.name!r}, allowed: {_choices(fault.name, names)}")
        raise DesignError(f"design: {fault.text}")
    try:
        return family.design_model(purpose=reading.purpose, targets=reading.targets, **reading.values)
    except ValidationError as error:
        wrong = "; ".join(problem["msg"] for problem in error.errors())
        raise DesignError(f"design: these settings can't stand together: {wrong}") from None


def _read(name: str) -> str | None:
    """The text of a file; None where there is none of this name."""
    file = Path(name)
    try:
        if not file.exists():
            return None
    except (OSError, ValueError):  # too long for a name, or with a character that no name has
        return None
    return read_file(file, f"design: {name}")


def _choices(name: str, allowed: Iterable[str]) -> str:
    return ", ".join(allowed) + _nearest(name, allowed)


def _nearest(word: str, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _example(family: Family) -> str:
    """The first two settings with their defaults, as they are typed."""
    return ", ".join(f"{setting.name}: {setting.default}" for setting in family.vocabulary[:2])
