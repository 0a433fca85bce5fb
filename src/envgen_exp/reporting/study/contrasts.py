"""The difference of two arms, by seed where both have the same seeds: the test that studies and claims share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from envgen_exp.reporting.statistics import (
    Comparison,
    Groups,
    against_number,
    difference_power,
    equivalence_power,
    flips,
    permutation,
    smallest,
    units,
    welch,
)
from envgen_exp.reporting.study.collect import Arm, FoundRun
from envgen_exp.run.summary import RunSummary

Number = Callable[[RunSummary], float | None]

Known = tuple[FoundRun, float]
"""A run and its number."""


@dataclass(frozen=True)
class Difference:
    """`ours` minus `theirs`."""

    paired: Groups
    """Differences of the runs with the same seed, by design set; empty where the arms can't be paired."""
    ours: Groups
    theirs: Groups

    @property
    def pairs(self) -> int:
        """Runs that are paired."""
        return sum(map(len, self.paired))

    @property
    def points(self) -> float:
        """The difference of the means over independent units."""
        if self.paired:
            return float(units(self.paired).mean())
        return float(units(self.ours).mean() - units(self.theirs).mean())

    @property
    def count(self) -> int:
        """Independent units, of the side that has fewer."""
        return len(units(self.paired)) if self.paired else min(len(units(side)) for side in (self.ours, self.theirs))

    @property
    def test(self) -> Comparison | None:
        """The main one: over pairs, or else Welch's; None where there are too few, or none that differ."""
        return against_number(self.paired, 0.0) if self.paired else self.welch

    @property
    def welch(self) -> Comparison | None:
        """As if no run had a partner."""
        return welch(self.ours, self.theirs)

    @property
    def sd(self) -> float:
        """Of what is tested: of a pair's difference, or else of a run."""
        sides = [self.paired] if self.paired else [self.ours, self.theirs]
        variances = [float(units(side).var(ddof=1)) for side in sides if len(units(side)) > 1]
        return float(np.sqrt(np.mean(variances))) if variances else 0.0

    def shuffled(self, rng: np.random.Generator) -> tuple[float, float] | None:
        """p of the test that assumes no distribution, and the smallest that it can give."""
        return flips(self.paired, rng) if self.paired else permutation(self.ours, self.theirs, rng)

    def needed(self, points: float) -> int | None:
        """Independent units an arm that would show so many points with 80 % power."""
        paired = bool(self.paired)
        return smallest(lambda n: difference_power(n, self.sd, points, paired=paired) >= 0.8)

    def needed_for_equality(self, margin: float) -> int | None:
        """Independent units an arm that would show equality within this margin with 80 % power."""
        sd = self.sd * (1.0 if self.paired else 2**0.5)
        return smallest(lambda n: equivalence_power(n, sd, margin) >= 0.8)


def difference(ours: Arm, theirs: Arm, number: Number) -> Difference:
    """The difference in a number of two arms' runs."""
    paired = [[mine - other for (_, mine), (_, other) in group] for group in pairs(ours, theirs, number)]
    return Difference(paired, ours.groups(number), theirs.groups(number))


def against(ours: Arm, number: Number, known: float) -> Difference:
    """The difference from a number that is taken as exact."""
    groups = ours.groups(number)
    return Difference([[value - known for value in group] for group in groups], groups, [])


def pairs(ours: Arm, theirs: Arm, number: Number) -> list[list[tuple[Known, Known]]]:
    """Runs with the same seed share first weights and report worlds: both with their number, by what else is shared.

    Empty where a run of the arm with fewer has no partner, or the arms share designs among other seeds: then pairs
    would be fewer or less independent than the runs are.
    """
    sides = [_by_seed(arm, number) for arm in (ours, theirs)]
    both = sides[0].keys() & sides[1].keys()
    if not both or len(both) < min(map(len, sides)):
        return []
    nested = [side for side, arm in zip(sides, (ours, theirs), strict=True) if len(arm.sets) > 1]
    groups: dict[object, list[tuple[Known, Known]]] = defaultdict(list)
    for seed in sorted(both):
        shared = {side[seed][0].design_set for side in nested}
        if len(shared) > 1:
            return []
        groups[next(iter(shared), None)].append((sides[0][seed], sides[1][seed]))
    return list(groups.values())


def _by_seed(arm: Arm, number: Number) -> dict[int, Known]:
    """An arm's runs that have the number; none where a seed stands there twice."""
    known = [(run, value) for run in arm.runs if run.summary and (value := number(run.summary)) is not None]
    seeds = Counter(run.flat["seed"] for run, _ in known)
    return {} if max(seeds.values(), default=0) > 1 else {run.flat["seed"]: (run, value) for run, value in known}
