"""Driving's frames: how many labelled frames a second, by the clock and by the time that this process itself has used.

    python benchmarks/driving.py [--frames 2000] [--rounds 7] [--threads 1 2]

The frames are of the original, each with its labels and strata. The clock counts whatever else the machine does; a CPU
second is one of all threads of this process together, and so what two idle cores do is twice the number beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from envgen_exp.families.driving.config import DrivingConfig, ImageSize
from envgen_exp.families.driving.family import DrivingFamily
from envgen_exp.families.family import FrameBuffers
from envgen_exp.seeding import WorldSet


def measure(size: ImageSize, num_threads: int, frames: int, rounds: int) -> tuple[float, float]:
    """Frames a second of the clock, and a CPU second: medians over the rounds."""
    family = DrivingFamily(DrivingConfig(image_size=size, num_threads=num_threads))
    out = FrameBuffers(
        np.ones((frames, *size.shape), np.uint8),
        np.ones((frames, len(family.labels)), np.float32),
        np.ones((frames, len(family.strata)), np.bool_),
    )
    clocks, owns = [], []
    for start in range(0, (rounds + 1) * frames, frames):
        clock, own = time.perf_counter(), time.process_time()
        family.frames([None] * frames, range(start, start + frames), WorldSet.TRAIN, out)
        clocks.append(frames / (time.perf_counter() - clock))
        owns.append(frames / (time.process_time() - own))
    return statistics.median(clocks[1:]), statistics.median(owns[1:])  # the first round also fills tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000, help="frames of a round (default 2000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the median is told (default 7)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default 1 2)")
    arguments = parser.parse_args()
    print(f"{'frame':>10}{'threads':>9}{'a second':>11}{'a CPU second':>15}")
    for size in ImageSize:
        for num_threads in arguments.threads:
            clock, own = measure(size, num_threads, arguments.frames, arguments.rounds)
            print(f"{size.value:>10}{num_threads:>9}{clock:11,.0f}{own:15,.0f}")


if __name__ == "__main__":
    main()
