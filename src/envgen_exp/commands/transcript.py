"""``python -m envgen_exp transcript RUN FILE`` packs what a run asked and was answered into one file.

`llm=replay llm.from=FILE` serves from it as from the run's folder. Only the run's files are read, so it may be running.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from envgen_exp.commands.failure import told
from envgen_exp.errors import RunFolderError
from envgen_exp.guard.reading import understood
from envgen_exp.guard.writing import write_atomic
from envgen_exp.llm.recording import pack
from envgen_exp.run.pasted import pasted, typed
from envgen_exp.run.record import RunRecord
from envgen_exp.run.stored import quoted


@told
def main(argv: Sequence[str]) -> int:
    """Write the file and return the exit status: 2 with one line where there is nothing to pack, or no place for it."""
    parser = argparse.ArgumentParser(prog=typed("python -m envgen_exp transcript"), description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("file", type=Path, help="the file to write; nothing is overwritten")
    asked = parser.parse_args(argv)
    if os.path.lexists(asked.file):
        raise RunFolderError(f"{asked.file} is there already: choose another name, nothing is overwritten")
    data = transcript(asked.run)
    write_atomic(asked.file, data)
    command = pasted(shlex.join(["python", "run.py", "llm=replay", f"llm.from={quoted(str(asked.file))}"]))
    print(f"written: {asked.file} ({len(data):,} bytes); to serve from it:\n{command}")
    return 0


def transcript(folder: Path) -> bytes:
    """The transcript of the run in a folder."""
    run = RunRecord(folder)
    designs = []
    with understood(folder):
        document, config = run.document, run.document["config"]
        named = {name: config[name]["name"] for name in ("env", "designer", "agent", "llm")}
        of = {"name": folder.resolve().name, **{name: document[name] for name in ("identity", "started", "versions")}}
        for phase in map(run.result, (name for name in run.phases if name.endswith("-design"))):
            proposal = {name: phase["proposal"][name] for name in ("source", "repairs", "designs")}
            designs.append({"cycle": phase["cycle"], **proposal})
        return pack(run.files.llm, {**of, **named, "seed": config["seed"]}, designs)
