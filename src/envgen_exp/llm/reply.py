"""Turns a model's text into designs: takes and notes what it can read without guessing; the rest is a problem.

Nothing in the text is ever evaluated: `lenient` makes data of it, here its designs are found, `families.reading` checks
names and values, and the family's strict design model has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from envgen_exp.families.design import Design, design_key
from envgen_exp.families.forms import SETS, numbered, squeeze
from envgen_exp.families.reading import Reader, listed, quote
from envgen_exp.llm.lenient import Cut, Open, find_values
from envgen_exp.llm.prompt import Wording

MAX_CHARACTERS = 100_000
"""A longer reply is not read; the longest useful ones have some thousands."""

_MOST = 40
"""Notes, and problems, of one reply."""

_WRAPPERS = {
    *("answer", "finalanswer", "final", "response", "result", "results", "reply", "output", "json", "data"),
    *("content", "message", "solution"),
}
"""Names of objects around a set of designs."""

_THOUGHTS = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
"""Thoughts, ended or not: what is left of a text is its answer."""

_THINKING = re.compile(r"<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)


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

    @property
    def objections(self) -> list[str]:
        """The problems as a model is told them."""
        return [str(problem) for problem in self.problems]

    @property
    def wanting(self) -> list[int]:
        """The places of the designs that can't be used or have problems, from 0."""
        named = {problem.design - 1 for problem in self.problems if problem.design is not None}
        return [index for index, design in enumerate(self.designs) if design is None or index in named] or [
            *range(len(self.designs))
        ]

    def mended(self, later: Reply, places: Sequence[int]) -> Reply:
        """These designs with a later reply's in some places, where it has one that can be used."""
        designs = list(self.designs)
        for place, design in zip(places, later.designs, strict=True):
            designs[place] = design or designs[place]
        problems = tuple(
            replace(problem, design=None if problem.design is None else places[problem.design - 1] + 1)
            for problem in later.problems
        )
        return Reply(tuple(designs), (*self.notes, *later.notes), problems)


@dataclass
class _Set:
    """The designs that stand together in a text."""

    designs: list[dict[str, Any]]
    beside: list[tuple[str, Any]] = field(default_factory=list)
    """What stands around them."""
    notes: list[str] = field(default_factory=list)
    loose: bool = False
    """Whether they are objects that nothing holds together."""


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
    reader = Reader(wording.settings, skills)
    found, notes, aside = _choose(_find_sets(text, reader), reader, num_designs)
    problems = [*_whole(text, finish, reasoning, found.designs, num_designs), *aside]
    designs: list[Design | None] = []
    for number, raw in enumerate(found.designs[:num_designs], start=1):
        design, remarks, wrong = _design(raw, number, reader, wording, model)
        designs.append(design)
        notes += [f"design {number}: {remark}" for remark in remarks]
        problems += wrong
    notes += [f"designs {' and '.join(map(str, numbers))} are the same" for numbers in _twins(designs)]
    designs += [None] * (num_designs - len(designs))
    if len(problems) > _MOST:
        problems[_MOST:] = [Problem(f"and {len(problems) - _MOST} more problems", fatal=False)]
    if len(notes) > _MOST:
        notes[_MOST:] = [f"and {len(notes) - _MOST} more notes"]
    return Reply(tuple(designs), tuple(notes), tuple(problems))


def _whole(text: str, finish: str, reasoning: int, found: Sequence[Any], num_designs: int) -> list[Problem]:
    """What is wrong with a reply as a whole."""
    if len(text) > MAX_CHARACTERS:
        return [Problem(f"the answer has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")]
    if found and len(found) >= num_designs:
        return []
    if reasoning and not _THOUGHTS.sub("", text).strip():
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


