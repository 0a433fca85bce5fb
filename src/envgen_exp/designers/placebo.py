"""The adaptive designer, told another run's success rates: the same calls, as much variety, no information.

If it does as well as `adaptive`, it is not the feedback that helps.
"""

from __future__ import annotations

from dataclasses import replace

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.designers.config import PlaceboConfig
from envgen_exp.designers.means import Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.errors import ConfigError
from envgen_exp.learners.skills import SkillReport
from envgen_exp.llm.prompt import Feedback


class Placebo(Adaptive):
    """Adaptive, with the rates in its feedback exchanged."""

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        """Raises ConfigError where the other run's skills are not the family's."""
        assert isinstance(config, PlaceboConfig)
        super().__init__(config, means)
        self._told = [SkillReport.from_json(report) for report in config.told]
        if any(report.skills != means.family.skills for report in self._told):
            raise ConfigError(f"designer.placebo_from={config.placebo_from}: its skills are not {means.family.name}'s")

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """What the adaptive designer makes of the other run's rates; designs and steps left are this run's."""
        if feedback is not None:
            report, earlier = self._told[feedback.cycle - 1], self._told[: feedback.cycle - 1]
            rates = report.mean_and_sd()
            feedback = replace(
                feedback,
                mean={skill: mean for skill, (mean, _) in rates.items()},
                sd={skill: sd for skill, (_, sd) in rates.items()},
                episodes=sum(report.episodes),
                history=tuple(one.success_rates() for one in earlier),
            )
        return super().design(cycle, feedback)
