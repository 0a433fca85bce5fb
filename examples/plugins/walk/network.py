"""`ppo=flat`, or `ppo.network=flat`: all numbers of an observation through one hidden layer of a width of your own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from envgen_exp.config import between, ranged
from envgen_exp.learners.ppo.agent import Encoder, Spec, orthogonal_linear
from envgen_exp.learners.ppo.config import PPOConfig


@dataclass(frozen=True)
class FlatConfig(PPOConfig):
    """PPO with this network."""

    width: int = ranged(64, between(1, 4096))
    """Numbers in the hidden layer."""


class Flat(Encoder):
    """Actor and critic read its features; whatever it draws comes from `generator`."""

    Config = FlatConfig

    def __init__(self, config: FlatConfig, observation_spec: Spec, generator: torch.Generator) -> None:
        super().__init__(config.width)
        self.scales = {name: 1 / spec.high for name, spec in observation_spec.items()}
        inputs = sum(math.prod(spec.shape) for spec in observation_spec.values())
        self.linear = orthogonal_linear(inputs, config.width, math.sqrt(2), generator)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        numbers = [obs[name].flatten(1).float() * scale for name, scale in self.scales.items()]
        return torch.tanh(self.linear(torch.cat(numbers, dim=1)))
