"""Numbers that a run works out between its phases, by hand: the paper's score and reward, and what feedback says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from runs import composed

from envgen_exp import seeding
from envgen_exp.commands.compose import compose_run
from envgen_exp.designers.proposal import Proposal
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.design import design_key
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.learners.learner import Played
from envgen_exp.learners.skills import SkillReport
from envgen_exp.llm.prices import Expected
from envgen_exp.run import loop, plan
from envgen_exp.run.evaluations import Evaluations
from envgen_exp.seeding import WorldSet

FAMILY = make_family(CrafterConfig())


def row(step: int, shown: Sequence[int], episode_return: float, design: str | None = None) -> dict[str, Any]:
    counts = [int(skill in shown) for skill in range(len(FAMILY.skills))]
    key = design_key(None) if design is None else design
    return {"step": step, "length": 1, "skills": counts, "episode_return": episode_return, "design": key}


def report_values(rows: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Beside the report of a run at the paper's scale whose training episodes by phase were these."""
    session = SimpleNamespace(seconds=0, trained=1_960_000, finished_episodes=lambda phase: rows.get(phase, []))
    return Evaluations(compose_run(["scale=paper"]), FAMILY, None, session)._training_values()  # type: ignore[arg-type]


def test_the_papers_score_is_of_the_last_phase_and_its_reward_of_the_last_100_k_steps() -> None:
    final = [
        row(1_000_000, [0, 1], 9.0),
        row(1_859_999, [0], 8.0),
        row(1_860_000, [0], 7.0),
        row(1_860_001, [0], 2.0),
        row(1_960_000, [], 4.0),
    ]
    others = {name: [row(900_000, range(22), 99.0)] for name in ("cycle4-train-original", "cycle4-train-designed")}
    values = report_values({"final": [*final, row(1_950_000, range(22), 99.0, "designed")], **others})
    rates = dict.fromkeys(FAMILY.skills, 0.0) | {FAMILY.skills[0]: 4 / 5, FAMILY.skills[1]: 1 / 5}
    assert values["score/training_last_phase"] == pytest.approx(FAMILY.score(rates))
    assert values["return/training_last_phase"] == pytest.approx((2.0 + 4.0) / 2)
    assert "return/training_last_phase" not in report_values(others)


SEEDS, EPISODES = 4, 5


def evaluated(report: SkillReport, patch: pytest.MonkeyPatch) -> tuple[Any, dict[str, Any]]:
    """The feedback that is made of an evaluation, and what the evaluation was asked to play."""
    words = (f"evaluation.feedback_seeds={SEEDS}", f"evaluation.feedback_episodes={EPISODES}", "evaluation.num_envs=8")
    asked: dict[str, Any] = {}

    def play(self: Any, planned: Any, worlds: Any, quota: Any, seeds: Any, groups: Any) -> dict[str, Any]:
        asked.update(quota=quota, groups=groups)
        return {"skills": report.to_json()}

    patch.setattr(Evaluations, "_play", play)
    session = SimpleNamespace(
        seconds=0,
        phase=lambda work: work(None, None),
        steps_left=lambda: 7,
        finished_episodes=lambda phase: [],
        progress=SimpleNamespace(skills=lambda *_: None),
    )
    evaluations = Evaluations(composed(*words), FAMILY, None, session)  # type: ignore[arg-type]
    folder = SimpleNamespace(phases="phases")
    run = SimpleNamespace(evaluations=evaluations, session=session, feedback=[], trained=[], folder=folder)
    return loop.Run.evaluate(run, 1, Proposal(designs=())), asked  # type: ignore[arg-type]


def uneven() -> SkillReport:
    """An evaluation in which no two skills have one mean or one spread."""
    rng = np.random.default_rng(0)
    while True:
        counts = rng.integers(0, EPISODES + 1, (SEEDS, len(FAMILY.skills)))
        if all(a.std(ddof=1) != b.std(ddof=1) for a, b in itertools.pairwise(counts.T)):
            break
    return SkillReport(
        skills=FAMILY.skills,
        seeds=tuple(range(SEEDS)),
        successes=tuple(tuple(line) for line in counts.tolist()),
        episodes=(EPISODES,) * SEEDS,
        mean_return=0.0,
        return_sd=0.0,
        mean_length=1.0,
        steps=1,
    )


