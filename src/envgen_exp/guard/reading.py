"""The only way to read a file that somebody else may have made: a run's folder that was sent, a file of designs.

What is no plain file, too large or not understood is refused in one line, at once and without being read whole.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from envgen_exp.errors import EnvGenError, RunFolderError

MAX_YAML = 8 * 2**20
"""Bytes of a file of YAML."""

MAX_JSON = 64 * 2**20
"""Bytes of a file of JSON."""

MAX_LOG = 4 * 2**30
"""Bytes of a file of rows, which is read row by row."""

MAX_ROW = 16 * 2**20
"""Bytes of one row."""

MAX_NODES = 500_000
"""Values in a YAML text, those that an alias repeats included."""

MAX_DEPTH = 64
"""Levels of a YAML text; what reads it may recurse."""


@contextmanager
def open_regular(path: Path, most: int) -> Iterator[IO[bytes]]:
    """A plain file of at most so many bytes; RunFolderError for anything else, which is not waited for."""
    try:
        # Not blocking: else a named pipe waits for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        check_regular(path, handle, most)
        file = open(handle, "rb", closefd=False)  # noqa: SIM115 - closed with the handle
        yield file
    finally:
        os.close(handle)


def check_regular(path: Path, handle: int, most: int) -> None:
    """RunFolderError where the open file is none, or larger than that."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise RunFolderError(
            f"{path} is {kinds.get(stat.S_IFMT(status.st_mode), 'a device')}, not a file: it is not read"
        )
    if status.st_size > most:
        raise RunFolderError(f"{path} has {status.st_size:,} bytes, too many to be what it should: at most {most:,}")


def read_bytes(path: Path, most: int) -> bytes:
    """A file whole; RunFolderError where it can't be read, is no plain file or too large."""
    with open_regular(path, most) as file:
        try:
            return file.read(most)
        except OSError as error:
            raise RunFolderError(f"can't read {path}: {error.strerror}") from error


def read_text(path: Path, most: int) -> str:
    """A file of UTF-8; RunFolderError as `read_bytes`."""
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise RunFolderError(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from error


def read_json(path: Path) -> Any:
    """A file of JSON; RunFolderError where it can't be read."""
    try:
        return json.loads(read_text(path, MAX_JSON))
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"can't read {path}: {error}") from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file, also of one that is being written; a torn last line is left out, a missing file is
    empty. RunFolderError for a line that is no row."""
    if not os.path.lexists(path):
        return
    with open_regular(path, MAX_LOG) as file:
        number = 0
        while (line := file.readline(MAX_ROW)).endswith(b"\n"):
            number += 1
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                values = None
            if not isinstance(values, dict):
                raise RunFolderError(f"{path}, line {number}: not a row of JSON")
            yield values
        if len(line) == MAX_ROW:
            raise RunFolderError(f"{path}, line {number + 1}: too long for a row")


def within(folder: Path, name: object) -> Path:
    """The file of this name in a folder; RunFolderError for a name, or a link, that leads out of it."""
    path = folder / str(name)
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a name that none can have, links in a ring
        inside = False
    if not inside:
        raise RunFolderError(f"{folder} names a file outside of it: {str(name)[:120]!r}")
    return path


@contextmanager
def understood(what: object) -> Iterator[None]:
    """Turn what the block stumbles over in values that it was given into one line; the cause stays with the error."""
    try:
        yield
    except EnvGenError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RunFolderError(f"{what} holds what no run writes ({reason})") from error


# YAML


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, in C where it is there: ten times faster, which a sweep of 1,000 runs feels."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands there twice", key.start_mark)
            seen.add((key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key)))
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


for _reader_or_writer in (_Loader, _Dumper):
    # 1e-8 is a number, as it is for Hydra and in JSON; YAML 1.1 wants 1.0e-8. A hash may look like one, but is longer.
    _number = re.compile(r"[-+]?\d{1,3}[eE][-+]?\d{1,3}$")
    _reader_or_writer.add_implicit_resolver("tag:yaml.org,2002:float", _number, list("-+0123456789"))


def load_yaml(text: str, *, aliases: bool = False) -> Any:
    """What a YAML text says; ValueError of one line for what is none, and for duplicate keys.

    With `aliases` a value may be repeated by its name, as long as what comes out stays small.
    """
    try:
        _check(text, aliases)
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def dump_yaml(values: Any) -> str:
    """Plain values as YAML without aliases, keys as they come."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def _is_plain(text: str) -> bool:
    """Whether a look at the characters tells that a text is small and shallow and has no aliases."""
    deepest = max((len(line) - len(line.lstrip(" ")) for line in text.splitlines()), default=0)
    brackets = text.count("[") + text.count("{")
    plain = not any(mark in text for mark in ("&", "*", "- -", "? "))
    return plain and len(text) < MAX_NODES and deepest + brackets < MAX_DEPTH


def _check(text: str, aliases: bool) -> None:
    """ValueError for what would be too much to make values of."""
    if _is_plain(text):
        return
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    count = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            if not aliases:
                raise ValueError(f"aliases (*{event.anchor}) are not read: write it out")
            count += sizes.get(event.anchor or "", MAX_NODES)  # none yet: it lies within itself
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes[anchor or ""] = count - before
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, count - 1))
            else:
                sizes[event.anchor or ""] = 1
        if count > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES:,} values")
        if len(opened) > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels, one in the other")
