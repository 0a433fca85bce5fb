"""docs/results.md and docs/results/: each page of tables is what its packs give, and so is what leads."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import make_results
import pytest
import result_lead
from marked import LAST_LINE

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
    analysis = Analysis(open_study([DOCS / "packs" / f"{result_lead.STUDY}.json"]))
    _, _, rest = (DOCS / "results.md").read_text().partition(result_lead.FIRST_LINE)
    assert rest.partition(LAST_LINE)[0].strip() == "\n".join(result_lead.lead(analysis)).strip()
    (main,) = mains(analysis)
    readme = (DOCS.parent / "README.md").read_text()
    (row,) = (line for line in readme.splitlines() if line.startswith("| a language model's designs help"))
    for words in (decided(analysis, main), points(main.difference), f"{main.difference.pairs} pairs"):
        assert words in row


def test_what_is_said_of_the_model_that_plays_stands_in_its_page() -> None:
    there = set(re.findall(r"[\d.,]*\d", (DOCS / "results" / "direct.md").read_text()))
    for page, start, end in (
        (DOCS / "agents.md", "A step takes one call", "\n\n"),
        (DOCS / "results.md", "Asked for every action", "And it plays"),
        (DOCS.parent / "README.md", "the same small model:", "where it plays"),
    ):
        _, found, rest = page.read_text().partition(start)
        said = set(re.findall(r"[\d.,]*\d", rest.partition(end)[0].replace("1.96 M", "1,960,000")))
        assert found
        assert said
        assert said <= there, page


def test_the_page_names_each_page_of_tables_with_its_runs() -> None:
    rows = re.findall(r"\(results/([\w-]+\.md)\) \| .* \| (\d+) \|$", (DOCS / "results.md").read_text(), re.MULTILINE)
    runs = Counter[str]()
    for pack in PACKS:
        runs[make_results.page_of([pack]).name] += sum(len(arm.runs) for arm in open_study([pack]).arms)
    assert {name: int(number) for name, number in rows} == runs
    assert {page.name for page in (DOCS / "results").iterdir()} == set(runs)
