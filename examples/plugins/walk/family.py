"""`env=walk`: a corridor with a door at one end and a pit at the other; whoever waits too long fails too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import EnvConfig, between, ranged
from envgen_exp.families.design import Setting
from envgen_exp.families.family import Brief, SkillRule
from envgen_exp.families.one_player import Game, GameFamily


@dataclass(frozen=True)
class WalkConfig(EnvConfig):
    """A corridor."""

    patience: int = ranged(40, between(10, 1000))
    """Steps after which an episode ends."""


class Corridor(Game):
    """One episode."""

    def __init__(self, settings: Mapping[str, Any] | None, seed: int) -> None:
        self.cells = 9 if settings is None else settings["cells"]
        self.door = seed // 4 % 2 * (self.cells - 1)
        self.place = self.cells // 2

    def step(self, action: int) -> tuple[float, bool, Sequence[str]]:
        self.place += 1 if action else -1
        if self.place in (0, self.cells - 1):
            return (1.0, True, ["reach_door"]) if self.place == self.door else (-1.0, True, [])
        return -0.01, False, []

    def draw(self) -> NDArray[np.uint8]:
        picture = np.zeros((1, self.cells, 3), np.uint8)
        picture[0, self.door], picture[0, self.place] = (0, 160, 80), (255, 255, 255)
        return picture


class Walk(GameFamily):
    """What everybody else needs to know of the game."""

    Config = WalkConfig
    name, game, num_actions, max_steps = "walk", Corridor, 2, 40
    vocabulary = (Setting("cells", "Length of the corridor; 9 in the original.", 9, low=3, high=31),)
    brief = Brief(
        "A player in a corridor goes left or right.", ("A pit is at one end.",), {"reach_door": "reach the door"}
    )
    skill_rules = (SkillRule("reach_door", settings={"cells": 5}),)

    def __init__(self, config: WalkConfig) -> None:
        super().__init__(config)
        self.max_steps = config.patience
