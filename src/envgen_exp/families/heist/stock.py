"""The stock game's levels by seed: what an environment of procgen makes when it begins the level of that number."""

from __future__ import annotations

import dataclasses
import functools
import threading

from envgen_exp.families.heist import procgen_state, settled
from envgen_exp.families.heist.config import HeistMode
from envgen_exp.families.heist.pool import Beginning
from envgen_exp.families.heist.upstream import RESTART, Games


class Generator:
    """Makes the levels of one mode in a game of its own.

    procgen draws the seed of its next level from a range, and everything in the level from a generator with that seed;
    a range of one seed leaves no choice.
    """

    def __init__(self, mode: HeistMode) -> None:
        self._games = Games(1, mode)
        self._lock = threading.Lock()  # all environments of a process share it
        game = procgen_state.read(self._games.get(0))
        # Without their texts, the game's generators stay as they are: quicker, and all but one draw nothing here.
        same = procgen_state.Rng(1, b"")
        self._before = procgen_state.write(dataclasses.replace(game, level_rng=same, rng=same, asset_rng=same))

    def level(self, seed: int) -> Beginning:
        """The level with this seed, in [0, 2**31 - 1)."""
        with self._lock:
            self._games.put(0, settled.with_next_seed(self._before, seed))
            self._games.act(RESTART)
            after = self._games.get(0)
        return Beginning(settled.settle(procgen_state.read(after)), *procgen_state.read_left(after))


@functools.cache
def generator(mode: HeistMode) -> Generator:
    """The generator of a mode, of which one is enough: what it makes depends on the seed alone."""
    return Generator(mode)
