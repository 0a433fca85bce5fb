"""The bytes of procgen's `get_state` for Heist: read, written back byte for byte, and checked before they are put in.

procgen believes what it is given: a wrong index in these bytes ends the process. So games take nothing but a
`SafeBlob`, which only `settle` and `checked` make.

The layout is little-endian without padding; a string is its length and its bytes. In order: version and name; OPTIONS;
two random generators, each a flag and the text that C++ writes for a mt19937; EPISODE; the entities; MISC; a third
generator; VIEW; the grid from the bottom row up; the number of keys, the world's size and which keys are held; an end
mark.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import StateError

SafeBlob = NewType("SafeBlob", bytes)
"""A settled state that procgen takes without harm."""

LONGEST = 1 << 16
"""Bytes that no state exceeds; stock Heist's have 24,000 at most."""

NEVER = 1 << 30
"""The time limit inside the game: when an episode has lasted too long is decided outside."""

IDLE_SEED = 4
"""The level that a game makes by itself when one has ended: a small one, replaced before anybody sees it."""

WALL, SPACE = 51, 100
"""What a cell of the grid holds."""

PLAYER, LOCK, KEY, GEM, RING_KEY = 0, 1, 2, 9, 11
"""Types of entities; a ring key is the picture of a held key in the corner of the frame."""

COLOURS = ("blue", "green", "red")
"""Themes of keys and locks: a level's first lock is blue, its second green, its third red."""

SMALLEST_WORLD, LARGEST_WORLD = 3, 25
"""Cells that a world may be wide."""

NUM_BACKGROUNDS = 9
"""Pictures of which one lies behind the maze."""

MT_WORDS = 624
"""Words of a mt19937; its text has them and the index of the next one."""


def _dtype(*parts: tuple[str, str]) -> np.dtype[Any]:
    return np.dtype([(name, kind) for kind, names in parts for name in names.split()])


OPTIONS = _dtype(
    ("<i4", "paint_vel_info use_generated_assets use_monochrome_assets restrict_themes use_backgrounds center_agent"),
    ("<i4", "debug_mode distribution_mode use_sequential_levels use_easy_jump plain_assets physics_mode"),
    ("<i4", "grid_step level_seed_low level_seed_high game_type game_n"),
)
"""How the game is played, and from which seeds its own next level comes."""

EPISODE = _dtype(
    ("<f4", "reward"),
    ("<i4", "done level_complete action timeout current_level_seed prev_level_seed episodes_remaining episode_done"),
    ("<i4", "last_reward_timer"),
    ("<f4", "last_reward"),
    ("<i4", "default_action fixed_asset_seed cur_time is_waiting_for_step grid_size"),
)
"""The running episode."""

ENTITY = _dtype(
    ("<f4", "x y vx vy rx ry"),
    ("<i4", "type image_type image_theme render_z will_erase collides_with_entities"),
    ("<f4", "collision_margin rotation vrot"),
    ("<i4", "is_reflected fire_time spawn_time life_time expire_time use_abs_coords"),
    ("<f4", "friction"),
    ("<i4", "smart_step avoids_collisions auto_erase"),
    ("<f4", "alpha health theta grow_rate alpha_decay climber_spawn_x"),
)
"""A thing in the world: position, speed and half its size in cells, x to the right and y up."""

MISC = _dtype(
    ("<i4", "use_procgen_background background_index"),
    ("<f4", "bg_tile_ratio bg_pct_x char_dim"),
    ("<i4", "last_move_action move_action special_action"),
    ("<f4", "mixrate maxspeed max_jump action_vx action_vy action_vrot center_x center_y"),
    ("<i4", "random_agent_start has_useful_vel_info step_rand_int"),
)
"""Background and movement."""

VIEW = _dtype(
    ("<i4", "main_width main_height out_of_bounds_object"),
    ("<f4", "unit view_dim x_off y_off visibility min_visibility"),
)
"""The world's size, and what is seen of it."""


@dataclass(frozen=True)
class Rng:
    """A random generator of the game."""

    seeded: int
    text: bytes
    """MT_WORDS words and an index, in decimal. Empty, it leaves the generator of the game that reads it as it is."""


