"""Evaluation: every slot plays its quota, nothing learns, and a skill report's numbers are those of its records."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_env import SKILLS, SPECS, TinyVectorEnv

from envgen_exp.errors import ConfigError
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.learners.intervals import Z95, score_interval, wilson
from envgen_exp.learners.ppo.agent import Agent
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.evaluate import evaluate
from envgen_exp.learners.ppo.ppo import make_agent
from envgen_exp.learners.skills import SkillReport, success_counts
from envgen_exp.run.summary import Successes
from envgen_exp.tracking.metrics import episode_record, episode_row, episode_values

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make_agent(
        PPOConfig(network="tiny"), SPECS["vector"], TinyVectorEnv.num_actions, torch.Generator().manual_seed(0)
    )


def played(agent: Agent, quota: list[int], seed: int = 0, **options: Any) -> list[EpisodeRecord]:
    env = TinyVectorEnv([None] * len(quota), range(len(quota)), length=12)
    return evaluate(agent, env, quota, torch.Generator().manual_seed(seed), CPU, **options)


@pytest.mark.parametrize("quota", [[3, 3, 3], [0, 4, 1, 2], [0, 0], [5]])
def test_each_slot_plays_exactly_its_quota(agent: Agent, quota: list[int]) -> None:
    records = played(agent, quota)
    assert [(r.slot, r.episode) for r in records] == [
        (slot, episode) for slot, number in enumerate(quota) for episode in range(1, number + 1)
    ]


def test_slots_that_are_done_leave_the_batch(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = [1, 6, 0, 3]
    env = TinyVectorEnv([None] * 4, range(4), length=12)
    left = np.array(quota)
    batches: list[int] = []
    follow, step = agent.follow, env.step

    def counting_follow(obs: dict[str, torch.Tensor], *memory: torch.Tensor) -> tuple[torch.Tensor, ...]:
        batches.append(len(obs["cells"]))
        return follow(obs, *memory)

    def checking_step(*args: Any, active: Any = None, **kwargs: Any) -> list[EpisodeRecord]:
        stepped = np.ones(4, np.bool_) if active is None else active
        np.testing.assert_array_equal(stepped, left > 0)
        assert batches[-1] == stepped.sum()
        records = step(*args, active=active, **kwargs)
        for record in records:
            left[record.slot] -= 1
        return records

    monkeypatch.setattr(agent, "follow", counting_follow)
    monkeypatch.setattr(env, "step", checking_step)
    evaluate(agent, env, quota, torch.Generator().manual_seed(0), CPU)
    assert not left.any()
    assert sorted(set(batches)) == [1, 2, 3]


def test_evaluation_is_deterministic_samples_actions_and_learns_nothing(agent: Agent) -> None:
    before = {name: tensor.clone() for name, tensor in agent.state_dict().items()}
    global_state = torch.get_rng_state()
    first, again, other = played(agent, [4] * 5), played(agent, [4] * 5), played(agent, [4] * 5, seed=1)
    assert first == again
    assert first != other
    assert all(torch.equal(tensor, before[name]) for name, tensor in agent.state_dict().items())
    assert torch.equal(torch.get_rng_state(), global_state)
    assert all(parameter.grad is None for parameter in agent.parameters())


def test_on_episode_sees_each_episode_as_it_ends(agent: Agent) -> None:
    seen: list[EpisodeRecord] = []
    records = played(agent, [3, 3, 3], on_episode=seen.append)
    assert sorted(seen, key=lambda r: (r.slot, r.episode)) == records
    clock = dict.fromkeys(range(3), 0)
    ends = []
    for record in seen:
        clock[record.slot] += record.length
        ends.append(clock[record.slot])
    assert ends == sorted(ends)


@pytest.mark.parametrize("quota", [[1, 1], [1, 1, 1, 1], [1, -1, 1]])
def test_a_quota_that_does_not_fit_is_refused(agent: Agent, quota: list[int]) -> None:
    env = TinyVectorEnv([None] * 3, range(3))
    with pytest.raises(ConfigError, match="each of 3 slots"):
        evaluate(agent, env, quota, torch.Generator(), CPU)


def record(slot: int, skills: tuple[int, ...], episode_return: float = 0.0, length: int = 10) -> EpisodeRecord:
    return EpisodeRecord(slot, 1, 0, "original", length, episode_return, False, skills)


RECORDS = [
    record(0, (5, 0, 0), 1.0, 10),
    record(0, (0, 1, 0), 2.0, 20),
    record(1, (1, 0, 0), 4.0, 30),
    record(1, (2, 3, 0), 3.0, 40),
    record(2, (0, 0, 0), 0.0, 50),
]


def test_success_counts() -> None:
    shown, tried = success_counts(RECORDS, 3)
    assert shown.tolist() == [3, 2, 0]
    assert tried.tolist() == [5, 5, 5]
    shown, tried = success_counts([], 3)
    assert shown.tolist() == tried.tolist() == [0, 0, 0]


def test_a_skill_counts_where_it_is_asked_for() -> None:
    # Blocks of 10 and 20 frames that ask for the first skill in all, for the second in some, for the third in none.
    blocks = [
        dataclasses.replace(record(0, (5, 1, 0), 0.5, 10), trials=(10, 2, 0)),
        dataclasses.replace(record(1, (20, 3, 0), 0.8, 20), trials=(20, 8, 0)),
    ]
    report = SkillReport.from_records(blocks, SKILLS, [3, 4])
    assert report.episodes == (10, 20)
    assert (report.mean_length, report.steps) == (1.0, 30)
    assert report.mean_return == pytest.approx((10 * 0.5 + 20 * 0.8) / 30)
    assert list(report.success_rates().values()) == [25 / 30, 4 / 10, 0.0]
    means = report.mean_and_sd()
    assert means[SKILLS[1]] == (pytest.approx((1 / 2 + 3 / 8) / 2), pytest.approx(np.std([1 / 2, 3 / 8], ddof=1)))
    assert SkillReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert "trials" not in SkillReport.from_records(RECORDS, SKILLS, [0, 0, 0]).to_json()
    values = episode_values("report", SKILLS, blocks)
    assert values[f"skill/report/{SKILLS[1]}"] == 4 / 10
    assert values["episodes/report"] == 30
    counts = Successes.of(report.to_json())
    assert wilson(counts.successes[SKILLS[2]], counts.tried(SKILLS[2])) == (0.0, 1.0)
    again = [episode_record(json.loads(json.dumps(episode_row(9, "report", 1, block)))) for block in blocks]
    assert again == blocks


def test_the_interval_over_blocks_is_a_delete_one_jackknife() -> None:
    shown, trials = np.array([[5, 1], [20, 3], [9, 4]]), np.array([[10, 2], [20, 8], [10, 5]])
    score = lambda rates: 100 * float(np.mean(list(rates.values())))  # noqa: E731
    low, high = score_interval(shown, ("a", "b"), score, trials)
    at = [np.log1p(score({"a": a, "b": b})) for a, b in (shown.sum(0) - shown) / (trials.sum(0) - trials)]
    plain = np.log1p(score(dict(zip("ab", shown.sum(0) / trials.sum(0), strict=True))))
    centre, error = plain - 2 * (np.mean(at) - plain), np.sqrt(2 / 3 * np.sum((at - np.mean(at)) ** 2))
    assert (low, high) == pytest.approx((np.expm1(centre - Z95 * error), min(100, np.expm1(centre + Z95 * error))))


def test_a_skill_report_by_hand() -> None:
    # Slots 0 and 2 belong to seed 7, slot 1 to seed 5, slot 3 to seed 9, which has played nothing.
    report = SkillReport.from_records(RECORDS, SKILLS, [7, 5, 7, 9])
    assert report.seeds == (5, 7, 9)
    assert report.successes == ((2, 1, 0), (1, 1, 0), (0, 0, 0))
    assert report.episodes == (2, 3, 0)
    assert report.success_rates() == {"move": 3 / 5, "reach_door": 2 / 5, "hit_wall": 0.0}
    spread = report.mean_and_sd()
    for skill, rates in (("move", [1.0, 1 / 3]), ("reach_door", [1 / 2, 1 / 3]), ("hit_wall", [0.0, 0.0])):
        assert spread[skill] == pytest.approx((statistics.mean(rates), statistics.stdev(rates)))
    assert report.mean_return == 2.0
    assert report.return_sd == pytest.approx(statistics.stdev([1, 2, 4, 3, 0]))
    assert report.mean_length == 30
    assert report.steps == 150


def test_too_little_for_a_spread_is_no_number() -> None:
    alone = SkillReport.from_records(RECORDS[:1], SKILLS, [0])
    mean, sd = alone.mean_and_sd()["move"]
    assert mean == 1.0
    assert math.isnan(sd)
    assert math.isnan(alone.return_sd)
    nothing = SkillReport.from_records([], SKILLS, [0])
    assert math.isnan(nothing.success_rates()["move"])
    assert math.isnan(nothing.mean_and_sd()["move"][0])
    assert nothing.to_json()["mean_return"] is None


@given(
    slots=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.tuples(*[st.integers(0, 3)] * 3),
            st.floats(-1e6, 1e6, allow_subnormal=False),
            st.integers(1, 10_000),
        ),
        max_size=12,
    )
)
def test_a_report_survives_json(slots: list[tuple[int, tuple[int, ...], float, int]]) -> None:
    report = SkillReport.from_records([record(*slot) for slot in slots], SKILLS, [3, 1, 3, 2])
    text = json.dumps(report.to_json(), allow_nan=False)
    back = SkillReport.from_json(json.loads(text))
    for field in dataclasses.fields(report):
        was, now = getattr(report, field.name), getattr(back, field.name)
        assert was == now or (math.isnan(was) and math.isnan(now))
    assert sum(report.episodes) == len(slots)
