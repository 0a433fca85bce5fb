"""``python -m envgen_exp pack FOLDER [FOLDER ...] FILE`` packs finished runs into one small file.

FOLDER is a sweep's, a run's, or a pack: several are put together, so that a study can be done in instalments, by
several machines or people. ``python -m envgen_exp report FILE`` makes the study's tables and page of it. Runs of
different versions, and arms of one name with different configs, are refused.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from envgen_exp.commands.failure import told
from envgen_exp.errors import RunFolderError
from envgen_exp.guard.writing import write_atomic
from envgen_exp.reporting.study.packs import merged, opened, pack, unfinished
from envgen_exp.run.pasted import pasted, typed


@told
def main(argv: Sequence[str]) -> int:
    """Write the file and return the exit status: 2 with one line where there is nothing to pack, or no place for it."""
    parser = argparse.ArgumentParser(prog=typed("python -m envgen_exp pack"), description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="a sweep's folder, a run's, or a pack")
    parser.add_argument("file", type=Path, help="the file to write; nothing is overwritten")
    add_across(parser)
    asked = parser.parse_args(argv)
    if os.path.lexists(asked.file):
        raise RunFolderError(f"{asked.file} is there already: choose another name, nothing is overwritten")
    sources = [opened(folder) for folder in asked.folders]
    runs = merged(sources, asked.across)
    data = pack(runs)
    write_atomic(asked.file, data)
    for line in (line for source in sources for line in source.passed_over):
        print(line)
    for run in unfinished(sources):
        print(f"unfinished, not packed: {run.folder}")
    tables = pasted(f"python -m envgen_exp report {shlex.quote(str(asked.file))}")
    print(f"written: {asked.file} ({len(runs)} runs, {len(data):,} bytes); its tables: {tables}")
    return 0


def add_across(parser: argparse.ArgumentParser) -> None:
    """The option for sources whose configs differ."""
    parser.add_argument(
        "--across", action="append", default=[], metavar="KEY", help="a key that the study varies, e.g. cycles"
    )
