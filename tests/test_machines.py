"""What machines and agents around a run do to it: memory, pipes, globs, W&B's agents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import runs
import warm

from envgen_exp.commands import run as command
from envgen_exp.commands.compose import compose_sweep
from envgen_exp.errors import ConfigError
from envgen_exp.run.pasted import pasted
from envgen_exp.run.record import RunRecord
from envgen_exp.tracking import wandb

RUN = Path(__file__).parents[1] / "run.py"


def test_a_rollout_that_no_memory_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = runs.composed(f"folder={tmp_path / 'run'}", "ppo.num_steps=1000000000")
    with pytest.raises(ConfigError, match=r"ppo\.num_steps=1000000000, ppo\.num_envs=4: a rollout takes [\d,.]+ GiB"):
        command.run(config, [])
    assert not (tmp_path / "run").exists()


def test_help_into_a_pipe_that_closes_ends_quietly() -> None:
    shell = f"{sys.executable} {RUN} --help | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_glob_finds_options_and_no_schemas() -> None:
    swept = compose_sweep(["debug=smoke", "ppo=glob(s*)", "hydra.sweep.dir=multirun/none"])
    assert sorted({run.config.ppo.name for run in swept.runs}) == ["smoke", "symbolic", "symbolic_long"]


def test_one_run_of_a_process_takes_the_agents_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "agents-run")
    monkeypatch.setattr(wandb, "_agent_served", False)
    warned: list[str] = []
    ids = []
    for name in ("first", "second"):
        folder = tmp_path / name / "wandb"
        folder.mkdir(parents=True)
        tracker = wandb.WandbTracker(runs.composed(), folder.parent, warned.append, RunRecord, 0)
        ids.append(tracker._run_id(folder))
    assert ids[0] == "agents-run"
    assert ids[1] != "agents-run"
    assert len(warned) == 1
    assert ids[1] in warned[0]


def test_too_little_memory_to_load_is_one_line() -> None:
    """Where a library says so; with some limits torch's own constructors end the process."""
    shell = f"ulimit -v 150000; OPENBLAS_NUM_THREADS=1 exec {sys.executable} {RUN} dry_run=true"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("envgen: error: no memory to load what a run needs (ulimit -v may be too low)")


FULL = """
import resource, signal, sys
from envgen_exp.commands.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_names_the_command_that_goes_on(tmp_path: Path) -> None:
    done = warm.run(["-c", FULL, *runs.SMOKE, "tracker=none", f"folder={tmp_path / 'run'}"], cwd=RUN.parent)
    assert done.returncode == 2
    assert "no disk space left" in done.stderr
    assert done.stdout.endswith("to go on:\n" + pasted(f"python run.py resume={tmp_path / 'run'}") + "\n")
    assert "Traceback" not in done.stderr
