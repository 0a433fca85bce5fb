"""A bounded parser for what is nearly JSON: comments, other quotes, Python's words, missing and trailing commas.

It only ever makes data (dict, list, str, int, float, bool, None); nothing is evaluated. Time grows with the text's
length and no faster: what stands at a bracket is read once and remembered, no expression goes back over what it has
matched, and depth, values and characters looked at are capped.
"""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 24
MAX_VALUES = 20_000
"""Values in one text; a set of designs has some hundreds."""

_STARTS = 400
"""Brackets at which a value is looked for."""

_PASSES = 6
"""How often the characters of a text are looked at, on average, before the rest of it is given up."""

_CLOSING = {"{": "}", "[": "]", "(": ")"}
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "”": "”", "„": "“", "‘": "’", "’": "’", "«": "»"}
_SKIPPED = re.compile(r"(?:\s+|//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z))+", re.DOTALL)
_SPACE = re.compile(r"\s*")
_BRACKET = re.compile(r"[{\[]")
_BARE = re.compile(r"(?:[^,:{}\[\]()\n\"“”=#/]+|/(?!/))+")
_WORDS = {"true": True, "false": False, "null": None, "none": None, "nil": None, "undefined": None}
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class Cut(dict[str, Any]):
    """An object that the text's end cut short: its last member may be missing or half."""

    why = "the answer ends inside it"


class Open(list[Any]):
    """An array that nothing closes: it was cut short, or its bracket was no bracket."""


class Doubled(dict[str, Any]):
    """An object in which a name stands twice with different values: which one was meant can't be told."""

    names: list[str]

    @property
    def why(self) -> str:
        """What is wrong with it."""
        return f"{', '.join(map(repr, self.names[:5]))} stands twice with different values"


class _NotJson(Exception):  # noqa: N818 - control flow inside this file
    """What stands here is no value."""


class _Given(_NotJson):
    """A cap is reached; elsewhere, or with less around it, what stands here may be a value."""


class _EndInString(Exception):  # noqa: N818
    """The text ended inside a string; whatever holds the string is cut."""


def find_values(text: str) -> list[Any]:
    """Every object and array in a text, in order, outermost only; text around them is skipped.

    What nothing closes (`Cut`, `Open`) may have begun in prose: what stands inside it follows behind it.
    """
    values: list[Any] = []
    parser, position = _Parser(text), 0
    for _ in range(_STARTS):
        match = _BRACKET.search(text, position)
        if not match or parser.work <= 0 or parser.values <= 0:
            break
        value, position = parser.at(match.start())
        if value is not None:
            values.append(value)
    return values


