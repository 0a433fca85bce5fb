"""From what a model wrote to designs: what can be read without guessing is taken and noted, the rest is a problem.

Nothing in the text is ever evaluated: `lenient` makes data of it, the vocabulary checks names and values, and the
family's strict design model has the last word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from envgen_exp.envs.family import Design, Setting, design_key
from envgen_exp.llm.lenient import Cut, Doubled, find_values
from envgen_exp.llm.prompt import Wording

MAX_CHARACTERS = 100_000
"""A longer reply is not read; the longest useful ones have some thousands."""

MAX_PURPOSE = 400
"""Characters of a purpose that are kept."""

_SHOWN = 60
"""Characters of a bad value that a problem quotes."""

_WORDS = 3
"""Most words that a setting's value has; an unknown member with more is a remark."""

_PURPOSE = ("purpose", "goal", "objective", "rationale", "reason", "reasoning", "description", "explanation", "focus")
_TARGETS = ("targets", "target", "targetskills", "targetedskills", "skills", "skill", "trains", "achievements")
_LABELS = {
    *("name", "title", "id", "index", "number", "no", "label", "design", "designid", "designname", "designnumber"),
    *("env", "envid", "environment", "environmentid", "environmentname", "config", "configid", "configname"),
    *("comment", "comments", "note", "notes", "difficulty", "expectedoutcome", "why", "summary", "thought", "thoughts"),
}
_GROUPS = {"settings", "config", "configuration", "parameters", "params", "environment", "design", "options", "values"}
_SETS = {"designs", "environments", "envs", "configs", "configurations", "worlds", "environmentconfigs", "settings"}
_NUMBERED = re.compile(r"\d|(?:design|env|world|config)\w*[\W_]+\w", re.IGNORECASE)
"""Names that tell designs apart, e.g. design_1 or "World B"; those of groups inside a design don't."""

_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """Why a reply, or one design of it, can't be taken as it is."""

    text: str
    """What is wrong and what is allowed, in words that the model can act on."""
    design: int | None = None
    """Which design, from 1; None for the reply as a whole."""
    fatal: bool = True
    """Whether the design can't be used at all; else it can, without what the problem names."""

    def __str__(self) -> str:
        return self.text if self.design is None else f"design {self.design}: {self.text}"


@dataclass(frozen=True)
class Reply:
    """What was read from a reply."""

    designs: tuple[Design | None, ...]
    """One for each design that was asked for; None where there is none that can be used."""
    notes: tuple[str, ...]
    """Repairs that changed no meaning, and values that were clamped."""
    problems: tuple[Problem, ...]

    @property
    def usable(self) -> int:
        """How many designs can be used."""
        return sum(design is not None for design in self.designs)


def parse_reply(
    text: str,
    wording: Wording,
    model: type[Design],
    skills: Sequence[str],
    num_designs: int,
    *,
    finish: str = "stop",
    reasoning: int = 0,
) -> Reply:
    """Read `num_designs` designs from a model's text. Raises nothing.

    `finish` is why the model stopped writing, `reasoning` the tokens that it thought before.
    """
    reader = _Reader(wording, model, skills)
    found = _find_designs(text, reader, num_designs)
    problems = list(_whole(text, finish, reasoning, found, num_designs))
    notes = []
    if len(found) > num_designs:
        notes.append(f"{len(found)} designs came, {num_designs} were asked for: the first {num_designs} are taken")
    designs: list[Design | None] = []
    for number, raw in enumerate(found[:num_designs], start=1):
        design, remarks, wrong = reader.design(raw, number)
        designs.append(design)
        notes += [f"design {number}: {remark}" for remark in remarks]
        problems += wrong
    twins = _twins(designs)
    notes += [f"designs {' and '.join(map(str, numbers))} are the same" for numbers in twins]
    designs += [None] * (num_designs - len(designs))
    return Reply(tuple(designs), tuple(notes), tuple(problems))


def _whole(text: str, finish: str, reasoning: int, found: Sequence[Any], num_designs: int) -> list[Problem]:
    """What is wrong with a reply as a whole."""
    if len(text) > MAX_CHARACTERS:
        return [Problem(f"the answer has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")]
    if found and len(found) >= num_designs:
        return []
    if reasoning and not _THINKING.sub("", text).strip():
        more = "; think less, or llm.max_tokens has to be raised" if finish == "length" else ""
        why = f"the answer was empty after {reasoning:,} tokens of reasoning{more}"
    elif finish == "length":
        why = "the answer was cut off before its end; write shorter purposes"
    elif finish in ("refusal", "content_filter"):
        why = "the answer was a refusal: these are only settings of a computer game"
    elif not text.strip():
        why = "the answer was empty"
    elif found:
        why = f"{len(found)} of {num_designs} designs came"
    else:
        why = "there was no JSON object with designs in the answer"
    return [Problem(why, fatal=not found)]


