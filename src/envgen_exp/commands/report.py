"""``python -m envgen_exp report FOLDER`` writes report.html of a run, a sweep or packs, and prints its tables.

With two runs' folders it writes one page of both, side by side, into the first. A sweep's tables are also written as
Markdown, CSV and LaTeX beside it. With ``--claims multirun`` the paper's claims are judged by all sweeps in that
folder, into docs/claims.md. Only files are read, so it can be called at any time, also while runs go on.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from envgen_exp.commands.compose import compose_run
from envgen_exp.commands.failure import told
from envgen_exp.commands.pack import add_across
from envgen_exp.errors import ConfigError, EnvGenError
from envgen_exp.guard.reading import understood
from envgen_exp.guard.writing import write_atomic
from envgen_exp.reporting.run.frames import print_errors
from envgen_exp.reporting.run.page_of_run import make_report
from envgen_exp.reporting.run.page_of_two import make_page_of_two
from envgen_exp.reporting.run.terminal import next_commands, print_summary
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.collect import read_run
from envgen_exp.reporting.study.packs import open_study
from envgen_exp.reporting.study.page_of_study import make_sweep_report
from envgen_exp.reporting.study.table_files import write_tables
from envgen_exp.reporting.study.terminal import print_study
from envgen_exp.reporting.study.verdicts import write_claims
from envgen_exp.run.pasted import SCRIPT, pasted, typed
from envgen_exp.run.record import RunRecord
from envgen_exp.tracking.progress import make_console

CLAIMS = Path("docs/claims.md")
"""Where the claims are written, in a clone."""


@told
def main(argv: Sequence[str]) -> int:
    """Write the page, print the table and return the exit status: 2 with one line for a folder that holds no run."""
    parser = argparse.ArgumentParser(prog=typed("python -m envgen_exp report"), description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    found = "a run's folder, two of them, a sweep's (multirun/<sweep>), or packs of finished runs"
    what.add_argument("folder", type=Path, nargs="*", default=[], help=found)
    what.add_argument(
        "--claims", type=Path, metavar="SWEEPS", help="judge the paper's claims by the sweeps in this folder"
    )
    where = f"where the claims (default: {CLAIMS}), or the page of two runs, are written"
    parser.add_argument("--out", type=Path, metavar="FILE", help=where)
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a run's curves, a row for each of its logs' rows"
    )
    add_across(parser)
    asked = parser.parse_args(argv)
    if asked.csv is not None:
        if len(asked.folder) != 1 or os.path.lexists(asked.csv):
            raise ConfigError(f"--csv {asked.csv}: needs a run's folder, and a file that is not there yet")
        write_curves(asked.folder[0], asked.csv)
    elif asked.claims is None:
        show(*asked.folder, out=asked.out, across=asked.across)
    else:
        show_claims(asked.claims, asked.out or CLAIMS)
    return 0


def show(folder: Path, *more: Path, out: Path | None = None, across: Sequence[str] = ()) -> None:
    """Print the tables of the run or the sweep in `folder`, or of packs, and write its page; else RunFolderError.

    Two runs have a page, which goes to `out`, and no tables. `across` are keys in which packs may differ.
    """
    paths = [folder, *more]
    two = len(paths) == 2 and all(map(_is_run, paths))
    if out is not None and not two:
        raise ConfigError("--out: needs --claims, or the folders of two runs; other pages lie in their folders")
    with understood(folder):
        if two:
            _tell_page(make_page_of_two(paths[0], paths[1], out), make_console())
        else:
            _show(paths, make_console(), across)


def _show(paths: Sequence[Path], console: Console, across: Sequence[str]) -> None:
    folder = paths[0]
    if len(paths) > 1 or not _is_run(folder):
        analysis = Analysis(open_study(paths, across=across))
        files = write_tables(analysis)
        print_study(analysis, console)
        console.print(Text("tables", style="bold"))
        for file in files:
            console.print(Text(f"  {file}"), soft_wrap=True)
        page = make_sweep_report(analysis)
    else:
        tell_run(read_run(folder), make_report(folder), console)
        return
    _tell_page(page, console)


def _is_run(path: Path) -> bool:
    return os.path.lexists(path / "config.yaml")


def tell_run(run: RunRecord, page: Path, console: Console) -> None:
    """Print the table of a run, what to do next, and where its page is."""
    if run.summary is None:
        done = len(run.phases)
        print(f"{run.folder} is not finished ({done} phases done); to go on: {run.resume_command}")
    else:
        commands = [pasted(command) for command in next_commands(run.summary) if _composes(command)]
        if (errors := print_errors(run)) is not None:
            console.print(errors)
        print_summary(run.summary, console, commands)
    _tell_page(page, console)


def _tell_page(page: Path, console: Console) -> None:
    console.print(Text("report", style="bold"))
    console.print(Text(f"  {shlex.quote(str(page))}"), soft_wrap=True)


def _composes(command: str) -> bool:
    """Whether a command's config can be: a file of conf/ may set what another option has no key for."""
    _, what, *words = shlex.split(command)
    try:
        return what != SCRIPT.name or bool(compose_run(words))
    except EnvGenError:
        return False


def write_curves(folder: Path, file: Path) -> None:
    """Write a run's metrics and clock readings as CSV: a column each, empty where a row has no such number."""
    with understood(folder):
        run = RunRecord(folder)
        rows = [*run.rows, *run.timings]
    columns = dict.fromkeys(("step", "cycle", "phase", *sorted({name for row in rows for name in row})))
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows(rows)
    write_atomic(file, text.getvalue().encode())
    print(f"written: {file} ({len(rows):,} rows)")


def show_claims(folder: Path, out: Path) -> None:
    """Judge the paper's claims by the sweeps in `folder`, write the document and print a line for each."""
    with understood(folder):
        verdicts = list(write_claims(folder, out))
    for verdict in verdicts:
        detail = f": {verdict.detail}" if verdict.detail else ""
        print(f"{verdict.claim.text} ({verdict.claim.table}): {verdict.word}{detail}")
    print(f"written: {out}")
