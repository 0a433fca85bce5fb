"""Observations and pictures of an engine as Gymnasium shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envgen_exp.errors import EngineError
from envgen_exp.families.family import Playable
from envgen_exp.families.vector import ArraySpec, Observation, VectorEnv


def observation_space(spec: Mapping[str, ArraySpec]) -> spaces.Space[Any]:
    boxes: dict[str, spaces.Space[Any]] = {
        name: spaces.Box(part.low, part.high, part.shape, part.dtype.type) for name, part in spec.items()
    }
    return next(iter(boxes.values())) if len(boxes) == 1 else spaces.Dict(boxes)


def view(obs: Observation) -> Any:
    """An observation as its space has it: one array alone, several by name."""
    return next(iter(obs.values())) if len(obs) == 1 else obs


def action_names(family: Playable) -> list[str]:
    """The names that the family gives its actions, or else their numbers."""
    return list(getattr(family, "action_names", map(str, range(family.num_actions))))


def as_actions(actions: Any, num_envs: int) -> NDArray[np.int64]:
    """Whole numbers of any width as the engine's int64; the engine says which of them are actions."""
    array = np.ascontiguousarray(actions)
    if array.shape != (num_envs,) or array.dtype.kind not in "iu":
        raise EngineError(f"actions: needs {num_envs} whole numbers, got shape {array.shape} and dtype {array.dtype}")
    return array.astype(np.int64, copy=False)


def draw(vector: VectorEnv, slot: int, obs: Observation, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A slot's frame by the engine where it draws off-screen, else the last observation, enlarged."""
    if hasattr(vector, "frame"):
        drawn: NDArray[np.uint8] = vector.frame(slot, size)
        return drawn
    return enlarge(pixels(obs, slot), size)


def pixels(obs: Observation, slot: int) -> NDArray[np.uint8]:
    if "pixels" not in obs:
        raise EngineError("render: this engine draws no pictures of what is observed")
    picture: NDArray[np.uint8] = obs["pixels"][slot]
    return picture


def enlarge(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture at another size, each pixel from its nearest."""
    rows, columns = (np.arange(to) * have // to for to, have in zip(size, picture.shape, strict=False))
    enlarged: NDArray[np.uint8] = picture[rows[:, None], columns]
    return enlarged
