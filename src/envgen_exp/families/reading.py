"""One design's settings from names and values as somebody wrote them: the same for replies, files and Python's dicts.

Spelling, groups and other forms of a value are read with a note where they leave no doubt; the rest is a fault. Nothing
is lost without one of the two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envgen_exp.families.design import Setting
from envgen_exp.families.forms import numbered, squeeze
from envgen_exp.guard.redaction import redact

MAX_PURPOSE = 400
"""Characters of a purpose that are kept of a reply."""

_SHOWN = 60
"""Characters of a bad value that a fault quotes."""

_NAMED = 12
"""Names that a line lists; of more it says how many."""

_WORDS = 3
"""Most words that a setting's value has; an unknown member with more is a remark."""

_DEPTH = 4
"""Groups in groups that are looked into."""

_PURPOSE = ("purpose", "goal", "objective", "rationale", "reason", "reasoning", "description", "explanation", "focus")
_TARGETS = ("targets", "target", "targetskills", "targetedskills", "skills", "skill", "trains", "achievements")
_LABELS = {
    *("name", "title", "id", "index", "number", "no", "label", "design", "designid", "designname", "designnumber"),
    *("env", "envid", "environment", "environmentid", "environmentname", "config", "configid", "configname"),
    *("comment", "comments", "note", "notes", "difficulty", "expectedoutcome", "why", "summary", "thought", "thoughts"),
}
OPTIONS = "options"
"""The group of the compact prompt's answers: a list of settings, each an object of its own."""

_GROUPS = {
    *("settings", "config", "configuration", "parameters", "params", "environment", "design", OPTIONS, "values"),
    *("environmentsettings", "designsettings", "world"),
}
"""Groups that any setting may stand in, by its whole name; a vocabulary names others."""


@dataclass(frozen=True)
class Fault:
    """What of a design can't be taken as it is written."""

    text: str
    """What is wrong and what is allowed."""
    fatal: bool = True
    """Whether the design can't be used at all; else it can, without what the fault names."""
    name: str = ""
    """The name of which there is no setting."""
    setting: Setting | None = None
    """The setting whose value is wrong."""
    value: Any = None


