"""Named streams are independent and stable; world sets never meet."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from envgen_exp import seeding
from envgen_exp.seeding import WorldSet, world_seed

SEEDS = st.integers(0, 2**31 - 2)
EPISODES = st.integers(1, 10**6)


@given(SEEDS, EPISODES, SEEDS, EPISODES, st.sampled_from(WorldSet), st.sampled_from(WorldSet))
def test_worlds_of_different_sets_differ(a: int, i: int, b: int, j: int, one: WorldSet, other: WorldSet) -> None:
    first, second = world_seed(a, i, one), world_seed(b, j, other)
    assert 0 <= first < seeding.WORLD_SEED_MODULUS
    assert first % 4 == int(one)
    if one is not other:
        assert first != second


@given(SEEDS, EPISODES)
def test_without_a_set_the_seed_is_crafters(seed: int, episode: int) -> None:
    assert world_seed(seed, episode) == hash((seed, episode)) % (2**31 - 1)


def test_streams_differ_by_root_and_name_and_not_by_call() -> None:
    draws = {
        (root, name): tuple(seeding.integers(root, name, count=4)) for root in range(20) for name in ("a", "b", "ab")
    }
    assert len(set(draws.values())) == len(draws)
    assert seeding.integers(3, "a", count=4) == seeding.integers(3, "a", count=4)
    # A longer request begins with the shorter one: more slots don't reseed the first ones.
    assert seeding.integers(3, "a", count=9)[:4] == seeding.integers(3, "a", count=4)


def test_names_are_not_joined() -> None:
    assert seeding.integers(1, "a", "b", count=1) != seeding.integers(1, "ab", count=1)
    assert seeding.integers(1, "1", count=1) != seeding.integers(11, count=1)


def test_generators_touch_no_global_state() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state().clone()
    seeding.generator(0, "x").random(10)
    torch.rand(10, generator=seeding.torch_generator(0, "x"))
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_streams_are_equal_in_another_process() -> None:
    code = (
        "from envgen_exp import seeding as s; print(s.integers(7, 'x', count=3), s.world_seed(7, 3, s.WorldSet.REPORT))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert printed == {f"{seeding.integers(7, 'x', count=3)} {world_seed(7, 3, WorldSet.REPORT)}\n"}
