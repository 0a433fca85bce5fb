"""No designs: every slot plays the original, on the same number of steps; asks nobody."""

from __future__ import annotations

from typing import ClassVar

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.llm.prompt import Feedback


class Original(Defaults):
    """The designer that designs nothing."""

    designs: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        self._num_designs = config.num_designs

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """As many originals as there would be designs."""
        return Proposal(designs=(None,) * self._num_designs, checks=(None,) * self._num_designs)
