"""The reference engine: the crafter package itself, made deterministic, behind the batch contract."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import opensimplex
from numpy.typing import NDArray

from envgen_exp.config import CrafterConfig, Observe
from envgen_exp.envs.crafter import buffers, upstream
from envgen_exp.envs.crafter.design import (
    CREATURE_DISTANCE,
    ORE_GATE,
    Terrain,
    starting_items,
    terrain,
)
from envgen_exp.envs.crafter.observation import NIGHT_BELOW, OBJECTS, UNIT, VIEW, observation_spec
from envgen_exp.envs.crafter.upstream import ACTIONS, AREA, CHUNK, SKILLS
from envgen_exp.envs.family import Design, design_key
from envgen_exp.envs.vector import ArraySpec, EpisodeRecord, Observation
from envgen_exp.errors import EngineError
from envgen_exp.seeding import WorldSet, world_seed

OBJECT_IDS: Mapping[str, int] = {texture: index + 1 for index, texture in enumerate(OBJECTS)}


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
        self._chunks = collections.defaultdict(_OrderedSet)


class OrderedEnv(upstream.env.Env):  # type: ignore[misc]
    """crafter.Env with an ordered world, told which world to play; `observe` is what its steps return."""

    def __init__(self, observe: Observe) -> None:
        super().__init__(area=AREA, seed=0)
        world = OrderedWorld(AREA, upstream.constants.materials, CHUNK)
        for part in (self, self._local_view, self._sem_view):
            part._world = world
        self._observe = observe

    def start(self, seed: int, design: Design | None, length: int) -> dict[str, NDArray[Any]]:
        """`crafter.Env.reset` with the world's seed, the design and the episode's length given; the observation."""
        self._length = length
        self._step = 0
        self._world.reset(seed=seed)
        self._update_time()
        center = AREA[0] // 2, AREA[1] // 2
        self._player = upstream.objects.Player(self._world, center)
        self._last_health = self._player.health
        self._world.add(self._player)
        self._unlocked = set()
        if design is None:
            upstream.worldgen.generate_world(self._world, self._player)
        else:
            generate_designed_world(self._world, self._player, terrain(design))
            self._player.inventory.update(starting_items(design))
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
        padded = np.pad(self.map(), ((0, 0), (margin[0], margin[0]), (margin[1], margin[1])))
        x, y = self._player.pos
        return padded[:, x : x + VIEW[0], y : y + VIEW[1]]

    def map(self) -> NDArray[np.uint8]:
        """The whole world in the ids of a symbolic view, (2, 64, 64)."""
        objects = np.zeros(AREA, np.uint8)
        for thing in self._world.objects:
            objects[tuple(thing.pos)] = OBJECT_IDS[thing.texture]
        return np.stack([self._world._mat_map, objects])


def generate_designed_world(world: OrderedWorld, player: Any, numbers: Terrain) -> None:
    """`crafter.worldgen.generate_world` with a design's numbers: the paper's generator.

    Cells are visited x outer, y inner, first all materials and then all creatures. A uniform is drawn from the world's
    stream only where all conditions that stand before it hold.
    """
    simplex = opensimplex.OpenSimplex(seed=world.random.randint(0, 2**31 - 1))
    tunnels = np.zeros(AREA, bool)
    for x in range(AREA[0]):
        for y in range(AREA[1]):
            _set_material(world, x, y, player, tunnels, simplex, numbers)
    for x in range(AREA[0]):
        for y in range(AREA[1]):
            _set_creature(world, x, y, player, tunnels)


def _set_material(
    world: OrderedWorld, x: int, y: int, player: Any, tunnels: NDArray[np.bool_], simplex: Any, numbers: Terrain
) -> None:
    def noise(x: float, y: float, z: float, sizes: Any, normalize: bool = True) -> Any:
        return upstream.worldgen._simplex(simplex, x, y, z, sizes, normalize)

    uniform = world.random.uniform
    start = 4 - np.sqrt((x - player.pos[0]) ** 2 + (y - player.pos[1]) ** 2)
    start += 2 * noise(x, y, 8, 3)
    start = 1 / (1 + np.exp(-start))
    water = noise(x, y, 3, {15: 1, 5: 0.15}, False) + 0.1
    water -= 2 * start
    mountain = noise(x, y, 0, {15: 1, 5: 0.3})
    mountain -= 4 * start + 0.3 * water

    biome = numbers.biome
    if biome.mountain_absolute:
        mountain = abs(mountain)
    mountain *= biome.mountain_scale
    water *= biome.water_scale

    if start > biome.start_threshold:
        material = biome.start_material
    elif mountain > 0.15:
        if noise(x, y, 6, 7) > 0.15 and mountain > 0.3:
            material = "path"
        elif noise(2 * x, y / 5, 7, 3) > 0.4 or noise(x / 5, 2 * y, 7, 3) > 0.4:
            material = "path"
            tunnels[x, y] = True
        elif mountain > ORE_GATE and uniform() > numbers.coal:
            material = "coal"
        elif mountain > ORE_GATE and uniform() > numbers.iron:
            material = "iron"
        elif mountain > ORE_GATE and uniform() > numbers.diamond:
            material = "diamond"
        elif mountain > 0.3 and noise(x, y, 6, 5) > 0.35:
            material = "lava"
        else:
            material = "stone"
    elif 0.25 < water <= 0.35 and noise(x, y, 4, 9) > -0.2:
        material = "sand"
    elif 0.3 < water:
        material = "water"
    elif noise(x, y, 5, 7) > 0 and uniform() > numbers.tree:
        material = "tree"
    else:
        material = "grass"
    world[x, y] = material


def _set_creature(world: OrderedWorld, x: int, y: int, player: Any, tunnels: NDArray[np.bool_]) -> None:
    objects, uniform = upstream.objects, world.random.uniform
    dist = np.sqrt((x - player.pos[0]) ** 2 + (y - player.pos[1]) ** 2)
    material, _ = world[x, y]
    if material not in upstream.constants.walkable:
        return
    far = dist > CREATURE_DISTANCE
    if dist > 3 and material == "grass" and uniform() > 0.985:
        world.add(objects.Cow(world, (x, y)))
    elif far and uniform() > 0.993:
        world.add(objects.Zombie(world, (x, y), player))
    elif far and material == "path" and tunnels[x, y] and uniform() > 0.95:
        world.add(objects.Skeleton(world, (x, y), player))


class _Slot:
    """One environment of a vector: its game and what tells which game is next."""

    def __init__(self, env: OrderedEnv, design: Design | None, seed: int) -> None:
        self.env = env
        self.seed = seed
        self.episode = 0
        """Episodes begun; 0 is before the first reset."""
        self.world_seed = 0
        self.design = design
        self.next_design = design
        self.episode_return = 0.0


class ReferenceVector:
    """Several crafter games in one process, stepped one after the other; see `envs.vector.VectorEnv`.

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
        buffers.check_slots(designs, seeds)
        self._config = config
        self._worlds = worlds
        self._slots = [
            _Slot(OrderedEnv(config.observation), design, int(seed))
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
            records.append(
                EpisodeRecord(
                    slot=index,
                    episode=slot.episode,
                    world_seed=slot.world_seed,
                    design=design_key(slot.design),
                    length=slot.env._step,
                    episode_return=slot.episode_return,
                    truncated=not dead,
                    skills=tuple(info["achievements"].values()),
                )
            )
            self._start(index, obs)
        return records

    def set_design(self, slot: int, design: Design | None) -> None:
        self._check_open()
        self._slots[buffers.check_slot(slot, self.num_envs)].next_design = buffers.check_design(design)

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
        return np.stack([env.map() for env in self._games()])

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
        slot, config = self._slots[index], self._config
        slot.episode += 1
        slot.design = slot.next_design
        slot.world_seed = world_seed(slot.seed, slot.episode, self._worlds)
        slot.episode_return = 0.0
        length = config.original_length if slot.design is None else config.designed_length
        _write(slot.env.start(slot.world_seed, slot.design, length), obs, index)


def _write(seen: Mapping[str, NDArray[Any]], obs: Observation, index: int) -> None:
    for key, array in seen.items():
        obs[key][index] = array
