"""Writes the tables of a page between its two marks, and leaves the rest as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from envgen_exp.errors import ConfigError
from envgen_exp.guard.writing import write_atomic

LAST_LINE = "<!-- end -->"


def fill(argv: Sequence[str], first_line: str, tables: Callable[[], list[str]]) -> int:
    """Write the tables into the page that `argv` names, or print them where it names none; the exit status."""
    text = "\n".join(tables())
    if not argv:
        print(text)
        return 0
    page = Path(argv[0])
    before, mark, rest = page.read_text().partition(first_line)
    _, end, after = rest.partition(LAST_LINE)
    if not mark or not end:
        raise ConfigError(f"{page}: has not the two marks between which the tables stand")
    write_atomic(page, f"{before}{mark}\n\n{text}\n\n{end}{after}".encode())
    return 0
