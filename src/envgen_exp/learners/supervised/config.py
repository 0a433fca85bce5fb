"""What a learner that is taught by labels says of itself, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from envgen_exp.config import POSITIVE, AgentConfig, Precision, RunConfig, at_least, between, ranged
from envgen_exp.errors import ConfigError
from envgen_exp.learners.learner import Metric


class Network(Enum):
    """Which network looks at the frames."""

    paper = "paper"
    laptop = "laptop"


@dataclass(frozen=True)
class SupervisedConfig(AgentConfig):
    """A network that reads labels from frames; steps are frames, each seen once."""

    without_effect: ClassVar[tuple[str, ...]] = ("ppo",)
    typical_episode: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss/total", "loss", "What is minimised, mean over the batches of a stretch."),
        Metric("loss/presence", "loss", "Cross-entropy of whether a label is there; 0 where agent.apart is false."),
        Metric("loss/distance", "loss", "Error of the labels that are there, in scaled units."),
        Metric("loss/learning_rate", "rate", "Adam's step size."),
    )

    name: str = "supervised"
    """The agent, as registered."""
    network: Network = Network.laptop
    """The network: the paper's to the letter, or one for two cores."""
    batch_size: int = ranged(32, between(2, 4096))
    """Frames of a batch, one of each slot: designs take the slots in turn."""
    learning_rate: float = ranged(1e-3, POSITIVE)
    """Adam's step size."""
    anneal_lr: bool = False
    """Bring the learning rate down to zero over the run's training frames."""
    apart: bool = False
    """Answer apart whether a label is there and what it is; otherwise 'none' is a value beyond, as in the paper."""
    presence_weight: float = ranged(1.0, at_least(0))
    """Weight of whether a label is there, where that is answered apart."""
    distance_weight: float = ranged(1.0, at_least(0))
    """Weight of what a label is, where that is answered apart."""
    precision: Precision = Precision.float32
    """Number format of the layers before the last; auto chooses by device and processor."""
    blur: float = ranged(0.0, between(0, 32))
    """Most pixels of motion blur in a training frame; 0 is none."""
    noise: float = ranged(0.0, between(0, 255))
    """Most standard deviation of sensor noise in a training frame, in grey levels; 0 is none."""
    exposure: float = ranged(1.0, between(1, 8))
    """Most factor by which a training frame is exposed longer or shorter; 1 is none."""

    def check(self, run: RunConfig) -> None:
        """Every design needs a slot."""
        if run.designer.num_designs > self.batch_size:
            raise ConfigError(
                f"designer.num_designs={run.designer.num_designs}: allowed is at most agent.batch_size, which is "
                f"{self.batch_size}, so that every design is seen"
            )

    @classmethod
    def label(cls, config: Mapping[str, Any]) -> str:
        """The network."""
        return str(config["agent.network"])