def test_feedback_has_each_skills_own_mean_and_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    report = uneven()
    found, _ = evaluated(report, monkeypatch)
    rates = np.array(report.successes) / EPISODES
    for place, skill in enumerate(FAMILY.skills):
        assert found.mean[skill] == pytest.approx(rates[:, place].mean())
        assert found.sd[skill] == pytest.approx(rates[:, place].std(ddof=1))


def test_each_seed_of_the_feedback_has_all_its_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 episodes over two slots are 3 and 2: both slots are one seed's, or its spread is over other numbers."""
    _, asked = evaluated(uneven(), monkeypatch)
    assert len(asked["quota"]) == len(asked["groups"]) == 2 * SEEDS
    played = dict.fromkeys(range(SEEDS), 0)
    for quota, seed in zip(asked["quota"], asked["groups"], strict=True):
        played[seed] += quota
    assert set(played.values()) == {EPISODES}


def test_what_a_design_taught_is_of_the_episodes_that_ended_in_it_in_that_cycle() -> None:
    rows = {
        "cycle1-train-designed": [row(1, range(22), 0.0, "first")],
        "cycle2-train-designed": [row(2, [0], 0.0, "first"), row(3, [1], 0.0, "first"), row(4, range(22), 0.0)],
        "cycle2-train-blend": [row(5, [0, 1], 0.0, "second")],
        "cycle2-train-original": [row(6, range(22), 0.0, "first")],
    }
    session = SimpleNamespace(seconds=0, finished_episodes=lambda phase: rows.get(phase, []))
    found = Evaluations(composed(), FAMILY, None, session).taught(2)  # type: ignore[arg-type]
    zero, (one, other) = dict.fromkeys(FAMILY.skills, 0.0), FAMILY.skills[:2]
    assert found == {"first": zero | {one: 0.5, other: 0.5}, "second": zero | {one: 1.0, other: 1.0}}


@pytest.mark.parametrize("kind", ["feedback", "report", "midway"])
def test_what_an_evaluation_logs(kind: str) -> None:
    """The paper's training-episode score stands beside the report's alone, an interval beside all but feedback's."""
    skills = [(1,) + (0,) * 21, (0,) * 22]
    records = [EpisodeRecord(0, n, n, "original", 10, 2.0, False, shown) for n, shown in enumerate(skills, start=1)]
    session = MagicMock(seconds=0.0, visual_seconds=0.0, trained=9, steps={kind: 5})
    session.finished_episodes = lambda phase: [row(9, [0], 1.0)] if phase == "final" else []
    learner = SimpleNamespace(evaluate=lambda *_: Played(records))
    evaluations = Evaluations(composed(), FAMILY, learner, session)  # type: ignore[arg-type]
    planned = plan.PlannedPhase(kind, kind, 3, episodes=2)
    found = evaluations._play(planned, WorldSet.REPORT, [2], [7], [0])
    values = found["values"]
    session.log.assert_called_once_with(values)
    assert found["cycle"] == 3
    assert values[f"score/{kind}"] == pytest.approx(
        FAMILY.score(dict.fromkeys(FAMILY.skills, 0.0) | {FAMILY.skills[0]: 0.5})
    )
    assert session.steps == {kind: 25}
    assert (f"score/{kind}_low" in values) == (kind != "feedback")
    assert ("score/training_last_phase" in values) == (kind == "report")


def test_the_worlds_of_an_evaluation_are_those_of_all_its_episodes() -> None:
    played = [(7, 1), (7, 2), (8, 1)]
    assert Evaluations._worlds([7, 8], [2, 1]) == {seeding.world_seed(*one, WorldSet.REPORT) for one in played}


def test_only_phases_that_train_have_steps_and_only_evaluations_have_episodes() -> None:
    config = composed()
    phases = plan.phases(config)
    trains, plays = ({phase.kind for phase in phases if getattr(phase, what)} for what in ("steps", "episodes"))
    assert (trains, plays) == ({"designed", "original"}, {"feedback", "report"})
    schedule = config.schedule
    by_hand = config.cycles * (schedule.designed_steps + schedule.original_steps) + schedule.final_steps
    assert plan.training_steps(config) == by_hand


@pytest.mark.parametrize(("cost", "words"), [(None, "price not known"), (0.125, "about $0.12")])
def test_a_plan_says_what_the_model_will_cost(cost: float | None, words: str) -> None:
    expected = Expected(8, 100, 200, cost)
    text = plan.describe(composed("llm=gpt4"), chosen={}, speed=None, expected=expected, own=(), saves_games=True)
    assert f"8 to openai/gpt-4.1 (more where a reply needs repair), {words}\n" in text