@dataclass(frozen=True)
class Game:
    """A game's state in the parts of its bytes."""

    options: NDArray[Any]
    """OPTIONS, ()."""
    level_rng: Rng
    """Draws the seeds of levels."""
    rng: Rng
    """Drew the level, and breaks ties in its steps."""
    episode: NDArray[Any]
    """EPISODE, ()."""
    entities: NDArray[Any]
    """ENTITY, (num_entities,); the player is the first."""
    misc: NDArray[Any]
    """MISC, ()."""
    asset_rng: Rng
    """Draws textures where the game has none; Heist has all."""
    view: NDArray[Any]
    """VIEW, ()."""
    grid: NDArray[np.int32]
    """WALL or SPACE, (height, width), the bottom row first."""
    num_keys: int
    world_dim: int
    has_keys: tuple[int, ...]
    """Whether each key is held, by theme."""

    def themes(self, kind: int) -> tuple[int, ...]:
        """The themes of the entities of a type, in their order."""
        entities = self.entities
        return tuple(entities["image_theme"][entities["type"] == kind].tolist())


_INT = struct.Struct("<i")
_NAME = b"heist"
_HEAD = _INT.pack(0) + _INT.pack(len(_NAME)) + _NAME
"""Version and name."""
_END = struct.pack("<I", 0xCAFECAFE)
_SEEDS_AT = len(_HEAD) + (OPTIONS.names or ()).index("level_seed_low") * _INT.size
"""Where `level_seed_low` and `level_seed_high` stand, the seeds from which the next level's is drawn."""

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


def _filled(dtype: np.dtype[Any], values: Mapping[str, Any]) -> NDArray[Any]:
    row = np.zeros((), dtype)
    for name, value in values.items():
        row[name] = value
    return row


_RECORD = {
    block: _filled(dtype, _SETTLED[block])
    for block, dtype in {"options": OPTIONS, "episode": EPISODE, "misc": MISC, "view": VIEW}.items()
}
_ENTITY = {kind: _filled(ENTITY, {**values, "type": kind}) for kind, values in _ENTITIES.items()}


