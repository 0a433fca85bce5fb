"""What a designer is told of Crafter; all requirements and costs are put into words from the package's data.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envgen_exp.families.crafter.observation import VIEW
from envgen_exp.families.crafter.reach import SOURCES
from envgen_exp.families.crafter.upstream import ACTIONS, AREA, SKILLS, constants
from envgen_exp.families.family import Brief, SkillRule

DIFFICULTY: tuple[str, ...] = (
    "wake_up",
    "collect_sapling",
    "place_plant",
    "collect_wood",
    "collect_drink",
    "place_table",
    "eat_cow",
    "defeat_zombie",
    "make_wood_pickaxe",
    "make_wood_sword",
    "collect_stone",
    "place_stone",
    "collect_coal",
    "defeat_skeleton",
    "place_furnace",
    "make_stone_pickaxe",
    "make_stone_sword",
    "collect_iron",
    "eat_plant",
    "make_iron_sword",
    "make_iron_pickaxe",
    "collect_diamond",
)
"""The skills from easy to hard: none comes before one that it requires."""

_Settings = Mapping[str, str | int]

_GRASSLAND: _Settings = {"target_biome": "grassland"}
_MOUNTAIN: _Settings = {"target_biome": "mountain"}
_WOOD_FOR_TABLE: int = constants.place["table"]["uses"]["wood"]
_STONE_FOR_FURNACE: int = constants.place["furnace"]["uses"]["stone"]
_AT_TABLE: _Settings = {"starting_wood": _WOOD_FOR_TABLE + 1}
_IRON: _Settings = {
    **_MOUNTAIN,
    **_AT_TABLE,
    "coal_rarity": "very common",
    "iron_rarity": "very common",
    "starting_stone": _STONE_FOR_FURNACE,
    "starting_stone_pickaxe": 1,
}

_SETTINGS: Mapping[str, _Settings] = {
    "collect_sapling": _GRASSLAND,
    "place_plant": {**_GRASSLAND, "starting_sapling": 5},
    "collect_wood": {**_GRASSLAND, "tree_rarity": "very common"},
    "collect_drink": {"target_biome": "beaches"},
    "place_table": {**_GRASSLAND, "tree_rarity": "very common", "starting_wood": _WOOD_FOR_TABLE},
    "eat_cow": _GRASSLAND,
    "defeat_zombie": {**_GRASSLAND, "starting_wood_sword": 1},
    "make_wood_pickaxe": {**_GRASSLAND, "tree_rarity": "very common", **_AT_TABLE},
    "make_wood_sword": {**_GRASSLAND, "tree_rarity": "very common", **_AT_TABLE},
    "collect_stone": {**_MOUNTAIN, "starting_wood_pickaxe": 1},
    "place_stone": {**_MOUNTAIN, "starting_wood_pickaxe": 1},
    "collect_coal": {**_MOUNTAIN, "coal_rarity": "very common", "starting_wood_pickaxe": 1},
    "defeat_skeleton": {**_MOUNTAIN, "starting_stone_sword": 1},
    "place_furnace": {**_MOUNTAIN, "starting_stone": _STONE_FOR_FURNACE},
    "make_stone_pickaxe": {**_MOUNTAIN, **_AT_TABLE, "starting_wood_pickaxe": 1},
    "make_stone_sword": {**_MOUNTAIN, **_AT_TABLE, "starting_wood_pickaxe": 1},
    "collect_iron": {**_MOUNTAIN, "iron_rarity": "very common", "starting_stone_pickaxe": 1},
    "eat_plant": {**_GRASSLAND, "starting_sapling": 9},
    "make_iron_sword": _IRON,
    "make_iron_pickaxe": _IRON,
    "collect_diamond": {**_MOUNTAIN, "diamond_rarity": "very common", "starting_iron_pickaxe": 1},
}
"""Settings that bring a skill nearer; nothing in a design makes the player tired, so `wake_up` has none."""


def skill_rules() -> tuple[SkillRule, ...]:
    """What comes before each skill, from easy to hard."""
    return tuple(SkillRule(skill, _requires(skill), _SETTINGS.get(skill, {})) for skill in DIFFICULTY)


def _requires(skill: str) -> tuple[str, ...]:
    """The skills without which `skill` can't be shown by a player who starts with nothing."""
    verb, _, name = skill.partition("_")
    if verb == "collect":
        return tuple(f"make_{tool}" for tool in constants.collect[SOURCES[name]]["require"])
    if verb in ("place", "make"):
        info = getattr(constants, verb)[name]
        stations = tuple(f"place_{station}" for station in info.get("nearby", ()))
        return stations + tuple(f"collect_{item}" for item in info["uses"])
    return ("place_plant",) if skill == "eat_plant" else ()


