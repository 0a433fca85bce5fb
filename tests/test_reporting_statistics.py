"""Intervals against scipy, published examples, brute force, and their coverage on planted data."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from envgen_exp.learners.intervals import score_interval, wilson
from envgen_exp.reporting.statistics import (
    against_number,
    bootstrap_interval,
    difference,
    difference_power,
    equivalence,
    equivalence_power,
    flips,
    holm,
    iqm,
    mean_interval,
    mean_sd,
    permutation,
    probability_of_improvement,
    resample,
    smallest,
    units,
    welch,
)


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


@pytest.mark.parametrize("gems", [1, 3, 19])
def test_score_interval_of_a_single_skill_is_within_its_own(gems: int) -> None:
    shown, trials = np.arange(20)[:, None] < gems, np.ones((20, 1), int)
    low, high = score_interval(shown, ("gem",), lambda rates: 100 * rates["gem"], trials)
    wilson_low, wilson_high = (100 * end for end in wilson(gems, 20))
    assert wilson_low - 1e-9 <= low < 100 * gems / 20 < high <= wilson_high + 1e-9


def test_score_interval_is_wide_where_all_episodes_are_alike() -> None:
    skills = ("a", "b")
    low, high = score_interval(np.zeros((20, 2), dtype=bool), skills, crafter_score)
    assert low == 0
    assert high == pytest.approx(100 * wilson(0, 20)[1])
    low, high = score_interval(np.ones((20, 2), dtype=bool), skills, crafter_score)
    assert low == pytest.approx(100 * wilson(20, 20)[0])
    assert high == pytest.approx(100)
    assert score_interval(np.zeros((0, 2), dtype=bool), skills, crafter_score) == (0.0, 100.0)


def test_score_interval_is_wide_where_no_episode_moves_the_score() -> None:
    """Heist's score is one skill's rate: other skills may differ from episode to episode."""
    shown = np.zeros((42, 2), dtype=bool)
    shown[::2, 0] = True
    for column, ends in ((False, wilson(0, 42)), (True, wilson(42, 42))):
        shown[:, 1] = column
        found = score_interval(shown, ("key", "gem"), lambda rates: 100 * rates["gem"])
        assert found == pytest.approx(tuple(100 * end for end in ends))


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


# Of runs


def nested(rng: np.random.Generator, sets: int, seeds: int, between: float, within: float) -> list[list[float]]:
    """Planted data with mean 0: seeds in sets, with the spread of each level."""
    values = between * rng.standard_normal((sets, 1)) + within * rng.standard_normal((sets, seeds))
    found: list[list[float]] = values.tolist()
    return found


@pytest.mark.parametrize("count", range(1, 14))
def test_iqm_is_scipys_trimmed_mean(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(3, count))
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=1))


@pytest.mark.parametrize(
    "groups",
    [[[3.0, 5.0, 4.0, 9.0]], [[1.0, 2.0], [5.0, 7.0], [3.0, 3.5]], [[1.0], [2.0], [6.0]], [[1.0, 9.0], [4.9, 5.2]]],
)
def test_resampled_means_have_the_nested_designs_variance(groups: list[list[float]]) -> None:
    samples = resample(groups, np.random.default_rng(0), 40_000).reshape(40_000, -1).mean(axis=1)
    means = np.array([np.mean(group) for group in groups]) if len(groups) > 1 else np.array(groups[0])
    assert samples.mean() == pytest.approx(np.mean(means), abs=0.03)
    # Independent derivation: the mean of k independent set means has variance S^2 / k, whatever lies within the sets.
    assert samples.var() == pytest.approx(means.var(ddof=1) / len(means), rel=0.04)


def test_resampled_sets_of_unequal_size_keep_their_mean() -> None:
    groups = [[1.0, 2.0, 3.0], [7.0], [4.0, 4.5]]
    samples = resample(groups, np.random.default_rng(0), 20_000)
    assert samples.shape == (20_000, 3, 2)
    assert samples.mean() == pytest.approx((2 + 7 + 4.25) / 3, abs=0.05)


@pytest.mark.parametrize(
    ("sets", "seeds", "between", "within"),
    [
        (3, 10, 1, 1),
        (3, 10, 0, 1),
        (3, 10, 0.3, 1),
        (5, 4, 1, 1),
        (8, 3, 2, 1),
        (5, 1, 1, 0),
        (10, 1, 1, 0),
        (1, 5, 0, 1),
    ],
)
def test_the_nested_bootstrap_covers(sets: int, seeds: int, between: float, within: float) -> None:
    rng = np.random.default_rng(sets * 100 + seeds)
    count, hits, independent = 400, 0, 0
    for _ in range(count):
        groups = nested(rng, sets, seeds, between, within)
        ends = bootstrap_interval(groups, iqm, rng, 200)
        assert ends is not None
        hits += ends[0] <= 0 <= ends[1]
        if sets > 1:
            wrong = mean_interval([[value for group in groups for value in group]])
            assert wrong is not None
            independent += wrong[0] <= 0 <= wrong[1]
    assert 0.90 <= hits / count <= 0.98  # 90 to 97 %, and a simulation's own error of 1 %
    if between == within == 1 and sets == 3:
        assert independent / count < 0.75  # what ignoring the sets does: the planted error is seen


def test_the_same_data_give_the_same_interval() -> None:
    groups = [[1.0, 2.0, 4.0], [2.0, 3.0, 9.0]]
    one, two = (bootstrap_interval(groups, iqm, np.random.default_rng(5)) for _ in range(2))
    assert one == two
    assert one is not None
    assert one[0] < float(iqm(np.array([1.0, 2, 4, 2, 3, 9]))) < one[1]


@pytest.mark.parametrize("groups", [[], [[1.0]], [[5.0], []]])
def test_one_run_has_no_interval(groups: list[list[float]]) -> None:
    groups = [group for group in groups if group] or [[1.0]]
    assert bootstrap_interval(groups, iqm, np.random.default_rng(0)) is None
    assert mean_interval(groups) is None
    assert welch(groups, [[1.0, 2.0]]) is None
    assert equivalence(groups, 1.0, 1.0) is None
    assert probability_of_improvement(groups, [[1.0, 2.0]])[1] is None


def test_what_is_no_number_is_no_evidence() -> None:
    rng = np.random.default_rng(0)
    for broken in (math.nan, math.inf):
        for test in (
            lambda a: welch(a, [[1.0, 2.0, 4.0]]),
            lambda a: permutation(a, [[1.0, 2.0, 4.0]], rng),
            lambda a: permutation([[1.0, 2.0, 4.0]], a, rng),
            lambda a: against_number(a, 1.0),
            lambda a: equivalence(a, 1.0, 2.0),
            mean_interval,
            lambda a: bootstrap_interval(a, iqm, rng),
        ):
            with pytest.raises(ValueError, match="not a number"):
                test([[1.0, broken, 3.0]])


@given(
    st.lists(st.floats(-50, 50), min_size=2, max_size=9).filter(lambda v: np.std(v) > 1e-3),
    st.lists(st.floats(-50, 50), min_size=2, max_size=9).filter(lambda v: np.std(v) > 1e-3),
)
@settings(max_examples=60, deadline=None)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    theirs = stats.ttest_ind(a, b, equal_var=False)
    ends = theirs.confidence_interval(0.95)
    ours = welch([a], [b])
    assert ours is not None
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, ends.low, ends.high), rel=1e-6, abs=1e-8)
    assert ours.above(1.0) == pytest.approx(
        stats.ttest_ind(np.array(a) - 1, b, equal_var=False, alternative="greater").pvalue, abs=1e-8
    )
    assert ours.below(1.0) == pytest.approx(1 - ours.above(1.0))


def test_runs_that_share_designs_are_tested_by_set() -> None:
    a, b = [[1.0, 3.0], [4.0, 6.0], [2.0, 2.0]], [[0.0, 1.0], [1.0, 1.0], [2.0, 3.0]]
    theirs = stats.ttest_ind([2, 5, 2], [0.5, 1, 2.5], equal_var=False)
    ours = welch(a, b)
    assert ours is not None
    assert ours.p == pytest.approx(theirs.pvalue)
    assert units(a).tolist() == [2, 5, 2]
    assert units([[1.0, 2.0]]).tolist() == [1, 2]


def test_against_a_number_is_scipys() -> None:
    values = [26.0, 27.5, 29.0, 24.0]
    theirs = stats.ttest_1samp(values, 26.4)
    ours = against_number([values], 26.4)
    assert ours is not None
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low + 26.4, ours.high + 26.4) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


@pytest.mark.parametrize("sizes", [(3, 3), (5, 4), (2, 6)])
def test_permutation_is_scipys(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=size).tolist() for size in sizes)
    theirs = stats.permutation_test((a, b), lambda x, y: abs(np.mean(x) - np.mean(y)), alternative="greater")
    ours = permutation([a], [b], rng)
    assert ours is not None
    assert ours[0] == pytest.approx(theirs.pvalue)
    assert ours[1] == pytest.approx((2 if sizes[0] == sizes[1] else 1) / math.comb(sum(sizes), sizes[0]))


def test_permutation_of_many_runs_is_sampled() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=20).tolist(), (rng.normal(size=20) + 0.5).tolist()
    exact = stats.ttest_ind(a, b).pvalue
    found = permutation([a], [b], rng)
    assert found is not None
    assert found[0] == pytest.approx(exact, abs=0.03)
    far = permutation([a], [[value + 50 for value in b]], rng)
    assert far is not None
    assert far[0] == pytest.approx(1 / 10_001)


@pytest.mark.parametrize("count", [3, 8])
def test_flips_are_scipys(count: int) -> None:
    values = np.random.default_rng(count).normal(0.5, 1, count)
    theirs = stats.permutation_test((values, np.zeros(count)), lambda x, y: np.mean(x - y), permutation_type="samples")
    found = flips([values.tolist()], np.random.default_rng(0))
    assert found == pytest.approx((theirs.pvalue, 2 / 2**count))
    assert flips([[1.0]], np.random.default_rng(0)) is None


def test_flips_of_many_pairs_are_sampled() -> None:
    values = np.random.default_rng(1).normal(0.4, 1, 40)
    found = flips([values.tolist()], np.random.default_rng(0))
    assert found is not None
    assert found[0] == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)


def test_pairs_have_the_errors_that_they_say_and_more_power_than_welch() -> None:
    """Planted: arms whose runs with one seed correlate by .6, as first weights and report worlds make them."""
    rng = np.random.default_rng(8)
    count, n, root, shift = 4000, 10, math.sqrt(0.6), 1.0
    common = root * rng.standard_normal((count, n))
    a, b = (common + math.sqrt(0.4) * rng.standard_normal((count, n)) for _ in range(2))
    p = {
        effect: (stats.ttest_rel(a + effect, b, axis=1).pvalue, stats.ttest_ind(a + effect, b, axis=1).pvalue)
        for effect in (0.0, shift)
    }
    for i in range(20):  # ours is that test, sample by sample
        ours = against_number([(a[i] - b[i]).tolist()], 0.0)
        assert ours is not None
        assert ours.p == pytest.approx(p[0.0][0][i])
        assert (ours.low <= 0 <= ours.high) == (p[0.0][0][i] >= 0.05)
    paired, welchs = (np.mean(one < 0.05) for one in p[0.0])
    assert 0.04 <= paired <= 0.06
    assert welchs < 0.02  # false positives it could afford and does not use: power lost
    found, missed = (np.mean(one < 0.05) for one in p[shift])
    assert found == pytest.approx(difference_power(n, math.sqrt(0.8), shift, paired=True), abs=0.02)
    assert found > missed + 0.2


def test_a_design_set_for_each_run_has_the_power_that_the_docs_name() -> None:
    """3 sets of 10 seeds against 30 sets of one, by simulation, where sets and seeds spread alike, by 0.7."""
    text = (Path(__file__).parents[1] / "docs" / "studies.md").read_text()
    told = re.search(r"power of (0\.\d+) for the paper's 2\.3 points,\s+and a set for each run (\d\.\d+)", text)
    assert told is not None
    rng = np.random.default_rng(9)
    count = 4000
    nested, own = (
        0.7 * (rng.standard_normal((2, count, sets, 1)) + rng.standard_normal((2, count, sets, seeds)))
        for sets, seeds in ((3, 10), (30, 1))
    )
    seen = []
    for values in (nested, own):
        ours, theirs = values.mean(axis=3)
        seen.append(np.mean(stats.ttest_rel(ours + 2.3, theirs, axis=1).pvalue < 0.05))
    assert seen == pytest.approx([float(told[1]), float(told[2])], abs=0.02)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


def test_probability_of_improvement_is_mann_whitneys() -> None:
    a, b = [1.0, 3.0, 3.0, 8.0], [2.0, 3.0, 0.0]
    seen, ends = probability_of_improvement([a], [b])
    assert seen == pytest.approx(stats.mannwhitneyu(a, b).statistic / 12)
    assert ends is not None
    assert 0 < ends[0] < seen < ends[1] < 1
    # Where one arm always wins, five runs can't show that it always will.
    seen, ends = probability_of_improvement([[6.0, 7, 8, 9, 10]], [[1.0, 2, 3, 4, 5]])
    assert seen == 1
    assert ends is not None
    assert 0.4 < ends[0] < 0.8
    assert ends[1] == 1


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_probability_of_improvement_covers(shift: float) -> None:
    rng = np.random.default_rng(3)
    truth = stats.norm.cdf(shift / math.sqrt(2))
    hits = 0
    for _ in range(400):
        a, b = rng.normal(size=8) + shift, rng.normal(size=8)
        ends = probability_of_improvement([a.tolist()], [b.tolist()])[1]
        assert ends is not None
        hits += ends[0] <= truth <= ends[1]
    assert 0.91 <= hits / 400 <= 0.995


@pytest.mark.parametrize(("sets", "seeds", "between"), [(5, 1, 0.0), (10, 1, 0.0), (3, 10, 1.0), (6, 3, 0.5)])
def test_two_equal_arms_rarely_differ(sets: int, seeds: int, between: float) -> None:
    """Vectorised as `units` and `welch` compute; one sample goes through both to show that it is the same."""
    rng = np.random.default_rng(4)
    count = 4000
    a, b = (
        (between * rng.standard_normal((count, sets, 1)) + rng.standard_normal((count, sets, seeds))).mean(axis=2)
        for _ in range(2)
    )
    error = (a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / sets
    parts = (a.var(axis=1, ddof=1) / sets) ** 2 + (b.var(axis=1, ddof=1) / sets) ** 2
    p = 2 * stats.t.sf(np.abs(a.mean(axis=1) - b.mean(axis=1)) / np.sqrt(error), error**2 * (sets - 1) / parts)
    one = welch([[value] for value in a[0]], [[value] for value in b[0]])
    assert one is not None
    assert one.p == pytest.approx(p[0])
    assert np.mean(p < 0.05) <= 0.07
    shuffled = [permutation([x.tolist()], [y.tolist()], rng) for x, y in zip(a[:300], b[:300], strict=True)]
    assert np.mean([found is not None and found[0] < 0.05 for found in shuffled]) <= 0.07


def test_a_planted_effect_is_found_as_often_as_the_power_says() -> None:
    rng = np.random.default_rng(5)
    found = [
        one is not None and one.p < 0.05
        for one in (welch([(rng.normal(size=6) + 2).tolist()], [rng.normal(size=6).tolist()]) for _ in range(600))
    ]
    assert np.mean(found) == pytest.approx(difference_power(6, 1.0, 2.0), abs=0.05)


def test_equivalence_is_two_one_sided_tests() -> None:
    values = [26.0, 27.5, 26.2, 25.9, 26.6]
    found = equivalence([values], 26.4, 2.0)
    assert found is not None
    low = stats.ttest_1samp(values, 24.4, alternative="greater").pvalue
    high = stats.ttest_1samp(values, 28.4, alternative="less").pvalue
    assert found.p == pytest.approx(max(low, high))
    inside = stats.ttest_1samp(values, 26.4).confidence_interval(0.9)
    assert (found.low + 26.4, found.high + 26.4) == pytest.approx((inside.low, inside.high))
    assert (found.p < 0.05) == (found.low > -2 and found.high < 2)


def test_power_of_equivalence_is_what_simulations_find() -> None:
    rng = np.random.default_rng(6)
    for count, sd in ((5, 1.2), (10, 2.0), (4, 2.5)):
        values = sd * rng.standard_normal((20_000, count))
        half = stats.t.ppf(0.95, count - 1) * values.std(axis=1, ddof=1) / math.sqrt(count)
        shown = np.abs(values.mean(axis=1)) + half < 2.0
        assert equivalence_power(count, sd, 2.0) == pytest.approx(shown.mean(), abs=0.012)


def test_the_power_of_values_that_are_all_alike() -> None:
    assert equivalence_power(5, 0.0, 2.0) == 1.0
    assert difference_power(5, 0.0, 2.0) == 1.0


def test_power_of_a_difference_by_simulation_and_the_runs_it_needs() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((2, 20_000, 7))
    p = stats.ttest_ind(a + 1.5, b, axis=1).pvalue
    assert difference_power(7, 1.0, 1.5) == pytest.approx(np.mean(p < 0.05), abs=0.012)
    needed = smallest(lambda n: difference_power(n, 2.0, 2.0) >= 0.8)
    assert needed == 17  # Cohen 1988, table 2.4.1: d = 1.00, power .80, two-sided .05
    assert smallest(lambda n: False) is None
    assert smallest(lambda n: True) == 2
