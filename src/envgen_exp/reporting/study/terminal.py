"""A study's tables on the terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.tables import Sheet, sheets, unfinished

LEAST, MOST = 78, 400
"""Columns that a table may take; a narrower terminal wraps its lines rather than lose a column."""


def print_study(analysis: Analysis, console: Console) -> None:
    """The tables, the notes, and what is unfinished."""
    study = analysis.study

    def tell(line: str, style: str = "") -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    tell(str(study.folder), style="bold")
    numbers: dict[str, str] = {}
    for arm in (*study.arms, *study.diagnostics):
        numbers[arm.label] = str(len(numbers) + 1)
        tell(f"{numbers[arm.label]:>3}  {arm.label}")
    pairs = {f"{a} - {b}": f"{i} - {j}" for a, i in numbers.items() for b, j in numbers.items()} if numbers else {}
    for sheet in sheets(analysis):
        console.print()
        _print(sheet, {**numbers, **pairs}, console)
        console.print(Text(sheet.caption, style="dim"))
    console.print()
    for note in analysis.notes:
        tell(f"note: {note}")
    for words, command in unfinished(study):
        tell(f"unfinished, in no number: {words}; to go on:")
        tell(f"  {command}")


def _print(sheet: Sheet, names: dict[str, str], console: Console) -> None:
    """As a table in the columns that there are, or in as many more as it takes: rich leaves out what has no room."""
    table = Table(title=sheet.title, title_justify="left", box=None)
    rows = [(names.get(row[0], row[0]), *row[1:]) for row in sheet.rows]
    words = [[word for cell in column for word in cell.split()] for column in zip(sheet.headers, *rows, strict=True)]
    for header, its_words in zip(sheet.headers, words, strict=True):
        table.add_column(Text(header), justify="right", min_width=max(map(len, its_words)))
    for row in rows:
        table.add_row(*map(Text, row))
    wanted = Counter(word for its_words in words for word in its_words)
    before = console.width
    for width in range(max(LEAST, before), MOST, 2):
        console.width = width
        shown = "\n".join("".join(part.text for part in line) for line in console.render_lines(table))
        if not wanted - Counter(shown.split()):
            break
    console.print(table)
    console.width = before
