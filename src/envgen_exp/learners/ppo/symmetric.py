"""A network for symbols that is exactly equivariant to the four flips of a game that has a `Symmetry`.

A mirrored observation gives the same value and the mirrored policy, whatever the weights: they are tied. Numbers are
kept by class, (4, B, ...): the even ones, which no flip changes, those that change sign with x, with y, and with both.
A tied linear layer never mixes classes, so it is four small ones, a quarter of the work. What bends, LayerNorm and
ReLU, does so for each flip: `_across` leads from the classes to the four flips, and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envgen_exp.errors import ConfigError
from envgen_exp.families.symmetry import FLIPS, Symmetry, images, ways
from envgen_exp.learners.ppo.agent import ACTOR_GAIN, CRITIC_GAIN, Encoder, Spec
from envgen_exp.learners.ppo.networks import joint, require_symbolic, scale_of

SIGNS = tuple((1, x, y, x * y) for x, y in FLIPS)


class TiedEncoder(Encoder):
    """The part of an equivariant network that follows what it reads: two tied layers, and heads."""

    symmetric, SIGNS = True, SIGNS
    symmetry: Symmetry
    signs: Tensor
    WIDTH = 128

    def _create(self, inputs: Sequence[int], generator: torch.Generator) -> None:
        """The layers, for so many inputs of each class."""
        self.linear1 = nn.ParameterList(orthogonal(self.WIDTH, count, generator) for count in inputs)
        self.bias1, self.bias2 = (nn.Parameter(torch.zeros(self.WIDTH)) for _ in range(2))
        self.norm = nn.LayerNorm(self.WIDTH)
        blocks = [orthogonal(self.WIDTH, self.WIDTH, generator).T for _ in SIGNS]
        self.linear2 = nn.Parameter(torch.stack(blocks))
        self.register_buffer("signs", torch.tensor(SIGNS) / 2, persistent=False)

    def actor(self, num_features: int, num_actions: int, generator: torch.Generator) -> nn.Module:
        if len(self.symmetry.actions) != num_actions:
            raise ConfigError(
                f"ppo.network={self.network}: {num_actions} actions, and {len(self.symmetry.actions)} names"
            )
        return SymmetricHead(self.symmetry.actions, num_features // 4, ACTOR_GAIN, generator)

    def critic(self, num_features: int, generator: torch.Generator) -> nn.Module:
        return SymmetricHead(("value",), num_features // 4, CRITIC_GAIN, generator)

    def _mixed(self, sorts: Sequence[list[Tensor]]) -> Tensor:
        """Features (B, 4 * WIDTH), class by class, from the inputs of each class."""
        x = torch.stack([F.linear(torch.cat(parts, 1), w) for parts, w in zip(sorts, self.linear1, strict=True)])
        x = self._across(x, self.bias1).transpose(0, 1).flatten(1)
        x = F.relu_(F.layer_norm(x, x.shape[1:], self.norm.weight.repeat(4), self.norm.bias.repeat(4), self.norm.eps))
        x = self._across(x.view(-1, 4, self.WIDTH).transpose(0, 1).contiguous())
        x = self._across(F.relu_(self._across(torch.bmm(x, self.linear2.to(x.dtype)), self.bias2)))
        return x.transpose(0, 1).flatten(1)

    def _across(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Classes (4, B, n) as flips, or flips as classes; every flip gets the `bias`."""
        x = torch.mm(self.signs.to(x.dtype), x.flatten(1)).view_as(x)
        return x if bias is None else x + bias

    def _sides(self, cells: Tensor, width: int, height: int) -> tuple[Tensor, ...]:
        """The inputs (B, n) of each class from the cells of a map (X * Y, B, m), in the order of `quarters`; the last,
        the middle, may be missing."""
        right, below = width // 2, height // 2
        count, batch, size = cells.shape
        pairs = [4 * right * below, 2 * right * (height % 2), 2 * below * (width % 2)]
        four, x_two, y_two, middle = torch.split(cells, [*pairs, count - sum(pairs)])
        sides = self._across(four.reshape(4, -1)).view(4, -1, batch, size)
        x_sides, y_sides = (
            torch.stack([pair[0] + pair[1], pair[0] - pair[1]]) * 0.5**0.5
            for pair in (two.view(2, -1, batch, size) for two in (x_two, y_two))
        )
        parts = [
            [sides[0], x_sides[0], y_sides[0], middle],
            [sides[1], x_sides[1]],
            [sides[2], y_sides[1]],
            [sides[3]],
        ]
        return tuple(torch.cat(each).transpose(0, 1).flatten(1) for each in parts)


