"""Designed worlds against the paper's generator derived anew, and what must hold of all worlds."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import numpy as np
import opensimplex
import pytest

from envgen_exp import seeding
from envgen_exp.families.crafter import upstream
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import CrafterDesign
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.crafter.observation import OBJECTS
from envgen_exp.families.crafter.ordered import OrderedWorld, make_world
from envgen_exp.families.design import Design
from envgen_exp.seeding import WorldSet, world_seed

# The table of the paper's generator, once more and on its own: mountain factor, absolute value, water factor, start.
BIOME = {
    "natural": (1, False, 1, 0.5, "grass"),
    "mountain": (2, True, 0.1, 0.6, "path"),
    "beaches": (0.1, False, 1, 0.8, "grass"),
    "grassland": (0.1, False, 0.1, 0.6, "grass"),
}
LIMITS = {
    "coal": {"rare": 0.95, "common": 0.85, "very common": 0.75},
    "iron": {"rare": 0.85, "common": 0.75, "very common": 0.65},
    "diamond": {"rare": 0.994, "common": 0.9, "very common": 0.85},
    "tree": {"rare": 0.9, "common": 0.8, "very common": 0.7},
}


def derived_world(design: Design, seed: int) -> tuple[list[list[str]], list[tuple[str, int, int]], float]:
    """Cell by cell, in plain floats: materials [x][y], creatures as (kind, x, y), and the stream's next uniform."""
    settings = design.settings()
    factor, absolute, water_factor, start_limit, start_material = BIOME[settings["target_biome"]]
    limit = {name: table[settings[f"{name}_rarity"]] for name, table in LIMITS.items()}
    stream = np.random.RandomState(seed)
    noise3 = opensimplex.OpenSimplex(seed=stream.randint(0, 2**31 - 1)).noise3

    def noise(x: float, y: float, z: int, size: float) -> float:
        return float(noise3(x / size, y / size, z))

    materials, tunnels = [[""] * 64 for _ in range(64)], set()
    for x in range(64):
        for y in range(64):
            start = 1 / (1 + math.exp(-(4 - math.dist((x, y), (32, 32)) + 2 * noise(x, y, 8, 3))))
            water = noise(x, y, 3, 15) + 0.15 * noise(x, y, 3, 5) + 0.1 - 2 * start
            mountain = (noise(x, y, 0, 15) + 0.3 * noise(x, y, 0, 5)) / 1.3 - (4 * start + 0.3 * water)
            mountain = (abs(mountain) if absolute else mountain) * factor
            water *= water_factor
            material = "grass"
            if start > start_limit:
                material = start_material
            elif mountain > 0.15:
                material = "stone"
                if mountain > 0.3 and noise(x, y, 6, 7) > 0.15:
                    material = "path"
                elif noise(2 * x, y / 5, 7, 3) > 0.4 or noise(x / 5, 2 * y, 7, 3) > 0.4:
                    material = "path"
                    tunnels.add((x, y))
                else:
                    found = ""
                    for ore in ("coal", "iron", "diamond"):
                        if not found and mountain > 0.18 and stream.uniform() > limit[ore]:
                            found = ore
                    if found:
                        material = found
                    elif mountain > 0.3 and noise(x, y, 6, 5) > 0.35:
                        material = "lava"
            elif 0.25 < water <= 0.35 and noise(x, y, 4, 9) > -0.2:
                material = "sand"
            elif water > 0.3:
                material = "water"
            elif noise(x, y, 5, 7) > 0 and stream.uniform() > limit["tree"]:
                material = "tree"
            materials[x][y] = material

    creatures = []
    for x in range(64):
        for y in range(64):
            material, dist = materials[x][y], math.dist((x, y), (32, 32))
            if material not in ("grass", "sand", "path"):
                continue
            if material == "grass" and dist > 3 and stream.uniform() > 0.985:
                creatures.append(("Cow", x, y))
            elif dist > 10 and stream.uniform() > 0.993:
                creatures.append(("Zombie", x, y))
            elif dist > 10 and (x, y) in tunnels and stream.uniform() > 0.95:
                creatures.append(("Skeleton", x, y))
    return materials, creatures, stream.uniform()


