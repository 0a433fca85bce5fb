"""What the Crafter family says of itself and of worlds: tested against the game."""

from __future__ import annotations

import importlib.metadata
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from batch import Batch
from numpy.typing import NDArray
from scipy import ndimage

from envgen_exp import families as envs
from envgen_exp import registry
from envgen_exp.config import Engine, EnvConfig, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError
from envgen_exp.families import make_family
from envgen_exp.families.crafter import reach, upstream
from envgen_exp.families.crafter.brief import DIFFICULTY
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import BIOMES, CrafterDesign, starting_items
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.crafter.observation import OBJECTS
from envgen_exp.families.crafter.reach import Explorer, Reach
from envgen_exp.families.crafter.reference import ReferenceVector, make_world
from envgen_exp.families.design import Design

CONFIG = CrafterConfig(engine=Engine.reference, observation=Observe.symbolic)
SKILLS = set(upstream.SKILLS)
ALL_STONE = {
    "collect_stone",
    "place_stone",
    "place_furnace",
    "make_stone_pickaxe",
    "make_stone_sword",
    "collect_coal",
    "collect_iron",
    "collect_diamond",
    "make_iron_pickaxe",
    "make_iron_sword",
}


@pytest.fixture(scope="module")
def family() -> CrafterFamily:
    return CrafterFamily(CONFIG)


# What worlds allow


def world(material: str = "grass", **cells: list[tuple[int, int]]) -> NDArray[np.uint8]:
    """A handmade world of one material with cells of others, the player in the middle."""
    maps = np.zeros((2, 64, 64), np.uint8)
    maps[0] = upstream.MATERIALS.index(material) + 1
    for name, places in cells.items():
        for place in places:
            maps[0][place] = upstream.MATERIALS.index(name) + 1
    maps[1, 32, 32] = OBJECTS.index("player-down") + 1
    return maps


def explore(maps: NDArray[np.uint8], **items: int) -> Reach:
    return Explorer(items).explore(maps)


NEAR = [(32 + i, 40) for i in range(12)]
FAR = [(32 + i, 44) for i in range(12)]


def test_meadow_allows_what_grass_and_cows_give() -> None:
    reach = explore(world())
    assert reach.possible == {"wake_up", "collect_sapling", "place_plant", "eat_plant", "eat_cow", "defeat_zombie"}
    assert reach.lacking["collect_drink"] == "no water"
    assert reach.lacking["collect_wood"] == reach.lacking["place_table"] == "no tree"


@pytest.mark.parametrize(
    ("trees", "shown", "not_shown"),
    [
        (1, {"collect_wood"}, {"place_table", "make_wood_pickaxe"}),
        (2, {"place_table"}, {"make_wood_pickaxe", "make_wood_sword"}),
        (3, {"make_wood_pickaxe", "make_wood_sword", "collect_stone", "place_stone"}, {"make_stone_pickaxe"}),
        (5, {"make_stone_pickaxe", "make_stone_sword"}, set()),
    ],
)
def test_wood_is_counted(trees: int, shown: set[str], not_shown: set[str]) -> None:
    """Each tree gives one wood: two make a table, one more each tool; stone takes the wood pickaxe first."""
    reach = explore(world(tree=NEAR[:trees], stone=FAR))
    assert shown <= reach.possible
    assert not not_shown & reach.possible
    assert all(reach.lacking[skill] == "too little tree" for skill in not_shown)


def test_iron_takes_table_furnace_and_two_pickaxes() -> None:
    """Wood 2 + 1 + 1 + 1, stone 1 + 4, coal 1, iron 1."""
    full = {"tree": NEAR[:5], "stone": FAR[:5], "coal": FAR[5:6], "iron": FAR[6:7]}
    assert {"make_iron_pickaxe", "make_iron_sword", "place_furnace"} <= explore(world(**full)).possible
    for name, places in full.items():
        fewer = explore(world(**(full | {name: places[1:]})))
        assert "make_iron_pickaxe" not in fewer.possible
        assert name in fewer.lacking["make_iron_pickaxe"]
    assert "collect_diamond" not in explore(world(**full)).possible
    assert "collect_diamond" in explore(world(**full, diamond=FAR[7:8])).possible


