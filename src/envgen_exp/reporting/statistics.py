"""Intervals, spreads and tests: how far a printed number, or a difference of two, can be trusted."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envgen_exp.learners.intervals import Z95, wilson
from envgen_exp.run.summary import Successes


def difference(before: tuple[int, int], after: tuple[int, int]) -> tuple[float, float]:
    """95 % interval of the change between two independent success rates, each (successes, episodes).

    Newcombe's hybrid of the two Wilson intervals (Statistics in Medicine 17, 1998, method 10).
    """
    (low0, high0), (low1, high1) = wilson(*before), wilson(*after)
    rate0, rate1 = (k / n if n else 0.5 for k, n in (before, after))
    change = rate1 - rate0
    return (
        change - math.hypot(rate1 - low1, high0 - rate0),
        change + math.hypot(high1 - rate1, rate0 - low0),
    )


@dataclass(frozen=True)
class Change:
    """How a skill's success rate changed from one evaluation to a later one, in points."""

    points: float
    low: float
    high: float
    """Ends of Newcombe's 95 % interval."""

    @property
    def word(self) -> str:
        """rose, fell or within noise."""
        return "rose" if self.low > 0 else "fell" if self.high < 0 else "within noise"


def changed(skill: str, before: Successes, after: Successes) -> Change:
    """The change of one skill."""
    one, other = ((counts.successes[skill], counts.tried(skill)) for counts in (before, after))
    low, high = difference(one, other)
    return Change(100 * (after.rate(skill) - before.rate(skill)), 100 * low, 100 * high)


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (None for fewer than two values)."""
    if not values:
        return math.nan, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


# Of runs: values by design set, since seeds that share designs are not independent


Groups = Sequence[Sequence[float]]
"""Values of one arm's runs, those that share their first designs together; a single group where no two sets differ."""

BOOTSTRAPS = 2000
"""Resamples of every bootstrap."""

PERMUTATIONS = 10_000
"""Shuffles of a permutation test that has too many to go through them all."""

_ALL_SHUFFLES = 20_000
"""A permutation test goes through all shuffles where there are no more than this."""

_MOST_RUNS = 100_000
"""No plan for more runs than this is named."""


def units(groups: Groups) -> NDArray[np.float64]:
    """What is independent: the design sets' means, or the runs where there is a single set.

    Raises ValueError for what is no number: each comparison with it is false, which a test would read as evidence.
    """
    found = np.asarray(groups[0] if len(groups) == 1 else [float(np.mean(group)) for group in groups], float)
    if not np.isfinite(found).all():
        raise ValueError("a value that is not a number has no statistics")
    return found


def has_spread(groups: Groups) -> bool:
    """Whether there are two independent units or more that differ, without which nothing is known of others."""
    return bool(np.ptp(units(groups)) > 0) if groups else False


def iqm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interquartile mean over the last axis: without the lowest and the highest quarter, rounded down.

    Agarwal et al. 2021; as scipy's trim_mean with 0.25, which their library uses.
    """
    count = values.shape[-1]
    cut = count // 4
    kept: NDArray[np.float64] = np.sort(values, axis=-1)[..., cut : count - cut].mean(axis=-1)
    return kept


def resample(groups: Groups, rng: np.random.Generator, count: int = BOOTSTRAPS) -> NDArray[np.float64]:
    """Bootstrap samples, (count, sets, seeds): design sets with replacement, then seeds within each.

    A plain nested bootstrap is too narrow by (sets - 1) / sets between sets and counts the spread of seeds twice. So
    the deviations are rescaled, those of the sets first, until a sample's mean has the unbiased variance of a nested
    design: the variance of the sets' means, by their number. Where sets have different numbers of seeds, a sample
    takes the mean number from each.
    """
    if len(groups) == 1:
        values = np.asarray(groups[0], float)
        centre, size = values.mean(), len(values)
        spread = math.sqrt(size / (size - 1)) if size > 1 else 0.0
        drawn: NDArray[np.float64] = (centre + spread * (values - centre))[rng.integers(size, size=(count, 1, size))]
        return drawn
    means = units(groups)
    sizes = np.array([len(group) for group in groups])
    sets, seeds = len(groups), max(1, round(float(sizes.mean())))
    inside = np.zeros((sets, sizes.max()))
    for row, group in zip(inside, groups, strict=True):
        row[: len(group)] = np.asarray(group) - np.mean(group)
    outside = means - means.mean()
    # Variances of a sample's mean: what is wanted, and what the two levels give unscaled.
    wanted = float(means.var(ddof=1)) / sets
    between = float(means.var()) / sets
    within = float(np.mean([row[:size].var() for row, size in zip(inside, sizes, strict=True)])) / (sets * seeds)
    if between > 0:
        outside *= math.sqrt(max(0.0, wanted - within) / between)
    if within > wanted:
        inside *= math.sqrt(wanted / within)
    which = rng.integers(sets, size=(count, sets))
    seed = (rng.random((count, sets, seeds)) * sizes[which][..., None]).astype(int)
    sampled: NDArray[np.float64] = means.mean() + outside[which][..., None] + inside[which[..., None], seed]
    return sampled


def bootstrap_interval(
    groups: Groups,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rng: np.random.Generator,
    count: int = BOOTSTRAPS,
) -> tuple[float, float] | None:
    """95 % interval of a statistic over all runs, by the nested bootstrap; None as in `mean_interval`.

    `statistic` reduces the last axis. The percentiles' distances from the estimate are widened by t / z for the few
    independent units, without which three sets would cover far less than 95 %.
    """
    free = len(units(groups)) - 1
    if not has_spread(groups):
        return None
    samples = statistic(resample(groups, rng, count).reshape(count, -1))
    estimate = float(statistic(np.concatenate([np.asarray(group, float) for group in groups])))
    low, high = np.quantile(samples, (0.025, 0.975))
    wider = t_quantile(free, 0.975) / Z95
    return estimate - wider * max(0.0, estimate - low), estimate + wider * max(0.0, high - estimate)


def mean_interval(groups: Groups) -> tuple[float, float] | None:
    """95 % t interval of the mean over independent units; None for fewer than two, or none that differ.

    Runs that agree are no proof that others would: an interval without width would say that.
    """
    found = against_number(groups, 0.0)
    return (found.low, found.high) if found else None


@dataclass(frozen=True)
class Comparison:
    """The difference of two means, by Welch's test on independent units."""

    difference: float
    low: float
    high: float
    """95 % interval."""
    p: float
    """Two-sided."""
    error: float
    """Standard error of the difference."""
    free: float
    """Degrees of freedom (Welch and Satterthwaite)."""

    def below(self, margin: float) -> float:
        """One-sided p of 'the difference is `margin` or more'."""
        return _t_cdf(self.free, (self.difference - margin) / self.error)

    def above(self, margin: float) -> float:
        """One-sided p of 'the difference is `margin` or less'."""
        return _t_cdf(self.free, (margin - self.difference) / self.error)


