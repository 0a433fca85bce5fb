"""What run/record.py puts together of a run's files: counts, episodes, evaluations, and what a run came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.family import Family
from envgen_exp.learners.intervals import score_interval
from envgen_exp.learners.skills import SkillReport, pooled, rate, tallies

STEP_KINDS = ("designed", "original", "feedback", "report", "validation")
"""Of environment steps, those that train first."""

PLAYED_KINDS = (*STEP_KINDS, "midway")
"""With those of evaluation.report_at, which few runs have."""


@dataclass(frozen=True)
class Successes:
    """Of so many episodes, how many showed each skill."""

    episodes: int
    successes: Mapping[str, int]
    trials: Mapping[str, int] = field(default_factory=dict)
    """How many asked for each skill; empty where all did."""

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Successes:
        """An evaluation's counts over all its seeds; `report` is what `SkillReport.to_json` gives."""
        successes, trials = ({skill: both[column] for skill, both in pooled(report).items()} for column in (0, 1))
        return cls(sum(report["episodes"]), successes, trials if report.get("trials") else {})

    @property
    def other_look(self) -> bool:
        """Of a report evaluation: whether it looks at frames of another look than feedback does (`Labelled.frames`)."""
        return bool(self.trials)

    def tried(self, skill: str) -> int:
        """Episodes that asked for a skill."""
        return self.trials.get(skill, self.episodes)

    def rate(self, skill: str) -> float:
        """Share of the episodes that ask for it, in [0, 1]."""
        return rate(self.successes[skill], self.tried(skill))


@dataclass(frozen=True)
class Episodes:
    """The finished episodes of one phase, or those of it in one design."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    number: NDArray[np.int64]
    """(records,): how many episodes each record stands for, most often one."""
    shown: NDArray[np.int64]
    """(records, skills): in how many of each record's episodes each skill was shown."""
    trials: NDArray[np.int64]
    """(records, skills): and in how many it was asked for."""

    def __len__(self) -> int:
        return int(self.number.sum())

    @property
    def rates(self) -> NDArray[np.float64]:
        """(skills,): success rates."""
        found: NDArray[np.float64] = self.shown.sum(axis=0) / np.maximum(self.trials.sum(axis=0), 1)
        return found

    @property
    def mean_return(self) -> float:
        """Over episodes; a record has the mean of those that it stands for."""
        return float(np.average(self.returns, weights=self.number))

    @property
    def mean_length(self) -> float:
        """Steps of an episode; a record has those of all that it stands for."""
        return float(self.lengths.sum() / len(self))

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], num_skills: int) -> Episodes:
        """From rows of episodes.jsonl."""
        rows = list(rows)
        return cls(
            np.array([row["episode_return"] for row in rows], float),
            np.array([row["length"] for row in rows], int),
            np.array([row["length"] if row.get("trials") else 1 for row in rows], int),
            *tallies([row["skills"] for row in rows], [row.get("trials", ()) for row in rows], num_skills),
        )

    def chosen(self, records: NDArray[np.bool_]) -> Episodes:
        """Those of some records."""
        returns, lengths, number = self.returns[records], self.lengths[records], self.number[records]
        return Episodes(returns, lengths, number, self.shown[records], self.trials[records])

    def score_interval(self, family: Family) -> tuple[float, float]:
        """95 % interval of the family's score."""
        return score_interval(self.shown, family.skills, family.score, self.trials)

    def successes(self, skills: tuple[str, ...]) -> Successes:
        """How many showed each skill."""
        shown, trials = (dict(zip(skills, of.sum(axis=0).tolist(), strict=True)) for of in (self.shown, self.trials))
        return Successes(len(self), shown, trials)


@dataclass(frozen=True)
class Evaluation:
    """One feedback evaluation, the report evaluation, or one of evaluation.report_at."""

    cycle: int
    step: int
    """Training steps before it."""
    counts: Successes
    sd: Mapping[str, float]
    """Standard deviation over seeds of each skill's success rate, as the designer saw it."""
    values: Mapping[str, float]
    """The metrics of its row, e.g. score/feedback."""

    @classmethod
    def of(cls, cycle: int, step: int, result: Mapping[str, Any]) -> Evaluation:
        """As a phase's file keeps it."""
        report = SkillReport.from_json(result["skills"])
        sd = {skill: sd for skill, (_, sd) in report.mean_and_sd().items()}
        return cls(cycle, step, Successes.of(result["skills"]), sd, result["values"])


@dataclass(frozen=True)
class RunSummary:
    """Everything that the table shows."""

    folder: str
    command: str
    """What was typed to start the run, e.g. 'python run.py experiment=demo'."""
    family: str
    designer: str
    llm: str
    seed: int
    trains: bool
    """Whether a learner was trained; otherwise `designer` means nothing."""
    asks: bool
    """Whether what stands behind `llm` was asked, by the designer or by the learner."""
    uses_llm: bool
    """Whether that is a real language model."""
    skills: tuple[str, ...]
    """In the family's order."""
    feedback: tuple[Successes, ...]
    """The feedback evaluation of each cycle."""
    feedback_scores: tuple[float, ...]
    """Their scores, in percent."""
    report: Successes
    score: float
    """Percent, from the report evaluation: the headline."""
    score_low: float
    score_high: float
    reward: float
    """Mean return of the report evaluation's episodes."""
    training_score: float | None
    """Percent, over the training episodes of the last phase, as the paper reads it; None where none ended."""
    training_reward: float | None
    """Mean return of the training episodes that ended in the last 100 k steps, as the paper reads it."""
    training_episodes: int
    """Training episodes of the original that ended in the last phase that trained."""
    llm_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """US dollars; None where that of some requests is not known."""
    known_cost: float = 0.0
    """US dollars of the requests whose cost is known."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Environment steps by kind."""
    seconds: float = 0.0
    """Wall time, over all resumes."""
    updates: int = 0
    """Steps of the agent's optimizer."""
    midway: Sequence[Evaluation] = ()
    """What evaluation.report_at asked for, by steps."""
    frames: Mapping[str, Any] = field(default_factory=dict)
    """What the report evaluation found of frames, as `measures.details` gives it; empty for what looks at none."""
    by_episode: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """What each episode of the report evaluation took, by name, where the learner asked for it (`Learner.takings`)."""