def test_starting_items_save_the_way() -> None:
    bare = world(iron=NEAR[:1])
    assert "collect_iron" not in explore(bare).possible
    assert "collect_iron" in explore(bare, wood_pickaxe=1, stone_pickaxe=1).possible
    assert (
        "make_iron_sword" not in explore(bare, wood=3, stone=4, coal=1, wood_pickaxe=1, stone_pickaxe=1, iron=0).lacking
    )
    assert "place_furnace" in explore(world(), stone=4).possible
    assert "place_furnace" not in explore(world(), stone=3).possible
    # A stone at hand can be placed, collected and placed again.
    assert {"place_stone", "collect_stone"} <= explore(world(), stone=1, wood_pickaxe=1).possible
    assert "collect_stone" not in explore(world(), stone=1).possible


def test_what_lies_behind_water_is_out_of_reach_without_stones() -> None:
    moat = [(x, y) for x in range(64) for y in range(64) if max(abs(x - 32), abs(y - 32)) == 6]
    island = world(water=moat, tree=NEAR)
    assert "collect_wood" not in explore(island).possible
    assert "collect_drink" in explore(island).possible
    assert "collect_wood" not in explore(island, stone=1).possible  # no pickaxe to take the stone away again
    assert "collect_wood" in explore(island, stone=1, wood_pickaxe=1).possible
    wall = world(stone=moat, tree=NEAR)
    assert "collect_wood" not in explore(wall).possible
    assert "collect_wood" in explore(wall, wood_pickaxe=1).possible


def test_creatures_within_reach_or_appearing_there() -> None:
    assert {"eat_cow", "defeat_zombie", "defeat_skeleton"}.isdisjoint(explore(world("sand")).possible)
    for creature, skill in (("cow", "eat_cow"), ("zombie", "defeat_zombie"), ("skeleton", "defeat_skeleton")):
        maps = world("sand")
        maps[1, 10, 10] = OBJECTS.index(creature) + 1
        assert skill in explore(maps).possible
    small = world("sand", path=[(32, y) for y in range(27, 32)])
    assert "defeat_skeleton" not in explore(small).possible
    enough = world("sand", path=[(32, y) for y in range(26, 32)])
    assert "defeat_skeleton" in explore(enough).possible
    assert explore(world("sand")).lacking["defeat_skeleton"] == "no skeleton"