def welch(ours: Groups, theirs: Groups) -> Comparison | None:
    """`ours` minus `theirs`; None where an arm has fewer than two independent units, or neither has any spread."""
    a, b = units(ours), units(theirs)
    if min(len(a), len(b)) < 2:
        return None
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if sum(parts) == 0:
        return None
    free = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    return _comparison(float(a.mean() - b.mean()), math.sqrt(sum(parts)), float(free))


def against_number(groups: Groups, number: float) -> Comparison | None:
    """The mean minus a number that is taken as exact; None as in `welch`."""
    values = units(groups)
    if not has_spread(groups):
        return None
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return _comparison(float(values.mean()) - number, error, len(values) - 1)


def _comparison(difference: float, error: float, free: float) -> Comparison:
    half = t_quantile(free, 0.975) * error
    p = 2 * _t_cdf(free, -abs(difference) / error)
    return Comparison(difference, difference - half, difference + half, p, error, free)


def permutation(ours: Groups, theirs: Groups, rng: np.random.Generator) -> tuple[float, float] | None:
    """Two-sided p of a permutation test on the difference of the units' means, and the smallest p it can give.

    All shuffles where there are few, so that it is exact; else a fixed number of them. None where there is nothing
    to shuffle.
    """
    a, b = units(ours), units(theirs)
    if not len(a) or not len(b) or len(a) + len(b) < 3:
        return None
    both = np.concatenate([a, b])
    shuffles = math.comb(len(both), len(a))
    if shuffles <= _ALL_SHUFFLES:
        chosen = np.array(list(itertools.combinations(range(len(both)), len(a))))
    else:
        chosen = np.argsort(rng.random((PERMUTATIONS, len(both))), axis=1)[:, : len(a)]
    sums = both[chosen].sum(axis=1)
    differences = np.abs(sums / len(a) - (both.sum() - sums) / len(b))
    seen = abs(a.mean() - b.mean())
    as_large = int(np.sum(differences >= seen - 1e-9 * max(1.0, seen)))
    if shuffles <= _ALL_SHUFFLES:
        return as_large / shuffles, (2 if len(a) == len(b) else 1) / shuffles
    return (as_large + 1) / (PERMUTATIONS + 1), 1 / (PERMUTATIONS + 1)


def flips(differences: Groups, rng: np.random.Generator) -> tuple[float, float] | None:
    """Two-sided p of a permutation test on paired differences, whose signs are exchanged, and the smallest it can give.

    As `permutation`, else.
    """
    values = units(differences) if differences else np.zeros(0)
    if len(values) < 2:
        return None
    seen, shuffles = abs(values.mean()), 2 ** len(values)
    if shuffles <= _ALL_SHUFFLES:
        signs = np.array(list(itertools.product((1, -1), repeat=len(values))))
    else:
        signs = 1 - 2 * rng.integers(2, size=(PERMUTATIONS, len(values)))
    as_large = int(np.sum(np.abs((signs * values).mean(axis=1)) >= seen - 1e-9 * max(1.0, seen)))
    if shuffles <= _ALL_SHUFFLES:
        return as_large / shuffles, 2 / shuffles
    return (as_large + 1) / (PERMUTATIONS + 1), 1 / (PERMUTATIONS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for how many were tested (Holm 1979), in their order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, highest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(order) - rank)))
        corrected[i] = highest
    return corrected


