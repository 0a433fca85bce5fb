"""The section `env` of Crafter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from envgen_exp.config import EnvConfig, at_least, ranged


class OriginalGame(Enum):
    """Which game is the original: the stock game, or the designed generator's default world (a diagnostic)."""

    stock = "stock"
    fork = "fork"


class Generator(Enum):
    """The designed generator as the paper describes it, or as released, where coal 'very common' is ignored."""

    paper = "paper"
    released = "released"


@dataclass(frozen=True)
class CrafterConfig(EnvConfig):
    """Crafter (Hafner 2021)."""

    typical_episode = 180
    """Medians of 168 to 186 were observed, in designs and in the original, in the first 240,000 steps of training."""

    name: str = "crafter"
    """The family, as registered."""
    designed_length: int = ranged(1024, at_least(1))
    """Steps after which an episode in a designed world is truncated."""
    original_length: int = ranged(10_000, at_least(1))
    """Steps after which an episode of the original is truncated."""
    original: OriginalGame = OriginalGame.stock
    """Which game is the original; fork, the designed generator's default world, is a diagnostic."""
    generator: Generator = Generator.paper
    """Which rules make designed worlds; released, which ignores coal 'very common', is a diagnostic."""

    def diagnostics(self) -> list[str]:
        """Those that make its worlds other than the stock game's and the paper's."""
        chosen = {"original": (self.original, OriginalGame.stock), "generator": (self.generator, Generator.paper)}
        return [f"env.{key}={value.name}" for key, (value, usual) in chosen.items() if value is not usual]
