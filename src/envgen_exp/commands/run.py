"""One run with the page and the table that are made of it: what `python run.py` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envgen_exp.commands.report import tell_run
from envgen_exp.config import RunConfig
from envgen_exp.reporting.run.page_of_run import write_report
from envgen_exp.run import loop, plan
from envgen_exp.run.folder import Files
from envgen_exp.run.record import RunRecord
from envgen_exp.tracking.progress import make_console


class _Views:
    def page(self, folder: Path) -> object:
        return write_report(folder)

    def table(self, folder: Path) -> None:
        tell_run(RunRecord(folder), Files(folder).report, make_console())


def run(config: RunConfig, argv: Sequence[str], part: plan.Part = plan.Part.whole) -> int:
    """As `loop.run`."""
    return loop.run(config, argv, _Views(), part)
