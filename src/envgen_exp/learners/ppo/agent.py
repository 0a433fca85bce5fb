"""The agent: an encoder of observations (networks.py), what it remembers, and an actor and a critic on top.

Whatever a network draws at its creation comes from the generator that it is given. An exported agent's loader holds
this file as it stands: it needs torch and numpy, and of this package what it imports by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envgen_exp.errors import ConfigError
from envgen_exp.families.symmetry import Symmetry
from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.ppo.layers import orthogonal_linear as orthogonal_linear
from envgen_exp.learners.ppo.memory import Memory
from envgen_exp.learners.ppo.recall import Recall

Spec: TypeAlias = "Mapping[str, ArraySpec]"

ACTOR_GAIN = 0.01
CRITIC_GAIN = 0.1


class Encoder(nn.Module):
    """Observations (B, *shape) as the environment gives them to features (B, num_features).

    A network is made of PPO's section, what is observed and the source of its weights: (config, observation_spec,
    generator). It raises ConfigError where it can't read such observations.
    """

    network: ClassVar[str]
    """What `ppo.network` calls a built-in one."""
    deep: ClassVar[bool] = False
    """Whether a single operation on a few observations is worth several threads."""
    symmetric: ClassVar[bool] = False
    """Whether it is made of the game's `Symmetry`, or None, too, as `symmetry`."""
    SIGNS: ClassVar[tuple[tuple[int, ...], ...]] = ((1,),)
    """What flips of the game do to the classes that its features are kept in, class by class: a Hadamard matrix."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    @classmethod
    def fitting(cls, observation_spec: Spec, symmetry: Symmetry | None) -> type[Encoder]:
        """What is made where this network is asked for: itself, or another one that fits what is observed."""
        return cls

    def recurrence(self, size: int, generator: torch.Generator) -> Memory:
        """A recurrent memory of so many units beside its features."""
        return Memory(self.SIGNS, self.num_features, size, generator)

    def actor(self, num_features: int, num_actions: int, generator: torch.Generator) -> nn.Module:
        """What makes logits (B, num_actions) of features, its own and those of memory."""
        return orthogonal_linear(num_features, num_actions, ACTOR_GAIN, generator)

    def critic(self, num_features: int, generator: torch.Generator) -> nn.Module:
        """What makes values (B, 1) of them."""
        return orthogonal_linear(num_features, 1, CRITIC_GAIN, generator)


class Agent(nn.Module):
    """Actor and critic on a shared encoder, beside which stand `memory` units of recurrent memory, or (`recalls`) the
    skill that was shown last."""

    def __init__(
        self,
        encoder: Encoder,
        num_actions: int,
        generator: torch.Generator,
        memory: int = 0,
        *,
        recalls: bool = False,
    ) -> None:
        super().__init__()
        if memory % len(encoder.SIGNS):
            raise ConfigError(f"ppo.memory={memory}: this network has units by {len(encoder.SIGNS)}, or none")
        self.encoder = encoder
        self.memory: Memory | Recall | None = None
        if recalls:
            self.memory = Recall(encoder.SIGNS, encoder.num_features, num_actions, generator)
        elif memory:
            self.memory = encoder.recurrence(memory, generator)
        joined = encoder.num_features + (0 if self.memory is None else self.memory.joins)
        self.actor = encoder.actor(joined, num_actions, generator)
        self.critic = encoder.critic(joined, generator)
        self.remembers = 0 if self.memory is None else self.memory.size
        """Numbers that it remembers of an episode."""
        self.recalls, self.recurrent = recalls, memory > 0
        self.autocast_dtype: torch.dtype | None = None
        """Number format of the encoder; None is float32. The heads are always float32."""
        # A frame comes as (H, W, C), so that this layout needs no copy; convolutions are faster in it too.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, obs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, num_actions) and values (B,), float32, for observations (B, *shape) as the environment gives them.

        Values are on the scale of the normalised targets: `ValueNorm.denormalize` turns them into returns. Each
        observation is an episode's first; `follow` is for those that remember.
        """
        seen = next(iter(obs.values()))
        starts = seen.new_zeros(1, len(seen), dtype=torch.bool)
        return self.follow(obs, self.nothing(len(seen), seen.device), starts)[:2]

    def nothing(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        """What is remembered when an episode begins, (B, remembers)."""
        return torch.zeros(batch, self.remembers, device=device)

    def follow(
        self, obs: Mapping[str, Tensor], state: Tensor, starts: Tensor, rewards: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and values as in a call, of T steps of B episodes, (T * B, ...), and what is then remembered.

        state: (B, remembers), what was remembered before; starts: (T, B), where another episode begins. An agent that
        `recalls` follows one step (T = 1) and reads the rewards (B,) of the steps that led there, 0 where an episode
        begins.
        """
        features = self.features(obs)
        if self.memory is not None:
            features, state = self.memory(features, state, starts, rewards)
        return *self.judge(features), state

    def features(self, obs: Mapping[str, Tensor]) -> Tensor:
        """What the encoder makes of observations, (B, num_features), float32."""
        if self.autocast_dtype is None:
            features: Tensor = self.encoder(obs)
            return features
        device = next(iter(obs.values())).device.type
        # Without the cache, which all threads share and each empties.
        with torch.autocast(device, self.autocast_dtype, cache_enabled=False):
            features = self.encoder(obs)
        return features.float()

    def judge(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values of features with what is remembered beside them."""
        return self.actor(features), self.critic(features).squeeze(-1)


def sample_actions(logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions (B,) int64 drawn from softmax(logits) (B, A), and their log-probabilities (B,)."""
    log_probs = F.log_softmax(logits, dim=-1)
    # Of exponential clocks with these rates, the first to ring is a draw from the categorical distribution.
    clocks = torch.empty_like(log_probs).exponential_(generator=generator)
    actions = (log_probs - clocks.log_()).argmax(dim=-1)
    return actions, log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def log_prob_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each action (B,) under softmax(logits) (B, A), and the entropy (B,) in nats."""
    log_probs = F.log_softmax(logits, dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    return log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1), entropy
