"""Trials of an agent in designs that nobody trains in yet: some designers rank their candidates by them.

All of it happens in worlds of the validation set, teaches the run's agent nothing and is counted as validation steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from envgen_exp import seeding
from envgen_exp.config import RunConfig
from envgen_exp.designers.means import Worth, mean_return
from envgen_exp.families.design import Design
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.learners.learner import Learner
from envgen_exp.learners.skills import shares
from envgen_exp.llm.client import Client
from envgen_exp.run import plan
from envgen_exp.run.session import Session
from envgen_exp.seeding import WorldSet


class Trials:
    """A run's trials of designs (`designers.means.Trial`); they can be had once the run has begun."""

    def __init__(self, config: RunConfig, learner: Learner, client: Client) -> None:
        self._config = config
        self._client = client
        self._learner = learner
        self._session: Session | None = None
        self._inside: Mapping[str, Any] | None = None

    def begin(self, session: Session, inside: Mapping[str, Any] | None) -> None:
        """A design phase begins, or goes on from the state in which a checkpoint left it."""
        self._session, self._inside = session, inside

    def __call__(
        self, designs: Sequence[Design], *, episodes: int, by_pupil: bool, worth: Worth = mean_return
    ) -> list[float]:
        """What so many episodes in each design are worth, the slots' seeds the same in all.

        They are played by the run's learner, or by a pupil: a new one that has trained in the original
        (`plan.validation` says how long).
        """
        session, seed = self._session, self._config.seed
        assert session is not None, "designs are tried in a run"
        self._client.rest()
        planned = session.current
        learner = self._pupil(session) if by_pupil else self._learner
        slots = max(1, min(self._config.evaluation.num_envs // len(designs), episodes))
        seeds = seeding.integers(seed, "worlds", planned.name, "trial", count=slots) * len(designs)
        of_slot = [number for number in range(len(designs)) for _ in range(slots)]
        session.progress.phase(planned.name, episodes * len(designs), planned.cycle, unit="episodes")
        records = learner.evaluate(
            [designs[number] for number in of_slot],
            seeds,
            WorldSet.VALIDATION,
            shares(episodes, slots) * len(designs),
            (seed, "evaluate", planned.name, "trial"),
        ).records
        session.steps["validation"] += sum(record.length for record in records)
        session.episodes(records)
        played: list[list[EpisodeRecord]] = [[] for _ in designs]
        for record in records:
            played[of_slot[record.slot]].append(record)
        return list(map(worth, played))

    def _pupil(self, session: Session) -> Learner:
        """One trained in the original for trials alone; a run that is killed meanwhile goes on in its training."""
        seed, planned = self._config.seed, session.current
        steps, _ = plan.validation(self._config)
        (root,) = seeding.integers(seed, "validation", "agent", count=1)
        pupil = self._learner.pupil(root)
        slots = self._learner.slots(self._config)
        seeds = seeding.integers(seed, "worlds", planned.name, "validation", count=slots)
        with contextlib.closing(
            pupil.train([None] * slots, seeds, WorldSet.VALIDATION, steps, total_steps=steps)
        ) as training:
            if self._inside is not None:
                pupil.load_state_dict(self._inside["learner"])
                training.load_state_dict(self._inside["training"])
            session.progress.phase(
                planned.name, steps, planned.cycle, done=training.steps_done, unit="validation steps"
            )
            for progress in training:
                session.steps["validation"] += progress.steps
                session.progress.update(training.steps_done)
                if training.steps_done < steps:
                    session.boundary(lambda: {"learner": pupil.state_dict(), "training": training.state_dict()})
        return pupil
