"""How an agent does in designs that nobody trains in yet: the trials by which some designers rank their candidates.

All of it happens in worlds of the validation set, teaches the run's agent nothing and is counted as validation steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from envgen_exp import seeding
from envgen_exp.config import RunConfig
from envgen_exp.families.family import Design, Family
from envgen_exp.learners.ppo.agent import Agent
from envgen_exp.learners.ppo.evaluate import evaluate
from envgen_exp.learners.ppo.ppo import Learner, TrainingPhase
from envgen_exp.learners.skills import shares
from envgen_exp.run import plan
from envgen_exp.run.session import Session
from envgen_exp.seeding import WorldSet


def try_designs(
    config: RunConfig,
    family: Family,
    learner: Learner,
    session: Session,
    designs: Sequence[Design],
    episodes: int,
    by_pupil: bool,
) -> list[float]:
    """Mean return of so many episodes in each design, the slots' seeds the same in all.

    They are played by the learner's agent, or by a pupil: a new one that has trained in the original (`plan.validation`
    says how long).
    """
    planned, device = session.current, learner.device
    agent = _pupil(config, family, learner, session) if by_pupil else learner.agent
    slots = max(1, min(config.evaluation.num_envs // len(designs), episodes))
    seeds = seeding.integers(config.seed, "worlds", planned.name, "trial", count=slots) * len(designs)
    actions = seeding.torch_generator(config.seed, "evaluate", planned.name, "trial", device=device)
    of_slot = [number for number in range(len(designs)) for _ in range(slots)]
    session.progress.phase(planned.name, episodes * len(designs), planned.cycle, unit="episodes")
    played = [designs[number] for number in of_slot]
    with contextlib.closing(family.vector(played, seeds, WorldSet.VALIDATION)) as env:
        records = evaluate(agent, env, shares(episodes, slots) * len(designs), actions, device)
    session.steps["validation"] += sum(record.length for record in records)
    session.episodes(records)
    returns: list[list[float]] = [[] for _ in designs]
    for record in records:
        returns[of_slot[record.slot]].append(record.episode_return)
    return [float(np.mean(values)) for values in returns]


def _pupil(config: RunConfig, family: Family, learner: Learner, session: Session) -> Agent:
    """An agent trained in the original for trials alone; a run that is killed meanwhile goes on in its training."""
    ppo, planned = config.ppo, session.current
    steps, _ = plan.validation(config)
    (root,) = seeding.integers(config.seed, "validation", "agent", count=1)
    pupil = Learner.create(ppo, family.observation_spec, family.num_actions, root, learner.device, learner.threads)
    seeds = seeding.integers(config.seed, "worlds", planned.name, "validation", count=ppo.num_envs)
    with contextlib.closing(family.vector([None] * ppo.num_envs, seeds, WorldSet.VALIDATION)) as env:
        training = TrainingPhase(pupil, env, steps, ppo, steps)
        if session.inside is not None:
            pupil.load_state_dict(session.inside["learner"])
            training.load_state_dict(session.inside["training"])
        session.progress.phase(planned.name, steps, planned.cycle, done=training.steps_done)
        for rollout in training:
            session.steps["validation"] += rollout.steps
            session.progress.update(training.steps_done)
            if training.steps_done < steps:
                session.boundary(lambda: {"learner": pupil.state_dict(), "training": training.state_dict()})
    return pupil.agent
