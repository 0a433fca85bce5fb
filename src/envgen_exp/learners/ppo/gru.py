"""The network of the strongest published PPO with a memory: Dedieu et al. 2025 (arXiv 2502.01591), model-free.

Values are those of the reproduction in snu-mllab/Identifiable-Token-Correspondence (docs/ppo.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envgen_exp.learners.ppo.agent import Encoder, Spec
from envgen_exp.learners.ppo.layers import bare, orthogonal_linear
from envgen_exp.learners.ppo.memory import Memory
from envgen_exp.learners.ppo.networks import channels_first, one_image

FLAX_EPSILON = 1e-6


class DedieuEncoder(Encoder):
    """Three residual stacks of 64, 64 and 128 channels, flattened; each head is a deep network of its own."""

    network, deep = "dedieu", True
    CHANNELS = (64, 64, 128)
    BLOCKS = 2

    def __init__(self, config: object, observation_spec: Spec, generator: torch.Generator) -> None:
        name, (height, width, channels) = one_image(self.network, observation_spec)
        for _ in self.CHANNELS:
            height, width = (height + 1) // 2, (width + 1) // 2
        super().__init__(num_features=self.CHANNELS[-1] * height * width)
        self.name = name
        self.stacks = nn.ModuleList()
        for depth in self.CHANNELS:
            depths = [channels, *[depth] * self.BLOCKS]
            self.stacks.append(nn.ModuleList(_Conv(before, depth, generator) for before in depths))
            channels = depth

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        x = channels_first(obs[self.name])
        for stack in self.stacks:
            assert isinstance(stack, nn.ModuleList)
            x = _halved(stack[0](x))
            for block in stack[1:]:
                x = x + block(F.relu(x))
        return F.relu_(x.flatten(1))

    def recurrence(self, size: int, generator: torch.Generator) -> Memory:
        """Flax's GRU: its first weights, and no bias inside the reset gate's product."""
        memory = super().recurrence(size, generator)
        memory.norm.eps = FLAX_EPSILON
        _truncated_normal(memory.seen, 1 / memory.seen.shape[1], generator)
        del memory.kept_bias
        memory.register_buffer("kept_bias", torch.zeros(size), persistent=False)
        return memory

    def actor(self, num_features: int, num_actions: int, generator: torch.Generator) -> nn.Module:
        return ResidualHead(num_features, num_actions, 0.01, generator)

    def critic(self, num_features: int, generator: torch.Generator) -> nn.Module:
        return ResidualHead(num_features, 1, 1.0, generator)


class ResidualHead(nn.Module):
    """LayerNorm, a layer, two residual ones, LayerNorm, and the outputs."""

    WIDTH = 2048

    def __init__(self, inputs: int, outputs: int, gain: float, generator: torch.Generator) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(size, eps=FLAX_EPSILON) for size in (inputs, self.WIDTH))
        self.linear = orthogonal_linear(inputs, self.WIDTH, math.sqrt(2), generator)
        self.blocks = nn.ModuleList(orthogonal_linear(self.WIDTH, self.WIDTH, 0.01, generator) for _ in range(2))
        self.outputs = orthogonal_linear(self.WIDTH, outputs, gain, generator)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu_(self.linear(self.norm1(features)))
        for block in self.blocks:
            x = x + F.relu_(block(x))
        outputs: Tensor = self.outputs(self.norm2(x))
        return outputs


class _Conv(nn.Module):
    """Each channel normalised by itself over the picture, then a 3x3 convolution."""

    def __init__(self, channels: int, depth: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(channels, channels, eps=FLAX_EPSILON)
        self.conv = bare(nn.Conv2d(channels, depth, 3, padding=1, device="meta"))
        _truncated_normal(self.conv.weight, 2 / (9 * (channels + depth)), generator)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.conv(self.norm(x))
        return convolved


def _halved(x: Tensor) -> Tensor:
    """3x3 max-pool with stride 2 to (H + 1) // 2, (W + 1) // 2; an even side is padded at its end alone ("SAME")."""
    height, width = x.shape[2:]
    padding = [side % 2 for side in (width, height)]
    return F.max_pool2d(F.pad(x, [padding[0], 1, padding[1], 1], value=-math.inf), kernel_size=3, stride=2)


def _truncated_normal(weight: Tensor, variance: float, generator: torch.Generator) -> None:
    """A normal distribution cut at two of its standard deviations, as wide as leaves this variance."""
    std = math.sqrt(variance) / 0.87962566103423978
    nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator)
