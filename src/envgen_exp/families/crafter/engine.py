"""The native engine: Crafter in C++ behind the batch contract, bit for bit the reference engine's game.

Rules, textures and the arithmetic of light come from the crafter package and go into `_crafter` as tables, the numbers
of designed worlds come from `design`, and worlds' seeds from `seeding`: this file knows none of them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.errors import EngineError, StateError
from envgen_exp.families import buffers
from envgen_exp.families.crafter import _crafter, upstream
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import (
    CREATURE_DISTANCE,
    ORE_GATE,
    CrafterDesign,
    generated,
    starting_items,
    terrain,
)
from envgen_exp.families.crafter.observation import FRAME, GRID, OBJECTS, UNIT, VIEW, observation_spec
from envgen_exp.families.crafter.picture import draw_map
from envgen_exp.families.crafter.state import CHUNK_ROW, GAME, OBJECT, SLOT, SlotState, decode, encode
from envgen_exp.families.crafter.upstream import ACTIONS, AREA, CHUNK, ITEMS, MATERIALS, SKILLS, constants
from envgen_exp.families.design import Design
from envgen_exp.families.slots import Slot
from envgen_exp.families.vector import ArraySpec, EpisodeRecord, Observation
from envgen_exp.seeding import WorldSet

if (_crafter.area, _crafter.area) != AREA or (_crafter.chunk, _crafter.chunk) != CHUNK or _crafter.looks != [*OBJECTS]:
    raise ImportError("envgen_exp.families.crafter._crafter was built for another layout of the game; build it again")


def make_world(design: Design | None, seed: int) -> NDArray[np.uint8]:
    """The world that an episode with this world seed starts in, in the ids of a symbolic view, (2, 64, 64)."""
    if not 0 <= seed < 2**32:
        raise EngineError(f"world seed: {seed} is none, allowed are 0 to {2**32 - 1}")
    out = np.zeros((2, *AREA), np.uint8)
    _world_maker().make(seed, _terrain(design), out[None])
    return out


class NativeVector:
    """Many Crafter games stepped at once by several threads; see `families.vector.VectorEnv`.

    Beside the contract it has EnvPool's `send` and `recv`, whose order depends on timing. An instance is used by one
    thread at a time, in the process that made it. What fails in the middle of a call, in any of its threads, raises
    EngineFailure there (MemoryError where memory was missing); after that it can only be closed.

    Args:
        config: what is observed, how long episodes are, and how many threads step them (0: one for each core).
        designs: each slot's design; None is the original.
        seeds: each slot's seed.
        worlds: the set that worlds are drawn from; None plays crafter's own sequence of worlds.
    """

    def __init__(
        self,
        config: CrafterConfig,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet | None = None,
    ) -> None:
        buffers.check_slots(designs, seeds, CrafterDesign)
        self._config = config
        self._slots = [Slot(design, int(seed), worlds) for design, seed in zip(designs, seeds, strict=True)]
        self._names = tuple(self.observation_spec)
        self._native = _crafter.Vector(
            rules=_rules(),
            art=_art(),
            daylight=_daylight(max(config.designed_length, config.original_length)),
            symbolic=config.observation is Observe.symbolic,
            num_slots=len(designs),
            num_threads=config.num_threads or len(os.sched_getaffinity(0)),
        )
        for index, design in enumerate(designs):
            self._plan(index, design)

    @property
    def num_envs(self) -> int:
        return len(self._slots)

    @property
    def num_actions(self) -> int:
        return len(ACTIONS)

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]:
        return observation_spec(self._config.observation)

    @property
    def skills(self) -> tuple[str, ...]:
        return SKILLS

    def reset(self, obs: Observation) -> None:
        try:
            self._native.reset(self._arrays(obs))
        except _REFUSALS as error:
            buffers.check_observation("obs", obs, self.observation_spec, self.num_envs)
            raise EngineError(str(error)) from None
        for index in range(self.num_envs):
            self._begun(index)

    def step(
        self,
        actions: NDArray[np.int64],
        obs: Observation,
        rewards: NDArray[np.float32],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        *,
        active: NDArray[np.bool_] | None = None,
        final_obs: Observation | None = None,
    ) -> list[EpisodeRecord]:
        try:
            last = None if final_obs is None else self._arrays(final_obs)
            ended = self._native.step(actions, self._arrays(obs), rewards, terminations, truncations, active, last)
        except _REFUSALS as error:
            # The engine says that something is wrong; these checks, which cost time, say what.
            mask = buffers.check_active(active, self.num_envs)
            buffers.check_actions(actions, mask, self.num_actions)
            self._check_results(self.num_envs, obs, rewards, terminations, truncations)
            if final_obs is not None:
                buffers.check_observation("final_obs", final_obs, self.observation_spec, self.num_envs)
            raise EngineError(str(error)) from None
        return [self._ended(*episode) for episode in ended]

    def send(self, actions: NDArray[np.int64], slots: Sequence[int] | NDArray[np.int64] | None = None) -> None:
        """Step slots (None: all) in the background, each with the action of the same index.

        Until `recv` has returned a slot, nothing else can be done with it.
        """
        try:
            chosen = [
                buffers.check_slot(slot, self.num_envs) for slot in (range(self.num_envs) if slots is None else slots)
            ]
        except TypeError:
            raise EngineError(f"slots: needs the numbers of slots, got {type(slots).__name__}") from None
        shape = (len(chosen),)
        if not isinstance(actions, np.ndarray) or actions.shape != shape or actions.dtype != np.int64:
            raise EngineError(f"actions: needs a numpy array of shape {shape} and dtype int64, one for each slot")
        self._native.send(list(zip(chosen, actions.tolist(), strict=True)))

    def recv(
        self,
        obs: Observation,
        rewards: NDArray[np.float32],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], list[EpisodeRecord]]:
        """Wait for as many sent slots as `rewards` has rows, the first that are ready, and write one row for each.

        Returns the slots of the rows and the episodes that ended; ended slots have begun their next episode.
        """
        count = len(rewards) if isinstance(rewards, np.ndarray) and rewards.ndim else 0
        try:
            slots, ended = self._native.receive(count, self._arrays(obs), rewards, terminations, truncations)
        except _REFUSALS as error:
            self._check_results(count, obs, rewards, terminations, truncations)
            raise EngineError(str(error)) from None
        return np.array(slots, np.int64), [self._ended(*episode) for episode in ended]

    def set_design(self, slot: int, design: Design | None, *, world: int | None = None) -> None:
        index = buffers.check_slot(slot, self.num_envs)
        self._plan(
            index, buffers.check_design(design, CrafterDesign), buffers.check_world(world, self._slots[index].worlds)
        )

    def get_state(self, slot: int) -> bytes:
        index = buffers.check_slot(slot, self.num_envs)
        this = self._slots[index]
        self._native.check(index)
        record = np.zeros((), SLOT)
        for name, value in (
            *this.row(),
            ("designed_length", self._config.designed_length),
            ("original_length", self._config.original_length),
            ("episode_return", self._native.episode_return(index) if this.episode else 0.0),
        ):
            record[name] = value
        game = _take_apart(self._native.get_state(index) if this.episode else b"")
        return encode(SlotState(record, this.design, this.next_design, *game))

    def set_state(self, slot: int, state: bytes) -> None:
        index = buffers.check_slot(slot, self.num_envs)
        self._native.check(index)
        found = decode(state)
        ours = self._config.designed_length, self._config.original_length
        theirs = int(found.slot["designed_length"]), int(found.slot["original_length"])
        if theirs != ours:
            raise StateError(
                f"state: its episodes last {theirs[0]} steps in designed worlds and {theirs[1]} in the original, "
                f"those of these environments {ours[0]} and {ours[1]}"
            )
        this = self._slots[index]
        if found.game is None:
            self._native.forget(index)
        else:
            length, episode_return = self._length(found.design), float(found.slot["episode_return"])
            self._native.set_state(index, _put_together(found), length, episode_return)
        this.restore(found.slot, (found.design, found.next_design))
        self._plan(index, this.next_design, this.next_world)

    def close(self) -> None:
        self._native.close()

    def inventory(self) -> NDArray[np.uint8]:
        """Each slot's items in the order of `upstream.ITEMS`, (num_envs, 16)."""
        return self._numbers()[0]

    def achievements(self) -> NDArray[np.int32]:
        """How often each slot's running episode has shown each skill, (num_envs, 22)."""
        return self._numbers()[1]

    def positions(self) -> NDArray[np.int32]:
        """Each slot's player as x and y, (num_envs, 2)."""
        return self._numbers()[2]

    def daylight(self) -> NDArray[np.float64]:
        """Each slot's daylight, (num_envs,)."""
        return self._numbers()[3]

    def semantic(self) -> NDArray[np.uint8]:
        """Each slot's world as the package's `info['semantic']`, (num_envs, 64, 64), x before y."""
        out = np.empty((self.num_envs, *AREA), np.uint8)
        self._native.semantic(out)
        return out

    def maps(self) -> NDArray[np.uint8]:
        """Each slot's world in the ids of a symbolic view, (num_envs, 2, 64, 64): materials and objects, x before y."""
        out = np.empty((self.num_envs, 2, *AREA), np.uint8)
        self._native.maps(out)
        return out

    def picture(self, slot: int, unit: int = 8) -> NDArray[np.uint8]:
        """A slot's whole world, drawn off-screen without light or noise: (64 * unit, 64 * unit, 3) uint8."""
        index = buffers.check_slot(slot, self.num_envs)
        if not isinstance(unit, int):
            raise EngineError(f"unit: needs a whole number of pixels, got {unit!r}")
        return draw_map(self.maps()[index], unit)

    def frame(self, slot: int, size: tuple[int, int] = FRAME) -> NDArray[np.uint8]:
        """What the package would render of a slot now, at any size: (rows, columns, 3) uint8.

        It is drawn from a copy of the game, whose random stream stays as it is: a night's noise is not that of the
        observation.
        """
        if not isinstance(size, tuple) or [type(pixels) for pixels in size] != [int, int]:
            raise EngineError(f"size: needs a tuple of rows and columns, got {size!r:.80}")
        if not GRID[1] <= min(size) <= max(size) <= _LARGEST:
            raise EngineError(f"size: {size} pixels, allowed are {GRID[1]} to {_LARGEST} rows and columns")
        found = decode(self.get_state(slot))
        if found.game is None:
            raise EngineError(f"slot {slot} has no game yet, call reset first")
        # Only now: with its worlds comes numba, which takes long to import and is not needed to play.
        from envgen_exp.families.crafter.reference import OrderedEnv

        copy = OrderedEnv(Observe.pixels)
        copy.load(found, self._length(found.design))
        drawn: NDArray[np.uint8] = copy.render((size[1], size[0]))
        return drawn

    def _arrays(self, obs: Observation) -> tuple[NDArray[Any], ...]:
        if len(obs) != len(self._names):
            raise BufferError("obs: another number of arrays")
        return tuple([obs[name] for name in self._names])

    def _check_results(
        self, count: int, obs: object, rewards: object, terminations: object, truncations: object
    ) -> None:
        buffers.check_observation("obs", obs, self.observation_spec, count)
        buffers.check_array("rewards", rewards, (count,), np.float32)
        buffers.check_array("terminations", terminations, (count,), np.bool_)
        buffers.check_array("truncations", truncations, (count,), np.bool_)

    def _numbers(self) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        count = self.num_envs
        out = (
            np.empty((count, len(ITEMS)), np.uint8),
            np.empty((count, len(SKILLS)), np.int32),
            np.empty((count, 2), np.int32),
            np.empty(count, np.float64),
        )
        self._native.numbers(*out)
        return out

    def _length(self, design: Design | None) -> int:
        return self._config.original_length if design is None else self._config.designed_length

    def _plan(self, index: int, design: Design | None, world: int | None = None) -> None:
        """Tell the engine what the slot plays next; it makes the world when it has time."""
        slot = self._slots[index]
        made = generated(design, self._config)
        self._native.plan(index, slot.coming_world(world), _terrain(made), _items(made), self._length(design))
        slot.next_design, slot.next_world = design, world

    def _begun(self, index: int) -> None:
        """A slot's planned episode has begun."""
        slot = self._slots[index]
        slot.begin()
        self._plan(index, slot.next_design)

    def _ended(
        self, index: int, length: int, episode_return: float, truncated: bool, skills: tuple[int, ...]
    ) -> EpisodeRecord:
        """A slot's episode has ended, and its next has begun."""
        record = self._slots[index].record(index, length, episode_return, truncated, skills)
        self._begun(index)
        return record


