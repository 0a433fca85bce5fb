"""The bytes of `get_state`: an explicit little-endian layout with magic, version, length and checksum.

    header     magic "EGHE", version u16, payload length u32, CRC-32 of the payload u32
    payload    SLOT · design · next design · game

A design is its JSON behind a u32 length, which is 0 for the original; the game is a settled state of procgen's (`blob`)
behind one, which is 0 before the first episode. Nothing is unpickled or executed, and nothing reaches procgen that
`blob.checked` has not looked at number by number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import StateError
from envgen_exp.families.design import Design
from envgen_exp.families.heist import blob
from envgen_exp.families.heist.blob import SafeBlob
from envgen_exp.families.heist.design import MAX_LOCKS, HeistDesign
from envgen_exp.families.sealed import design_bytes, read_design, seal, unseal
from envgen_exp.seeding import WorldSet

MAGIC = b"EGHE"
VERSION = 2
_COUNT = struct.Struct("<I")

SLOT = np.dtype(
    [
        ("seed", "<i8"),
        ("worlds", "<i1"),  # WorldSet, or -1 for any
        ("mode", "<u1"),  # index in HeistMode
        ("designed_length", "<i8"),
        ("original_length", "<i8"),
        ("pool_size", "<i8"),
        ("episode", "<i8"),  # 0 before the first
        ("world_seed", "<i8"),
        ("steps", "<i8"),
        ("episode_return", "<f8"),
        ("keys", "u1", (MAX_LOCKS,)),  # that lay in the maze when the episode began
        ("locks", "u1", (MAX_LOCKS,)),  # that were shut then
        ("next_world", "<i8"),  # that was set for the next episode, or -1
    ]
)
"""What a slot knows besides its game."""


@dataclass(frozen=True)
class SlotState:
    """A slot; `game` is None before the first episode."""

    slot: NDArray[Any]
    """SLOT, ()."""
    design: Design | None
    next_design: Design | None
    game: SafeBlob | None


def encode(state: SlotState) -> bytes:
    """The bytes of a state."""
    parts = [design_bytes(state.design), design_bytes(state.next_design), state.game or b""]
    payload = state.slot.tobytes() + b"".join(_COUNT.pack(len(part)) + part for part in parts)
    return seal(MAGIC, VERSION, payload)


def decode(data: bytes) -> SlotState:
    """The state of these bytes; StateError if they are not whole, of another version, or no Heist state."""
    payload = unseal("Heist", MAGIC, VERSION, data)
    slot = np.frombuffer(payload[: SLOT.itemsize].ljust(SLOT.itemsize, b"\0"), SLOT)[0]
    parts = _parts(payload[SLOT.itemsize :])
    design, next_design = (read_design("Heist", part, HeistDesign) for part in parts[:2])
    game = blob.checked(parts[2]) if parts[2] else None
    state = SlotState(slot, design, next_design, game)
    if not _is_sound(state):
        raise StateError("state: the checksum holds, but the contents contradict each other")
    return state


def _parts(data: bytes) -> list[bytes]:
    """The three parts behind their lengths."""
    parts = []
    for _ in range(3):
        if len(data) < _COUNT.size or len(data) - _COUNT.size < _COUNT.unpack_from(data)[0]:
            raise StateError("state: the checksum holds, but the contents end too early")
        end = _COUNT.size + _COUNT.unpack_from(data)[0]
        parts.append(data[_COUNT.size : end])
        data = data[end:]
    if data:
        raise StateError(f"state: the checksum holds, but there are {len(data)} bytes too many")
    return parts


def _is_sound(state: SlotState) -> bool:
    """Whether the slot's numbers fit its game."""
    slot = state.slot
    if slot["worlds"] not in (-1, *WorldSet) or slot["episode"] < 0 or slot["steps"] < 0 or slot["next_world"] < -1:
        return False
    if (state.game is None) != (slot["episode"] == 0):
        return False
    if state.game is None:
        return True
    game = blob.read(state.game)
    left = {"keys": game.themes(blob.KEY), "locks": game.themes(blob.LOCK)}
    return all(
        set(slot[name].tolist()) <= {0, 1}
        and not slot[name][game.num_keys :].any()
        and all(slot[name][theme] for theme in themes)
        for name, themes in left.items()
    )
