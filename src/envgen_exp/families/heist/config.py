"""The section `env` of Heist."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from envgen_exp.config import EnvConfig, at_least, ranged


class HeistMode(Enum):
    """procgen's distributions of Heist levels: worlds of 9 or 13 cells in full view, or of 23 in partial view."""

    easy = "easy"
    hard = "hard"
    memory = "memory"


@dataclass(frozen=True)
class HeistConfig(EnvConfig):
    """procgen's Heist (Cobbe et al. 2020)."""

    typical_episode = 1000
    """The limit: the median of 223 episodes of a random policy; an agent that has learned needs fewer."""

    name: str = "heist"
    """The family, as registered."""
    mode: HeistMode = HeistMode.easy
    """Which levels the stock game makes, and so what the original is."""
    designed_length: int = ranged(1000, at_least(1))
    """Steps after which an episode in a designed level is truncated, if its design does not say fewer."""
    original_length: int = ranged(1000, at_least(1))
    """Steps after which an episode of the original is truncated; stock's is 1,000."""
    pool_size: int = 1000
    """Levels of each design: built before training, then drawn from for every episode."""
