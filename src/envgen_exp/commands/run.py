"""One run with the page and the table that are made of it: what `python run.py` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envgen_exp.config import RunConfig
from envgen_exp.learners import traits
from envgen_exp.reporting.run.page_of_run import write_report
from envgen_exp.reporting.run.played import make_played_report
from envgen_exp.reporting.run.terminal import print_summary
from envgen_exp.run import loop
from envgen_exp.run.stored import load_config
from envgen_exp.run.summary import RunSummary
from envgen_exp.tracking.progress import make_console


class _Views:
    def page(self, folder: Path) -> object:
        trains = traits(load_config(folder).agent.name).trains
        return write_report(folder) if trains else make_played_report(folder)

    def table(self, summary: RunSummary) -> None:
        print_summary(summary, make_console())


def run(config: RunConfig, argv: Sequence[str]) -> int:
    """As `loop.run`."""
    return loop.run(config, argv, _Views())