def _find_designs(text: str, reader: _Reader, num_designs: int) -> list[dict[str, Any]]:
    """The objects in a text that are its designs: the last whole set, or else the last of the largest."""
    if len(text) > MAX_CHARACTERS:
        return []
    text = _THINKING.sub(" ", text)
    values = find_values(text)
    if not any(reader.sets(value) for value in values) and '\\"' in text:
        values = find_values(text.replace('\\"', '"').replace("\\n", "\n"))  # JSON inside a string
    sets: list[list[dict[str, Any]]] = []
    singles: list[dict[str, Any]] = []
    for value in values:
        if isinstance(value, dict) and reader.is_design(value) and not reader.sets(value):
            singles.append(value)
        else:
            sets += reader.sets(value)
    if singles:
        sets.append(singles)
    best: list[dict[str, Any]] = []
    for candidate in sets:
        if min(len(candidate), num_designs) >= min(len(best), num_designs):
            best = candidate
    return best


class _Reader:
    """Reads one design after another against a vocabulary."""

    def __init__(self, wording: Wording, model: type[Design], skills: Sequence[str]) -> None:
        self._wording = wording
        self._model = model
        self._settings = {_squeeze(setting.name): setting for setting in wording.settings}
        self._skills = {_squeeze(skill): skill for skill in skills}

    # Which objects are designs

    def is_design(self, value: Any) -> bool:
        """Whether an object speaks of this vocabulary, itself or in a group."""
        if not isinstance(value, dict):
            return False
        groups = [(name, inner) for name, inner in value.items() if isinstance(inner, dict)]
        return self._direct(value) or any(self._grouped(name, member) for name, inner in groups for member in inner)

    def _direct(self, value: Mapping[str, Any]) -> bool:
        """Whether an object has a setting, a purpose or targets as its own members."""
        own = [_squeeze(name) for name, inner in value.items() if not isinstance(inner, dict)]
        return any(name in self._settings or name in _PURPOSE or name in _TARGETS for name in own)

    def sets(self, value: Any, depth: int = 0) -> list[list[dict[str, Any]]]:
        """The lists of designs inside a value."""
        if depth > 3:
            return []
        if isinstance(value, list):
            designs = [item for item in value if self.is_design(item) and not self.sets(item, depth + 1)]
            if designs:
                return [designs]
            return [found for item in value for found in self.sets(item, depth + 1)]
        if not isinstance(value, dict):
            return []
        if self._direct(value):
            return []
        for name, inner in value.items():
            if _squeeze(name) not in _SETS or not isinstance(inner, list | dict):
                continue
            if isinstance(inner, dict) and self._direct(inner):
                return [] if _squeeze(name) in _GROUPS else [[inner]]
            members = inner if isinstance(inner, list) else list(inner.values())
            designs = [item for item in members if isinstance(item, dict)]
            if designs:
                return [designs]
        named = [item for name, item in value.items() if _NUMBERED.search(name) and self.is_design(item)]
        if named:  # {"design 1": {...}, "design 2": {...}}
            return [named]
        if self.is_design(value):
            return []
        return [found for item in value.values() for found in self.sets(item, depth + 1)]

    # One design

    def design(self, raw: Mapping[str, Any], number: int) -> tuple[Design | None, list[str], list[Problem]]:
        """A design from an object; with notes and problems."""
        notes: list[str] = []
        problems: list[Problem] = []
        if isinstance(raw, Cut):
            return None, notes, [Problem("the answer ends inside it", number)]
        if isinstance(raw, Doubled):
            names = ", ".join(_quote(name) for name in raw.names[:5])
            return None, notes, [Problem(f"{names} stands twice with different values", number)]
        purpose, targets = "", tuple[str, ...]()
        values: dict[str, str | int] = {}
        for name, value, setting in self._members(raw, notes, number, problems):
            if setting is None:
                key = _squeeze(name)
                if key in _TARGETS:
                    targets = self._targets(value, notes)
                elif key in _PURPOSE and (not purpose or key == "purpose"):
                    purpose = _clean(value)
                elif isinstance(value, str) and len(value.split()) > _WORDS:
                    notes.append(f"{_quote(name)} is a remark and is left out")
                elif key not in _PURPOSE and key not in _LABELS:
                    names = ", ".join(shown.name for shown in self._wording.settings)
                    wrong = f"there is no setting {_quote(name)}; the settings are {names}"
                    problems.append(Problem(wrong, number, fatal=False))
                continue
            if name != setting.name:
                notes.append(f"{_quote(name)} is read as {setting.name}")
            read = _value(setting, value)
            if isinstance(read, _Wrong):
                wrong = f"{setting.name}={_quote(value)} {read.why}; allowed: {setting.allowed()}"
                problems.append(Problem(wrong, number))
                continue
            if read.note:
                notes.append(f"{setting.name}: {read.note}")
            meant, allowed = self._wording.read(setting.name, read.value)
            if meant in values and values[meant] != allowed:
                problems.append(Problem(f"{setting.name} stands twice with different values", number))
            values[meant] = allowed
        if any(problem.fatal for problem in problems):
            return None, notes, problems
        try:
            return self._model(purpose=purpose, targets=targets, **values), notes, problems
        except ValidationError as error:
            text = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
            return None, notes, [*problems, Problem(f"not a design: {text}", number)]

    def _members(
        self, raw: Mapping[str, Any], notes: list[str], number: int, problems: list[Problem]
    ) -> list[tuple[str, Any, Setting | None]]:
        """A design's members with the settings that they name, members of groups taken out of them."""
        members: list[tuple[str, Any, Setting | None]] = []
        for name, value in raw.items():
            setting = self._settings.get(_squeeze(name))
            if setting is not None or not isinstance(value, dict):
                members.append((name, value, setting))
                continue
            if isinstance(value, Cut | Doubled):
                problems.append(Problem(f"{_quote(name)} is cut off or names a setting twice", number))
                continue
            notes.append(f"the settings inside {_quote(name)} are taken out of it")
            for inner, inner_value in value.items():
                found = self._grouped(name, inner)
                if found is None and _squeeze(name) in _GROUPS and isinstance(inner_value, dict):
                    for deep, deep_value in inner_value.items():
                        setting = self._grouped(inner, deep)
                        members.append((deep if setting is None else setting.name, deep_value, setting))
                else:
                    members.append((inner if found is None else found.name, inner_value, found))
        return members

    def _grouped(self, group: str, name: str) -> Setting | None:
        """The setting meant by a member of a group, e.g. rarity: {coal: ...} or starting_items: {wood: ...}."""
        outer, inner = _squeeze(group), _squeeze(name)
        if inner in self._settings:
            return self._settings[inner]
        stems = {outer, outer.removesuffix("s"), outer.removesuffix("items"), outer.removesuffix("inventory")}
        stems |= {stem.replace("rarities", "rarity") for stem in stems}
        named = {inner + stem for stem in stems} | {stem + inner for stem in stems}
        found = [self._settings[key] for key in sorted(named) if key in self._settings]
        return found[0] if len(found) == 1 else None

    def _targets(self, value: Any, notes: list[str]) -> tuple[str, ...]:
        words = re.split(r"[,;]", value) if isinstance(value, str) else value if isinstance(value, list) else []
        targets = []
        for word in words:
            skill = self._skills.get(_squeeze(word)) if isinstance(word, str) else None
            if skill is None:
                notes.append(f"target {_quote(word)} is not a skill and is left out")
            elif skill not in targets:
                targets.append(skill)
        return tuple(targets)


