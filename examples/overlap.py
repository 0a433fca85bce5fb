"""What `send` and `recv` bring: the engine plays on while the learner thinks.

    python examples/overlap.py

The learner here sleeps as long as the engine takes for a step, as if it waited for a GPU. `step` has the two take
turns. With `send` and `recv`, EnvPool's way, the learner thinks about one half of the games while the other half is
played; which half comes first depends on timing, so what must be repeatable takes `step`.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.engine import NativeVector
from envgen_exp.families.vector import Buffers

GAMES, ROUNDS = 512, 100


def think(games: int, seconds: float) -> NDArray[np.int64]:
    """The learner: an action for each of so many games."""
    time.sleep(seconds * games / GAMES)
    return np.random.default_rng(games).integers(17, size=games)


def in_turn(seconds: float) -> float:
    """Seconds for a step of all games and the thought before it, one after the other."""
    env = NativeVector(CrafterConfig(num_threads=1), [None] * GAMES, range(GAMES))
    out = Buffers.zeros(env.observation_spec, GAMES)
    env.reset(out.obs)
    started = time.perf_counter()
    for _ in range(ROUNDS):
        env.step(think(GAMES, seconds), out)
    return (time.perf_counter() - started) / ROUNDS


def overlapped(seconds: float) -> float:
    """The same by halves, each thought about while the other is played."""
    env = NativeVector(CrafterConfig(num_threads=1), [None] * GAMES, range(GAMES))
    env.reset(Buffers.zeros(env.observation_spec, GAMES).obs)
    half = Buffers.zeros(env.observation_spec, GAMES // 2)
    started = time.perf_counter()
    env.send(think(GAMES, seconds))
    for _ in range(2 * ROUNDS):
        slots, _ = env.recv(half)
        env.send(think(GAMES // 2, seconds), slots)
    return (time.perf_counter() - started) / ROUNDS


def main() -> None:
    engine = in_turn(0)
    turns, overlap = in_turn(engine), overlapped(engine)
    print(f"the engine alone {1e3 * engine:.1f} ms a step of {GAMES} games, and so long a thought beside each:")
    print(f"step {1e3 * turns:.1f} ms, send and recv {1e3 * overlap:.1f} ms, {turns / overlap:.2f} times as fast")


if __name__ == "__main__":
    main()
