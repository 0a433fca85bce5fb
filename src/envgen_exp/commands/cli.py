"""The command `python run.py`: refuse secrets, compose, run one or many, and end with one line and a status.

Hydra composes every run; its own main function is used where it launches several (-m) or informs about itself.
Importing this module imports neither torch nor a game, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

import yaml

from envgen_exp.commands import help as usage
from envgen_exp.commands import sweep
from envgen_exp.commands.compose import CONF, compose_run
from envgen_exp.commands.failure import told
from envgen_exp.errors import ConfigError
from envgen_exp.guard.frozen import plain
from envgen_exp.guard.secrets import refuse_secrets
from envgen_exp.registry import nearest

_FLAGS = ("--help", "--multirun", "--cfg", "--info", "--shell-completion")


@told
def main(argv: Sequence[str]) -> int:
    """Do what `argv` asks and return the exit status."""
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
        return sweep.run_sweep(asked.overrides)
    if asked.cfg or asked.info or asked.shell_completion:
        sweep.hydra_main(argv)
        return 0
    return sweep.run_once(compose_run(asked.overrides), argv)


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
