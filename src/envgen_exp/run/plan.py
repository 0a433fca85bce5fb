"""The plan of a run, printed before it starts: phases, steps of each kind, LLM calls, cost and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter

from envgen_exp.config import Mixture, RunConfig, design_set
from envgen_exp.designers import DESIGNERS
from envgen_exp.errors import ConfigError
from envgen_exp.learners import LEARNERS, arm, preset, traits
from envgen_exp.learners.learner import Speed
from envgen_exp.llm.prices import Expected
from envgen_exp.tracking.progress import duration

MIDWAY = "report-at-{}"
"""An evaluation in the midst of training, named for its step."""

REPORT = "report-evaluation"
"""The phase that carries the score."""


class Part(Enum):
    """How much of a run is done: all of it, or what its first phases are, and the rest when it is resumed."""

    whole = "the report evaluation"
    designed = "the first designs"
    trained = "the first training phase"


@dataclass(frozen=True)
class PlannedPhase:
    """One phase of a run; `name` is its name in the run's folder."""

    name: str
    kind: str
    """design, designed, original, blend, feedback or report; midway for what evaluation.report_at asks for."""
    cycle: int
    steps: int = 0
    """Training steps; 0 for phases that don't train."""
    episodes: int = 0
    """Evaluation episodes; 0 for phases that don't evaluate."""

    @property
    def key(self) -> str:
        """Where a training phase's steps stand in the config."""
        if self.kind == "blend":
            return "schedule.designed_steps + schedule.original_steps"
        return f"schedule.{'final' if self.name == 'final' else self.kind}_steps"


def cycles(config: RunConfig) -> int:
    """Rounds of design, training and evaluation; none for a learner that does not train."""
    return config.cycles if traits(config.agent.name).trains else 0


def phases(config: RunConfig) -> list[PlannedPhase]:
    """Every phase of the run, in order."""
    schedule, evaluation, learner = config.schedule, config.evaluation, traits(config.agent.name)
    feedback = evaluation.feedback_seeds * evaluation.feedback_episodes
    report = PlannedPhase(REPORT, "report", cycles(config), episodes=report_episodes(config))
    if not learner.trains:
        return [report]
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
        report,
    ]
    return planned


def report_episodes(config: RunConfig) -> int:
    """Episodes of the report evaluation."""
    return int(attrgetter(traits(config.agent.name).report)(config))


def check_report_at(config: RunConfig) -> None:
    """ConfigError where the run never has so many training steps."""
    steps = training_steps(config)
    for step in config.evaluation.report_at:
        if step > steps:
            raise ConfigError(f"evaluation.report_at: {step}; allowed are training steps of the run, 1 to {steps:,}")


def designed_slots(config: RunConfig) -> int:
    """How many of a blended batch's slots are designed worlds, so that a cycle's steps of each kind are exact.

    Raises ConfigError where no whole number of slots is.
    """
    schedule, num_slots = config.schedule, LEARNERS.find(config.agent.name).slots(config)
    both = schedule.designed_steps + schedule.original_steps
    slots, rest = divmod(num_slots * schedule.designed_steps, both)
    if rest:
        raise ConfigError(
            f"schedule.mixture=blend: {schedule.designed_steps} of {both} steps in designed worlds are no whole number "
            f"of the learner's {num_slots} slots; allowed are steps as n : {num_slots} - n"
        )
    if config.designer.num_designs > slots:
        raise ConfigError(
            f"schedule.mixture=blend: designer.num_designs={config.designer.num_designs} designs in {slots} slots of "
            f"the learner's {num_slots}; allowed is at most one a slot, so that every design is played"
        )
    return slots


def training_steps(config: RunConfig) -> int:
    """Environment steps of all training phases together."""
    return sum(phase.steps for phase in phases(config))


