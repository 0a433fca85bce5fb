"""The lock of a run's folder: the kernel's, or files with their owner's name where the file system has no locks.

Of those files the one with the highest number counts. They are only ever created, exclusively: so of two processes
that find its owner dead one takes over. A dead owner is known on its own machine alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path

from envgen_exp.errors import LockError, RunFolderError
from envgen_exp.guard.reading import read_text

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""How a file system says that it has no locks."""

MAX_OWNER = 1000
"""Bytes of an owner's name."""


class Lock:
    """Held from here until `close`, or until the process dies. LockError where another one holds it."""

    def __init__(self, folder: Path, handle: int) -> None:
        """`handle` is the open file `lock` of the folder, and closed with the lock."""
        self._handle = handle
        self._owner: Path | None = None
        try:
            self._take(folder)
        except BaseException:
            os.close(handle)
            raise

    def _take(self, folder: Path) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                self._owner = _own(folder)
                return
            if error.errno != errno.EWOULDBLOCK:
                raise RunFolderError(f"can't lock {folder}: {error.strerror}") from error
            owner = os.pread(self._handle, MAX_OWNER, 0).decode(errors="replace").strip()
            raise LockError(f"{folder} is in use by process {owner or 'unknown'}: wait for it or end it") from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Give it back."""
        if self._owner is not None:
            self._owner.unlink(missing_ok=True)
        os.close(self._handle)


def _own(folder: Path) -> Path:
    """The file that says that this process owns the folder, which has no other locks."""
    files = _files(folder)
    if files:
        _check_dead(folder, files[max(files)])
    number = max(files, default=0) + 1
    mine = folder / f"lock-{number}"
    try:
        handle = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError as error:
        raise LockError(f"{folder} has just been taken by another process: wait for it or end it") from error
    except OSError as error:
        raise RunFolderError(f"can't write {mine}: {error.strerror}") from error
    with open(handle, "w") as file:
        file.write(" ".join(_name(os.getpid())))
    there = _files(folder)
    if max(there) > number:  # this process was slow: one took over from another that it never saw
        mine.unlink()
        _check_dead(folder, there[max(there)])
        raise LockError(f"{folder} was in use by another process a moment ago: try again")
    for older in files.values():
        older.unlink(missing_ok=True)
    return mine


def _files(folder: Path) -> dict[int, Path]:
    found = {file.name.removeprefix("lock-"): file for file in folder.glob("lock-*")}
    return {int(number): file for number, file in found.items() if number.isascii() and number.isdigit()}


def _check_dead(folder: Path, file: Path) -> None:
    """LockError where the owner that a file names is alive, or may be."""
    try:
        machine, space, pid, start = read_text(file, MAX_OWNER).split()
    except RunFolderError:
        if not file.exists():
            return  # its owner has ended in order
        raise
    except ValueError:
        machine = space = pid = start = "unknown"
    here, our_space, *_ = _name(os.getpid())
    if (machine, space) != (here, our_space):
        raise LockError(
            f"{folder} may be in use by process {pid} of {machine}, which can't be asked from here ({here}), and the "
            f"file system has no locks: if that process has ended, remove {file}"
        )
    if _name(int(pid) if pid.isdigit() else 0)[3] == start:
        raise LockError(f"{folder} is in use by process {pid}: wait for it or end it")


def _name(pid: int) -> tuple[str, str, str, str]:
    """A process as a file names it: its machine, there its space of process numbers, its number and its start."""
    space, start = "none", "ended"
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    with contextlib.suppress(OSError, IndexError):
        # After the name, which may hold anything: the state, and 18 numbers later the start.
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        start = "ended" if state in "ZX" else numbers[18]
    return "".join(socket.gethostname().split()) or "unknown", space, str(pid), start
