"""A whole family in one file: a corridor with a key at one end and a locked door at the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.design import Setting
from envgen_exp.families.family import Brief, SkillRule
from envgen_exp.families.one_player import Game, GameFamily

LEFT, RIGHT = 0, 1
FLOOR, PLAYER, KEY, LOCKED, OPEN = (60, 60, 60), (255, 255, 255), (250, 210, 0), (160, 60, 0), (0, 160, 80)


class Walk(Game):
    """One episode; all that it remembers are plain numbers, so that it can be saved at any step."""

    def __init__(self, settings: Mapping[str, Any] | None, seed: int) -> None:
        self.cells, key = (15, "on_floor") if settings is None else (settings["cells"], settings["key"])
        world = np.random.default_rng(seed)
        self.door = int(world.integers(2)) * (self.cells - 1)
        self.place = int(world.integers(1, self.cells - 1))
        self.has_key = key == "in_hand"

    def step(self, action: int) -> tuple[float, bool, Sequence[str]]:
        self.place = min(max(self.place + (1 if action == RIGHT else -1), 0), self.cells - 1)
        if self.has_key and self.place == self.door:
            return 1.0, True, ["open_door"]
        if not self.has_key and self.place == self.cells - 1 - self.door:
            self.has_key = True
            return 0.5, False, ["take_key"]
        return 0.0, False, []

    def draw(self) -> NDArray[np.uint8]:
        picture = np.full((1, self.cells, 3), FLOOR, np.uint8)
        picture[0, self.door] = OPEN if self.has_key else LOCKED
        if not self.has_key:
            picture[0, self.cells - 1 - self.door] = KEY
        picture[0, self.place] = PLAYER
        return picture


class Corridor(GameFamily):
    """What everybody else needs to know of the game: designers, prompts, reports."""

    name, game, num_actions, max_steps = "corridor", Walk, 2, 100
    vocabulary = (
        Setting("cells", "Length of the corridor; 15 in the original.", 15, low=5, high=31),
        Setting("key", "Where the key is at the start.", "on_floor", choices=("on_floor", "in_hand")),
    )
    gifts = frozenset({"key"})
    brief = Brief(
        game="A player walks in a corridor of 15 cells, seen from above, and can go left or right.",
        rules=("A key lies at one end, a locked door is at the other.", "100 steps are an episode at most."),
        skills={"take_key": "reach the key's end of the corridor", "open_door": "reach the door with the key"},
    )
    skill_rules = (
        SkillRule("take_key", settings={"cells": 7}),
        SkillRule("open_door", requires=("take_key",), settings={"cells": 9, "key": "in_hand"}),
    )
