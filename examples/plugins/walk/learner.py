"""`agent=table`: Q-learning, with a row of values for each picture that was seen."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import AgentConfig, between, ranged
from envgen_exp.families.vector import Observation
from envgen_exp.learners.learner import Metric
from envgen_exp.learners.playing import StepLearner


@dataclass(frozen=True)
class TableConfig(AgentConfig):
    """Q-learning."""

    without_effect = ("ppo",)
    metrics = (Metric("table/pictures", "pictures", "Different pictures that were acted in so far."),)
    rate: float = ranged(0.5, between(0, 1))
    """How far a value goes to what it should have been."""
    explore: float = ranged(0.2, between(0, 1))
    """Share of the actions in training that are drawn at random."""


class Table(StepLearner):
    """In an episode of Q-learning a value is the reward and 95 % of the best value of what comes after."""

    Config = TableConfig

    def rows(self, obs: Observation) -> list[tuple[str, list[float]]]:
        """What is seen in each slot, and the values of its actions."""
        pictures = zip(*obs.values(), strict=True)
        keys = [sha256(b"".join(part.tobytes() for part in picture)).hexdigest() for picture in pictures]
        return [(key, self.memory.get(key, [0.0] * self.family.num_actions)) for key in keys]

    def act(self, obs: Observation, draw: np.random.Generator, *, learning: bool) -> NDArray[np.int64]:
        values = np.array([row for _, row in self.rows(obs)])
        best = (values + 1e-6 * draw.random(values.shape)).argmax(axis=1)
        others = draw.integers(values.shape[1], size=len(values))
        return np.where(draw.random(len(values)) < self.config.agent.explore * learning, others, best)

    def learn(self, obs, actions, rewards, ended, after) -> dict[str, float]:
        best = [max(row) for _, row in self.rows(after)]
        for (key, row), action, target in zip(self.rows(obs), actions, rewards + 0.95 * ~ended * best, strict=True):
            row = self.memory.setdefault(key, row)
            row[action] += self.config.agent.rate * (float(target) - row[action])
        return {"table/pictures": len(self.memory)}
