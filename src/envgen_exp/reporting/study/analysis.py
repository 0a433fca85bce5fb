"""The numbers of a study: of its arms, of its contrasts, of each skill."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envgen_exp import seeding
from envgen_exp.designers import DESIGNERS
from envgen_exp.learners.intervals import wilson
from envgen_exp.learners.skills import rate
from envgen_exp.registry import nearest
from envgen_exp.reporting.statistics import (
    Equivalence,
    bootstrap_interval,
    equivalence,
    iqm,
    mean_interval,
    mean_sd,
    probability_of_improvement,
    units,
)
from envgen_exp.reporting.study.claims import MARGIN, paper_score
from envgen_exp.reporting.study.collect import CONTRASTS, RIVALS, Arm, Study, comparable
from envgen_exp.reporting.study.contrasts import Difference, difference
from envgen_exp.run.schemas import CONF
from envgen_exp.run.summary import RunSummary


@dataclass(frozen=True)
class ArmResult:
    """An arm's numbers."""

    arm: Arm
    iqm: float
    iqm_interval: tuple[float, float] | None
    pooled: float | None
    """Score of the success rates pooled over runs; None for a family that is not installed."""
    paper: float | None
    """The paper's score of this arm, where it was run as the paper did."""
    equivalence: Equivalence | None
    """Of the training-episode score with the paper's."""

    @property
    def n(self) -> str:
        """Runs, as design sets × seeds where sets are shared."""
        sizes = sorted({len(runs) for runs in self.arm.sets})
        if len(self.arm.sets) == 1:
            return str(sizes[0])
        return f"{len(self.arm.sets)} × {'-'.join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))}"


@dataclass(frozen=True)
class ContrastResult:
    """The difference of two arms' scores."""

    ours: Arm
    theirs: Arm
    difference: Difference
    corrected: float | None
    """p of the main test, for as many as its family has."""
    permutation: tuple[float, float] | None
    improvement: float
    """Probability that a run of ours is above one of theirs."""
    improvement_interval: tuple[float, float] | None
    needed: int | None
    """Independent runs an arm, or pairs, that would show a difference of MARGIN points with 80 % power."""


@dataclass(frozen=True)
class SkillResult:
    """One skill's success in the report evaluations of an arm, in percent."""

    skill: str
    runs: int
    episodes: int
    pooled: float
    pooled_interval: tuple[float, float]
    """Wilson's, as if all episodes were independent: of these agents."""
    mean: float
    mean_interval: tuple[float, float] | None
    """Over runs: of the arm; None for one run, and where the runs don't differ, as with a skill that none showed."""


class Analysis:
    """All numbers of a study, each computed once, when it is first asked for."""

    def __init__(self, study: Study) -> None:
        self.study = study

    @functools.cached_property
    def arms(self) -> list[ArmResult]:
        """Of the arms that may stand in one table."""
        return [_arm_result(arm) for arm in self.study.arms]

    @functools.cached_property
    def diagnostics(self) -> list[ArmResult]:
        """Of those that may not."""
        return [_arm_result(arm) for arm in self.study.diagnostics]

    @functools.cached_property
    def _pairs(self) -> list[tuple[Arm, Arm]]:
        """The arms of all contrasts."""
        by_name: dict[str, list[Arm]] = {}
        for arm in self.study.arms:
            by_name.setdefault(arm.name, []).append(arm)
        return [
            (a, b)
            for ours, theirs in self.study.contrasts
            for a in by_name.get(ours, [])
            for b in by_name.get(theirs, [])
            if a is not b
            and comparable(
                a.runs[0],
                b.runs[0],
                any_model=f"{ours} - {theirs}" not in CONTRASTS and len(by_name[ours]) == len(by_name[theirs]) == 1,
            )
        ]

    @property
    def is_main(self) -> list[bool]:
        """Of each contrast, whether it is a main one."""
        return [(a.name, b.name) in self.study.mains for a, b in self._pairs]

    @property
    def family(self) -> int:
        """What the p of the other contrasts is multiplied by."""
        return max(len(RIVALS), self.is_main.count(False))

    @functools.cached_property
    def contrasts(self) -> list[ContrastResult]:
        """Of all pairs of arms that a contrast names and that can be compared.

        The main one stands alone. All others are one family: p is multiplied by the number of RIVALS, whichever of
        them a study has, so that a contrast has one corrected p in all tables; by more only where more are tested.
        One that a config alone names may be of two language models, where it is clear which arms are meant.
        """
        return [
            _contrast(*pair, self.is_main.count(True) if alone else self.family)
            for pair, alone in zip(self._pairs, self.is_main, strict=True)
        ]

    @functools.cached_property
    def skills(self) -> list[tuple[Arm, list[SkillResult]]]:
        """By arm, diagnostics last."""
        return [(arm, _skills(arm)) for arm in (*self.study.arms, *self.study.diagnostics)]

    @functools.cached_property
    def notes(self) -> list[str]:
        """What a reader must know before comparing rows."""
        notes = list(self.study.notes)
        if self.study.unfinished:
            notes.append(f"unfinished runs: {len(self.study.unfinished)}; they count in no number")
        few = [arm.label for arm in self.study.arms if len(arm.runs) == 1]
        if few:
            notes.append(f"one run has no spread and no interval: {'; '.join(few)}")
        if len({frozenset(run.flat["seed"] for run in arm.runs) for arm in self.study.arms}) > 1:
            notes.append(
                "arms differ in their seeds: an arm's mean is over its own, a difference over the pairs that its row "
                "counts or, with 0 pairs, over all runs of both arms"
            )
        names = {arm.name for arm in self.study.arms}
        compared = {(one.ours.name, one.theirs.name) for one in self.contrasts}
        for pair in self.study.contrasts:
            if set(pair) <= names and pair not in compared:
                notes.append(f"{' - '.join(pair)} is not compared: no two of these arms have all else equal")
        known = names | {*DESIGNERS.names, *(file.stem for file in (CONF / "arm").glob("*.yaml"))}
        for pair in self.study.contrasts:
            for name in (name for name in pair if name not in known):
                notes.append(f"{' - '.join(pair)}: no arm is called {name}{nearest(name, sorted(known))}")
        return notes


