"""The header of state bytes, the same for all families whose state is a binary layout, and the designs in them.

header     magic (4 bytes), version u16, payload length u32, CRC-32 of the payload u32, all little-endian
"""

from __future__ import annotations

import struct
import zlib

from pydantic import ValidationError

from envgen_exp.errors import StateError
from envgen_exp.families.design import Design

_HEADER = struct.Struct("<4sHII")


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


def design_bytes(design: Design | None) -> bytes:
    """A design as JSON; the original is empty."""
    return b"" if design is None else design.model_dump_json().encode()


def read_design(game: str, text: bytes, model: type[Design]) -> Design | None:
    """The design of `design_bytes`."""
    try:
        return model.model_validate_json(text) if text else None
    except ValidationError:
        raise StateError(f"state: the checksum holds, but its design is not a {game} design") from None
