"""Heist behind the batch contract: procgen plays, and every episode begins with a level that is put into its game.

A game that ends makes its next level by itself; that one is replaced before anybody sees it, by a stock level with the
slot's seed or by one of the design's pool. So an episode depends on its level and its actions alone. How long episodes
last is counted here: the games have no time limit of their own, so that one that runs out of time can still be read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.design import Design
from envgen_exp.families.heist import procgen_state, settled, stock
from envgen_exp.families.heist.config import HeistConfig, HeistMode
from envgen_exp.families.heist.design import MAX_LOCKS, SKILLS, HeistDesign, plan
from envgen_exp.families.heist.picture import draw_frame
from envgen_exp.families.heist.pool import Beginning, Pool
from envgen_exp.families.heist.settled import SafeState
from envgen_exp.families.heist.state import SLOT, SlotState, decode, encode
from envgen_exp.families.heist.upstream import FRAME, NUM_ACTIONS, STAY, Games, threads
from envgen_exp.families.sealed import filled
from envgen_exp.families.slots import Slot, Slots, check_same, row_worlds
from envgen_exp.families.vector import ArraySpec, Buffers, EpisodeRecord, Observation, check_observation
from envgen_exp.seeding import WorldSet

OBSERVATION: Mapping[str, ArraySpec] = {"pixels": ArraySpec(FRAME, np.dtype(np.uint8), 0, 255)}
"""The frame that procgen renders: rows, columns, RGB."""

Pools = Callable[[Design, WorldSet | None], Pool]
"""The levels of a design, those of the set of worlds built already."""

_MODES = tuple(HeistMode)

_RING_PIXELS: tuple[tuple[int, int, tuple[int, int, int]], ...] = (
    (4, 60, (29, 164, 221)),
    (3, 58, (177, 227, 155)),
    (4, 53, (201, 91, 19)),
)
"""Row, column and colour of a pixel that a held key of each theme shows, whatever lies behind it."""


@dataclass(frozen=True)
class _Course:
    """What a slot's episodes are played in."""

    limit: int
    """Steps after which an episode has run out of time."""
    level: Callable[[int], Beginning]
    """The level of a world's seed."""


class _Slot(Slot):
    """One environment: which episode of it is played, and what it began with. Its steps are counted by the vector."""

    def __init__(
        self, course: Callable[..., _Course], design: Design | None, seed: int, worlds: WorldSet | None
    ) -> None:
        super().__init__(design, seed, worlds)
        self.course = course(design, worlds)
        self.next_course = self.course
        self.keys: frozenset[int] = frozenset()
        """Keys that lay in the maze when the episode began."""
        self.locks: frozenset[int] = frozenset()
        """Locks that were shut then."""
        self.known: SafeState | None = None
        """A state of the running episode, from which `_played` leads to the present one."""
        self.parked: SafeState | None = None
        """The present state, where the game in procgen has gone on without the slot."""


