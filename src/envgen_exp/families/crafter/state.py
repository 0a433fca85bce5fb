"""The bytes of `get_state`: an explicit little-endian layout with magic, version, length and checksum.

    header     magic "EGCR", version u16, payload length u32, CRC-32 of the payload u32
    payload    SLOT · design · next design · and, once an episode has begun: GAME · OBJECTs · CHUNKs · members

A design is its JSON behind a u32 length, which is 0 for the original. Each of the three lists stands behind a u32
count.
Nothing is unpickled or executed, and no part is believed before the checksum holds and every index is in range.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import StateError
from envgen_exp.families.crafter.design import CrafterDesign
from envgen_exp.families.crafter.upstream import AREA, CHUNK, ITEMS, MATERIALS, MOST, SKILLS
from envgen_exp.families.design import Design
from envgen_exp.families.sealed import design_bytes, read_design, seal, unseal
from envgen_exp.seeding import WorldSet

MAGIC = b"EGCR"
VERSION = 2
_COUNT = struct.Struct("<I")

KINDS: tuple[str, ...] = ("Player", "Cow", "Zombie", "Skeleton", "Arrow", "Plant")
"""Classes of `crafter.objects`; an object's kind is its class's index."""

SLOT = np.dtype(
    [
        ("seed", "<i8"),
        ("worlds", "<i1"),  # WorldSet, or -1 for crafter's own sequence
        ("designed_length", "<i8"),
        ("original_length", "<i8"),
        ("episode", "<i8"),  # 0 before the first
        ("world_seed", "<i8"),
        ("episode_return", "<f8"),
        ("next_world", "<i8"),  # that was set for the next episode, or -1
    ]
)
"""What a slot knows besides its game."""

GAME = np.dtype(
    [
        ("step", "<i8"),
        ("last_health", "<i4"),  # of the environment, for rewards
        ("unlocked", "u1", (len(SKILLS),)),
        ("mt_key", "<u4", (624,)),  # MT19937
        ("mt_pos", "<i4"),
        ("materials", "u1", AREA),
        ("num_places", "<u4"),  # length of the world's list of objects, gaps and the empty place 0 included
        ("facing", "<i1", (2,)),
        ("sleeping", "u1"),
        ("player_last_health", "<i4"),  # of the player, for waking up when hurt
        ("hunger", "<f8"),
        ("thirst", "<f8"),
        ("fatigue", "<f8"),
        ("recover", "<f8"),
        ("inventory", "u1", (len(ITEMS),)),
        ("achievements", "<i4", (len(SKILLS),)),
    ]
)
"""The running game, creatures apart."""

OBJECT = np.dtype(
    [
        ("place", "<u4"),  # index in the world's list, which is the order of updates
        ("kind", "u1"),
        ("pos", "u1", (2,)),
        ("health", "<i4"),
        ("timer", "<i4"),  # Zombie: cooldown; Skeleton: reload; Plant: grown
        ("facing", "<i1", (2,)),  # Arrow
    ]
)
"""One object of the world, in the order of places; the player is the first."""

CHUNK_ROW = np.dtype([("corner", "u1", (2,)), ("count", "<u4")])
"""One chunk, in the order of their making, with the number of its members: places, in the order of their coming."""


@dataclass(frozen=True)
class SlotState:
    """A slot in the arrays of this module's layout; `game` is None before the first episode."""

    slot: NDArray[Any]
    """SLOT, ()."""
    design: Design | None
    next_design: Design | None
    game: NDArray[Any] | None
    """GAME, ()."""
    objects: NDArray[Any]
    """OBJECT, (num_objects,)."""
    chunks: NDArray[Any]
    """CHUNK_ROW, (num_chunks,)."""
    members: NDArray[np.uint32]
    """All chunks' members, one chunk after the other, (num_objects,)."""


def encode(state: SlotState) -> bytes:
    """The bytes of a state."""
    parts = [state.slot.tobytes(), _design_bytes(state.design), _design_bytes(state.next_design)]
    if state.game is not None:
        parts.append(state.game.tobytes())
        parts += [_COUNT.pack(len(array)) + array.tobytes() for array in (state.objects, state.chunks, state.members)]
    payload = b"".join(parts)
    return seal(MAGIC, VERSION, payload)


def decode(data: bytes) -> SlotState:
    """The state of these bytes; StateError if they are not whole, of another version, or no Crafter state."""
    reader = _Reader(unseal("Crafter", MAGIC, VERSION, data))
    slot = reader.array(SLOT, 1)[0]
    design, next_design = reader.design(), reader.design()
    game, objects, chunks, members = None, np.zeros(0, OBJECT), np.zeros(0, CHUNK_ROW), np.zeros(0, np.uint32)
    if slot["episode"]:
        game = reader.array(GAME, 1)[0]
        objects, chunks, members = (reader.array(dtype) for dtype in (OBJECT, CHUNK_ROW, np.dtype("<u4")))
    state = SlotState(slot, design, next_design, game, objects, chunks, members)
    if reader.left or not _is_sound(state):
        raise StateError("state: the checksum holds, but the contents are no game")
    return state


def _design_bytes(design: Design | None) -> bytes:
    text = design_bytes(design)
    return _COUNT.pack(len(text)) + text


class _Reader:
    """Takes parts off the front of a payload."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._offset = 0

    @property
    def left(self) -> int:
        return len(self._payload) - self._offset

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise StateError("state: the checksum holds, but the contents end too early")
        self._offset += size
        return self._payload[self._offset - size : self._offset]

    def count(self) -> int:
        return int(_COUNT.unpack(self.take(_COUNT.size))[0])

    def array(self, dtype: np.dtype[Any], count: int | None = None) -> NDArray[Any]:
        count = self.count() if count is None else count
        return np.frombuffer(self.take(count * dtype.itemsize), dtype).copy()

    def design(self) -> Design | None:
        return read_design("Crafter", self.take(self.count()), CrafterDesign)


def _is_sound(state: SlotState) -> bool:
    """Whether every index is in range, so that putting the state into a game can't fail."""
    if state.slot["worlds"] not in (-1, *WorldSet) or state.slot["episode"] < 0 or state.slot["next_world"] < -1:
        return False
    game, objects, chunks = state.game, state.objects, state.chunks
    if game is None:
        return True
    places, cells, arrows = objects["place"], objects["pos"], objects[objects["kind"] == KINDS.index("Arrow")]
    if not len(objects) or int(chunks["count"].sum()) != len(state.members):
        return False
    corners = np.repeat(chunks["corner"], chunks["count"], axis=0)
    return bool(
        np.array_equal(objects["kind"] == 0, np.arange(len(objects)) == 0)
        and places[0] == 1
        and (np.diff(places.astype(np.int64)) > 0).all()
        and places[-1] < game["num_places"]
        and (objects["kind"] < len(KINDS)).all()
        and (cells < AREA).all()
        and len(np.unique(cells, axis=0)) == len(cells)
        and len(np.unique(chunks["corner"], axis=0)) == len(chunks)
        and np.array_equal(np.sort(state.members), places)
        and np.array_equal(corners, cells[np.searchsorted(places, state.members)] // CHUNK * CHUNK)
        and ((game["materials"] >= 1) & (game["materials"] <= len(MATERIALS))).all()
        and (game["inventory"] <= MOST).all()
        and (np.abs([game["facing"], *arrows["facing"]]).sum(axis=1) == 1).all()
        and 0 <= game["mt_pos"] <= 624
    )
