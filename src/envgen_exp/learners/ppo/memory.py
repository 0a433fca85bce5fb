"""What an agent remembers of an episode: a gated recurrent unit beside the features, with a skip around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Memory(nn.Module):
    """LayerNorm, a linear layer and ReLU; a GRU (Cho et al. 2014) of `size` units; ReLU, beside the features.

    Of an equivariant network's features, which are kept by class (`Encoder.SIGNS`), it is equivariant too: linear
    layers act within a class, all else for each flip. The state is kept by flip, zeros when an episode begins.
    """

    signs: Tensor

    def __init__(
        self, signs: Sequence[Sequence[int]], num_features: int, size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.classes, self.size = len(signs), size
        self.register_buffer("signs", torch.tensor(signs) / math.sqrt(len(signs)), persistent=False)
        width, units = num_features // self.classes, size // self.classes

        def layer(inputs: int, outputs: int, gain: float) -> nn.Parameter:
            blocks = [torch.empty(outputs, inputs) for _ in signs]
            return nn.Parameter(torch.stack([nn.init.orthogonal_(x, gain, generator=generator).T for x in blocks]))

        self.norm = nn.LayerNorm(width)
        self.linear = layer(width, units, math.sqrt(2))
        self.seen = layer(units, 3 * units, 1.0)
        """From what is seen to the gates: reset, update, and the new state."""
        self.kept = layer(units, 3 * units, 1.0)
        self.linear_bias, self.kept_bias = (nn.Parameter(torch.zeros(units)) for _ in range(2))
        self.seen_bias = nn.Parameter(torch.zeros(3 * units))

    def forward(self, features: Tensor, state: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Features with memory (T * B, num_features + size), and the state after the last step.

        features: (T * B, num_features), step by step; state: (B, size), before the first; starts: (T, B), where an
        episode begins, so that nothing from before is remembered.
        """
        steps, batch = starts.shape
        by_class = features.unflatten(1, (self.classes, -1)).transpose(0, 1)  # type: ignore[no-untyped-call]
        x = self._across(by_class).transpose(0, 1).flatten(1)
        weight, bias = (each.repeat(self.classes) for each in (self.norm.weight, self.norm.bias))
        x = F.layer_norm(x, x.shape[1:], weight, bias, self.norm.eps)
        x = self._across(x.view(len(x), self.classes, -1).transpose(0, 1))
        x = F.relu_(self._across(torch.bmm(x, self.linear)) + self.linear_bias)
        x = self._across(torch.bmm(self._across(x), self.seen)) + self.seen_bias
        units = x.shape[2] // 3
        gates, news = torch.split(x.view(self.classes, steps, batch, -1), [2 * units, units], 3)
        goes_on = starts.logical_not().to(x.dtype).unsqueeze(-1)
        now = state.view(batch, self.classes, -1).transpose(0, 1)
        states: list[Tensor] = []
        for t in range(steps):
            now = now * goes_on[t]
            from_kept = self._across(torch.bmm(self._across(now), self.kept))
            reset, update = torch.sigmoid(gates[:, t] + from_kept[..., : 2 * units]).chunk(2, -1)
            new = torch.tanh(torch.addcmul(news[:, t], reset, from_kept[..., 2 * units :] + self.kept_bias))
            now = torch.lerp(new, now, update)
            states.append(now)
        remembered = self._across(F.relu(torch.stack(states, 1)).flatten(1, 2))
        joined = torch.cat([by_class, remembered], 2).transpose(0, 1).flatten(1)
        return joined, now.transpose(0, 1).flatten(1)

    def _across(self, x: Tensor) -> Tensor:
        """From classes (classes, B, n) to flips, and back; one class is one flip."""
        return x if self.classes == 1 else torch.mm(self.signs, x.flatten(1)).view_as(x)
