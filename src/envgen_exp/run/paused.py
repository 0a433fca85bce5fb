"""Games that wait between phases: each slot's of the original, and that of its last design.

An episode that crosses a phase's end counts where it ends; which of its steps were where is known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envgen_exp.families.design import Design, design_key
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.learners.learner import Game

_ORIGINAL = design_key(None)


class Paused:
    """The games that slots have left, and how many steps of each running episode were in which phase."""

    def __init__(self) -> None:
        self._games: dict[int, dict[str, tuple[Game, dict[str, int]]]] = {}
        """By slot and key of its design."""
        self._spent: list[dict[str, int]] = []
        """Of the phase that runs: each slot's running episode."""

    def take(self, designs: Sequence[Design | None]) -> list[Game | None]:
        """What the slots go on with where their design is what it was; an earlier design's game ends here."""
        self._spent, found = [], []
        for slot, key in enumerate(map(design_key, designs)):
            left = self._games.setdefault(slot, {})
            game, spent = left.pop(key, (None, {}))
            if key != _ORIGINAL:
                self._games[slot] = {other: one for other, one in left.items() if other == _ORIGINAL}
            found.append(game)
            self._spent.append(dict(spent))
        return found

    def leave(self, designs: Sequence[Design | None], games: Sequence[Game]) -> None:
        """A phase has ended in these games; a learner that plays none leaves none."""
        for slot, (design, game) in enumerate(zip(designs, games, strict=False)):
            self._games[slot][design_key(design)] = game, self._spent[slot]

    def count(self, phase: str, steps: int, ended: Sequence[EpisodeRecord]) -> list[dict[str, int]]:
        """Each slot has played so many steps more; returns the steps of each ended episode in earlier phases."""
        for spent in self._spent:
            spent[phase] = spent.get(phase, 0) + steps
        earlier = []
        for record in ended:
            before = {name: count for name, count in self._spent[record.slot].items() if name != phase}
            here = self._spent[record.slot][phase] - (record.length - sum(before.values()))
            self._spent[record.slot] = {phase: here}
            earlier.append(before)
        return earlier

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        games = [(slot, key, *one) for slot, left in self._games.items() for key, one in left.items()]
        return {"games": games, "spent": [dict(spent) for spent in self._spent]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._games = {slot: {} for slot in range(len(state["spent"]))}
        for slot, key, game, spent in state["games"]:
            self._games[slot][key] = game, dict(spent)
        self._spent = [dict(spent) for spent in state["spent"]]
