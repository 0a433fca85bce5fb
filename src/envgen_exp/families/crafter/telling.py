"""Crafter in words for a player: its manual, made from the package's rules, and what each observation shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.crafter.brief import LIVING, collecting, crafting, holding, shown, words
from envgen_exp.families.crafter.observation import OBJECTS, VIEW
from envgen_exp.families.crafter.upstream import ACTIONS, AREA, ITEMS, MATERIALS, SKILLS, constants
from envgen_exp.families.family import Manual, Scene
from envgen_exp.families.vector import Observation

_CENTRE = (VIEW[0] // 2, VIEW[1] // 2)
"""Where the player stands in a view."""

_SIDES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_VITAL = ITEMS[:4]
_NAMES = {"plant": "sapling", "plant-ripe": "ripe plant"} | {f"arrow-{s}": f"arrow flying {s}" for s in _SIDES}
"""Objects whose texture's name does not say what they are."""


def manual(max_steps: int) -> Manual:
    """What the original's player is told; requirements and costs are put into words from the package's data.yaml."""
    goal = (
        f"Crafter is a survival game in a world of {AREA[0]} x {AREA[1]} cells that is new in every episode. You start "
        f"in the middle of it, see the {VIEW[0]} x {VIEW[1]} cells around you and what you carry, and choose one of "
        f"{len(ACTIONS)} actions in each step. There are {len(SKILLS)} achievements. Each counts once in an episode, "
        "when it is reached for the first time; health that is lost counts a little against you. The episode ends when "
        f"your health is 0, or after {max_steps:,} steps. Reach as many different achievements as you can."
    )
    rules = (*(f"{material}: {line}" for material, line in collecting().items()), holding(), *LIVING)
    return Manual(goal=goal, actions=_actions(), idle="noop", rules=rules, skills=shown())


def _actions() -> dict[str, str]:
    ground = words(constants.walkable, "or")
    own = {
        "noop": "wait for a step.",
        "do": "act on the faced cell: collect its material, hit a creature, eat a ripe plant (4 food); a cow that is "
        "hit to its end gives 6 food.",
        "sleep": "fall asleep, unless energy is full; while asleep every action is replaced by sleeping on.",
    }
    for side in _SIDES:
        own[f"move_{side}"] = (
            f"face {side}, and walk a cell {side} if nothing stands there and it is {ground}; lava kills who walks in."
        )
    described = own | crafting()
    return {action: described[action] for action in ACTIONS}


def tell(obs: Observation, slot: int) -> Scene:
    """A symbolic observation in words: vital signs, belongings, what is faced, where the nearest of each kind is."""
    view, inventory = obs["view"][slot], obs["inventory"][slot]
    counts = {item: int(count) for item, count in zip(ITEMS, inventory, strict=True)}
    held = [f"{count} {item}" for item, count in counts.items() if count and item not in _VITAL]
    lines = [
        f"Vital signs, of 9 each: {', '.join(f'{name} {counts[name]}' for name in _VITAL)}.",
        f"You carry: {', '.join(held) or 'nothing'}.",
        f"Daylight: {float(obs['daylight'][slot, 0]):.0%}.",
        _posture(view),
        "Beside you: " + ", ".join(f"{side} {_cell(view, *offset)}" for side, offset in _SIDES.items()) + ".",
        "In view, the nearest of each kind:",
        *(f"- {line}" for line in _kinds(view)),
    ]
    return Scene("\n".join(lines), counts)


def _posture(view: NDArray[np.uint8]) -> str:
    ground = _material(view[0, _CENTRE[0], _CENTRE[1]])
    look = OBJECTS[int(view[1, _CENTRE[0], _CENTRE[1]]) - 1].removeprefix("player-")
    if look == "sleep":
        return f"You are asleep on {ground}."
    return f"You stand on {ground} and face {look}: {_cell(view, *_SIDES[look])}."


def _cell(view: NDArray[np.uint8], x: int, y: int) -> str:
    """What is at an offset from the player: an object and the ground under it, or the material alone."""
    material, thing = view[:, _CENTRE[0] + x, _CENTRE[1] + y]
    return f"{_object(thing)} on {_material(material)}" if thing else _material(material)


def _kinds(view: NDArray[np.uint8]) -> Iterator[str]:
    """A line for each kind of thing and material in view, creatures one by one; the player is left out."""
    cells: dict[str, list[tuple[int, int]]] = defaultdict(list)
    things: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for x, y in np.ndindex(VIEW):
        offset = (x - _CENTRE[0], y - _CENTRE[1])
        if offset == (0, 0):
            continue
        material, thing = view[:, x, y]
        cells[_material(material)].append(offset)
        if thing:
            things[_object(thing)].append(offset)
    for name, offsets in sorted(things.items()):
        yield f"{name}: {'; '.join(_where(offset) for offset in sorted(offsets, key=_distance))}"
    for name, offsets in sorted(cells.items()):
        many = "1 cell" if len(offsets) == 1 else f"{len(offsets)} cells"
        yield f"{name}: {_where(min(offsets, key=_distance))} ({many})"


def _distance(offset: tuple[int, int]) -> tuple[int, int, int]:
    """Steps to walk, then the place, so that equally near cells come in one order."""
    return (abs(offset[0]) + abs(offset[1]), *offset)


def _where(offset: tuple[int, int]) -> str:
    x, y = offset
    parts = [f"{abs(x)} {'left' if x < 0 else 'right'}"] if x else []
    parts += [f"{abs(y)} {'up' if y < 0 else 'down'}"] if y else []
    return " and ".join(parts)


def _material(number: int) -> str:
    return MATERIALS[int(number) - 1] if number else "the world's end"


def _object(number: int) -> str:
    texture = OBJECTS[int(number) - 1]
    return _NAMES.get(texture, texture)
