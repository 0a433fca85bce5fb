"""Runs of the whole pipeline in tests: composed, run, killed, and what must be equal afterwards."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import warm

from envgen_exp.commands import run as command
from envgen_exp.commands.compose import compose_run
from envgen_exp.config import RunConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.design import Design
from envgen_exp.families.family import DesignCheck
from envgen_exp.run import checkpoint
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import RunSummary

SMOKE = ("debug=smoke", "num_threads=1", "env.num_threads=1")


def composed(*overrides: str) -> RunConfig:
    """A run at smoke scale; a resumed one's config comes from its folder."""
    return compose_run(overrides if any("resume=" in word for word in overrides) else [*SMOKE, *overrides])


def run(folder: Path, *overrides: str) -> Path:
    """Run, or go on with, the run in a folder."""
    exists = (folder / "config.yaml").exists()
    config = composed(f"resume={folder}") if exists else composed(f"folder={folder}", *overrides)
    assert command.run(config, []) == 0
    return folder


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of pytest-xdist's processes to ask for it makes; all share it, so none may change it."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    folder, made = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.touch()
    return folder


def smoke(factory: pytest.TempPathFactory) -> Path:
    """The finished run of SMOKE, with all that it leaves."""
    return once(factory, "smoke", run)


@contextmanager
def quick() -> Iterator[None]:
    """Runs inside it look at 2 sampled worlds of each design, not 64, and make no report.html and no last table.

    That is half of their time. For tests of what none of it changes, such as going on after a kill; forked children
    inherit it.
    """
    check = CrafterFamily.check

    def few(self: CrafterFamily, design: Design, *, num_worlds: int = 2) -> DesignCheck:
        return check(self, design, num_worlds=num_worlds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrafterFamily, "check", few)
        patch.setattr(command, "write_report", lambda folder: folder)
        patch.setattr(command, "tell_run", lambda *_: None)
        yield


def summary(folder: Path) -> RunSummary:
    """What a finished run came to."""
    found = RunRecord(folder).summary
    assert found is not None
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def final_state(folder: Path) -> dict[str, Any]:
    """Everything that must be equal after a kill and a resume."""
    _, state, notes = checkpoint.load_latest(folder / "checkpoints")
    assert state is not None
    assert not notes
    state.pop("seconds")
    state["logs"].pop("timings")
    result: dict[str, Any] = {"state": flat(state)}
    for file in (folder / "metrics.jsonl", folder / "episodes.jsonl", *sorted((folder / "phases").iterdir())):
        result[file.name] = file.read_bytes()
    return result


def flat(value: Any) -> Any:
    """Tensors as bytes, so that == compares bit for bit."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.numpy().tobytes())
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [flat(item) for item in value]
    return value


def fork(work: Callable[[], object]) -> int:
    """Start `work` in a forked process, which has all imports already; it exits with 0, or 99 for an exception."""
    warm.import_all()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        gc.freeze()  # a collection would copy all pages
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not go on as a second pytest
            traceback.print_exc()
            os._exit(99)
    return child


def wait(child: int) -> int:
    """The exit status of a child, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    """End this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
