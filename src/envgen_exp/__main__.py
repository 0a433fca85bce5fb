"""`envgen COMMAND`, or `python -m envgen_exp COMMAND`: runs, as `python run.py` does them, and all other commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from envgen_exp import __version__
from envgen_exp.commands.failure import told
from envgen_exp.errors import ConfigError
from envgen_exp.registry import nearest
from envgen_exp.run.pasted import typed

COMMANDS = {
    "run": "design, train, evaluate, feed back: a run, a resumed one, or a sweep of runs",
    "report": "tables and the page of a run, a sweep or packs; the paper's claims judged by sweeps",
    "play": "play with a run's agent: success rates, films, its weights to take away",
    "drive": "let a run's network drive by what it reads from frames: collisions, departures, a film",
    "preview": "see designs before anything is trained: their worlds, and what can't be done in them",
    "dataset": "labelled images of a family as files, with a card",
    "pack": "pack finished runs into one small file, or packs of a study together; report makes tables of it",
    "transcript": "pack what a run asked and was answered into one file, which llm=replay serves from",
    "waiting": "the messages of llm=paste that wait for a reply",
    "model": "fetch the language model that runs inside",
    "dashboard": "the W&B workspace of a project",
}
"""Each command, a module of commands/ (`cli` for runs), and what it is for."""


@told
def main(argv: Sequence[str]) -> int:
    """Run the command that the first word names, or list them; returns the exit status.

    ConfigError where what it needs is not installed: the Gymnasium environments do without.
    """
    if not argv or list(argv) in (["--help"], ["-h"]):
        print(usage())
        return 0
    if list(argv) == ["--version"]:
        print(f"envgen_exp {__version__}")
        return 0
    name, *rest = argv
    if name.startswith("-") or "=" in name:
        name, rest = "run", list(argv)
    if name not in COMMANDS:
        raise ConfigError(f"{name}: no such command{nearest(name, COMMANDS)}; allowed: {' | '.join(COMMANDS)}")
    try:
        status: int = import_module(f"envgen_exp.commands.{'cli' if name == 'run' else name}").main(rest)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("envgen_exp"):
            raise
        raise ConfigError(
            f"{name} needs {error.name}, which is not installed: pip install '.[run]' in its clone, or make install"
        ) from error
    return status


def usage() -> str:
    """What can be typed."""
    program = typed("python -m envgen_exp")
    lines = [f"usage: {program} COMMAND ...", f"       {program} [run] KEY=VALUE ...", ""]
    lines += [f"  {name:<10} {gloss}" for name, gloss in COMMANDS.items()]
    lines += ["", f"{program} COMMAND --help tells more; {program} run --help lists what a run can be told."]
    return "\n".join([*lines, "A run is what `python run.py` does in a clone; the word `run` may be left out."])


def envgen() -> int:
    """The command `envgen`."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(envgen())
