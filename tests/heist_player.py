"""A scripted player: walks a level's solution in the real game, with procgen's equations of motion and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.heist import procgen_state
from envgen_exp.families.heist.levels import Cell
from envgen_exp.families.heist.upstream import STAY, Games

KEEP = 0.45
"""What a step leaves of the speed, before it adds a push."""

PLAY = 0.12
"""So far from the middle of a corridor the player still fits into it: it is 0.75 wide, the corridor 1."""

REACHED = 0.2
"""A cell counts as reached so far before its middle; what lies in it has been touched then."""


class Player:
    """Walks from cell to cell of a solution.

    It can't stop at will, since the least push carries it 0.6 cells. So it turns corners as people do: it pushes both
    ways, and the walls let it in where there is room.
    """

    def __init__(self, walk: Sequence[Cell]) -> None:
        self.walk = list(walk)
        self.at = 0
        """The last cell of the walk that was reached."""

    def action(self, place: Sequence[float], speed: Sequence[float]) -> int:
        """What to do at a position with a speed."""
        while self.at + 2 < len(self.walk) and self._has_reached(self.at + 1, place):
            self.at += 1
        along, goal = self._axis(self.at + 1), self.walk[self.at + 1]
        pushes = [0, 0]
        for axis in (0, 1):
            rest = place[axis] + KEEP * speed[axis] / (1 - KEEP)
            away = goal[axis] + 0.5 - (place[axis] if axis == along else rest)
            pushes[axis] = 0 if axis != along and abs(away) < PLAY else 1 if away > 0 else -1
        return 3 * (pushes[0] + 1) + pushes[1] + 1

    def _axis(self, index: int) -> int:
        """The axis along which a cell of the walk is entered: 0 for x, 1 for y."""
        return 0 if self.walk[index][0] != self.walk[index - 1][0] else 1

    def _has_reached(self, index: int, place: Sequence[float]) -> bool:
        along = self._axis(index)
        ahead = self.walk[index][along] - self.walk[index - 1][along]
        passed = ahead * (place[along] - self.walk[index][along] - 0.5)
        beside = abs(place[1 - along] - self.walk[index][1 - along] - 0.5)
        return passed > -REACHED and beside < 0.5


def player_of(games: Games, slot: int) -> NDArray:
    """The row of a game's player."""
    return procgen_state.read(games.get(slot)).entities[0]


def actions(games: Games, players: Sequence[Player], done: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """What each player does now; those that are done do nothing."""
    moves = np.full(games.num, STAY)
    for slot in range(games.num) if done is None else np.flatnonzero(~done):
        row = player_of(games, int(slot))
        moves[slot] = players[slot].action((row["x"], row["y"]), (row["vx"], row["vy"]))
    return moves
