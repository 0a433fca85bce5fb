"""The built-in networks but for the equivariant ones (symmetric.py, tiles.py) and the published one of gru.py.

| network | reads | what it is |
|---|---|---|
| moon | pixels | IMPALA ResNet of Moon et al. 2023 (arXiv 2307.03486); 3,948,306 parameters at 64x64x3 and 17 actions |
| envgen | pixels | the same with the last LayerNorm after its linear layer (EnvGen, arXiv 2403.12014); 3,949,842 |
| nature | pixels | three convolutions (Mnih et al. 2015), small enough for a CPU |
| symbolic | maps of ids and numbers | embedded cells and neighbours, counts as thermometers, two linear layers |
| tiny | anything | one hidden layer, for tests |
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envgen_exp.errors import ConfigError
from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.ppo.agent import Encoder, Spec
from envgen_exp.learners.ppo.layers import bare, fan_in_init, fan_in_linear, orthogonal_linear


class ImpalaEncoder(Encoder):
    """The encoder of Moon et al. 2023: three residual stacks, then two linear layers."""

    network, norm_after, deep = "moon", False, True
    CHANNELS = (64, 128, 128)
    BLOCKS = 2
    HIDDEN = 256

    def __init__(self, config: object, observation_spec: Spec, generator: torch.Generator) -> None:
        super().__init__(num_features=1024)
        self.name, (height, width, channels) = one_image(self.network, observation_spec)
        stacks: list[nn.Module] = []
        for depth in self.CHANNELS:
            stacks.append(ImpalaStack(channels, depth, generator, first=not stacks))
            channels, height, width = depth, (height + 1) // 2, (width + 1) // 2
        self.stacks = nn.Sequential(*stacks)
        flat = channels * height * width
        self.norm1 = nn.LayerNorm(flat)
        self.linear1 = fan_in_linear(flat, self.HIDDEN, 1.4, generator)
        self.norm2 = nn.LayerNorm(self.num_features if self.norm_after else self.HIDDEN)
        self.linear2 = fan_in_linear(self.HIDDEN, self.num_features, 1.0, generator)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        x: Tensor = self.stacks(channels_first(obs[self.name])).flatten(1)
        x = F.relu_(self.linear1(self.norm1(x)))
        x = self.norm2(self.linear2(x)) if self.norm_after else self.linear2(self.norm2(x))
        return F.relu_(x)


class EnvGenEncoder(ImpalaEncoder):
    """The same with the last linear layer's LayerNorm after it and before the ReLU."""

    network, norm_after = "envgen", True


class ImpalaStack(nn.Module):
    """Convolution, max-pool to half the size, and residual blocks."""

    def __init__(self, channels: int, depth: int, generator: torch.Generator, *, first: bool) -> None:
        super().__init__()
        # Stacks share the residuals' scale, a stack's blocks share their stack's, a block's two layers their block's.
        scale = math.sqrt(1 / math.sqrt(len(ImpalaEncoder.CHANNELS)) / math.sqrt(ImpalaEncoder.BLOCKS))
        self.conv = NormedConv(channels, depth, 1.0, generator, norm=not first)
        self.norm = nn.GroupNorm(1, depth)
        self.blocks = nn.ModuleList(
            nn.Sequential(NormedConv(depth, depth, scale, generator), NormedConv(depth, depth, scale, generator))
            for _ in range(ImpalaEncoder.BLOCKS)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.max_pool2d(self.conv(x), kernel_size=3, stride=2, padding=1))
        for block in self.blocks:
            x = x + block(x)
        return x


class NormedConv(nn.Module):
    """GroupNorm(1), 3x3 convolution, ReLU; without the norm the convolution has a bias."""

    def __init__(
        self, channels: int, depth: int, scale: float, generator: torch.Generator, *, norm: bool = True
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels) if norm else nn.Identity()
        self.conv = bare(nn.Conv2d(channels, depth, 3, padding=1, bias=not norm, device="meta"))
        fan_in_init(self.conv.weight, scale, generator)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.conv(self.norm(x)))


