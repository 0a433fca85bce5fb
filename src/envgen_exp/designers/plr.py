"""Prioritised level replay (Jiang, Grefenstette, Rocktaeschel 2021, arXiv 2010.03934) over worlds of random designs.

The levels are a population of random designs with some worlds each, the same in all cycles. The score of a level is the
mean absolute advantage (GAE) over its last episode, their "L1 value loss"; priorities go by rank. A level is replayed
with the probability that is the share of levels with a score, else a level that was never played is (their section 3).
The world after the running episode's is chosen when that begins: scores are one episode of each slot older than there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp import seeding
from envgen_exp.config import DesignerConfig
from envgen_exp.designers.config import PLRConfig
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.designers.random import draw
from envgen_exp.families.design import Design
from envgen_exp.llm.prompt import Feedback


class PLR(Defaults):
    """The designer whose population never changes, and whose worlds are played by priority."""

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        assert isinstance(config, PLRConfig)
        self._config = config
        self._means = means
        self._proposal: Proposal | None = None
        self._replay = Replay(config, means.seed)

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The population, in every cycle."""
        if self._proposal is None:
            root, count = self._means.design_set, self._config.population
            drawn = [draw(self._means.family, root, "designer", "plr", number) for number in range(count)]
            self._proposal = Proposal(
                designs=tuple(design for design, _ in drawn), checks=tuple(check for _, check in drawn)
            )
            self._replay.designs = [design for design, _ in drawn]
        return self._proposal

    def curriculum(self, slots: Sequence[int]) -> Replay:
        """The choice of every world in these slots."""
        self._replay.slots = frozenset(slots)
        return self._replay

    def state_dict(self) -> dict[str, Any]:
        """The population, and what is known of its worlds."""
        return {"population": self._proposal and self._proposal.to_json(), "replay": self._replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if state["population"]:
            self._proposal = Proposal.from_json(state["population"], self._means.family.design_model)
            self._replay.designs = [design for design in self._proposal.designs if design is not None]
        self._replay.load_state_dict(state["replay"])


class Replay:
    """Levels with their scores, and which of them the slots play (`learners.curriculum.Curriculum`).

    Level n is world n // population of design n % population.
    """

    def __init__(self, config: PLRConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self.num_levels = config.population * config.worlds_per_design
        self.designs: list[Design] = []
        self.slots: frozenset[int] = frozenset()
        self._worlds = [
            seeding.world_seed(root, 1, seeding.WorldSet.TRAIN)
            for root in seeding.integers(seed, "worlds", "plr", count=self.num_levels)
        ]
        self.scores = np.full(self.num_levels, np.nan)
        """Of each level's last episode; NaN before the first has ended."""
        self.chosen_at = np.full(self.num_levels, -1, np.int64)
        """The number, from 0, of the choice by which a level was played last; -1 for never."""
        self.choices = 0
        self._queues: dict[int, list[int]] = {}
        """For each slot the levels that were chosen and have not ended, the running one first."""
        self._sums: dict[int, tuple[float, int]] = {}
        """For each slot, of the running episode up to the last rollout: sum of absolute advantages and steps."""

    def begin(self, slots: Sequence[int]) -> None:
        """A phase begins: in these slots an episode that was cut off gives no score."""
        for slot in self.slots.intersection(slots):
            self._queues[slot], self._sums[slot] = [], (0.0, 0)

    def choose(self, slot: int) -> tuple[Design, int]:
        """Design and world of the slot's next level."""
        level = self.sample()
        self._queues[slot].append(level)
        return self.designs[level % len(self.designs)], self._worlds[level]

    def learn(self, advantages: NDArray[np.float32], dones: NDArray[np.bool_]) -> None:
        """Score the levels whose episodes ended."""
        for slot in self.slots:
            queue, (total, steps) = self._queues[slot], self._sums[slot]
            for advantage, done in zip(np.abs(advantages[:, slot]).tolist(), dones[:, slot].tolist(), strict=True):
                total, steps = total + advantage, steps + 1
                if done:
                    self.scores[queue.pop(0)] = total / steps
                    total, steps = 0.0, 0
            self._sums[slot] = total, steps

    def sample(self) -> int:
        """The next level: a scored one by priority, or one that has no score and is not being played."""
        chance = seeding.generator(self._seed, "plr", "choice", self.choices)
        scored = np.flatnonzero(~np.isnan(self.scores))
        playing = [level for queue in self._queues.values() for level in queue]
        new = np.setdiff1d(np.flatnonzero(np.isnan(self.scores)), playing)
        replay = chance.random() < len(scored) / self.num_levels
        if len(scored) and (replay or not len(new)):
            level = int(chance.choice(scored, p=self.priorities(scored)))
        else:
            level = int(chance.choice(new if len(new) else self.num_levels))
        self.chosen_at[level] = self.choices
        self.choices += 1
        return level

    def priorities(self, scored: NDArray[np.int64]) -> NDArray[np.float64]:
        """The probability with which each of these levels is replayed (their equations 1 to 3); ties go by number.

        By score: (1 / rank) ** (1 / temperature), rank 1 being the highest score; by staleness: the number of choices
        since a level's last.
        """
        order = np.argsort(-self.scores[scored], kind="stable")
        ranks = np.empty(len(scored))
        ranks[order] = np.arange(1, len(scored) + 1)
        by_score = ranks ** (-1 / self._config.temperature)
        age = (self.choices - self.chosen_at[scored]).astype(np.float64)
        share = self._config.staleness
        mixed: NDArray[np.float64] = (1 - share) * by_score / by_score.sum() + share * age / age.sum()
        return mixed

    def state_dict(self) -> dict[str, Any]:
        """Everything but the levels themselves, as plain values."""
        return {
            "scores": [None if np.isnan(score) else score for score in self.scores.tolist()],
            "chosen_at": self.chosen_at.tolist(),
            "choices": self.choices,
            "queues": {slot: list(queue) for slot, queue in self._queues.items()},
            "sums": {slot: list(pair) for slot, pair in self._sums.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.scores = np.array(state["scores"], np.float64)
        self.chosen_at = np.array(state["chosen_at"], np.int64)
        self.choices = state["choices"]
        self._queues = {slot: list(queue) for slot, queue in state["queues"].items()}
        self._sums = {slot: (total, steps) for slot, (total, steps) in state["sums"].items()}
