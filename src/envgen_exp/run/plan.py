"""What a run is going to do, said before it does it: phases, steps of each kind, LLM calls, cost and time."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass

from envgen_exp import seeding
from envgen_exp.config import CandidatesConfig, EasyToHardConfig, Mixture, RunConfig, arm, design_set
from envgen_exp.designers import asks
from envgen_exp.errors import ConfigError
from envgen_exp.families.family import Family
from envgen_exp.learners.ppo.ppo import Learner, TrainingPhase
from envgen_exp.llm.prices import Expected
from envgen_exp.tracking.progress import duration


@dataclass(frozen=True)
class PlannedPhase:
    """One phase of a run; `name` is its name in the run's folder."""

    name: str
    kind: str
    """design, designed, original, blend, feedback or report."""
    cycle: int
    steps: int = 0
    """Training steps; 0 for phases that don't train."""
    episodes: int = 0
    """Evaluation episodes; 0 for phases that don't evaluate."""


def phases(config: RunConfig) -> list[PlannedPhase]:
    """Every phase of the run, in order."""
    schedule, evaluation = config.schedule, config.evaluation
    feedback = evaluation.feedback_seeds * evaluation.feedback_episodes
    planned = []
    for cycle in range(1, config.cycles + 1):
        planned.append(PlannedPhase(f"cycle{cycle}-design", "design", cycle))
        if schedule.mixture is Mixture.blend:
            both = schedule.designed_steps + schedule.original_steps
            planned.append(PlannedPhase(f"cycle{cycle}-train-blend", "blend", cycle, steps=both))
        else:
            planned += [
                PlannedPhase(f"cycle{cycle}-train-designed", "designed", cycle, steps=schedule.designed_steps),
                PlannedPhase(f"cycle{cycle}-train-original", "original", cycle, steps=schedule.original_steps),
            ]
        planned.append(PlannedPhase(f"cycle{cycle}-evaluate", "feedback", cycle, episodes=feedback))
    planned += [
        PlannedPhase("final", "original", config.cycles, steps=schedule.final_steps),
        PlannedPhase("report-evaluation", "report", config.cycles, episodes=evaluation.report_episodes),
    ]
    return planned


def designed_slots(config: RunConfig) -> int:
    """How many of a blended batch's slots are designed worlds, so that a cycle's steps of each kind are exact.

    Raises ConfigError where no whole number of slots is.
    """
    schedule, num_envs = config.schedule, config.ppo.num_envs
    both = schedule.designed_steps + schedule.original_steps
    slots, rest = divmod(num_envs * schedule.designed_steps, both)
    if rest:
        raise ConfigError(
            f"schedule.mixture=blend: {schedule.designed_steps} of {both} steps in designed worlds are no whole number "
            f"of the ppo.num_envs={num_envs} slots; allowed are steps as n : {num_envs} - n"
        )
    if config.designer.num_designs > slots:
        raise ConfigError(
            f"schedule.mixture=blend: designer.num_designs={config.designer.num_designs} designs in {slots} slots of "
            f"the ppo.num_envs={num_envs}; allowed is at most one a slot, so that every design is played"
        )
    return slots


def training_steps(config: RunConfig) -> int:
    """Environment steps of all training phases together."""
    return sum(phase.steps for phase in phases(config))


def validation(config: RunConfig) -> tuple[int, int]:
    """Training steps and episodes by which designs are ranked; they train the run's agent nothing."""
    designer = config.designer
    if not isinstance(designer, CandidatesConfig):
        return 0, 0
    episodes = designer.num_candidates * designer.validation_episodes
    if isinstance(designer, EasyToHardConfig):
        # No arm has to equal another in these.
        return -(-designer.validation_steps // config.ppo.num_envs) * config.ppo.num_envs, episodes
    return 0, episodes * config.cycles


@dataclass(frozen=True)
class Speed:
    """Rates of this machine with this family, network and settings."""

    training: float
    """Training steps a second, updates included."""
    playing: float
    """Steps a second without updates."""


_EXPECTED_EPISODE = 200
"""Steps of an evaluation episode assumed for the time that a plan names; a random agent's Crafter episode has 170."""


def measure(config: RunConfig, family: Family, learner: Learner) -> Speed:
    """Time a short rollout and its update with worlds of its own and a copy of `learner`; draws from no stream."""
    ppo = config.ppo
    learner = copy.deepcopy(learner)
    seeds = seeding.integers(config.seed, "measure", count=ppo.num_envs)
    # Half of the usual minibatch: a CPU takes as long for a step in a smaller one, a GPU does not.
    batch_size = 256 if learner.device.type == "cpu" else 512
    env = family.vector([None] * ppo.num_envs, seeds, seeding.WorldSet.VALIDATION)
    try:
        for num_steps in (2, max(8, batch_size // ppo.num_envs)):  # the first pays for warming up
            steps = ppo.num_envs * min(num_steps, ppo.num_steps)
            training = TrainingPhase(learner, env, steps, ppo, total_train_steps=steps)
            start = time.perf_counter()
            update = sum(rollout.timings["update_seconds"] for rollout in training)
            seconds = time.perf_counter() - start
    finally:
        env.close()
    return Speed(training=steps / seconds, playing=steps / max(seconds - update, 1e-9))


def expected_seconds(config: RunConfig, speed: Speed) -> float:
    """Expected time of the whole run without the language model's, from rates measured just before."""
    steps, episodes = validation(config)
    episodes += sum(phase.episodes for phase in phases(config))
    return (training_steps(config) + steps) / speed.training + episodes * _EXPECTED_EPISODE / speed.playing


def describe(config: RunConfig, *, chosen: Mapping[str, object], speed: Speed, expected: Expected | None) -> str:
    """The plan as a few lines of text; `expected` is None where no language model is asked."""
    schedule, evaluation = config.schedule, config.evaluation
    designs = config.designer.name != "original"
    if expected:
        cost = "price not known" if expected.cost is None else f"about ${expected.cost:.2f}"
        llm = f"{expected.calls} to {config.llm.model} (more where a reply needs repair), {cost}"
    elif asks(config.designer.name):
        llm = f"0 (llm={config.llm.name} is not a language model)"
    else:
        llm = f"0 (designer={config.designer.name} asks for no designs)"
    where = "in designed worlds" if designs else "in the original in their place"
    together = ", side by side" if schedule.mixture is Mixture.blend else ""
    feedback = evaluation.feedback_seeds * evaluation.feedback_episodes
    steps, episodes = validation(config)
    return "\n".join(
        (
            f"plan        env={config.env.name} arm={arm(config)} designer={config.designer.name} "
            f"llm={config.llm.name} ppo={config.ppo.name} seed={config.seed} design_set={design_set(config)}",
            f"training    {config.cycles} cycles of {schedule.designed_steps:,} steps {where} and "
            f"{schedule.original_steps:,} in the original{together}, then {schedule.final_steps:,} in the original: "
            f"{training_steps(config):,} steps",
            f"evaluation  in the original, counted apart: {feedback:,} episodes after each cycle, "
            f"{evaluation.report_episodes:,} at the end for the score",
            *([f"validation  counted apart: {steps:,} training steps and {episodes:,} episodes"] if episodes else []),
            f"LLM calls   {llm}",
            f"machine     {', '.join(f'{key} {value}' for key, value in chosen.items())}",
            f"time        about {duration(expected_seconds(config, speed))}: a fresh agent has just trained at "
            f"{speed.training:,.0f} steps/s",
        )
    )
