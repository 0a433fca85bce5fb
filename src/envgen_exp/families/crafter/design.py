"""Crafter's design space: the one vocabulary, and what each word of it means to the world generator.

The vocabulary is that of EnvGen's prompt for Crafter (arXiv 2403.12014, section 3 and appendix), the numbers are those
of the generator that the paper used. Prompt, reply parser, design model and both engines read them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from envgen_exp.families.crafter.config import CrafterConfig, Generator, OriginalGame
from envgen_exp.families.design import Design, Setting, design_model

_MOST = 9
"""The most units of an item to start with."""


@dataclass(frozen=True)
class Biome:
    """What a target biome does to the generator; `natural` is stock's values.

    A cell's mountain and water noise are complete before they are scaled, and scaled before any threshold is read;
    where `mountain_absolute` is set, the mountain noise's absolute value is scaled.
    """

    mountain_absolute: bool
    mountain_scale: float
    water_scale: float
    start_threshold: float
    """Cells whose start value is above this belong to the start area."""
    start_material: str
    """What the start area is made of."""


BIOMES: Mapping[str, Biome] = {
    "natural": Biome(False, 1.0, 1.0, 0.5, "grass"),
    "grassland": Biome(False, 0.1, 0.1, 0.6, "grass"),
    "mountain": Biome(True, 2.0, 0.1, 0.6, "path"),
    "beaches": Biome(False, 0.1, 1.0, 0.8, "grass"),
}

RARITIES: Mapping[str, Mapping[str, float]] = {
    "coal": {"very common": 0.75, "common": 0.85, "rare": 0.95},
    "iron": {"very common": 0.65, "common": 0.75, "rare": 0.85},
    "diamond": {"very common": 0.85, "common": 0.9, "rare": 0.994},
    "tree": {"very common": 0.7, "common": 0.8, "rare": 0.9},
}
"""A uniform draw above this number makes the resource, where a cell can hold it."""

ORE_GATE = 0.18
"""Coal, iron and diamond stand only where the mountain noise is above this."""

CREATURE_DISTANCE = 10
"""Zombies and skeletons start farther than this many cells (Euclidean) from the player."""

PREREQUISITES: tuple[tuple[str, str], ...] = (
    ("diamond", "iron_pickaxe"),
    ("iron", "stone_pickaxe"),
    ("stone", "wood_pickaxe"),
)
"""Whoever starts with an item whose name begins with the first word also gets the second, in this order."""

_WORLD = ("environment_settings", "world_settings", "biome_settings")
_RARITY = (*_WORLD, "rarity", "rarities", "rarity_settings", "resources")
_INVENTORY = ("inventory_settings", "inventory", "starting", "starting_items", "starting_inventory")
"""Groups of settings; those of the paper's prompt come first."""

_BIOME = Setting(
    name="target_biome",
    doc=(
        "What most of the world is: grassland (grass and trees, neither water nor rock), mountain (rock, ores, tunnels "
        "and lava, no water), beaches (grass, water and sand, no rock) or natural (the original's mixture)."
    ),
    default="natural",
    choices=("grassland", "mountain", "beaches", "natural"),
    groups=_WORLD,
    short="biome",
)


def _rarity(resource: str, default: str, doc: str) -> Setting:
    return Setting(f"{resource}_rarity", doc, default, tuple(RARITIES[resource]), groups=_RARITY, short=resource)


def _start(item: str, high: int, doc: str) -> Setting:
    return Setting(f"starting_{item}", doc, 0, low=0, high=high, groups=_INVENTORY, short=item)


VOCABULARY: tuple[Setting, ...] = (
    _BIOME,
    _rarity("coal", "common", "How much coal is in the mountains."),
    _rarity("iron", "common", "How much iron is in the mountains."),
    _rarity("diamond", "rare", "How many diamonds are in the mountains."),
    _rarity("tree", "common", "How many trees stand in the woods."),
    *(
        _start(item, _MOST, f"How many units of {item} the player starts with.")
        for item in ("sapling", "wood", "stone", "coal", "iron", "diamond")
    ),
    *(
        _start(f"{material}_{tool}", 1, f"Whether the player starts with this {tool} (1) or not (0).")
        for tool in ("pickaxe", "sword")
        for material in ("wood", "stone", "iron")
    ),
)
"""Every word that a Crafter design may use, with what it takes and its default."""


CrafterDesign = design_model(
    "CrafterDesign", __name__, "One Crafter world's settings: the vocabulary as a frozen, strict model.", VOCABULARY
)


def generated(design: Design | None, config: CrafterConfig) -> Design | None:
    """The design whose world is made: the design itself, None for the stock game, but for the config's diagnostics.

    With env.original=fork the original is the designed generator's default world, as in the paper's own fork. With
    env.generator=released coal "very common" is ignored: the released simulator spells it otherwise than its prompt.
    """
    if design is None:
        return CrafterDesign() if config.original is OriginalGame.fork else None
    if config.generator is Generator.released and design.settings()["coal_rarity"] == "very common":
        return design.model_copy(update={"coal_rarity": "common"})
    return design


@dataclass(frozen=True)
class Terrain:
    """A design as the world generator's numbers."""

    biome: Biome
    coal: float
    iron: float
    diamond: float
    tree: float


def terrain(design: Design) -> Terrain:
    """The generator's numbers for a design."""
    settings = design.settings()
    return Terrain(
        biome=BIOMES[settings["target_biome"]],
        **{resource: RARITIES[resource][settings[f"{resource}_rarity"]] for resource in RARITIES},
    )


def starting_items(design: Design) -> dict[str, int]:
    """The items with which a design's player starts, without those of which there are none.

    It is what the design says, and the prerequisite tools besides: stone, a stone sword or a stone pickaxe bring a wood
    pickaxe; iron, an iron sword or an iron pickaxe bring a stone pickaxe, and so a wood one; a diamond brings all
    three. Coal, wood, saplings and wooden tools bring nothing.
    """
    items = {
        name.removeprefix("starting_"): int(value)
        for name, value in design.settings().items()
        if name.startswith("starting_") and value
    }
    for material, tool in PREREQUISITES:
        if any(item.startswith(material) for item in items):
            items.setdefault(tool, 1)
    return items
