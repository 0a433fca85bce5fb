"""TensorBoard's view of a run's metrics: one file of events in <folder>/tensorboard, made without TensorBoard itself.

An event is a protocol buffer (tensorflow/core/util/event.proto) in a TFRecord; scalars take a handful of fields.
"""

from __future__ import annotations

import functools
import os
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from envgen_exp.errors import RunFolderError
from envgen_exp.guard.writing import open_own

FILE = "tensorboard/events.out.tfevents.0000000001.envgen"
"""Where a run has its events."""


class TensorBoardTracker:
    """A tracker (`tracking.wandb.Tracker`); a resumed run's file is made anew from its logs."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._path = folder / FILE
        self._warn = warn
        self._file: BinaryIO | None = None

    def start(self, rows: Iterable[Mapping[str, Any]], timings: Iterable[Mapping[str, Any]] = ()) -> None:
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._path.unlink(missing_ok=True)
            self._file = os.fdopen(open_own(self._path), "wb")
        except (OSError, RunFolderError) as error:
            self._failed(error)
        self._write(_text(3, "brain.Event:2"))
        for row in (*rows, *timings):
            self.publish(row)

    def publish(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        values = {**(timing or {}), **row}
        shown = (
            _part(1, _text(1, name) + _key(2, 5) + struct.pack("<f", value))
            for name, value in values.items()
            if name not in ("step", "cycle") and isinstance(value, int | float) and not isinstance(value, bool)
        )
        self._write(_key(2, 0) + _varint(int(row["step"])) + _part(5, b"".join(shown)))

    def time(self, timing: Mapping[str, Any]) -> None:
        self.publish(timing)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, event: bytes) -> None:
        if self._file is None:
            return
        data = _key(1, 1) + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(data))
        try:
            self._file.write(length + _checksum(length) + data + _checksum(data))
            self._file.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._warn(f"TensorBoard's file can't be written, the run goes on without: {error}")
        self.close()


def _key(field: int, kind: int) -> bytes:
    return bytes([field << 3 | kind])


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _part(field: int, data: bytes) -> bytes:
    return _key(field, 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C of a TFRecord."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _table() -> tuple[int, ...]:
    def entry(byte: int) -> int:
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        return byte

    return tuple(map(entry, range(256)))
