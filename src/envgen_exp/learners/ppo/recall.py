"""What Achievement Distillation (Moon et al. 2023, arXiv 2307.03486) adds to a network: it recalls the skill that was
shown last, as the change that it made in the features, and says which comes next (distillation.py)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envgen_exp.learners.ppo.layers import fan_in_linear

SHOWN = 0.1
"""A step with a larger reward has shown a skill: the paper's sign. Crafter pays 1 for each new one, 0.1 a point of
health."""
TEMPERATURE = 0.1


class Recall(nn.Module):
    """The change of the features by the last skill shown in the episode, of length 1, beside them; zeros before any.

    The state is that change and the features of the observation before, together `size` numbers. Beside an equivariant
    network's features, which are kept by class (`Encoder.SIGNS`), the change is equivariant too.
    """

    def __init__(
        self, signs: Sequence[Sequence[int]], num_features: int, num_actions: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.classes, self.num_features, self.size = len(signs), num_features, 2 * num_features
        self.joins = num_features
        """Numbers that come beside the features."""
        self.num_actions = num_actions
        self.effect = _two_layers(num_actions, num_features, 2 * num_features, generator)
        """From an action to a factor and a summand of each feature (FiLM, Perez et al. 2018)."""
        self.next = _two_layers(2 * num_features, num_features, num_features, generator)

    def forward(
        self, features: Tensor, state: Tensor, starts: Tensor, rewards: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features with what is recalled beside them (B, 2 * num_features), and the state after this observation.

        state: (B, size), or without `rewards` (B, num_features), what is recalled alone; rewards: (B,), of the steps
        that led here from the observations before, None where nothing did.
        """
        recalled = state[:, : self.num_features]
        if rewards is not None:
            made = self.change(state[:, self.num_features :], features)
            recalled = torch.where((rewards > SHOWN).unsqueeze(1), made, recalled)
        return self.beside(features, recalled), torch.cat([recalled, features], 1)

    def change(self, before: Tensor, after: Tensor) -> Tensor:
        """The direction from features (B, num_features) to others."""
        return F.normalize(after - before, dim=1)

    def foretell(self, features: Tensor, actions: Tensor, recalled: Tensor) -> Tensor:
        """What change the next skill will make, as it looks with these actions (B,); (B, num_features), length 1."""
        factor, summand = self.effect(F.one_hot(actions, self.num_actions).to(features.dtype)).chunk(2, 1)
        return F.normalize(self.next(self.beside((1 + factor) * features + summand, recalled)), dim=1)

    def beside(self, features: Tensor, recalled: Tensor) -> Tensor:
        """Both, class by class."""
        parts = [x.unflatten(1, (self.classes, -1)) for x in (features, recalled)]  # type: ignore[no-untyped-call]
        return torch.cat(parts, 2).flatten(1)


def contrast(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Cross-entropy (B,) of telling positives from negatives by their cosine with the anchors; all (B, n), length 1."""
    return F.softplus((anchors * (negatives - positives)).sum(1) / TEMPERATURE)


def _two_layers(inputs: int, hidden: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(inputs),
        fan_in_linear(inputs, hidden, 1.4, generator),
        nn.ReLU(),
        fan_in_linear(hidden, outputs, 1.0, generator, bias=True),
    )
