"""An archive of designs with how learnable each was, from which parents are chosen: after DiCode (arXiv 2602.08194).

A design that was trained in is kept with the mean over skills of p (1 - p), p being a skill's rate in the episodes that
ended in it in its last cycle: that takes no untrained steps. Parents are drawn with a chance in proportion to it,
divided among those that have children already, so that lines which nobody followed come first. DiCode's children are
programs; here they are designs of the family's space, written by a language model that is told of the parents, or
without one by mutation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envgen_exp import seeding
from envgen_exp.config import DesignerConfig
from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.designers.random import Random, draw
from envgen_exp.designers.sfl import learnability
from envgen_exp.families.design import design_key
from envgen_exp.llm.prompt import Feedback

MUTATED = 0.2
"""Chance of each setting of a parent to be drawn anew in its child."""


@dataclass
class _Kept:
    """A design of the archive."""

    alone: Proposal
    """The design with its check."""
    learnable: float = 0.0
    children: int = 0


class Shelf:
    """The archive itself."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._kept: dict[str, _Kept] = {}

    def add(self, proposal: Proposal, taught: Mapping[str, Mapping[str, float]]) -> None:
        """Keep the designs that were trained in; a design in which no episode ended says nothing."""
        for index, design in enumerate(proposal.designs):
            if rates := taught.get(key := design_key(design)):
                alone = replace(proposal.take([index], [0.0] * len(proposal.designs)), notes=(), returns=())
                self._kept.setdefault(key, _Kept(alone)).learnable = learnability(list(rates.values()))

    def parents(self, cycle: int, count: int) -> Proposal | None:
        """So many designs, each once while there are enough; None where nothing is kept."""
        chance = seeding.generator(self._means.design_set, "designer", "archive", cycle)
        kept = list(self._kept.values())
        if not kept:
            return None
        weights = np.array([(one.learnable + 1e-9) / (1 + one.children) for one in kept])
        chosen: list[_Kept] = []
        while len(chosen) < count:
            some = min(count - len(chosen), len(kept))
            chosen += [kept[n] for n in chance.choice(len(kept), some, replace=False, p=weights / weights.sum())]
        for one in chosen:
            one.children += 1
        return Proposal(
            designs=tuple(one.alone.designs[0] for one in chosen), checks=tuple(one.alone.checks[0] for one in chosen)
        )

    def state_dict(self) -> list[dict[str, Any]]:
        """Plain values."""
        return [{**vars(one), "alone": one.alone.to_json()} for one in self._kept.values()]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Go on from a state."""
        model = self._means.family.design_model
        found = [_Kept(**{**one, "alone": Proposal.from_json(one["alone"], model)}) for one in state]
        self._kept = {design_key(one.alone.designs[0]): one for one in found}


class Archive(Adaptive):
    """Told of the parents in place of the designs that were trained in last, which they stand in for too."""

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        super().__init__(config, means)
        self._shelf = Shelf(means)

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """Children of the archive's parents; in the first cycle what the adaptive designer asks for."""
        before = self.state_dict()
        if feedback is not None and self._last is not None:
            self._shelf.add(self._last, feedback.taught)
            if parents := self._shelf.parents(cycle, self._num_designs):
                feedback = replace(feedback, designs=parents.designs)
                self._last = replace(parents, source=self._last.source)
        try:
            return super().design(cycle, feedback)
        except BaseException:
            self.load_state_dict(before)
            raise

    def state_dict(self) -> dict[str, Any]:
        """The adaptive designer's, and the archive."""
        return {**super().state_dict(), "shelf": self._shelf.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._shelf.load_state_dict(state["shelf"])


class ArchiveMutated(Defaults):
    """The archive without a language model: random designs first, then mutated parents."""

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        self._means = means
        self._config = config
        self._shelf = Shelf(means)
        self._last: Proposal | None = None

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """Each parent with some of its settings drawn anew, so that an agent can play in it."""
        parents = None
        if feedback is not None and self._last is not None:
            self._shelf.add(self._last, feedback.taught)
            parents = self._shelf.parents(cycle, self._config.num_designs)
        if parents is None:
            self._last = Random(self._config, self._means).design(cycle, feedback)
        else:
            names = (self._means.design_set, "designer", "mutated", cycle)
            drawn = [
                draw(self._means.family, *names, number, parent=parent, share=MUTATED)
                for number, parent in enumerate(parents.designs)
            ]
            self._last = Proposal(
                designs=tuple(design for design, _ in drawn), checks=tuple(check for _, check in drawn)
            )
        return self._last

    def state_dict(self) -> dict[str, Any]:
        """The archive, and the last designs."""
        return {"last": self._last and self._last.to_json(), "shelf": self._shelf.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._last = Proposal.from_json(state["last"], self._means.family.design_model) if state["last"] else None
        self._shelf.load_state_dict(state["shelf"])
