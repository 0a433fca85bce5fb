"""Prioritised level replay: its mathematics from the paper's definitions, and that training plays what it chose."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_env import TinyDesign, TinyVectorEnv

from envgen_exp.designers.config import PLRConfig
from envgen_exp.designers.plr import Replay
from envgen_exp.designers.random import draw
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import Family
from envgen_exp.families.heist.config import HeistConfig
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.ppo import PPO
from envgen_exp.learners.ppo.training import TrainingPhase
from envgen_exp.seeding import WorldSet


def replay(population: int = 3, worlds: int = 2, temperature: float = 0.1, staleness: float = 0.1) -> Replay:
    config = PLRConfig("plr", population=population, worlds_per_design=worlds)
    made = Replay(PLRConfig(**{**vars(config), "temperature": temperature, "staleness": staleness}), seed=3)
    made.designs = [TinyDesign(head_start=number) for number in range(population)]
    made.slots = frozenset({0, 1})
    made.begin((0, 1))
    return made


def test_priorities_by_hand() -> None:
    """Ranks 1, 3, 2 at temperature 1 are 6/11, 2/11, 3/11; ages 1, 2, 5 are 1/8, 2/8, 5/8; mixed half and half."""
    levels = replay(temperature=1.0, staleness=0.5)
    levels.scores[[0, 2, 5]] = [3.0, 1.0, 2.0]
    levels.chosen_at[[0, 2, 5]] = [9, 8, 5]
    levels.choices = 10
    expected = [(Fraction(rank, 11) + Fraction(age, 8)) / 2 for rank, age in zip((6, 2, 3), (1, 2, 5), strict=True)]
    got = levels.priorities(np.array([0, 2, 5]))
    assert got == pytest.approx([float(share) for share in expected], abs=1e-15)
    assert sum(expected) == 1


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=12, unique=True),
    st.floats(0.05, 5),
    st.floats(0, 1),
    st.randoms(use_true_random=False),
)
def test_priorities_against_the_definition(scores: list[float], beta: float, rho: float, chance: object) -> None:
    """P = (1 - rho) h(S)^(1/beta) / sum + rho (c - C) / sum (c - C) with h = 1 / rank, each level on its own."""
    levels = replay(population=len(scores), worlds=1, temperature=beta, staleness=rho)
    stamps = list(range(len(scores)))
    chance.shuffle(stamps)  # type: ignore[attr-defined]
    levels.scores[:], levels.chosen_at[:], levels.choices = scores, stamps, len(scores)
    rank = {score: 1 + sum(other > score for other in scores) for score in scores}
    weight = {score: (1 / rank[score]) ** (1 / beta) for score in scores}
    expected = [
        (1 - rho) * weight[score] / sum(weight.values())
        + rho * (len(scores) - stamp) / sum(len(scores) - other for other in stamps)
        for score, stamp in zip(scores, stamps, strict=True)
    ]
    assert levels.priorities(np.arange(len(scores))) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_score_is_the_mean_absolute_advantage_of_the_whole_episode() -> None:
    """Over rollouts that cut episodes anywhere; an episode that has not ended has no score."""
    levels = replay(population=40, worlds=1)
    rng = np.random.default_rng(0)
    lengths = {0: [3, 1, 9, 4], 1: [6, 8, 2]}
    chosen = {slot: [] for slot in lengths}  # type: dict[int, list[int]]
    for slot, episodes in lengths.items():
        for _ in episodes:
            design, _ = levels.choose(slot)
            chosen[slot].append(int(design.settings()["head_start"]))
    advantages = rng.normal(size=(17, 2)).astype(np.float32)
    dones = np.zeros((17, 2), np.bool_)
    expected = {}
    for slot, episodes in lengths.items():
        ends = np.cumsum(episodes)
        for level, start, end in zip(chosen[slot], [0, *ends], ends, strict=False):
            if end <= 17:
                dones[end - 1, slot] = True
                expected[level] = np.abs(advantages[start:end, slot].astype(np.float64)).mean()
    for start, end in ((0, 5), (5, 6), (6, 13), (13, 17)):
        levels.learn(advantages[start:end], dones[start:end])
        levels.load_state_dict(levels.state_dict())
    scored = {level: score for level, score in enumerate(levels.scores.tolist()) if not np.isnan(score)}
    assert scored == pytest.approx(expected)
    assert len(expected) == 7


def test_every_level_is_played_before_chance_alone_would_and_the_highest_score_most() -> None:
    levels = replay(population=5, worlds=4)
    played = []
    for _ in range(2000):
        level = levels.sample()
        played.append(level)
        levels.scores[level] = float(level == 7)  # level 7 is the one to learn from
    assert set(played) == set(range(20))
    assert len(set(played[:20])) > 10
    counts = Counter(played[1000:])
    # Nine in ten go by score, of which level 7, at a temperature of 0.1, has all but a thousandth.
    assert counts[7] / 1000 == pytest.approx(0.9, abs=0.05)
    assert all(counts[level] for level in range(20))


def test_a_level_that_a_phase_s_end_cut_off_comes_back() -> None:
    levels = replay(population=2, worlds=1)
    first, second = (int(levels.choose(0)[0].settings()["head_start"]) for _ in range(2))
    assert first != second
    levels.learn(np.ones((4, 2), np.float32), np.array([[0, 0], [1, 0], [0, 0], [0, 0]], np.bool_))
    levels.begin((0, 1))
    assert second in {levels.sample() for _ in range(20)}


def test_training_plays_what_was_chosen_and_tells_what_it_taught() -> None:
    config = PPOConfig("tiny", network="tiny", num_envs=3, num_steps=16, update_epochs=1, num_minibatches=2)
    env = TinyVectorEnv([None, TinyDesign(), TinyDesign()], [1, 2, 3], WorldSet.TRAIN)
    learner = PPO.create(config, env.observation_spec, 3, seed=0, device=torch.device("cpu"))
    levels = replay(population=4, worlds=3)
    levels.slots = frozenset({1, 2})
    chosen: dict[int, list[tuple[Design, int]]] = {1: [], 2: []}
    taught: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
    choose, learn = levels.choose, levels.learn

    def choose_(slot: int) -> tuple[Design, int]:
        chosen[slot].append(choose(slot))
        return chosen[slot][-1]

    def learn_(advantages: NDArray[np.float32], dones: NDArray[np.bool_]) -> None:
        taught.append((advantages.copy(), dones.copy()))
        learn(advantages, dones)

    levels.choose, levels.learn = choose_, learn_  # type: ignore[method-assign]
    training = TrainingPhase(learner, env, 3 * 16 * 6, config, 1000, levels)
    episodes = [record for rollout in training for record in rollout.episodes]
    for slot in (1, 2):
        ours = [record for record in episodes if record.slot == slot]
        assert len(ours) > 3
        assert len(chosen[slot]) == len(ours) + 2  # the running one and the next
        for record, (design, world) in zip(ours, chosen[slot], strict=False):
            assert (record.design, record.world_seed) == (design_key(design), world)
    assert {record.design for record in episodes if record.slot == 0} <= {"original"}
    advantages = np.concatenate([a for a, _ in taught])
    assert advantages.shape == (16 * 6, 3)
    ends = []
    for slot in (1, 2):
        end = 0
        for record in (record for record in episodes if record.slot == slot):
            start, end = end, end + record.length
            score = np.abs(advantages[start:end, slot].astype(np.float64)).mean()
            ends.append(((end - 1) // 16, slot, end, levels._worlds.index(record.world_seed), score))
    latest = {level: score for *_, level, score in sorted(ends)}
    assert {n: s for n, s in enumerate(levels.scores.tolist()) if not np.isnan(s)} == pytest.approx(latest)


# Random designs


@pytest.fixture(scope="module", params=["crafter", "heist"])
def family(request: pytest.FixtureRequest) -> Family:
    return make_family(CrafterConfig() if request.param == "crafter" else HeistConfig(pool_size=4))


@settings(max_examples=8, deadline=None)
@given(root=st.integers(0, 2**63 - 1))
def test_a_random_design_can_be_played_and_is_inside_the_space(family: Family, root: int) -> None:
    small = type("Small", (), {"check": lambda _, design: family.check(design, num_worlds=2)})()
    for name in ("name", "vocabulary", "design_model"):
        setattr(small, name, getattr(family, name))
    design, check = draw(small, root, "test")
    assert check.playable
    assert family.check(design, num_worlds=2).playable
    for setting in family.vocabulary:
        value = design.settings()[setting.name]
        assert value in setting.choices if setting.choices else setting.low <= value <= setting.high
    assert draw(small, root, "test")[0] == design


def test_random_designs_spread_over_the_space(family: Family) -> None:
    small = type("Small", (), {"check": lambda _, design: family.check(design, num_worlds=1)})()
    for name in ("name", "vocabulary", "design_model"):
        setattr(small, name, getattr(family, name))
    drawn = [draw(small, 0, "spread", number)[0].settings() for number in range(25)]
    for setting in family.vocabulary[:1]:
        assert {design[setting.name] for design in drawn} == set(setting.choices)
    assert len({str(design) for design in drawn}) == 25