class _Parser:
    """Recursive descent from one position; `inner_quotes` takes a quote for the string's end only before , : } ] ."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.inner_quotes = False
        self.values = MAX_VALUES
        self.work = _PASSES * len(text) + 10_000
        self.known: dict[tuple[int, bool], tuple[Any, int] | None] = {}
        """What stands at a bracket and where it ends; None for no value."""

    def at(self, start: int) -> tuple[Any, int]:
        """The value that begins at a bracket, or None, and the next place to look at."""
        for self.inner_quotes in (False, True):
            self.position = start
            try:
                value = self.value(0)
            except _NotJson:
                continue
            return value, start + 1 if isinstance(value, Cut | Open) else self.position
        return None, start + 1

    def value(self, depth: int) -> Any:
        self.values -= 1
        if depth > MAX_DEPTH or self.values <= 0 or self.work <= 0:
            raise _Given
        character = self._peek()
        if character in _QUOTES:
            return self._string()
        if character not in _CLOSING:
            return self._bare_value()
        key = self.position, self.inner_quotes
        if key not in self.known:
            try:
                value = self._object(depth) if character == "{" else self._array(depth)
            except _Given:
                raise
            except _NotJson:
                self.known[key] = None
                raise
            self.known[key] = value, self.position
        known = self.known[key]
        if known is None:
            raise _NotJson
        value, self.position = known
        return value

    def _object(self, depth: int) -> dict[str, Any]:
        self.position += 1
        members: dict[str, Any] = {}
        doubled: list[str] = []
        while True:
            self._skip_commas()
            character = self._peek()
            if character == "}":
                self.position += 1
                break
            if not character:
                return Cut(members)
            try:
                name = self._string() if character in _QUOTES else self._bare()
            except _EndInString:
                return Cut(members)
            if self._peek() not in (":", "="):
                if not self._peek():
                    return Cut(members)
                raise _NotJson
            self.position += 1
            if not self._peek():
                return Cut(members)
            try:
                value = self.value(depth + 1)
            except _EndInString:
                return Cut(members)
            if not self._peek() and not isinstance(value, dict | list):
                # The text ends right behind a word or number: it may have been longer.
                return Cut(members)
            if name in members and members[name] != value:
                doubled.append(name)
            members[name] = value
            self._separated("}")
        if not doubled:
            return members
        result = Doubled(members)
        result.names = doubled
        return result

    def _array(self, depth: int) -> list[Any]:
        closing = _CLOSING[self.text[self.position]]
        self.position += 1
        items: list[Any] = []
        while True:
            self._skip_commas()
            character = self._peek()
            if character == closing:
                self.position += 1
                return items
            if not character:
                return Open(items)
            if character in "}])":
                raise _NotJson
            try:
                items.append(self.value(depth + 1))
            except _EndInString:
                return Open(items)
            self._separated(closing)

    def _string(self) -> str:
        opening = self.text[self.position]
        closing = _QUOTES[opening]
        parts: list[str] = []
        at = self.position + 1
        special = re.compile("[" + re.escape(closing) + r"\\]")
        while True:
            match = special.search(self.text, at)
            self.work -= (match.end() if match else len(self.text)) - at
            if not match:
                self.position = len(self.text)
                raise _EndInString
            parts.append(self.text[at : match.start()])
            at = match.end()
            if match.group() == "\\":
                at = self._escape(at, parts)
            elif self._ends(at, opening):
                break
            else:
                parts.append(match.group())
        self.position = at
        return "".join(parts)

    def _ends(self, at: int, opening: str) -> bool:
        """Whether a closing quote before `at` ends the string: an apostrophe or a quoted word inside does not."""
        if opening in '"“«„' and not self.inner_quotes:
            return True
        # Comments are not skipped here: that would read the same line once for each quote in it.
        after = _SPACE.match(self.text, at).end()  # type: ignore[union-attr]
        return after >= len(self.text) or self.text[after] in ",:=}])/#"

    def _escape(self, at: int, parts: list[str]) -> int:
        """Read what follows a backslash."""
        letter = self.text[at : at + 1]
        if letter == "u":
            code = self.text[at + 1 : at + 5]
            if re.fullmatch(r"[0-9a-fA-F]{4}", code):
                parts.append(chr(int(code, 16)))
                return at + 5
        parts.append(_ESCAPES.get(letter, letter))
        return at + 1

    def _bare(self) -> str:
        match = _BARE.match(self.text, self.position)
        word = match.group() if match else ""
        self.position += len(word)
        self.work -= len(word)
        if not word.strip():
            raise _NotJson
        return word.strip()

    def _bare_value(self) -> Any:
        word = self._bare().rstrip(";").strip().strip("'")
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        if _INTEGER.fullmatch(word):
            return int(word)
        if _NUMBER.fullmatch(word):
            return float(word)
        return word

    def _peek(self) -> str:
        match = _SKIPPED.match(self.text, self.position)
        self.work -= 1
        if match:
            self.work -= len(match.group())
            self.position = match.end()
        return self.text[self.position : self.position + 1]

    def _skip_commas(self) -> None:
        while self._peek() in (",", ";") and self._peek():
            self.position += 1

    def _separated(self, closing: str) -> None:
        """After a member: a comma, the end, or (where one was forgotten) a new line or a quote."""
        before = self.position
        character = self._peek()
        if not character or character in (",", ";", closing) or character in _QUOTES or character in "{[":
            return
        if "\n" not in self.text[before : self.position]:
            raise _NotJson