def _design(
    raw: Mapping[str, Any], number: int, reader: Reader, wording: Wording, model: type[Design]
) -> tuple[Design | None, list[str], list[Problem]]:
    """A design from an object; with notes and problems."""
    reading = reader.read(raw)
    problems = [Problem(fault.text, number, fault.fatal) for fault in reading.faults]
    if any(problem.fatal for problem in problems):
        return None, reading.notes, problems
    values = dict(wording.read(name, value) for name, value in reading.values.items())
    try:
        return model(purpose=reading.purpose, targets=reading.targets, **values), reading.notes, problems
    except ValidationError as error:
        text = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        return None, reading.notes, [*problems, Problem(f"not a design: {text}", number)]


# Which objects are designs


def _find_sets(text: str, reader: Reader) -> list[_Set]:
    """Every set of designs in a text, in order; objects that are none have no designs in theirs."""
    if len(text) > MAX_CHARACTERS:
        return []
    text = _spoken(text)
    found = _sets_of(find_values(text), reader)
    if not any(each.designs for each in found) and '\\"' in text:
        found = _sets_of(find_values(text.replace('\\"', '"').replace("\\n", "\n")), reader)  # JSON inside a string
    return found


def _spoken(text: str) -> str:
    """A text without its thoughts: those between tags, behind one that is left open, and before a lone closing one."""
    parts: list[str] = []
    start, thinks = 0, False
    for tag in _THINKING.finditer(text):
        if not tag[1] and not thinks:
            parts.append(text[start : tag.start()])
        elif tag[1] and not thinks:
            parts = []
        thinks, start = not tag[1], tag.end()
    return " ".join(parts if thinks else [*parts, text[start:]])


def _sets_of(values: Sequence[Any], reader: Reader) -> list[_Set]:
    sets: list[_Set] = []
    for value in values:
        is_open = isinstance(value, Cut | Open)
        if is_open and isinstance(value, list) and not all(isinstance(item, dict | list) for item in value):
            continue  # a bracket in prose
        found = _sets_in(value, reader)
        if is_open and not any(each.designs for each in found):
            continue  # what stands inside it follows
        for each in found:
            if not (each.loose and sets and sets[-1].loose):
                sets.append(each)
            elif not _joined(sets[-1], each, reader):
                sets[-1].designs += each.designs
        if is_open:
            break
    return sets


def _joined(before: _Set, after: _Set, reader: Reader) -> bool:
    """Whether a block of groups goes on with the design of the block before it, which has none of these groups."""
    last, (more,) = before.designs[-1], after.designs
    names = {squeeze(name) for name in last}
    groups = any(isinstance(value, dict) for value in last.values())
    if not groups or not reader.only_groups(more) or names & {squeeze(name) for name in more}:
        return False
    before.designs[-1] = {**last, **more}
    before.notes.append(f"design {len(before.designs)}: {listed(list(more))} of the next block belongs to it")
    return True


def _sets_in(value: Any, reader: Reader, depth: int = 0) -> list[_Set]:
    """The sets inside a value, each with what stands beside it; what is no set at all is beside an empty one."""
    if depth > 4:
        return []
    if isinstance(value, list):
        return _sets_in_list(value, reader, depth)
    if not isinstance(value, dict):
        return []
    held = _held(value, reader)
    if held is None and reader.is_design(value):
        return [_Set([value], loose=True)]
    if held is not None:
        names, found = held
        for each in found:
            each.loose = False
    else:
        inside = {
            name: _sets_in(inner, reader, depth + 1) for name, inner in value.items() if squeeze(name) in _WRAPPERS
        }
        names = [name for name, sets in inside.items() if any(each.designs for each in sets)]
        found = [each for name in names for each in inside[name]]
    beside = [(str(name), inner) for name, inner in value.items() if name not in names]
    if beside and not found:
        return [_Set([], beside)]
    if beside:
        found[0].beside += beside
    return found


