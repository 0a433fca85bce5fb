"""What an evaluation found: success rates by skill with their spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.guard.reading import understood


def shares(total: int, parts: int) -> list[int]:
    """`total` split into `parts` whole numbers that differ by one at most."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def success_counts(records: Sequence[EpisodeRecord], num_skills: int) -> tuple[NDArray[np.int64], int]:
    """In how many of the episodes each skill was shown at least once (num_skills,), and the number of episodes."""
    shown = np.array([record.skills for record in records], dtype=np.int64).reshape(len(records), num_skills) > 0
    return shown.sum(axis=0), len(records)


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
        returns = np.array([record.episode_return for record in records])
        lengths = np.array([record.length for record in records], dtype=np.int64)
        return cls(
            skills=tuple(skills),
            seeds=seeds,
            successes=tuple(tuple(int(n) for n in shown) for shown, _ in counts),
            episodes=tuple(number for _, number in counts),
            mean_return=float(returns.mean()) if len(records) else math.nan,
            return_sd=float(returns.std(ddof=1)) if len(records) > 1 else math.nan,
            mean_length=float(lengths.mean()) if len(records) else math.nan,
            steps=int(lengths.sum()),
        )

    def success_rates(self) -> dict[str, float]:
        """Each skill's share of all episodes, in [0, 1]; NaN without episodes."""
        total = sum(self.episodes)
        pooled = np.array(self.successes, dtype=np.int64).reshape(len(self.seeds), len(self.skills)).sum(axis=0)
        return {skill: int(n) / total if total else math.nan for skill, n in zip(self.skills, pooled, strict=True)}

    def mean_and_sd(self) -> dict[str, tuple[float, float]]:
        """Each skill's success rate as mean and standard deviation (n - 1) over the seeds that have episodes.

        NaN where there are too few seeds: none for the mean, one for the standard deviation.
        """
        played = [index for index, number in enumerate(self.episodes) if number > 0]
        result = {}
        for column, skill in enumerate(self.skills):
            rates = [self.successes[index][column] / self.episodes[index] for index in played]
            mean = float(np.mean(rates)) if rates else math.nan
            result[skill] = (mean, float(np.std(rates, ddof=1)) if len(rates) > 1 else math.nan)
        return result

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes null."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
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
                **{name: math.nan if values[name] is None else values[name] for name in floats},
            )
