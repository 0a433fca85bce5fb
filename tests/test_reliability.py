"""A run survives anything and ends as if nothing had happened."""

from __future__ import annotations

import itertools
import os
import random
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from runs import SMOKE, composed, die, final_state, fork, quick, rows, wait

from envgen_exp.commands import cli
from envgen_exp.commands import run as command
from envgen_exp.designers import DESIGNERS
from envgen_exp.errors import CheckpointError, EngineFailure, MemoryFullError, NumericsError, RunFolderError
from envgen_exp.families.crafter.engine import NativeVector
from envgen_exp.learners import LEARNERS
from envgen_exp.learners.ppo.training import TrainingPhase
from envgen_exp.run import checkpoint, preparation, session, stopping
from envgen_exp.run import loop as pipeline
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.pasted import pasted
from envgen_exp.run.session import Session
from envgen_exp.run.stored import resume_command
from envgen_exp.tracking.progress import QuietProgress
from envgen_exp.tracking.wandb import Trackers

ROOT = Path(__file__).parents[1]

SHORT = ("env.designed_length=30", "env.original_length=30", "evaluation.report_episodes=2")
"""The shortest evaluations; all runs here have them."""

SMALL = (
    "ppo.num_steps=4",
    "schedule.designed_steps=32",
    "schedule.original_steps=32",
    "schedule.final_steps=48",
    "checkpoint.every_steps=16",
    "evaluation.report_episodes=2",
    "env.designed_length=20",
    "env.original_length=30",
)
"""The smallest runs with a checkpoint inside every phase of training."""

NEEDS = {
    "human": (f"designer.file={ROOT / 'examples' / 'designs.yaml'}",),
    "placebo_another": ("designer.placebo_from={whole}", "seed=1"),
    "blend": ("designer.num_designs=2",),
    "fixed_large": ("llm.strict=false",),  # it was asked of episodes of another length
    "plr": ("designer.population=2", "designer.worlds_per_design=2"),
    "adversarial": ("designer.num_candidates=6", "designer.validation_episodes=1"),
    "sfl": ("designer.num_candidates=6", "designer.validation_episodes=1"),
    "adversarial_deducted": ("designer.num_candidates=6", "designer.validation_episodes=1"),
    "easy_to_hard": (
        "designer.num_candidates=8",
        "designer.validation_episodes=1",
        "designer.validation_steps=32",
    ),
}
"""What designers need beside their name, or to be quick; {whole} is a finished run."""

ELSEWHERE = ("corner_cases",)
"""Arms whose designs are another game's."""

DESIGNED = {name: (f"designer={name}", *NEEDS.get(name, ())) for name in DESIGNERS.names} | {
    path.stem: (f"arm={path.stem}", *NEEDS.get(path.stem, ()))
    for path in sorted((ROOT / "conf" / "arm").glob("*.yaml"))
    if path.stem not in (*DESIGNERS.names, *LEARNERS.names, *ELSEWHERE)
}
"""Every designer, and every arm that is more than one; language models that play are killed by test_agents.py."""

PLAYED = {
    f"{engine}, {observation}": (f"env.engine={engine}", f"env.observation={observation}", f"cycles={cycles}")
    for engine, cycles in (("native", 2), ("reference", 1))  # the reference takes a second for a handful of worlds
    for observation in ("symbolic", "pixels")
}

AS_REFERENCE = ("original", "adaptive", "plr", "blend")
"""What is also played by the reference, ten times as slow: designers know no engine, these ask most of it."""

VARIANTS = {
    f"{played}, {designed}": (*SMALL, *PLAYED[played], *DESIGNED[designed])
    for played in PLAYED
    for designed in (AS_REFERENCE if played.startswith("reference") else DESIGNED)
}
VARIANTS["native, symbolic, adaptive, with memory"] = (*VARIANTS["native, symbolic, adaptive"], "ppo.memory=8")
VARIANTS["native, symbolic, adaptive, with distillation"] = (
    *VARIANTS["native, symbolic, adaptive"],
    *("ppo.aux_freq=16", "ppo.aux_epochs=1", "env.original_length=20", "schedule.final_steps=384"),
)
FEW = (
    "native, symbolic, adaptive",
    "native, pixels, adaptive",
    "native, symbolic, easy_to_hard",
    "native, symbolic, plr",
)
"""Both observations, and the designers with the most to remember; `make chaos` has all others, the reference too."""


def chaos_kills(variant: str) -> int:
    """Kills of a variant, more than 200 in all."""
    return 2 if variant.startswith("reference") else 6


