"""``python -m envgen_exp.report FOLDER`` writes report.html of a run or a sweep, and prints its table.

It reads files alone, so it can be called at any time, also of a run that goes on meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from envgen_exp.errors import EnvGenError
from envgen_exp.reporting.collect import collect, print_study, read_run
from envgen_exp.reporting.html import make_report
from envgen_exp.reporting.summary import print_summary
from envgen_exp.reporting.sweep import make_sweep_report
from envgen_exp.tracking.progress import make_console


def main(argv: Sequence[str]) -> int:
    """Write the page, print the table and return the exit status: 2 with one line for a folder that holds no run."""
    parser = argparse.ArgumentParser(prog="python -m envgen_exp.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, or a sweep's: multirun/<sweep>")
    folder: Path = parser.parse_args(argv).folder
    try:
        show(folder)
    except EnvGenError as error:
        print(f"envgen: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_status
    return 0


def show(folder: Path) -> None:
    """Print the table of the run or the sweep in `folder` and write its page; RunFolderError where there is none."""
    console = make_console()
    if not (folder / "config.yaml").exists():
        study = collect(folder)
        print_study(study, console)
        page = make_sweep_report(study)
    else:
        run = read_run(folder)
        page = make_report(folder)
        if run.summary is None:
            resume = f"python run.py resume={shlex.quote(str(folder))}"
            print(f"{folder} is not finished ({run.finished_phases} phases done); to go on: {resume}")
        else:  # it may have been moved
            print_summary(dataclasses.replace(run.summary, folder=str(folder)), console)
    console.print(Text("report", style="bold"))
    console.print(Text(f"  {page}"), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
