"""Gathers the runs of a sweep's folder into arms, each the runs of one treatment over seeds and design sets.

An arm is everything of a config but its seed and its design set, in one version of the software. What can't be
compared stands apart, with a note that says why; an unfinished run is named and counts in no number; a folder that is
not whole is passed over with the reason. Nothing is written here.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envgen_exp.config import RunConfig
from envgen_exp.errors import ConfigError, EnvGenError, RunFolderError
from envgen_exp.guard.reading import understood
from envgen_exp.reporting.statistics import Groups
from envgen_exp.reporting.study.curves import curve, gaps
from envgen_exp.run.identity import LATER, NOT_IDENTITY, identity_of
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import RunSummary

MAIN = RunConfig.main_contrast
"""The main contrast, fixed before any run: is it what the feedback says? It is tested alone, at 5 %.

A study may have fixed another one in its config: then this one is of the family."""

RIVALS = (
    *("original", "fixed", "resample", "random", "generator", "gifts_only", "terrain_only"),
    *("easy_to_hard", "adversarial", "plr", "archive", "sfl"),
)
"""What else `adaptive` is compared with, fixed before any run: one family, of which a study has those that it runs."""

CONTRASTS = (MAIN, *(f"adaptive - {rival}" for rival in RIVALS))
"""Differences that every study with these arms reports."""

_DRAW_NOTHING = ("original", "generator", "human")
"""Designers whose runs are the same whatever the design set."""

_NEEDED = (
    *("seed", "cycles", "designer.name", "env.name", "llm.name", "llm.kind", "evaluation.report_episodes"),
    *(f"schedule.{kind}_steps" for kind in ("designed", "original", "final")),
)
"""Keys without which a config is none of this program's."""

NOT_OF_THE_ARM = (*NOT_IDENTITY, "seed", "arm", "design_set", "designer.told")
"""What may differ between the runs of one arm; `designer.told` is what a placebo's other run happened to do."""


class FoundRun(RunRecord):
    """One run's folder, finished or not, as a study takes it."""

    @property
    def machine(self) -> dict[str, Any]:
        """Versions and what was chosen at start."""
        return {**self.document["versions"], **self.document["chosen"]}

    @property
    def trains(self) -> bool:
        """Whether an agent is trained."""
        return self.learner.trains

    @property
    def arm(self) -> str:
        """The treatment's name: what was typed as `arm`, else the designer, or the learner that has none."""
        return str(self.flat.get("arm") or self.flat["designer.name" if self.trains else "agent.name"])

    @property
    def label(self) -> str:
        """What a table calls the run's arm."""
        stand_in = " (not an LLM)" if self.flat["llm.kind"] == "offline" else ""
        llm = [f"{self.flat['llm.name']}{stand_in}"] if self.asks else []
        return ", ".join([self.arm, *llm, self.learner.label(self.flat), *self.diagnostic])

    @property
    def design_set(self) -> object:
        """Runs with the same one share what their designers draw; each has its own where nothing else is said."""
        found = self.flat.get("design_set")
        return self.flat["seed"] if found is None else found

    @property
    def experiment(self) -> str:
        """The experiment that the command names, or ''."""
        words = [word.partition("=") for word in str(self.document["command"]).split()]
        return next((value for key, _, value in reversed(words) if key.lstrip("+") == "experiment"), "")

    @functools.cached_property
    def treatment(self) -> dict[str, Any]:
        """What makes the arm: all of the config that can change a result, without seed and design set."""
        ignored = [*NOT_OF_THE_ARM, *self.learner.without_effect, *(() if self.asks else ("llm",))]
        if self.flat.get("design_set") is not None:
            ignored.append("llm.replay_from")  # a named set stands for the recording that it was read from
        return {
            key: value
            for key, value in self.flat.items()
            if (key, value) not in LATER.items()
            and not any(key == name or key.startswith(f"{name}.") for name in ignored)
        }

    @functools.cached_property
    def setting(self) -> dict[str, Any]:
        """What arms must have in common to be compared: the game, the agent, the evaluation, the budget."""
        ours = ("designer.", "schedule.", "llm.", "cycles")
        common = {key: value for key, value in self.treatment.items() if not key.startswith(ours)}
        return {**common, "training steps": self.training_steps}

    @property
    def windows(self) -> dict[str, list[float | None]]:
        """Its curve over training."""
        return self.trained[0]

    @property
    def gaps(self) -> dict[str, list[float]]:
        """By cycle success in its designs and in the original."""
        return self.trained[1]

    @functools.cached_property
    def trained(self) -> tuple[dict[str, list[float | None]], dict[str, list[float]]]:
        """Both, which a pack keeps. The episodes go: those of all runs of a study would take gigabytes."""
        found = curve(self, self.training_steps), gaps(self)
        del self.episodes
        return found

    @property
    def training_steps(self) -> int:
        """Environment steps of training that the config asks for."""
        if not self.trains:
            return 0
        designed, original, final = (self.flat[f"schedule.{k}_steps"] for k in ("designed", "original", "final"))
        return int(self.flat["cycles"] * (designed + original) + final)

    @property
    def report_episodes(self) -> int:
        """Episodes on which the score rests."""
        return int(self.flat[self.learner.report])