class SymmetricEncoder(TiedEncoder):
    """Maps of ids and counts as `SymbolicEncoder` reads them, but for three things.

    - Ids that are mirror images of one another share an embedding. The way that the player faces, the id in the middle
      of the last map, is an input by itself; that of other things is not read.
    - The cell that the player faces has an embedding of its own in place of the pairs.
    - The layers are tied.
    """

    network = "symmetric"
    CELL, FACED, MOST = 8, 16, 16

    def __init__(
        self, config: object, observation_spec: Spec, generator: torch.Generator, symmetry: Symmetry | None
    ) -> None:
        require_symbolic(self.network, observation_spec)
        shown = {name for name, spec in observation_spec.items() if len(spec.shape) >= 2}
        if symmetry is None or not shown <= {*symmetry.maps}:
            raise ConfigError(
                f"ppo.network={self.network} needs a game that says how it is mirrored, and this one doesn't; "
                "what fits: ppo.network=symbolic"
            )
        super().__init__(num_features=4 * self.WIDTH)
        self.symmetry = symmetry
        self.cells, self.faced = nn.ParameterDict(), nn.ParameterDict()
        self.scales: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        inputs = [0, 0, 0, 0]
        for name, spec in observation_spec.items():
            if len(spec.shape) >= 2:
                named = symmetry.maps[name]
                width, height = self.shapes[name] = spec.shape[-2:]
                self.register_buffer(f"{name}_order", torch.tensor(quarters(width, height)), persistent=False)
                ids = int(spec.high) + 1
                maps = [(*map_ids, *(f"id {unnamed}" for unnamed in range(len(map_ids), ids))) for map_ids in named]
                self.register_buffer(f"{name}_orbits", _orbits(maps), persistent=False)
                self.register_buffer(f"{name}_ways", torch.tensor(ways(maps[-1])), persistent=False)
                table = torch.empty(len(maps), ids, self.CELL)
                # A cell's sum over its maps has unit variance.
                self.cells[name] = nn.Parameter(nn.init.normal_(table, std=len(maps) ** -0.5, generator=generator))
                table = torch.empty(len(maps), ids, self.FACED)
                self.faced[name] = nn.Parameter(nn.init.normal_(table, generator=generator))
                for sort, cells in enumerate(sizes(width, height)):
                    inputs[sort] += cells * self.CELL + (sort in (1, 2))
                inputs[0] += 2 + len(maps) * self.FACED
            elif np.issubdtype(spec.dtype, np.integer) and spec.low >= 0 and spec.high <= self.MOST:
                self.counts[name] = int(scale_of(name, spec))
                inputs[0] += math.prod(spec.shape) * self.counts[name]
            else:
                self.scales[name] = 1 / scale_of(name, spec)
                inputs[0] += math.prod(spec.shape)
        self._create(inputs, generator)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Features (B, 4 * WIDTH), class by class."""
        sorts: tuple[list[Tensor], ...] = ([], [], [], [])
        for name in self.shapes:
            for sort, parts in zip(sorts, self._map(name, obs[name]), strict=True):
                sort += parts
        for name, most in self.counts.items():
            steps = torch.arange(most, device=obs[name].device)
            sorts[0].append((obs[name].unsqueeze(-1) > steps).flatten(1).float())
        sorts[0].extend(obs[name].float() * scale for name, scale in self.scales.items())
        return self._mixed(sorts)

    def _map(self, name: str, ids: Tensor) -> tuple[list[Tensor], ...]:
        """The inputs of each class from an array of maps (B, [maps,] X, Y)."""
        width, height = self.shapes[name]
        batch, maps = len(ids), len(self.cells[name])
        ids = ids.flatten(-2).long().view(batch, maps, -1)
        orbits, way = self.get_buffer(f"{name}_orbits"), self.get_buffer(f"{name}_ways")
        which = torch.arange(maps, device=ids.device)
        code, table = joint(ids, self.cells[name][which.unsqueeze(1), orbits])
        cells = F.embedding(code.t()[self.get_buffer(f"{name}_order")], table)
        even, x_odd, y_odd, both_odd = self._sides(cells, width, height)
        facing = way[ids[:, -1, (width // 2) * height + height // 2]]
        faced = (width // 2 + facing[:, 0]) * height + height // 2 + facing[:, 1]
        # Rows of the tables of all maps, one after the other.
        rows = (orbits + which.unsqueeze(1) * orbits.shape[1]).flatten()
        there = ids.gather(2, faced.view(-1, 1, 1).expand(-1, maps, 1)).squeeze(2)
        there = rows[there + which * orbits.shape[1]]
        there = F.embedding(there, self.faced[name].flatten(0, 1)).flatten(1)
        facing = facing.to(there.dtype)
        return [even, there, facing.abs()], [x_odd, facing[:, :1]], [y_odd, facing[:, 1:]], [both_odd]


class SymmetricHead(nn.Module):
    """A linear layer from features by class to outputs of these names: a mirrored input gives the outputs' images.

    Outputs that are images of one another are an even part that they share, and an odd one that is added to one and
    taken from the other.
    """

    basis: Tensor
    even: Tensor

    def __init__(self, names: Sequence[str], width: int, gain: float, generator: torch.Generator) -> None:
        super().__init__()
        rows: list[Tensor] = []
        for place, _ in enumerate(names):
            orbit = sorted({images(names, flip)[place] for flip in FLIPS})
            if orbit[0] != place:
                continue
            for sort in range(4):
                row = torch.zeros(len(names), 4)
                for flip, signs in zip(FLIPS, SIGNS, strict=True):
                    row[images(names, flip)[place], sort] += signs[sort]
                if row.any():
                    rows.append(row / row.norm())
        rows.sort(key=lambda row: int(row.abs().sum(0).argmax()))
        self.register_buffer("basis", torch.stack(rows, -1), persistent=False)
        self.register_buffer("even", self.basis[:, 0, [bool(row[:, 0].any()) for row in rows]], persistent=False)
        sorts = [int(row.abs().sum(0).argmax()) for row in rows]
        blocks = [orthogonal(sorts.count(sort), width, generator, gain) for sort in sorted(set(sorts))]
        self.weight = nn.Parameter(torch.cat(blocks))
        self.bias = nn.Parameter(torch.zeros(sorts.count(0)))

    def forward(self, features: Tensor) -> Tensor:
        weight = (self.basis @ self.weight).flatten(1)
        return F.linear(features, weight, self.even @ self.bias)


def orthogonal(outputs: int, inputs: int, generator: torch.Generator, gain: float = math.sqrt(2)) -> Tensor:
    return nn.init.orthogonal_(torch.empty(outputs, inputs), gain, generator=generator)


def quarters(width: int, height: int) -> list[int]:
    """A map's cells as indices of the flattened map: the four quarters, each as `FLIPS` makes it of the first, then the
    pairs left and right on the middle row, those above and below in the middle column, and the middle."""
    right, below = range(width // 2), range(height // 2)
    order = [
        (x if flip_x > 0 else width - 1 - x, y if flip_y > 0 else height - 1 - y)
        for flip_x, flip_y in FLIPS
        for x in right
        for y in below
    ]
    if height % 2:
        order += [(x if side else width - 1 - x, height // 2) for side in (0, 1) for x in right]
    if width % 2:
        order += [(width // 2, y if side else height - 1 - y) for side in (0, 1) for y in below]
    order += [(width // 2, height // 2)] * (width % 2) * (height % 2)
    return [x * height + y for x, y in order]


def sizes(width: int, height: int) -> tuple[int, ...]:
    """The number of cells that a map of this size has in each class."""
    right, below = width // 2, height // 2
    return (width - right) * (height - below), right * (height - below), (width - right) * below, right * below


def _orbits(maps: Sequence[Sequence[str]]) -> Tensor:
    """For each map and id the least of its mirror images."""
    return torch.tensor([[images(ids, flip) for flip in FLIPS] for ids in maps]).amin(1)
