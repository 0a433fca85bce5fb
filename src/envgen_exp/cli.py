"""The command `python run.py`: refuse secrets, compose, run one or many, and end with one line and a status.

Hydra composes every run; its own main function is used where it launches several (-m) or informs about itself.
Importing this module imports neither torch nor a game, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gc
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from envgen_exp import usage
from envgen_exp.composition import CONF, compose_run, compose_sweep, register_plain
from envgen_exp.config import RunConfig, identity, plain
from envgen_exp.errors import ConfigError, EnvGenError, RunFolderError
from envgen_exp.explain import nearest
from envgen_exp.secrets import refuse_secrets

_FLAGS = ("--help", "--multirun", "--cfg", "--info", "--shell-completion")


class SweepError(Exception):
    """A run of a sweep ended with an error, which it has told already."""

    def __init__(self, exit_status: int) -> None:
        super().__init__(exit_status)
        self.exit_status = exit_status


def main(argv: Sequence[str]) -> int:
    """Do what `argv` asks and return the exit status."""
    try:
        return _main(argv)
    except EnvGenError as error:
        _tell(error)
        return error.exit_status
    except SweepError as error:
        return error.exit_status
    except KeyboardInterrupt:
        print("envgen: stopped", file=sys.stderr)
        return 130


def _main(argv: Sequence[str]) -> int:
    refuse_secrets(argv, os.environ)
    # `from` can't be the name of a field in Python; it is what one types.
    argv = [
        "llm.replay_" + argument.removeprefix("llm.") if argument.startswith("llm.from=") else argument
        for argument in argv
    ]
    asked = _flags().parse_intermixed_args(argv)
    if asked.help:
        overrides = [word for word in asked.overrides if "=" in word]
        config = compose_run(overrides)
        sections = [word for word in asked.overrides if "=" not in word]
        print("\n".join(usage.usage_of(section, config) for section in sections) or usage.usage(config, CONF))
        return 0
    if asked.cfg == "job":
        print(yaml.safe_dump(plain(compose_run(asked.overrides)), sort_keys=False), end="")
        return 0
    if asked.multirun:
        compose_sweep(asked.overrides)
        return _hydra(["--multirun", *asked.overrides])
    if asked.cfg or asked.info or asked.shell_completion:
        return _hydra(argv)
    return _run(compose_run(asked.overrides), argv)


def _run(config: RunConfig, argv: Sequence[str]) -> int:
    # OpenMP's waiting threads spin, which on a machine with other work costs most of the speed. libgomp reads this
    # once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return _pipeline()(config, argv)


@functools.cache
def _pipeline() -> Callable[[RunConfig, Sequence[str]], int]:
    """What does a run, imported only now: it takes seconds, and help and errors should not."""
    # What is imported stays: looking for garbage in it, while it is imported and ever after, costs time for nothing.
    gc.disable()
    try:
        from envgen_exp import pipeline
    finally:
        gc.freeze()
        gc.enable()
    return pipeline.run


def _hydra(argv: Sequence[str]) -> int:
    register_plain()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors itself and exits
    sys.argv = [sys.argv[0], *argv]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_run_of_sweep)()
    except OSError as error:
        raise RunFolderError(f"can't write the sweep's folder {error.filename}: {error.strerror}") from error
    return 0


def _run_of_sweep(composed: DictConfig) -> None:
    """One run of a sweep, in whatever process Hydra's launcher starts it."""
    launch = HydraConfig.get()
    overrides = list(launch.overrides.task)
    try:
        # Composed anew, by the schema, which Hydra's launcher has done without.
        config = compose_run(overrides)
        if config.resume is None:
            folder = Path(launch.sweep.dir) / identity(config)
            if (folder / "config.yaml").exists():
                config = dataclasses.replace(config, resume=str(folder))
            else:
                config = dataclasses.replace(config, folder=str(folder))
        status = _run(config, overrides)
    except EnvGenError as error:
        _tell(error, f" (in the run {shlex.join(overrides)})")
        raise SweepError(error.exit_status) from error
    except Exception as error:
        traceback.print_exc()
        raise SweepError(1) from error
    if status:
        raise SystemExit(status)  # stopped by a signal: start no further run


def _tell(error: EnvGenError, where: str = "") -> None:
    # In one piece: runs of a sweep may write at the same time.
    sys.stderr.write(f"envgen: error: {' '.join(str(error).split())}{where}\n")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()[0]
        if unknown.startswith("-"):
            raise ConfigError(f"{unknown}: no such flag{nearest(unknown, _FLAGS)}; allowed: {' | '.join(_FLAGS)}")
        raise ConfigError(message)


def _flags() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"])
    parser.add_argument("-i", "--info", nargs="?", const="all")
    parser.add_argument("-sc", "--shell-completion", action="store_true")
    return parser
