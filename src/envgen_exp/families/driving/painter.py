"""The native scene generator and rasteriser: frames, labels and strata of designs by world seed."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import EngineError
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.driving import _driving
from envgen_exp.families.driving.design import recipe
from envgen_exp.families.family import FrameBuffers, Label

_LANES = ("left", "own", "right")

LABELS: tuple[Label, ...] = (
    Label("heading", "degrees", -30.0, 30.0),
    *(Label(f"ahead_{lane}", "m", 0.0, 60.0, optional=True, by_stratum=lane == "own") for lane in _LANES),
    *(Label(f"line_{line}", "m", 0.0, 11.0, optional=True) for line in ("left_left", "left", "right", "right_right")),
)
"""In the engine's order; headings are positive where the car looks to the right of its lane's direction."""

STRATA: tuple[str, ...] = tuple(_driving.strata)

METRE = _driving.metre
"""Lengths are counted in this part of a metre."""

INVERSE = _driving.inverse // _driving.metre
"""The inverse depth of what is a metre ahead."""


@dataclass(frozen=True)
class Depths:
    """What else can be had of frames, for tests and pictures."""

    inverse: NDArray[np.int32]
    """(num_frames, height, width): `INVERSE` over metres along the camera's axis; the sky has 0."""
    ids: NDArray[np.uint8]
    """(num_frames, height, width): 0 is ground, 1 and more a scene's things, 254 scenery, 255 sky."""


class Painter:
    """Draws frames with `num_threads` threads (0: one for each core); used by one process."""

    def __init__(self, num_threads: int) -> None:
        self._native = _driving.Painter(num_threads or len(os.sched_getaffinity(0)))

    def draw(
        self,
        designs: Sequence[Design | None],
        world_seeds: Sequence[int],
        buffers: FrameBuffers,
        *,
        other_look: bool = False,
        mirrored: bool = False,
        depths: Depths | None = None,
    ) -> None:
        """Draw a frame for each design and seed into the buffers; EngineError where those don't fit."""
        rows: dict[str, int] = {}
        kinds: list[Design | None] = []
        which = np.empty(len(designs), np.int32)
        known: dict[int, int] = {}  # a design is often the same object many times
        for index, design in enumerate(designs):
            if id(design) not in known:
                key = design_key(design)
                if key not in rows:
                    rows[key] = len(rows)
                    kinds.append(design)
                known[id(design)] = rows[key]
            which[index] = known[id(design)]
        table = np.array([_numbers(design, other_look) for design in kinds], np.int32).reshape(len(kinds), -1)
        try:
            self._native.draw(
                recipes=table,
                which=which,
                seeds=np.asarray(world_seeds, np.int64),
                other_look=other_look,
                mirrored=mirrored,
                images=buffers.images,
                labels=buffers.labels,
                strata=buffers.strata,
                inverses=None if depths is None else depths.inverse,
                ids=None if depths is None else depths.ids,
            )
        except (TypeError, ValueError) as error:
            raise EngineError(f"frames: {str(error).splitlines()[0]}") from None

    def draw_scenes(self, scenes: list[dict[str, Any]], buffers: FrameBuffers) -> None:
        """Draw scenes that are told in numbers, as `describe` does; EngineError where numbers or buffers don't fit."""
        try:
            self._native.draw_scenes(scenes=scenes, images=buffers.images, labels=buffers.labels, strata=buffers.strata)
        except (TypeError, ValueError, KeyError) as error:
            raise EngineError(f"frames: {str(error).splitlines()[0]}") from None


def describe(design: Design | None, world_seed: int, *, other_look: bool) -> dict[str, Any]:
    """A scene in numbers, to compute its labels a second time: lengths in 1/1024 m, angles in 1/65536 of a turn."""
    return _driving.describe(np.array([_numbers(design, other_look)], np.int32), world_seed, other_look)


@functools.lru_cache(256)
def _numbers(design: Design | None, other_look: bool) -> tuple[int, ...]:
    """A recipe as the engine's row of numbers."""
    parts = recipe(design, other_look=other_look)
    numbers: list[int] = []
    for name, size in _driving.recipe:
        part = parts.pop(name)
        if len(part) != size:
            raise AssertionError(f"{name}: {len(part)} numbers, the engine takes {size}")
        numbers.extend(part)
    if parts:
        raise AssertionError(f"the engine takes no {', '.join(parts)}")
    return tuple(numbers)
