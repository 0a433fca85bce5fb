"""Reserves disk space before an answer is paid for, so that a disk that fills meanwhile does not lose it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from envgen_exp.guard.writing import UNFINISHED, disk_errors, sync_folder

_PART = b"\0" * 2**16


class Room:
    """Room for the next answer in a folder: a file of its full size, which becomes the answer's."""

    def __init__(self, folder: Path) -> None:
        # One name, so that what a kill leaves is used again, or removed as any other unfinished file.
        self._file = folder / f".answer{UNFINISHED}"

    def take(self, size: int) -> None:
        """Take `size` bytes of the disk, or raise RunFolderError and leave nothing."""
        with disk_errors(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                _allocate(handle, size)
            except BaseException:
                self.free()
                raise
            finally:
                os.close(handle)

    def fill(self, path: Path, data: bytes) -> None:
        """Write a file whole or not at all, into the room where some was taken."""
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                write_all(handle, data)
                os.ftruncate(handle, len(data))
                os.fsync(handle)
                os.replace(self._file, path)
            except BaseException:
                self.free()
                raise
            finally:
                os.close(handle)
            sync_folder(path.parent)

    def free(self) -> None:
        """Give back what was taken and not used."""
        self._file.unlink(missing_ok=True)


def _allocate(handle: int, size: int) -> None:
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        for _ in range(0, size, len(_PART)):  # this file system can't: write what will be written over
            write_all(handle, _PART)


def write_all(handle: int, data: bytes) -> None:
    """Write all of `data`: a disk that is nearly full takes a part first."""
    while data:
        data = data[os.write(handle, data) :]
