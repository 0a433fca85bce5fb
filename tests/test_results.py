"""docs/results.md: what stands between two marks is what its pack gives."""

from __future__ import annotations

from pathlib import Path

import make_results
import pytest
from marked import LAST_LINE

DOCS = Path(__file__).parents[1] / "docs"
PACKS = sorted((DOCS / "packs").glob("*.json"))
LEARNING = [pack for pack in PACKS if pack.stem.startswith("learning")]


def test_there_are_packs() -> None:
    assert PACKS


@pytest.mark.parametrize(
    "packs", [*([pack] for pack in PACKS if pack not in LEARNING), LEARNING], ids=lambda packs: packs[0].stem
)
def test_packs_give_the_page_s_tables_to_the_last_letter(packs: list[Path]) -> None:
    _, mark, rest = (DOCS / "results.md").read_text().partition(make_results.first_line(packs))
    section, end, _ = rest.partition(LAST_LINE)
    assert mark
    assert end
    assert section.strip() == "\n".join(make_results.section(packs)).strip()
