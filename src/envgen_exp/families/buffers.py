"""Checks of what a caller hands to an engine, the same for all: each raises one clear line before a game changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import DesignError, EngineError
from envgen_exp.families.design import Design
from envgen_exp.families.vector import ArraySpec
from envgen_exp.seeding import WORLD_SEED_MODULUS, WorldSet


def check_array(name: str, array: object, shape: tuple[int, ...], dtype: type[np.generic] | np.dtype[Any]) -> None:
    """A buffer must be a writeable array of this shape and dtype, C-contiguous but for its first axis."""
    if not isinstance(array, np.ndarray):
        raise EngineError(
            f"{name}: needs a numpy array of shape {shape} and dtype {np.dtype(dtype)}, got {type(array).__name__}"
        )
    if array.shape != shape or array.dtype != dtype:
        raise EngineError(
            f"{name}: needs shape {shape} and dtype {np.dtype(dtype)}, got shape {array.shape} and dtype {array.dtype}"
        )
    if not array.flags.writeable:
        raise EngineError(f"{name}: the array is read-only")
    if len(array) and not array[0:1].flags.c_contiguous:
        raise EngineError(f"{name}: must be C-contiguous along every axis but the first")


def check_observation(name: str, obs: object, spec: Mapping[str, ArraySpec], num_envs: int) -> None:
    """An observation buffer holds one array for each name of the spec, and no other."""
    if not isinstance(obs, Mapping):
        raise EngineError(f"{name}: needs a mapping with the arrays {', '.join(spec)}, got {type(obs).__name__}")
    if set(obs) != set(spec):
        raise EngineError(
            f"{name}: needs exactly the arrays {', '.join(spec)}, got {', '.join(map(str, obs)) or 'none'}"
        )
    for key, part in spec.items():
        check_array(f"{name}[{key!r}]", obs[key], (num_envs, *part.shape), part.dtype)


def check_active(active: object, num_envs: int) -> NDArray[np.bool_]:
    """The mask of the slots to step; None is all of them."""
    if active is None:
        return np.ones(num_envs, np.bool_)
    if not isinstance(active, np.ndarray) or active.shape != (num_envs,) or active.dtype != np.bool_:
        raise EngineError(f"active: needs a numpy array of shape ({num_envs},) and dtype bool, or None")
    return active


def check_actions(actions: object, active: NDArray[np.bool_], num_actions: int) -> None:
    """Actions are int64, one a slot; those of active slots lie in [0, num_actions)."""
    num_envs = len(active)
    if not isinstance(actions, np.ndarray) or actions.shape != (num_envs,) or actions.dtype != np.int64:
        got = (
            f"shape {actions.shape} and dtype {actions.dtype}"
            if isinstance(actions, np.ndarray)
            else type(actions).__name__
        )
        raise EngineError(f"actions: needs a numpy array of shape ({num_envs},) and dtype int64, got {got}")
    wrong = active & ((actions < 0) | (actions >= num_actions))
    if wrong.any():
        slot = int(np.argmax(wrong))
        raise EngineError(f"actions[{slot}]: {int(actions[slot])} is not an action, allowed are 0 to {num_actions - 1}")


def check_slot(slot: object, num_envs: int) -> int:
    """A slot's number."""
    if isinstance(slot, bool) or not isinstance(slot, int | np.integer) or not 0 <= slot < num_envs:
        raise EngineError(f"slot: {slot!r} is not a slot, allowed are 0 to {num_envs - 1}")
    return int(slot)


def check_design(design: object, model: type[Design]) -> Design | None:
    """None, the original, or a design of the family's model."""
    if design is None or isinstance(design, model):
        return design
    raise DesignError(f"design: needs a {model.__name__} or None (the original), got {type(design).__name__}")


def check_world(world: object, worlds: WorldSet | None) -> int | None:
    """The seed of a slot's next world: of the set that the slot plays, so that no world gets into another set."""
    if world is None:
        return None
    if isinstance(world, bool) or not isinstance(world, int | np.integer) or not 0 <= world < WORLD_SEED_MODULUS:
        raise EngineError(f"world: {world!r} is no world's seed, allowed are 0 to {WORLD_SEED_MODULUS - 1}")
    if worlds is not None and world % len(WorldSet) != worlds:
        raise EngineError(f"world: {world} is not of the set {worlds.name} that the slot plays")
    return int(world)


def check_slots(designs: Sequence[Design | None], seeds: Sequence[int], model: type[Design]) -> None:
    """What a vector is made of: as many designs as seeds, at least one."""
    if len(designs) != len(seeds) or not len(designs):
        raise EngineError(f"designs and seeds: need equal lengths of at least 1, got {len(designs)} and {len(seeds)}")
    for slot, (design, seed) in enumerate(zip(designs, seeds, strict=True)):
        check_design(design, model)
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise EngineError(f"seeds[{slot}]: needs an int, got {seed!r}")
        if not -(2**63) <= seed < 2**63:
            raise EngineError(f"seeds[{slot}]: {seed} does not fit into 64 bits")
