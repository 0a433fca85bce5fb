"""The reference engine: the crafter package itself, made deterministic, behind the batch contract."""

from __future__ import annotations

import collections
import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.errors import EngineError, StateError
from envgen_exp.families import buffers
from envgen_exp.families.crafter import upstream, worldgen
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import CrafterDesign, generated, starting_items, terrain
from envgen_exp.families.crafter.observation import FRAME, GRID, NIGHT_BELOW, OBJECTS, UNIT, VIEW, observation_spec
from envgen_exp.families.crafter.picture import draw_map
from envgen_exp.families.crafter.state import CHUNK_ROW, GAME, KINDS, OBJECT, SLOT, SlotState, decode, encode
from envgen_exp.families.crafter.upstream import ACTIONS, AREA, CHUNK, ITEMS, SKILLS
from envgen_exp.families.design import Design
from envgen_exp.families.slots import Slot
from envgen_exp.families.vector import ArraySpec, EpisodeRecord, Observation
from envgen_exp.seeding import WorldSet

OBJECT_IDS: Mapping[str, int] = {texture: index + 1 for index, texture in enumerate(OBJECTS)}
"""The id of each texture in a symbolic view."""

_TIMERS: Mapping[str, str] = {"Zombie": "cooldown", "Skeleton": "reload", "Plant": "grown"}
"""The counter of each class that has one."""