def _arm_result(arm: Arm) -> ArmResult:
    groups = arm.groups(lambda s: s.score)
    rng = seeding.generator(0, "report", "interquartile mean", arm.label)
    scores = arm.values(lambda s: s.score)
    paper = paper_score(arm.runs[0])
    training = arm.groups(lambda s: s.training_score)
    return ArmResult(
        arm=arm,
        iqm=float(iqm(units([scores]))),
        iqm_interval=bootstrap_interval(groups, iqm, rng),
        pooled=_pooled(arm),
        paper=paper,
        equivalence=equivalence(training, paper, MARGIN) if paper is not None and training else None,
    )


def _pooled(arm: Arm) -> float | None:
    summaries = arm.summaries
    rates = {
        skill: rate(*(sum(counts) for counts in zip(*_counts(skill, summaries), strict=True)))
        for skill in summaries[0].skills
    }
    return arm.score_of(rates)


def _contrast(ours: Arm, theirs: Arm, family: int) -> ContrastResult:
    found = difference(ours, theirs, lambda s: s.score)
    seen, interval = probability_of_improvement(found.ours, found.theirs)
    return ContrastResult(
        ours=ours,
        theirs=theirs,
        difference=found,
        corrected=min(1.0, family * found.test.p) if found.test else None,
        permutation=found.shuffled(seeding.generator(0, "report", "permutation", ours.label, theirs.label)),
        improvement=seen,
        improvement_interval=interval,
        needed=found.needed(MARGIN) if found.test else None,
    )


def _skills(arm: Arm) -> list[SkillResult]:
    results = []
    reports = [summary.report for summary in arm.summaries]
    for skill in arm.summaries[0].skills:
        successes, episodes = (sum(counts) for counts in zip(*_counts(skill, arm.summaries), strict=True))
        low, high = wilson(successes, episodes)
        ends = mean_interval(arm.groups(functools.partial(_percent, skill)))
        results.append(
            SkillResult(
                skill=skill,
                runs=len(reports),
                episodes=episodes,
                pooled=100 * rate(successes, episodes),
                pooled_interval=(100 * low, 100 * high),
                mean=mean_sd([100 * report.rate(skill) for report in reports])[0],
                mean_interval=ends and (max(0.0, ends[0]), min(100.0, ends[1])),
            )
        )
    return results


def _counts(skill: str, summaries: Sequence[RunSummary]) -> list[tuple[int, int]]:
    """How many of each run's episodes showed a skill, and how many asked for it."""
    return [(s.report.successes[skill], s.report.tried(skill)) for s in summaries]


def _percent(skill: str, summary: RunSummary) -> float:
    return 100 * summary.report.rate(skill)


def steps_of(kind: str) -> Callable[[RunSummary], float | None]:
    """What reads a run's steps of this kind; None where it has none."""
    return lambda summary: summary.steps.get(kind)


def updates(summary: RunSummary) -> float | None:
    """A run's steps of the optimizer; an older summary has none."""
    return summary.updates or None
