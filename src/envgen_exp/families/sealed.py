"""State bytes: one header for the states of all families, and the parts of a binary layout behind it.

header     magic (4 bytes), version u16, payload length u32, CRC-32 of the payload u32, all little-endian

Lists, designs and other parts of no fixed length stand behind their length, a u32.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from envgen_exp.errors import StateError
from envgen_exp.families.design import Design

_HEADER = struct.Struct("<4sHII")
_COUNT = struct.Struct("<I")


def seal(magic: bytes, version: int, payload: bytes) -> bytes:
    """The payload behind its header."""
    return _HEADER.pack(magic, version, len(payload), zlib.crc32(payload)) + payload


def unseal(game: str, magic: bytes, version: int, data: object) -> bytes:
    """The payload; StateError for bytes that are damaged, of another version, or no state of the game."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise StateError(f"state: needs bytes, got {type(data).__name__}")
    data = bytes(data)
    if len(data) < _HEADER.size or data[:4] != magic:
        raise StateError(f"state: these bytes are not a {game} state")
    _, found, length, checksum = _HEADER.unpack_from(data)
    if found != version:
        raise StateError(f"state: version {found}, this engine reads version {version}")
    payload = data[_HEADER.size :]
    if len(payload) != length or zlib.crc32(payload) != checksum:
        raise StateError(f"state: damaged or cut short ({len(payload)} of {length} bytes, or a wrong checksum)")
    return payload


def filled(dtype: np.dtype[Any], values: Mapping[str, Any]) -> NDArray[Any]:
    """One row, (), whose other fields are 0."""
    row = np.zeros((), dtype)
    for name, value in values.items():
        row[name] = value
    return row


def design_bytes(design: Design | None) -> bytes:
    """A design as JSON behind its length; the original is empty."""
    return part(b"" if design is None else design.model_dump_json().encode())


def part(data: bytes) -> bytes:
    """Bytes behind their length."""
    return _COUNT.pack(len(data)) + data


def list_bytes(rows: NDArray[Any]) -> bytes:
    """Rows behind their number."""
    return _COUNT.pack(len(rows)) + rows.tobytes()


class Reader:
    """Takes parts off the front of bytes without copying them; StateError, which begins with `name`, where they end."""

    def __init__(self, data: bytes, name: str = "state") -> None:
        self._data = data
        self._offset = 0
        self._name = name

    def skip(self, size: int) -> int:
        """The offset of the next `size` bytes, which are read with that."""
        if size > len(self._data) - self._offset:
            raise StateError(f"{self._name}: its contents end too early")
        self._offset += size
        return self._offset - size

    def take(self, size: int) -> bytes:
        start = self.skip(size)
        return self._data[start : self._offset]

    def part(self) -> bytes:
        return self.take(self._count())

    def row(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """One row, ()."""
        return self.rows(dtype, 1).reshape(())

    def rows(self, dtype: np.dtype[Any], count: int | None = None) -> NDArray[Any]:
        """So many rows, or as many as the number before them says."""
        count = self._count() if count is None else count
        return np.frombuffer(self._data, dtype, count, self.skip(count * dtype.itemsize))

    def design(self, game: str, model: type[Design]) -> Design | None:
        """The design of `design_bytes`."""
        text = self.part()
        try:
            return model.model_validate_json(text) if text else None
        except ValidationError:
            raise StateError(f"{self._name}: its design is not a {game} design") from None

    def end(self) -> None:
        """StateError where bytes are left."""
        if left := len(self._data) - self._offset:
            raise StateError(f"{self._name}: {left} bytes too many")

    def _count(self) -> int:
        return int(_COUNT.unpack_from(self._data, self.skip(_COUNT.size))[0])
