"""The designed generator with every setting at its default: its worlds, without anything that a designer decides.

They are not the original's: Crafter's designed generator makes 6.8 times the iron.
"""

from __future__ import annotations

from typing import ClassVar

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.llm.prompt import Feedback


class Generator(Defaults):
    """The designer that leaves everything as it is."""

    draws: ClassVar[bool] = False

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        self._family = means.family
        self._num_designs = config.num_designs

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The default design, as often as there would be designs."""
        design = self._family.design_model(purpose="every setting at its default")
        count = self._num_designs
        return Proposal(designs=(design,) * count, checks=(self._family.check(design),) * count)
