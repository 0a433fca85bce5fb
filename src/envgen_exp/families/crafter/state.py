"""The bytes of `get_state`: an explicit little-endian layout with magic, version, length and checksum.

    header     magic "EGCR", version u16, payload length u32, CRC-32 of the payload u32
    payload    SLOT · design · next design · and, once an episode has begun: GAME · OBJECTs · CHUNKs · members

Header, designs and lists are those of `families.sealed`.
Nothing is unpickled or executed, and no part is believed before the checksum holds and every index is in range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import StateError
from envgen_exp.families.crafter.design import CrafterDesign
from envgen_exp.families.crafter.upstream import AREA, CHUNK, ITEMS, MATERIALS, MOST, SKILLS
from envgen_exp.families.design import Design
from envgen_exp.families.sealed import Reader, design_bytes, list_bytes, seal, unseal
from envgen_exp.families.slots import is_sound

MAGIC = b"EGCR"
VERSION = 2

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

_LISTS: tuple[np.dtype[Any], ...] = (OBJECT, CHUNK_ROW, np.dtype("<u4"))


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
    return encode_slot(state.slot, state.design, state.next_design, game_bytes(state))


def encode_slot(slot: NDArray[Any], design: Design | None, next_design: Design | None, game: bytes) -> bytes:
    """The bytes of a state whose game is that of `pack_game`, or empty before the first episode."""
    return seal(MAGIC, VERSION, slot.tobytes() + design_bytes(design) + design_bytes(next_design) + game)


def game_bytes(state: SlotState) -> bytes:
    """A state's game alone."""
    return b"" if state.game is None else pack_game(state.game, state.objects, state.chunks, state.members)


def pack_game(game: NDArray[Any], *lists: NDArray[Any]) -> bytes:
    """A game with its objects, chunks and members as bytes."""
    return game.tobytes() + b"".join(map(list_bytes, lists))


def decode(data: bytes) -> SlotState:
    """The state of these bytes; StateError if they are not whole, of another version, or no Crafter state."""
    reader = Reader(unseal("Crafter", MAGIC, VERSION, data))
    slot = reader.row(SLOT)
    design, next_design = (reader.design("Crafter", CrafterDesign) for _ in range(2))
    begun = bool(slot["episode"])
    game = reader.row(GAME).copy() if begun else None
    objects, chunks, members = (reader.rows(dtype).copy() if begun else np.zeros(0, dtype) for dtype in _LISTS)
    reader.end()
    state = SlotState(slot.copy(), design, next_design, game, objects, chunks, members)
    if not _is_sound(state):
        raise StateError("state: the checksum holds, but the contents are no game")
    return state


def _is_sound(state: SlotState) -> bool:
    """Whether every index is in range, so that putting the state into a game can't fail."""
    if not is_sound(state.slot):
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
