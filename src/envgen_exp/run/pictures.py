"""Sampled worlds of designs as pictures: whole maps and what the agent sees, the same few worlds for every design."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from envgen_exp.config import EnvConfig, Observe
from envgen_exp.families import make_family
from envgen_exp.families.design import Design
from envgen_exp.families.family import Family, Playable
from envgen_exp.guard.writing import write_atomic
from envgen_exp.seeding import WorldSet, world_seed

UNIT = 4
"""Pixels a cell in pictures of whole worlds, at least."""

WIDTH = 256
"""Pixels to which small worlds are drawn larger."""

MAX_DESIGNS = 8
"""Designs of a cycle of which a run keeps pictures."""

_COLOURS = 256
"""Colours of a picture's palette: a world's textures have fewer, so that nothing is lost and files stay small."""

_SETS = len(WorldSet)


@functools.cache
def slot_seed(number: int) -> int:
    """The seed of a slot whose first world is the `number`-th pictured one, counted from 1: of the validation set.

    It is found among seeds that name no set, for with a set Heist builds all levels of a design before the first.
    """
    validation = (s for s in itertools.count() if world_seed(s, 1) % _SETS == WorldSet.VALIDATION)
    return next(itertools.islice(validation, number - 1, None))


def world_map(family: Family, design: Design | None, number: int) -> NDArray[np.uint8]:
    """A design's `number`-th pictured world as a whole, (height, width, 3)."""
    seed = world_seed(slot_seed(number), 1)
    pixels = family.picture(design, seed, unit=UNIT)
    if pixels.shape[1] <= WIDTH // 2:
        pixels = family.picture(design, seed, unit=UNIT * WIDTH // pixels.shape[1])
    return pixels


def first_view(family: Family, design: Design | None) -> NDArray[np.uint8] | None:
    """The agent's first frame in a design's first pictured world, (height, width, 3); None where it sees no image, and
    of scenes that nobody acts in, which are pictures already."""
    if not isinstance(family, Playable):
        return None
    spec = family.observation_spec
    name = next((n for n, s in spec.items() if s.dtype == np.uint8 and len(s.shape) == 3 and s.shape[2] == 3), None)
    if name is None:
        return None
    buffers = {n: np.zeros((1, *s.shape), s.dtype) for n, s in spec.items()}
    env = family.vector([design], [slot_seed(1)])
    try:
        env.reset(buffers)
    finally:
        env.close()
    pixels: NDArray[np.uint8] = buffers[name][0]
    return pixels


def seen_in_pixels(env: EnvConfig) -> Family:
    """The family as one sees it, whatever the run's agent sees."""
    return make_family(dataclasses.replace(env, observation=Observe.pixels))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An (height, width, 3) picture as a small PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(_COLOURS, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def write_pictures(family: Family, designs: Sequence[Design | None], folder: Path, name: str) -> None:
    """Write map and agent's view of each design's first pictured world to `<folder>/<name>-<n>-map.png` and -view.png.

    `family` is one that is seen in pixels. There are at most `MAX_DESIGNS` of them; n counts designs from 1, and the
    original in a design's place has none. Raises RunFolderError where they can't be written.
    """
    for number, design in enumerate(designs[:MAX_DESIGNS], start=1):
        if design is None:
            continue
        for kind, pixels in (("map", world_map(family, design, 1)), ("view", first_view(family, design))):
            if pixels is not None:
                write_atomic(folder / f"{name}-{number}-{kind}.png", png(pixels))
