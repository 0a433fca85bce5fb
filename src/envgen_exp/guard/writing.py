"""Writes files whole or not at all, and says in one line why a disk did not take them."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envgen_exp.errors import RunFolderError
from envgen_exp.guard.reading import MAX_JSON, MAX_LOG, check_regular, read_text

UNFINISHED = ".unfinished"
"""What a file is called beside its name until it is whole."""


@contextmanager
def disk_errors(what: Path) -> Iterator[None]:
    """Turn an operating system's refusal to read or write into one line that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunFolderError(f"no disk space left to write {what}: free some and resume") from error
        raise RunFolderError(f"can't write {what}: {error.strerror or error}") from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a reader, or a run that was killed here, sees the old file or the new one."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have a folder's names on the disk, where its file system can do that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF):
            raise
    finally:
        os.close(handle)


def open_own(path: Path) -> int:
    """A file that the run goes on writing, opened or made; RunFolderError where it is none, or a link to another."""
    with disk_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        check_regular(path, handle, MAX_LOG)
    except BaseException:
        os.close(handle)
        raise
    return handle


def write_over(path: Path, text: str, is_ours: Callable[[str], bool]) -> None:
    """Write a file anew; RunFolderError where one is there that `is_ours` does not know by its text."""
    try:
        foreign = os.path.lexists(path) and not is_ours(read_text(path, MAX_JSON))
    except RunFolderError:  # not even a text
        foreign = True
    if foreign:
        raise RunFolderError(f"{path} was not written by this command: move it away, nothing is overwritten")
    write_atomic(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys as they come."""
    write_atomic(path, (json.dumps(value, indent=1) + "\n").encode())