@pytest.mark.parametrize("share", [0.4, 0.6, 0.7, 1.0])
def test_reach_counts_cells_as_scipy_does(share: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        walkable = rng.random((64, 64)) < share
        start = np.zeros((64, 64), np.bool_)
        start[tuple(rng.integers(0, 64, 2))] = True
        region = reach._flood(walkable, start)
        labels, _ = ndimage.label(walkable | start)
        assert np.array_equal(region, labels == labels[start])
        assert np.array_equal(reach._spread(region), ndimage.binary_dilation(region))
        chunks = (np.arange(64) // 12)[:, None] * 6 + np.arange(64) // 12
        assert np.array_equal(reach._per_chunk(region), ndimage.sum(region, chunks, range(36)).reshape(6, 6))


@pytest.mark.parametrize("biome", BIOMES)
def test_nothing_impossible_is_ever_shown(biome: str) -> None:
    """Play that tries everything, in worlds whose inventory makes most skills near."""
    rng = np.random.default_rng(0)
    shown: set[str] = set()
    for seed in range(6):
        items: dict[str, Any] = {f"starting_{name}": int(rng.integers(0, 6)) for name in ("sapling", "wood", "stone")}
        items |= {"starting_coal": seed % 3, "starting_iron": seed % 2, "starting_stone_sword": 1}
        design = CrafterDesign(target_biome=biome, tree_rarity="very common", **items)
        config = CrafterConfig(engine=Engine.reference, observation=Observe.symbolic, designed_length=250)
        batch = Batch(ReferenceVector(config, [design], [seed])).reset()
        allowed = Explorer(starting_items(design)).explore(batch.env.maps()[0]).possible
        records: list[Any] = []
        while not records:
            records = batch.step([rng.choice(17, p=np.r_[0, [0.13] * 4, 0.26, 0.02, [0.02] * 10])])
        episode = {name for name, count in zip(upstream.SKILLS, records[0].skills, strict=True) if count}
        assert episode <= allowed
        shown |= episode
    assert len(shown) >= 6


# check()


def test_check_finds_the_known_traps(family: CrafterFamily) -> None:
    grassland = CrafterDesign(target_biome="grassland", targets=("collect_drink", "collect_wood"))
    check = family.check(grassland, num_worlds=6)
    assert check.playable
    assert set(check.impossible) == ALL_STONE | {"collect_drink", "defeat_skeleton"}
    assert "no water within reach in 6 of 6 worlds: collect_drink is impossible" in check.findings
    assert "targets that no sampled world allows: collect_drink" in check.findings
    assert check.counts["water"] == check.counts["stone"] == 0
    assert any("water 0 (" in line for line in check.findings)
    mountain = family.check(CrafterDesign(target_biome="mountain"), num_worlds=6)
    assert mountain.impossible == ("collect_drink",)
    beaches = family.check(CrafterDesign(target_biome="beaches"), num_worlds=6)
    assert set(beaches.impossible) == ALL_STONE | {"defeat_skeleton"}
    assert family.check(CrafterDesign(), num_worlds=6).impossible == ()


def test_check_knows_starting_items(family: CrafterFamily) -> None:
    design = CrafterDesign(target_biome="grassland", starting_stone=4, starting_wood=3)
    impossible = family.check(design, num_worlds=3).impossible
    assert {"place_stone", "collect_stone", "place_furnace", "make_stone_pickaxe"}.isdisjoint(impossible)
    assert {"collect_iron", "collect_coal", "make_iron_sword"} <= set(impossible)


def test_check_counts_and_repeats(family: CrafterFamily) -> None:
    design = CrafterDesign(target_biome="mountain", iron_rarity="rare")
    once, again = family.check(design, num_worlds=4), CrafterFamily(CONFIG).check(design, num_worlds=4)
    assert once == again
    more = family.check(CrafterDesign(target_biome="mountain", iron_rarity="very common"), num_worlds=4)
    assert more.counts["iron"] > 1.5 * once.counts["iron"] > 0
    with pytest.raises(EngineError):
        family.check(design, num_worlds=0)
    with pytest.raises(DesignError):
        family.check(Design(), num_worlds=1)
    for seed in (-1, 2**31 - 1):
        with pytest.raises(EngineError, match="world_seed"):
            family.picture(None, seed)


def test_findings_are_lines(family: CrafterFamily) -> None:
    for biome in BIOMES:
        for line in family.check(CrafterDesign(target_biome=biome), num_worlds=6).findings:
            assert "\n" not in line
            assert len(line) < 300


# Score


def test_score_is_hafners(family: CrafterFamily) -> None:
    """exp(mean ln(1 + s)) - 1 in percent is the 22nd root of the product of all 1 + s, less one."""
    rates = dict(zip(family.skills, np.linspace(0, 0.95, 22), strict=True))
    product = math.prod(1 + 100 * rate for rate in rates.values())
    assert family.score(rates) == pytest.approx(product ** (1 / 22) - 1, rel=1e-12)
    one = dict.fromkeys(family.skills, 0.0) | {"wake_up": 1.0}
    assert family.score(one) == pytest.approx(101 ** (1 / 22) - 1)


# Brief and rules


def test_brief_names_every_rule_of_the_package(family: CrafterFamily) -> None:
    text = "\n".join(family.brief.rules)
    constants = upstream.constants
    for material, info in constants.collect.items():
        line = next(line for line in family.brief.rules if line.startswith(f"{material}: "))
        for tool in info["require"]:
            assert tool.replace("_", " ") in line
        assert next(iter(info["receive"])) in line
    for verb in ("place", "make"):
        for name, info in getattr(constants, verb).items():
            line = next(line for line in family.brief.rules if line.startswith(f"{verb}_{name}: "))
            for item, amount in info["uses"].items():
                assert f"{amount} {item}" in line
            for word in (*info.get("nearby", ()), *info.get("where", ())):
                assert word in line
    assert all(action in family.brief.game for action in upstream.ACTIONS)
    assert "10000 steps" in family.brief.game
    assert "1024 steps" in family.brief.game
    assert "\n" not in family.brief.game
    assert "{" not in text


def test_numbers_of_the_brief_are_the_games(family: CrafterFamily) -> None:
    """The lines that no data file holds, against a player who stands still in an empty world."""
    text = " ".join(family.brief.rules)
    player = empty_world_player()
    steps: dict[str, int] = {}
    for step in range(1, 40):
        before = dict(player.inventory)
        player.update()
        for name in before:
            if player.inventory[name] < before[name]:
                steps.setdefault(name, step)
    assert f"Food falls by 1 every {steps['food']} steps, drink every {steps['drink']}" in text
    assert f"energy every {steps['energy']};" in text

    player = empty_world_player()
    player.inventory |= {"health": 5, "food": 9}
    assert f"else it rises by 1 every {steps_until(player, 'health', 6)}" in text
    player = empty_world_player()
    player.inventory["food"] = 0
    assert f"health falls by 1 every {steps_until(player, 'health', 8)} steps" in text
    player = empty_world_player()
    player.inventory["energy"], player.sleeping = 5, True
    assert f"energy rises by 1 every {steps_until(player, 'energy', 6)} steps" in text
    assert not player.achievements["wake_up"]

    objects = upstream.objects
    damage = {}
    for sword in ("", "wood_sword", "stone_sword", "iron_sword"):
        player = empty_world_player()
        player.inventory |= {sword: 1} if sword else {}
        target = objects.Zombie(player.world, (32, 33), player)
        before = target.health
        player._do_object(target)
        damage[sword] = before - target.health
    assert list(damage.values()) == [1, 2, 3, 5]
    assert "takes 1 health, 2 with a wood sword, 3 with a stone sword, 5 with an iron sword" in text
    health = {kind: getattr(objects, kind)(player.world, (1, 1), *args).health for kind, args in KINDS.items()}
    assert (health["Cow"], health["Skeleton"], health["Zombie"]) == (3, 3, 5)

    plant = objects.Plant(player.world, (32, 33))
    player.world.add(plant)
    ripening = 0
    while not plant.ripe:
        plant.update()
        ripening += 1
    assert ripening == 301
    assert "ripens after 300 steps" in text


KINDS: dict[str, tuple[Any, ...]] = {"Cow": (), "Skeleton": (None,), "Zombie": (None,)}


def empty_world_player() -> Any:
    world = upstream.engine.World(upstream.AREA, upstream.constants.materials, upstream.CHUNK)
    world._mat_map[:] = upstream.MATERIALS.index("sand") + 1
    player = upstream.objects.Player(world, (32, 32))
    world.add(player)
    return player


def steps_until(player: Any, name: str, amount: int) -> int:
    for step in range(1, 100):
        player.update()
        if player.inventory[name] == amount:
            return step
    raise AssertionError(f"{name} never is {amount}")


def test_rules_come_from_easy_to_hard(family: CrafterFamily) -> None:
    assert set(DIFFICULTY) == SKILLS
    met: set[str] = set()
    for rule in family.skill_rules:
        assert set(rule.requires) <= met
        met.add(rule.skill)
    requires = {rule.skill: set(rule.requires) for rule in family.skill_rules}
    assert requires["collect_iron"] == {"make_stone_pickaxe"}
    assert requires["make_iron_pickaxe"] == {
        *("place_table", "place_furnace"),
        *("collect_wood", "collect_coal", "collect_iron"),
    }


def test_requirements_are_necessary() -> None:
    """A world that lacks what a requirement needs does not allow the skill either."""
    rules = {rule.skill: rule.requires for rule in CrafterFamily(CONFIG).skill_rules}
    for seed in range(4):
        for biome in BIOMES:
            possible = explore(make_world(CrafterDesign(target_biome=biome), seed)).possible
            for skill in possible:
                assert set(rules[skill]) <= possible


def test_settings_of_a_rule_allow_its_skill(family: CrafterFamily) -> None:
    for rule in family.skill_rules:
        design = CrafterDesign(**rule.settings)
        assert rule.skill not in family.check(design, num_worlds=3).impossible, rule


# Engines and registry


def test_a_missing_native_engine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envgen_exp.families.crafter.engine", None)
    with pytest.raises(ConfigError, match=r"env\.engine=reference") as error:
        make_family(CrafterConfig(engine=Engine.native))
    assert "\n" not in str(error.value)


def test_crafter_needs_its_own_settings() -> None:
    with pytest.raises(ConfigError, match="env=crafter"):
        make_family(EnvConfig(name="crafter"))


def test_another_package_can_bring_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("toy", "test_crafter_family:make_toy", envs.FAMILIES.group)

    def entry_points(group: str, name: str | None = None) -> list[importlib.metadata.EntryPoint]:
        assert group == envs.FAMILIES.group
        return [point] if name in (None, "toy") else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert envs.FAMILIES.names == ("crafter", "driving", "heist", "toy")
    assert make_family(EnvConfig(name="toy")) == "a family of toy"  # type: ignore[comparison-overlap]
    with pytest.raises(ConfigError, match=r"did you mean toy\?; allowed: crafter \| driving \| heist \| toy"):
        make_family(EnvConfig(name="toi"))


def make_toy(config: EnvConfig) -> str:
    return f"a family of {config.name}"


def test_the_package_loads_without_gyms_notice_and_the_native_engine_without_numba() -> None:
    code = (
        "import envgen_exp.families.crafter.engine, sys\n"
        "print(sorted({'gym', 'numba', 'opensimplex', 'scipy'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "[]"
    assert run.stderr == ""
