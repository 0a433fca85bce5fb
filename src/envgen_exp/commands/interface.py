"""What `import envgen_exp` offers in scripts and notebooks: compose a run, do it, and read it as arrays and tables.

The command line does the same by the same functions.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envgen_exp.commands import searchpath, sweep
from envgen_exp.commands.compose import compose_run
from envgen_exp.config import Device, RunConfig
from envgen_exp.errors import ConfigError, DesignError, RunFolderError
from envgen_exp.families import make_family
from envgen_exp.families.design import design_key
from envgen_exp.families.keywords import DesignLike, check_count, to_design
from envgen_exp.guard.reading import understood
from envgen_exp.learners import traits
from envgen_exp.run.folder import new_path
from envgen_exp.run.plan import Part
from envgen_exp.run.record import RunRecord
from envgen_exp.run.stored import quoted
from envgen_exp.run.summary import RunSummary

Table = dict[str, NDArray[Any]]
"""Columns of equal length by name, as `pandas.DataFrame` takes them."""


class Curve(NamedTuple):
    """A metric over a run: `plot(*curve)` draws it."""

    steps: NDArray[np.int64]
    """(points,): training steps."""
    values: NDArray[np.float64]
    """(points,); NaN between two stretches of training between which it was not measured."""


@dataclass(frozen=True)
class Composed:
    """A checked run that has not begun."""

    overrides: tuple[str, ...]
    """What was typed for it."""
    config: RunConfig
    """All of its settings, frozen; other ones are composed anew."""

    def plan(self) -> str:
        """Steps, evaluations, expected calls and cost, as a run prints them first; nothing is run or written.

        Raises EnvGenError for what can't run here.
        """
        from envgen_exp.run.preparation import prepare, tell_plan  # torch comes with it

        prepared = prepare(dataclasses.replace(self.config, dry_run=True))
        return "\n".join(tell_plan(prepared, measured=False))

    def run(self) -> LoadedRun:
        """Design, train, evaluate and feed back to the end, in this process and its main thread, and read what came.

        It prints what `python run.py` prints; verbosity=quiet is quieter. Raises EnvGenError for what fails, and
        KeyboardInterrupt where a signal stopped it: compose("resume=FOLDER") goes on.
        """
        return self._done(Part.whole)

    def design(self) -> LoadedRun:
        """The first cycle's designs, by the run's designer, and no training: what `run` does first, in its folder.

        They are in `designs`; compose("resume=FOLDER").run() trains in them, and pays for no call twice. Raises as
        `run`, and ConfigError where nobody designs.
        """
        self._check_trains("design")
        return self._done(Part.designed)

    def train(self, designs: Sequence[DesignLike], *, steps: int) -> LoadedRun:
        """Train a new agent for `steps` steps in these designs side by side, and nothing before or after it.

        It is the first phase of a run whose designs are given, with this one's agent and other settings: its
        `evaluate` plays, `export` saves, and compose("resume=FOLDER").run() adds the two evaluations. [None] trains
        in the original. Raises as `run`, and DesignError for what is no design of the family; all of it before a step.
        """
        self._check_trains("train")
        if self.config.resume is not None:
            raise ConfigError(f"resume={self.config.resume}: has its designs; train() begins a run of its own")
        family = make_family(self.config.env)
        given = [to_design(family, design) for design in designs]
        found = [design.model_dump(mode="json", exclude_defaults=True) for design in given if design is not None]
        if not given or 0 < len(found) < len(given):
            raise DesignError("train: needs designs, or the original alone: [None]")
        own = {
            "arm": "human" if found else "original",
            "designer.num_designs": len(given),
            **({"designer.sets": _typed([found])} if found else {}),
            "cycles": 1,
            "schedule.mixture": "alternate",
            "schedule.designed_steps": check_count("steps", steps),
            "schedule.original_steps": 0,
            "schedule.final_steps": 0,
        }
        typed = {word.partition("=")[0]: word for word in self.overrides}
        kept = [word for key, word in typed.items() if key not in own and key.split(".")[0] != "designer"]
        words = (*kept, *(f"{key}={value}" for key, value in own.items()))
        return Composed(words, compose_run(words))._done(Part.trained)

    def _check_trains(self, what: str) -> None:
        if not traits(self.config.agent.name).trains:
            raise ConfigError(f"{what}: agent={self.config.agent.name} trains nothing, and nobody designs for it")

    def _done(self, part: Part) -> LoadedRun:
        config = self.config
        if config.dry_run:
            raise ConfigError("dry_run=true: does no run; plan() has what it would print")
        folder = Path(config.resume or config.folder or new_path(config))
        if config.resume is None:
            config = dataclasses.replace(config, folder=str(folder))
        if sweep.run_once(config, self.overrides, part):
            raise KeyboardInterrupt(f"stopped; compose('resume={folder}').run() goes on")
        return load(folder)


def compose(*overrides: str, config_dir: str | Path | None = None) -> Composed:
    """A run of these overrides, as they are typed after `python run.py`, e.g. compose("env=heist", "seed=3").

    `config_dir` is a config folder of one's own, beside conf/. Raises ConfigError with one line for what is wrong.
    """
    own = () if config_dir is None else (searchpath.override([str(config_dir)]),)
    words = (*own, *overrides)
    return Composed(words, compose_run(words))


def load(folder: str | Path) -> LoadedRun:
    """A run's folder, finished or not; RunFolderError where it is none of this version."""
    return LoadedRun(RunRecord(Path(folder)))


