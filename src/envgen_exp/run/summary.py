"""What a finished run found: its summary.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envgen_exp.config import AgentConfig
from envgen_exp.errors import RunFolderError
from envgen_exp.learners import traits


@dataclass(frozen=True)
class Successes:
    """Of so many episodes, how many showed each skill."""

    episodes: int
    successes: Mapping[str, int]

    def rate(self, skill: str) -> float:
        """Share of the episodes, in [0, 1]."""
        return self.successes[skill] / self.episodes


@dataclass(frozen=True)
class RunSummary:
    """Everything that the table shows; a run's summary.json."""

    folder: str
    command: str
    """What was typed to start the run, e.g. 'python run.py experiment=demo'."""
    family: str
    designer: str
    llm: str
    ppo: str
    seed: int
    uses_llm: bool
    """Whether a real language model was asked: False for the offline stand-in and where nothing is designed."""
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
    """Training episodes that ended in the last phase."""
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
    arm: str = ""
    """What tables call the treatment."""
    design_set: int = 0
    """Root of what the designer drew: runs of different seeds may share it."""
    diagnostic: tuple[str, ...] = ()
    """Settings with which the run stands in no table beside others, e.g. env.original=fork."""
    updates: int = 0
    """Steps of the agent's optimizer."""
    agent: str = AgentConfig.name
    """The learner, as agent.name has it."""
    by_episode: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """What each episode of a language model that played took: calls, dollars (None if not known), seconds, steps,
    repairs, idle (steps without a usable answer), cut (1 where agent.max_steps ended it)."""

    @property
    def trains(self) -> bool:
        """Whether an agent was trained."""
        return traits(self.agent).trains

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str = "summary") -> RunSummary:
        """Back from `to_json`; RunFolderError where a field is missing or unknown."""
        try:
            return cls(
                **{
                    **values,
                    "skills": tuple(values["skills"]),
                    "feedback": tuple(Successes(**one) for one in values["feedback"]),
                    "feedback_scores": tuple(values["feedback_scores"]),
                    "report": Successes(**values["report"]),
                    "diagnostic": tuple(values.get("diagnostic", ())),
                }
            )
        except (TypeError, KeyError, ValueError) as error:
            raise RunFolderError(f"{source} is no run's summary: {' '.join(str(error).split())[:300]}") from error
