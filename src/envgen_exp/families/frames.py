"""Labelled frames in arrays of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envgen_exp.families.design import Design
from envgen_exp.families.family import FrameBuffers, Labelled
from envgen_exp.seeding import WorldSet


def draw(
    family: Labelled, designs: Sequence[Design | None], world_seeds: Sequence[int], worlds: WorldSet
) -> FrameBuffers:
    """A frame for each design and world seed, with labels and strata."""
    count = len(world_seeds)
    buffers = FrameBuffers(
        images=np.empty((count, *family.frame_spec.shape), np.uint8),
        labels=np.empty((count, len(family.labels)), np.float32),
        strata=np.empty((count, len(family.strata)), np.bool_),
    )
    family.frames(designs, world_seeds, worlds, buffers)
    return buffers
