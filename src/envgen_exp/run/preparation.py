"""What comes before the first phase: refuse what can't run, say the plan, open the folder.

Until the folder is opened nothing is written.
"""

from __future__ import annotations

import contextlib
import functools
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from envgen_exp.config import Mixture, RunConfig, design_set
from envgen_exp.designers import DESIGNERS, Designer, Means, make_designer
from envgen_exp.errors import ConfigError
from envgen_exp.families import make_family
from envgen_exp.families.family import Family, Playable
from envgen_exp.learners import LEARNERS, traits
from envgen_exp.learners.learner import Learner
from envgen_exp.llm.client import LateClient
from envgen_exp.llm.client import check_ready as check_llm
from envgen_exp.llm.prices import Expected, count_tokens, expected_cost
from envgen_exp.run import clone, plan
from envgen_exp.run.folder import RunFolder, check_new
from envgen_exp.run.record import RunRecord
from envgen_exp.run.trial import Trials
from envgen_exp.seeding import WorldSet
from envgen_exp.tracking.wandb import check_ready as check_tracker


@dataclass(frozen=True)
class Prepared:
    """A run that can start."""

    config: RunConfig
    family: Family
    client: LateClient
    learner: Learner
    trials: Trials
    designer: Designer | None
    """None for a learner that does not train."""
    saves_games: bool
    """Whether the family's running games can be saved, so that they wait between phases."""

    @property
    def chosen(self) -> dict[str, Any]:
        """What the config left open and this machine decided."""
        return {"engine": self.family.engine, **self.learner.describe()}

    @property
    def uses_llm(self) -> bool:
        """Whether what stands behind `llm` is asked, by the designer or by the learner."""
        return traits(self.config.agent.name).asks or (self.designer is not None and self.designer.uses_llm)

    @property
    def asks_llm(self) -> bool:
        """Whether a real language model is asked."""
        return self.uses_llm and self.config.llm.kind.is_model


def prepare(config: RunConfig) -> Prepared:
    """Make what a run needs; EnvGenError for whatever would fail later: steps, key, tracker, family, device."""
    if config.folder is not None and config.resume is None:
        check_new(Path(config.folder))
    kind = LEARNERS.find(config.agent.name)
    trains = traits(config.agent.name).trains
    if trains and config.schedule.mixture is Mixture.blend:
        plan.designed_slots(config)
    if trains:
        plan.check_report_at(config)
    for planned in plan.phases(config):
        if planned.steps:
            try:
                kind.check_steps(planned.steps, config)
            except ConfigError as error:
                raise ConfigError(f"{planned.key}: {error}") from error
    if not config.dry_run:  # which publishes nothing
        check_tracker(config.tracker)
    family = make_family(config.env)
    check_needs(family, config.agent.name)
    llm = kind.llm(config)
    client = LateClient()
    learner = kind.create(config, family, client, plan.training_steps(config))
    trials = Trials(config, learner, client)
    means = Means(family, client, config.cycles, design_set(config), config.seed, trials)
    designer = make_designer(config.designer, means) if trains else None
    prepared = Prepared(config, family, client, learner, trials, designer, saves_games=not trains or saves(family))
    if designer is not None:
        check_designer(config, designer)
    if prepared.uses_llm and not config.dry_run:  # which asks nobody
        check_llm(llm)
    return prepared


def saves(family: Family) -> bool:
    """Whether running games of a family can be saved; those that nobody steps are their learner's to keep."""
    if not isinstance(family, Playable):
        return True
    with contextlib.closing(family.vector([None], [0], WorldSet.VALIDATION)) as env:
        return hasattr(env, "get_state") and hasattr(env, "set_state")


def check_needs(family: Family, name: str) -> None:
    """ConfigError where the learner `name` can't do with a family."""
    needs = LEARNERS.find(name).needs
    if not isinstance(family, needs):
        what = " ".join((needs.__doc__ or needs.__name__).split("\n")[0].split()).rstrip(".")
        ours = filter(LEARNERS.is_built_in, LEARNERS.names)
        fit = [other for other in ours if isinstance(family, LEARNERS.find(other).needs)]
        raise ConfigError(
            f"agent={name}: needs a family with more than env={family.name} has: {what}"
            + (f"; allowed for it: agent={' | '.join(fit)}" if fit else "")
        )


