"""What the native engine is handed as tables: the package's rules, pictures and daylight, and designs as numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.crafter import _crafter, upstream
from envgen_exp.families.crafter.design import CREATURE_DISTANCE, ORE_GATE, CrafterDesign, starting_items, terrain
from envgen_exp.families.crafter.observation import GRID, OBJECTS, UNIT, VIEW
from envgen_exp.families.crafter.upstream import AREA, CHUNK, ITEMS, MATERIALS, SKILLS, constants
from envgen_exp.families.design import Design

if (_crafter.area, _crafter.area) != AREA or (_crafter.chunk, _crafter.chunk) != CHUNK or _crafter.looks != [*OBJECTS]:
    raise ImportError("envgen_exp.families.crafter._crafter was built for another layout of the game; build it again")


@functools.lru_cache(maxsize=256)
def make_terrain(design: Design | None) -> _crafter.Terrain:
    """The generator's numbers; the original's are a design's defaults, for the stock generator."""
    numbers = terrain(CrafterDesign() if design is None else design)
    biome = numbers.biome
    return _crafter.Terrain(
        designed=design is not None,
        mountain_absolute=biome.mountain_absolute,
        mountain_scale=biome.mountain_scale,
        water_scale=biome.water_scale,
        start_threshold=biome.start_threshold,
        start_material=MATERIALS.index(biome.start_material) + 1,
        coal=numbers.coal,
        iron=numbers.iron,
        diamond=numbers.diamond,
        tree=numbers.tree,
        ore_gate=ORE_GATE,
        zombie_distance=CREATURE_DISTANCE,
        skeleton_distance=-1.0 if design is None else CREATURE_DISTANCE,
    )


@functools.lru_cache(maxsize=256)
def make_items(design: Design | None) -> list[int]:
    """How many of each item a player starts with, where it is more than the rules give."""
    items = {} if design is None else starting_items(design)
    return [items.get(name, 0) for name in ITEMS]


@functools.cache
def make_rules() -> _crafter.Rules:
    """The package's rules."""
    return _crafter.Rules(
        actions=upstream.ACTIONS,
        materials=MATERIALS,
        walkable=constants.walkable,
        items=[(name, item["max"], item["initial"]) for name, item in constants.items.items()],
        collect={
            name: (rule["require"], rule["receive"], rule.get("probability", 1), rule["leaves"])
            for name, rule in constants.collect.items()
        },
        place={name: (rule["uses"], rule["where"], rule["type"]) for name, rule in constants.place.items()},
        make={name: (rule["uses"], rule["nearby"], rule["gives"]) for name, rule in constants.make.items()},
        skills=SKILLS,
    )


@functools.lru_cache(maxsize=8)
def make_daylight(steps: int) -> NDArray[np.float64]:
    """Daylight from step 0 to step `steps`, (steps + 1,), by the package's own clock."""
    env = _package()
    values = np.empty(steps + 1)
    for env._step in range(steps + 1):
        env._update_time()
        values[env._step] = env._world.daylight
    return values


@functools.cache
def make_art() -> _crafter.Art:
    """Every picture of a cell, drawn by the package."""
    env, unit = _package(), np.array(UNIT)
    draw, textures, view = upstream.engine, env._textures, env._local_view
    rows = []
    for material in (None, *MATERIALS):
        for thing in (None, *OBJECTS):
            tile = np.full((*UNIT, 3), 127, np.uint8)
            if material:
                draw._draw(tile, (0, 0), textures.get(material, unit))
            if thing:
                draw._draw_alpha(tile, (0, 0), textures.get(thing, unit))
            rows.append(tile)
    tiles = np.concatenate(rows)
    # At half of the daylight no noise is drawn, and a tile is the mean of day and night.
    nights = 4 * view._light(tiles, 0.5) - 2.0 * tiles
    counts = []
    for count in range(10):
        canvas = env._item_view(dict.fromkeys(ITEMS, count), unit)
        places = [(index % GRID[0] * UNIT[0], index // GRID[0] * UNIT[1]) for index in range(len(ITEMS))]
        counts.append([canvas[x : x + UNIT[0], y : y + UNIT[1]] for x, y in places])
    return _crafter.Art(
        rules=make_rules(),
        tiles=_flat(tiles.reshape(-1, *UNIT, 3)),
        nights=_flat(nights.reshape(-1, *UNIT, 3).astype(np.uint16)),
        items=_flat(np.array(counts).swapaxes(0, 1).reshape(-1, *UNIT, 3)),
        vignette=view._vignette((VIEW[0] * UNIT[0], VIEW[1] * UNIT[1], 3), 0.5).ravel(),
    )


@functools.cache
def _package() -> Any:
    """The package's environment, for its views, its textures and its clock."""
    return upstream.env.Env(area=AREA, seed=0)


def _flat(pictures: NDArray[Any]) -> NDArray[Any]:
    """Pictures with x before y as one array in the order of a frame, rows first."""
    return np.ascontiguousarray(pictures.swapaxes(1, 2)).ravel()