@dataclass(frozen=True)
class Arm:
    """The finished runs of one arm, in the order of their seeds."""

    label: str
    runs: tuple[FoundRun, ...]

    @property
    def name(self) -> str:
        """What contrasts call it."""
        return self.runs[0].arm

    @property
    def summaries(self) -> list[RunSummary]:
        """Of its runs."""
        return [run.summary for run in self.runs if run.summary is not None]

    def values(self, number: Callable[[RunSummary], float | None]) -> list[float]:
        """A number of each run's summary, where it has one."""
        found = map(number, self.summaries)
        return [value for value in found if value is not None]

    @functools.cached_property
    def sets(self) -> list[list[FoundRun]]:
        """The runs by design set; all in one where no two share a set, or where nothing is drawn."""
        found: dict[object, list[FoundRun]] = defaultdict(list)
        for run in self.runs:
            found[run.design_set].append(run)
        alone = all(len(runs) == 1 for runs in found.values())
        if alone or self.runs[0].flat["designer.name"] in _DRAW_NOTHING:
            return [list(self.runs)]
        return list(found.values())

    @property
    def one_set(self) -> bool:
        """Whether several runs share a single design set, so that nothing is known of other sets."""
        drawn = self.runs[0].flat["designer.name"] not in _DRAW_NOTHING
        return drawn and len(self.runs) > 1 and len({run.design_set for run in self.runs}) == 1

    def groups(self, number: Callable[[RunSummary], float | None]) -> Groups:
        """A number of each run by design set, for statistics; empty where no run has it."""
        found = [
            [v for v in (number(r.summary) for r in runs if r.summary is not None) if v is not None]
            for runs in self.sets
        ]
        return [group for group in found if group]

    def score_of(self, rates: Mapping[str, float]) -> float | None:
        """The family's score of success rates in [0, 1], in percent; None for a family that is not installed."""
        try:
            return self.runs[0].family.score(rates)
        except EnvGenError:
            return None


@dataclass(frozen=True)
class Study:
    """What a sweep's folder holds."""

    folder: Path
    arms: tuple[Arm, ...]
    diagnostics: tuple[Arm, ...]
    """Arms that explain a disagreement and stand in no table with others."""
    unfinished: tuple[FoundRun, ...]
    contrasts: tuple[tuple[str, str], ...]
    """Names of arms whose differences are reported."""
    mains: tuple[tuple[str, str], ...]
    """Of these the main one; several where runs of studies with different ones lie together."""
    notes: tuple[str, ...]
    """What a reader must know before comparing rows."""


def collect(folder: Path) -> Study:
    """Read all runs below a sweep's folder; RunFolderError where there is none."""
    found, passed_over = find_runs(folder)
    if not found:
        inside = sorted({file.parent.parent.name for file in folder.glob("*/*/config.yaml")})
        if inside:
            names = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "")
            raise RunFolderError(f"{folder} holds {len(inside)} sweeps ({names}): name one, e.g. {folder / inside[0]}")
        reason = f" ({passed_over[0]})" if passed_over else ""
        raise RunFolderError(f"{folder} is neither a run nor a sweep: no folder in it holds a run{reason}")
    return make_study(folder, found, passed_over)


