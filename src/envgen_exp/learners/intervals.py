"""Intervals of what one evaluation found: of a success rate, of a count, and of a family's score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """95 % Wilson score interval of a success rate, in [0, 1]; (0, 1) without episodes."""
    if episodes == 0:
        return 0.0, 1.0
    rate, z2 = successes / episodes, Z95**2
    centre = rate + z2 / (2 * episodes)
    half = Z95 * math.sqrt(rate * (1 - rate) / episodes + z2 / (4 * episodes**2))
    # At 0 or all successes the formula's end is exactly 0 or 1, up to rounding.
    low = (centre - half) / (1 + z2 / episodes) if successes else 0.0
    high = (centre + half) / (1 + z2 / episodes) if successes < episodes else 1.0
    return low, high


def poisson(count: int) -> tuple[float, float]:
    """95 % interval of the mean of a Poisson variable that was seen to be `count`: exact (Garwood 1936), in counts.

    Each end is the mean of which so few, or so many, are seen with a probability of 2.5 %.
    """

    def below(mean: float, most: int) -> float:
        """Probability of at most so many."""
        return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(most + 1))

    def mean_of(most: int, probability: float) -> float:
        low, high = 0.0, 20.0 + 2 * count
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle, most) > probability else (low, middle)
        return low

    return mean_of(count - 1, 0.975) if count else 0.0, mean_of(count, 0.025)


def score_interval(
    shown: NDArray[Any],
    skills: Sequence[str],
    score: Callable[[Mapping[str, float]], float],
    trials: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """95 % interval of a family's score (percent) over episodes; `shown` is (episodes, skills), whether each showed it.

    With `trials`, of the same shape, a row is a block of episodes that are alike in kind to those of the others: how
    many of them asked for each skill, and `shown` how many of these showed it.

    The score is no mean of episodes and reads low where episodes are few (a concave function of the rates), so this is
    the bias-corrected jackknife over whole episodes, which keeps the skills' dependence, on the scale log(1 + score),
    which keeps it above zero. It covers 92 to 97 % with 1,000 episodes at rates like the paper's; less with few
    episodes (about 90 % with 100), where skills that no episode showed can still be possible. Where no episode moves
    the score, as those of Heist without a gem, it falls back on the ends of every skill's Wilson interval; and without
    blocks it never goes beyond these, as a jackknife of a few episodes does: to 100 % for one gem in 20. It always
    holds the plain score.
    """
    asked = np.ones(shown.shape, np.int64) if trials is None else trials
    episodes, counts, total = len(shown), shown.sum(axis=0), asked.sum(axis=0)

    def at(rates: Iterable[float]) -> float:
        return math.log1p(score(dict(zip(skills, rates, strict=True))))

    if episodes == 0:
        return 0.0, 100.0
    plain = at(counts / np.maximum(total, 1))
    kinds, times = np.unique(np.hstack([shown, asked]), axis=0, return_counts=True)
    ones, tried = np.split(kinds.astype(np.int64), 2, axis=1)
    rates = (counts - ones) / np.maximum(total - tried, 1)
    without = np.array([at(row) for row in rates] if len(kinds) > 1 else [plain])
    ends = [at([wilson(int(k), int(n))[end] for k, n in zip(counts, total, strict=True)]) for end in (0, 1)]
    low, high = ends
    if np.ptp(without) > 0:
        mean = float(np.average(without, weights=times))
        error = math.sqrt((episodes - 1) / episodes * float(times @ (without - mean) ** 2))
        centre = plain - (episodes - 1) * (mean - plain)
        low, high = centre - Z95 * error, centre + Z95 * error
        if asked.max() <= 1:
            low, high = max(low, ends[0]), min(high, ends[1])
    return max(0.0, math.expm1(min(low, plain))), min(100.0, math.expm1(max(high, plain)))
