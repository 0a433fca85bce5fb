"""Whole runs of Heist: every phase, and the same end after any number of kills."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from runs import composed, die, final_state, fork, rows, run, wait

from envgen_exp.families.heist.config import HeistConfig
from envgen_exp.families.heist.design import SKILLS
from envgen_exp.families.heist.family import HeistFamily
from envgen_exp.run import checkpoint
from envgen_exp.run.session import Session

HEIST = (
    "env=heist",
    "cycles=1",
    "env.pool_size=10",
    "env.designed_length=40",
    "env.original_length=60",
    "checkpoint.every_steps=64",
)


def killed_after(folder: Path, saves: int) -> int:
    """Go on with a run in a process of its own that is killed right after so many checkpoints; its exit status."""

    def work() -> None:
        save, left = Session.save, saves

        def last_save(self: Session, *args: Any, **kwargs: Any) -> None:
            nonlocal left
            save(self, *args, **kwargs)
            left -= 1
            if not left:
                die()

        Session.save = last_save  # type: ignore[method-assign]
        run(folder, *HEIST)

    return wait(fork(work))


def test_a_run_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Some kills fall between phases, some within one, when games are in the midst of designed and stock levels."""
    whole = run(tmp_path / "whole", *HEIST)
    killed, within = tmp_path / "killed", 0
    while killed_after(killed, 7):
        _, state, _ = checkpoint.load_latest(killed / "checkpoints")
        assert state is not None
        within += state["inside"] is not None
    assert within > 1
    assert final_state(killed) == final_state(whole)
    metrics = rows(whole / "metrics.jsonl")
    assert any(f"skill/feedback/{skill}" in row for row in metrics for skill in SKILLS)
    designs = {row["design"] for row in rows(whole / "episodes.jsonl")}
    assert "original" in designs
    assert len(designs) > 2
    assert composed(f"resume={whole}").env.name == "heist"
    told = " ".join(re.sub(r"<[^>]+>", " ", (whole / "report.html").read_text()).split())
    assert "could not be made" not in told
    family, found = HeistFamily(HeistConfig()), Counter()  # type: ignore[var-annotated]
    for row in rows(whole / "episodes.jsonl"):
        if row["phase"] == "report-evaluation":
            found[family.grade(row["world_seed"])] += 1
    for grade, episodes in found.items():
        assert re.search(rf" {grade} {episodes} [\d.]+ \[", told)
