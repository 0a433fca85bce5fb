"""Settled states: those of procgen's states for Heist that it takes without harm, made here or checked here.

procgen believes what it is given: a wrong index in its bytes ends the process. So games take nothing but a `SafeState`.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Mapping
from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import StateError
from envgen_exp.families.heist.procgen_state import (
    COLOURS,
    ENTITY,
    EPISODE,
    GEM,
    KEY,
    LARGEST_WORLD,
    LOCK,
    MISC,
    MT_WORDS,
    NUM_BACKGROUNDS,
    OPTIONS,
    PLAYER,
    RING_KEY,
    SEEDS_AT,
    SMALLEST_WORLD,
    SPACE,
    VIEW,
    WALL,
    Game,
    Rng,
    read,
    write,
)
from envgen_exp.families.sealed import filled

SafeState = NewType("SafeState", bytes)
"""A settled state that procgen takes without harm."""

NEVER = 1 << 30
"""The time limit inside the game: when an episode has lasted too long is decided outside."""

IDLE_SEED = 4
"""The level that a game makes by itself when one has ended: a small one, replaced before anybody sees it."""

_SETTLED: Mapping[str, Mapping[str, float]] = {
    "options": {"use_backgrounds": 1, "level_seed_low": IDLE_SEED, "level_seed_high": IDLE_SEED + 1},
    "episode": {"timeout": NEVER, "default_action": 4, "fixed_asset_seed": -1979223446},
    "misc": {"char_dim": 5, "mixrate": 0.5, "maxspeed": 0.75, "max_jump": 0.5, "random_agent_start": 1},
    "view": {"out_of_bounds_object": WALL},
}
"""What the fields of a settled state hold that are neither 0 nor free."""

_FREE: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "options": {"center_agent": (0, 1)},
    "episode": {"current_level_seed": (0, 2**31 - 1), "cur_time": (0, NEVER - 1), "grid_size": (9, 625)},
    "misc": {"background_index": (0, NUM_BACKGROUNDS - 1), "bg_pct_x": (0, 1)},
    "view": {
        "main_width": (SMALLEST_WORLD, LARGEST_WORLD),
        "main_height": (SMALLEST_WORLD, LARGEST_WORLD),
        "visibility": (SMALLEST_WORLD, LARGEST_WORLD),
    },
}
"""The fields of a settled state that differ between states, with the least and the most they may hold."""

_ANY_ENTITY: Mapping[str, float] = {
    "fire_time": -1,
    "spawn_time": -1,
    "expire_time": -1,
    "friction": 1,
    "auto_erase": 1,
    "alpha": 1,
    "health": 1,
    "theta": -100,
    "grow_rate": 1,
    "alpha_decay": 1,
}
_KEY_SHAPE, _GEM_SHAPE = np.float32(84 / 52), np.float32(70 / 48)
"""Width by height of their pictures."""
_ENTITIES: Mapping[int, Mapping[str, Any]] = {
    PLAYER: {**_ANY_ENTITY, "rx": 0.375, "ry": 0.375, "render_z": 1, "smart_step": 1},
    LOCK: {**_ANY_ENTITY, "rx": 0.5, "ry": 0.5, "image_type": LOCK},
    KEY: {**_ANY_ENTITY, "rx": 0.375, "ry": np.float32(0.375) / _KEY_SHAPE, "image_type": KEY},
    GEM: {**_ANY_ENTITY, "rx": 0.375, "ry": np.float32(0.375) / _GEM_SHAPE, "image_type": GEM},
    RING_KEY: {
        **_ANY_ENTITY,
        "rx": 0.03,
        "ry": np.float32(0.03) / _KEY_SHAPE,
        "image_type": KEY,
        "render_z": 1,
        "rotation": np.pi / 2,
        "use_abs_coords": 1,
    },
}
"""What the fields of each type of entity hold that are neither 0 nor free."""

_FREE_ENTITY: Mapping[int, Mapping[str, tuple[float, float]]] = {
    PLAYER: {"vx": (-1, 1), "vy": (-1, 1), "rotation": (-4, 4)},
    LOCK: {"image_theme": (0, len(COLOURS) - 1)},
    KEY: {"image_theme": (0, len(COLOURS) - 1)},
    GEM: {},
    RING_KEY: {"image_theme": (0, len(COLOURS) - 1)},
}
"""The fields that differ between entities of a type, besides x, y and life_time."""


_RECORD = {
    block: filled(dtype, _SETTLED[block])
    for block, dtype in {"options": OPTIONS, "episode": EPISODE, "misc": MISC, "view": VIEW}.items()
}
_ENTITY = {kind: filled(ENTITY, {**values, "type": kind}) for kind, values in _ENTITIES.items()}


def record(block: str, **free: float) -> NDArray[Any]:
    """A block of a settled state (options, episode, misc or view) with these free fields."""
    row = _RECORD[block].copy()
    for name, value in free.items():
        row[name] = value
    return row


def entity(kind: int, x: float, y: float, *, theme: int = 0) -> NDArray[Any]:
    """An entity of a type as a level begins with it, ENTITY, ()."""
    row = _ENTITY[kind].copy()
    row["x"], row["y"], row["image_theme"] = x, y, theme
    return row


def ring_place(theme: int) -> tuple[float, float]:
    """Where the picture of a held key is, as x and y in shares of the frame."""
    radius = float(_ENTITY[RING_KEY]["rx"])
    return 1 - radius * (2 * theme + 1.25), radius * 0.75


def settle(game: Game) -> SafeState:
    """The state of a game of procgen's as bytes that depend on nothing but how it will go on.

    What the next step or frame sets anew is 0, the game has no time limit, and its own next level is always the same.
    """
    blocks: dict[str, Any] = {block: record(block, **_free_values(getattr(game, block), block)) for block in _SETTLED}
    return SafeState(write(dataclasses.replace(game, level_rng=Rng(1, b""), asset_rng=Rng(0, b""), **blocks)))


def quickly_written(game: Game) -> SafeState:
    """The same state of a game of procgen's, but that its generators which decide nothing write short texts.

    One draws the seed of the game's own next level, from a range of one seed; the other draws no texture. Texts are
    most of the time that it takes to read a state.
    """
    zeros = b" ".join([b"0"] * MT_WORDS + [b"%d" % MT_WORDS])
    return SafeState(write(dataclasses.replace(game, level_rng=Rng(1, zeros), asset_rng=Rng(0, zeros))))


def with_next_seed(data: bytes, seed: int) -> SafeState:
    """The same bytes of procgen's, but that the game's own next level has this seed, in [0, 2**31 - 1)."""
    return SafeState(data[:SEEDS_AT] + struct.pack("<2i", seed, seed + 1) + data[SEEDS_AT + 8 :])


def in_full_view(game: Game) -> SafeState:
    """The same state of a game of procgen's, but that the whole world is drawn."""
    options = game.options.copy()
    options["center_agent"] = 0
    return SafeState(write(dataclasses.replace(game, options=options)))