def make_study(folder: Path, found: Sequence[FoundRun], passed_over: Sequence[str]) -> Study:
    """What these runs make; `folder` is where its tables go."""
    finished = [run for run in found if run.summary is not None]
    arms, repeats = make_arms(finished)
    usual = tuple(arm for arm in arms if not arm.runs[0].diagnostic)
    mains, contrasts, unread = _contrasts(found)
    return Study(
        folder=folder,
        arms=usual,
        diagnostics=tuple(arm for arm in arms if arm.runs[0].diagnostic),
        unfinished=tuple(run for run in found if run.summary is None),
        contrasts=contrasts,
        mains=mains,
        notes=(*_experiments(found), *_differences(usual), *repeats, *unread, *passed_over),
    )


def find_runs(folder: Path) -> tuple[list[FoundRun], list[str]]:
    """The runs below a folder, and a line for each that can't be used; RunFolderError where it is no folder."""
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is not a folder")
    found, passed_over = [], []
    for file in sorted(folder.glob("*/config.yaml")):
        try:
            run = read_run(file.parent)
            with understood(run.folder):
                check_identity(run)
        except EnvGenError as error:
            passed_over.append(f"passed over: {error}")
        else:
            found.append(run)
    return found, passed_over


def read_run(folder: Path) -> FoundRun:
    """One run's folder; RunFolderError where it is none, its files don't belong together or don't say what it found."""
    return checked_run(FoundRun(folder))


def checked_run(run: FoundRun) -> FoundRun:
    """A run of which all is read that tables need; RunFolderError as `read_run`."""
    folder = run.folder
    try:
        for key in _NEEDED:
            run.flat[key]
        run.learner.label(run.flat)
    except (KeyError, AttributeError, TypeError) as error:
        raise RunFolderError(f"{run.files.config} is not a run's config: it lacks {error}") from error
    except ConfigError as error:
        raise RunFolderError(f"{folder}: {error}") from error
    with understood(folder):
        run.phases, run.diagnostic, run.asks, run.summary  # noqa: B018 - read now, so that what is wrong is said here
    return run


def check_identity(run: FoundRun) -> None:
    """RunFolderError where a run's config is not what it ran with."""
    config, identity = run.document["config"], run.document["identity"]
    if identity not in (identity_of(config, all_of_asked=whole) for whole in (False, True)):
        raise RunFolderError(
            f"{run.folder}: its identity is not that of its config: edited, or made by another version"
        )


def make_arms(finished: Sequence[FoundRun]) -> tuple[tuple[Arm, ...], list[str]]:
    """The arms of finished runs, by label, and a line for each run that repeats another."""
    by_treatment: dict[str, list[FoundRun]] = defaultdict(list)
    for run in finished:
        by_treatment[json.dumps([run.treatment, versions_of(run)], sort_keys=True)].append(run)
    firsts: dict[str, list[FoundRun]] = defaultdict(list)
    for runs in by_treatment.values():
        firsts[runs[0].label].append(runs[0])
    arms, notes = [], []
    for runs in by_treatment.values():
        once: dict[tuple[Any, ...], FoundRun] = {}
        for run in runs:
            drawn = run.flat["designer.name"] not in _DRAW_NOTHING
            first = once.setdefault((run.flat["seed"], run.design_set if drawn else None), run)
            if first is not run:
                notes.append(f"{run.folder} repeats {first.folder} (same arm and seed): counted once")
        label = ", ".join([runs[0].label, *_distinction(runs[0], firsts[runs[0].label])])
        arms.append(Arm(label, tuple(sorted(once.values(), key=lambda run: run.flat["seed"]))))
    return tuple(sorted(arms, key=lambda arm: arm.label)), notes


def comparable(ours: FoundRun, theirs: FoundRun, *, any_model: bool = False) -> bool:
    """Whether two runs have the same game, agent, evaluation, budget and, where both ask one, language model."""
    same_model = not (ours.asks and theirs.asks) or all(
        ours.flat[key] == theirs.flat[key] for key in ("llm.name", "llm.kind", "llm.model")
    )
    return ours.setting == theirs.setting and (same_model or any_model)


