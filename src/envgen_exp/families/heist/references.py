"""What random actions reach in the stock game's levels, in all and by their number of locks.

Published numbers are none of stock Heist's: docs/heist.md says why.
"""

from __future__ import annotations

from collections.abc import Mapping

from envgen_exp.families.family import Reference
from envgen_exp.families.heist.config import HeistMode


def _random(score: float, spread: str, *by_locks: tuple[int, int]) -> Reference:
    read, by_grade = "1,000 report episodes", dict(enumerate(by_locks))
    return Reference("random actions", score, spread, 0, "", read, "docs/heist.md", line=True, by_grade=by_grade)


RANDOM: Mapping[HeistMode, Reference] = {
    HeistMode.easy: _random(31.3, "[28.5, 34.2]", (146, 184), (133, 314), (32, 340), (2, 162)),
    HeistMode.hard: _random(19.4, "[17.1, 22.0]", (88, 108), (96, 197), (9, 180), (1, 515)),
    HeistMode.memory: _random(14.2, "[12.2, 16.5]", (76, 264), (46, 266), (18, 256), (2, 214)),
}