def probability_of_improvement(ours: Groups, theirs: Groups) -> tuple[float, tuple[float, float] | None]:
    """How likely a run of ours scores higher than one of theirs (Agarwal et al. 2021), with its 95 % interval.

    The estimate goes over all pairs of runs, ties count half. The interval is Newcombe's method 5 (Statistics in
    Medicine 25, 2006) on the numbers of independent units: a bootstrap's would have no width where one arm always
    wins, which few runs do easily. None where an arm has fewer than two units.
    """
    a, b = (np.concatenate([np.asarray(group, float) for group in groups]) for groups in (ours, theirs))
    wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])
    seen = float(wins.mean())
    m, n = len(units(ours)), len(units(theirs))
    if min(m, n) < 2:
        return seen, None

    def too_far(truth: float) -> bool:
        more = (m + n) / 2 - 1
        variance = truth * (1 - truth) * (1 + more * ((1 - truth) / (2 - truth) + truth / (1 + truth))) / (m * n)
        return abs(seen - truth) > Z95 * math.sqrt(variance)

    return seen, (_edge(too_far, 0.0, seen), _edge(too_far, 1.0, seen))


def _edge(too_far: Callable[[float], bool], far: float, near: float) -> float:
    """Where `too_far` changes between a far end and a near one."""
    for _ in range(50):
        middle = (far + near) / 2
        if too_far(middle):
            far = middle
        else:
            near = middle
    return near


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests: is a mean within `margin` of a number?"""

    difference: float
    low: float
    high: float
    """90 % interval of the difference: inside the margin means equivalent at 5 %."""
    p: float
    margin: float
    power: float
    """Chance that so many units with this spread show equivalence where the truth is the number itself."""
    needed: int | None
    """Independent units that would have a power of 80 %."""


def equivalence(groups: Groups, number: float, margin: float) -> Equivalence | None:
    """TOST (Schuirmann 1987) against a number that is taken as exact; None as in `welch`."""
    found = against_number(groups, number)
    if found is None:
        return None
    values = units(groups)
    sd = float(values.std(ddof=1))
    half = t_quantile(found.free, 0.95) * found.error
    return Equivalence(
        difference=found.difference,
        low=found.difference - half,
        high=found.difference + half,
        p=max(found.below(margin), found.above(-margin)),
        margin=margin,
        power=equivalence_power(len(values), sd, margin),
        needed=smallest(lambda n: equivalence_power(n, sd, margin) >= 0.8),
    )


def equivalence_power(count: int, sd: float, margin: float) -> float:
    """Power of TOST at 5 % for the mean of `count` normal values that truly is the number.

    The share of samples with |mean| < margin - t * s / sqrt(count), over the distribution of s.
    """
    from scipy import special  # only now: a run that reports nothing should not wait for it

    if sd == 0:
        return 1.0
    free = count - 1
    shares = (np.arange(400) + 0.5) / 400
    s = sd * np.sqrt(special.chdtri(free, 1 - shares) / free)
    room = (margin - t_quantile(free, 0.95) * s / math.sqrt(count)) * math.sqrt(count) / sd
    return float(np.where(room > 0, 2 * special.ndtr(room) - 1, 0.0).mean())


def difference_power(count: int, sd: float, true_difference: float, *, paired: bool = False) -> float:
    """Power of a two-sided t test at 5 % between two arms of `count` normal values with this spread.

    With `paired` the values are the differences of so many pairs.
    """
    from scipy import special

    if sd == 0:
        return 1.0
    free, share = (count - 1, count) if paired else (2 * (count - 1), count / 2)
    shift, critical = abs(true_difference) / sd * math.sqrt(share), t_quantile(free, 0.975)
    if shift > critical + 8:
        return 1.0
    return float(1 - special.nctdtr(free, shift, critical) + special.nctdtr(free, shift, -critical))


def smallest(enough: Callable[[int], bool]) -> int | None:
    """The smallest number of units from 2 on that is enough; None where that is beyond reason."""
    high = 2
    while not enough(high):
        high *= 2
        if high > _MOST_RUNS:
            return None
    return bisect.bisect_left(range(high), True, lo=high // 2 + 1, key=enough)


def t_quantile(free: float, share: float) -> float:
    """Quantile of Student's t."""
    from scipy import special

    return float(special.stdtrit(free, share))


def _t_cdf(free: float, value: float) -> float:
    from scipy import special

    return float(special.stdtr(free, value))
