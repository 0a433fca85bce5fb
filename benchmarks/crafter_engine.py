"""How fast and how big the native Crafter engine is, side by side with crafter + numba in its best vectorised form.

    python benchmarks/crafter_engine.py [--envs 64] [--repeats 5] [--seconds 2] [--json build/crafter_benchmark.json]

Every repeat measures every engine once, one after the other, so that whatever else the machine does hits all of them.
Rates are wall-clock steps per second over all environments; the table gives the median of the repeats and their range.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

from envgen_exp.config import Observe
from envgen_exp.families.crafter import _crafter, upstream
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.engine import NativeVector
from envgen_exp.families.vector import Buffers

NUM_ACTIONS = len(upstream.ACTIONS)
WARM_UP = 200
"""Steps before anything is measured: random episodes last about 170, so that by then resets are spread evenly."""
BETWEEN_RESETS = 60
"""Steps from a common reset in which next to no random episode ends."""


class Native:
    """The native engine with random actions."""

    def __init__(self, observe: Observe, envs: int, threads: int) -> None:
        config = CrafterConfig(observation=observe, num_threads=threads)
        self.env = NativeVector(config, [None] * envs, range(envs))
        self.out = Buffers.zeros(self.env.observation_spec, envs)
        self.actions = np.random.default_rng(0).integers(0, NUM_ACTIONS, (251, envs))
        self.steps = 0
        self.env.reset(self.out.obs)
        self.run(WARM_UP)

    def run(self, steps: int) -> None:
        step, out, actions = self.env.step, self.out, self.actions
        for index in range(self.steps, self.steps + steps):
            step(actions[index % len(actions)], out)
        self.steps += steps

    def rate(self, seconds: float) -> float:
        """Steps per second, resets included."""
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            self.run(50)
            count += 50 * self.env.num_envs
        return count / elapsed

    def rate_between_resets(self, seconds: float) -> float:
        """Steps per second in the first steps of episodes that all begin together; the next worlds are made before."""
        count, elapsed = 0, 0.0
        while elapsed < seconds / 4:
            self.env.reset(self.out.obs)
            time.sleep(0.05)
            start = time.perf_counter()
            self.run(BETWEEN_RESETS)
            elapsed += time.perf_counter() - start
            count += BETWEEN_RESETS * self.env.num_envs
        return count / elapsed

    def reset_time(self, seconds: float) -> float:
        """Milliseconds for one environment's reset, its world made and its first observation drawn, on one thread."""
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds / 2:
            self.env.reset(self.out.obs)
            count += self.env.num_envs
        return 1e3 * elapsed / count


def _work(connection: Connection, memory: SharedMemory, first: int, last: int) -> None:
    """One process of the package's vector: steps its environments and writes frames into shared memory."""
    frames = np.ndarray((last, 64, 64, 3), np.uint8, memory.buf)
    games = [upstream.env.Env(seed=seed) for seed in range(first, last)]
    for slot, game in enumerate(games, first):
        frames[slot] = game.reset()
    connection.send(None)
    while (actions := connection.recv()) is not None:
        results = []
        for slot, (game, action) in enumerate(zip(games, actions, strict=True), first):
            frame, reward, done, _ = game.step(action)
            frames[slot] = game.reset() if done else frame
            results.append((reward, done))
        connection.send(results)


class Package:
    """The crafter package with numba's noise, its environments shared among processes, frames in shared memory."""

    def __init__(self, envs: int, processes: int) -> None:
        self.envs = envs
        self.memory = SharedMemory(create=True, size=envs * 64 * 64 * 3)
        self.rng = np.random.default_rng(0)
        context = multiprocessing.get_context("spawn")
        bounds = [envs * index // processes for index in range(processes + 1)]
        self.workers = []
        for first, last in pairwise(bounds):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, self.memory, first, last), daemon=True)
            process.start()
            self.workers.append((process, ours, slice(first, last)))
        for _, connection, _ in self.workers:
            connection.recv()
        for _ in range(WARM_UP):
            self.step()

    def step(self) -> None:
        actions = self.rng.integers(0, NUM_ACTIONS, self.envs)
        for _, connection, slots in self.workers:
            connection.send(actions[slots].tolist())
        for _, connection, _ in self.workers:
            connection.recv()

    def rate(self, seconds: float) -> float:
        """Steps per second, resets included."""
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            self.step()
            count += self.envs
        return count / elapsed

    def close(self) -> None:
        for process, connection, _ in self.workers:
            connection.send(None)
            process.join()
        self.memory.close()
        self.memory.unlink()


