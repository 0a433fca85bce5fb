"""The whole loop on the real Crafter at smoke scale: what it writes, that it repeats itself, what kills leave."""

from __future__ import annotations

import itertools
import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from envgen_exp import checkpoint, pipeline
from envgen_exp.config import RunConfig, freeze, register
from envgen_exp.errors import ConfigError, IdentityError
from envgen_exp.session import Session

CONF = Path(__file__).parents[1] / "conf"
SMOKE = ("debug=smoke", "tracker=none", "num_threads=1")


def composed(*overrides: str) -> RunConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return freeze(compose("config", overrides=[*SMOKE, *overrides]))


def run(folder: Path, *overrides: str) -> Path:
    assert pipeline.run(composed(f"folder={folder}", *overrides), []) == 0
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def final_state(folder: Path) -> dict[str, Any]:
    """Everything that must be equal after a kill and a resume."""
    _, state, notes = checkpoint.load_latest(folder / "checkpoints")
    assert state is not None
    assert not notes
    state.pop("seconds")
    state.pop("logs")
    buffer: dict[str, Any] = {"state": flat(state)}
    for name in ("metrics.jsonl", "episodes.jsonl"):
        buffer[name] = (folder / name).read_bytes()
    for file in sorted((folder / "phases").iterdir()):
        buffer[file.name] = file.read_bytes()
    return buffer


def flat(value: Any) -> Any:
    """Tensors as bytes, so that == compares bit for bit."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.numpy().tobytes())
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [flat(item) for item in value]
    return value


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process, which has all imports already; returns its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not go on as a second pytest
            traceback.print_exc()
            os._exit(99)
    return os.waitpid(child, 0)[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adaptive run that nothing interrupted."""
    return run(tmp_path_factory.mktemp("whole") / "run")


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

    summary = json.loads((whole / "summary.json").read_text())
    assert summary["score"] == pytest.approx(metrics[-1]["score/report"])


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


@pytest.mark.parametrize(
    "kill_at", [("log", 0), ("log", 1), ("log", 3), ("save", 0), ("save", 2), ("save", 5), ("phase", 4)]
)
def test_killed_and_resumed_it_ends_as_if_nothing_had_happened(
    whole: Path, tmp_path: Path, kill_at: tuple[str, int]
) -> None:
    method, count = kill_at
    folder = tmp_path / "run"

    def until_killed() -> None:
        original, calls = getattr(Session, method), 0

        def counted(self: Session, *args: Any) -> Any:
            nonlocal calls
            result = original(self, *args) if method != "phase" else None
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            return original(self, *args) if method == "phase" else result

        setattr(Session, method, counted)
        pipeline.run(composed(f"folder={folder}"), [])

    status = in_child(until_killed)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert pipeline.run(composed(f"resume={folder}"), []) == 0
    assert final_state(folder) == final_state(whole)


def test_stopped_by_a_signal_it_says_how_to_go_on(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"

    def until_stopped() -> None:
        original = Session.log

        def log(self: Session, *args: Any) -> None:
            original(self, *args)
            if self.current.kind == "original":
                os.kill(os.getpid(), signal.SIGTERM)

        Session.log = log  # type: ignore[method-assign]
        os._exit(pipeline.run(composed(f"folder={folder}"), []))

    assert os.WEXITSTATUS(in_child(until_stopped)) == 128 + signal.SIGTERM
    assert capfd.readouterr().out.rstrip().splitlines()[-1].endswith(f"python run.py resume={folder}")
    assert pipeline.run(composed(f"resume={folder}"), []) == 0
    assert final_state(folder) == final_state(whole)


def test_a_finished_run_resumed_shows_its_table_and_trains_nothing(
    whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = final_state(whole)
    assert pipeline.run(composed(f"resume={whole}"), []) == 0
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
        pipeline.run(composed(f"folder={tmp_path / 'run'}", "schedule.designed_steps=33"), [])
    assert not (tmp_path / "run").exists()


def test_resume_refuses_another_identity(whole: Path) -> None:
    with pytest.raises(IdentityError, match="seed was 0, is 5"):
        pipeline.run(composed(f"resume={whole}", "seed=5"), [])
