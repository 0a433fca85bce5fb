"""What every engine is beside its games: slots with their episodes, and checks of what a caller asks of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import EngineError, StateError
from envgen_exp.families.design import Design, check_design, design_key
from envgen_exp.families.vector import ArraySpec, Buffers, EpisodeRecord, VectorEnv
from envgen_exp.seeding import WORLD_SEED_MODULUS, WorldSet, world_seed

_MOST_EPISODES = 2**62
"""No slot begins as many; their count fits into a state's 64 bits with room to spare."""


class Slot:
    """One environment: the running episode, and what the next one is."""

    def __init__(self, design: Design | None, seed: int, worlds: WorldSet | None) -> None:
        self.seed = seed
        self.worlds = worlds
        self.episode = 0
        """Episodes begun; 0 is before the first reset."""
        self.world_seed = 0
        self.design = design
        self.next_design = design
        self.next_world: int | None = None
        """The next episode's world, where one was set."""

    def coming_world(self, chosen: int | None) -> int:
        """The world's seed of the next episode: the one that is chosen, or else the slot's own."""
        return world_seed(self.seed, self.episode + 1, self.worlds) if chosen is None else chosen

    def begin(self) -> None:
        """Count on to the next episode."""
        self.world_seed, self.next_world = self.coming_world(self.next_world), None
        self.episode += 1
        self.design = self.next_design

    def record(
        self, index: int, length: int, episode_return: float, truncated: bool, skills: tuple[int, ...]
    ) -> EpisodeRecord:
        """The record of the running episode, which has just ended."""
        return EpisodeRecord(
            slot=index,
            episode=self.episode,
            world_seed=self.world_seed,
            design=_key(self.design),
            length=length,
            episode_return=episode_return,
            truncated=truncated,
            skills=skills,
        )

    def row(self) -> dict[str, int]:
        """Its numbers as state bytes have them; -1 is none."""
        return {
            "seed": self.seed,
            "worlds": -1 if self.worlds is None else self.worlds,
            "episode": self.episode,
            "world_seed": self.world_seed,
            "next_world": -1 if self.next_world is None else self.next_world,
        }

    def restore(self, row: Any, designs: Sequence[Design | None]) -> None:
        """Take over the numbers of a sound `row`, and the designs of the running and of the next episode."""
        self.seed, self.episode, self.world_seed = (int(row[name]) for name in ("seed", "episode", "world_seed"))
        self.worlds = row_worlds(row)
        self.next_world = None if row["next_world"] < 0 else int(row["next_world"])
        self.design, self.next_design = designs


AnySlot = TypeVar("AnySlot", bound=Slot)
AnySlots = TypeVar("AnySlots", bound="Slots[Any]")


class Slots(Generic[AnySlot]):
    """An engine's slots: the part of `families.vector.VectorEnv` that is the same for all games.

    Args:
        make: a slot of its design, seed and set of worlds.
        designs: each slot's design; None is the original.
        seeds: each slot's seed.
        worlds: the set that worlds are drawn from; None draws from all.
        model: the family's designs.
    """

    def __init__(
        self,
        make: Callable[[Design | None, int, WorldSet | None], AnySlot],
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet | None,
        model: type[Design],
    ) -> None:
        check_slots(designs, seeds, model)
        if worlds is not None and not isinstance(worlds, WorldSet):
            raise EngineError(f"worlds: {worlds!r}, allowed are None and {', '.join(map(str, WorldSet.__members__))}")
        self._slots = [make(design, int(seed), worlds) for design, seed in zip(designs, seeds, strict=True)]
        self._model = model
        self._closed = False

    @property
    def num_envs(self) -> int:
        return len(self._slots)

    @property
    def num_actions(self) -> int:
        raise NotImplementedError

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]:
        raise NotImplementedError

    def set_design(self, slot: int, design: Design | None, *, world: int | None = None) -> None:
        index = self._index(slot)
        self._plan(index, check_design(design, self._model), _check_world(world, self._slots[index].worlds))

    def close(self) -> None:
        """Free the games; closing again does nothing."""
        if not self._closed:
            self._release()
        self._closed = True

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles play on as this one would: they are made anew, and put into its states."""
        states = [cast(VectorEnv, self).get_state(slot) for slot in range(self.num_envs)]
        return _again, (type(self), self._made_of(), states)

    def _made_of(self) -> dict[str, Any]:
        """The arguments that it was made of, but for those that states hold."""
        raise NotImplementedError

    def _release(self) -> None:
        """Free what the games take."""

    def _plan(self, index: int, design: Design | None, world: int | None) -> None:
        """Have a slot play this next."""
        self._slots[index].next_design, self._slots[index].next_world = design, world

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the environments are closed")

    def _index(self, slot: object) -> int:
        """A slot's number, of environments that are open."""
        self._check_open()
        if isinstance(slot, bool) or not isinstance(slot, int | np.integer) or not 0 <= slot < self.num_envs:
            raise EngineError(f"slot: {slot!r} is not a slot, allowed are 0 to {self.num_envs - 1}")
        return int(slot)

    def _check_begun(self, slots: Sequence[int]) -> None:
        for index in slots:
            if not self._slots[index].episode:
                raise EngineError(f"slot {index} has no game yet, call reset first")

    def _check_step(self, actions: object, out: Buffers, active: object) -> list[int]:
        """The slots to step, in their order, once everything that was handed over is found good."""
        self._check_open()
        mask = self._check_handed(actions, out, active)
        stepped: list[int] = np.flatnonzero(mask).tolist()
        self._check_begun(stepped)
        return stepped

    def _check_handed(self, actions: object, out: Buffers, active: object) -> NDArray[np.bool_]:
        """The mask of the slots to step: int64 actions of theirs lie in [0, num_actions), and the buffers fit."""
        count = self.num_envs
        if active is None:
            active = np.ones(count, np.bool_)
        if not isinstance(active, np.ndarray) or active.shape != (count,) or active.dtype != np.bool_:
            raise EngineError(f"active: needs a numpy array of shape ({count},) and dtype bool, or None")
        if not isinstance(actions, np.ndarray) or actions.shape != (count,) or actions.dtype != np.int64:
            raise EngineError(f"actions: needs a numpy array of shape ({count},) and dtype int64, got {_kind(actions)}")
        wrong = active & ((actions < 0) | (actions >= self.num_actions))
        if wrong.any():
            slot, last = int(np.argmax(wrong)), self.num_actions - 1
            raise EngineError(f"actions[{slot}]: {int(actions[slot])} is not an action, allowed are 0 to {last}")
        check_buffers(out).check(self.observation_spec, count)
        out.check_mask(active)
        return active


