"""Pictures of whole levels, drawn by procgen itself at 512 x 512 pixels and brought to the size asked for."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from envgen_exp.envs.heist import blob
from envgen_exp.envs.heist.blob import SafeBlob
from envgen_exp.envs.heist.upstream import Games
from envgen_exp.errors import EngineError


def draw_level(game: SafeBlob, unit: int) -> NDArray[np.uint8]:
    """The world of a state in full view, (size * unit, size * unit, 3) uint8."""
    if not 1 <= unit <= 64:
        raise EngineError(f"unit: {unit} pixels a cell, allowed are 1 to 64")
    state = blob.read(game)
    size = state.world_dim * unit
    image = Image.fromarray(_large_frame(blob.in_full_view(state)))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def _large_frame(game: SafeBlob) -> NDArray[np.uint8]:
    artist = _artist()
    artist.put(0, game)
    artist.observe()
    assert artist.large_frames is not None
    frame: NDArray[np.uint8] = artist.large_frames[0]
    return frame


@functools.cache
def _artist() -> Games:
    return Games(1, large=True)
