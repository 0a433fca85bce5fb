"""The adaptive designer, told rates that say nothing of its agent: the same calls, as much variety, no information.

`permuted` tells the run's own rates for the wrong skills, permuted anew in each cycle, so that any correlation with the
true ones is chance; another run's rates are much like one's own. If it does as well as `adaptive`, it is not the
feedback that helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from envgen_exp import seeding
from envgen_exp.config import DesignerConfig
from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.designers.config import PlaceboConfig, Told
from envgen_exp.designers.means import Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.errors import ConfigError
from envgen_exp.learners.skills import SkillReport
from envgen_exp.llm.prompt import Ended, Feedback


class Placebo(Adaptive):
    """Adaptive, with the rates in its feedback exchanged."""

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        """Raises ConfigError where the other run's skills are not the family's."""
        assert isinstance(config, PlaceboConfig)
        super().__init__(config, means)
        self._permuted = config.placebo is Told.permuted
        self._root = means.seed
        self._told = [SkillReport.from_json(report) for report in config.told]
        if any(report.skills != means.family.skills for report in self._told):
            raise ConfigError(f"designer.placebo_from={config.placebo_from}: its skills are not {means.family.name}'s")

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """What the adaptive designer makes of the exchanged rates; designs and steps left are this run's."""
        if feedback is not None:
            feedback = self._own(feedback) if self._permuted else self._other(feedback)
        return super().design(cycle, feedback)

    def _own(self, feedback: Feedback) -> Feedback:
        """A skill is told another one's mean, spread and episodes; earlier cycles' rates as they were told then.

        How episodes ended is true of the agent whatever the skill, so that it is not told.
        """
        mean, sd = (self._exchanged(rates, feedback.cycle) for rates in (feedback.mean, feedback.sd))
        history = tuple(self._exchanged(rates, cycle) for cycle, rates in enumerate(feedback.history, start=1))
        others = self._others(feedback.cycle)
        shown = [frozenset(skill for skill, other in others.items() if other in one.skills) for one in feedback.ended]
        return replace(feedback, mean=mean, sd=sd, history=history, ended=tuple(map(Ended, shown)))

    def _exchanged(self, rates: Mapping[str, float], cycle: int) -> dict[str, float]:
        return {skill: rates[other] for skill, other in self._others(cycle).items()}

    def _others(self, cycle: int) -> dict[str, str]:
        """By skill the one whose rate it is told."""
        skills = self._family.skills
        others = seeding.generator(self._root, "placebo", cycle).permutation(len(skills))
        return {skill: skills[other] for skill, other in zip(skills, others.tolist(), strict=True)}

    def _other(self, feedback: Feedback) -> Feedback:
        report, earlier = self._told[feedback.cycle - 1], self._told[: feedback.cycle - 1]
        rates = report.mean_and_sd()
        return replace(
            feedback,
            mean={skill: mean for skill, (mean, _) in rates.items()},
            sd={skill: sd for skill, (_, sd) in rates.items()},
            episodes=sum(report.episodes),
            history=tuple(one.success_rates() for one in earlier),
            ended=(),  # no run keeps the other's episodes
        )
