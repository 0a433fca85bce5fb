"""The loop of the paper's figure: design, train in the designs, train in the original, evaluate, feed back.

`run` is the loop. Below it stand its phases, each a few lines around designers/, learners/ and the session, which
knows what is finished and where a resumed run goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from envgen_exp import seeding
from envgen_exp.config import Mixture, RunConfig, Verbosity
from envgen_exp.designers import Feedback, Proposal
from envgen_exp.errors import MemoryFullError, RunFolderError
from envgen_exp.families.design import Design
from envgen_exp.guard.reading import understood
from envgen_exp.guard.writing import write_json
from envgen_exp.learners.learner import Training
from envgen_exp.learners.skills import SkillReport
from envgen_exp.llm.client import make_client
from envgen_exp.llm.source import Writing
from envgen_exp.run import plan
from envgen_exp.run.evaluations import Evaluations
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.paused import Paused
from envgen_exp.run.pictures import seen_in_pixels, write_pictures
from envgen_exp.run.preparation import Prepared, open_folder, prepare, tell_messages, tell_plan
from envgen_exp.run.session import Session
from envgen_exp.run.stopping import Stopped, stoppable
from envgen_exp.run.stored import resume_command
from envgen_exp.run.summary import Episodes
from envgen_exp.run.window import Window
from envgen_exp.seeding import WorldSet
from envgen_exp.tracking.answer import AnswerProgress
from envgen_exp.tracking.metrics import episode_values

WINDOW_STEPS = 10_000
"""Training-episode statistics are logged once for the episodes that end within so many steps."""

Inside = Mapping[str, Any] | None
"""State of a phase that a checkpoint interrupted."""


class Views(Protocol):
    """What is made of a run for people to look at."""

    def page(self, folder: Path) -> object:
        """Write the page of the run in a folder, finished or not."""

    def table(self, folder: Path) -> None:
        """Print what the finished run in a folder came to."""


def run(config: RunConfig, argv: Sequence[str], views: Views, part: plan.Part = plan.Part.whole) -> int:
    """Do the whole run, or its first part, or what is left of that, and return the exit status. Raises EnvGenError.

    `argv` is what was typed, for the command that repeats the run.
    """
    prepared = prepare(config)
    if config.resume is None and (config.verbosity is not Verbosity.quiet or config.dry_run):
        for lines in tell_plan(prepared):
            print(lines, flush=True)
        if part is not plan.Part.whole:
            print(f"now         no more than {part.value}", flush=True)
    if config.dry_run:
        print(tell_messages(prepared))
        return 0
    with stoppable() as stop:
        path = Path(config.resume) if config.resume else None

        stop.emergency = lambda why: tell_stopped(why, path, config)
        try:
            with open_folder(config, prepared.chosen, argv) as folder:
                path = folder.path
                with Run(prepared, folder, views) as this:
                    stop.emergency = this.stopped
                    return _walk(this, part)
        except Stopped as stopped:  # while it was being opened
            tell_stopped(str(stopped), path, config)
            return stopped.exit_status


def tell_stopped(why: str, path: Path | None, config: RunConfig) -> None:
    """Say how to go on with a run that has a folder by now."""
    if path is not None:
        print(f"stopped by {why}; to go on:\n{resume_command(path, config.llm)}", flush=True)


def _walk(this: Run, part: plan.Part) -> int:
    """All phases that are left, or the first ones; the exit status."""
    config, path = this.config, this.folder.path
    try:
        if config.resume is not None and not this.session.finished:
            this.views.page(path)
        if part is plan.Part.whole:
            loop(this, plan.cycles(config))
        else:
            begin(this, part)
    except Stopped as stopped:
        this.stopped(str(stopped))
        with contextlib.suppress(RunFolderError):
            this.close()
        return stopped.exit_status
    except Exception as error:
        # What went wrong may be the disk: then the last checkpoint that was written has to do.
        with contextlib.suppress(RunFolderError):
            this.session.save_snapshot()
        with contextlib.suppress(RunFolderError):
            this.close()
        print(f"to go on:\n{resume_command(path, config.llm)}", flush=True)
        if is_out_of_memory(error):
            raise MemoryFullError(
                f"no memory left in the phase {this.session.current.name}: {this.learner.sparing}"
            ) from error
        raise
    return 0


def loop(this: Run, cycles: int) -> None:
    """The paper's figure."""
    feedback = None
    for cycle in range(1, cycles + 1):
        proposal = this.design(cycle, feedback)
        this.train_cycle(proposal.designs)
        feedback = this.evaluate(cycle, proposal)
    if cycles:
        this.train([None])
    this.report()


def begin(this: Run, part: plan.Part) -> None:
    """The first phases of the same figure, and a page of what they gave."""
    proposal = this.design(1, None)
    if part is plan.Part.trained:
        this.train(proposal.designs)
    this.close()
    this.views.page(this.folder.path)
    if this.config.verbosity is not Verbosity.quiet and not this.session.finished:
        print(f"{part.value}: done; to go on:\n{resume_command(this.folder.path, this.config.llm)}", flush=True)


