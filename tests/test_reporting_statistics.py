"""Intervals against scipy, published examples, brute force, and their coverage on planted data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from envgen_exp.reporting.statistics import difference, mean_sd, score_interval, wilson


def crafter_score(rates: Mapping[str, float]) -> float:
    """Hafner 2021, equation 1."""
    return float(np.exp(np.mean([np.log(1 + 100 * rate) for rate in rates.values()])) - 1)


@pytest.mark.parametrize(
    ("successes", "episodes"),
    [(0, 1), (1, 1), (0, 20), (1, 20), (20, 20), (7, 120), (500, 1000), (999, 1000), (1, 10**6)],
)
def test_wilson_is_scipys(successes: int, episodes: int) -> None:
    theirs = stats.binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
    assert wilson(successes, episodes) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_without_episodes_knows_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    # Newcombe 1998, Table II, method 10.
    ("after", "before", "interval"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ],
)
def test_difference_is_newcombes(
    after: tuple[int, int], before: tuple[int, int], interval: tuple[float, float]
) -> None:
    assert difference(before, after) == pytest.approx(interval, abs=6e-5)


def test_score_interval_is_the_jackknife_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    skills = ("a", "b", "c")
    shown = rng.random((40, 3)) < (0.7, 0.3, 0.05)

    def log_score(rows: np.ndarray) -> float:
        return math.log1p(crafter_score(dict(zip(skills, rows.mean(axis=0), strict=True))))

    n, plain = len(shown), log_score(shown)
    pseudo = np.array([n * plain - (n - 1) * log_score(np.delete(shown, i, axis=0)) for i in range(n)])
    half = stats.norm.ppf(0.975) * pseudo.std(ddof=1) / math.sqrt(n)
    wanted = (math.expm1(pseudo.mean() - half), math.expm1(pseudo.mean() + half))
    assert score_interval(shown, skills, crafter_score) == pytest.approx(wanted, rel=1e-9)


def test_score_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    rates = np.array([0.95, 0.9, 0.74, 0.66, 0.55, 0.54, 0.3, 0.05, 0.02, 0.004])
    skills = tuple(f"skill{i}" for i in range(len(rates)))
    truth = crafter_score(dict(zip(skills, rates, strict=True)))
    thresholds = stats.norm.ppf(rates)
    hits = []
    for _ in range(300):
        # Skills of one episode go together, as tools and what they are for do.
        ability = rng.standard_normal((1000, 1))
        shown = np.sqrt(0.4) * ability + np.sqrt(0.6) * rng.standard_normal((1000, len(rates))) < thresholds
        low, high = score_interval(shown, skills, crafter_score)
        hits.append(low <= truth <= high)
    assert 0.90 <= np.mean(hits) <= 0.985


def test_score_interval_is_wide_where_all_episodes_are_alike() -> None:
    skills = ("a", "b")
    low, high = score_interval(np.zeros((20, 2), dtype=bool), skills, crafter_score)
    assert low == 0
    assert high == pytest.approx(100 * wilson(0, 20)[1])
    low, high = score_interval(np.ones((20, 2), dtype=bool), skills, crafter_score)
    assert low == pytest.approx(100 * wilson(20, 20)[0])
    assert high == pytest.approx(100)
    assert score_interval(np.zeros((0, 2), dtype=bool), skills, crafter_score) == (0.0, 100.0)


def test_score_interval_holds_the_score() -> None:
    skills = ("a", "b", "c")
    for bits in itertools.product((False, True), repeat=9):
        shown = np.array(bits).reshape(3, 3)
        low, high = score_interval(shown, skills, crafter_score)
        score = crafter_score(dict(zip(skills, shown.mean(axis=0), strict=True)))
        assert low - 1e-9 <= score <= high + 1e-9
        assert 0 <= low < high <= 100 + 1e-9


def test_mean_sd() -> None:
    mean, sd = mean_sd([1.0, 2.0, 4.0])
    assert (mean, sd) == (pytest.approx(7 / 3), pytest.approx(math.sqrt(7 / 3)))
    assert mean_sd([5.0]) == (5.0, None)
    assert math.isnan(mean_sd([])[0])
