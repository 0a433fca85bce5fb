"""Seconds from the start of `python run.py experiment=demo llm=offline tracker=wandb` to the first training step.

    python benchmarks/startup.py [--rounds 3]

Each round is a process of its own, with W&B offline, that ends when the first rollout is about to step; the clock
starts before the process does. Clock and processor time are medians over the rounds, stage by stage. The goal is 8
seconds on two cores.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOAL = 8.0
COMMAND = ("experiment=demo", "llm=offline", "tracker=wandb", "tracker.mode=offline")


class Stepping(BaseException):
    """The first rollout is about to step."""


def child(start: float, folder: Path) -> None:
    """One start of the command; the stages' (name, clock, processor time of this process) go into marks.json."""
    marks: list[tuple[str, float, float]] = []

    def mark(name: str) -> None:
        marks.append((name, time.monotonic() - start, time.process_time()))

    def ends(name: str, owner: Any, function: str) -> None:
        """The stage `name` ends when this function has returned."""
        inner: Callable[..., Any] = getattr(owner, function)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            result = inner(*args, **kwargs)
            mark(name)
            return result

        setattr(owner, function, timed)

    mark("Python")
    from envgen_exp.commands import cli, sweep

    mark("import Hydra")
    ends("compose the config", cli, "compose_run")
    load = sweep._pipeline

    def loaded() -> Callable[..., int]:
        run = load()
        from envgen_exp.learners.ppo import ppo
        from envgen_exp.run import loop as pipeline

        mark("import torch and the pipeline")
        ends("family, network", pipeline, "prepare")
        ends("measure speed, tell the plan", pipeline, "tell_plan")
        ends("open the folder", pipeline.RunFolder, "create")
        ends("open the run, start W&B", pipeline.Run, "__init__")
        ends("designs and their checks", pipeline.Run, "design")
        train = pipeline.Run._train

        def first(*args: Any) -> None:
            ppo.collect = step
            train(*args)

        pipeline.Run._train = first
        return run

    def step(*args: Any, **kwargs: Any) -> None:
        mark("until the first step")
        raise Stepping

    sweep._pipeline = loaded
    try:
        cli.main([*COMMAND, f"folder={folder / 'run'}"])
    except Stepping:
        (folder / "marks.json").write_text(json.dumps(marks))


def measure() -> list[tuple[str, float, float]]:
    """The marks of one start."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, __file__, "--child", str(time.monotonic()), folder]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        done = subprocess.run(argv, capture_output=True, text=True, env=environ, check=False)
        file = Path(folder, "marks.json")
        if not file.exists():
            sys.exit(f"{done.stdout}\n{done.stderr}")
        return [(name, clock, own) for name, clock, own in json.loads(file.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="starts (default 3)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(float(arguments.child[0]), Path(arguments.child[1]))
        return
    rounds = [measure() for _ in range(arguments.rounds)]
    print(f"{'seconds':34}{'clock':>8}{'processor':>12}")
    for index, (name, *_) in enumerate(rounds[0]):
        clock, own = (
            statistics.median(marks[index][column] - (marks[index - 1][column] if index else 0) for marks in rounds)
            for column in (1, 2)
        )
        print(f"{name:34}{clock:8.2f}{own:12.2f}")
    clocks = sorted(marks[-1][1] for marks in rounds)
    print(f"{'to the first training step':34}{statistics.median(clocks):8.2f}", end="")
    print(f"{statistics.median(marks[-1][2] for marks in rounds):12.2f}", end="")
    print(f"   ({clocks[0]:.2f} to {clocks[-1]:.2f} in {len(clocks)} starts; the goal is {GOAL:.0f})")


if __name__ == "__main__":
    main()
