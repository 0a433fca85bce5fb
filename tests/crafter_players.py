"""Players of Crafter for tests: they sleep, fight, gather, build, mine, survive and die, so that games reach its rules.

A player sees what a symbolic observation shows and draws from a generator of its own, so that equal games get equal
actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.crafter.observation import OBJECTS, VIEW
from envgen_exp.families.crafter.upstream import ACTIONS, ITEMS, MATERIALS

ACTION = {name: index for index, name in enumerate(ACTIONS)}
ITEM = {name: index for index, name in enumerate(ITEMS)}
MATERIAL = {name: index + 1 for index, name in enumerate(MATERIALS)}
LOOK = {name: index + 1 for index, name in enumerate(OBJECTS)}
CENTER = VIEW[0] // 2, VIEW[1] // 2
STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
CRAFTS = [name for name in ACTIONS if name.startswith(("place_", "make_"))]
SOLID = {MATERIAL[name] for name in MATERIALS if name not in ("grass", "sand", "path")} | {0}


class Walker:
    """Goes for what it wants and keeps its direction while it sees nothing of it; `act` decides what it wants."""

    def __init__(self) -> None:
        self._way = "down"

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        raise NotImplementedError

    def seek(
        self,
        view: NDArray,
        rng: np.random.Generator,
        *,
        materials: Sequence[str] = (),
        looks: Sequence[str] = (),
        careful: bool = True,
    ) -> int:
        """Act on what is wanted if it is faced, else a step towards the nearest of it in view, else onwards."""
        ids, creatures = {MATERIAL[name] for name in materials}, {LOOK[name] for name in looks}
        ground, things = view.tolist()
        here = things[CENTER[0]][CENTER[1]]
        facing = next((step for way, step in STEPS.items() if here == LOOK[f"player-{way}"]), STEPS["down"])
        x, y = CENTER[0] + facing[0], CENTER[1] + facing[1]
        if careful and (ground[x][y] in ids or things[x][y] in creatures):
            return ACTION["do"]
        wanted = among(frozenset(ids))[view[0]] | among(frozenset(creatures))[view[1]]
        if wanted.any() and rng.random() < 0.85:
            offsets = np.argwhere(wanted) - CENTER
            dx, dy = offsets[np.abs(offsets).sum(axis=1).argmin()].tolist()
            along_x = (abs(dx) > abs(dy)) if rng.random() < 0.8 else (abs(dx) <= abs(dy))
            way = ("right" if dx > 0 else "left") if (along_x and dx) or not dy else ("down" if dy > 0 else "up")
        else:
            if rng.random() < 0.05:
                self._way = list(STEPS)[rng.integers(4)]
            way = self._way
        dx, dy = STEPS[way]
        ahead = ground[CENTER[0] + dx][CENTER[1] + dy]
        if careful and ahead == MATERIAL["lava"]:
            self._way = list(STEPS)[rng.integers(4)]
            return ACTION["place_stone"]
        if careful and ahead in SOLID and rng.random() < 0.4:
            self._way = list(STEPS)[rng.integers(4)]
            return ACTION["do"]
        return ACTION[f"move_{way}"]


class Random(Walker):
    """Any action."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        return int(rng.integers(len(ACTIONS)))


class Idle(Walker):
    """Nothing at all, until hunger and thirst have killed."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        return ACTION["noop"]


class Sleeper(Walker):
    """Sleeps whenever it can, walks a little in between."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        return ACTION["sleep"] if rng.random() < 0.8 else int(rng.integers(6))


class Daredevil(Walker):
    """Seeks lava and creatures, and steps into what it finds."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        return self.seek(view, rng, materials=["lava"], looks=["zombie", "skeleton"], careful=False)


class Fighter(Walker):
    """Goes for zombies, skeletons and cows."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        if rng.random() < 0.05:
            return craft(rng)
        return self.seek(view, rng, looks=["zombie", "skeleton", "cow"])