def versions_of(run: FoundRun) -> dict[str, Any]:
    """Versions whose runs are never one arm; the Python and the machine change no game."""
    return {
        f"version of {key}": value
        for key, value in run.document["versions"].items()
        if key not in ("python", "machine")
    }


def _distinction(run: FoundRun, others: Iterable[FoundRun]) -> list[str]:
    """What tells an arm from those with the same label, as key=value."""
    mine = {**run.treatment, **versions_of(run)}
    keys = set()
    for other in others:
        theirs = {**other.treatment, **versions_of(other)}
        keys |= {key for key in {**theirs, **mine} if theirs.get(key) != mine.get(key)}
    return [f"{key}={mine.get(key)}" for key in sorted(keys)]


def _experiments(runs: Sequence[FoundRun]) -> list[str]:
    """A note where runs of several experiments lie in one folder."""
    counts = Counter(run.experiment or "none" for run in runs)
    if len(counts) == 1:
        return []
    told = ", ".join(f"{name} (runs: {count})" for name, count in sorted(counts.items()))
    return [f"several sweeps in one folder, experiment={told}: only arms with all else equal are compared"]


Pairs = tuple[tuple[str, str], ...]


def _contrasts(runs: Sequence[FoundRun]) -> tuple[Pairs, Pairs, list[str]]:
    """The main contrasts; all contrasts, those that the runs' configs name too; and a note for each that is none."""
    mains = [str(run.flat.get("main_contrast", MAIN)) for run in runs]
    named = [str(name) for run in runs for name in run.flat.get("contrasts") or ()]
    pairs, notes = {}, []
    for name in dict.fromkeys([*mains, *CONTRASTS, *named]):
        ours, _, theirs = name.partition(" - ")
        if ours.strip() and theirs.strip():
            pairs[name] = ours.strip(), theirs.strip()
        else:
            notes.append(f"contrasts: {name!r} is not written as 'arm - arm'")
    main = dict.fromkeys(pairs[name] for name in mains if name in pairs)
    return tuple(main), tuple(dict.fromkeys(pairs.values())), notes


def _differences(arms: Sequence[Arm]) -> list[str]:
    runs = [run for arm in arms for run in arm.runs]
    notes = []
    for name, values in (
        ("training steps a run", {f"{run.training_steps:,}" for run in runs}),
        ("episodes of the report evaluation", {f"{run.report_episodes:,}" for run in runs}),
        ("families", {run.flat["env.name"] for run in runs}),
    ):
        if len(values) > 1:
            notes.append(f"the rows differ in {name} ({', '.join(sorted(values))}): compare only what is equal")
    for arm in arms:
        if validation := max(arm.values(lambda s: s.steps.get("validation")), default=0):
            where = "taken off its training" if any(map(_deducts, arm.runs)) else "beyond the training budget"
            notes.append(f"{arm.label} took up to {validation:,.0f} validation steps {where}")
        if arm.one_set:
            notes.append(f"{arm.label}: its runs share one design set, its intervals hold for that set alone")
    keys = {key for run in runs for key in run.machine}
    for key in sorted(keys):
        # A language model that plays needs neither device nor network.
        values = {str(run.machine.get(key)) for run in runs if run.trains or key in run.machine}
        if len(values) > 1 and key not in ("network", "parameters"):
            notes.append(f"the runs differ in {key} ({', '.join(sorted(values))})")
    for run in runs:
        steps: Mapping[str, int] = run.summary.steps if run.summary else {}
        done = sum(steps.get(kind, 0) for kind in ("designed", "original"))
        # What is taken off is rounded up, so that slots can share the rest.
        untrained = steps.get("validation", 0)
        if done > run.training_steps - untrained if _deducts(run) else done != run.training_steps:
            notes.append(f"{run.folder} trained {done:,} steps where its config asks for {run.training_steps:,}")
    return notes


def _deducts(run: FoundRun) -> bool:
    return bool(run.flat.get("designer.deduct"))
