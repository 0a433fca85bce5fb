"""Designed worlds: the paper's generator, on the crafter package's world and with its noise.

It is `crafter.worldgen` with a design's numbers. Noise draws nothing, so all of it is computed ahead for the whole
world; the uniforms come from the world's stream one by one, in the order of the cells, and only where all conditions
that stand before them hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import opensimplex
from numba import njit
from numpy.typing import NDArray
from opensimplex.internals import _noise3

from envgen_exp.families.crafter.design import CREATURE_DISTANCE, ORE_GATE, Terrain
from envgen_exp.families.crafter.upstream import AREA, constants, objects

Grid = NDArray[np.float64]
"""A number for each cell, (64, 64), x before y."""


def generate_world(world: Any, player: Any, numbers: Terrain) -> None:
    """Fill a fresh world that holds the player: first all materials, then all creatures, x outer and y inner."""
    simplex = opensimplex.OpenSimplex(seed=world.random.randint(0, 2**31 - 1))
    xs, ys = (np.arange(cells, dtype=np.float64) for cells in AREA)
    dist = np.sqrt((xs[:, None] - player.pos[0]) ** 2 + (ys[None, :] - player.pos[1]) ** 2)
    tunnels = _set_materials(world, simplex, dist, numbers)
    _set_creatures(world, player, dist, tunnels)


def _set_materials(world: Any, simplex: opensimplex.OpenSimplex, dist: Grid, numbers: Terrain) -> NDArray[np.bool_]:
    """Give every cell its material; returns which cells are tunnels, where skeletons live."""
    xs, ys = (np.arange(cells, dtype=np.float64) for cells in AREA)

    def noise(z: int, size: float, xs: NDArray[np.float64] = xs, ys: NDArray[np.float64] = ys) -> Grid:
        grid: Grid = _noise(xs / size, ys / size, z, simplex._perm, simplex._perm_grad_index3)
        return grid

    start = 4 - dist
    start += 2 * noise(8, 3)
    start = 1 / (1 + np.exp(-start))
    water = noise(3, 15) + 0.15 * noise(3, 5) + 0.1
    water -= 2 * start
    mountain = (noise(0, 15) + 0.3 * noise(0, 5)) / 1.3
    mountain -= 4 * start + 0.3 * water

    biome = numbers.biome
    if biome.mountain_absolute:
        mountain = np.abs(mountain)
    mountain *= biome.mountain_scale
    water *= biome.water_scale

    at_start = start > biome.start_threshold
    rock = mountain > 0.15
    cave = (noise(6, 7) > 0.15) & (mountain > 0.3)
    tunnel = (noise(7, 3, xs=2 * xs, ys=ys / 5) > 0.4) | (noise(7, 3, xs=xs / 5, ys=2 * ys) > 0.4)
    ore = mountain > ORE_GATE
    lava = (mountain > 0.3) & (noise(6, 5) > 0.35)
    sand = (water > 0.25) & (water <= 0.35) & (noise(4, 9) > -0.2)
    wood = noise(5, 7) > 0

    uniform = world.random.random_sample  # the same draw as uniform(), ten times faster
    for x in range(AREA[0]):
        for y in range(AREA[1]):
            if at_start[x, y]:
                material = biome.start_material
            elif rock[x, y]:
                if cave[x, y] or tunnel[x, y]:
                    material = "path"
                elif ore[x, y] and uniform() > numbers.coal:
                    material = "coal"
                elif ore[x, y] and uniform() > numbers.iron:
                    material = "iron"
                elif ore[x, y] and uniform() > numbers.diamond:
                    material = "diamond"
                else:
                    material = "lava" if lava[x, y] else "stone"
            elif sand[x, y]:
                material = "sand"
            elif water[x, y] > 0.3:
                material = "water"
            elif wood[x, y] and uniform() > numbers.tree:
                material = "tree"
            else:
                material = "grass"
            world[x, y] = material
    made: NDArray[np.bool_] = ~at_start & rock & ~cave & tunnel
    return made


def _set_creatures(world: Any, player: Any, dist: Grid, tunnels: NDArray[np.bool_]) -> None:
    uniform = world.random.random_sample
    walkable = np.logical_or.reduce([world.mask(0, AREA[0], 0, AREA[1], name) for name in constants.walkable])
    grass = world.mask(0, AREA[0], 0, AREA[1], "grass")
    for x, y in np.argwhere(walkable).tolist():
        far = dist[x, y] > CREATURE_DISTANCE
        if dist[x, y] > 3 and grass[x, y] and uniform() > 0.985:
            world.add(objects.Cow(world, (x, y)))
        elif far and uniform() > 0.993:
            world.add(objects.Zombie(world, (x, y), player))
        elif far and tunnels[x, y] and uniform() > 0.95:
            world.add(objects.Skeleton(world, (x, y), player))


@njit(cache=True)
def _noise(xs: Any, ys: Any, z: int, perm: Any, perm_grad_index3: Any) -> Any:
    """OpenSimplex noise at all (x, y, z)."""
    grid = np.empty((xs.size, ys.size))
    for i in range(xs.size):
        for j in range(ys.size):
            grid[i, j] = _noise3(xs[i], ys[j], z, perm, perm_grad_index3)
    return grid
