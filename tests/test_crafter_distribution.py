"""Ordering the chunks changes which run a seed gives, and not how runs are distributed.

The package picks a creature to despawn by its place in a set, and a set's order comes from memory addresses. Here its
own sets play against the ordered ones, with addresses drawn from a fixed seed so that the test has one outcome.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.families.crafter import upstream
from envgen_exp.families.crafter.ordered import OrderedEnv

EPISODES = 32
STEPS = 220
SAMPLES = (40, 80, 120)
"""Steps after which creatures are counted, besides the episode's end."""
ALPHA = 0.01
"""Level of the whole test, divided by the number of comparisons."""
CREATURES = {"cow": 14, "zombie": 15, "skeleton": 16}
FREQUENT = ("collect_sapling", "place_plant", "wake_up")
"""Skills that random play shows often enough to compare."""
Run = tuple[dict[str, NDArray[np.float64]], list[bytes]]


class SetEnv(OrderedEnv):
    """The package's chunks: sets in an order of addresses."""

    def start(self, *args: Any) -> Any:
        seen = super().start(*args)
        ordered, self._world._chunks = self._world._chunks, collections.defaultdict(set)
        for key, members in ordered.items():
            self._world._chunks[key] = set(members)
        return seen


class StillEnv(OrderedEnv):
    """A faulty engine: no creature ever appears or goes."""

    def _balance_chunk(self, chunk: Any, objs: Any) -> None:
        pass


def statistics(kind: type[OrderedEnv]) -> Run:
    """Numbers of random play, one an episode for each statistic, and the games' last worlds."""
    env = kind(Observe.symbolic)
    rows, worlds = [], []
    for seed in range(EPISODES):
        rng = np.random.default_rng(seed)
        env.start(seed, None, STEPS)
        row: dict[str, float] = {}
        for step in range(1, STEPS + 1):
            _, _, done, info = env.step(rng.integers(len(upstream.ACTIONS)))
            counted = {name: (info["semantic"] == i).sum() for name, i in CREATURES.items()}
            if step in SAMPLES:
                row |= {f"{name} at {step}": number for name, number in counted.items()}
            if done:
                break
        for moment in (*SAMPLES, "the end"):  # whoever died before is counted as at the end
            row = {f"{name} at {moment}": number for name, number in counted.items()} | row
        row["length"] = step
        row["skills"] = sum(count > 0 for count in info["achievements"].values())
        row |= {f"shown {skill}": info["achievements"][skill] > 0 for skill in FREQUENT}
        rows.append(row)
        worlds.append(info["semantic"].tobytes())
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}, worlds


def p_value(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Two-sided test of equal means, paired by seed: the differences' signs are dealt anew 20,000 times."""
    difference = ours - theirs
    signs = np.random.default_rng(0).choice([-1, 1], (20_000, len(difference)))
    dealt = np.abs((signs * difference).mean(axis=1))
    return float((1 + (dealt >= abs(difference.mean()) - 1e-12).sum()) / (1 + len(dealt)))


@pytest.fixture(scope="module")
def upstream_run() -> Run:
    """Random play with the package's sets, where objects hash by numbers from a fixed seed instead of addresses."""
    rng = np.random.default_rng(1)

    def pseudo_address(self: Any) -> int:
        if "_address" not in vars(self):
            self._address = int(rng.integers(2**60))
        return self._address

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream.objects.Object, "__hash__", pseudo_address)
        return statistics(SetEnv)


def test_ordered_games_are_distributed_as_the_packages(upstream_run: Run) -> None:
    theirs, their_worlds = upstream_run
    ours, our_worlds = statistics(OrderedEnv)
    assert sum(one != other for one, other in zip(our_worlds, their_worlds, strict=True)) > EPISODES / 2
    values = {name: p_value(ours[name], theirs[name]) for name in ours}
    assert min(values.values()) > ALPHA / len(values), values


def test_the_comparison_finds_a_faulty_engine(upstream_run: Run) -> None:
    theirs, _ = upstream_run
    faulty, _ = statistics(StillEnv)
    values = {name: p_value(faulty[name], theirs[name]) for name in theirs}
    assert min(values.values()) < ALPHA / len(values), values