@pytest.fixture(scope="module", autouse=True)
def quickly() -> Iterator[None]:
    """A page, and how many worlds of a design are looked at, are no part of what a run goes on from."""
    with quick():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    return runs.once(tmp_path_factory, "whole", run)


def run(folder: Path, *overrides: str) -> Path:
    """Do, or go on with, a run of short episodes."""
    return runs.run(folder, *SHORT, *overrides)


def killed_at_random(folder: Path, overrides: Sequence[str], kills: int, rng: random.Random, longest: float) -> int:
    """Kill the run at random moments, then let it end; returns how many of the kills met a living process."""
    met = 0
    for _ in range(kills):
        child = fork(lambda: run(folder, *overrides))
        moment = time.monotonic() + rng.uniform(0.0, longest)
        while time.monotonic() < moment and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.005)  # one that has ended is not waited for
        os.kill(child, signal.SIGKILL)
        met += wait(child) == -signal.SIGKILL
    assert wait(fork(lambda: run(folder, *overrides))) == 0
    return met


def test_killed_at_every_phase_boundary(whole: Path, tmp_path: Path) -> None:
    """Before a phase's file is written, between it and its checkpoint, and after both; at every phase of one run."""
    folder = tmp_path / "run"

    def until_killed(point: str, phase: int) -> None:
        finish, save = RunFolder.finish_phase, Session.save

        def finish_phase(self: RunFolder, index: int, *args: Any) -> None:
            if index == phase and point == "before":
                die()
            finish(self, index, *args)
            if index == phase and point == "between":
                die()

        def save_(self: Session, *args: Any) -> None:
            save(self, *args)
            if self._position == phase + 1 and point == "after":
                die()

        RunFolder.finish_phase = finish_phase  # type: ignore[assignment]
        Session.save = save_  # type: ignore[assignment]
        run(folder)

    for phase in range(len(list((whole / "phases").iterdir()))):
        for point in ("before", "between", "after"):
            assert wait(fork(lambda point=point, phase=phase: until_killed(point, phase))) == -signal.SIGKILL  # type: ignore[misc]
    run(folder)
    assert final_state(folder) == final_state(whole)


def test_killed_at_random_moments(whole: Path, tmp_path: Path) -> None:
    expected, rng = final_state(whole), random.Random(6)
    met = number = 0
    while met < 10:  # a kill that comes too late meets no run
        met += killed_at_random(tmp_path / f"run{number}", (), 12, rng, longest=0.6)
        assert final_state(tmp_path / f"run{number}") == expected
        number += 1


def killed_until(variant: str, kills: int, whole: Path, tmp_path: Path) -> None:
    """Kill runs of a variant, up to 12 times each, until so many kills have met a living process."""
    overrides = [word.format(whole=whole) for word in VARIANTS[variant]]
    rng = random.Random(variant)
    start = time.monotonic()
    expected = final_state(run(tmp_path / "unbroken", *overrides))
    lasts = time.monotonic() - start
    met = number = 0
    while met < kills:
        folder = tmp_path / f"run{number}"
        met += killed_at_random(folder, overrides, min(12, kills - met), rng, longest=lasts)
        assert final_state(folder) == expected
        number += 1
    print(f"{variant}: {met} kills in {number} runs, no difference")


@pytest.mark.parametrize("variant", FEW)
def test_every_variant_is_killed(variant: str, whole: Path, tmp_path: Path) -> None:
    killed_until(variant, 1, whole, tmp_path)


@pytest.mark.chaos
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_killed_at_many_moments(variant: str, whole: Path, tmp_path: Path) -> None:
    killed_until(variant, chaos_kills(variant), whole, tmp_path)


