"""Designs drawn at random: every setting uniformly from all that it allows, and again where no agent could play."""

from __future__ import annotations

from typing import Any

from envgen_exp import seeding
from envgen_exp.config import DesignerConfig
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.errors import DesignError
from envgen_exp.families.design import Design
from envgen_exp.families.family import DesignCheck, Family
from envgen_exp.llm.prompt import Feedback

_MOST_TRIES = 1000
"""Draws for one design; of Heist's, the most contradictory, one in twelve can be played (18 of 229 that were drawn)."""


class Random(Defaults):
    """The designer that draws lots, a new set each cycle."""

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        self._family = means.family
        self._design_set = means.design_set
        self._num_designs = config.num_designs

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The designs of the cycle's stream."""
        names = [(self._design_set, "designer", "random", cycle, number) for number in range(self._num_designs)]
        drawn = [draw(self._family, *name) for name in names]
        return Proposal(designs=tuple(design for design, _ in drawn), checks=tuple(check for _, check in drawn))


def draw(
    family: Family, root: int, *names: str | int, parent: Design | None = None, share: float = 1.0
) -> tuple[Design, DesignCheck]:
    """The design of the stream with these names and what its worlds hold; DesignError where none can be played.

    Of a `parent` the settings stay, but for such a share of them.
    """
    chance = seeding.generator(root, *names)
    inherited = {} if parent is None else parent.settings()
    for _ in range(_MOST_TRIES):
        chosen: dict[str, Any] = {
            setting.name: inherited[setting.name]
            if inherited and chance.random() >= share
            else setting.choices[chance.integers(len(setting.choices))]
            if setting.choices
            else int(chance.integers(setting.low, setting.high, endpoint=True))
            for setting in family.vocabulary
        }
        if chosen == inherited:
            continue
        design = family.design_model(purpose="mutated" if inherited else "drawn at random", **chosen)
        check = family.check(design)
        if check.playable:
            return design, check
    raise DesignError(f"no design of {family.name}'s that can be played in {_MOST_TRIES} draws")
