"""`designer=ladder`: corridors that grow by a rung as soon as the one before is mastered. It asks nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envgen_exp.config import DesignerConfig, between, ranged
from envgen_exp.designers import Feedback, Means, Proposal
from envgen_exp.designers.means import Defaults


@dataclass(frozen=True)
class LadderConfig(DesignerConfig):
    """Where the ladder stands."""

    lowest: int = ranged(3, between(3, 31))
    """Cells of the first rung."""
    mastered: float = ranged(0.8, between(0, 1))
    """Mean success rate in the original from which the next rung is taken."""


class Ladder(Defaults):
    """The first rung's length is all that it remembers."""

    Config = LadderConfig

    def __init__(self, config: LadderConfig, means: Means) -> None:
        self.config, self.means, self.rung = config, means, 0

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        if feedback and sum(feedback.mean.values()) >= self.config.mastered * len(feedback.mean):
            self.rung += 1
        family, count = self.means.family, self.config.num_designs
        lengths = [min(self.config.lowest + 2 * (self.rung + number), 31) for number in range(count)]
        designs = tuple(family.design_model(purpose=f"rung of {cells} cells", cells=cells) for cells in lengths)
        return Proposal(designs, checks=tuple(family.check(design) for design in designs))

    def state_dict(self) -> dict[str, Any]:
        return {"rung": self.rung}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rung = state["rung"]