def check_designer(config: RunConfig, designer: Designer) -> None:
    """Refuse a designer that can't do its part in this run."""
    name = config.designer.name
    if config.arm in DESIGNERS.names and config.arm != name:
        raise ConfigError(f"arm={config.arm}: the designer is {name}; allowed is arm={name}, null or another word")
    if designer.redraws and config.llm.kind.is_model and config.llm.temperature == 0:
        raise ConfigError(
            f"designer={name} asks the same each cycle, and llm.temperature=0 has one answer to it; "
            f"allowed is a temperature above 0, e.g. arm={name} or llm.temperature=1"
        )


def tell_plan(prepared: Prepared, *, measured: bool = True) -> Iterator[str]:
    """The plan in words, and then, where it is `measured`, the line that takes a measurement of speed."""
    expected = expected_calls(prepared.config, prepared.designer)
    describe = functools.partial(
        plan.describe,
        prepared.config,
        chosen=prepared.chosen,
        expected=expected,
        own=prepared.learner.plan(),
        saves_games=prepared.saves_games,
    )
    known, _, time = (whole := describe(speed=None)).rpartition("\n")
    if not measured or not time.startswith("time "):
        yield whole
        return
    yield known
    yield describe(speed=prepared.learner.speed()).rpartition("\n")[2]


def expected_calls(config: RunConfig, designer: Designer | None) -> Expected | None:
    """What a language model will be asked for designs; None where none is asked."""
    if designer is None or not designer.uses_llm or not config.llm.kind.is_model:
        return None
    first, *later = designer.preview()
    calls = designer.num_calls(config.cycles)
    return expected_cost(config.llm, first, later[0] if later else None, designer.example_reply(), calls)


def tell_messages(prepared: Prepared) -> str:
    """What would be sent: the first cycle's messages and what a later one adds, or the learner's own questions."""
    designed = prepared.designer.preview() if prepared.designer else []
    chats = [
        (f"cycle {cycle}{', rates and steps left not known yet' if cycle > 1 else ''}", chat)
        for cycle, chat in enumerate(designed, start=1)
    ]
    lines = []
    for title, chat in [*chats, *prepared.learner.preview()]:
        for message in chat:
            lines += ["", f"--- {title}, {message['role']}, about {count_tokens([message]):,} tokens"]
            lines += [message["content"].rstrip()]
    return "\n".join(lines)


def open_folder(config: RunConfig, chosen: Mapping[str, Any], argv: Sequence[str]) -> RunFolder:
    """A new run's folder, or the one to resume; locked. `chosen` is what the config left open."""
    if config.resume is None:
        command = shlex.join(["python", "run.py", *argv])
        return RunFolder.create(config, command=command, versions=versions(), chosen=chosen, origin=origin())
    record = RunRecord(Path(config.resume))
    record.check_phases()
    folder = RunFolder.reopen(config)
    stored = record.document
    then = {**stored["versions"], **stored["chosen"], **stored.get("origin", {})}
    now = {**versions(), **chosen, **origin()}
    for key, value in now.items():
        if key in then and then[key] != value:
            print(f"resume: {key} was {then.get(key)}, is {value}: numbers may differ from an unbroken run's")
    return folder


def versions() -> dict[str, str]:
    """What a result can depend on."""
    packages = ("envgen-exp", "torch", "numpy", "crafter", "opensimplex", "pillow")
    return {"python": platform.python_version(), "machine": platform.machine()} | {
        name: metadata.version(name) for name in packages
    }


def _processor() -> str:
    """The processor's name, on which the last bits of a result depend."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "not known"


def origin() -> dict[str, str]:
    """The processor, the commit of the clone that runs, where it is one, and whether tracked files differ from it."""
    return {"processor": _processor(), **clone.head()}
