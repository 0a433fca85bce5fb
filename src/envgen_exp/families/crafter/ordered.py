"""The crafter package made deterministic: one game, told which world to play, that can be saved and resumed."""

from __future__ import annotations

import collections
import copy
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.families.crafter import upstream
from envgen_exp.families.crafter.design import starting_items, terrain
from envgen_exp.families.crafter.observation import NIGHT_BELOW, OBJECTS, UNIT, VIEW
from envgen_exp.families.crafter.state import CHUNK_ROW, GAME, KINDS, OBJECT, SlotState
from envgen_exp.families.crafter.upstream import AREA, CHUNK, ITEMS, SKILLS
from envgen_exp.families.design import Design
from envgen_exp.families.sealed import filled

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
            # Only now: it imports numba, which takes long and is not needed to draw a frame.
            from envgen_exp.families.crafter import worldgen

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
        game = filled(
            GAME,
            {
                "step": self._step,
                "last_health": self._last_health,
                "unlocked": [name in self._unlocked for name in SKILLS],
                "mt_key": key,
                "mt_pos": pos,
                "materials": world._mat_map,
                "num_places": len(world._objects),
                "facing": player.facing,
                "sleeping": player.sleeping,
                "player_last_health": player._last_health,
                "hunger": player._hunger,
                "thirst": player._thirst,
                "fatigue": player._fatigue,
                "recover": player._recover,
                "inventory": list(player.inventory.values()),
                "achievements": list(player.achievements.values()),
            },
        )
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