def package_reset_time(resets: int = 5) -> float:
    """Milliseconds of one reset of the package."""
    game = upstream.env.Env(seed=0)
    game.reset()
    start = time.perf_counter()
    for _ in range(resets):
        game.reset()
    return 1e3 * (time.perf_counter() - start) / resets


MEMORY = """
import sys
import numpy as np
sys.path.insert(0, "benchmarks")
from crafter_engine import Native, Observe
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4
Native(Observe.symbolic, 4, 2)
before = resident()
kept = Native(Observe.symbolic, 1_024, 2)
print((resident() - before) / 1_024)
"""


def memory() -> float:
    """KiB that an environment takes in a process of its own, its next world and its buffers included."""
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", MEMORY], cwd=root, capture_output=True, text=True, check=True)
    return float(out.stdout)


def summary(values: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "values": list(values)}


def measure(envs: int, repeats: int, seconds: float) -> dict[str, Any]:
    """All measurements by name: median, range and single values."""
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, 2, cores})
    engines = {(observe, threads): Native(observe, envs, threads) for observe in Observe for threads in counts}
    packages = {processes: Package(envs, processes) for processes in (1, cores)}
    jobs: dict[str, Callable[[], float]] = {
        f"{observe.value}, {threads} thread{'s' * (threads > 1)}": lambda native=native: native.rate(seconds)
        for (observe, threads), native in engines.items()
    }
    for (observe, threads), native in engines.items():
        name = f"{observe.value} between resets, {threads} thread{'s' * (threads > 1)}"
        jobs[name] = lambda native=native: native.rate_between_resets(seconds)
    jobs["reset, ms"] = lambda: engines[Observe.pixels, 1].reset_time(seconds)
    for processes, package in packages.items():
        jobs[f"crafter + numba, {processes} process{'es' * (processes > 1)}"] = lambda package=package: package.rate(
            2 * seconds
        )
    jobs["crafter + numba reset, ms"] = package_reset_time
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats):
        for name, job in jobs.items():
            found[name].append(job())
        print(f"repeat {repeat + 1} of {repeats}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    for package in packages.values():
        package.close()
    results = {name: summary(values) for name, values in found.items()}
    results["memory of an environment, KiB"] = summary([memory()])
    return results


def ratio(results: dict[str, Any], over: str, under: str) -> dict[str, Any]:
    pairs = zip(results[over]["values"], results[under]["values"], strict=True)
    return summary([a / b for a, b in pairs])


def rows(results: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """The table: what, its measurement, and its targets."""
    cores = len(os.sched_getaffinity(0))
    two = f"{min(cores, 2)} thread{'s' * (cores > 1)}"
    best = f"crafter + numba, {cores} process{'es' * (cores > 1)}"
    return [
        ("pixels, resets included, steps/s", results[f"pixels, {two}"], "100,000; 200,000"),
        ("symbolic, resets included, steps/s", results[f"symbolic, {two}"], "250,000; 500,000"),
        ("symbolic between resets, steps/s", results[f"symbolic between resets, {two}"], "1,000,000; 2,000,000"),
        ("one reset, ms", results["reset, ms"], "1; 0.5"),
        ("memory of an environment, KiB", results["memory of an environment, KiB"], "256; 64"),
        ("1 to 2 threads, pixels", ratio(results, f"pixels, {two}", "pixels, 1 thread"), "1.8; 1.95"),
        ("1 to 2 threads, symbolic", ratio(results, f"symbolic, {two}", "symbolic, 1 thread"), "1.8; 1.95"),
        (f"{best}, steps/s", results[best], ""),
        ("crafter + numba, 1 process, steps/s", results["crafter + numba, 1 process"], ""),
        ("crafter + numba, one reset, ms", results["crafter + numba reset, ms"], ""),
        ("pixels: times crafter + numba", ratio(results, f"pixels, {two}", best), ""),
        ("symbolic: times crafter + numba", ratio(results, f"symbolic, {two}", best), ""),
    ]


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=64, help="environments side by side")
    parser.add_argument("--repeats", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--json", type=Path, default=Path("build/crafter_benchmark.json"), help="where numbers go")
    options = parser.parse_args(arguments)
    results = measure(options.envs, options.repeats, options.seconds)
    table = rows(results)
    machine = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernels": _crafter.kernels(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load": os.getloadavg(),
        "envs": options.envs,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    measured = {name: value for name, value, _ in table}
    options.json.write_text(json.dumps({"machine": machine, "table": measured, "all": results}, indent=1) + "\n")
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{'':42} {'median':>12} {'range of ' + str(options.repeats):>24}   reach; then")
    for name, value, target in table:
        low_high = f"{number(value['low'])} to {number(value['high'])}"
        print(f"{name:42} {number(value['median']):>12} {low_high:>24}   {target}")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
