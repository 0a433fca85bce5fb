"""`python -m envgen_exp COMMAND`: every command but `python run.py`, which does the runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from envgen_exp.commands.failure import told
from envgen_exp.errors import ConfigError
from envgen_exp.registry import nearest

COMMANDS = {
    "report": "tables and the page of a run, a sweep or packs; the paper's claims judged by sweeps",
    "play": "play with a run's agent: success rates, films, its weights to take away",
    "preview": "see designs before anything is trained: their worlds, and what can't be done in them",
    "dataset": "labelled images of a family as files, with a card",
    "pack": "pack finished runs into one small file, or packs of a study together; report makes tables of it",
    "transcript": "pack what a run asked and was answered into one file, which llm=replay serves from",
    "waiting": "the messages of llm=paste that wait for a reply",
    "model": "fetch the language model that runs inside",
    "dashboard": "the W&B workspace of a project",
}
"""Each command, a module of commands/, and what it is for."""


@told
def main(argv: Sequence[str]) -> int:
    """Run the command that the first word names, or list them; returns the exit status."""
    name, *rest = [*argv, "--help"]
    if name in ("--help", "-h"):
        print(usage())
        return 0
    if name not in COMMANDS:
        raise ConfigError(f"{name}: no such command{nearest(name, COMMANDS)}; allowed: {' | '.join(COMMANDS)}")
    status: int = import_module(f"envgen_exp.commands.{name}").main(rest[:-1])
    return status


def usage() -> str:
    """What can be typed."""
    lines = ["usage: python -m envgen_exp COMMAND ...", ""]
    lines += [f"  {name:<10} {gloss}" for name, gloss in COMMANDS.items()]
    return "\n".join([*lines, "", "python -m envgen_exp COMMAND --help tells more; a run is python run.py (--help)."])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
