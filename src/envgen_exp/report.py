"""``python -m envgen_exp.report FOLDER`` prints the table of a run, or that of a sweep's runs."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from envgen_exp.errors import EnvGenError, RunFolderError
from envgen_exp.reporting.collect import collect, print_study, read_run
from envgen_exp.reporting.summary import print_summary
from envgen_exp.tracking.progress import make_console


def main(argv: Sequence[str]) -> int:
    """Print the table and return the exit status: 2 with one line for a folder that has none."""
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
    """Print the table of the run or the sweep in `folder`; RunFolderError where there is none."""
    console = make_console()
    if not (folder / "config.yaml").exists():
        print_study(collect(folder), console)
        return
    run = read_run(folder)
    if run.summary is None:
        resume = f"python run.py resume={shlex.quote(str(folder))}"
        raise RunFolderError(f"{folder} is not finished ({run.finished_phases} phases done); to go on: {resume}")
    print_summary(dataclasses.replace(run.summary, folder=str(folder)), console)  # it may have been moved


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
