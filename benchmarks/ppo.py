"""How fast training is, beside the same network's bare work and beside the obvious stack.

    python benchmarks/ppo.py [--rounds 3] [--seconds 6] [--threads 2] [--json build/ppo_benchmark.json]
    python benchmarks/ppo.py --without-plain --presets symbolic symbolic,memory=0 laptop laptop,memory=0
    python benchmarks/ppo.py --device cuda

Everything is measured in one run, in rounds that visit each measurement in turn, so that whatever else the machine does
hits all of them; the table gives medians and ranges, and ratios are taken within a round. What is measured:

`train`: whole rollouts and updates with the native engine, as a training phase does them.
`bare`: the network alone, on observations that are already there: as many inference passes of the same batch and as
many forward and backward passes and Adam steps of the same minibatch, by as many threads, with the simplest loss;
nothing else.
`whole run`: `run.py` for --run-steps steps with its logs, checkpoints and display; the share of a training phase
that is neither environment, inference nor update.
`plain`: benchmarks/plain_ppo.py, crafter in subprocesses and a loop in CleanRL's manner; with and without numba.

With `--device cuda` it measures every preset as it is, then the paper's network with more environments, and exits with
2 where there is no CUDA device. Auxiliary phases are in `train` and not in `bare`; `bare` runs a memory through whole
sequences, as the update does.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as run.py does, before torch is imported

import torch
from crafter_engine import processor

from envgen_exp import seeding
from envgen_exp.commands import run as command
from envgen_exp.commands.compose import CONF, compose_run
from envgen_exp.config import RunConfig
from envgen_exp.families import make_family
from envgen_exp.families.family import Mirrored
from envgen_exp.learners.ppo.allocator import keep_large_buffers
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.descent import set_gradients
from envgen_exp.learners.ppo.ppo import PPO, minibatch_size
from envgen_exp.learners.ppo.training import TrainingPhase
from envgen_exp.run import loop as pipeline
from envgen_exp.seeding import WorldSet

ROOT = Path(__file__).parents[1]
PARTS = ("env", "inference", "update", "aux")
BUDGET = 1_960_000
"""The paper's training steps of a run."""


def composed(preset: str, *overrides: str) -> RunConfig:
    """Of a preset, or of one with settings of the section `ppo` after it: symbolic,memory=128."""
    name, *settings = preset.split(",")
    own = [f"ppo.{setting}" for setting in settings]
    return compose_run([f"ppo={name}", *own, "designer=original", "tracker=none", *overrides])