class Builder(Walker):
    """Places and makes whatever it can, anywhere."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        if rng.random() < 0.5:
            return craft(rng)
        return self.seek(view, rng, materials=["tree", "stone", "table", "grass"], looks=["plant-ripe"])


class Miner(Walker):
    """Digs for ore in the dark."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        if rng.random() < 0.1:
            return craft(rng)
        return self.seek(view, rng, materials=["diamond", "iron", "coal", "stone"])


class Gardener(Walker):
    """Plants saplings, waits beside them and keeps everything away; eats what is ripe."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        if sees(view, looks=["plant-ripe"]):
            return self.seek(view, rng, looks=["plant-ripe"])
        if inventory[ITEM["sapling"]] and not (view[1] == LOOK["plant"]).sum() > 2:
            return ACTION["place_plant"] if rng.random() < 0.5 else self.seek(view, rng)
        if inventory[ITEM["stone"]] and rng.random() < 0.1:
            return ACTION["place_stone"]
        threats = view[1][CENTER[0] - 2 : CENTER[0] + 3, CENTER[1] - 2 : CENTER[1] + 3]
        if sees_in(threats, "zombie", "cow"):
            return self.seek(view, rng, looks=["zombie", "cow"])
        if inventory[ITEM["drink"]] < 4 and sees(view, ["water"]):
            return self.seek(view, rng, materials=["water"])
        return ACTION["noop"] if rng.random() < 0.9 else int(rng.integers(1, 5))


class Settler(Walker):
    """Lives: drinks, eats, sleeps between stones, and makes its way up to iron and diamonds."""

    def act(self, view: NDArray, inventory: NDArray, rng: np.random.Generator) -> int:
        has = {name: int(inventory[index]) for name, index in ITEM.items()}
        near = view[1][CENTER[0] - 1 : CENTER[0] + 2, CENTER[1] - 1 : CENTER[1] + 2]
        if sees_in(near, "zombie", "skeleton"):
            return self.seek(view, rng, looks=["zombie", "skeleton"])
        asleep = view[1, CENTER[0], CENTER[1]] == LOOK["player-sleep"]
        if asleep or has["energy"] < 3:
            return ACTION["place_stone"] if has["stone"] and rng.random() < 0.2 else ACTION["sleep"]
        if has["drink"] < 4 or (has["drink"] < 8 and sees(view, ["water"])):
            return self.seek(view, rng, materials=["water"])
        if has["food"] < 4 or (has["food"] < 7 and sees(view, looks=["cow", "plant-ripe"])):
            return self.seek(view, rng, looks=["cow", "plant-ripe"])
        if rng.random() < 0.1:
            return craft(rng)
        wanted = ["tree"] if has["wood"] < 6 else []
        if has["wood_pickaxe"]:
            wanted += ["stone"] * (has["stone"] < 6) + ["coal"]
        if has["stone_pickaxe"]:
            wanted += ["iron"]
        if has["iron_pickaxe"]:
            wanted += ["diamond"]
        if has["sapling"] == 0:
            wanted += ["grass"]
        return self.seek(view, rng, materials=wanted)


PLAYERS: Sequence[type[Walker]] = (
    Settler,
    Random,
    Miner,
    Gardener,
    Fighter,
    Sleeper,
    Builder,
    Daredevil,
    Idle,
)


def craft(rng: np.random.Generator) -> int:
    """Any action that places or makes something."""
    return ACTION[CRAFTS[rng.integers(len(CRAFTS))]]


def sees(view: NDArray, materials: Sequence[str] = (), looks: Sequence[str] = ()) -> bool:
    """Whether any of this is in view."""
    found = among(frozenset(MATERIAL[name] for name in materials))[view[0]].any()
    return bool(found) or bool(looks and sees_in(view[1], *looks))


def sees_in(things: NDArray, *looks: str) -> bool:
    """Whether any of these is in a part of the view."""
    return bool(among(frozenset(LOOK[name] for name in looks))[things].any())


@cache
def among(ids: frozenset[int]) -> NDArray:
    """(256,) bool: which numbers are among these; np.isin takes ten times as long for so few."""
    table = np.zeros(256, bool)
    table[list(ids)] = True
    return table