class _OrderedSet(dict[Any, None]):
    """The two methods of a set that the package uses, iterated in the order of adding."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


class OrderedWorld(upstream.engine.World):  # type: ignore[misc]
    """A world whose chunks keep their creatures in the order in which they came.

    The package keeps them in sets, which are ordered by memory addresses, and draws a creature to despawn by its
    place in that order: the same seed and actions then give another game in every process.
    """

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._chunks: dict[tuple[int, ...], _OrderedSet] = collections.defaultdict(_OrderedSet)

    def populate(self, seed: int, design: Design | None) -> Any:
        """Make a new world of the design around a new player, who is returned."""
        self.reset(seed=seed)
        player = upstream.objects.Player(self, (AREA[0] // 2, AREA[1] // 2))
        self.add(player)
        if design is None:
            upstream.worldgen.generate_world(self, player)
        else:
            worldgen.generate_world(self, player, terrain(design))
            player.inventory.update(starting_items(design))
        return player

    def map(self) -> NDArray[np.uint8]:
        """The whole world in the ids of a symbolic view, (2, 64, 64): materials and objects, x before y."""
        objects = np.zeros(AREA, np.uint8)
        for thing in self.objects:
            objects[tuple(thing.pos)] = OBJECT_IDS[thing.texture]
        return np.stack([self._mat_map, objects])


def make_world(design: Design | None, seed: int) -> NDArray[np.uint8]:
    """The world that an episode with this world seed starts in, in the ids of a symbolic view, (2, 64, 64)."""
    world = _make_ordered_world()
    world.populate(seed, design)
    return world.map()


def _make_ordered_world() -> OrderedWorld:
    return OrderedWorld(AREA, upstream.constants.materials, CHUNK)


@functools.cache
def _package_env() -> Any:
    return upstream.env.Env(area=AREA, seed=0)


class OrderedEnv(upstream.env.Env):  # type: ignore[misc]
    """crafter.Env with an ordered world, told which world to play; `observe` is what its steps return."""

    def __init__(self, observe: Observe) -> None:
        # Copies of one environment's parts share its textures, which take 50 ms to read.
        self.__dict__.update({name: copy.copy(part) for name, part in vars(_package_env()).items()})
        world = _make_ordered_world()
        for part in (self, self._local_view, self._sem_view):
            part._world = world
        self._observe = observe

    def start(self, seed: int, design: Design | None, length: int) -> dict[str, NDArray[Any]]:
        """`crafter.Env.reset` with the world's seed, the design and the episode's length given; the observation."""
        self._length = length
        self._step = 0
        self._player = self._world.populate(seed, design)
        self._update_time()
        self._last_health = self._player.health
        self._unlocked: set[str] = set()
        return self._obs()

    def _obs(self) -> dict[str, NDArray[Any]]:
        if self._observe is Observe.pixels:
            return {"pixels": self.render()}
        world, player = self._world, self._player
        if world.daylight < NIGHT_BELOW:  # the draws of a frame's noise
            world.random.uniform(size=(VIEW[0] * UNIT[0], VIEW[1] * UNIT[1]))
        return {
            "view": self._symbolic_view(),
            "inventory": np.array(list(player.inventory.values()), np.uint8),
            "daylight": np.array([world.daylight], np.float32),
        }

    def _symbolic_view(self) -> NDArray[np.uint8]:
        margin = VIEW[0] // 2, VIEW[1] // 2
        padded = np.pad(self._world.map(), ((0, 0), (margin[0], margin[0]), (margin[1], margin[1])))
        x, y = self._player.pos
        return padded[:, x : x + VIEW[0], y : y + VIEW[1]]

    def save(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.uint32]]:
        """The running game as GAME, OBJECTs, CHUNK_ROWs and members (see `state`)."""
        world, player = self._world, self._player
        _, key, pos, *_ = world.random.get_state()
        game = np.zeros((), GAME)
        for name, value in (
            ("step", self._step),
            ("last_health", self._last_health),
            ("unlocked", [name in self._unlocked for name in SKILLS]),
            ("mt_key", key),
            ("mt_pos", pos),
            ("materials", world._mat_map),
            ("num_places", len(world._objects)),
            ("facing", player.facing),
            ("sleeping", player.sleeping),
            ("player_last_health", player._last_health),
            ("hunger", player._hunger),
            ("thirst", player._thirst),
            ("fatigue", player._fatigue),
            ("recover", player._recover),
            ("inventory", list(player.inventory.values())),
            ("achievements", list(player.achievements.values())),
        ):
            game[name] = value
        things = world.objects
        objects = np.zeros(len(things), OBJECT)
        for row, thing in zip(objects, things, strict=True):
            kind = type(thing).__name__
            row["place"] = world._obj_map[tuple(thing.pos)]
            row["kind"] = KINDS.index(kind)
            row["pos"] = thing.pos
            row["health"] = thing.health
            if kind in _TIMERS:
                row["timer"] = getattr(thing, _TIMERS[kind])
            elif kind == "Arrow":
                row["facing"] = thing.facing
        chunks = np.array([((xmin, ymin), len(m)) for (xmin, _, ymin, _), m in world._chunks.items()], CHUNK_ROW)
        members = [world._obj_map[tuple(thing.pos)] for chunk in world._chunks.values() for thing in chunk]
        return game, objects, chunks, np.array(members, np.uint32)

    def load(self, state: SlotState, length: int) -> None:
        """Put a game of `save` in place of the running one."""
        game = state.game
        assert game is not None
        world = self._world
        world.reset(seed=0)
        world.random.set_state(("MT19937", game["mt_key"], int(game["mt_pos"])))
        world._mat_map[:] = game["materials"]
        world._objects = [None] * int(game["num_places"])
        self._length = length
        self._step = int(game["step"])
        self._update_time()
        self._last_health = int(game["last_health"])
        self._unlocked = {name for name, flag in zip(SKILLS, game["unlocked"], strict=True) if flag}
        for row in state.objects:
            place, kind, pos = int(row["place"]), KINDS[row["kind"]], tuple(row["pos"].tolist())
            if kind == "Player":
                thing = self._player = upstream.objects.Player(world, pos)
            elif kind == "Arrow":
                thing = upstream.objects.Arrow(world, pos, row["facing"].astype(np.int64))
            elif kind in ("Zombie", "Skeleton"):
                thing = getattr(upstream.objects, kind)(world, pos, self._player)
            else:
                thing = getattr(upstream.objects, kind)(world, pos)
            thing.health = int(row["health"])
            if kind in _TIMERS:
                setattr(thing, _TIMERS[kind], int(row["timer"]))
            world._objects[place] = thing
            world._obj_map[pos] = place
        members = iter(state.members.tolist())
        for row in state.chunks:
            chunk = world._chunks[world.chunk_key(row["corner"].tolist())]
            for _ in range(row["count"]):
                chunk.add(world._objects[next(members)])
        player = self._player
        player.facing = tuple(game["facing"].tolist())
        player.sleeping = bool(game["sleeping"])
        player._last_health = int(game["player_last_health"])
        player._hunger, player._thirst = float(game["hunger"]), float(game["thirst"])
        player._fatigue, player._recover = float(game["fatigue"]), float(game["recover"])
        player.inventory.update(zip(ITEMS, game["inventory"].tolist(), strict=True))
        player.achievements.update(zip(SKILLS, game["achievements"].tolist(), strict=True))


class _Slot(Slot):
    """One environment of a vector with its game."""

    def __init__(self, env: OrderedEnv, design: Design | None, seed: int, worlds: WorldSet | None) -> None:
        super().__init__(design, seed, worlds)
        self.env = env
        self.episode_return = 0.0


class ReferenceVector:
    """Several crafter games in one process, stepped one after the other; see `families.vector.VectorEnv`.

    Args:
        config: what is observed and how long episodes are.
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
        self._slots = [
            _Slot(OrderedEnv(config.observation), design, int(seed), worlds)
            for design, seed in zip(designs, seeds, strict=True)
        ]
        self._closed = False

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
        self._check_open()
        buffers.check_observation("obs", obs, self.observation_spec, self.num_envs)
        for index in range(self.num_envs):
            self._start(index, obs)

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
        self._check_open()
        count = self.num_envs
        mask = buffers.check_active(active, count)
        buffers.check_actions(actions, mask, self.num_actions)
        buffers.check_observation("obs", obs, self.observation_spec, count)
        if final_obs is not None:
            buffers.check_observation("final_obs", final_obs, self.observation_spec, count)
        buffers.check_array("rewards", rewards, (count,), np.float32)
        buffers.check_array("terminations", terminations, (count,), np.bool_)
        buffers.check_array("truncations", truncations, (count,), np.bool_)
        indices = [int(index) for index in np.flatnonzero(mask)]
        for index in indices:
            if not self._slots[index].episode:
                raise EngineError(f"step: slot {index} has no game yet, call reset first")

        records = []
        for index in indices:
            slot = self._slots[index]
            seen, reward, done, info = slot.env.step(int(actions[index]))
            slot.episode_return += float(reward)
            dead = info["discount"] == 0
            rewards[index] = reward
            terminations[index] = dead
            truncations[index] = done and not dead
            if not done:
                _write(seen, obs, index)
                continue
            if final_obs is not None:
                _write(seen, final_obs, index)
            skills = tuple(info["achievements"].values())
            records.append(slot.record(index, slot.env._step, slot.episode_return, not dead, skills))
            self._start(index, obs)
        return records

    def set_design(self, slot: int, design: Design | None, *, world: int | None = None) -> None:
        self._check_open()
        this = self._slots[buffers.check_slot(slot, self.num_envs)]
        this.next_world = buffers.check_world(world, this.worlds)
        this.next_design = buffers.check_design(design, CrafterDesign)

    def get_state(self, slot: int) -> bytes:
        self._check_open()
        this = self._slots[buffers.check_slot(slot, self.num_envs)]
        record = np.zeros((), SLOT)
        for name, value in (
            *this.row(),
            ("designed_length", self._config.designed_length),
            ("original_length", self._config.original_length),
            ("episode_return", this.episode_return),
        ):
            record[name] = value
        none = None, np.zeros(0, OBJECT), np.zeros(0, CHUNK_ROW), np.zeros(0, np.uint32)
        game = this.env.save() if this.episode else none
        return encode(SlotState(record, this.design, this.next_design, *game))

    def set_state(self, slot: int, state: bytes) -> None:
        self._check_open()
        this = self._slots[buffers.check_slot(slot, self.num_envs)]
        found = decode(state)
        ours = self._config.designed_length, self._config.original_length
        theirs = int(found.slot["designed_length"]), int(found.slot["original_length"])
        if theirs != ours:
            raise StateError(
                f"state: its episodes last {theirs[0]} steps in designed worlds and {theirs[1]} in the original, "
                f"those of these environments {ours[0]} and {ours[1]}"
            )
        this.restore(found.slot, (found.design, found.next_design))
        this.episode_return = float(found.slot["episode_return"])
        if this.episode:
            this.env.load(found, self._length(this.design))

    def close(self) -> None:
        self._closed = True

    def inventory(self) -> NDArray[np.uint8]:
        """Each slot's items in the order of `upstream.ITEMS`, (num_envs, 16)."""
        return np.array([list(env._player.inventory.values()) for env in self._games()], np.uint8)

    def achievements(self) -> NDArray[np.int32]:
        """How often each slot's running episode has shown each skill, (num_envs, 22)."""
        return np.array([list(env._player.achievements.values()) for env in self._games()], np.int32)

    def positions(self) -> NDArray[np.int32]:
        """Each slot's player as x and y, (num_envs, 2)."""
        return np.array([env._player.pos for env in self._games()], np.int32)

    def semantic(self) -> NDArray[np.uint8]:
        """Each slot's world as the package's `info['semantic']`, (num_envs, 64, 64), x before y."""
        return np.stack([env._sem_view() for env in self._games()])

    def maps(self) -> NDArray[np.uint8]:
        """Each slot's world in the ids of a symbolic view, (num_envs, 2, 64, 64): materials and objects, x before y."""
        return np.stack([env._world.map() for env in self._games()])

    def picture(self, slot: int, unit: int = 8) -> NDArray[np.uint8]:
        """A slot's whole world, drawn off-screen without light or noise: (64 * unit, 64 * unit, 3) uint8."""
        index = buffers.check_slot(slot, self.num_envs)
        return draw_map(self.maps()[index], unit)

    def frame(self, slot: int, size: tuple[int, int] = FRAME) -> NDArray[np.uint8]:
        """What the package would render of a slot now, at any size (rows, columns): (rows, columns, 3) uint8.

        It is drawn from a copy of the game, whose random stream stays as it is: a night's noise is not that of the
        observation.
        """
        found = decode(self.get_state(slot))
        if found.game is None:
            raise EngineError(f"slot {slot} has no game yet, call reset first")
        if not all(GRID[0] <= pixels <= 4096 for pixels in size):
            raise EngineError(f"size: {size} pixels, allowed are {GRID[0]} to 4096 rows and columns")
        game = OrderedEnv(Observe.pixels)
        game.load(found, self._length(found.design))
        drawn: NDArray[np.uint8] = game.render(tuple(size[::-1]))
        return drawn

    def daylight(self) -> NDArray[np.float64]:
        """Each slot's daylight, (num_envs,)."""
        return np.array([env._world.daylight for env in self._games()], np.float64)

    def _games(self) -> list[OrderedEnv]:
        self._check_open()
        for index, slot in enumerate(self._slots):
            if not slot.episode:
                raise EngineError(f"slot {index} has no game yet, call reset first")
        return [slot.env for slot in self._slots]

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the environments are closed")

    def _start(self, index: int, obs: Observation) -> None:
        """Begin a slot's next episode and write its first observation."""
        slot = self._slots[index]
        slot.begin()
        slot.episode_return = 0.0
        design = generated(slot.design, self._config)
        _write(slot.env.start(slot.world_seed, design, self._length(slot.design)), obs, index)

    def _length(self, design: Design | None) -> int:
        return self._config.original_length if design is None else self._config.designed_length


def _write(seen: Mapping[str, NDArray[Any]], obs: Observation, index: int) -> None:
    for key, array in seen.items():
        obs[key][index] = array
