"""docs/results.md and docs/results/: each page of tables is what its packs give, and so is what leads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import make_results
import pytest
import result_lead
from marked import LAST_LINE

from envgen_exp.reporting.statistics import mean_sd
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.packs import open_study
from envgen_exp.reporting.study.preregistered import decided, mains
from envgen_exp.reporting.study.tables import points

DOCS = Path(__file__).parents[1] / "docs"
PACKS = sorted((DOCS / "packs").glob("*.json"))
LEARNING = [pack for pack in PACKS if pack.stem.startswith("learning")]


def test_there_are_packs() -> None:
    assert PACKS


@pytest.mark.parametrize(
    "packs", [*([pack] for pack in PACKS if pack not in LEARNING), LEARNING], ids=lambda packs: packs[0].stem
)
def test_packs_give_the_page_s_tables_to_the_last_letter(packs: list[Path]) -> None:
    file = DOCS.parent / make_results.page_of(packs)
    assert file.read_text() == make_results.page(packs)


def test_the_page_leads_with_the_verdict_and_readme_follows() -> None:
    analysis = Analysis(make_results.verdict(DOCS / "packs"))
    _, _, rest = (DOCS / "results.md").read_text().partition(result_lead.FIRST_LINE)
    assert rest.partition(LAST_LINE)[0].strip() == "\n".join(result_lead.lead(analysis)).strip()
    (main,) = mains(analysis)
    readme = (DOCS.parent / "README.md").read_text()
    (row,) = (line for line in readme.splitlines() if line.startswith("| a language model's designs help"))
    theirs, _ = mean_sd(main.theirs.values(lambda s: s.score))
    for words in (decided(analysis, main), points(main.difference), f"{main.difference.pairs} pairs", f"{theirs:.1f}"):
        assert words in row


@pytest.mark.parametrize(
    ("page", "start", "end", "tables", "others"),
    [
        ("docs/agents.md", "A step takes one call", "\n\n", "direct", ()),
        ("docs/results.md", "Asked for every action", "And it plays", "direct", ()),
        ("README.md", "the same small model:", "where it plays", "direct", ()),
        ("docs/results.md", "## What stands behind the verdict", "\n## ", "verdict", ("200", "214")),
        ("docs/results.md", "## Beside the core", "\n## ", "verdict_more", ()),
        ("docs/results.md", "## On pixels", "\n## ", "verdict_pixels", ("200", "204")),
    ],
)
def test_numbers_that_are_typed_stand_in_the_tables(
    page: str, start: str, end: str, tables: str, others: Sequence[str]
) -> None:
    _, found, rest = (DOCS.parent / page).read_text().partition(start)
    said = numbers(rest.partition(end)[0].replace("1.96 M", "1,960,000"))
    assert found
    assert said
    assert said <= numbers((DOCS / "results" / f"{tables}.md").read_text()) | {*others}


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d[\d.,]*\d|\d", text))


def test_the_page_names_each_page_of_tables_with_its_runs() -> None:
    rows = re.findall(r"\(results/([\w-]+\.md)\) \| .* \| (\d+) \|$", (DOCS / "results.md").read_text(), re.MULTILINE)
    runs = Counter[str]()
    for pack in PACKS:
        runs[make_results.page_of([pack]).name] += sum(len(arm.runs) for arm in open_study([pack]).arms)
    assert {name: int(number) for name, number in rows} == runs
    assert {page.name for page in (DOCS / "results").iterdir()} == set(runs)
