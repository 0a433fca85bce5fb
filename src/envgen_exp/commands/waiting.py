"""``python -m envgen_exp waiting [FOLDER ...]`` lists the messages of llm=paste that wait for a reply.

A folder is a run's, or holds runs or sweeps; without one runs/ and multirun/ are looked through.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from envgen_exp.commands.failure import tell, told
from envgen_exp.errors import EnvGenError, RunFolderError
from envgen_exp.guard.reading import understood
from envgen_exp.guard.redaction import redact
from envgen_exp.llm import ledger, paste
from envgen_exp.llm.ledger import Address
from envgen_exp.run.pasted import pasted, typed
from envgen_exp.run.stored import quoted
from envgen_exp.tracking.progress import duration

USUAL = ("runs", "multirun")


@told
def main(argv: Sequence[str]) -> int:
    """Print what waits and return the exit status: 2 with a line for each folder that can't be read."""
    parser = argparse.ArgumentParser(prog=typed("python -m envgen_exp waiting"), description=__doc__)
    parser.add_argument("folders", metavar="FOLDER", nargs="*", help="a run, or a folder of runs or sweeps")
    folders = parser.parse_args(argv).folders or [name for name in USUAL if Path(name).is_dir()]
    if missing := [name for name in folders if not Path(name).is_dir()]:
        raise RunFolderError(f"{missing[0]} is not a folder")
    waiting, status = 0, 0
    for run in sorted({run for folder in folders for run in _runs(Path(folder))}):
        try:
            for lines in _waiting(run):
                waiting += 1
                print(redact("\n".join("".join(c for c in line if c.isprintable()) for line in lines)))
        except EnvGenError as error:
            tell(error)
            status = error.exit_status
    if not waiting:
        print(f"nothing waits in {', '.join(folders) or ' and '.join(f'{name}/' for name in USUAL)}")
    return status


def _runs(folder: Path) -> Iterator[Path]:
    """The runs in a folder, itself or up to two levels below, that have asked a person."""
    for pattern in ("", "*/", "*/*/"):
        for found in folder.glob(f"{pattern}llm/{glob.escape(paste.FOLDER)}"):
            yield found.parents[1]


def _waiting(run: Path) -> Iterator[list[str]]:
    """Some lines for each message of a run that waits."""
    folder = run / "llm"
    with understood(folder / ledger.LEDGER):
        for sent in ledger.unanswered(ledger.read(folder)):
            if sent["client"] not in ledger.LASTING:
                continue
            address = Address(int(sent["cycle"]), str(sent["purpose"]), int(sent["position"]))
            message, reply = paste.files(folder, address, sent["request"])
            since = datetime.datetime.fromisoformat(sent["at"])
            seconds = (datetime.datetime.now(datetime.UTC) - since).total_seconds()
            there = "; a reply is there" if reply.exists() else ""
            command = shlex.join(["python", "run.py", f"resume={quoted(str(run))}"])
            yield [
                f"{run}: {address} for {sent['model']}, since {sent['at']} ({duration(seconds)}){there}",
                f"  message  {message}",
                f"  reply    {reply}",
                f"  to go on, where it was stopped: {pasted(command)}",
            ]
