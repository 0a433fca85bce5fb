"""What the docs say is so: the reference is the schema's and a real run's, links lead somewhere, pictures are named."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import make_reference as reference
import pytest
from runs import composed, rows, run

from envgen_exp.commands.compose import CONF
from envgen_exp.config import plain
from envgen_exp.run import plan
from envgen_exp.tracking.metrics import METRICS, describe

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which episodes end in every phase and checkpoints are written."""
    short = ("env.designed_length=25", "env.original_length=25")
    return run(tmp_path_factory.mktemp("docs") / "run", *short)


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference.md").read_text()
    assert written == reference.reference(), "make reference writes it anew"


@pytest.mark.parametrize("family", ["crafter", "heist"])
def test_the_reference_has_every_key_and_option(family: str) -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    for key in keys(plain(composed(f"env={family}"))):
        assert f"| `{key}` |" in text
    for file in CONF.glob("[!h]*/*.yaml"):  # conf/hydra/ is Hydra's
        assert f"`{file.parent.name}={file.stem}`" in text


def keys(section: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_a_run_logs_what_the_reference_says_and_where(folder: Path) -> None:
    """Each name of the table is in a real run's rows, in phases of the kinds that the reference names, and no other."""
    kinds = {phase.name: phase.kind for phase in plan.phases(composed())}
    found = defaultdict(set)
    for log in ("metrics.jsonl", "timings.jsonl"):
        for row in rows(folder / log):
            for name in row.keys() - {"step", "phase", "cycle"}:
                metric = describe(name)
                assert metric is not None, name
                assert metric.clock == (log == "timings.jsonl")
                found[metric.name].add(kinds[row["phase"]])
    assert dict(found) == {metric.name: set(reference.when(metric)[0]) for metric in METRICS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(file: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_picture_is_shown_small_and_made_by_a_command() -> None:
    """`make pictures` makes them all, or a page names the command of a picture in a block of code."""
    shown = {name for page in PAGES for name in re.findall(r"\]\((?:docs/)?pictures/([^)]+)\)", page.read_text())}
    pictures = {path.name: path for path in (ROOT / "docs" / "pictures").iterdir()}
    assert set(pictures) == shown
    code = [block for page in PAGES for block in re.findall(r"^```.*?^```$", page.read_text(), re.M | re.S)]
    makers = "\n".join([(ROOT / "tools" / "make_pictures.py").read_text(), *code])
    for name, path in pictures.items():
        assert name in makers, name
        assert path.stat().st_size < 300_000, name
