"""What an agent remembers of an episode: a gated recurrent unit beside the features, with a skip around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
        self.classes, self.size, self.joins = len(signs), size, size
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

    def forward(
        self, features: Tensor, state: Tensor, starts: Tensor, rewards: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features with memory (T * B, num_features + size), and the state after the last step.

        features: (T * B, num_features), step by step; state: (B, size), before the first; starts: (T, B), where an
        episode begins, so that nothing from before is remembered; rewards: not read.
        """
        steps, batch = starts.shape
        by_class = features.unflatten(1, (self.classes, -1)).transpose(0, 1)  # type: ignore[no-untyped-call]
        x = self._across(by_class).transpose(0, 1).flatten(1)
        weight, bias = (each.repeat(self.classes) for each in (self.norm.weight, self.norm.bias))
        x = F.layer_norm(x, x.shape[1:], weight, bias, self.norm.eps)
        x = self._across(x.view(len(x), self.classes, -1).transpose(0, 1))
        x = F.relu_(self._across(torch.bmm(x, self.linear)) + self.linear_bias)
        x = self._across(torch.bmm(self._across(x), self.seen)) + self.seen_bias
        by_step = x.view(self.classes, steps, batch, -1).transpose(0, 1)
        goes_on = starts.logical_not().to(x.dtype).unsqueeze(-1)
        first = state.view(batch, self.classes, -1).transpose(0, 1)
        states: Tensor = _Recurrence.apply(by_step, first, goes_on, self.kept, self.kept_bias, self.signs)  # type: ignore[no-untyped-call]
        remembered = self._across(F.relu(states.transpose(0, 1)).flatten(1, 2))
        joined = torch.cat([by_class, remembered], 2).transpose(0, 1).flatten(1)
        return joined, states[-1].transpose(0, 1).flatten(1)

    def _across(self, x: Tensor) -> Tensor:
        return _across(self.signs, x)


class _Recurrence(torch.autograd.Function):
    """The steps of the GRU one after the other, with its derivatives written out: autograd would take twice as long.

    seen: (T, classes, B, 3 * units), by flip as are the states; first: (classes, B, units); goes_on: (T, B, 1), 0 where
    an episode begins. Returns the states (T, classes, B, units).
    """

    @staticmethod
    def forward(
        ctx: Any, seen: Tensor, first: Tensor, goes_on: Tensor, kept: Tensor, bias: Tensor, signs: Tensor
    ) -> Tensor:
        units = len(bias)
        rows: list[tuple[Tensor, ...]] = []
        now = first
        for t in range(len(seen)):
            before = now * goes_on[t]
            from_kept = _across(signs, torch.bmm(_across(signs, before), kept))
            gate = torch.sigmoid(seen[t, ..., : 2 * units] + from_kept[..., : 2 * units])
            inner = from_kept[..., 2 * units :] + bias
            new = torch.tanh(torch.addcmul(seen[t, ..., 2 * units :], gate[..., :units], inner))
            now = torch.lerp(new, before, gate[..., units:])
            rows.append((before, gate, inner, new, now))
        *needed, states = map(torch.stack, zip(*rows, strict=True))
        ctx.save_for_backward(*needed, goes_on, kept, signs)
        return states

    @staticmethod
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor | None, ...]:
        before, gate, inner, new, goes_on, kept, signs = ctx.saved_tensors
        reset, update = gate.chunk(2, -1)
        # Of the gates' and the new state's inputs, as factors of the state's.
        by_new = (1 - update) * (1 - new * new)
        by_inputs = torch.cat(
            [by_new * inner * reset * (1 - reset), (before - new) * update * (1 - update), by_new], -1
        )
        by_kept = by_inputs.clone()
        by_kept[..., -reset.shape[-1] :] *= reset
        back, d_now = kept.transpose(1, 2), torch.zeros_like(d_states[0])
        d_all = torch.empty_like(d_states)
        for t in range(len(d_states) - 1, -1, -1):
            d_state = torch.add(d_states[t], d_now, out=d_all[t])
            d_kept = by_kept[t] * d_state.repeat(1, 1, 3)
            d_now = torch.addcmul(_across(signs, torch.bmm(_across(signs, d_kept), back)), d_state, update[t])
            d_now *= goes_on[t]
        d_all = d_all.repeat(1, 1, 1, 3)
        d_seen, d_kept = by_inputs * d_all, (by_kept * d_all).transpose(0, 1).flatten(1, 2)
        was = before.transpose(0, 1).flatten(1, 2)
        d_weights = torch.bmm(_across(signs, was).transpose(1, 2), _across(signs, d_kept))
        d_bias = d_kept[..., -reset.shape[-1] :].sum((0, 1))
        return d_seen, d_now, None, d_weights, d_bias, None


def _across(signs: Tensor, x: Tensor) -> Tensor:
    """From classes (classes, B, n) to flips, and back; one class is one flip."""
    return x if len(signs) == 1 else torch.mm(signs, x.flatten(1)).view_as(x)