class Training:
    """A training phase on the original that never ends."""

    def __init__(self, config: RunConfig, threads: int, device: torch.device) -> None:
        family = make_family(dataclasses.replace(config.env, num_threads=threads))
        self.config, self.device = config.ppo, device
        spec, num_actions = family.observation_spec, family.num_actions
        symmetry = family.symmetry if isinstance(family, Mirrored) else None
        self.learner = PPO.create(config.ppo, spec, num_actions, 0, device, threads, symmetry)
        seeds = seeding.integers(0, "worlds", "benchmark", count=config.ppo.num_envs)
        env = family.vector([None] * config.ppo.num_envs, seeds, WorldSet.VALIDATION)
        steps = 10**9 // config.ppo.num_envs * config.ppo.num_envs
        self.phase = TrainingPhase(self.learner, env, steps, config.ppo, total_train_steps=steps)
        self.rollouts = iter(self.phase)
        self.parts: dict[str, float] = {}
        """Seconds so far by what they went to."""
        self.steps, self.cpu_seconds = 0, 0.0
        """Steps measured so far, and the processor time that they took in all threads."""
        next(self.rollouts)

    def rate(self, seconds: float) -> float:
        """Steps per second of whole rollouts and updates."""
        steps, start, cpu_start = 0, time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - start) < seconds:
            report = next(self.rollouts)
            steps += report.steps
            for name, value in report.timings.items():
                self.parts[name] = self.parts.get(name, 0.0) + value
            wait(self.device)
        self.steps += steps
        self.cpu_seconds += time.process_time() - cpu_start
        return steps / elapsed

    def bare_rate(self, seconds: float) -> float:
        """The same, with a free environment and nothing around the network."""
        config, agent, optimizer, team = self.config, self.learner.agent, self.learner.optimizer, self.learner.team
        parameters = list(agent.parameters())
        rollout = self.phase.buffer.device_obs
        length = config.num_steps if agent.recurrent else 1
        batch = {name: x[: config.num_steps].flatten(0, 1) for name, x in rollout.items()}
        size = minibatch_size(config) // length
        width = config.num_steps * config.num_envs // length
        firsts = torch.arange(length, device=self.device).unsqueeze(1) * width
        minibatches = [
            [
                {name: x[(firsts + part.to(self.device)).flatten()] for name, x in batch.items()}
                for part in team.split(torch.arange(i * size, min((i + 1) * size, width)), length)
            ]
            for i in range(config.num_minibatches)
        ]

        def gradients(part: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            samples = len(next(iter(part.values())))
            nothing = agent.nothing(samples // length, self.device)
            starts = torch.zeros(length, samples // length, dtype=torch.bool, device=self.device)
            logits, values, _ = agent.follow(part, nothing, starts)
            # So small that the weights stay where training has brought them.
            loss = 1e-9 * (logits.sum() + values.sum())
            return torch.autograd.grad(loss, parameters, materialize_grads=True)

        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            with torch.inference_mode():
                for t in range(config.num_steps + 1):
                    agent({name: x[t] for name, x in rollout.items()})
            for _ in range(config.update_epochs):
                for minibatch in minibatches:
                    set_gradients(parameters, team.map(gradients, minibatch))
                    optimizer.step()
            steps += config.num_steps * config.num_envs
            wait(self.device)
        return steps / elapsed


def overhead(preset: str, steps: int, threads: int) -> float:
    """The share of a run's training phases that is neither environment, inference nor update."""
    seconds = 0.0
    train = pipeline.Run._train

    def timed(*args: Any) -> dict[str, Any]:
        nonlocal seconds
        start = time.perf_counter()
        result = train(*args)
        seconds += time.perf_counter() - start
        return result

    num_envs = composed(preset).ppo.num_envs
    schedule = {"designed": num_envs, "original": 0, "final": steps // num_envs * num_envs}
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(pipeline.Run, "_train", timed):
        config = composed(
            preset,
            f"folder={folder}/run",
            f"num_threads={threads}",
            f"env.num_threads={threads}",
            "device=cpu",
            "cycles=1",
            *(f"schedule.{name}_steps={number}" for name, number in schedule.items()),
            "evaluation.feedback_seeds=2",
            "evaluation.feedback_episodes=1",
            "evaluation.report_episodes=2",
        )
        with contextlib.redirect_stdout(sys.stderr):
            command.run(config, [])
        rows = [json.loads(line) for line in (Path(folder) / "run" / "timings.jsonl").read_text().splitlines()]
    return 1 - sum(row.get(f"seconds/{part}", 0.0) for row in rows for part in PARTS) / seconds


def plain(ppo: PPOConfig, threads: int, iterations: int, *, numba: bool) -> float:
    """Steps a second of the obvious stack with the same hyper-parameters, in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "plain_ppo.py"), f"--threads={threads}"]
    command += [f"--iterations={iterations}", *([] if numba else ["--without-numba"])]
    names = ("num_envs", "num_steps", "update_epochs", "num_minibatches", "learning_rate", "gamma", "gae_lambda")
    command += [f"--{name.replace('_', '-')}={getattr(ppo, name)}" for name in names]
    # A process for each environment: none may start threads of its own.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": "1"}
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment)
    return float(out.stdout.split()[-1])


def summary(values: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "values": list(values)}


def ratio(over: Sequence[float], under: Sequence[float]) -> dict[str, Any]:
    return summary([a / b for a, b in zip(over, under, strict=True)])


BESIDE_PLAIN = "laptop,network=nature,memory=0"
"""What the plain loop is compared with: it trains the same network."""
Row = tuple[str, dict[str, Any], str]
"""What, its measurement, and what it is to reach."""


def on_cpu(options: argparse.Namespace) -> list[Row]:
    """The presets for a CPU beside their bare networks, whole runs and the obvious stack."""
    cpu, threads = torch.device("cpu"), options.threads
    configs = {preset: composed(preset) for preset in options.presets}
    trainings = {preset: Training(config, threads, cpu) for preset, config in configs.items()}
    found: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for preset, training in trainings.items():
            found.setdefault(f"{preset} train", []).append(training.rate(options.seconds))
            found.setdefault(f"{preset} bare", []).append(training.bare_rate(options.seconds))
        if BESIDE_PLAIN in trainings and not options.without_plain:
            ppo = configs[BESIDE_PLAIN].ppo
            found.setdefault("numba", []).append(plain(ppo, threads, 4, numba=True))
            found.setdefault("no numba", []).append(plain(ppo, threads, 4, numba=False))
        print(f"round {number + 1} of {options.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    rows: list[Row] = []
    for preset, training in trainings.items():
        train, bare = found[f"{preset} train"], found[f"{preset} bare"]
        chosen = training.learner.describe()
        minutes = {"laptop": "15", "symbolic": "5"}.get(preset, "")
        rows += [
            (f"{preset}: {chosen['parameters']:,} weights, {chosen['precision']}, steps/s", summary(train), ""),
            (f"{preset}: {BUDGET:,} steps take, minutes", summary([BUDGET / rate / 60 for rate in train]), minutes),
            (f"{preset}: bare network, steps/s", summary(bare), ""),
            (f"{preset}: share of the bare network", ratio(train, bare), "0.90; 0.95"),
        ]
        per_cpu_second = summary([training.steps / training.cpu_seconds])
        rows.append((f"{preset}: steps per CPU second", per_cpu_second, ""))
        parts = [part for part in PARTS if f"{part}_seconds" in training.parts]
        total = sum(training.parts[f"{part}_seconds"] for part in parts)
        for part in parts:
            rows.append((f"{preset}: share of {part}", summary([training.parts[f"{part}_seconds"] / total]), ""))
        share = summary([overhead(preset, options.run_steps, threads)])
        rows.append((f"{preset}: rest of a run's training, share", share, "below 0.03"))
    for name, what, reach in (("numba", "with numba", "3"), ("no numba", "as pip installs it", "12")):
        if name in found:
            rows.append((f"plain loop, crafter {what}, steps/s", summary(found[name]), ""))
            times = ratio(found[f"{BESIDE_PLAIN} train"], found[name])
            rows.append((f"{BESIDE_PLAIN}: times that, crafter {what}", times, reach))
    return rows


def on_cuda(options: argparse.Namespace) -> list[Row]:
    """Every preset as it is, and the paper's network with more environments, whose update has as many steps."""
    cuda = torch.device("cuda")
    presets = [
        file.stem for file in sorted((CONF / "ppo").glob("*.yaml")) if file.stem not in ("smoke", "symbolic_long")
    ]
    shapes = ((64, 64, 8), (128, 64, 16), (256, 64, 32))
    names = [
        *presets,
        *(f"paper,precision=auto,num_envs={n},num_steps={m},num_minibatches={k}" for n, m, k in shapes),
    ]
    rows: list[Row] = []
    for name in names:  # one after the other: together they would not fit into every device's memory
        training = Training(composed(name), options.threads, cuda)
        rates = [(training.rate(options.seconds), training.bare_rate(options.seconds)) for _ in range(options.rounds)]
        train, bare = ([rate[index] for rate in rates] for index in (0, 1))
        weights = training.learner.describe()["parameters"]
        rows += [
            (f"{name}: {weights:,} weights, steps/s", summary(train), "16,000" if "," in name else ""),
            (f"{name}: share of the bare network", ratio(train, bare), ""),
        ]
    return rows


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    presets = ["laptop", "symbolic", BESIDE_PLAIN]
    parser.add_argument("--presets", nargs="+", default=presets, help="of conf/ppo, on a CPU")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of torch and of the engine")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement")
    parser.add_argument("--run-steps", type=int, default=60_000, help="training steps of the whole run")
    parser.add_argument("--without-plain", action="store_true", help="leave out the obvious stack")
    parser.add_argument("--json", type=Path, default=Path("build/ppo_benchmark.json"), help="where numbers go")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"no CUDA device here: torch {torch.__version__} finds none, nothing was measured", file=sys.stderr)
        return 2
    keep_large_buffers()
    torch.set_num_threads(options.threads if options.device == "cuda" else 1)  # as a run does: preparation.use_threads
    table = on_cuda(options) if options.device == "cuda" else on_cpu(options)
    machine = {
        "processor": torch.cuda.get_device_name() if options.device == "cuda" else processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": options.threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    measured = {name: value for name, value, _ in table}
    options.json.write_text(json.dumps({"machine": machine, "table": measured}, indent=1) + "\n")
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{'':52} {'median':>10} {'range':>20}   reach")
    for name, value, target in table:
        low_high = f"{number(value['low'])} to {number(value['high'])}" if len(value["values"]) > 1 else ""
        print(f"{name:52} {number(value['median']):>10} {low_high:>20}   {target}")
    print(f"written to {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
