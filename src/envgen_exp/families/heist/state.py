"""The bytes of `get_state`: an explicit little-endian layout with magic, version, length and checksum.

    header     magic "EGHE", version u16, payload length u32, CRC-32 of the payload u32
    payload    SLOT · design · next design · game

Header and designs are those of `families.sealed`; the game is a settled state of procgen's behind its length,
which is 0 before the first episode. Nothing is unpickled or executed, and nothing reaches procgen that
`settled.checked` has not looked at number by number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import StateError
from envgen_exp.families.design import Design
from envgen_exp.families.heist import procgen_state, settled
from envgen_exp.families.heist.design import MAX_LOCKS, HeistDesign
from envgen_exp.families.heist.settled import SafeState
from envgen_exp.families.sealed import Reader, design_bytes, part, seal, unseal
from envgen_exp.families.slots import is_sound

MAGIC = b"EGHE"
VERSION = 2

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
    game: SafeState | None


def encode(state: SlotState) -> bytes:
    """The bytes of a state."""
    designs = design_bytes(state.design) + design_bytes(state.next_design)
    return seal(MAGIC, VERSION, state.slot.tobytes() + designs + part(state.game or b""))


def decode(data: bytes) -> SlotState:
    """The state of these bytes; StateError if they are not whole, of another version, or no Heist state."""
    reader = Reader(unseal("Heist", MAGIC, VERSION, data))
    slot = reader.row(SLOT)
    design, next_design = (reader.design("Heist", HeistDesign) for _ in range(2))
    game = reader.part()
    reader.end()
    state = SlotState(slot, design, next_design, settled.checked(game) if game else None)
    if not _is_sound(state):
        raise StateError("state: the checksum holds, but the contents contradict each other")
    return state


def _is_sound(state: SlotState) -> bool:
    """Whether the slot's numbers fit its game."""
    slot = state.slot
    if not is_sound(slot) or slot["steps"] < 0 or (state.game is None) != (slot["episode"] == 0):
        return False
    if state.game is None:
        return True
    game = procgen_state.read(state.game)
    left = {"keys": game.themes(procgen_state.KEY), "locks": game.themes(procgen_state.LOCK)}
    return all(
        set(slot[name].tolist()) <= {0, 1}
        and not slot[name][game.num_keys :].any()
        and all(slot[name][theme] for theme in themes)
        for name, themes in left.items()
    )
