"""A study's tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.tables import Sheet, sheets, unfinished

WIDTH = 78
"""Columns that the tables need; a narrower terminal wraps their lines rather than lose a column."""


def print_study(analysis: Analysis, console: Console) -> None:
    """The tables, the notes, and what is unfinished."""
    study = analysis.study

    def tell(line: str, style: str = "") -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    tell(str(study.folder), style="bold")
    console.width = max(WIDTH, console.width)
    numbers: dict[str, str] = {}
    for arm in (*study.arms, *study.diagnostics):
        numbers[arm.label] = str(len(numbers) + 1)
        tell(f"{numbers[arm.label]:>3}  {arm.label}")
    pairs = {f"{a} - {b}": f"{i} - {j}" for a, i in numbers.items() for b, j in numbers.items()} if numbers else {}
    for sheet in sheets(analysis):
        console.print()
        console.print(_rich(sheet, {**numbers, **pairs}))
        console.print(Text(sheet.caption, style="dim"))
    console.print()
    for note in analysis.notes:
        tell(f"note: {note}")
    for words, command in unfinished(study):
        tell(f"unfinished, in no number: {words}; to go on:")
        tell(f"  {command}")


def _rich(sheet: Sheet, names: dict[str, str]) -> Table:
    table = Table(title=sheet.title, title_justify="left", box=None)
    rows = [(names.get(row[0], row[0]), *row[1:]) for row in sheet.rows]
    for header, *cells in zip(sheet.headers, *rows, strict=True):
        words = [word for cell in (header, *cells) for word in cell.split()]
        table.add_column(header, justify="right", min_width=max(map(len, words)))  # a number is never cut
    for row in rows:
        table.add_row(*map(Text, row))
    return table