class NatureEncoder(Encoder):
    """The convolutions of Mnih et al. 2015 and one linear layer, with cleanrl's orthogonal weights."""

    network = "nature"

    def __init__(self, config: object, observation_spec: Spec, generator: torch.Generator) -> None:
        super().__init__(num_features=512)
        self.name, shape = one_image(self.network, observation_spec)
        height, width, channels = shape
        layers: list[nn.Module] = []
        for depth, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            if height < 1 or width < 1:
                raise ConfigError(
                    f"ppo.network=nature needs images of at least 36x36 pixels, not {shape[0]}x{shape[1]}"
                )
            conv = bare(nn.Conv2d(channels, depth, kernel, stride, device="meta"))
            nn.init.orthogonal_(conv.weight, math.sqrt(2), generator=generator)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, nn.ReLU(inplace=True)]
            channels = depth
        self.convs = nn.Sequential(*layers)
        self.linear = orthogonal_linear(channels * height * width, self.num_features, math.sqrt(2), generator)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return F.relu_(self.linear(self.convs(channels_first(obs[self.name])).flatten(1)))


class SymbolicEncoder(Encoder):
    """Maps of ids and counts, in a form from which two linear layers learn fast.

    An array of two axes is a map of ids from 0 to its spec's `high`; one of three axes is several maps over the same
    cells, in whose middle the player stands. Three things are read from it and from the other arrays:

    - Each cell's embedding, the sum over its maps.
    - The player and what stands beside it: for each neighbour of the middle cell and each map an embedding of the pair
      (id of the middle in the last map, id of the neighbour). What an action does depends on which cell the player
      faces and on what is there, which a sum of two embeddings can't say.
    - Counts up to MOST as a thermometer, an input for each k from 1 to `high` that is 1 where the count is k or more:
      the first of a thing matters more than the ninth. Other numbers are scaled by `high`.
    """

    network = "symbolic"
    CELL, PAIR, MOST = 8, 16, 16

    def __init__(self, config: object, observation_spec: Spec, generator: torch.Generator) -> None:
        require_symbolic(self.network, observation_spec)
        super().__init__(num_features=256)
        self.cells, self.pairs = nn.ParameterDict(), nn.ParameterDict()
        self.scales: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.sides: dict[str, tuple[int, list[int]]] = {}
        inputs = 0
        for name, spec in observation_spec.items():
            size = math.prod(spec.shape)
            if len(spec.shape) >= 2:
                maps, ids = math.prod(spec.shape[:-2]), int(spec.high) + 1
                table = torch.empty(maps, ids, self.CELL)
                # A cell's sum over its maps has unit variance.
                self.cells[name] = nn.Parameter(nn.init.normal_(table, std=maps**-0.5, generator=generator))
                self.sides[name] = _middle_and_beside(spec.shape[-2:])
                pairs = maps * len(self.sides[name][1])
                table = torch.empty(pairs, ids, ids, self.PAIR)
                self.pairs[name] = nn.Parameter(nn.init.normal_(table, generator=generator))
                inputs += size // maps * self.CELL + pairs * self.PAIR
            elif np.issubdtype(spec.dtype, np.integer) and spec.low >= 0 and spec.high <= self.MOST:
                self.counts[name] = int(scale_of(name, spec))
                inputs += size * self.counts[name]
            else:
                self.scales[name] = 1 / scale_of(name, spec)
                inputs += size
        self.linear1 = orthogonal_linear(inputs, self.num_features, math.sqrt(2), generator)
        self.norm = nn.LayerNorm(self.num_features)
        self.linear2 = orthogonal_linear(self.num_features, self.num_features, math.sqrt(2), generator)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for name, table in self.cells.items():
            ids = obs[name].flatten(-2).long().view(len(obs[name]), len(table), -1)
            parts += [F.embedding(*joint(ids, table)).flatten(1), self._pairs(name, ids)]
        for name, most in self.counts.items():
            steps = torch.arange(most, device=obs[name].device)
            parts.append((obs[name].unsqueeze(-1) > steps).flatten(1).float())
        parts += [obs[name].float() * scale for name, scale in self.scales.items()]
        return F.relu_(self.linear2(F.relu_(self.norm(self.linear1(torch.cat(parts, dim=1))))))

    def _pairs(self, name: str, ids: Tensor) -> Tensor:
        table, (middle, beside) = self.pairs[name], self.sides[name]
        count = table.shape[1]
        there = torch.stack([ids[:, :, cell] for cell in beside], dim=2).flatten(1)
        row = torch.arange(there.shape[1], device=ids.device) * count + ids[:, -1, middle].unsqueeze(1)
        return F.embedding(row * count + there, table.flatten(0, 2)).flatten(1)


