"""The command `python run.py`: refuse secrets, compose, run one or many, and end with one line and a status.

Hydra composes every run; its own main function is used where it launches several (-m) or informs about itself.
Importing this module imports neither torch nor a game, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

import yaml

from envgen_exp import __version__
from envgen_exp.commands import help as usage
from envgen_exp.commands import searchpath, sweep
from envgen_exp.commands.compose import CONF, compose_run, compose_sweep, hydra_settings, own_folders
from envgen_exp.commands.failure import told
from envgen_exp.errors import ConfigError
from envgen_exp.guard.frozen import plain
from envgen_exp.guard.secrets import refuse_secrets
from envgen_exp.registry import nearest

_FLAGS = ("--help", "--version", "--multirun", "--cfg", "--config-dir", "--info", "--shell-completion")


@told
def main(argv: Sequence[str]) -> int:
    """Do what `argv` asks and return the exit status."""
    refuse_secrets(argv, os.environ)
    asked = _flags().parse_intermixed_args(argv)
    if asked.config_dir is not None:
        asked.overrides.insert(0, searchpath.override([asked.config_dir]))
    if asked.help:
        overrides = [word for word in asked.overrides if "=" in word]
        config = compose_run(overrides)
        sections = [word for word in asked.overrides if "=" not in word]
        conf = (CONF, *own_folders(overrides))
        print("\n".join(usage.usage_of(section, config, *conf) for section in sections) or usage.usage(config, *conf))
        return 0
    if asked.version:
        print(f"envgen_exp {__version__}")
        return 0
    if asked.cfg:
        print("---\n".join(_configs(asked)), end="")
        return 0
    if asked.shell_completion:
        print(re.sub(r"\S+[=/]schema\S* ?", "", _said(argv)), end="")  # schemas are none of the options
        return 0
    if asked.info:
        sweep.hydra_main([word for word in argv if word not in ("-m", "--multirun")])
        return 0
    if asked.multirun:
        return sweep.run_sweep(asked.overrides)
    return sweep.run_once(compose_run(asked.overrides), asked.overrides)


def _configs(asked: argparse.Namespace) -> Iterator[str]:
    """The configs that are asked for, as YAML: each run's, Hydra's own, or both."""
    if asked.cfg != "hydra":
        runs = compose_sweep(asked.overrides).runs if asked.multirun else ()
        for config in [run.config for run in runs] or [compose_run(asked.overrides)]:
            yield yaml.safe_dump(plain(config), sort_keys=False)
    if asked.cfg != "job":
        yield yaml.safe_dump(hydra_settings(asked.overrides), sort_keys=False)


def _said(argv: Sequence[str]) -> str:
    """What Hydra prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        sweep.hydra_main(argv)
    return out.getvalue()


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
    parser.add_argument("--version", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"])
    parser.add_argument("-i", "--info", nargs="?", const="all")
    parser.add_argument("-sc", "--shell-completion", action="store_true")
    return parser
