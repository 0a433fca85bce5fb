"""A network for pictures that are made of tiles, equivariant to the flips of the game as `SymmetricEncoder` is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from envgen_exp.errors import ConfigError
from envgen_exp.families.symmetry import Symmetry
from envgen_exp.learners.ppo.agent import Spec
from envgen_exp.learners.ppo.layers import orthogonal_linear
from envgen_exp.learners.ppo.networks import one_image
from envgen_exp.learners.ppo.symmetric import TiedEncoder, quarters, sizes


class TilesEncoder(TiedEncoder):
    """One picture, tile by tile.

    - A tile of the map is averaged with its mirror images and then embedded, alike in each place. That of the player is
      not: the way that it faces, which is learned, is an input by itself, and weighs what stands beside the player.
    - Tiles below the map, the inventory's, are embedded alike and summed: which place a thing has says nothing.
    - The layers are tied.
    """

    network = "tiles"
    order: Tensor
    digits: Tensor
    HIDDEN, CELL, ITEM = 64, 16, 96

    def __init__(
        self, config: object, observation_spec: Spec, generator: torch.Generator, symmetry: Symmetry | None
    ) -> None:
        name, (_, _, channels) = one_image(self.network, observation_spec)
        if symmetry is None or name not in symmetry.tiles:
            raise ConfigError(
                f"ppo.network={self.network} needs pictures of tiles, and this game says of no such; "
                "what fits: ppo.network=nature"
            )
        super().__init__(num_features=4 * self.WIDTH)
        self.name, self.symmetry = name, symmetry
        self.unit, self.columns, self.rows, self.all_rows = symmetry.tiles[name]
        gain = 2**0.5
        half = self.unit // 2 + 1
        size = self.unit**2 * channels
        self.cell1 = orthogonal_linear(half * half * channels, self.HIDDEN, gain, generator)
        self.cell2 = orthogonal_linear(self.HIDDEN, self.CELL, 1.0, generator)
        self.way1 = orthogonal_linear(size, 32, gain, generator)
        self.way2 = orthogonal_linear(32, 5, 1.0, generator)
        self.item1 = orthogonal_linear(size, self.ITEM, gain, generator)
        self.item2 = orthogonal_linear(self.ITEM, self.ITEM, gain, generator)
        inputs = [cells * self.CELL + (sort in (1, 2)) for sort, cells in enumerate(sizes(self.columns, self.rows))]
        inputs[0] += 3 - self.CELL + self.HIDDEN + self.ITEM
        self._create(inputs, generator)
        at = self.rows // 2 * self.columns + self.columns // 2
        order = [(i % self.rows) * self.columns + i // self.rows for i in quarters(self.columns, self.rows)]
        order[-1:] = [at - 1, at + 1, at - self.columns, at + self.columns]
        self.register_buffer("order", torch.tensor(order), persistent=False)
        # A tile's number in a float64: all sums of a byte times a digit are below 2**53, so that none is rounded.
        most = min(2**37 - 25, (2**53 - 1) // (255 * size))  # the first is a prime
        digits = [pow(48_271, place, most) for place in range(1, size + 1)]
        self.register_buffer("digits", torch.tensor(digits, dtype=torch.float64), persistent=False)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Features (B, 4 * WIDTH), class by class."""
        unit, columns, rows = self.unit, self.columns, self.rows
        picture = obs[self.name][:, : self.all_rows * unit, : columns * unit]
        batch, channels = len(picture), picture.shape[-1]
        tiles = picture.view(batch, self.all_rows, unit, columns, unit, channels)
        folded = _folded(_folded(tiles[:, :rows], 2), 4)
        folded = folded.transpose(2, 3).flatten(3).flatten(1, 2).transpose(0, 1)[self.order]
        hidden = F.relu_(self.cell1(_scaled(folded)))
        cells, beside = torch.split(hidden, [columns * rows - 1, 4])
        even, x_odd, y_odd, both_odd = self._sides(self.cell2(cells), columns, rows)
        middle = tiles[:, rows // 2, :, columns // 2].flatten(1)
        way = self.way2(F.relu_(self.way1(_scaled(middle)))).float().softmax(1)
        there = (way[:, :4].t().unsqueeze(2) * beside).sum(0)
        x_way, y_way = way[:, 1:2] - way[:, :1], way[:, 3:4] - way[:, 2:3]
        along = torch.stack([way[:, 0] + way[:, 1], way[:, 2] + way[:, 3], way[:, 4]], 1)
        things, which = _different(tiles[:, rows:].transpose(2, 3).flatten(3).flatten(1, 2), self.digits)
        things = which @ F.relu_(self.item2(F.relu_(self.item1(_scaled(things)))))
        return self._mixed([[even, there, along, things], [x_odd, x_way], [y_odd, y_way], [both_odd]])


def _different(tiles: Tensor, digits: Tensor) -> tuple[Tensor, Tensor]:
    """Of uint8 tiles (B, N, n) the different ones (K, n), and how often each picture has each, (B, K).

    Few are: what is embedded once need not be for every picture. Tiles with equal numbers are taken for equal.
    """
    batch, count, size = tiles.shape
    flat = tiles.reshape(-1, size)
    _, which = torch.unique(flat.to(digits.dtype) @ digits, return_inverse=True)
    first = which.new_zeros(int(which.max()) + 1)
    first[which] = torch.arange(len(which), device=which.device)
    often = torch.zeros(batch, len(first), device=tiles.device)
    return flat[first], often.scatter_add_(1, which.view(batch, count), often.new_ones(batch, count))


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.to(torch.float32).mul_(1 / 255)


def _folded(tiles: Tensor, axis: int) -> Tensor:
    """uint8 tiles and their mirror images along an axis, averaged, as uint8; half of each row of pixels is left."""
    halved, last = tiles >> 1, tiles.shape[axis] - 1
    out = tiles.new_empty((*tiles.shape[:axis], last // 2 + 1, *tiles.shape[axis + 1 :]))
    for row in range(last // 2 + 1):
        torch.add(halved.select(axis, row), halved.select(axis, last - row), out=out.select(axis, row))
    return out
