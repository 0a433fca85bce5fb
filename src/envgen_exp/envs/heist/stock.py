"""The stock game's levels by seed: what an environment of procgen makes when it begins the level of that number."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from envgen_exp.config import HeistMode
from envgen_exp.envs.heist import blob
from envgen_exp.envs.heist.blob import SafeBlob
from envgen_exp.envs.heist.levels import Beginning
from envgen_exp.envs.heist.upstream import RESTART, Games

_MODES = {HeistMode.easy: 0, HeistMode.hard: 1, HeistMode.memory: 10}
"""procgen's numbers of its distributions."""


class Generator:
    """Makes the levels of one mode in a game of its own.

    procgen draws the seed of its next level from a range and seeds the level's generator with it; a range of one seed
    leaves no choice.
    """

    def __init__(self, mode: HeistMode) -> None:
        self._games = Games(1, mode)
        game = blob.read(self._games.get(0))
        # Generators without text stay what they are in the game: shorter to write and to read, and not used here.
        empty = blob.Rng(1, b"")
        self._game = dataclasses.replace(game, level_rng=empty, rng=empty, asset_rng=blob.Rng(0, b""))
        options = game.options.copy()
        options["distribution_mode"] = _MODES[mode]
        self._options = options
        self._actions = np.array([RESTART])

    def level(self, seed: int) -> Beginning:
        """The level with this seed, in [0, 2**31 - 1)."""
        self._options["level_seed_low"], self._options["level_seed_high"] = seed, seed + 1
        self._games.put(0, SafeBlob(blob.write(dataclasses.replace(self._game, options=self._options))))
        self._games.act(self._actions)
        game = blob.read(self._games.get(0))
        return Beginning(blob.settle(game), frozenset(game.themes(blob.KEY)), frozenset(game.themes(blob.LOCK)))


@functools.cache
def generator(mode: HeistMode) -> Generator:
    """The generator of a mode, of which one is enough: what it makes depends on the seed alone."""
    return Generator(mode)