def brief(designed_length: int, original_length: int) -> Brief:
    """The game, its rules and its skills in words."""
    width, height = AREA
    game = (
        f"Crafter (Hafner 2021) is a survival game in a world of {width} x {height} cells, new in every episode. "
        f"The agent starts in the middle, sees the {VIEW[0]} x {VIEW[1]} cells around it and its inventory, and picks "
        f"one of {len(ACTIONS)} actions a step: {', '.join(ACTIONS)}. It gathers resources, makes tools, eats, drinks "
        f"and sleeps, among cows, zombies and skeletons. Each of the {len(SKILLS)} skills earns a reward of 1 when it "
        "is shown for the first time in an episode; each point of health that is lost or won back counts -0.1 or +0.1. "
        f"An episode ends when health is 0, after {original_length} steps in the original game, and after "
        f"{designed_length} steps in a designed world."
    )
    rules = (
        f"'do' acts on the cell that the player faces; the player walks on {words(constants.walkable, 'and')}.",
        *(f"{name}: {line}" for name, line in (collecting() | crafting()).items()),
        holding(),
        *LIVING,
        _DESIGNED,
    )
    short = (
        f"Crafter is a survival game in a world of {width} x {height} cells. The agent gathers resources, makes tools, "
        "eats, drinks, sleeps and fights."
    )
    return Brief(game=game, rules=rules, skills=shown(), short=short)


def shown() -> dict[str, str]:
    """Each skill and how it is shown, in the order of `SKILLS`."""
    return {skill: _shown(skill) for skill in SKILLS}


def collecting() -> dict[str, str]:
    """By material, what is collected from it and what that takes."""
    lines = {}
    for material, info in constants.collect.items():
        chance = f" with probability {info['probability']}" if "probability" in info else ""
        stays = "stays" if info["leaves"] == material else f"becomes {info['leaves']}"
        lines[material] = f"'do' gives {_amounts(info['receive'])}{chance}, {_tools(info)}; the cell {stays}."
    return lines


def crafting() -> dict[str, str]:
    """By action, what is placed or made and what that takes."""
    lines = {
        f"place_{name}": f"uses {_amounts(info['uses'])}; the faced cell must be {words(info['where'], 'or')}."
        for name, info in constants.place.items()
    }
    for name, info in constants.make.items():
        stations = words(info["nearby"], "and a")
        lines[f"make_{name}"] = f"uses {_amounts(info['uses'])}; a {stations} must be within 1 cell."
    return lines


def holding() -> str:
    """How much the player can hold."""
    most = {info["max"] for info in constants.items.values()}
    return f"The inventory holds at most {words([str(n) for n in sorted(most)], 'or')} of each item."


LIVING: tuple[str, ...] = (
    "Health, food, drink and energy start at 9. Food falls by 1 every 26 steps, drink every 21, energy every 31; with "
    "one of them at 0 health falls by 1 every 16 steps, else it rises by 1 every 26.",
    "Asleep, energy rises by 1 every 11 steps; the player wakes up when energy is full, or without credit when it is "
    "hurt. While energy is full it can't fall asleep.",
    "A day lasts 300 steps and ends in a dark night; the darker, the more zombies appear on grass.",
    "Zombies chase the player and take 2 health, 7 from a sleeper. Skeletons live in tunnels and shoot arrows that "
    "take 2 health. Walking into lava is death.",
    "A hit takes 1 health, 2 with a wood sword, 3 with a stone sword, 5 with an iron sword; cows and skeletons have 3, "
    "zombies 5.",
    "A sapling that was placed ripens after 300 steps near the player, unless a creature beside it eats it.",
)
"""What data.yaml does not hold: the numbers are those of crafter.objects and are tested against the game."""

_DESIGNED = (
    "In a designed world a player who starts with stone or a stone tool also gets a wood pickaxe; with iron or an iron "
    "tool a stone and a wood pickaxe; with diamonds an iron, a stone and a wood pickaxe."
)


def _shown(skill: str) -> str:
    """How a skill is shown, in a clause."""
    verb, _, name = skill.partition("_")
    if verb == "collect":
        material = SOURCES[name]
        source = "" if name == material else f" from {material}"
        return f"get {name}{source} ({_tools(constants.collect[material])})"
    if verb == "place":
        return f"place {_a(name)} ({_amounts(constants.place[name]['uses'])})"
    if verb == "make":
        info = constants.make[name]
        return f"make {_a(name)} ({_amounts(info['uses'])}; near a {words(info['nearby'], 'and a')})"
    return {
        "eat_cow": "hit a cow until it is eaten",
        "eat_plant": "eat a sapling that was placed and has ripened",
        "defeat_zombie": "hit a zombie until it is defeated",
        "defeat_skeleton": "hit a skeleton until it is defeated",
        "wake_up": "sleep until energy is full",
    }[skill]


def _amounts(items: Mapping[str, int]) -> str:
    return ", ".join(f"{amount} {item}" for item, amount in items.items())


def _tools(info: Mapping[str, Mapping[str, int]]) -> str:
    return f"needs {' and '.join(_a(tool) for tool in info['require'])}" if info["require"] else "needs no tool"


def _a(thing: str) -> str:
    """A thing with its article."""
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing.replace('_', ' ')}"


def words(names: Sequence[str], last: str) -> str:
    """A list in words: 'a, b and c'."""
    return ", ".join(names[:-1]) + f" {last} {names[-1]}" if len(names) > 1 else names[0]
