"""Each launcher completes a sweep of four runs: joblib with two workers, submitit on this machine, a local Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import rows

RUN = Path(__file__).parents[1] / "run.py"
SWEEP = ["-m", "scale=smoke", "arm=adaptive,original", "seed=0,1"]

pytestmark = pytest.mark.launchers

LAUNCHERS = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra.launcher.timeout_min=10"],
    "ray": ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"],
}


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(RUN), *SWEEP, f"hydra.sweep.dir={folder}", *overrides],
        cwd=folder.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(folder: Path) -> dict[str, bytes]:
    """The metrics of each finished run, by its folder's name."""
    return {file.parent.name: (file.parent / "metrics.jsonl").read_bytes() for file in folder.glob("*/summary.json")}


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the sweep's runs are when they run one after another, on as many threads as side by side."""
    folder = tmp_path_factory.mktemp("turn") / "sweep"
    process = start(folder, "num_threads=1", "env.num_threads=1")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "run 4 of 4, seed=1 arm=original: finished\n" in out
    return finished(folder)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_by_this_launcher(launcher: str, in_turn: dict[str, bytes], tmp_path: Path) -> None:
    if launcher != "joblib":
        pytest.importorskip(launcher.partition("_")[0])
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    process = start(tmp_path / "sweep", f"hydra/launcher={launcher}", *LAUNCHERS[launcher])
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "report.html" in out
    assert len(in_turn) == 4
    assert finished(tmp_path / "sweep") == in_turn


def test_workers_end_with_a_checkpoint_when_their_launcher_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    joblib = ["hydra/launcher=joblib", *LAUNCHERS["joblib"], "schedule.final_steps=200_000"]
    process = start(folder, *joblib)
    working = wait_for(lambda: [file for file in folder.glob("*/metrics.jsonl") if len(rows(file)) > 10])
    process.kill()
    process.communicate()
    owners = [int(lock.read_text()) for lock in folder.glob("*/lock")]
    assert owners
    wait_for(lambda: not any(alive(owner) for owner in owners))
    assert any("stopped by SIGTERM" in log.read_text() for log in (folder / "logs").iterdir())
    assert working


def test_submitit_requeues_a_run_that_is_preempted(in_turn: dict[str, bytes], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    folder = tmp_path / "sweep"
    process = start(folder, "hydra/launcher=submitit_local", *LAUNCHERS["submitit_local"])
    (metrics, *_) = wait_for(lambda: [file for file in folder.glob("*/metrics.jsonl") if len(rows(file)) > 3])
    owner = int((metrics.parent / "lock").read_text())
    os.kill(owner, signal.SIGUSR2)
    _, err = process.communicate()
    assert process.returncode == 0, err
    logs = [log.read_text() for log in (folder / "logs").iterdir()]
    assert any("stopped by SIGUSR2" in log for log in logs)
    assert finished(folder) == in_turn


def wait_for(condition, seconds: float = 120):  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("waited in vain")


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
