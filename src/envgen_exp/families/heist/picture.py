"""Pictures of games, drawn by procgen itself at 512 x 512 pixels and brought to the size asked for."""

from __future__ import annotations

import functools
import threading

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from envgen_exp.errors import EngineError
from envgen_exp.families.heist import procgen_state, settled
from envgen_exp.families.heist.settled import SafeState
from envgen_exp.families.heist.upstream import Games

_LOCK = threading.Lock()
LARGEST = 4096
"""Pixels that a picture may be wide or high."""


def draw_frame(game: SafeState, size: tuple[int, int]) -> NDArray[np.uint8]:
    """What the agent sees of a state, (rows, columns, 3) uint8 with `size` as rows and columns."""
    rows, columns = size
    if not (1 <= rows <= LARGEST and 1 <= columns <= LARGEST):
        raise EngineError(f"size: {rows} x {columns} pixels, allowed are 1 to {LARGEST} each")
    artist = _artist()
    with _LOCK:
        artist.put(0, game)
        artist.observe()
        assert artist.large_frames is not None
        image = Image.fromarray(artist.large_frames[0].copy())
    return np.array(image.resize((columns, rows), Image.Resampling.HAMMING))


def draw_world(game: SafeState, unit: int) -> NDArray[np.uint8]:
    """The whole world of a state, whatever the agent sees of it, (size * unit, size * unit, 3) uint8."""
    if not 1 <= unit <= 64:
        raise EngineError(f"unit: {unit} pixels a cell, allowed are 1 to 64")
    state = procgen_state.read(game)
    width = state.world_dim * unit
    return draw_frame(settled.in_full_view(state), (width, width))


@functools.cache
def _artist() -> Games:
    """A game that nothing but pictures is drawn from."""
    return Games(1, large=True)
