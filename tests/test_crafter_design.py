"""Crafter's vocabulary, its design model and what they mean to the generator."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from envgen_exp.families.crafter import upstream
from envgen_exp.families.crafter.design import BIOMES, RARITIES, VOCABULARY, CrafterDesign, starting_items, terrain
from envgen_exp.families.design import Design, Setting, design_key

SETTINGS = {setting.name: setting for setting in VOCABULARY}


def values(setting: Setting) -> st.SearchStrategy[str | int]:
    return st.sampled_from(setting.choices) if setting.choices else st.integers(setting.low, setting.high)


DESIGNS = st.fixed_dictionaries({}, optional={s.name: values(s) for s in VOCABULARY})


def test_vocabulary_is_the_papers() -> None:
    assert set(SETTINGS["target_biome"].choices) == {"grassland", "mountain", "beaches", "natural"}
    for resource in ("coal", "iron", "diamond", "tree"):
        assert set(SETTINGS[f"{resource}_rarity"].choices) == {"very common", "common", "rare"}
    ranges = {name: (s.low, s.high) for name, s in SETTINGS.items() if not s.choices}
    things = ("sapling", "wood", "stone", "coal", "iron", "diamond")
    tools = tuple(f"{m}_{t}" for m in ("wood", "stone", "iron") for t in ("pickaxe", "sword"))
    assert ranges == {f"starting_{t}": (0, 9) for t in things} | {f"starting_{t}": (0, 1) for t in tools}
    assert len(VOCABULARY) == 5 + 12


def test_model_and_vocabulary_agree() -> None:
    assert list(CrafterDesign.model_fields) == [*Design.model_fields, *SETTINGS]
    assert CrafterDesign().settings() == {s.name: s.default for s in VOCABULARY}
    schema = CrafterDesign.model_json_schema()["properties"]
    for setting in VOCABULARY:
        field = schema[setting.name]
        assert field["description"] == setting.doc
        assert field["default"] == setting.default
        if setting.choices:
            assert field["enum"] == list(setting.choices)
        else:
            assert (field["type"], field["minimum"], field["maximum"]) == ("integer", setting.low, setting.high)


@given(DESIGNS)
def test_designs_survive_json(settings: dict[str, str | int]) -> None:
    design = CrafterDesign(**settings, purpose="p", targets=("collect_wood",))
    again = CrafterDesign.model_validate_json(design.model_dump_json())
    assert again == design
    assert again.settings() == {s.name: settings.get(s.name, s.default) for s in VOCABULARY}
    assert design_key(again) == design_key(CrafterDesign(**settings))


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_biome": "desert"},
        {"target_biome": None},
        {"coal_rarity": "very_common"},
        {"starting_wood": 10},
        {"starting_wood": -1},
        {"starting_wood": 1.0},
        {"starting_wood": "1"},
        {"starting_wood_pickaxe": 2},
        {"starting_wood_pickaxe": True},
        {"starting_leather": 1},
        {"lava": True},
    ],
)
def test_what_is_no_design(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CrafterDesign.model_validate(wrong)
    with pytest.raises(ValidationError):
        CrafterDesign.model_validate_json(json.dumps(wrong))


def test_designs_are_frozen() -> None:
    with pytest.raises(ValidationError):
        CrafterDesign().target_biome = "mountain"  # type: ignore[attr-defined]


def test_every_starting_item_is_one_of_the_package() -> None:
    assert {name.removeprefix("starting_") for name in SETTINGS if name.startswith("starting_")} <= set(upstream.ITEMS)
    for name, setting in SETTINGS.items():
        if name.startswith("starting_"):
            assert setting.high <= upstream.constants.items[name.removeprefix("starting_")]["max"]
    for biome in BIOMES.values():
        assert biome.start_material in upstream.constants.walkable
    assert set(RARITIES) <= set(upstream.MATERIALS)


@pytest.mark.parametrize(
    ("given_items", "expected"),
    [
        ({}, {}),
        ({"wood": 3, "sapling": 1, "coal": 2}, {"wood": 3, "sapling": 1, "coal": 2}),
        ({"wood_sword": 1}, {"wood_sword": 1}),
        ({"stone": 2}, {"stone": 2, "wood_pickaxe": 1}),
        ({"stone_sword": 1}, {"stone_sword": 1, "wood_pickaxe": 1}),
        ({"stone_pickaxe": 1}, {"stone_pickaxe": 1, "wood_pickaxe": 1}),
        ({"iron": 1}, {"iron": 1, "stone_pickaxe": 1, "wood_pickaxe": 1}),
        ({"iron_sword": 1}, {"iron_sword": 1, "stone_pickaxe": 1, "wood_pickaxe": 1}),
        ({"diamond": 9}, {"diamond": 9, "iron_pickaxe": 1, "stone_pickaxe": 1, "wood_pickaxe": 1}),
    ],
)
def test_prerequisite_tools(given_items: dict[str, int], expected: dict[str, int]) -> None:
    design = CrafterDesign(**{f"starting_{item}": amount for item, amount in given_items.items()})
    assert starting_items(design) == expected


def test_default_terrain() -> None:
    """The designed generator's defaults: diamonds are rare, the rest is common."""
    numbers = terrain(CrafterDesign())
    assert (numbers.coal, numbers.iron, numbers.diamond, numbers.tree) == (0.85, 0.75, 0.994, 0.8)
    assert numbers.biome == BIOMES["natural"]
