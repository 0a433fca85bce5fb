"""Sampling for learnability (Rutherford et al. 2024, arXiv 2408.15099) over random designs.

Each cycle draws random designs, plays the agent as it is in each, and trains in those with the highest p (1 - p), where
p is how often the agent succeeds, beside others as they were drawn. Theirs is the success at a level's one goal, and a
level is one world; here p is a skill's rate, the mean over skills ranks, and a design's worlds are drawn anew in
training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.config import SFLConfig
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.designers.random import Random
from envgen_exp.errors import ConfigError
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.learners.skills import success_counts
from envgen_exp.llm.prompt import Feedback


def learnability(rates: ArrayLike) -> float:
    """The mean of p (1 - p) over skills: 0 where the agent can do or fail all, at most 1/4."""
    p = np.asarray(rates)
    return float((p * (1 - p)).mean())


class SFL(Defaults):
    """The designer that looks for what the agent now succeeds at half of the time."""

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        """Raises ConfigError where there are fewer candidates than are needed."""
        assert isinstance(config, SFLConfig)
        if config.num_candidates < config.num_designs:
            raise ConfigError(
                f"designer.num_candidates={config.num_candidates}: designer={config.name} takes {config.num_designs} "
                f"of them a cycle; allowed is {config.num_designs} or more"
            )
        self._config = config
        self._means = means
        self._drawer = Random(replace(config, num_designs=config.num_candidates), means)

    @classmethod
    def validation(cls, config: SFLConfig, cycles: int) -> tuple[int, int]:
        """Episodes in each cycle's candidates."""
        return 0, config.num_candidates * config.validation_episodes * cycles

    @classmethod
    def deducts(cls, config: SFLConfig) -> bool:
        """As its config says."""
        return config.deduct

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The most learnable of the cycle's candidates, the most learnable first, and then those that are taken unseen.

        The latter are the first that were drawn; `returns` say how learnable each is.
        """
        assert self._means.trial is not None, "a designer that ranks needs an agent"
        drawn = self._drawer.design(cycle, feedback)
        designs = [design for design in drawn.designs if design is not None]
        worth = self._means.trial(designs, episodes=self._config.validation_episodes, by_pupil=False, worth=_learnable)
        unseen = int(self._config.num_designs * self._config.random_share)
        best = sorted(range(unseen, len(worth)), key=lambda index: (-worth[index], index))
        return drawn.take([*best[: self._config.num_designs - unseen], *range(unseen)], worth)


def _learnable(records: Sequence[EpisodeRecord]) -> float:
    shown, trials = success_counts(records, len(records[0].skills))
    return learnability(shown / np.maximum(trials, 1))
