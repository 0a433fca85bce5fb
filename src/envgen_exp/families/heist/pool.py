"""A design's pool of levels; a world's seed picks the level."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from envgen_exp import seeding
from envgen_exp.errors import DesignError
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.heist.building import build
from envgen_exp.families.heist.design import plan
from envgen_exp.families.heist.levels import Level, write_level
from envgen_exp.families.heist.settled import SafeState
from envgen_exp.seeding import WorldSet


@dataclass(frozen=True)
class Beginning:
    """What an episode begins with."""

    game: SafeState
    keys: frozenset[int]
    """Keys that lie in the maze."""
    locks: frozenset[int]
    """Locks that are shut."""


class Pool:
    """The levels that a design's episodes are played in, the same in every run: `size` for each set of worlds.

    A world's seed says by its remainder which set it is of (`seeding.WorldSet`), and so which levels it can be; the
    seeds of levels keep that remainder, so that no level of one set is in another.
    """

    def __init__(self, design: Design, size: int) -> None:
        self.design = design
        self.size = size
        self._partial_view = plan(design).partial_view
        self._built: dict[tuple[WorldSet, int], Beginning] = {}
        self._filled: set[WorldSet] = set()

    def fill(self, worlds: WorldSet) -> None:
        """Build all levels of a set that are not built yet; DesignError where one can't be built."""
        if worlds not in self._filled:
            for index in range(self.size):
                self._level(worlds, index)
            self._filled.add(worlds)

    def level(self, world_seed: int) -> Beginning:
        """The level of the world with this seed."""
        return self._level(*self._place(world_seed))

    def drawn(self, world_seed: int) -> Level:
        """The same as it was built, without procgen's bytes."""
        return self._draw(*self._place(world_seed))[0]

    def _place(self, world_seed: int) -> tuple[WorldSet, int]:
        number, worlds = divmod(world_seed, len(WorldSet))
        return WorldSet(worlds), number % self.size

    def _level(self, worlds: WorldSet, index: int) -> Beginning:
        if (worlds, index) not in self._built:
            level, seed = self._draw(worlds, index)
            game = write_level(level, seed, partial_view=self._partial_view)
            self._built[worlds, index] = Beginning(game, frozenset(level.keys), frozenset(level.locks))
        return self._built[worlds, index]

    def _draw(self, worlds: WorldSet, index: int) -> tuple[Level, int]:
        *seeds, last = level_seeds(self.design, worlds, index)
        for seed in seeds:
            with contextlib.suppress(DesignError):
                return build(self.design, seed), seed
        return build(self.design, last), last


_SEEDS = 8
"""Seeds that are tried for one level: a design that passed a check can still fail with some."""


def level_seeds(design: Design, worlds: WorldSet, index: int) -> list[int]:
    """The seeds of a design's level, of which the first one with which it can be built counts."""
    sets = len(WorldSet)
    drawn = seeding.integers(0, "heist", design_key(design), worlds.name, index, count=_SEEDS)
    return [seed // sets * sets + worlds for seed in drawn]
