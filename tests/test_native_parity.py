"""The native engine plays the reference engine's game, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from crafter_parity import BLOCK, SLOTS, STEPS, TRACE, Coverage, Games, digests, light_tables

from envgen_exp.config import Observe
from envgen_exp.families.crafter.design import BIOMES, RARITIES, CrafterDesign
from envgen_exp.families.crafter.engine import NativeVector
from envgen_exp.families.crafter.engine import make_world as make_native_world
from envgen_exp.families.crafter.reference import ReferenceVector
from envgen_exp.families.crafter.reference import make_world as make_reference_world
from envgen_exp.families.crafter.upstream import SKILLS

LIVE_STEPS = 350
"""Steps of each game that are compared live: to the second half of the first night."""
ROUNDS = 10
"""Rounds of `make parity`; together 3,000,000 steps."""


@pytest.fixture(scope="module")
def trace() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TRACE.read_text())
    return found


@pytest.mark.parametrize("observe", Observe)
def test_300_000_steps_as_the_reference_played_them(trace: dict[str, Any], observe: Observe) -> None:
    """150,000 steps in each observation against digests that the reference left behind.

    Frames are compared where daylight has the same last bits as where the digests were made, states everywhere.
    """
    same_light = trace["light_tables"] == light_tables()
    assert len(trace[observe.value]) * BLOCK * SLOTS == STEPS * SLOTS == 150_000
    games, coverage = Games(NativeVector, observe, 0), Coverage()
    for number, (state, light, records) in enumerate(digests(games, STEPS)):
        coverage.add(games, records)
        expected = trace[observe.value][number]
        assert state == expected["state"], f"the states part between step {number * BLOCK} and {(number + 1) * BLOCK}"
        if same_light:
            assert light == expected["light"], f"frames part between step {number * BLOCK} and {(number + 1) * BLOCK}"
    assert coverage.skills == {*SKILLS}
    assert coverage.deaths > 500
    assert coverage.timeouts > 3
    assert coverage.days_lived > 5


def compare(observe: Observe, round_: int, steps: int, games: Sequence[int] = range(SLOTS)) -> Coverage:
    """Play both engines side by side and compare all that they give, step by step."""
    reference, native = (Games(make, observe, round_, games) for make in (ReferenceVector, NativeVector))
    coverage = Coverage()
    for step in range(steps):
        ended = reference.step()
        assert native.step() == ended, f"step {step}"
        coverage.add(reference, ended)
        pairs = zip(reference.state() + reference.light(), native.state() + native.light(), strict=True)
        for index, (expected, found) in enumerate(pairs):
            if not np.array_equal(expected, found):
                pytest.fail(f"step {step}, array {index}: {np.argwhere(expected != found)[:3].tolist()}")
    return coverage


@pytest.mark.parametrize("observe", Observe)
def test_side_by_side(observe: Observe) -> None:
    """Frames and all else, in worlds and with players of their own; each observation has half of the designs."""
    games = [game for game in range(SLOTS) if game // 2 % 2 == (observe is Observe.symbolic)]
    coverage = compare(observe, 100, LIVE_STEPS, games)
    assert coverage.by_night > 500
    assert coverage.by_day > 2_500
    assert coverage.deaths > 5


@pytest.mark.parity
@pytest.mark.parametrize("observe", Observe)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_side_by_side_at_length(observe: Observe, round_: int) -> None:
    """2 x 10 x 150,000 = 3,000,000 steps; round 0 is the games of the digests."""
    coverage = compare(observe, round_, STEPS)
    assert coverage.deaths > 500
    assert coverage.timeouts > 1  # three to ten in a round


@pytest.mark.parity
@pytest.mark.parametrize("observe", Observe)
def test_digests_are_what_the_reference_gives(trace: dict[str, Any], observe: Observe) -> None:
    """The committed digests again, from the reference engine."""
    blocks = digests(Games(ReferenceVector, observe, 0), STEPS)
    assert [state for state, _, _ in blocks] == [block["state"] for block in trace[observe.value]]


WORLDS = {
    "original": None,
    **{
        f"{biome}, {rarity}": CrafterDesign(
            target_biome=biome, **{f"{resource}_rarity": rarity for resource in RARITIES}
        )
        for biome in BIOMES
        for rarity in RARITIES["coal"]
    },
}


@pytest.mark.parametrize("name", WORLDS)
def test_worlds(name: str) -> None:
    """Whole worlds, creatures too, of every biome and rarity."""
    design = WORLDS[name]
    for seed in (0, 1, 2, 2**31 - 2):
        np.testing.assert_array_equal(make_native_world(design, seed), make_reference_world(design, seed))