def with_gem_out_of_reach(game: Game) -> SafeState:
    """The same state of a game of procgen's, but that the gem can't be taken."""
    entities = game.entities.copy()
    entities["collision_margin"][entities["type"] == GEM] = -2 * LARGEST_WORLD
    return SafeState(write(dataclasses.replace(game, entities=entities)))


def checked(data: bytes) -> SafeState:
    """These bytes, if they are a settled state that procgen takes without harm; else StateError says what is wrong.

    Every number is looked at: it is the only one that Heist has there, or lies within the bounds of those that differ.
    """
    game = read(data)
    for block in _SETTLED:
        found = getattr(game, block)
        for name, (low, high) in _FREE[block].items():
            _in_range(f"{block} {name}", found[name], low, high)
        if record(block, **_free_values(found, block)).tobytes() != found.tobytes():
            raise StateError(f"procgen state: a field of its {block} has a value that Heist does not have there")
    height, width = game.grid.shape
    sizes = {height, width, game.world_dim, int(game.view["main_width"]), int(game.view["main_height"])}
    if len(sizes) > 1 or int(game.episode["grid_size"]) != height * width:
        raise StateError("procgen state: its sizes contradict each other")
    if not np.isin(game.grid, (WALL, SPACE)).all():
        raise StateError("procgen state: a cell is neither wall nor space")
    if game.num_keys != len(game.has_keys) or not set(game.has_keys) <= {0, 1}:
        raise StateError("procgen state: its keys contradict each other")
    if game.level_rng != Rng(1, b"") or game.asset_rng != Rng(0, b""):
        raise StateError("procgen state: it is not settled")
    _check_entities(game)
    if game.rng.seeded != 1 or not _is_mt19937(game.rng.text):
        raise StateError("procgen state: its random generator is not one")
    return SafeState(data)


def _check_entities(game: Game) -> None:
    kinds = game.entities["type"].tolist()
    if not kinds or kinds[0] != PLAYER or PLAYER in kinds[1:] or not set(kinds) <= set(_ENTITIES):
        raise StateError("procgen state: its entities are not Heist's")
    for kind in (LOCK, KEY, RING_KEY):
        themes = game.themes(kind)
        if len(set(themes)) != len(themes) or any(not 0 <= theme < game.num_keys for theme in themes):
            raise StateError("procgen state: a lock or key is there twice, or belongs to no lock of the level")
    if kinds.count(GEM) != 1:
        raise StateError("procgen state: it needs one gem")
    for kind in set(kinds):
        found = game.entities[game.entities["type"] == kind]
        expected = np.repeat(_ENTITY[kind], len(found))
        free = {"x": (0, game.world_dim), "y": (0, game.world_dim), "life_time": (0, NEVER), **_FREE_ENTITY[kind]}
        for name, (low, high) in free.items():
            for value in found[name].tolist():
                _in_range(f"entity {name}", value, low, high)
            expected[name] = found[name]
        if expected.tobytes() != found.tobytes():
            raise StateError("procgen state: an entity has a value that Heist does not have there")


def _is_mt19937(text: bytes) -> bool:
    if not re.fullmatch(rb"(?:\d{1,10} ){%d}\d{1,3}" % MT_WORDS, text):
        return False
    *words, index = map(int, text.split())
    return max(words) < 2**32 and index <= MT_WORDS


def _in_range(name: str, value: Any, low: float, high: float) -> None:
    if not low <= value <= high:
        raise StateError(f"procgen state: {name} is {value}, allowed are {low} to {high}")


def _free_values(found: NDArray[Any], block: str) -> dict[str, Any]:
    return {name: found[name] for name in _FREE[block]}
