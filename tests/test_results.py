"""docs/results.md: what stands between two marks is what its pack gives."""

from __future__ import annotations

from pathlib import Path

import make_results
import pytest
from marked import LAST_LINE

from envgen_exp.reporting.study.packs import open_study

DOCS = Path(__file__).parents[1] / "docs"
PACKS = sorted((DOCS / "packs").glob("*.json"))


def test_there_are_packs() -> None:
    assert PACKS


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.stem)
def test_a_pack_gives_the_page_s_tables_to_the_last_letter(pack: Path) -> None:
    _, mark, rest = (DOCS / "results.md").read_text().partition(make_results.first_line(pack))
    section, end, _ = rest.partition(LAST_LINE)
    assert mark
    assert end
    study = open_study([pack])
    made = make_results.study_section(study, Path("pictures") / f"{study.folder.name}.svg")
    assert section.strip() == "\n".join(made).strip()