_LARGEST = 4096
"""Most rows or columns of a frame."""

_REFUSALS = (BufferError, TypeError, LookupError, AttributeError, EngineError)
"""What the native module and a mapping that is none raise."""


def _take_apart(game: bytes) -> tuple[NDArray[Any] | None, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The engine's bytes as GAME, OBJECTs, CHUNK_ROWs and members (see `state`); no bytes are no game."""
    lists: list[NDArray[Any]] = []
    offset = GAME.itemsize
    for dtype in (OBJECT, CHUNK_ROW, np.dtype("<u4")):
        count = int.from_bytes(game[offset : offset + 4], "little")
        lists.append(np.frombuffer(game, dtype, count, offset + 4) if game else np.zeros(0, dtype))
        offset += 4 + count * dtype.itemsize
    return (np.frombuffer(game, GAME, 1)[0] if game else None), lists[0], lists[1], lists[2]


def _put_together(state: SlotState) -> bytes:
    """The opposite of `_take_apart`, for a state with a game."""
    assert state.game is not None
    lists = (state.objects, state.chunks, state.members)
    return state.game.tobytes() + b"".join(len(part).to_bytes(4, "little") + part.tobytes() for part in lists)


@functools.lru_cache(maxsize=256)
def _terrain(design: Design | None) -> _crafter.Terrain:
    """The generator's numbers; the original's are a design's defaults, for the stock generator."""
    numbers = terrain(CrafterDesign() if design is None else design)
    biome = numbers.biome
    return _crafter.Terrain(
        designed=design is not None,
        mountain_absolute=biome.mountain_absolute,
        mountain_scale=biome.mountain_scale,
        water_scale=biome.water_scale,
        start_threshold=biome.start_threshold,
        start_material=MATERIALS.index(biome.start_material) + 1,
        coal=numbers.coal,
        iron=numbers.iron,
        diamond=numbers.diamond,
        tree=numbers.tree,
        ore_gate=ORE_GATE,
        skeleton_distance=-1.0 if design is None else CREATURE_DISTANCE,
    )


@functools.lru_cache(maxsize=256)
def _items(design: Design | None) -> list[int]:
    """How many of each item a player starts with, where it is more than the rules give."""
    items = {} if design is None else starting_items(design)
    return [items.get(name, 0) for name in ITEMS]


@functools.cache
def _rules() -> _crafter.Rules:
    return _crafter.Rules(
        actions=ACTIONS,
        materials=MATERIALS,
        walkable=constants.walkable,
        items=[(name, item["max"], item["initial"]) for name, item in constants.items.items()],
        collect={
            name: (rule["require"], rule["receive"], rule.get("probability", 1), rule["leaves"])
            for name, rule in constants.collect.items()
        },
        place={name: (rule["uses"], rule["where"], rule["type"]) for name, rule in constants.place.items()},
        make={name: (rule["uses"], rule["nearby"], rule["gives"]) for name, rule in constants.make.items()},
        skills=SKILLS,
    )


@functools.cache
def _world_maker() -> _crafter.WorldMaker:
    return _crafter.WorldMaker(_rules())


@functools.cache
def _package() -> Any:
    """The package's environment, for its views, its textures and its clock."""
    return upstream.env.Env(area=AREA, seed=0)


@functools.lru_cache(maxsize=8)
def _daylight(steps: int) -> NDArray[np.float64]:
    """Daylight from step 0 to step `steps`, (steps + 1,), by the package's own clock."""
    env = _package()
    values = np.empty(steps + 1)
    for env._step in range(steps + 1):
        env._update_time()
        values[env._step] = env._world.daylight
    return values


@functools.cache
def _art() -> _crafter.Art:
    """Every picture of a cell, drawn by the package."""
    env, unit = _package(), np.array(UNIT)
    draw, textures, view = upstream.engine, env._textures, env._local_view
    rows = []
    for material in (None, *MATERIALS):
        for thing in (None, *OBJECTS):
            tile = np.full((*UNIT, 3), 127, np.uint8)
            if material:
                draw._draw(tile, (0, 0), textures.get(material, unit))
            if thing:
                draw._draw_alpha(tile, (0, 0), textures.get(thing, unit))
            rows.append(tile)
    tiles = np.concatenate(rows)
    # At half of the daylight no noise is drawn, and a tile is the mean of day and night.
    nights = 4 * view._light(tiles, 0.5) - 2.0 * tiles
    counts = []
    for count in range(10):
        canvas = env._item_view(dict.fromkeys(ITEMS, count), unit)
        places = [(index % GRID[0] * UNIT[0], index // GRID[0] * UNIT[1]) for index in range(len(ITEMS))]
        counts.append([canvas[x : x + UNIT[0], y : y + UNIT[1]] for x, y in places])
    return _crafter.Art(
        rules=_rules(),
        tiles=_flat(tiles.reshape(-1, *UNIT, 3)),
        nights=_flat(nights.reshape(-1, *UNIT, 3).astype(np.uint16)),
        items=_flat(np.array(counts).swapaxes(0, 1).reshape(-1, *UNIT, 3)),
        vignette=view._vignette((VIEW[0] * UNIT[0], VIEW[1] * UNIT[1], 3), 0.5).ravel(),
    )


def _flat(pictures: NDArray[Any]) -> NDArray[Any]:
    """Pictures with x before y as one array in the order of a frame, rows first."""
    return np.ascontiguousarray(pictures.swapaxes(1, 2)).ravel()
