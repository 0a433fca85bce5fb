"""A command of tests/warm.py is a process of its own, and ends as one that really started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import warm

SCRIPT = """
import atexit, os, sys, threading
print(__name__, sys.argv, os.getcwd(), sorted(os.environ), os.getpgrp() == os.getpid(), sys.stdin.read(), flush=True)
atexit.register(print, "at the end")
threading.Timer(0.05, print, ["from a thread"]).start()
exec(sys.argv[1])
"""


@pytest.mark.parametrize("last", ["pass", "sys.exit(3)", "sys.exit('why')", "1 / 0", "os.kill(0, 9)"])
def test_it_ends_as_a_real_start_does(last: str, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "LC_CTYPE": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    words = ["-c", SCRIPT, last]
    ours = warm.run(words, cwd=tmp_path, env=environment)
    theirs = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert ours.stderr.splitlines()[-1:] == theirs.stderr.splitlines()[-1:]


def test_the_command_and_its_modules(tmp_path: Path) -> None:
    run = str(Path(__file__).parents[1] / "run.py")
    done = warm.run([run, "--cfg", "job", "seed=5"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("seed: 5\n")
    done = warm.run(["-m", "envgen_exp", "report", "nowhere"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "envgen: error: can't read nowhere: No such file or directory\n")
    assert not list(tmp_path.iterdir())


def test_two_at_once_signals_and_time() -> None:
    first, second = (warm.start(["-c", "import time; time.sleep(600)"]) for _ in range(2))
    os.kill(first.pid, signal.SIGTERM)
    assert first.wait().returncode == -signal.SIGTERM
    with pytest.raises(TimeoutError):
        second.wait(0.05)
    assert warm.run(["-c", "print('still there')"]).stdout == "still there\n"


def test_a_run_imports_nothing_that_compiles(tmp_path: Path) -> None:
    """Torch's optimizers and meta device would import its compiler, a second and a half of each start."""
    script = (
        "import sys; from envgen_exp.commands import cli\n"
        "assert cli.main(sys.argv[1:]) == 0\n"
        "print(sorted({'torch._dynamo', 'sympy'} & sys.modules.keys()))"
    )
    short = ["debug=smoke", "cycles=1", "schedule.final_steps=0", "env.original_length=20", "num_threads=1"]
    done = warm.run(["-c", script, *short, f"folder={tmp_path / 'run'}"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"