class TinyEncoder(Encoder):
    """All numbers of an observation, scaled by `high`, through one hidden layer."""

    network = "tiny"

    def __init__(self, config: object, observation_spec: Spec, generator: torch.Generator) -> None:
        super().__init__(num_features=32)
        self.scales = {name: 1 / scale_of(name, spec) for name, spec in observation_spec.items()}
        inputs = sum(math.prod(spec.shape) for spec in observation_spec.values())
        self.linear = orthogonal_linear(inputs, self.num_features, math.sqrt(2), generator)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        parts = [obs[name].flatten(1).float() * scale for name, scale in self.scales.items()]
        return torch.tanh(self.linear(torch.cat(parts, dim=1)))


def joint(ids: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """What several maps (B, maps, cells) say of each cell, as one id (B, cells) and a table of sums of their embeddings
    (maps, ids, n): one look-up a cell is faster than two, forwards and backwards."""
    code, sums = ids[:, 0], table[0]
    for index in range(1, len(table)):
        sums = (sums.unsqueeze(1) + table[index]).flatten(0, 1)
        code = code * table.shape[1] + ids[:, index]
    return code, sums


def channels_first(image: Tensor) -> Tensor:
    """uint8 (B, H, W, C) as (B, C, H, W) in [0, 1], in channels_last memory format and without a copy of its own."""
    return image.permute(0, 3, 1, 2).to(torch.float32).mul_(1 / 255)


def is_image(spec: ArraySpec) -> bool:
    """Whether it is a picture (height, width, channels)."""
    return len(spec.shape) == 3 and spec.dtype == np.uint8 and spec.high == 255


def one_image(network: str, observation_spec: Spec) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the one image in an observation."""
    if len(observation_spec) == 1:
        name, spec = next(iter(observation_spec.items()))
        if is_image(spec):
            return name, spec.shape
    raise ConfigError(
        f"ppo.network={network} reads one image (height, width, channels) uint8, but the environment gives "
        f"{_described(observation_spec)}; what fits: ppo.network=symbolic, or env.observation=pixels"
    )


def require_symbolic(network: str, observation_spec: Spec) -> None:
    for spec in observation_spec.values():
        is_map = len(spec.shape) in (2, 3) and np.issubdtype(spec.dtype, np.integer) and not is_image(spec)
        if not (is_map or len(spec.shape) == 1):
            raise ConfigError(
                f"ppo.network={network} reads maps of ids and lists of scalars, but the environment gives "
                f"{_described(observation_spec)}; what fits: ppo.network=moon, envgen or nature for one image, "
                f"or env.observation=symbolic"
            )


def _described(observation_spec: Spec) -> str:
    return ", ".join(f"{name} {spec.shape} {spec.dtype}" for name, spec in observation_spec.items())


def _middle_and_beside(shape: tuple[int, ...]) -> tuple[int, list[int]]:
    """The middle cell of a map (X, Y) and those that touch it on a side, as indices of the flattened map."""
    x, y = shape[0] // 2, shape[1] // 2
    sides = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
    return x * shape[1] + y, [i * shape[1] + j for i, j in sides if 0 <= i < shape[0] and 0 <= j < shape[1]]


def scale_of(name: str, spec: ArraySpec) -> float:
    largest = max(abs(spec.low), abs(spec.high))
    if not 0 < largest < math.inf:
        raise ConfigError(f"observation {name!r}: scalars need a finite range, not {spec.low} to {spec.high}")
    return largest