def _again(kind: Callable[..., AnySlots], made_of: Mapping[str, Any], states: Sequence[bytes]) -> AnySlots:
    """Slots in these states."""
    made = kind(designs=[None] * len(states), seeds=[0] * len(states), worlds=None, **made_of)
    for slot, state in enumerate(states):
        cast(VectorEnv, made).set_state(slot, state)
    return made


def check_buffers(out: object) -> Buffers:
    """EngineError for what are no buffers."""
    if not isinstance(out, Buffers):
        raise EngineError(f"out: needs Buffers, got {type(out).__name__}")
    return out


def check_slots(designs: Sequence[Design | None], seeds: Sequence[int], model: type[Design]) -> None:
    """What a vector is made of: as many designs as seeds, at least one."""
    if len(designs) != len(seeds) or not len(designs):
        raise EngineError(f"designs and seeds: need equal lengths of at least 1, got {len(designs)} and {len(seeds)}")
    for slot, (design, seed) in enumerate(zip(designs, seeds, strict=True)):
        check_design(design, model)
        _check_seed(f"seeds[{slot}]", seed)


def _check_seed(name: str, seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise EngineError(f"{name}: needs an int, got {seed!r}")
    if not -(2**63) <= seed < 2**63:
        raise EngineError(f"{name}: {seed} does not fit into 64 bits")


def row_worlds(row: Any) -> WorldSet | None:
    """The set of worlds in a row of `Slot.row`."""
    return None if row["worlds"] < 0 else WorldSet(int(row["worlds"]))


def is_sound(row: Any) -> bool:
    """Whether `Slot.restore` can take over the numbers of a row, and the next episodes begin."""
    if row["worlds"] not in (-1, *WorldSet):
        return False
    played = [int(row["world_seed"])] if row["episode"] else []
    chosen = [] if row["next_world"] == -1 else [int(row["next_world"])]
    try:
        _check_seed("seed", int(row["seed"]))
        for world in played + chosen:
            _check_world(world, row_worlds(row))
    except EngineError:
        return False
    return bool(0 <= row["episode"] < _MOST_EPISODES)


def check_same(row: Any, settings: Mapping[str, int]) -> None:
    """StateError where a state was made with other settings than these environments'."""
    for name, ours in settings.items():
        if row[name] != ours:
            raise StateError(f"state: its {name} is {row[name]}, that of these environments {ours}")


def _check_world(world: object, worlds: WorldSet | None) -> int | None:
    """The seed of a slot's next world: of the set that the slot plays, so that no world gets into another set."""
    if world is None:
        return None
    if isinstance(world, bool) or not isinstance(world, int | np.integer) or not 0 <= world < WORLD_SEED_MODULUS:
        raise EngineError(f"world: {world!r} is no world's seed, allowed are 0 to {WORLD_SEED_MODULUS - 1}")
    if worlds is not None and world % len(WorldSet) != worlds:
        raise EngineError(f"world: {world} is not of the set {worlds.name} that the slot plays")
    return int(world)


def _kind(value: object) -> str:
    """What was given in place of an array."""
    if isinstance(value, np.ndarray):
        return f"shape {value.shape} and dtype {value.dtype}"
    return type(value).__name__


@functools.lru_cache(maxsize=256)
def _key(design: Design | None) -> str:
    return design_key(design)
