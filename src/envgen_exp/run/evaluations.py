"""Evaluations: the original played without learning, with films, intervals and what stands beside the headline."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from envgen_exp import seeding
from envgen_exp.config import EvaluationConfig, RunConfig
from envgen_exp.errors import RunFolderError
from envgen_exp.families.design import design_key
from envgen_exp.families.family import Family
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.guard.writing import write_json
from envgen_exp.learners import traits
from envgen_exp.learners.learner import Learner, Onlooker
from envgen_exp.learners.skills import SkillReport, shares
from envgen_exp.llm.prompt import Ended
from envgen_exp.run import plan
from envgen_exp.run.films import MAX_STEPS, Camera, film_title, write_films
from envgen_exp.run.session import Session
from envgen_exp.run.summary import Episodes
from envgen_exp.seeding import WorldSet
from envgen_exp.tracking.metrics import episode_values

FILMS = {"feedback": 1, "report": 2}
"""Of an evaluation the first episodes of so many slots are filmed."""

VISUAL_SHARE = 0.025
"""Films take what pictures and W&B leave of this share of the run's time."""

REWARD_STEPS = 100_000
"""The paper's reward is the mean return of the training episodes that end within the last so many steps."""


class Evaluations:
    """A run's evaluations."""

    def __init__(self, config: RunConfig, family: Family, learner: Learner, session: Session) -> None:
        self.config = config
        self.family = family
        self.learner = learner
        self.session = session
        self._began = session.seconds
        """The run's wall time when this process began."""

    def feedback(self, planned: plan.PlannedPhase) -> dict[str, Any]:
        """In the same worlds in every cycle, so that cycles can be compared."""
        evaluation = self.config.evaluation
        slots = max(1, min(evaluation.num_envs // evaluation.feedback_seeds, evaluation.feedback_episodes))
        quota = shares(evaluation.feedback_episodes, slots) * evaluation.feedback_seeds
        seed_of_slot = [seed for seed in range(evaluation.feedback_seeds) for _ in range(slots)]
        return self._play(planned, WorldSet.FEEDBACK, quota, self._seeds(quota, "feedback"), seed_of_slot)

    def taught(self, cycle: int) -> dict[str, dict[str, float]]:
        """By design the success rates of the episodes that ended in it in the cycle's training."""
        ended: dict[str, list[dict[str, Any]]] = {}
        for kind in ("designed", "blend"):
            for row in self.session.finished_episodes(f"cycle{cycle}-train-{kind}"):
                if row["design"] != design_key(None):
                    ended.setdefault(row["design"], []).append(row)
        skills = self.family.skills
        rates = {design: Episodes.of(rows, len(skills)).rates.tolist() for design, rows in ended.items()}
        return {design: dict(zip(skills, of_it, strict=True)) for design, of_it in rates.items()}

    def ended(self, cycle: int) -> tuple[Ended, ...]:
        """The episodes of the cycle's feedback evaluation; none where what is played stands for many."""
        rows = self.session.finished_episodes(f"cycle{cycle}-evaluate")
        if any(row.get("trials") for row in rows):
            return ()
        shown = [frozenset(itertools.compress(self.family.skills, row["skills"])) for row in rows]
        return tuple(Ended(skills, row["length"], row["truncated"]) for skills, row in zip(shown, rows, strict=True))

    def report(self, planned: plan.PlannedPhase) -> dict[str, Any]:
        """The one that carries the score."""
        quota = self._report_quota()
        return self._play(planned, WorldSet.REPORT, quota, self._seeds(quota, "report"), range(len(quota)))

    def midway(self, step: int) -> None:
        """Play what the report evaluation plays, in other worlds of its set, besides the phase that trains.

        A resumed run that has to plays it again, to the same result.
        """
        session, training, quota = self.session, self.session.current, self._report_quota()
        reported = self._worlds(self._seeds(quota, "report"), quota)
        drawn = (self._seeds(quota, "midway", draw) for draw in itertools.count())
        seeds = next(seeds for seeds in drawn if self._worlds(seeds, quota).isdisjoint(reported))
        session.current = plan.PlannedPhase(plan.MIDWAY.format(step), "midway", training.cycle, episodes=sum(quota))
        result = self._play(session.current, WorldSet.REPORT, quota, seeds, range(len(quota)))
        session.current = training
        write_json(session.folder.midway_file(step), {"step": session.trained, **result})

    def _report_quota(self) -> list[int]:
        """For one who is asked the usual number of slots: here another is no other experiment."""
        trains = traits(self.config.agent.name).trains
        num_envs = self.config.evaluation.num_envs if trains else EvaluationConfig.num_envs
        episodes = plan.report_episodes(self.config)
        return shares(episodes, min(num_envs, episodes))

    def _seeds(self, quota: Sequence[int], *names: str | int) -> list[int]:
        return seeding.integers(self.config.seed, "worlds", *names, count=len(quota))

    @staticmethod
    def _worlds(seeds: Sequence[int], quota: Sequence[int]) -> set[int]:
        """All that is played from these seeds in a report evaluation."""
        episodes = ((seed, n) for seed, count in zip(seeds, quota, strict=True) for n in range(1, count + 1))
        return {seeding.world_seed(*episode, WorldSet.REPORT) for episode in episodes}

    def _play(
        self,
        planned: plan.PlannedPhase,
        worlds: WorldSet,
        quota: Sequence[int],
        seeds: Sequence[int],
        group_of_slot: Sequence[int],
    ) -> dict[str, Any]:
        """Play the original without learning: each slot its quota of whole episodes, in worlds of this set alone."""
        session, kind = self.session, planned.kind
        ended = 0

        def on_episode(record: EpisodeRecord) -> None:
            nonlocal ended
            ended += record.episodes
            session.progress.update(ended)

        def on_step(**numbers: float | None) -> None:
            session.progress.update(ended, **numbers)

        session.progress.phase(planned.name, planned.episodes, planned.cycle, unit="episodes")
        camera = self._camera(kind, seeds, worlds)
        stream = (self.config.seed, "evaluate", planned.name)
        originals, onlooker = [None] * len(quota), Onlooker(on_episode, on_step, camera)
        played = self.learner.evaluate(originals, seeds, worlds, quota, stream, onlooker)
        self._keep(camera, planned.name)
        records = played.records
        report = SkillReport.from_records(records, self.family.skills, group_of_slot)
        score = self.family.score(report.success_rates())
        session.steps[kind] = session.steps.get(kind, 0) + report.steps
        session.episodes(records)
        values = episode_values(kind, self.family.skills, records)
        values |= {f"score/{kind}": score, f"steps/{kind}": session.steps[kind]}
        if kind != "feedback":
            found = Episodes.of(map(vars, records), len(self.family.skills))
            values[f"score/{kind}_low"], values[f"score/{kind}_high"] = found.score_interval(self.family)
        if kind == "report":
            values |= self._training_values()
        session.log(values)
        session.progress.update(ended, score=score)
        return {"cycle": planned.cycle, "skills": report.to_json(), "values": values, **played.details}

    def _camera(self, kind: str, seeds: Sequence[int], worlds: WorldSet) -> Camera:
        """Films the first slots of an evaluation."""
        titles = [film_title(None, seeding.world_seed(seed, 1, worlds)) for seed in seeds[: FILMS.get(kind, 0)]]
        self.session.tick()
        seconds = VISUAL_SHARE * (self.session.seconds - self._began) - self.session.visual_seconds
        return Camera(titles, MAX_STEPS, seconds, self.session.progress.message)

    def _keep(self, camera: Camera, phase: str) -> None:
        self.session.visual_seconds += camera.seconds
        with self.session.visual():
            try:
                write_films(camera.films, self.session.folder.videos, phase)
            except RunFolderError as error:
                self.session.progress.message(f"no films of {phase}: {error}")

    def _training_values(self) -> dict[str, float]:
        """The paper's training-episode score and reward, which stand beside the headline."""
        skills, score = self.family.skills, self.family.score
        values = {}
        trained = self._last_training_episodes()
        if trained:
            rates = Episodes.of(trained, len(skills)).rates
            values["score/training_last_phase"] = score(dict(zip(skills, rates.tolist(), strict=True)))
        recent = [row["episode_return"] for row in trained if row["step"] > self.session.trained - REWARD_STEPS]
        if recent:
            values["return/training_last_phase"] = float(np.mean(recent))
        return values

    def _last_training_episodes(self) -> list[dict[str, Any]]:
        last = next((phase for phase in reversed(plan.phases(self.config)) if phase.steps), None)
        rows = [] if last is None else self.session.finished_episodes(last.name)
        return [row for row in rows if row["design"] == design_key(None)]