def read(data: bytes) -> Game:
    """The parts of these bytes; StateError if they are not whole, or not a Heist state of this version."""
    cursor = _Cursor(data)
    cursor.expect(_HEAD, "does not begin like a Heist state")
    options = cursor.record(OPTIONS)
    level_rng, rng = cursor.rng(), cursor.rng()
    episode = cursor.record(EPISODE)
    entities = cursor.array(ENTITY, cursor.count(LONGEST // ENTITY.itemsize))
    misc = cursor.record(MISC)
    asset_rng = cursor.rng()
    view = cursor.record(VIEW)
    width, height = cursor.count(LARGEST_WORLD), cursor.count(LARGEST_WORLD)
    cursor.expect(_INT.pack(width * height), "has a grid that is not as long as it is wide and high")
    grid = cursor.array(np.dtype("<i4"), width * height).reshape(height, width)
    num_keys, world_dim = cursor.number(), cursor.number()
    has_keys = tuple(cursor.number() for _ in range(cursor.count(len(COLOURS))))
    cursor.expect(_END, "does not end like a Heist state")
    if cursor.left:
        raise StateError(f"procgen state: {cursor.left} bytes too many")
    return Game(options, level_rng, rng, episode, entities, misc, asset_rng, view, grid, num_keys, world_dim, has_keys)


def read_left(data: bytes) -> tuple[frozenset[int], frozenset[int]]:
    """The themes of the keys and of the locks that are there: what `read` finds, but no more than that."""
    cursor = _Cursor(data)
    cursor.take(len(_HEAD) + OPTIONS.itemsize)
    cursor.rng()
    cursor.rng()
    cursor.take(EPISODE.itemsize)
    things = cursor.array(ENTITY, cursor.number())
    kinds, themes = things["type"].tolist(), things["image_theme"].tolist()
    found: dict[int, set[int]] = {KEY: set(), LOCK: set()}
    for kind, theme in zip(kinds, themes, strict=True):
        if kind in found:
            found[kind].add(theme)
    return frozenset(found[KEY]), frozenset(found[LOCK])


def write(game: Game) -> bytes:
    """The bytes of a state; the inverse of `read`."""
    height, width = game.grid.shape
    numbers = (width, height, width * height)
    keys = (game.num_keys, game.world_dim, len(game.has_keys), *game.has_keys)
    return b"".join(
        (
            _HEAD,
            game.options.tobytes(),
            _rng_bytes(game.level_rng),
            _rng_bytes(game.rng),
            game.episode.tobytes(),
            _INT.pack(len(game.entities)),
            game.entities.tobytes(),
            game.misc.tobytes(),
            _rng_bytes(game.asset_rng),
            game.view.tobytes(),
            struct.pack("<3i", *numbers),
            game.grid.tobytes(),
            struct.pack(f"<{len(keys)}i", *keys),
            _END,
        )
    )


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


def settle(game: Game) -> SafeBlob:
    """The state of a game of procgen's as bytes that depend on nothing but how it will go on.

    What the next step or frame sets anew is 0, the game has no time limit, and its own next level is always the same.
    """
    blocks: dict[str, Any] = {block: record(block, **_free_values(getattr(game, block), block)) for block in _SETTLED}
    return SafeBlob(write(dataclasses.replace(game, level_rng=Rng(1, b""), asset_rng=Rng(0, b""), **blocks)))


def quickly_written(game: Game) -> SafeBlob:
    """The same state of a game of procgen's, but that its generators which decide nothing write short texts.

    One draws the seed of the game's own next level, from a range of one seed; the other draws no texture. Texts are
    most of the time that it takes to read a state.
    """
    zeros = b" ".join([b"0"] * MT_WORDS + [b"%d" % MT_WORDS])
    return SafeBlob(write(dataclasses.replace(game, level_rng=Rng(1, zeros), asset_rng=Rng(0, zeros))))


def with_next_seed(data: bytes, seed: int) -> SafeBlob:
    """The same bytes of procgen's, but that the game's own next level has this seed, in [0, 2**31 - 1)."""
    return SafeBlob(data[:_SEEDS_AT] + struct.pack("<2i", seed, seed + 1) + data[_SEEDS_AT + 8 :])


def in_full_view(game: Game) -> SafeBlob:
    """The same state of a game of procgen's, but that the whole world is drawn."""
    options = game.options.copy()
    options["center_agent"] = 0
    return SafeBlob(write(dataclasses.replace(game, options=options)))


def with_gem_out_of_reach(game: Game) -> SafeBlob:
    """The same state of a game of procgen's, but that the gem can't be taken."""
    entities = game.entities.copy()
    entities["collision_margin"][entities["type"] == GEM] = -2 * LARGEST_WORLD
    return SafeBlob(write(dataclasses.replace(game, entities=entities)))


def checked(data: bytes) -> SafeBlob:
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
    return SafeBlob(data)


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


def _rng_bytes(rng: Rng) -> bytes:
    return _INT.pack(rng.seeded) + _INT.pack(len(rng.text)) + rng.text


class _Cursor:
    """Reads one part of the bytes after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._offset

    def take(self, size: int) -> int:
        """The offset of the next `size` bytes, which are read with that."""
        if size > self.left:
            raise StateError("procgen state: it ends too early")
        self._offset += size
        return self._offset - size

    def expect(self, wanted: bytes, wrong: str) -> None:
        start = self.take(len(wanted))
        if self._data[start : self._offset] != wanted:
            raise StateError(f"procgen state: it {wrong}")

    def number(self) -> int:
        return int(_INT.unpack_from(self._data, self.take(_INT.size))[0])

    def count(self, most: int) -> int:
        found = self.number()
        if not 0 <= found <= most:
            raise StateError(f"procgen state: a length of {found}, allowed are 0 to {most}")
        return found

    def rng(self) -> Rng:
        seeded, length = self.number(), self.count(LONGEST)
        start = self.take(length)
        return Rng(seeded, self._data[start : self._offset])

    def record(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        return self.array(dtype, 1).reshape(())

    def array(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        return np.frombuffer(self._data, dtype, count, self.take(count * dtype.itemsize))
