"""Layers whose first weights come from the generator that they are given."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

_Layer = TypeVar("_Layer", bound=nn.Module)


def orthogonal_linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """A linear layer with orthogonal weights and no initial bias."""
    layer = bare(nn.Linear(inputs, outputs, device="meta"))
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def fan_in_linear(
    inputs: int, outputs: int, scale: float, generator: torch.Generator, *, bias: bool = False
) -> nn.Linear:
    """A linear layer whose outputs' weights each have the norm `scale`; a bias begins at 0."""
    layer = bare(nn.Linear(inputs, outputs, bias=bias, device="meta"))
    fan_in_init(layer.weight, scale, generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def fan_in_init(weight: Tensor, scale: float, generator: torch.Generator) -> None:
    """Random weights, divided so that each output's fan-in has the norm `scale`."""
    with torch.no_grad():
        weight.uniform_(-1, 1, generator=generator)
        weight.mul_(scale / weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1)))


def bare(layer: _Layer) -> _Layer:
    """Memory without values for a meta layer: torch's own are from the global generator, and to_empty imports sympy."""
    return layer._apply(lambda weight: torch.empty(weight.shape))  # type: ignore[no-any-return, no-untyped-call]