def validation(config: RunConfig) -> tuple[int, int]:
    """Training steps and episodes by which designs are ranked; they train the run's agent nothing."""
    steps, episodes = DESIGNERS.find(config.designer.name).validation(config.designer, config.cycles)
    slots = LEARNERS.find(config.agent.name).slots(config)
    # No arm has to equal another in these, so they are rounded up to what slots can share.
    return -(-steps // slots) * slots if slots else 0, episodes


def short_phase(config: RunConfig) -> str:
    """Which phase is too short for its slots to see a typical episode to its end, and what would do; empty for none."""
    typical, slots = config.env.typical_episode, LEARNERS.find(config.agent.name).slots(config)
    for phase in phases(config):
        if 0 < phase.steps < typical * slots:
            fewer = f", or at most {phase.steps // typical} slots" if phase.steps >= typical else ""
            return (
                f"{phase.name} has {phase.steps:,} steps for {slots} slots, {phase.steps // slots} each: a typical "
                f"episode of env={config.env.name} has {typical}; allowed are {typical * slots:,} steps{fewer}"
            )
    return ""


def expected_seconds(config: RunConfig, speed: Speed) -> float:
    """Expected time of the whole run without the language model's, from rates measured just before."""
    steps, episodes = validation(config)
    episodes += sum(phase.episodes for phase in phases(config))
    episodes += len(config.evaluation.report_at) * report_episodes(config)
    typical = traits(config.agent.name).typical_episode
    return (training_steps(config) + steps) / speed.training + episodes * typical / speed.playing


def describe(
    config: RunConfig,
    *,
    chosen: Mapping[str, object],
    speed: Speed | None,
    expected: Expected | None,
    own: Sequence[str],
    saves_games: bool,
) -> str:
    """The plan as a few lines of text; `expected` is None where no language model is asked.

    `own` are the lines of a learner whose runs do not train and evaluate by the schedule; `speed` is None where it is
    not known.
    """
    names = f"plan        env={config.env.name} arm={arm(config)} "
    by = "=".join(preset(config))
    if not traits(config.agent.name).trains:
        return "\n".join((f"{names}{by} llm={config.llm.name} seed={config.seed}", *own))
    schedule, evaluation = config.schedule, config.evaluation
    if expected:
        cost = "price not known" if expected.cost is None else f"about ${expected.cost:.2f}"
        llm = f"{expected.calls} to {config.llm.model} (more where a reply needs repair), {cost}"
        for name, wanted in (("max_calls", expected.calls), ("max_dollars", expected.cost)):
            cap = getattr(config.llm, name)
            if cap is not None and wanted is not None and cap < wanted:
                llm += f"; it stops at llm.{name}={cap}"
    elif DESIGNERS.find(config.designer.name).uses_llm:
        llm = f"0 (llm={config.llm.name} is not a language model)"
    else:
        llm = f"0 (designer={config.designer.name} asks for no designs)"
    where = "in designed worlds" if DESIGNERS.find(config.designer.name).designs else "in the original in their place"
    together = ", side by side" if schedule.mixture is Mixture.blend else ""
    feedback = evaluation.feedback_seeds * evaluation.feedback_episodes
    steps, episodes = validation(config)
    short = short_phase(config)
    deducts = DESIGNERS.find(config.designer.name).deducts(config.designer)
    how = "deducted from the last phase" if deducts else "counted apart"
    return "\n".join(
        (
            f"{names}designer={config.designer.name} "
            f"llm={config.llm.name} {by} seed={config.seed} design_set={design_set(config)}",
            f"training    {config.cycles} cycles of {schedule.designed_steps:,} steps {where} and "
            f"{schedule.original_steps:,} in the original{together}, then {schedule.final_steps:,} in the original: "
            f"{training_steps(config):,} steps",
            f"evaluation  in the original, counted apart: {feedback:,} episodes after each cycle, "
            f"{evaluation.report_episodes:,} at the end for the score"
            + "".join(f", as many at {step:,} steps" for step in sorted(evaluation.report_at)),
            *([f"phases      {short}"] if short else []),
            *([] if saves_games else ["games       begin anew in each phase: this family can't save running ones"]),
            *([f"validation  {how}: {steps:,} training steps and {episodes:,} episodes"] if episodes else []),
            f"LLM calls   {llm}",
            f"machine     {', '.join(f'{key} {value}' for key, value in chosen.items())}",
            "time        not known"
            if speed is None
            else f"time        about {duration(expected_seconds(config, speed))}: a fresh agent has just trained at "
            f"{speed.training:,.0f} steps/s",
        )
    )
