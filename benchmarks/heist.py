"""Designed Heist beside stock procgen: steps a second in one run, and memory over many steps.

    python benchmarks/heist.py [--rounds 21] [--threads 1 2] [--memory 2000000]

Rounds of the two take turns, so that a busy machine slows both; a ratio is the median over the rounds' ratios, by the
clock and, which other processes hardly touch, by the time that this process itself has used (of all its threads). Stock
is procgen's own vector with its own interface; the designed one goes through the batch contract, writes into the
caller's buffers and returns its records. Both have 64 environments, random actions and the same number of threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from envgen_exp.families.heist.config import HeistConfig, HeistMode
from envgen_exp.families.heist.design import HeistDesign
from envgen_exp.families.heist.family import HeistFamily
from envgen_exp.families.heist.upstream import STOCK_LENGTH, load, threads
from envgen_exp.families.vector import Buffers
from envgen_exp.seeding import WorldSet

NUM_ENVS = 64
LENGTHS = (50, 200, 500)
"""Steps of designed episodes; random play hardly ever takes the gem of these levels before."""


def stock(mode: HeistMode, num_threads: int) -> Callable[[int], None]:
    """Steps procgen as its users do."""
    env = load().ProcgenGym3Env(
        num=NUM_ENVS,
        env_name="heist",
        distribution_mode=mode.value,
        num_threads=threads(num_threads, NUM_ENVS),
        rand_seed=0,
    )
    rng = np.random.default_rng(0)

    def run(steps: int) -> None:
        for actions in rng.integers(0, 15, (steps, NUM_ENVS)):
            env.act(actions)
            env.observe()

    return run


def ours(mode: HeistMode, num_threads: int, length: int | None, keys_held: int = 0) -> Callable[[int], None]:
    """Steps the family's vector in designed episodes of so many steps, or in the original.

    Where keys are held, every game that runs out of time is read for its skills; else only where one was collected.
    """
    config = HeistConfig(mode=mode, num_threads=num_threads, pool_size=250, designed_length=length or 1)
    family = HeistFamily(config)
    design = HeistDesign(locks="two", keys_held=keys_held) if length else None
    env = family.vector([design] * NUM_ENVS, range(NUM_ENVS), WorldSet.TRAIN)
    out = Buffers.zeros(env.observation_spec, NUM_ENVS)
    rng = np.random.default_rng(0)
    env.reset(out.obs)
    # Slots start one after the other: else all episodes would end in the same step, once in several measurements.
    starts = np.arange(NUM_ENVS) * (length or STOCK_LENGTH) // NUM_ENVS
    for step, actions in enumerate(rng.integers(0, 15, (starts[-1], NUM_ENVS))):
        env.step(actions, out, active=starts <= step)

    def run(steps: int) -> None:
        for actions in rng.integers(0, 15, (steps, NUM_ENVS)):
            env.step(actions, out)

    return run


def speeds(run: Callable[[int], None], steps: int) -> tuple[float, float]:
    """Environment steps a second by the clock, and a second of this process's own time."""
    clock, own = time.perf_counter(), time.process_time()
    run(steps)
    done = steps * NUM_ENVS
    return done / (time.perf_counter() - clock), done / (time.process_time() - own)


def compare(num_threads: int, rounds: int, steps: int) -> None:
    base = stock(HeistMode.easy, num_threads)
    rivals = {f"designed, {length} steps": ours(HeistMode.easy, num_threads, length) for length in LENGTHS}
    rivals["50 steps, keys held"] = ours(HeistMode.easy, num_threads, 50, keys_held=2)
    rivals["original"] = ours(HeistMode.easy, num_threads, None)
    for run in (base, *rivals.values()):
        run(100)  # pictures are loaded
    print(f"\n{NUM_ENVS} environments, threads: {num_threads}, worlds of 9 x 9 cells; steps a second")
    print(f"{'':22}{'stock':>9}{'ours':>9}{'ratio':>8}{'middle half':>16}{'ratio of own time':>20}")
    for name, run in rivals.items():
        pairs = [(speeds(base, steps), speeds(run, steps)) for _ in range(rounds)]
        clock, own = (sorted(b[column] / a[column] for a, b in pairs) for column in (0, 1))
        a, b = (statistics.median(pair[column][0] for pair in pairs) for column in (0, 1))
        half = f"{clock[rounds // 4]:.3f} - {clock[-1 - rounds // 4]:.3f}"
        print(f"{name:22}{a:9,.0f}{b:9,.0f}{statistics.median(clock):8.3f}{half:>16}{statistics.median(own):20.3f}")


def memory(steps: int) -> None:
    """Resident memory while a designed vector is stepped."""
    run = ours(HeistMode.easy, 1, 50)
    print(f"\nresident memory over {steps:,} steps of designed episodes of 50 steps, in MiB")
    for tenth in range(11):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(f"{tenth * steps // 10:12,}{pages * 4096 / 2**20:10.1f}")
        run(steps // 10 // NUM_ENVS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21, help="pairs of measurements (default 21)")
    parser.add_argument(
        "--steps",
        type=int,
        default=100,
        help="steps of each environment in one (default 100)",
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default 1 2)")
    parser.add_argument("--memory", type=int, default=0, help="also watch memory over so many steps (default none)")
    arguments = parser.parse_args()
    for num_threads in arguments.threads if arguments.rounds else ():
        compare(num_threads, arguments.rounds, arguments.steps)
    if arguments.memory:
        memory(arguments.memory)


if __name__ == "__main__":
    main()