@dataclass(frozen=True)
class _Read:
    value: str | int
    note: str = ""


@dataclass(frozen=True)
class _Wrong:
    why: str


def _value(setting: Setting, value: Any) -> _Read | _Wrong:
    """A setting's value as the vocabulary has it, if the text leaves no doubt."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return _Read(setting.default, "null is read as left out")
    if setting.choices:
        if not isinstance(value, str):
            return _Wrong("is not one of its words")
        if value in setting.choices:
            return _Read(value)
        found = [choice for choice in setting.choices if _squeeze(choice) == _squeeze(value)]
        return _Read(found[0], f"{_quote(value)} is read as {found[0]}") if len(found) == 1 else _Wrong("is unknown")
    return _whole_number(setting, value)


def _whole_number(setting: Setting, value: Any) -> _Read | _Wrong:
    note = ""
    if isinstance(value, bool):
        if (setting.low, setting.high) != (0, 1):
            return _Wrong("is not a number")
        value, note = int(value), f"{value} is read as {int(value)}"
    if isinstance(value, str):
        if not re.fullmatch(r"\s*[+-]?\d{1,18}(?:\.0+)?\s*", value):
            return _Wrong("is not a whole number")
        note = f"{_quote(value)} is read as a number"
        value = int(float(value)) if "." in value else int(value)
    if isinstance(value, float):
        # A number too long for the parser's integers comes as a float, infinity included: far out of range.
        if math.isnan(value) or (abs(value) < 1e15 and value != int(value)):
            return _Wrong("is not a whole number")
        bounded = int(max(min(value, 1e15), -1e15))
        value, note = bounded, f"{value:g} is read as {bounded}"
    if not isinstance(value, int):
        return _Wrong("is not a whole number")
    clamped = min(max(value, setting.low), setting.high)
    if clamped != value:
        note = f"{value} is clamped to {clamped}"
    return _Read(clamped, note)


def _twins(designs: Sequence[Design | None]) -> list[list[int]]:
    """Groups of designs with equal settings, by number."""
    groups: dict[str, list[int]] = {}
    for number, design in enumerate(designs, start=1):
        if design is not None:
            groups.setdefault(design_key(design), []).append(number)
    return [numbers for numbers in groups.values() if len(numbers) > 1]


def _squeeze(text: Any) -> str:
    """Letters and digits alone, in lower case: what names and words are compared by."""
    return re.sub(r"[\W_]+", "", str(text)).casefold()


def _clean(value: Any) -> str:
    """A purpose as one printable line that can be shown in a terminal and written as UTF-8."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = value if isinstance(value, str) else "" if value is None else str(value)
    text = " ".join(text[: 4 * MAX_PURPOSE].split())
    return "".join(character for character in text if character.isprintable())[:MAX_PURPOSE].strip()


def _quote(value: Any) -> str:
    text = _clean(value) if isinstance(value, str) else _clean(repr(value)[: 4 * _SHOWN])
    return f"'{text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}'"