def _sets_in_list(value: list[Any], reader: Reader, depth: int) -> list[_Set]:
    designs = [item for item in value if reader.is_design(item) and _held(item, reader) is None]
    if designs:
        chosen = set(map(id, designs))
        return [_Set(designs, [("", item) for item in value if id(item) not in chosen])]
    found = [each for item in value for each in _sets_in(item, reader, depth + 1)]
    if not found or not all(len(each.designs) <= 1 for each in found):
        return found
    beside = [one for each in found for one in each.beside]  # [{"design 1": {...}}, {"design 2": {...}}]
    return [_Set([design for each in found for design in each.designs], beside)]


def _held(value: dict[str, Any], reader: Reader) -> tuple[list[str], list[_Set]] | None:
    """The names below which an object holds a set by its form: `designs` or the like, or numbers; and the set."""
    for name, inner in value.items():
        if squeeze(name) not in SETS:
            continue
        if isinstance(inner, list):
            items = [item for part in inner for item in (part if isinstance(part, list) else [part])]
            designs = [item for item in items if isinstance(item, dict)]
            if designs:
                return [name], [_Set(designs, [("", item) for item in items if not isinstance(item, dict)])]
        elif isinstance(inner, dict) and squeeze(name) != "settings":
            if reader.is_design(inner) and not any(map(numbered, inner)):
                return [name], [_Set([inner])]
            members = {label: item for label, item in inner.items() if isinstance(item, dict)}
            if members:
                called = [label for label in members if not numbered(label)]
                note = [f"{listed(called)} {'is a design' if len(called) == 1 else 'are designs'}"] if called else []
                others = [(label, item) for label, item in inner.items() if label not in members]
                return [name], [_Set(list(members.values()), others, note)]
    members = {name: inner for name, inner in value.items() if numbered(name) and reader.is_design(inner)}
    return (list(members), [_Set(list(members.values()))]) if members else None


def _choose(sets: Sequence[_Set], reader: Reader, num_designs: int) -> tuple[_Set, list[str], list[Problem]]:
    """The set that counts, the last whole one or else the last of the largest; what became of all others."""
    best = _Set([])
    for each in sets:
        if each.designs and min(len(each.designs), num_designs) >= min(len(best.designs), num_designs):
            best = each
    notes, problems = list(best.notes), list[Problem]()
    too_many, behind = len(best.designs) - num_designs, False
    if too_many > 0 and best.loose:
        # Nothing says which of them are examples or drafts; those come first as a rule.
        best.designs = best.designs[too_many:]
        why = f"{too_many + num_designs} designs stand alone in the answer, {num_designs} were asked for"
        problems.append(Problem(f"{why}: put those that are meant, and nothing else, into one list", fatal=False))
    elif too_many > 0:
        notes.append(
            f"{too_many + num_designs} designs came, {num_designs} were asked for: the first {num_designs} are taken"
        )
    for each in sets:
        count = f"{len(each.designs)} design{'' if len(each.designs) == 1 else 's'}"
        if each is best:
            behind = True
        elif each.designs and behind:
            why = f"behind {len(best.designs)} designs come {count} more: which are meant? Write only those that are"
            problems.append(Problem(why, fatal=False))
        elif each.designs:
            notes.append(f"an earlier answer with {count} is left out")
        left_out = []
        for name, value in each.beside:
            if isinstance(value, dict | list) and (reader.speaks(value) or reader.speaks({name: None})):
                problems.append(Problem(reader.refused(name, value).text, fatal=False))
            elif reader.names(name):
                text = f"{quote(name)} stands outside of the designs and is not used; put it into each of them"
                problems.append(Problem(text, fatal=False))
            else:
                left_out.append(name or value)
        if left_out:
            notes.append(f"{listed(left_out)} beside the designs {'is' if len(left_out) == 1 else 'are'} left out")
    return best, notes, problems


def _twins(designs: Sequence[Design | None]) -> list[list[int]]:
    """Groups of designs with equal settings, by number."""
    groups: dict[str, list[int]] = {}
    for number, design in enumerate(designs, start=1):
        if design is not None:
            groups.setdefault(design_key(design), []).append(number)
    return [numbers for numbers in groups.values() if len(numbers) > 1]
