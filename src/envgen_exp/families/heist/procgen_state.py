"""The bytes of procgen's `get_state` for Heist, read into their parts and written back byte for byte.

The layout is little-endian without padding; a string is its length and its bytes. In order: version and name; OPTIONS;
two random generators, each a flag and the text that C++ writes for a mt19937; EPISODE; the entities; MISC; a third
generator; VIEW; the grid from the bottom row up; the number of keys, the world's size and which keys are held; an end
mark.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import StateError
from envgen_exp.families.sealed import Reader

LONGEST = 1 << 16
"""Bytes that no state exceeds; stock Heist's have 24,000 at most."""

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
SEEDS_AT = len(_HEAD) + (OPTIONS.names or ()).index("level_seed_low") * _INT.size
"""Where `level_seed_low` and `level_seed_high` stand, the seeds from which the next level's is drawn."""


def read(data: bytes) -> Game:
    """The parts of these bytes; StateError if they are not whole, or not a Heist state of this version."""
    cursor = _Cursor(data)
    cursor.expect(_HEAD, "does not begin like a Heist state")
    options = cursor.row(OPTIONS)
    level_rng, rng = cursor.rng(), cursor.rng()
    episode = cursor.row(EPISODE)
    entities = cursor.rows(ENTITY, cursor.count(LONGEST // ENTITY.itemsize))
    misc = cursor.row(MISC)
    asset_rng = cursor.rng()
    view = cursor.row(VIEW)
    width, height = cursor.count(LARGEST_WORLD), cursor.count(LARGEST_WORLD)
    cursor.expect(_INT.pack(width * height), "has a grid that is not as long as it is wide and high")
    grid = cursor.rows(np.dtype("<i4"), width * height).reshape(height, width)
    num_keys, world_dim = cursor.number(), cursor.number()
    has_keys = tuple(cursor.number() for _ in range(cursor.count(len(COLOURS))))
    cursor.expect(_END, "does not end like a Heist state")
    cursor.end()
    return Game(options, level_rng, rng, episode, entities, misc, asset_rng, view, grid, num_keys, world_dim, has_keys)


def read_left(data: bytes) -> tuple[frozenset[int], frozenset[int]]:
    """The themes of the keys and of the locks that are there: what `read` finds, but no more than that."""
    cursor = _Cursor(data)
    cursor.skip(len(_HEAD) + OPTIONS.itemsize)
    cursor.rng()
    cursor.rng()
    cursor.skip(EPISODE.itemsize)
    things = cursor.rows(ENTITY, cursor.number())
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


def _rng_bytes(rng: Rng) -> bytes:
    return _INT.pack(rng.seeded) + _INT.pack(len(rng.text)) + rng.text


class _Cursor(Reader):
    """Reads one part of procgen's bytes after the other."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data, "procgen state")

    def expect(self, wanted: bytes, wrong: str) -> None:
        if self.take(len(wanted)) != wanted:
            raise StateError(f"procgen state: it {wrong}")

    def number(self) -> int:
        return int(_INT.unpack_from(self.take(_INT.size))[0])

    def count(self, most: int) -> int:
        found = self.number()
        if not 0 <= found <= most:
            raise StateError(f"procgen state: a length of {found}, allowed are 0 to {most}")
        return found

    def rng(self) -> Rng:
        return Rng(self.number(), self.take(self.count(LONGEST)))