@pytest.mark.parametrize("biome", BIOME)
@pytest.mark.parametrize(("rarity", "seed"), [("very common", 11), ("common", 12), ("rare", 13)])
def test_generator_is_the_papers(biome: str, rarity: str, seed: int) -> None:
    design = CrafterDesign(
        target_biome=biome,
        coal_rarity=rarity,
        iron_rarity=rarity,
        diamond_rarity=rarity,
        tree_rarity=rarity,
        starting_diamond=2,
    )
    materials, creatures, uniform = derived_world(design, seed)
    world = OrderedWorld(upstream.AREA, upstream.constants.materials, upstream.CHUNK)
    player = world.populate(seed, design)
    assert [[world[x, y][0] for y in range(64)] for x in range(64)] == materials
    assert [(type(o).__name__, *o.pos.tolist()) for o in world.objects] == [("Player", 32, 32), *creatures]
    assert world.random.uniform() == uniform
    held = {name: amount for name, amount in player.inventory.items() if amount}
    vital = dict.fromkeys(("health", "food", "drink", "energy"), 9)
    assert held == vital | {"diamond": 2, "wood_pickaxe": 1, "stone_pickaxe": 1, "iron_pickaxe": 1}


def test_known_traps() -> None:
    """Grassland and mountain have no water, grassland and beaches neither stone nor ore."""
    for seed in range(8):
        for biome, absent in (
            ("grassland", {"water", "sand", "stone", "coal", "iron", "diamond", "lava", "path"}),
            ("mountain", {"water", "sand"}),
            ("beaches", {"stone", "coal", "iron", "diamond", "lava", "path"}),
        ):
            settings = {f"{r}_rarity": "very common" for r in LIMITS}
            cells = make_world(CrafterDesign(target_biome=biome, **settings), seed)[0]
            assert not absent & {upstream.MATERIALS[i - 1] for i in np.unique(cells)}


def test_designed_default_has_as_much_of_the_originals_iron_as_the_docs_say() -> None:
    """'original' is always the stock game: the generator's defaults are another world."""
    family = CrafterFamily(CrafterConfig())
    ours, stock = (family._survey(design, 200).counts for design in (CrafterDesign(), None))
    docs = (Path(__file__).parents[1] / "docs" / "designers.md").read_text()
    told = re.search(r"([\d.]+) times stock's iron", docs)
    assert told is not None
    assert ours["iron"] / stock["iron"] == pytest.approx(float(told[1]), rel=0.08)
    assert ours["coal"] / stock["coal"] == pytest.approx(88.0 / 51.1, rel=0.05)  # of 2,000 worlds each


def test_world_sets_share_no_world_even_for_neighbouring_roots() -> None:
    """Compared on the worlds themselves: materials and objects at the start of an episode."""
    worlds: dict[WorldSet, set[bytes]] = {name: set() for name in WorldSet}
    made = 0
    for root in (0, 1, 2):
        for name in WorldSet:
            for seed in seeding.integers(root, "worlds", count=2):
                maps = make_world(None, world_seed(seed, 1, name))
                worlds[name].add(hashlib.sha256(maps.tobytes()).digest())
                made += 1
    assert made == 24
    assert sum(len(found) for found in worlds.values()) == made
    assert len(set().union(*worlds.values())) == made


def test_whole_map_shows_every_object_once() -> None:
    maps = make_world(CrafterDesign(target_biome="mountain"), 3)
    assert maps.shape == (2, 64, 64)
    assert maps[1, 32, 32] == OBJECTS.index("player-down") + 1
    assert maps[0].min() >= 1
