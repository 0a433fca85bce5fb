"""What comes before the first phase: refuse what can't run, say the plan, open the folder.

Until the folder is opened nothing is written.
"""

from __future__ import annotations

import os
import platform
import resource
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from envgen_exp.commands.compose import quoted, told_again
from envgen_exp.config import Device, Mixture, RunConfig, design_set
from envgen_exp.designers import DESIGNERS, Means, make_designer
from envgen_exp.errors import ConfigError
from envgen_exp.families import make_family
from envgen_exp.families.family import Family
from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.ppo.agent import DEEP
from envgen_exp.learners.ppo.allocator import keep_large_buffers
from envgen_exp.learners.ppo.ppo import Learner, check_steps
from envgen_exp.learners.ppo.rollout import rollout_bytes
from envgen_exp.llm.client import check_ready as check_llm
from envgen_exp.llm.prices import Expected, count_tokens, expected_cost
from envgen_exp.run import plan
from envgen_exp.run.folder import RunFolder, read_config
from envgen_exp.tracking.wandb import check_ready as check_tracker


@dataclass(frozen=True)
class Prepared:
    """A run that can start."""

    config: RunConfig
    family: Family
    learner: Learner

    @property
    def chosen(self) -> dict[str, Any]:
        """What the config left open and this machine decided."""
        return {"engine": self.family.engine, **self.learner.describe()}


def prepare(config: RunConfig) -> Prepared:
    """Make what a run needs; EnvGenError for whatever would fail later: steps, key, tracker, family, device."""
    if config.schedule.mixture is Mixture.blend:
        plan.designed_slots(config)
    for planned in plan.phases(config):
        if planned.steps:
            check_steps(planned.steps, config.ppo)
    if not config.dry_run:  # which publishes nothing
        check_tracker(config.tracker)
    keep_large_buffers()
    family, device = make_family(config.env), choose_device(config.device)
    check_designer(config, family)
    threads = use_threads(config)
    spec, num_actions = family.observation_spec, family.num_actions
    check_memory(config, spec)
    learner = Learner.create(config.ppo, spec, num_actions, seed=config.seed, device=device, threads=threads)
    return Prepared(config, family, learner)


def check_memory(config: RunConfig, spec: Mapping[str, ArraySpec]) -> None:
    """Refuse a rollout that this machine can't hold."""
    ppo = config.ppo
    needed, there = rollout_bytes(ppo.num_steps, ppo.num_envs, spec), memory_bytes()
    if needed > there:
        raise ConfigError(
            f"ppo.num_steps={ppo.num_steps}, ppo.num_envs={ppo.num_envs}: a rollout takes {needed / 2**30:,.1f} GiB, "
            f"this machine has {there / 2**30:,.1f} GiB"
        )


def memory_bytes() -> int:
    """Memory that this process could have at most."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return there if limit == resource.RLIM_INFINITY else min(there, limit)


def use_threads(config: RunConfig) -> int:
    """Set how many threads torch takes for one operation; returns how many the network may have in all."""
    threads = config.num_threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads if config.ppo.network in DEEP else 1)
    return threads


def check_designer(config: RunConfig, family: Family) -> None:
    """Refuse a designer that can't do its part in this run."""
    designer, name = make_designer(config.designer, means(config, family)), config.designer.name
    if config.arm in DESIGNERS and config.arm != name:
        raise ConfigError(f"arm={config.arm}: the designer is {name}; allowed is arm={name}, null or another word")
    if designer.redraws and config.llm.kind.is_model and config.llm.temperature == 0:
        raise ConfigError(
            f"designer={name} asks the same each cycle, and llm.temperature=0 has one answer to it; "
            f"allowed is a temperature above 0, e.g. arm={name} or llm.temperature=1"
        )
    if designer.uses_llm and not config.dry_run:  # which asks nobody
        check_llm(config.llm)


def means(config: RunConfig, family: Family) -> Means:
    """What the run's designer works with, before there is anybody to ask."""
    return Means(
        family,
        cycles=config.cycles,
        design_set=design_set(config),
        seed=config.seed,
    )


def tell_plan(prepared: Prepared) -> str:
    """The plan in words, after a quick measurement of speed."""
    config = prepared.config
    speed = plan.measure(config, prepared.family, prepared.learner)
    return plan.describe(config, chosen=prepared.chosen, speed=speed, expected=expected_calls(prepared))


def expected_calls(prepared: Prepared) -> Expected | None:
    """What a language model will be asked for; None where none is asked."""
    config = prepared.config
    designer = make_designer(config.designer, means(config, prepared.family))
    if not designer.uses_llm or not config.llm.kind.is_model:
        return None
    first, *later = designer.preview()
    calls = designer.num_calls(config.cycles)
    return expected_cost(config.llm, first, later[0] if later else None, designer.example_reply(), calls)


def tell_messages(prepared: Prepared) -> str:
    """What the designer would send: the first cycle's messages, and what a later one adds, with rates of zero."""
    designer = make_designer(prepared.config.designer, means(prepared.config, prepared.family))
    lines = []
    for cycle, chat in enumerate(designer.preview(), start=1):
        for message in chat:
            title = f"cycle {cycle}, {message['role']}, about {count_tokens([message]):,} tokens"
            lines += ["", f"--- {title}", message["content"].rstrip()]
    return "\n".join(lines)


def open_folder(config: RunConfig, chosen: Mapping[str, Any], argv: Sequence[str]) -> RunFolder:
    """A new run's folder, or the one to resume; locked. `chosen` is what the config left open."""
    if config.resume is None:
        command = shlex.join(["python", "run.py", *argv])
        return RunFolder.create(config, command=command, versions=versions(), chosen=chosen)
    folder = RunFolder.reopen(config)
    stored = read_config(folder.path)
    then, now = {**stored["versions"], **stored["chosen"]}, {**versions(), **chosen}
    for key, value in now.items():
        if then.get(key) != value:
            print(f"resume: {key} was {then.get(key)}, is {value}: numbers may differ from an unbroken run's")
    return folder


def resume_command(folder: RunFolder, config: RunConfig) -> str:
    """What goes on with a run."""
    return shlex.join(["python", "run.py", f"resume={quoted(str(folder.path))}", *told_again(config.llm)])


def choose_device(device: Device) -> torch.device:
    """The device to train on; ConfigError where CUDA is asked for and missing."""
    available = torch.cuda.is_available()
    if device is Device.cuda and not available:
        raise ConfigError("device=cuda: this torch build finds no CUDA device; allowed here: auto, cpu")
    return torch.device("cuda" if available and device is not Device.cpu else "cpu")


def versions() -> dict[str, str]:
    """What a result can depend on."""
    packages = ("envgen-exp", "torch", "numpy", "crafter", "opensimplex", "pillow")
    return {"python": platform.python_version(), "machine": platform.machine()} | {
        name: metadata.version(name) for name in packages
    }
