"""Sweeps: what a folder may hold, who shares the cores, placebos' sources, kills and restarts, the page of studies."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import make_studies as studies
import pytest
from runs import SMOKE, die, final_state, fork, run, wait

from envgen_exp.commands import cli, sweep
from envgen_exp.commands import run as command
from envgen_exp.commands.compose import Sweep, compose_run, compose_sweep
from envgen_exp.config import RunConfig
from envgen_exp.designers.config import PlaceboConfig
from envgen_exp.errors import ConfigError
from envgen_exp.guard.writing import write_json
from envgen_exp.run import loop as pipeline
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.identity import identity
from envgen_exp.run.plan import training_steps

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "studies.md"


def swept(*overrides: str) -> Sweep:
    return compose_sweep([*SMOKE, *overrides])


def make(config: RunConfig, folder: Path) -> Path:
    """The folder that a run with this config would begin with."""
    path = folder / identity(config)
    config = dataclasses.replace(config, folder=str(path))
    RunFolder.create(config, command="python run.py", versions={}, chosen={}).close()
    return path


# The folder


def test_a_sweep_takes_a_folder_that_holds_one_of_its_treatments(tmp_path: Path) -> None:
    sweep.check_folder(swept("seed=0,1", f"hydra.sweep.dir={tmp_path}/not-there"))
    make(compose_run([*SMOKE, "seed=7", "cycles=1"]), tmp_path)
    sweep.check_folder(swept("seed=0,1", "cycles=1,2", f"hydra.sweep.dir={tmp_path}"))


@pytest.mark.parametrize(
    ("what", "says"), [("another sweep", "another sweep"), ("a run", "a run's folder"), ("a file", "other things")]
)
def test_a_foreign_folder_is_refused_and_left_as_it_is(
    what: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    if what == "a file":
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
    else:
        made = make(compose_run([*SMOKE, "cycles=3"]), folder)
        folder = made if what == "a run" else folder
    before = sorted(folder.rglob("*"))
    assert cli.main(["-m", *SMOKE, "seed=0,1", f"hydra.sweep.dir={folder}"]) == 2
    assert says in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


# The cores


@pytest.mark.parametrize(
    ("typed", "cores", "shared"),
    [
        ([], 8, []),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], 8, ["num_threads=4", "env.num_threads=4"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=-1"], 8, ["num_threads=1", "env.num_threads=1"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"], 2, ["num_threads=1", "env.num_threads=1"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "num_threads=3"], 8, ["env.num_threads=4"]),
    ],
)
def test_runs_side_by_side_share_the_cores(
    typed: list[str], cores: int, shared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert sweep.threads(compose_sweep(["seed=0,1", *typed])) == shared


# Placebos


def test_a_placebo_is_told_the_rates_of_its_sweeps_next_lower_seed(tmp_path: Path) -> None:
    def sources(seeds: str) -> dict[int, int]:
        planned = swept("arm=adaptive,placebo_another", f"seed={seeds}", f"hydra.sweep.dir={tmp_path}")
        seed_of = {tmp_path / identity(r.config): r.config.seed for r in planned.runs if r.source is None}
        return {r.config.seed: seed_of[r.source] for r in planned.runs if r.source is not None}

    assert sources("3,5,9") == {3: 5, 5: 3, 9: 5}
    assert sources("3,5,9,11") == {3: 5, 5: 3, 9: 5, 11: 9}
    for typed in (["arm=adaptive,placebo_another", "seed=0"], ["arm=original,placebo_another", "seed=0,1"]):
        with pytest.raises(ConfigError, match="needs an adaptive run with another seed"):
            swept(*typed)


def test_a_placebo_waits_for_its_source_and_runs_when_all_others_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[RunConfig] = []

    def stand_in(config: RunConfig, argv: Sequence[str]) -> int:
        ran.append(config)
        path = Path(config.folder or "")
        RunFolder.create(config, command="python run.py", versions={}, chosen={}).close()
        write_json(path / "phases" / "000-cycle1-evaluate.json", {"skills": {"seed": config.seed}})
        for name in ("summary.json", "report.html"):
            (path / name).touch()
        return 0

    monkeypatch.setattr(sweep, "run_once", stand_in)
    monkeypatch.setattr(sweep, "tell_tables", lambda folder: None)
    typed = ["arm=adaptive,placebo_another", "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert cli.main(["-m", *SMOKE, *typed]) == 0
    adaptive, placebo = "adaptive", "placebo"
    assert [(c.designer.name, c.seed) for c in ran] == [(adaptive, 0), (adaptive, 1), (placebo, 1), (placebo, 0)]
    told = [c.designer.told for c in ran if isinstance(c.designer, PlaceboConfig)]
    assert told == [[{"seed": 0}], [{"seed": 1}]]
    assert "envgen: failed" not in capsys.readouterr().err


# Kills


def test_a_killed_sweep_goes_on_without_loss_or_repetition(tmp_path: Path) -> None:
    argv = ["-m", *SMOKE, "arm=original", "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]

    def killed_in_the_second() -> None:
        launched = command.run

        def second_dies(config: RunConfig, argv: Sequence[str]) -> int:
            if config.seed == 1:
                pipeline.Run.report = lambda self: die()  # type: ignore[method-assign]
            return launched(config, argv)

        sweep.run_once = second_dies
        cli.main(argv)

    assert wait(fork(killed_in_the_second)) == -signal.SIGKILL
    first, second = (tmp_path / "sweep" / identity(r.config) for r in swept("arm=original", "seed=0,1").runs)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert (first / "summary.json").exists()
    assert not (second / "summary.json").exists()

    def again() -> None:
        assert cli.main(argv) == 0

    assert wait(fork(again)) == 0
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
    assert final_state(second) == final_state(run(tmp_path / "unbroken", "arm=original", "seed=1"))
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "2 finished runs" in page


def test_a_signal_that_stopped_a_run_is_handed_on_to_who_handled_it_before() -> None:
    handed: list[int] = []

    def requeue(number: int, frame: FrameType | None) -> None:
        handed.append(number)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        sweep.hand_on(128 + signal.SIGUSR2)
        sweep.hand_on(128 + signal.SIGTERM)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert handed == [signal.SIGUSR2]


def test_a_killed_worker_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def launcher(argv: Sequence[str]) -> None:
        raise RuntimeError("a worker was killed")

    monkeypatch.setattr(sweep, "hydra_main", launcher)
    folder = tmp_path / "sweep"
    assert cli.main(["-m", *SMOKE, "seed=0,1", f"hydra.sweep.dir={folder}"]) == 1
    err = capsys.readouterr().err
    assert "ended early (RuntimeError)" in err
    assert "envgen: not finished: seed=0\nenvgen: not finished: seed=1\nenvgen: 2 of 2 runs; to go on:\n" in err
    assert f" hydra.sweep.dir={folder}" in err.splitlines()[-1]  # without it the same words begin another sweep
    assert "a worker was killed" in (folder / "logs" / "launcher.txt").read_text()
    assert len(json.loads((folder / "sweep.json").read_text())["runs"]) == 2


# The studies


@pytest.mark.parametrize("experiment", ["table2", "table3", "table7"])
def test_arms_of_a_table_have_equal_budgets(experiment: str) -> None:
    for scale, steps in (("laptop", 313_600), ("paper", 1_960_000)):
        planned = compose_sweep([f"experiment={experiment}", f"scale={scale}", "seed=0"])
        assert {training_steps(r.config) for r in planned.runs} == {steps}
        for r in planned.runs:
            for phase in (r.config.schedule.designed_steps, r.config.schedule.original_steps):
                assert phase % r.config.ppo.num_envs == 0


def test_seeds_of_the_papers_scale_share_design_sets_by_tens() -> None:
    assert [compose_run(["scale=paper", f"seed={seed}"]).design_set for seed in (0, 9, 10, 29)] == [0, 0, 1, 2]


@pytest.mark.parametrize("study", ["verdict", "driving"])
def test_what_make_types_gives_each_seed_a_design_set_of_its_own(study: str) -> None:
    done = subprocess.run(
        ["make", "-n", "sweep", f"STUDY={study}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    command = done.stdout.replace("\\\n", " ").partition("run.py -m ")[2].splitlines()[0]
    words = [word for word in command.split() if "launcher" not in word]
    planned = compose_sweep([*words, "arm=original"]).runs
    sets = {config.seed if config.design_set is None else config.design_set for config in (r.config for r in planned)}
    assert len(sets) == len(planned) > 1


SMALL = {"sweep_smoke", "obfuscated", "heist", "agents"}
"""Those with few runs; the others' hundreds take minutes."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in SMALL else pytest.mark.long) for name in studies.experiments("laptop")],
)
def test_the_page_of_studies_is_up_to_date(name: str) -> None:
    assert studies.row(name, "laptop") in PAGE.read_text(), "make studies writes it anew"


def test_the_page_has_a_study_at_the_papers_scale_too() -> None:
    assert studies.row("table2", "paper") in PAGE.read_text(), "make studies writes it anew"


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("mine")
    with pytest.raises(ConfigError, match="marks"):
        studies.main([str(page)])
    assert page.read_text() == "mine"