class Run:
    """What the phases of one run share: family, learner, designer, and the session that walks the phases."""

    def __init__(self, prepared: Prepared, folder: RunFolder, views: Views) -> None:
        self.views = views
        self.prepared = prepared
        self.config = config = prepared.config
        self.family = prepared.family
        self.learner = prepared.learner
        self.folder = folder
        self.feedback: list[SkillReport] = []
        """The feedback evaluations so far."""
        self.trained: list[tuple[Design | None, ...]] = []
        """The designs of each cycle so far."""
        self._answer: AnswerProgress | None = None
        self.client = prepared.client
        llm, threads = self.learner.llm(config), config.num_threads
        self.client.open(
            make_client(llm, folder.llm, self.family, run=folder.path.name, threads=threads, tell=self._writing)
        )
        self.window = Window()
        self.paused = Paused()
        parts = {
            "learner": self.learner,
            "designer": prepared.designer,
            "window": self.window,
            "paused": self.paused,
        }
        self.session = Session(config, folder, parts, saves_games=prepared.saves_games)
        self.evaluations = Evaluations(config, self.family, self.learner, self.session)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stopped(self, why: str) -> None:
        """Save what there is, and say how to go on; also called from the thread that watches for signals."""
        try:
            self.session.save_snapshot()
        except RunFolderError as error:
            self.session.progress.message(f"the last checkpoint that was written has to do: {error}")
        self.session.progress.close()
        tell_stopped(why, self.folder.path, self.config)

    def close(self) -> None:
        """Close the logs and the display, and end a model that runs here."""
        self.client.rest()
        self.session.close()

    # The phases, in the order of a cycle

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """Ask the designer for the cycle's designs."""
        session, designer = self.session, self.prepared.designer
        assert designer is not None, "a cycle needs a designer"

        def work(planned: plan.PlannedPhase, inside: Inside) -> dict[str, Any]:
            session.progress.phase(planned.name, 0, cycle)
            self.prepared.trials.begin(session, inside)
            proposal = designer.design(cycle, feedback)
            self.client.rest()
            for note in proposal.notes:
                session.progress.message(f"cycle {cycle}, designs: {note}")
            for number, design in enumerate(proposal.designs, start=1):
                session.progress.detail(f"cycle {cycle}, design {number}: {design or 'the original'}")
            totals = self.client.totals()
            session.log(
                {
                    "llm/calls": totals.calls,
                    "llm/prompt_tokens": totals.prompt_tokens,
                    "llm/completion_tokens": totals.completion_tokens,
                    "llm/cost_dollars": totals.cost if totals.cost_known else None,
                    "designs/repaired": len(proposal.notes),
                    "steps/validation": session.steps["validation"],
                }
            )
            return {"cycle": cycle, "proposal": proposal.to_json()}

        result = session.phase(work)
        with understood(self.folder.phases):
            proposal = Proposal.from_json(result["proposal"], self.family.design_model)
        if self.prepared.asks_llm:
            totals = self.client.totals()
            dollars = totals.cost if totals.cost_known else None
            session.progress.update(0, **{"LLM calls": totals.calls, "dollars": dollars})
        self._draw(f"cycle{cycle}-design", proposal.designs)
        return proposal

    def train_cycle(self, designs: Sequence[Design | None]) -> None:
        """Train in the cycle's designs and in the original: one after the other, or in one batch by ratio."""
        if self.config.schedule.mixture is Mixture.alternate:
            self.train(designs)
            self.train([None])
        else:
            designed = plan.designed_slots(self.config)
            slots = [designs[slot % len(designs)] for slot in range(designed)]
            self.train([*slots, *[None] * (self.learner.slots(self.config) - designed)])

    def train(self, designs: Sequence[Design | None]) -> None:
        """Train in `designs` side by side, slots taking them in turn; the design None is the original."""
        self.session.phase(lambda planned, inside: self._train(planned, inside, designs))

    def evaluate(self, cycle: int, proposal: Proposal) -> Feedback:
        """Play the original without learning."""
        result = self.session.phase(lambda planned, _: self.evaluations.feedback(planned))
        with understood(self.folder.phases):
            report = SkillReport.from_json(result["skills"])
        earlier, self.feedback = self.feedback, [*self.feedback, report]
        self.trained.append(proposal.designs)
        rates = report.mean_and_sd()
        self.session.progress.skills(cycle, report.success_rates(), sum(report.episodes))
        return Feedback(
            cycle=cycle,
            designs=proposal.designs,
            mean={skill: mean for skill, (mean, _) in rates.items()},
            sd={skill: sd for skill, (_, sd) in rates.items()},
            episodes=sum(report.episodes),
            steps_left=self.session.steps_left(),
            history=tuple(one.success_rates() for one in earlier),
            taught=self.evaluations.taught(cycle),
            trained=tuple(self.trained),
            ended=self.evaluations.ended(cycle),
        )

    def report(self) -> None:
        """The report evaluation, which carries the score, and the table at the end."""
        self.session.phase(lambda planned, _: self.evaluations.report(planned))
        kept = {"steps": self.session.steps, "seconds": self.session.seconds, "updates": self.learner.updates}
        write_json(self.folder.summary, kept)
        self.close()
        self.views.page(self.folder.path)
        self.views.table(self.folder.path)

    # What one looks at, which never ends a run

    def _draw(self, phase: str, designs: Sequence[Design | None]) -> None:
        """Keep pictures of the designs' worlds, once."""
        if any(self.folder.pictures.glob(f"{phase}-*")) or all(design is None for design in designs):
            return
        with self.session.visual():
            try:
                write_pictures(seen_in_pixels(self.config.env), designs, self.folder.pictures, phase)
            except Exception as error:  # noqa: BLE001
                self.session.progress.message(f"no pictures of {phase}: {' '.join(str(error).split())[:300]}")

    # What they do

    def _train(self, planned: plan.PlannedPhase, inside: Inside, designs: Sequence[Design | None]) -> dict[str, Any]:
        config, session, learner, designer = self.config, self.session, self.learner, self.prepared.designer
        slots = [designs[slot % len(designs)] for slot in range(learner.slots(config))]
        assert designer is not None, "training needs a designer"
        if designer.deducts(config.designer) and not session.steps_left():
            planned = session.current = self._deducted(planned, len(slots))
        if planned.steps:
            seeds = seeding.integers(config.seed, "worlds", planned.name, count=len(slots))
            curriculum = designer.curriculum([slot for slot, design in enumerate(slots) if design is not None])
            with contextlib.closing(
                learner.train(slots, seeds, WorldSet.TRAIN, planned.steps, curriculum=curriculum)
            ) as training:
                if inside is None:
                    training.take_up(self.paused.take(slots))
                else:
                    training.load_state_dict(inside)
                self._learn(training, [kind_of(design) for design in slots])
                if session.saves_games and session.steps_left():
                    self.paused.leave(slots, training.leave())
        episodes = len(Episodes.of(session.finished_episodes(planned.name), len(self.family.skills)))
        kind = "+".join(sorted({kind_of(design) for design in slots}))
        return {"cycle": planned.cycle, "kind": kind, "steps": planned.steps, "episodes": episodes}

    def _deducted(self, planned: plan.PlannedPhase, slots: int) -> plan.PlannedPhase:
        """The last training phase, less what ranking designs has taken, rounded up so that slots can share the rest."""
        untrained = -(-self.session.steps["validation"] // slots) * slots
        if untrained > planned.steps:
            self.session.progress.message(
                f"{planned.name}: of {untrained:,} untrained steps {planned.steps:,} deducted"
            )
        return dataclasses.replace(planned, steps=max(planned.steps - untrained, 0))

    def _learn(self, training: Training, kind_of_slot: Sequence[str]) -> None:
        """Train to the end of the phase, every step counted for the kind of its slot."""
        session, planned = self.session, self.session.current
        kinds = Counter(kind_of_slot)
        session.progress.phase(planned.name, planned.steps, planned.cycle, done=training.steps_done)
        for progress in training:
            before = session.trained
            steps = progress.steps // len(kind_of_slot)
            for kind, slots in kinds.items():
                session.steps[kind] += steps * slots
            session.episodes(progress.episodes, self.paused.count(planned.name, steps, progress.episodes))
            self.window.add(progress.episodes, progress.steps)
            values: dict[str, Any] = dict(progress.metrics)
            values |= {f"steps/{kind}": session.steps[kind] for kind in kinds}
            values["updates"] = self.learner.updates
            if self.window.steps >= WINDOW_STEPS or training.steps_done == planned.steps:
                ended = self.window.take()
                for kind in kinds:
                    ours = [record for record in ended if kind_of_slot[record.slot] == kind]
                    values |= episode_values(kind, self.family.skills, ours)
            session.log(values, progress.readings)
            shown = next((values[f"return/{kind}"] for kind in kinds if f"return/{kind}" in values), None)
            session.progress.update(training.steps_done, episode_return=shown)
            for step in self.config.evaluation.report_at:
                if before < step <= session.trained:
                    self.evaluations.midway(step)
                    session.progress.phase(planned.name, planned.steps, planned.cycle, done=training.steps_done)
            if training.steps_done < planned.steps:
                session.boundary(training.state_dict)

    def _writing(self, now: Writing) -> None:
        """Show how a language model's answer grows."""
        if self._answer is None:
            self._answer = AnswerProgress(self.session.progress)
        self._answer(self.session.current.name, self.session.current.cycle, now)


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, torch or its allocator on the CPU, which says so only in words, found no memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def kind_of(design: Design | None) -> str:
    """Which steps a slot with this design counts as."""
    return "original" if design is None else "designed"
