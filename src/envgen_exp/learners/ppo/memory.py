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
        before, inner, new, states = (seen.new_empty(*seen.shape[:-1], units) for _ in range(4))
        gate = seen.new_empty(*seen.shape[:-1], 2 * units)
        # The operations are small, so that what counts is how many there are: views are made once, for all steps.
        seen_gate, seen_new = seen[..., : 2 * units], seen[..., 2 * units :]
        reset, update = gate.chunk(2, -1)
        parts = (before, gate, inner, new, states, seen_gate, seen_new, reset, update, goes_on)
        now = first
        for b, g, i, n, s, sg, sn, r, u, on in zip(*(part.unbind() for part in parts), strict=True):
            torch.mul(now, on, out=b)
            from_kept = _across(signs, torch.bmm(_across(signs, b), kept))
            torch.add(sg, from_kept[..., : 2 * units], out=g).sigmoid_()
            torch.add(from_kept[..., 2 * units :], bias, out=i)
            torch.addcmul(sn, r, i, out=n).tanh_()
            now = torch.lerp(n, b, u, out=s)
        ctx.save_for_backward(before, gate, inner, new, goes_on, kept, signs)
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
        d_all, d_kept = torch.empty_like(before), torch.empty_like(by_kept)
        thrice = (*reset.shape[:-1], 3, reset.shape[-1])
        parts = (d_states, d_all, d_all.unsqueeze(-2), by_kept.view(thrice), d_kept.view(thrice))
        steps = zip(*(part.unbind() for part in (*parts, d_kept, update, goes_on)), strict=True)
        for given, d_state, wide, factor, thirds, flat, u, on in reversed([*steps]):
            torch.add(given, d_now, out=d_state)
            torch.mul(factor, wide, out=thirds)
            d_now = torch.addcmul(_across(signs, torch.bmm(_across(signs, flat), back)), d_state, u).mul_(on)
        d_seen = (by_inputs.view(thrice) * d_all.unsqueeze(-2)).flatten(-2)
        d_kept = d_kept.transpose(0, 1).flatten(1, 2)
        was = before.transpose(0, 1).flatten(1, 2)
        d_weights = torch.bmm(_across(signs, was).transpose(1, 2), _across(signs, d_kept))
        d_bias = d_kept[..., -reset.shape[-1] :].sum((0, 1))
        return d_seen, d_now, None, d_weights, d_bias, None


def _across(signs: Tensor, x: Tensor) -> Tensor:
    """From classes (classes, B, n) to flips, and back; one class is one flip."""
    return x if len(signs) == 1 else torch.mm(signs, x.flatten(1)).view_as(x)
