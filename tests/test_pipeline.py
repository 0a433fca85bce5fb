"""The whole loop on the real Crafter at smoke scale: what it writes, that it repeats itself, what kills leave."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from runs import composed, final_state, rows, run, smoke, summary

from envgen_exp.commands import run as command
from envgen_exp.errors import ConfigError, IdentityError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adaptive run that nothing interrupted."""
    return shutil.copytree(smoke(tmp_path_factory), tmp_path_factory.mktemp("whole") / "run")


def test_the_loop_leaves_a_whole_folder(whole: Path) -> None:
    config = composed()
    names = [file.stem.split("-", 1)[1] for file in sorted((whole / "phases").iterdir())]
    cycle = ("design", "train-designed", "train-original", "evaluate")
    expected = [f"cycle{n}-{phase}" for n in range(1, config.cycles + 1) for phase in cycle]
    assert names == [*expected, "final", "report-evaluation"]

    metrics = rows(whole / "metrics.jsonl")
    schedule = config.schedule
    designed, original = config.cycles * schedule.designed_steps, config.cycles * schedule.original_steps
    original += schedule.final_steps
    assert metrics[-1]["step"] == designed + original
    assert max(row.get("steps/designed", 0) for row in metrics) == designed
    assert max(row.get("steps/original", 0) for row in metrics) == original
    assert all(a["step"] <= b["step"] for a, b in itertools.pairwise(metrics))
    assert [row["llm/calls"] for row in metrics if "llm/calls" in row] == [0] * config.cycles

    episodes = rows(whole / "episodes.jsonl")
    played = [row for row in episodes if row["phase"] == "report-evaluation"]
    assert len(played) == config.evaluation.report_episodes
    assert {row["design"] for row in played} == {"original"}
    feedback = [row for row in episodes if row["phase"] == "cycle1-evaluate"]
    assert len(feedback) == config.evaluation.feedback_seeds * config.evaluation.feedback_episodes
    assert all(row["design"] != "original" for row in episodes if "train-designed" in row["phase"])

    assert summary(whole).score == pytest.approx(metrics[-1]["score/report"])


def test_no_world_is_in_two_sets(whole: Path) -> None:
    worlds: dict[str, set[int]] = {"train": set(), "feedback": set(), "report": set()}
    for row in rows(whole / "episodes.jsonl"):
        kind = "feedback" if "evaluate" in row["phase"] else "report" if "report" in row["phase"] else "train"
        worlds[kind].add(row["world_seed"])
    assert all(worlds.values())
    assert not worlds["train"] & worlds["feedback"]
    assert not worlds["train"] & worlds["report"]
    assert not worlds["feedback"] & worlds["report"]


def test_feedback_reaches_the_designer(whole: Path) -> None:
    def designs(number: int) -> list[dict[str, Any]]:
        file = next((whole / "phases").glob(f"*-cycle{number}-design.json"))
        result: list[dict[str, Any]] = json.loads(file.read_text())["proposal"]["designs"]
        return result

    assert len(designs(1)) == len(designs(2)) == 4
    assert designs(1) != designs(2)
    calls = [json.loads(file.read_text()) for file in (whole / "llm" / "calls").iterdir()]
    assert len(calls) == 2
    assert any("%" in json.dumps(call) for call in calls)


def test_the_same_command_gives_the_same_run(whole: Path, tmp_path: Path) -> None:
    assert final_state(run(tmp_path / "again")) == final_state(whole)


def test_another_seed_gives_another_run(whole: Path, tmp_path: Path) -> None:
    assert (run(tmp_path / "other", "seed=1") / "metrics.jsonl").read_bytes() != (whole / "metrics.jsonl").read_bytes()


def test_a_finished_run_resumed_shows_its_table_and_trains_nothing(
    whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = final_state(whole)
    assert command.run(composed(f"resume={whole}"), []) == 0
    assert "score" in capfd.readouterr().out
    assert final_state(whole) == before


def test_original_trains_the_same_total_and_asks_nobody(tmp_path: Path, whole: Path) -> None:
    folder = run(tmp_path / "run", "designer=original", "llm=gpt4")
    last, adaptive = rows(folder / "metrics.jsonl")[-1], rows(whole / "metrics.jsonl")[-1]
    assert last["step"] == adaptive["step"]
    assert {row["design"] for row in rows(folder / "episodes.jsonl")} == {"original"}
    assert not list((folder / "llm").glob("calls/*"))


def test_refusals_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_envs"):
        command.run(composed(f"folder={tmp_path / 'run'}", "schedule.designed_steps=33"), [])
    assert not (tmp_path / "run").exists()


def test_resume_refuses_another_identity(whole: Path) -> None:
    with pytest.raises(IdentityError, match="seed was 0, is 5"):
        command.run(composed(f"resume={whole}", "seed=5"), [])
