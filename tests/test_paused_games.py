"""Episodes carry on over the ends of phases wherever a slot's design stays what it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from runs import composed, die, final_state, fork, quick, rows, run, wait
from tiny_env import TinyDesign, TinyVectorEnv

from envgen_exp.commands.compose import compose_sweep
from envgen_exp.commands.sweep import check_runs
from envgen_exp.errors import CheckpointError, ConfigError
from envgen_exp.families.crafter.vector import CrafterVector
from envgen_exp.families.design import design_key
from envgen_exp.families.vector import EpisodeRecord, Observation
from envgen_exp.learners.learner import Game
from envgen_exp.learners.playing import StepLearner, Stepwise
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.ppo import PPO
from envgen_exp.learners.ppo.training import TrainingPhase
from envgen_exp.run import checkpoint, evaluations, plan
from envgen_exp.run.paused import Paused
from envgen_exp.run.preparation import prepare, tell_plan
from envgen_exp.run.session import Session

CONFIG = PPOConfig("tiny", network="tiny", num_envs=4, num_steps=8, update_epochs=1, num_minibatches=2)


class Wanderer(StepLearner):
    """Acts at random and counts what it is told."""

    def act(self, obs: Observation, draw: np.random.Generator, *, learning: bool) -> NDArray[np.int64]:
        return draw.integers(3, size=len(next(iter(obs.values()))))

    def learn(self, obs: Any, actions: Any, rewards: Any, ended: Any, after: Any) -> Mapping[str, float]:
        return {"seen": float(sum(int(x.sum()) for x in obs.values()))}


def trainings(kind: str) -> Any:
    """Makes phases of one learner, each on an environment of its own."""

    def env(seeds: Sequence[int]) -> TinyVectorEnv:
        return TinyVectorEnv([None] * 4, seeds, length=13)

    if kind == "ppo":
        first = env(range(4))
        learner = PPO.create(CONFIG, first.observation_spec, 3, seed=0, device=torch.device("cpu"))
        return lambda seeds, steps: TrainingPhase(learner, env(seeds), steps, CONFIG, 1000)
    wanderer = Wanderer(composed(), None)  # type: ignore[arg-type]
    return lambda seeds, steps: Stepwise(wanderer, env(seeds), steps)


def told(reports: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [(report.steps, dict(report.metrics), list(report.episodes)) for report in reports]


@pytest.mark.parametrize("kind", ["ppo", "stepwise"])
@pytest.mark.parametrize("saved", [False, True], ids=["handed on", "resumed before its first step"])
def test_a_phase_that_takes_games_up_is_one_with_the_phase_that_left_them(kind: str, saved: bool) -> None:
    whole = told(list(trainings(kind)(range(4), 256)))
    make = trainings(kind)
    first, second = make(range(4), 128), make(range(50, 54), 128)
    reports = told(list(first))
    second.take_up(first.leave())
    if saved:
        second, before = make(range(60, 64), 128), second
        second.load_state_dict(before.state_dict())
    assert reports + told(list(second)) == whole
    assert sum(len(episodes) for _, _, episodes in whole) > 12


def test_a_slot_without_a_game_begins_anew_beside_those_that_go_on() -> None:
    make = trainings("ppo")
    first, second = make(range(4), 96), make(range(50, 54), 96)
    list(first)
    left = first.leave()
    second.take_up([None, left[1], left[2], None])
    firsts = {record.slot: record for report in reversed(list(second)) for record in reversed(report.episodes)}
    assert [firsts[slot].episode == 1 for slot in range(4)] == [True, False, False, True]


def test_a_game_of_another_agent_is_refused() -> None:
    first, second = trainings("ppo")(range(4), 32), trainings("ppo")(range(4), 32)
    list(first)
    game = {**first.leave()[0], "obs": {"pixels": torch.zeros(64, 64, 3, dtype=torch.uint8)}}
    second.take_up([game, None, None, None])
    with pytest.raises(CheckpointError, match="slot 0: its game was seen by another agent"):
        list(second)


def record(slot: int, length: int) -> EpisodeRecord:
    return EpisodeRecord(slot, 1, 0, "original", length, 0.0, False, ())


def test_which_slot_goes_on_with_what() -> None:
    paused, one, other = Paused(), TinyDesign(head_start=1), TinyDesign(head_start=2)

    def phase(*designs: TinyDesign | None) -> list[Game | None]:
        taken = paused.take(designs)
        state = paused.state_dict()
        paused.load_state_dict(state)
        paused.leave(designs, [{"was": design_key(design)} for design in designs])
        return taken

    def was(*designs: TinyDesign | None) -> list[Game]:
        return [{"was": design_key(design)} for design in designs]

    assert phase(one, one) == [None, None]
    assert phase(None, None) == [None, None]
    assert phase(one, other) == [*was(one), None]  # the other slot's design is new, and its game ends
    assert phase(None, None) == was(None, None)  # the original's waited
    assert phase(one, one) == [*was(one), None]  # of designs the last alone waits
    assert phase(None, one) == was(None, one)


def test_steps_are_told_apart_by_hand() -> None:
    paused = Paused()
    paused.take([None, None])
    assert paused.count("a", 10, [record(0, 4), record(0, 3)]) == [{}, {}]
    paused.leave([None, None], [{}, {}])
    paused.take([None, None])
    assert paused.count("b", 5, []) == []
    paused.load_state_dict(paused.state_dict())
    paused.leave([None, None], [{}, {}])
    paused.take([None, None])
    assert paused.count("c", 6, [record(0, 9), record(1, 20), record(0, 3)]) == [
        {"a": 3, "b": 5},
        {"a": 10, "b": 5},
        {},
    ]
    assert paused.state_dict()["spent"] == [{"c": 2}, {"c": 1}]


RUNS = {
    "fixed": ("designer=fixed",),
    "plr": ("designer=plr", "designer.population=4", "designer.worlds_per_design=2"),
    "blend": ("arm=blend", "designer.num_designs=2"),
    "reference": ("designer=fixed", "env.engine=reference", "cycles=1", "schedule.final_steps=80"),
    "heist": ("env=heist", "designer=original", "env.original_length=70", "env.pool_size=4"),
}
LENGTHS = ("env.designed_length=70", "env.original_length=70")
QUICK = (*LENGTHS, "env.observation=symbolic", "verbosity=quiet", "evaluation.report_episodes=1")


@pytest.fixture(autouse=True)
def unfilmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Films take half of such a run's time."""
    monkeypatch.setattr(evaluations, "FILMS", {"feedback": 0, "report": 0})


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.chaos) if name == "reference" else name for name in RUNS]
)
def test_the_steps_of_every_episode_are_where_the_log_says(name: str, tmp_path: Path) -> None:
    """From the lengths alone follows where each episode of a slot began and ended."""
    with quick():
        folder = run(tmp_path / "run", *(QUICK if name != "heist" else QUICK[3:]), *RUNS[name])
    config = composed(f"resume={folder}")
    phases = [phase for phase in plan.phases(config) if phase.steps]
    trained = [row for row in rows(folder / "episodes.jsonl") if row["phase"] in {phase.name for phase in phases}]
    assert any("earlier" in row for row in trained)
    changes = name == "blend"  # designs are new in each cycle
    for slot in range(4):
        for designed in (False, True):
            ours = [row for row in trained if row["slot"] == slot and (row["design"] != "original") == designed]
            # A slot's own time: that of the phases in which its game is one of these.
            mine = [phase for phase in phases if is_designed(config, phase, slot) == designed]
            if designed and changes:
                assert not any("earlier" in row for row in ours)
                continue
            ends = np.cumsum([0, *(row["length"] for row in ours)]).tolist()
            marks = np.cumsum([0, *(phase.steps // 4 for phase in mine)]).tolist()
            assert [row["episode"] for row in ours] == list(range(1, len(ours) + 1))
            assert ends[-1] <= marks[-1] < ends[-1] + 70
            for row, (begin, end) in zip(ours, pairwise(ends), strict=True):
                spans = zip(mine, pairwise(marks), strict=True)
                where = {p.name: min(end, high) - max(begin, low) for p, (low, high) in spans}
                where = {phase: steps for phase, steps in where.items() if steps > 0}
                assert row["phase"] == list(where)[-1]
                assert row.get("earlier", {}) == {phase: n for phase, n in where.items() if phase != row["phase"]}


def is_designed(config: Any, phase: plan.PlannedPhase, slot: int) -> bool:
    if config.designer.name == "original":
        return False
    return phase.kind == "designed" or (phase.kind == "blend" and slot < plan.designed_slots(config))


def test_killed_where_games_wait_and_where_they_go_on(tmp_path: Path) -> None:
    """Three times in one run; what the newest checkpoint then holds is what waits."""
    places = {"they wait": "cycle2-train-designed", "they are taken up": "", "they go on": "cycle2-train-original"}

    def until_killed(place: str) -> None:
        boundary, train_once = Session.boundary, TrainingPhase._train_once

        def boundary_(self: Session, *args: Any) -> None:
            boundary(self, *args)
            if self.current.name == places[place]:
                die()

        def once(self: TrainingPhase) -> Any:
            report = train_once(self)
            if self.learner.train_steps > 600 and place == "they are taken up":
                die()
            return report

        Session.boundary, TrainingPhase._train_once = boundary_, once  # type: ignore[assignment, method-assign]
        run(tmp_path / "killed", *arguments)

    arguments = ("designer=fixed", *QUICK, "checkpoint.every_steps=64")
    designed, original = {(slot, False) for slot in range(4)}, {(slot, True) for slot in range(4)}
    waiting = {
        "they wait": original,
        "they are taken up": original | designed,  # of the phase's beginning, where nothing was taken yet
        "they go on": designed,
    }
    with quick():
        for place, expected in waiting.items():
            assert wait(fork(lambda place=place: until_killed(place))) < 0  # type: ignore[misc]
            _, state, _ = checkpoint.load_latest(tmp_path / "killed" / "checkpoints")
            assert state is not None
            found = {(slot, key == "original") for slot, key, *_ in state["parts"]["paused"]["games"]}
            assert found == expected, place
        run(tmp_path / "killed")
        assert final_state(tmp_path / "killed") == final_state(run(tmp_path / "whole", *arguments))


def test_a_family_that_saves_no_games_begins_anew_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(CrafterVector, "get_state")
    assert "games       begin anew in each phase" in "\n".join(tell_plan(prepare(composed())))

    def until_killed() -> None:
        train_once = TrainingPhase._train_once

        def once(self: TrainingPhase) -> Any:
            if self.learner.train_steps > 500:
                die()
            return train_once(self)

        TrainingPhase._train_once = once  # type: ignore[method-assign]
        run(tmp_path / "killed", *QUICK)

    with quick():
        assert wait(fork(until_killed)) < 0
        for name in ("killed", "whole"):
            run(tmp_path / name, *QUICK)
    assert not any("earlier" in row for row in rows(tmp_path / "whole" / "episodes.jsonl"))
    assert final_state(tmp_path / "killed") == final_state(tmp_path / "whole")


def test_phases_shorter_than_an_episode_are_told_and_in_a_study_refused() -> None:
    assert "phases      cycle1-train-designed has 200 steps for 4 slots, 50 each" in "\n".join(
        tell_plan(prepare(composed()))
    )
    config = composed()
    long = dataclasses.replace(config.schedule, designed_steps=720, original_steps=720, final_steps=720)
    assert plan.short_phase(dataclasses.replace(config, schedule=long)) == ""
    words = ["experiment=table3", "cycles=40", "seed=0"]
    study = compose_sweep([*words, "scale=laptop"])
    with pytest.raises(ConfigError, match=r"1,920 steps for 32 slots.*allowed are 5,760 steps, or at most 10 slots"):
        check_runs(study)
    check_runs(compose_sweep([*words, "scale=laptop", "ppo=symbolic_long"]))
    check_runs(compose_sweep([*words, "scale=smoke"]))
