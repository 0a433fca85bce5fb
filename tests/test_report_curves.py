"""What a page's curves say where nothing was measured, and what is recorded of where a run was made."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import runs
import yaml

from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.typed import read_design
from envgen_exp.reporting.plots import POINTS, Series, line_chart
from envgen_exp.reporting.run.page_of_run import render
from envgen_exp.reporting.run.skills import by_tree
from envgen_exp.run import clone, preparation
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.record import RunRecord

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """Of a run of two cycles and a final phase, as its planned phases are; without any file of results."""
    config = runs.composed(f"folder={tmp_path / 'run'}", "tracker=none")
    origin = {"processor": "A processor", "commit": "abc", "tree": "changed"}
    RunFolder.create(config, command="python run.py", versions={}, chosen={"threads": 3}, origin=origin).close()
    return RunRecord(tmp_path / "run")


def test_a_curve_breaks_where_nothing_was_measured_through_a_phase(record: RunRecord) -> None:
    phases = [
        "cycle1-train-designed",
        "cycle1-train-original",
        "cycle2-train-designed",
        "cycle2-train-original",
        "final",
    ]
    record.__dict__["rows"] = [
        {
            "step": 100 * place + half,
            "phase": phase,
            "loss": 1.0,
            "designed" if "designed" in phase else "original": half,
        }
        for place, phase in enumerate(phases)
        for half in (50, 100)
    ]
    assert record.curve("designed") == [(50, 50), (100, 100), (250, None), (250, 50), (300, 100)]
    original = record.curve("original")
    assert [x for x, y in original if y is None] == [350]  # the final phase goes on where the last cycle's ends
    assert all(y is not None for _, y in record.curve("loss"))
    drawn = line_chart("x", [Series("designed", record.curve("designed"))], alt="x")
    assert drawn.count("<polyline") == 2


def test_long_curves_keep_their_gaps() -> None:
    points: list[tuple[float, float | None]] = [(float(x), 1.0) for x in range(3 * POINTS)]
    points[POINTS : 2 * POINTS] = [(float(POINTS), None)]
    drawn = line_chart("x", [Series("a", points)], alt="x")
    lines = re.findall(r'<polyline points="([^"]*)"', drawn)
    assert len(lines) == 2
    assert all(80 < line.count(",") < POINTS for line in lines)


def test_an_axis_of_cycles_names_whole_ones() -> None:
    def numbers(whole: bool) -> list[str]:
        drawn = line_chart(
            "x", [Series("a", [(1, 0), (2, 1)])], alt="x", x_range=(0.5, 2.5), y_range=(7, 8), whole=whole
        )
        return [text for text in re.findall(r">([\d.]+)</text>", drawn) if float(text) < 3]

    assert numbers(True) == ["1", "2"]
    assert "0.5" in numbers(False)


def test_the_page_says_where_the_run_was_made(record: RunRecord) -> None:
    page = render(record)
    for words in ("A processor", "abc", "changed", "threads"):
        assert f">{words}<" in page


def test_processor_and_commit_are_those_of_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert preparation.origin()["processor"]
    monkeypatch.setattr(clone, "SCRIPT", tmp_path / "run.py")
    assert preparation.origin().keys() == {"processor"}  # no clone
    (tmp_path / "run.py").write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "c"]):
        subprocess.run([*git, *words], check=True)
    assert preparation.origin()["tree"] == "as committed"
    assert len(preparation.origin()["commit"]) == 40
    os.utime(tmp_path / "run.py", (1, 1))  # which git would note in its index, under a lock
    before = (tmp_path / ".git/index").read_bytes()
    assert preparation.origin()["tree"] == "as committed"
    assert (tmp_path / ".git/index").read_bytes() == before
    (tmp_path / "run.py").write_text("changed")
    assert preparation.origin()["tree"] == "changed"


def test_the_tutorial_s_designs_claim_what_their_worlds_allow() -> None:
    (block,) = re.findall(r"cat > my-designs.yaml <<'EOF'\n(.*?)EOF", TUTORIAL.read_text(), re.DOTALL)
    family = make_family(CrafterConfig())
    for settings in yaml.safe_load(block):
        design = read_design(settings, family)
        assert design.targets
        assert not set(family.check(design).impossible) & set(design.targets)


def test_skills_stand_in_the_order_in_which_they_come_in_reach(record: RunRecord) -> None:
    order, rules = by_tree(record), record.family.skill_rules
    assert sorted(order) == sorted(record.skills)
    assert all(order.index(before) < order.index(rule.skill) for rule in rules for before in rule.requires)
    assert order[-1] == "collect_diamond"
