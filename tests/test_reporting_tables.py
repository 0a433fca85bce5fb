"""The table of a run, from its summary."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from studies import SUMMARY

from envgen_exp.reporting.run.terminal import next_commands, print_summary, shown_cycles, varied
from envgen_exp.run.summary import RunSummary


def printed(summary: RunSummary, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_summary(summary, console, next_commands(summary))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def cells(text: str, first: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(first)).split()


def test_the_table_has_rates_intervals_and_marked_changes() -> None:
    text = printed(SUMMARY)
    # Wilson's interval of 307/1000 is 27.9 to 33.6; of the change from 10/100, Newcombe's leaves out zero.
    assert cells(text, "collect_coal")[1:] == ["10.0", "20.0", "30.7", "27.9", "-", "33.6", "+20.7", "*"]
    assert cells(text, "collect_diamond")[1:] == ["0", "0", "0.10", "0.02", "-", "0.56", "+0.1"]
    assert cells(text, "wake_up")[-1] == "-0.5"
    assert cells(text, "score")[1:] == ["3.2", "4.5", "5.1", "4.8", "-", "5.5"]


def test_a_report_of_another_look_is_compared_with_no_cycle() -> None:
    seen = dataclasses.replace(SUMMARY.report, trials=dict.fromkeys(SUMMARY.skills, 1000))
    summary = dataclasses.replace(SUMMARY, report=seen)
    text = printed(summary, 300)
    assert cells(text, "collect_coal")[-2:] == ["+10.0", "*"]
    assert "change: cycle 2 - cycle 1 in points" in text
    alone = dataclasses.replace(summary, feedback=SUMMARY.feedback[:1], feedback_scores=SUMMARY.feedback_scores[:1])
    assert "change" not in printed(alone, 300)


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
        ({"designer": "original", "asks": False}, "0 (designer=original asks for no designs)"),
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
        f"python -m wandb sync '{tmp_path}/a run/wandb/offline-run-1-x'",
        f"python -m envgen_exp report '{tmp_path}/a run'",
    ]
    assert (
        varied("python run.py folder=x 'env.tags=[a, b]' +seed=1", seed="2") == "python run.py 'env.tags=[a, b]' seed=2"
    )