@dataclass
class Reading:
    """What was read of one design."""

    values: dict[str, str | int] = field(default_factory=dict)
    """By the vocabulary's names; every value is an allowed one."""
    purpose: str = ""
    targets: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Reader:
    """Reads designs against a vocabulary.

    With `strict`, for what a person typed, a number out of range, a skill that there is none and a remark are faults.
    """

    def __init__(self, vocabulary: Sequence[Setting], skills: Sequence[str], *, strict: bool = False) -> None:
        self._vocabulary = vocabulary
        self._strict = strict
        self._settings = {squeeze(setting.name): setting for setting in vocabulary}
        self._skills = {squeeze(skill): skill for skill in skills}
        self._groups: dict[str, dict[str, Setting]] = {}
        for setting in vocabulary:
            for group in setting.groups:
                self._groups.setdefault(squeeze(group), {})[squeeze(setting.short or setting.name)] = setting
        named = dict.fromkeys(group for setting in vocabulary for group in setting.groups[:1])
        self.groups = ", ".join(["settings", *named])
        """The groups that a fault offers."""

    # Which objects are designs

    def is_design(self, value: Any) -> bool:
        """Whether an object speaks of this vocabulary, itself or in a group."""
        return isinstance(value, dict) and (
            any(self._own(name, inner) for name, inner in value.items()) or self.only_groups(value)
        )

    def only_groups(self, value: Mapping[str, Any]) -> bool:
        """Whether an object has groups of settings and no setting, purpose or target of its own."""
        return not any(self._own(name, inner) for name, inner in value.items()) and any(
            self._is_group(name, inner) and (squeeze(name) in self._groups or self.speaks(inner))
            for name, inner in value.items()
        )

    def _own(self, name: str, value: Any) -> bool:
        key = squeeze(name)
        return not isinstance(value, dict) and (key in self._settings or key in _PURPOSE or key in _TARGETS)

    def speaks(self, value: Any) -> bool:
        """Whether the name of a setting or of a group of them stands anywhere in a value."""
        if isinstance(value, list):
            return any(map(self.speaks, value))
        if not isinstance(value, dict):
            return False
        return any(
            squeeze(name) in self._settings
            or squeeze(name) in self._groups
            or squeeze(name) in (*_PURPOSE, *_TARGETS)
            or self.speaks(inner)
            for name, inner in value.items()
        )

    def names(self, name: str) -> bool:
        """Whether it is a setting's name."""
        return squeeze(name) in self._settings

    def _is_group(self, name: str, value: Any) -> bool:
        if isinstance(value, list):
            return squeeze(name) in _GROUPS and all(isinstance(item, dict) and len(item) == 1 for item in value)
        if not isinstance(value, dict):
            return False
        key = squeeze(name)
        return key in self._groups or key in _GROUPS or numbered(name) or any(self._joined(key, n) for n in value)

    def _joined(self, group: str, name: str) -> Setting | None:
        """The setting whose name is a group's and a member's together, e.g. gem_distance: {least: 5}."""
        inner = squeeze(name)
        return self._settings.get(group + inner) or self._settings.get(inner + group)

    # One design

    def read(self, raw: Mapping[str, Any]) -> Reading:
        """What an object says as a design."""
        reading = Reading()
        if unreadable(raw):
            reading.faults.append(Fault(unreadable(raw)))
            return reading
        unknown: list[str] = []
        left_out: list[str] = []
        written: dict[str, Any] = {}
        for name, value, setting in self._members(raw, "", 0, reading):
            if setting is not None:
                self._set(setting, name, value, written, reading)
                continue
            key = squeeze(name)
            if key in _TARGETS:
                self._targets(value, reading)
            elif key in _PURPOSE and (not reading.purpose or key == "purpose"):
                if reading.purpose:
                    reading.notes.append(f"{quote(reading.purpose)} is left out beside the purpose")
                self._purpose(name, value, reading)
            elif isinstance(value, dict | list) and self.speaks(value):
                reading.faults.append(self.refused(name, value))
            elif not self._strict and (
                key in _PURPOSE or key in _LABELS or (isinstance(value, str) and len(value.split()) > _WORDS)
            ):
                left_out.append(name)
            else:
                unknown.append(name)
        if left_out:
            reading.notes.append(f"{listed(left_out)} {'is' if len(left_out) == 1 else 'are'} left out")
        if unknown:
            names = ", ".join(shown.name for shown in self._vocabulary)
            text = f"there is no setting {listed(unknown)}; the settings are {names}"
            reading.faults.append(Fault(text, fatal=False, name=unknown[0]))
        return reading

    def refused(self, name: str, value: Any) -> Fault:
        """The fault of an object that names settings below a name that is none of a group or of a set."""
        inner = listed(list(dict.fromkeys(_names(value))))
        text = f"{quote(name)} is no group of settings, so {inner} inside it is not used; groups are {self.groups}"
        return Fault(text, fatal=False)

    def _members(
        self, raw: Mapping[str, Any], group: str, depth: int, reading: Reading
    ) -> Iterator[tuple[str, Any, Setting | None]]:
        """A design's members with the settings that they name, members of groups taken out of them."""
        for name, value in raw.items():
            key = squeeze(name)
            setting = self._settings.get(key) or self._groups.get(group, {}).get(key) or self._joined(group, name)
            if isinstance(value, dict) and key in self._groups:  # a group may have a setting's name
                setting = None
            if setting is not None or not self._is_group(name, value) or depth == _DEPTH:
                yield str(name), value, setting
                continue
            if unreadable(value):
                reading.faults.append(Fault(f"{quote(name)}: {unreadable(value)}"))
                continue
            parts = value if isinstance(value, list) else [value]
            if depth == 0 and key != squeeze(OPTIONS):
                reading.notes.append(f"the settings inside {quote(name)} are taken out of it")
            for part in parts:
                yield from self._members(part, key, depth + 1, reading)

    def _set(self, setting: Setting, name: str, value: Any, written: dict[str, Any], reading: Reading) -> None:
        if name not in (setting.name, setting.short):
            reading.notes.append(f"{quote(name)} is read as {setting.name}")
        read, note, why = self._value(setting, value)
        if read is None:
            text = f"{setting.name}={quote(value)} {why}; allowed: {setting.allowed()}"
            reading.faults.append(Fault(text, setting=setting, value=value))
            return
        if note:
            reading.notes.append(f"{setting.name}: {note}")
        if reading.values.setdefault(setting.name, read) != read:
            both = f"{quote(written[setting.name])} and {quote(value)}"
            reading.faults.append(Fault(f"{setting.name} stands twice with different values, {both}"))
        written.setdefault(setting.name, value)

    def _purpose(self, name: str, value: Any, reading: Reading) -> None:
        if not self._strict:
            reading.purpose = clean(value)
            if len(str(value)) > MAX_PURPOSE:
                reading.notes.append(f"{quote(name)} is cut to {MAX_PURPOSE} characters")
        elif isinstance(value, str):
            reading.purpose = value
        else:
            reading.faults.append(Fault(f"{name}={quote(value)}, allowed: a text"))

    def _targets(self, value: Any, reading: Reading) -> None:
        words = re.split(r"[,;]", value) if isinstance(value, str) else value
        words = list(words) if isinstance(words, list | tuple) else [] if words is None else [words]
        wrong = [word for word in words if not isinstance(word, str) or squeeze(word) not in self._skills]
        found = [self._skills[squeeze(word)] for word in words if word not in wrong]
        reading.targets = tuple(dict.fromkeys((*reading.targets, *found)))
        if wrong and self._strict:
            allowed = ", ".join(self._skills.values())
            reading.faults.append(Fault(f"targets: {quote(wrong[0])} is not a skill, allowed: {allowed}"))
        elif wrong:
            are = "is not a skill and is" if len(wrong) == 1 else "are no skills and are"
            reading.notes.append(f"target {listed(wrong)} {are} left out")

    # One value

    def _value(self, setting: Setting, value: Any) -> tuple[str | int | None, str, str]:
        """A setting's value as the vocabulary has it, with a note; or None and why the text leaves a doubt."""
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value is None:
            return setting.default, "null is read as left out", ""
        if not setting.choices:
            return self._number(setting, value)
        if not isinstance(value, str):
            return None, "", "is not one of its words"
        if value in setting.choices:
            return value, "", ""
        found = [choice for choice in setting.choices if squeeze(choice) == squeeze(value)]
        if len(found) != 1:
            return None, "", "is unknown"
        return found[0], f"{quote(value)} is read as {found[0]}", ""

    def _number(self, setting: Setting, value: Any) -> tuple[int | None, str, str]:
        note = ""
        if isinstance(value, bool):
            if (setting.low, setting.high) != (0, 1):
                return None, "", "is not a number"
            value, note = int(value), f"{value} is read as {int(value)}"
        if isinstance(value, str):
            if len(value) > 100 or not re.fullmatch(r"\s*[+-]?\d{1,18}(?:\.0+)?\s*", value):
                return None, "", "is not a whole number"
            note = f"{quote(value)} is read as a number"
            value = int(float(value)) if "." in value else int(value)
        if isinstance(value, float):
            # A number too long for the parser's integers comes as a float, infinity included: far out of range.
            if math.isnan(value) or (abs(value) < 1e15 and value != int(value)):
                return None, "", "is not a whole number"
            bounded = int(max(min(value, 1e15), -1e15))
            value, note = bounded, f"{value:g} is read as {bounded}"
        if not isinstance(value, int):
            return None, "", "is not a whole number"
        clamped = min(max(value, setting.low), setting.high)
        if clamped != value:
            if self._strict:
                return None, "", "is out of range"
            note = f"{value} is clamped to {clamped}"
        return clamped, note, ""


def unreadable(value: Any) -> str:
    """Why the text of an object can't be trusted, of those that `llm.lenient` made; nothing for all others."""
    why: str = getattr(value, "why", "")
    return why


def quote(value: Any) -> str:
    """A value in quotes, cut to what a line has room for."""
    text = clean(value) if isinstance(value, str) else clean(repr(value)[: 4 * _SHOWN])
    return f"'{text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}'"


def listed(names: Sequence[Any]) -> str:
    """Some names in quotes, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(quote, names[:_NAMED])) + more


def clean(value: Any) -> str:
    """A text as one printable line that can be shown in a terminal and written as UTF-8."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = value if isinstance(value, str) else "" if value is None else str(value)
    text = " ".join(text[: 4 * MAX_PURPOSE].split())
    # Hidden before it is cut, so that no part of a key stays.
    return redact("".join(character for character in text if character.isprintable()))[:MAX_PURPOSE].strip()


def _names(value: Any) -> Iterator[str]:
    """The names of what a value holds besides objects and lists, from the outside."""
    for name, inner in value.items() if isinstance(value, dict) else (("", item) for item in value):
        if isinstance(inner, dict | list):
            yield from _names(inner)
        if name and not isinstance(inner, dict):
            yield str(name)