class LoadedRun:
    """What a run's folder holds, read when it is asked for. Raises RunFolderError for a damaged one."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        """The reader of the folder, which tables and pages use too."""

    def __repr__(self) -> str:
        return f"<run in {self.folder}, {'finished' if self.finished else 'not finished'}>"

    @property
    def folder(self) -> Path:
        return self.record.folder

    @property
    def config(self) -> RunConfig:
        """The config that it was made with."""
        return self.record.config

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.record.finished

    @property
    def summary(self) -> RunSummary:
        """What its table at the end shows; RunFolderError where it is not finished."""
        found = self.record.summary
        if found is None:
            raise RunFolderError(f"{self.folder}: not finished; to go on: {self.record.resume_command}")
        return found

    @property
    def score(self) -> float:
        """Percent, of the report evaluation; RunFolderError where it is not finished."""
        return self.summary.score

    @property
    def score_interval(self) -> tuple[float, float]:
        """The 95 % interval of the score, percent."""
        return self.summary.score_low, self.summary.score_high

    @property
    def skills(self) -> dict[str, float]:
        """The share of the report evaluation's episodes in which each skill was shown, in [0, 1]."""
        return {skill: self.summary.report.rate(skill) for skill in self.summary.skills}

    @functools.cached_property
    def curves(self) -> Mapping[str, Curve]:
        """Every metric that was logged, by its name in docs/reference.md, e.g. "return/original"."""
        logs = ((self.record.rows, False), (self.record.timings, True))
        with understood(self.folder):
            names = {name: clock for rows, clock in logs for row in rows for name in row}
            found = {}
            for name in sorted(names.keys() - {"step", "cycle", "phase"}):
                points = self.record.curve(name, clock=names[name])
                values = [np.nan if value is None else value for _, value in points]
                found[name] = Curve(np.array([step for step, _ in points], np.int64), np.array(values, np.float64))
            return found

    @property
    def designs(self) -> list[dict[str, Any]]:
        """A row for each design of each cycle.

        | key | meaning |
        |---|---|
        | cycle, number | both from 1 |
        | design | its name in `episodes`: 'original' for the stock game, which has none of what follows |
        | settings | what `gymnasium.make(..., design=settings)` takes |
        | purpose, targets | what the designer said of it |
        | playable, impossible | what sampling its worlds found, and the skills that none of them allowed |
        """
        rows = []
        for cycle, proposal in self.record.proposals.items():
            for number, design in enumerate(proposal.designs, start=1):
                row: dict[str, Any] = {"cycle": cycle, "number": number, "design": design_key(design)}
                check = proposal.checks[number - 1] if proposal.checks else None
                if design is not None:
                    row |= {"settings": design.settings(), "purpose": design.purpose, "targets": design.targets}
                if check is not None:
                    row |= {"playable": check.playable, "impossible": check.impossible}
                rows.append(row)
        return rows

    @property
    def episodes(self) -> Table:
        """Every finished episode, in the order in which they ended.

        | column | dtype | meaning |
        |---|---|---|
        | phase | str | e.g. 'cycle1-train-original', 'report-evaluation' |
        | design | str | 'original', or a name of `designs` |
        | return | float64 | sum of rewards |
        | length | int64 | steps |
        | truncated | bool | ended by the time limit |
        | world_seed | int64 | the world's |
        | skill/NAME | int64 | how often the skill was shown |
        """
        with understood(self.folder):
            rows = [row for phase in self.record.episodes.values() for row in phase]
            return {"phase": np.array([row["phase"] for row in rows], str), **_table(rows, self.record.skills)}

    def evaluate(self, design: DesignLike = None, *, episodes: int = 20, seed: int = 0, device: str = "auto") -> Table:
        """Play whole episodes with its agent, of a design, or of the original for None.

        The same as `python -m envgen_exp play`: in worlds of the validation set, so that no score is spent. The table
        has the columns of `episodes`, without the phase. Raises EnvGenError where there is no agent that can play here.
        """
        from envgen_exp.commands.play import Player, watch  # torch comes with it

        if device not in Device.__members__:
            raise ConfigError(f"device: {device!r}, allowed are {' | '.join(Device.__members__)}")
        player = Player.open(self.folder, Device[device])
        chosen = to_design(player.family, design)
        records, _ = watch(player, chosen, check_count("episodes", episodes), check_count("seed", seed, 0), 0)
        return _table([dataclasses.asdict(record) for record in records], player.family.skills)

    def export(self, folder: str | Path) -> None:
        """Write its agent into a folder, to be used and shared without this package: `play --export`.

        Raises EnvGenError where there is none, or it can't be had without it.
        """
        from envgen_exp.commands.play import Player, export  # torch comes with it

        export(Player.open(self.folder, Device.cpu), Path(folder))


def _typed(value: Any) -> str:
    """Plain values as an override writes them."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_typed(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_typed, value)) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def _table(rows: Iterable[Mapping[str, Any]], skills: Sequence[str]) -> Table:
    rows = list(rows)
    shown = np.array([row["skills"] for row in rows], np.int64).reshape(len(rows), len(skills))
    return {
        "design": np.array([row["design"] for row in rows], str),
        "return": np.array([row["episode_return"] for row in rows], np.float64),
        "length": np.array([row["length"] for row in rows], np.int64),
        "truncated": np.array([row["truncated"] for row in rows], bool),
        "world_seed": np.array([row["world_seed"] for row in rows], np.int64),
        **{f"skill/{skill}": shown[:, index] for index, skill in enumerate(skills)},
    }