@pytest.mark.parametrize("signum", stopping.SIGNALS)
def test_a_signal_ends_a_run_with_a_checkpoint_and_the_command_that_goes_on(
    signum: signal.Signals, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"

    def until_stopped() -> None:
        boundary = Session.boundary

        def boundary_(self: Session, *args: Any) -> None:
            boundary(self, *args)
            if self.current.name == "cycle1-train-original":
                os.kill(os.getpid(), signum)

        Session.boundary = boundary_  # type: ignore[assignment]
        session.SNAPSHOT_SHARE = 0  # rollouts of milliseconds would have none
        os._exit(command.run(composed(f"folder={folder}", *SHORT, "checkpoint.every_steps=0"), []))

    assert wait(fork(until_stopped)) == 128 + signum
    assert capfd.readouterr().out.rstrip().splitlines()[-1] == pasted(f"python run.py resume={folder}")
    _, state, _ = checkpoint.load_latest(folder / "checkpoints")
    assert state is not None
    assert state["inside"] is not None, "the snapshot of the last boundary was not written"
    run(folder)
    assert final_state(folder) == final_state(whole)


def test_a_signal_in_a_long_update_falls_back_to_the_last_snapshot(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"

    def until_stopped() -> None:
        train = TrainingPhase._train_once

        def train_once(self: TrainingPhase) -> Any:
            if self.learner.updates == 11:
                # The main thread is in C for minutes, as in the backward pass of a large network.
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
                torch.mm(torch.zeros(20_000, 20_000, dtype=torch.float32), torch.zeros(20_000, 20_000))
                die()  # the signal should have ended the process long before
            return train(self)

        TrainingPhase._train_once = train_once  # type: ignore[method-assign]
        stopping.GRACE = 0.3
        command.run(composed(f"folder={folder}", *SHORT, "checkpoint.every_steps=0"), [])

    assert wait(fork(until_stopped)) == 128 + signal.SIGTERM
    assert capfd.readouterr().out.rstrip().splitlines()[-1] == pasted(f"python run.py resume={folder}")
    run(folder)
    assert final_state(folder) == final_state(whole)


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    def until_stopped() -> None:
        def boundary(self: Session, inside: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)

        def stopped(self: pipeline.Run, why: str) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("still here")

        Session.boundary = boundary  # type: ignore[method-assign, assignment]
        pipeline.Run.stopped = stopped  # type: ignore[method-assign]
        command.run(composed(f"folder={tmp_path / 'run'}"), [])

    assert wait(fork(until_stopped)) == 128 + signal.SIGINT


@pytest.fixture(scope="module")
def interrupted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed inside a phase, with two checkpoints."""

    def until_killed(folder: Path) -> None:
        save = Session.save_snapshot

        def save_(self: Session) -> None:
            save(self)
            if self.trained >= 600:
                die()

        Session.save_snapshot = save_  # type: ignore[method-assign]
        run(folder)

    def interrupt(folder: Path) -> None:
        assert wait(fork(lambda: until_killed(folder))) == -signal.SIGKILL
        assert len(list((folder / "checkpoints").glob("*.pt"))) == 2

    return runs.once(tmp_path_factory, "interrupted", interrupt)


@pytest.fixture
def interrupted(interrupted_once: Path, tmp_path: Path) -> Path:
    """A run killed inside a phase, a test's own."""
    return shutil.copytree(interrupted_once, tmp_path / "run")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "sum"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_used(
    damage: str, whole: Path, interrupted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted
    newest = max((folder / "checkpoints").glob("*.pt"))
    data = bytearray(newest.read_bytes())
    if damage == "cut":
        newest.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 4
        newest.write_bytes(data)
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "gone":
        newest.unlink()
    else:
        newest.with_suffix(".json").write_text("{")
    run(folder)
    assert f"passed over: checkpoint {newest} is damaged" in " ".join(capfd.readouterr().out.split())
    assert final_state(folder) == final_state(whole)


def test_a_signal_while_a_run_opens_ends_it_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    closed: list[QuietProgress] = []
    monkeypatch.setattr(QuietProgress, "close", lambda self: closed.append(self))
    folder = tmp_path / "run"
    for place, word in (((Trackers, "start"), f"folder={folder}"), ((preparation, "origin"), f"resume={folder}")):
        with monkeypatch.context() as patch:
            patch.setattr(*place, stops)
            assert command.run(composed(word, "verbosity=quiet"), []) == 128 + signal.SIGTERM
        said = f"stopped by SIGTERM; to go on:\n{resume_command(folder, composed().llm)}\n"
        assert capsys.readouterr().out.endswith(said)
    assert len(closed) == 1  # the display, which the first one had opened
    assert command.run(composed(f"resume={folder}", "dry_run=true"), []) == 0


def test_without_a_whole_checkpoint_a_run_is_refused(interrupted: Path) -> None:
    folder = interrupted
    for file in (folder / "checkpoints").glob("*.pt"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        run(folder)
    shutil.rmtree(folder / "checkpoints")
    before = (folder / "metrics.jsonl").read_bytes()
    for left in (None, 1):  # in its first training only what is logged tells
        for file in sorted((folder / "phases").iterdir())[left or 99 :]:
            file.unlink()
        with pytest.raises(CheckpointError, match=r"more than a phase has begun, and .* holds no checkpoint"):
            run(folder)
        assert (folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("log", ["metrics.jsonl", "episodes.jsonl", "timings.jsonl"])
def test_a_torn_line_is_cut_away(log: str, whole: Path, interrupted: Path) -> None:
    folder = interrupted
    with (folder / log).open("ab") as file:
        file.write(b'{"step": 12, "pha')
    run(folder)
    assert final_state(folder) == final_state(whole)


def test_a_log_shorter_than_its_checkpoint_says_is_refused(interrupted: Path) -> None:
    folder = interrupted
    os.truncate(folder / "metrics.jsonl", 10)
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl"):
        run(folder)


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(whole: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the end of the disk: the checkpoint does not fit, small files do."""
    folder = tmp_path / "run"

    def until_full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        save = Session.save

        def save_(self: Session, *args: Any) -> None:
            if self.trained >= 500:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            save(self, *args)

        Session.save = save_  # type: ignore[assignment]
        with pytest.raises(RunFolderError, match="no disk space left") as caught:
            run(folder)
        assert caught.value.exit_status
        assert "\n" not in str(caught.value)

    assert wait(fork(until_full)) == 0
    assert checkpoint.load_latest(folder / "checkpoints")[1] is not None
    run(folder)
    assert final_state(folder) == final_state(whole)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError(), RuntimeError("DefaultCPUAllocator: no")])
def test_no_memory_is_one_line_and_the_run_goes_on_later(error: Exception, whole: Path, tmp_path: Path) -> None:
    train = TrainingPhase._train_once

    def train_once(self: TrainingPhase) -> Any:
        if self.learner.updates >= 9:
            raise error
        return train(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingPhase, "_train_once", train_once)
        with pytest.raises(MemoryFullError, match="cycle1-train-original") as caught:
            run(tmp_path / "run")
        assert caught.value.exit_status == 1
    run(tmp_path / "run")
    assert final_state(tmp_path / "run") == final_state(whole)


@pytest.mark.parametrize("memory", [False, True], ids=["exception", "memory"])
def test_a_failing_engine_thread_is_one_line_and_the_run_goes_on_later(
    memory: bool, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the engine raises for an exception in any of its threads: tests/test_native_engine.py has it raise that."""
    folder = tmp_path / "run"

    def until_failed() -> None:
        step, steps = NativeVector.step, itertools.count(1)

        def step_(self: NativeVector, *args: Any, **kwargs: Any) -> Any:
            if next(steps) == 70:
                what = "the Crafter engine failed in slot 2 while being stepped"
                raise MemoryError(what) if memory else EngineFailure(what)
            return step(self, *args, **kwargs)

        NativeVector.step = step_  # type: ignore[method-assign]
        os._exit(cli.main([*SMOKE, *SHORT, "env.num_threads=3", f"folder={folder}"]))

    assert wait(fork(until_failed)) == 1
    printed = capfd.readouterr()
    assert printed.out.rstrip().splitlines()[-1] == pasted(f"python run.py resume={folder}")
    (line,) = [line for line in printed.err.splitlines() if "error" in line]
    assert ("no memory left in the phase cycle1-train-" if memory else "the Crafter engine failed in slot 2") in line
    assert "Traceback" not in printed.err
    run(folder)
    assert final_state(folder) == final_state(whole)


def test_a_loss_that_is_no_number_reaches_no_checkpoint(tmp_path: Path) -> None:
    train = TrainingPhase._train_once

    def poisoned(self: TrainingPhase) -> Any:
        if self.learner.updates == 9:
            with torch.no_grad():
                next(self.learner.agent.parameters()).fill_(float("nan"))
        return train(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingPhase, "_train_once", poisoned)
        with pytest.raises(NumericsError, match="not finite") as caught:
            run(tmp_path / "run")
    assert caught.value.exit_status == 1
    _, state, _ = checkpoint.load_latest(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert all(weights.isfinite().all() for weights in state["parts"]["learner"]["agent"].values())


def test_a_clock_that_jumps_changes_no_result(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Callable[[], float] = time.time
    jumps = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: clock() + jumps.uniform(-1e6, 1e6))
    run(tmp_path / "run")
    assert final_state(tmp_path / "run") == final_state(whole)


def test_another_machine_is_said_and_the_run_goes_on(
    whole: Path, interrupted: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted
    monkeypatch.setattr("envgen_exp.run.preparation.platform.python_version", lambda: "3.99.0")
    run(folder)
    assert "is 3.99.0: numbers may differ" in capfd.readouterr().out
    assert final_state(folder) == final_state(whole)


def test_what_checkpoints_cost_is_written_down(whole: Path) -> None:
    written = [row for row in rows(whole / "timings.jsonl") if "checkpoint/bytes" in row]
    assert len(written) >= 10
    assert all(row["checkpoint/bytes"] > 0 and row["seconds/checkpoint"] > 0 for row in written)
