"""The tables: of a run, from its summary, and of a sweep, from hand-made folders."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from rich.console import Console

from envgen_exp.config import freeze, identity, plain, register
from envgen_exp.errors import RunFolderError
from envgen_exp.report import main
from envgen_exp.reporting.collect import Study, collect, print_study
from envgen_exp.reporting.summary import RunSummary, Successes, next_commands, print_summary, shown_cycles, varied
from envgen_exp.run_folder import RunFolder

CONF = Path(__file__).parents[1] / "conf"

SUMMARY = RunSummary(
    folder="runs/one",
    command="python run.py experiment=demo seed=3",
    family="crafter",
    designer="adaptive",
    llm="offline",
    ppo="laptop",
    seed=3,
    uses_llm=False,
    skills=("collect_coal", "collect_diamond", "wake_up"),
    feedback=(
        Successes(100, {"collect_coal": 10, "collect_diamond": 0, "wake_up": 50}),
        Successes(100, {"collect_coal": 20, "collect_diamond": 0, "wake_up": 60}),
    ),
    feedback_scores=(3.25, 4.5),
    report=Successes(1000, {"collect_coal": 307, "collect_diamond": 1, "wake_up": 495}),
    score=5.125,
    score_low=4.75,
    score_high=5.5,
    reward=3.21,
    training_score=4.0,
    training_reward=2.5,
    training_episodes=1234,
    llm_calls=0,
    prompt_tokens=0,
    completion_tokens=0,
    cost=None,
    steps={"designed": 240_000, "original": 1_240_000, "feedback": 12_345, "report": 200_000},
    seconds=345.0,
)


def printed(summary: RunSummary, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_summary(summary, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def cells(text: str, first: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(first)).split()


def test_a_summary_survives_json() -> None:
    assert RunSummary.from_json(json.loads(json.dumps(SUMMARY.to_json()))) == SUMMARY


@pytest.mark.parametrize("change", [{"seed": ...}, {"surplus": 1}, {"feedback": [{"episodes": 3}]}, {"skills": 5}])
def test_a_broken_summary_is_one_line(change: dict[str, Any]) -> None:
    values = {**SUMMARY.to_json(), **change}
    values = {key: value for key, value in values.items() if value is not ...}
    with pytest.raises(RunFolderError, match="here is no run's summary"):
        RunSummary.from_json(values, "here")


def test_the_table_has_rates_intervals_and_marked_changes() -> None:
    text = printed(SUMMARY)
    # Wilson's interval of 307/1000 is 27.9 to 33.6; of the change from 10/100, Newcombe's leaves out zero.
    assert cells(text, "collect_coal")[1:] == ["10.0", "20.0", "30.7", "27.9", "-", "33.6", "+20.7", "*"]
    assert cells(text, "collect_diamond")[1:] == ["0", "0", "0.10", "0.02", "-", "0.56", "+0.1"]
    assert cells(text, "wake_up")[-1] == "-0.5"
    assert cells(text, "score")[1:] == ["3.2", "4.5", "5.1", "4.8", "-", "5.5"]


def test_headline_and_training_episode_score_are_told_apart() -> None:
    text = " ".join(printed(SUMMARY, 300).split())
    assert "score 5.12 % [4.75, 5.50], report evaluation, 1,000 episodes in the original; mean return 3.21" in text
    assert "training-episode score 4.00 %, mean return 2.50 (1,234 training episodes of the last phase" in text
    without = dataclasses.replace(SUMMARY, training_score=None, training_reward=None, training_episodes=0)
    assert "no training episode ended in the last phase" in printed(without, 300)


def test_steps_are_counted_apart() -> None:
    text = printed(SUMMARY, 300)
    assert "training designed 240,000 + original 1,240,000 = 1,480,000, feedback 12,345, report 200,000" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "0 (offline stand-in, not an LLM)"),
        ({"designer": "original"}, "0 (designer=original asks for no designs)"),
        ({"llm": "replay"}, "0 (llm=replay asked no language model)"),
        (
            {
                "uses_llm": True,
                "llm": "gpt4",
                "llm_calls": 5,
                "prompt_tokens": 12000,
                "completion_tokens": 3400,
                "cost": 0.156,
            },
            "5 to gpt4, 12,000 prompt and 3,400 completion tokens, $0.16",
        ),
        ({"uses_llm": True, "llm": "ollama", "llm_calls": 4}, "price not known"),
        ({"uses_llm": True, "llm": "gpt4", "llm_calls": 4, "known_cost": 0.1}, "at least $0.10"),
    ],
)
def test_llm_calls_are_named_for_what_they_are(changes: dict[str, Any], words: str) -> None:
    assert words in printed(dataclasses.replace(SUMMARY, **changes), 300)


@pytest.mark.parametrize("width", [200, 80, 60, 50, 40, 30])
@pytest.mark.parametrize("num_cycles", [1, 4, 40])
def test_numbers_are_whole_at_any_width(width: int, num_cycles: int) -> None:
    summary = dataclasses.replace(
        SUMMARY, feedback=SUMMARY.feedback[:1] * num_cycles, feedback_scores=(3.25,) * num_cycles
    )
    table = printed(summary, width).split("cycle: feedback")[0].split("change: ")[0]
    rows = [line for line in table.splitlines() if line.startswith(" ")]
    assert max(map(len, rows)) <= width
    assert not any("…" in line.split(maxsplit=1)[1] for line in rows)
    assert any("30.7" in line and "+20.7 *" in line for line in rows)
    assert ("27.9 - 33.6" in table) == (width >= 80 or (width == 60 and num_cycles == 1))
    assert f"cycle {num_cycles}" in table or width <= 50


def test_the_first_and_the_latest_cycles_are_shown() -> None:
    assert shown_cycles(4, 10) == [1, 2, 3, 4]
    assert shown_cycles(40, 4) == [1, 38, 39, 40]
    assert shown_cycles(3, 2) == [1, 3]
    assert shown_cycles(1, 2) == [1]


def test_commands_to_try_are_the_runs_own_with_one_change(tmp_path: Path) -> None:
    (tmp_path / "a run" / "wandb" / "offline-run-1-x").mkdir(parents=True)
    commands = next_commands(dataclasses.replace(SUMMARY, folder=str(tmp_path / "a run")))
    assert commands == [
        "python run.py experiment=demo seed=4",
        "python run.py experiment=demo seed=3 designer=original",
        "python run.py experiment=demo seed=3 llm=gpt4",
        f"wandb sync '{tmp_path}/a run/wandb/offline-run-1-x'",
        f"python -m envgen_exp.report '{tmp_path}/a run'",
    ]
    assert (
        varied("python run.py folder=x 'env.tags=[a, b]' +seed=1", seed="2") == "python run.py 'env.tags=[a, b]' seed=2"
    )


def make_run(folder: Path, *overrides: str, finished: bool = True, versions: str = "1", **numbers: Any) -> Path:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = freeze(compose("config", overrides=["scale=smoke", f"folder={folder}", *overrides]))
    RunFolder.create(config, command="python run.py", versions={"torch": versions}, chosen={"device": "cpu"}).close()
    (folder / "phases").mkdir()
    (folder / "phases" / "000-cycle1-design.json").write_text("{}")
    if finished:
        schedule = config.schedule
        steps = {
            "designed": config.cycles * schedule.designed_steps,
            "original": config.cycles * schedule.original_steps + schedule.final_steps,
            "feedback": 50,
            "report": 100,
        }
        summary = dataclasses.replace(
            SUMMARY, folder=str(folder), designer=config.designer.name, seed=config.seed, **{"steps": steps, **numbers}
        )
        (folder / "summary.json").write_text(json.dumps(summary.to_json()))
    assert yaml.safe_load((folder / "config.yaml").read_text())["identity"] == identity(config)
    assert plain(config)["seed"] == config.seed
    return folder


def text_of(study: Study, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_study(study, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_sweep_is_a_row_for_each_arm_with_its_spread(tmp_path: Path) -> None:
    for seed, score in ((0, 10.0), (1, 12.0), (2, 17.0)):
        make_run(tmp_path / f"a{seed}", "designer=adaptive", f"seed={seed}", score=score, reward=score / 10)
    make_run(tmp_path / "o0", "designer=original", score=8.0, training_score=None)
    study = collect(tmp_path)
    assert [(arm.label, len(arm.runs)) for arm in study.arms] == [
        ("adaptive, offline (not an LLM), laptop", 3),
        ("original, laptop", 1),
    ]
    assert study.notes == ()
    assert study.unfinished == ()
    text = text_of(study)
    # SD of 10, 12, 17 with n - 1 is sqrt(13).
    assert " ".join(cells(text, "1  adaptive")[-10:]) == "3 13.00 ± 3.61 4.00 ± 0.00 1.30 ± 0.36"
    assert " ".join(cells(text, "2  original")[-6:]) == "1 8.00 (n=1) - 3.21 (n=1)"
    assert cells(text.split("LLM calls")[1], "1")[:3] == ["1", "0", "-"]


def test_different_budgets_are_rows_of_their_own_and_said_so(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "seed=0")
    make_run(tmp_path / "b", "seed=1", "schedule.final_steps=800", "evaluation.report_episodes=9", versions="2")
    study = collect(tmp_path)
    assert [len(arm.runs) for arm in study.arms] == [1, 1]
    assert all(
        "schedule.final_steps=" in arm.label and "evaluation.report_episodes=" in arm.label for arm in study.arms
    )
    notes = "\n".join(study.notes)
    assert "the rows differ in training steps a run" in notes
    assert "the rows differ in episodes of the report evaluation" in notes
    assert "the runs differ in torch (1, 2)" in notes


def test_what_changes_no_result_makes_no_arm(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "seed=0", "tracker=none")
    make_run(tmp_path / "b", "seed=1", "tracker=wandb", "num_threads=2", "checkpoint.every_steps=9")
    make_run(tmp_path / "c", "seed=0", "designer=original", "llm=offline")
    make_run(tmp_path / "d", "seed=1", "designer=original", "llm=gpt4")
    assert [len(arm.runs) for arm in collect(tmp_path).arms] == [2, 2]


def test_a_repeated_run_counts_once(tmp_path: Path) -> None:
    make_run(tmp_path / "a", score=10.0)
    make_run(tmp_path / "b", score=20.0)
    study = collect(tmp_path)
    assert [len(arm.runs) for arm in study.arms] == [1]
    assert "b repeats" in study.notes[0]
    assert "counted once" in study.notes[0]
    assert "10.00 (n=1)" in text_of(study)


def test_steps_that_do_not_match_the_budget_are_noted(tmp_path: Path) -> None:
    make_run(tmp_path / "a", steps={"designed": 1, "original": 2, "feedback": 3, "report": 4})
    assert "trained 3 steps where its config asks for" in collect(tmp_path).notes[0]


def test_unfinished_runs_are_named_and_counted_in_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "seed=0")
    make_run(tmp_path / "b", "seed=1", finished=False)
    study = collect(tmp_path)
    assert [len(arm.runs) for arm in study.arms] == [1]
    text = text_of(study)
    assert "seed 1, 1 phases done; to go on:" in text
    assert f"python run.py resume={tmp_path / 'b'}" in text


def test_a_foreign_folder_among_runs_is_passed_over(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("a: 1\n")
    (tmp_path / "plain").mkdir()
    broken = make_run(tmp_path / "broken", "seed=5")
    (broken / "summary.json").write_text("{")
    study = collect(tmp_path)
    assert [len(arm.runs) for arm in study.arms] == [1]
    assert len(study.notes) == 2
    assert "other" in "".join(study.notes)
    assert "broken" in "".join(study.notes)


@pytest.mark.parametrize("make", ["missing", "empty", "foreign", "file"])
def test_what_is_no_run_is_one_line_and_exit_status_2(
    tmp_path: Path, make: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x"
    if make == "file":
        folder.write_text("")
    elif make != "missing":
        folder.mkdir()
    if make == "foreign":
        (folder / "config.yaml").write_text("nothing: here\n")
    assert main([str(folder)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("envgen: error: ")
    assert output.err.count("\n") == 1
    assert str(folder) in output.err


def test_the_command_prints_a_run_and_a_sweep(tmp_path: Path) -> None:
    run = make_run(tmp_path / "before", score=7.89).rename(tmp_path / "a")
    for folder, words in ((run, "7.89 % [4.75, 5.50], report evaluation"), (tmp_path, "7.89 (n=1)")):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "envgen_exp.report", str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert words in done.stdout
        assert f"\n  {run}\n" in done.stdout or folder != run
        assert not done.stderr