class HeistVector(Slots[_Slot]):
    """Several Heist games in one vector of procgen's; see `families.vector.VectorEnv`.

    Args:
        config: which mode the original is, how long its episodes are, and threads.
        designs: each slot's design; None is the original.
        seeds: each slot's seed.
        worlds: the set that levels are drawn from; None draws from all.
        pools: gives the levels of a design.
    """

    def __init__(
        self,
        config: HeistConfig,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet | None,
        pools: Pools,
    ) -> None:
        self._config = config
        self._pools = pools
        super().__init__(functools.partial(_Slot, self._course), designs, seeds, worlds, HeistDesign)
        self._settings = {
            "mode": _MODES.index(config.mode),
            "designed_length": config.designed_length,
            "original_length": config.original_length,
            "pool_size": config.pool_size,
        }
        count = len(self._slots)
        self._games = Games(count, num_threads=threads(config.num_threads, count))
        self._steps = np.zeros(count, np.int64)
        self._limits = np.zeros(count, np.int64)
        self._returns = np.zeros(count)
        self._played = np.zeros((count, 256), np.int8)
        """Actions since each slot's `known` state, so many as the next array says."""
        self._num_played = np.zeros(count, np.int64)
        self._every = np.arange(count)
        self._any_parked = False
        self._spare: Games | None = None

    @property
    def num_actions(self) -> int:
        return NUM_ACTIONS

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]:
        return OBSERVATION

    @property
    def skills(self) -> tuple[str, ...]:
        return SKILLS

    def reset(self, obs: Observation) -> None:
        self._check_open()
        check_observation("obs", obs, OBSERVATION, self.num_envs)
        for index in range(self.num_envs):
            self._begin(index)
        obs["pixels"][:] = self._games.frames

    def step(
        self, actions: NDArray[np.int64], out: Buffers, *, active: NDArray[np.bool_] | None = None
    ) -> list[EpisodeRecord]:
        stepped, games = self._check_step(actions, out, active), self._games
        whole = len(stepped) == self.num_envs
        mask = np.zeros(self.num_envs, np.bool_)
        mask[stepped] = True
        if not whole or self._any_parked:
            self._park(~mask)

        games.act(self._note_actions(np.where(mask, actions, STAY), mask))
        self._steps += mask
        np.add(self._returns, games.rewards, out=self._returns, where=mask)
        terminated = games.first & mask
        truncated = (self._steps >= self._limits) & mask & ~terminated
        results = (out.rewards, games.rewards), (out.terminations, terminated), (out.truncations, truncated)
        for buffer, values in results:
            np.copyto(buffer, values, where=mask)
        records = []
        for index in np.flatnonzero(terminated | truncated).tolist():
            if out.final_obs is not None:
                last = games.frames[index] if truncated[index] else self._replay_last_frame(index)
                out.final_obs["pixels"][index] = last
            records.append(self._record(index, bool(truncated[index])))
            self._begin(index)
        if whole:
            out.obs["pixels"][:] = games.frames
        else:
            out.obs["pixels"][mask] = games.frames[mask]
        return records

    def get_state(self, slot: int) -> bytes:
        this = self._slots[index := self._index(slot)]
        row = {
            **this.row(),
            **self._settings,
            "steps": self._steps[index],
            "episode_return": self._returns[index],
            "keys": [theme in this.keys for theme in range(MAX_LOCKS)],
            "locks": [theme in this.locks for theme in range(MAX_LOCKS)],
        }
        game = self._present(index) if this.episode else None
        return encode(SlotState(filled(SLOT, row), this.design, this.next_design, game))

    def set_state(self, slot: int, state: bytes) -> None:
        this = self._slots[index := self._index(slot)]
        found = decode(state)
        row, designs = found.slot, (found.design, found.next_design)
        check_same(row, self._settings)
        this.course, this.next_course = (self._course(design, row_worlds(row)) for design in designs)
        this.restore(row, designs)
        this.keys, this.locks = (frozenset(np.flatnonzero(row[name]).tolist()) for name in ("keys", "locks"))
        if found.game is not None:
            self._put(index, found.game)
        self._steps[index], self._returns[index] = row["steps"], row["episode_return"]
        self._limits[index] = this.course.limit

    def positions(self) -> NDArray[np.float32]:
        """Each slot's player as x and y in cells, y up, (num_envs, 2)."""
        self._check_open()
        self._check_begun(range(self.num_envs))
        players = [
            procgen_state.read(this.parked or self._games.get(slot)).entities[0]
            for slot, this in enumerate(self._slots)
        ]
        return np.array([(player["x"], player["y"]) for player in players], np.float32)

    def achievements(self) -> NDArray[np.int32]:
        """Whether each slot's running episode has shown each skill so far, (num_envs, num_skills)."""
        self._check_open()
        self._check_begun(range(self.num_envs))
        return np.array([[*self._taken(index, self._left(index)), 0] for index in range(self.num_envs)], np.int32)

    def frame(self, slot: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """What a slot's player sees, drawn at `size`, rows and columns: (rows, columns, 3) uint8."""
        index = self._index(slot)
        self._check_begun([index])
        return draw_frame(self._present(index), size)

    def _made_of(self) -> dict[str, Any]:
        return {"config": self._config, "pools": self._pools}

    def _release(self) -> None:
        for games in (self._games, self._spare):
            if games is not None:
                games.close()

    # Episodes

    def _plan(self, index: int, design: Design | None, world: int | None) -> None:
        self._slots[index].next_course = self._course(design, self._slots[index].worlds)
        super()._plan(index, design, world)

    def _begin(self, index: int) -> None:
        """Begin a slot's next episode; its first frame is drawn."""
        this = self._slots[index]
        this.begin()
        this.course = this.next_course
        beginning = this.course.level(this.world_seed)
        this.keys, this.locks = beginning.keys, beginning.locks
        self._put(index, beginning.game)
        self._steps[index], self._returns[index] = 0, 0.0
        self._limits[index] = this.course.limit

    def _course(self, design: Design | None, worlds: WorldSet | None) -> _Course:
        """The course of a design, whose levels are built here and not in the midst of a step."""
        config = self._config
        if design is None:
            return _Course(config.original_length, stock.generator(config.mode).level)
        limit = min(config.designed_length, plan(design).timeout)
        return _Course(limit, self._pools(design, worlds).level)

    def _record(self, index: int, truncated: bool) -> EpisodeRecord:
        """The record of an episode that has just ended; one that ran out of time can still be read."""
        # Whoever has the gem has everything: each lock lies on the way to it, and each key is that of a lock.
        left = self._left(index) if truncated else (frozenset[int](), frozenset[int]())
        skills = (*self._taken(index, left), int(not truncated))
        steps, returned = int(self._steps[index]), float(self._returns[index])
        return self._slots[index].record(index, steps, returned, truncated, skills)

    def _taken(self, index: int, left: tuple[frozenset[int], frozenset[int]]) -> list[int]:
        """Which keys were collected and which locks opened, where these are left."""
        gone = self._slots[index].keys - left[0], self._slots[index].locks - left[1]
        return [int(theme in things) for things in gone for theme in range(MAX_LOCKS)]

    def _left(self, index: int) -> tuple[frozenset[int], frozenset[int]]:
        """The keys that still lie in the maze, and the locks that are still shut."""
        this, frame = self._slots[index], self._games.frames[index]
        if this.parked is not None:  # its game runs idle
            return procgen_state.read_left(this.parked)
        held = any((frame[row, column] == colour).all() for row, column, colour in _RING_PIXELS)
        if not held:  # Nothing was collected, so nothing was opened: no need to read the game.
            return this.keys, this.locks
        return procgen_state.read_left(self._games.get(index))

    # Games

    def _put(self, index: int, game: SafeState) -> None:
        """Put a state into a slot's game; its frame is drawn."""
        self._games.put(index, game)
        self._slots[index].known = game
        self._slots[index].parked = None
        self._num_played[index] = 0

    def _present(self, index: int) -> SafeState:
        """The present state of a slot's game."""
        return self._slots[index].parked or settled.settle(procgen_state.read(self._games.get(index)))

    def _park(self, idle: NDArray[np.bool_]) -> None:
        """Keep the states of idle slots, whose games in procgen go on without them, and put the others' back."""
        for index, this in enumerate(self._slots):
            if idle[index] and this.episode:
                this.parked = self._present(index)
            elif this.parked is not None:
                self._games.put(index, this.parked)
                this.parked = None
        self._any_parked = any(this.parked is not None for this in self._slots)

    def _note_actions(self, actions: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        if self._num_played.max() == self._played.shape[1]:
            self._played = np.concatenate([self._played, np.zeros_like(self._played)], axis=1)
        self._played[self._every, self._num_played] = actions
        self._num_played += mask
        return actions

    def _replay_last_frame(self, index: int) -> NDArray[np.uint8]:
        """The last frame of an episode that the gem has ended, which the game itself never draws.

        The episode is played again in a spare game; in the last step the gem can't be taken, so that it stays there.
        """
        known = self._slots[index].known
        assert known is not None
        if self._spare is None:
            self._spare = Games(1)
        *actions, last = self._played[index, : self._num_played[index]].tolist()
        self._spare.put(0, known)
        for action in actions:
            self._spare.act(action)
        self._spare.put(0, settled.with_gem_out_of_reach(procgen_state.read(self._spare.get(0))))
        self._spare.act(last)
        frame: NDArray[np.uint8] = self._spare.frames[0]
        return frame
