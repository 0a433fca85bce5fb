"""The diagnostics of Crafter, env.original=fork and env.generator=released, in both engines."""

from __future__ import annotations

import numpy as np
import pytest
from batch import Batch

from envgen_exp.config import Engine, Observe
from envgen_exp.families.crafter.config import CrafterConfig, Generator, OriginalGame
from envgen_exp.families.crafter.design import CrafterDesign
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.design import Design

COAL = CrafterDesign(target_biome="mountain", coal_rarity="very common")


def world(config: CrafterConfig, design: Design | None) -> np.ndarray:
    batch = Batch(CrafterFamily(config).vector([design], [5])).reset()
    maps: np.ndarray = batch.env.maps()  # type: ignore[attr-defined]
    return maps


@pytest.mark.parametrize("engine", Engine)
def test_the_diagnostics_change_what_they_name_alone(engine: Engine) -> None:
    usual = CrafterConfig(engine=engine, observation=Observe.symbolic, original_length=7, designed_length=3)
    fork = CrafterConfig(**{**vars(usual), "original": OriginalGame.fork})
    released = CrafterConfig(**{**vars(usual), "generator": Generator.released})
    default = CrafterDesign()
    common = CrafterDesign(target_biome="mountain", coal_rarity="common")
    np.testing.assert_array_equal(world(fork, None), world(usual, default))
    assert (world(fork, None) != world(usual, None)).any()
    np.testing.assert_array_equal(world(fork, COAL), world(usual, COAL))
    np.testing.assert_array_equal(world(released, COAL), world(usual, common))
    assert (world(released, COAL) != world(usual, COAL)).any()
    np.testing.assert_array_equal(world(released, None), world(usual, None))
    np.testing.assert_array_equal(world(released, common), world(usual, common))
    # It is still the original: its length and its name in the records.
    batch = Batch(CrafterFamily(fork).vector([None], [5])).reset()
    (record,) = [record for _ in range(7) for record in batch.step([0])]
    assert (record.design, record.length, record.truncated) == ("original", 7, True)
    assert CrafterFamily(released).check(COAL, num_worlds=2).counts == (
        CrafterFamily(usual).check(common, num_worlds=2).counts
    )


def test_the_engines_agree_on_the_fork() -> None:
    configs = [CrafterConfig(engine=engine, original=OriginalGame.fork) for engine in Engine]
    np.testing.assert_array_equal(*(world(config, None) for config in configs))


def test_what_is_a_diagnostic() -> None:
    assert CrafterConfig().diagnostics() == []
    env = CrafterConfig(original=OriginalGame.fork, generator=Generator.released)
    assert env.diagnostics() == ["env.original=fork", "env.generator=released"]
