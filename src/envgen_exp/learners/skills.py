"""What an evaluation found: success rates by skill with their spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.guard.reading import understood


def shares(total: int, parts: int) -> list[int]:
    """`total` split into `parts` whole numbers that differ by one at most."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def tallies(
    skills: Sequence[Sequence[int]], trials: Sequence[Sequence[int]], num_skills: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of n records' `skills` and `trials`: how often each skill was shown and could be, both (n, num_skills).

    Of one episode a skill is shown once at most, and could be.
    """
    shown = np.array(skills, dtype=np.int64).reshape(len(skills), num_skills)
    asked = np.ones_like(shown)
    for row, own in enumerate(trials):
        if own:
            asked[row] = own
        else:
            shown[row] = shown[row] > 0
    return shown, asked


def success_counts(records: Sequence[EpisodeRecord], num_skills: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In how many of the episodes each skill was shown, and in how many it could be, both (num_skills,)."""
    shown, asked = tallies([record.skills for record in records], [record.trials for record in records], num_skills)
    return shown.sum(axis=0), asked.sum(axis=0)


def rate(successes: int, trials: int) -> float:
    """A success rate in [0, 1]; a skill that nothing asked for counts as not shown, and its interval says so."""
    return successes / trials if trials else 0.0


def num_episodes(records: Sequence[EpisodeRecord]) -> int:
    """How many episodes records stand for."""
    return sum(record.episodes for record in records)


def pooled(report: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """In how many episodes of all seeds each skill was shown, and how many asked for it, of a report's plain values."""
    shown = [sum(seed[column] for seed in report["successes"]) for column in range(len(report["skills"]))]
    if report.get("trials"):
        asked = [sum(seed[column] for seed in report["trials"]) for column in range(len(shown))]
    else:
        asked = [sum(report["episodes"])] * len(shown)
    return dict(zip(report["skills"], zip(shown, asked, strict=True), strict=True))


@dataclass(frozen=True)
class SkillReport:
    """What an evaluation found: successes and episodes by seed and skill, and returns and lengths over all episodes."""

    skills: tuple[str, ...]
    seeds: tuple[int, ...]
    """The groups of episodes between which the spread is taken."""
    successes: tuple[tuple[int, ...], ...]
    """(num_seeds, num_skills): episodes in which the skill was shown at least once."""
    episodes: tuple[int, ...]
    """(num_seeds,)."""
    mean_return: float
    return_sd: float
    """Standard deviation over all episodes, with n - 1; NaN for fewer than two."""
    mean_length: float
    """Steps."""
    steps: int
    """Steps of all episodes."""
    trials: tuple[tuple[int, ...], ...] = ()
    """(num_seeds, num_skills): episodes that asked for the skill; empty where each asks for all."""

    @classmethod
    def from_records(
        cls, records: Sequence[EpisodeRecord], skills: Sequence[str], group_of_slot: Sequence[int]
    ) -> SkillReport:
        """Count episodes; `group_of_slot[slot]` is the seed that a slot's episodes belong to."""
        seeds = tuple(sorted(set(group_of_slot)))
        by_seed: dict[int, list[EpisodeRecord]] = {seed: [] for seed in seeds}
        for record in records:
            by_seed[group_of_slot[record.slot]].append(record)
        counts = [success_counts(by_seed[seed], len(skills)) for seed in seeds]
        weights = [record.episodes for record in records]
        returns = np.repeat(np.array([record.episode_return for record in records]), weights)
        lengths = np.array([record.length for record in records], dtype=np.int64)
        episodes = tuple(num_episodes(by_seed[seed]) for seed in seeds)
        return cls(
            skills=tuple(skills),
            seeds=seeds,
            successes=tuple(tuple(int(n) for n in shown) for shown, _ in counts),
            episodes=episodes,
            mean_return=float(returns.mean()) if len(records) else math.nan,
            return_sd=float(returns.std(ddof=1)) if len(returns) > 1 else math.nan,
            mean_length=int(lengths.sum()) / sum(episodes) if len(records) else math.nan,
            steps=int(lengths.sum()),
            trials=tuple(tuple(int(n) for n in asked) for _, asked in counts)
            if any(record.trials for record in records)
            else (),
        )

    def _asked(self) -> NDArray[np.int64]:
        """(num_seeds, num_skills): how often each skill could be shown."""
        if self.trials:
            return np.array(self.trials, dtype=np.int64)
        return np.repeat(np.array(self.episodes, dtype=np.int64)[:, None], len(self.skills), axis=1)

    def success_rates(self) -> dict[str, float]:
        """Each skill's share of all episodes that ask for it, in [0, 1]; NaN without episodes."""
        both = pooled(asdict(self))
        return {skill: rate(*both[skill]) if sum(self.episodes) else math.nan for skill in self.skills}

    def mean_and_sd(self) -> dict[str, tuple[float, float]]:
        """Each skill's success rate as mean and standard deviation (n - 1) over the seeds that have episodes.

        NaN where there are too few seeds: none for the mean, one for the standard deviation.
        """
        played = [index for index, number in enumerate(self.episodes) if number > 0]
        asked, result = self._asked().tolist(), {}
        for column, skill in enumerate(self.skills):
            rates = [rate(self.successes[index][column], asked[index][column]) for index in played]
            mean = float(np.mean(rates)) if rates else math.nan
            result[skill] = (mean, float(np.std(rates, ddof=1)) if len(rates) > 1 else math.nan)
        return result

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes null."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
            if name != "trials" or value
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SkillReport:
        """The report that `to_json` wrote, lists or tuples."""
        floats = ("mean_return", "return_sd", "mean_length")
        with understood("an evaluation's result"):
            return cls(
                skills=tuple(values["skills"]),
                seeds=tuple(values["seeds"]),
                successes=tuple(tuple(row) for row in values["successes"]),
                episodes=tuple(values["episodes"]),
                steps=values["steps"],
                trials=tuple(tuple(row) for row in values.get("trials", ())),
                **{name: math.nan if values[name] is None else values[name] for name in floats},
            )
