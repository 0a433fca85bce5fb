"""More designs than are trained in, ranked by the mean return of an agent in each: easy to hard, and adversarial.

Both are the paper's rivals of the adaptive designer (arXiv 2403.12014, table 2), where which agent validates, and in
how many episodes, is not said: see docs/designers.md for what is done here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.designers.config import CandidatesConfig, EasyToHardConfig
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.designers.resample import Resample
from envgen_exp.errors import ConfigError
from envgen_exp.llm.prompt import Feedback
from envgen_exp.llm.source import Message


class _Ranked(Defaults):
    """What both share: a writer of candidates, and trials of them."""

    uses_llm: ClassVar[bool] = True
    writer: ClassVar[type[Adaptive]] = Adaptive

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        """Raises ConfigError where there are fewer candidates than are needed."""
        assert isinstance(config, CandidatesConfig)
        needed = self._needed(config, means.cycles)
        if config.num_candidates < needed:
            raise ConfigError(
                f"designer.num_candidates={config.num_candidates}: designer={config.name} takes {needed} of them "
                f"({config.num_designs} a cycle); allowed is {needed} or more"
            )
        self._config = config
        self._means = means

    @classmethod
    def deducts(cls, config: CandidatesConfig) -> bool:
        """As its config says."""
        return config.deduct

    @staticmethod
    def _needed(config: CandidatesConfig, cycles: int) -> int:
        """How many candidates of one call are trained in."""
        return config.num_designs

    def preview(self) -> list[list[Message]]:
        """The chat that asks for candidates."""
        return self._writer().preview()[:1]

    def example_reply(self) -> str:
        """A typical answer, for an estimate of the cost."""
        return self._writer().example_reply()

    def _writer(self) -> Adaptive:
        """A new one for each call: what a call that was interrupted left behind is in the ledger alone."""
        return self.writer(replace(self._config, num_designs=self._config.num_candidates), self._means)

    def _candidates(self, cycle: int, *, by_pupil: bool) -> tuple[Proposal, list[float]]:
        """New candidates, and an agent's mean return in each."""
        assert self._means.trial is not None, "a designer that ranks needs an agent"
        candidates = self._writer().design(cycle, None)
        candidates = replace(candidates, notes=tuple(f"candidates: {note}" for note in candidates.notes))
        designs = [design for design in candidates.designs if design is not None]
        return candidates, self._means.trial(designs, episodes=self._config.validation_episodes, by_pupil=by_pupil)


class EasyToHard(_Ranked):
    """Candidates of one call, in the first cycle those with the highest mean return of a validation agent, and so on.

    The agent is one that has trained `designer.validation_steps` in the original, and only for this.
    """

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        assert isinstance(config, EasyToHardConfig)
        super().__init__(config, means)
        self._ranked: Proposal | None = None

    @classmethod
    def validation(cls, config: EasyToHardConfig, cycles: int) -> tuple[int, int]:
        """Once: the pupil's training, and its episodes."""
        return config.validation_steps, config.num_candidates * config.validation_episodes

    @staticmethod
    def _needed(config: CandidatesConfig, cycles: int) -> int:
        return cycles * config.num_designs

    def num_calls(self, cycles: int) -> int:
        """One."""
        return 1

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The next easiest."""
        if self._ranked is None:
            candidates, returns = self._candidates(cycle, by_pupil=True)
            easiest = sorted(range(len(returns)), key=lambda index: (-returns[index], index))
            self._ranked = candidates.take(easiest, returns)
        count = self._config.num_designs
        taken = self._ranked.take(range((cycle - 1) * count, cycle * count), self._ranked.returns)
        return taken if cycle == 1 else replace(taken, notes=(), repairs=0)  # the one call was the first cycle's

    def state_dict(self) -> dict[str, Any]:
        """The candidates in their order."""
        return {"ranked": self._ranked and self._ranked.to_json()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        ranked = state["ranked"]
        self._ranked = Proposal.from_json(ranked, self._means.family.design_model) if ranked else None


class Adversarial(_Ranked):
    """New candidates each cycle, of which those with the lowest mean return of the agent as it is are trained in."""

    redraws: ClassVar[bool] = True
    writer: ClassVar[type[Adaptive]] = Resample

    @classmethod
    def validation(cls, config: CandidatesConfig, cycles: int) -> tuple[int, int]:
        """Episodes in each cycle's candidates."""
        return 0, config.num_candidates * config.validation_episodes * cycles

    def num_calls(self, cycles: int) -> int:
        """One a cycle."""
        return cycles

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The hardest of the cycle's candidates, the hardest first."""
        candidates, returns = self._candidates(cycle, by_pupil=False)
        hardest = sorted(range(len(returns)), key=lambda index: (returns[index], index))
        return candidates.take(hardest[: self._config.num_designs], returns)
