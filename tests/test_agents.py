"""A language model as the agent: its manual and scenes against the game, its questions, whole episodes over HTTP."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from batch import Batch
from llm_server import LLMServer
from runs import fork, rows, summary, wait

from envgen_exp import seeding
from envgen_exp.commands import cli, report
from envgen_exp.commands import run as command
from envgen_exp.commands.compose import compose_run
from envgen_exp.config import RunConfig
from envgen_exp.errors import BudgetError, EnvGenError
from envgen_exp.families.crafter import upstream
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.crafter.state import KINDS, SlotState, decode
from envgen_exp.guard.reading import read_json
from envgen_exp.learners.asked import CHAINS
from envgen_exp.learners.asked.chain import Question, in_order
from envgen_exp.learners.asked.reply import read_action
from envgen_exp.llm import ledger, provider
from envgen_exp.llm.ledger import Address
from envgen_exp.reporting.study.collect import collect
from envgen_exp.run.folder import is_finished
from envgen_exp.run.identity import identity
from envgen_exp.run.record import RunRecord
from envgen_exp.seeding import WorldSet, world_seed

FAMILY = CrafterFamily(CrafterConfig(num_threads=1))
ACTIONS = upstream.ACTIONS
MANUAL = FAMILY.manual(500)

# The manual against the package


def test_the_manual_has_every_action_with_what_it_requires() -> None:
    assert tuple(MANUAL.actions) == ACTIONS
    assert tuple(MANUAL.skills) == upstream.SKILLS
    assert MANUAL.idle in ACTIONS
    for verb in ("place", "make"):
        for name, info in getattr(upstream.constants, verb).items():
            line = MANUAL.actions[f"{verb}_{name}"]
            assert all(f"{amount} {item}" in line for item, amount in info["uses"].items())
            assert all(word in line for word in (*info.get("nearby", ()), *info.get("where", ())))
    for material, info in upstream.constants.collect.items():
        line = next(line for line in MANUAL.rules if line.startswith(f"{material}: "))
        assert all(tool.replace("_", " ") in line for tool in info["require"])
        assert all(f"{amount} {item}" in line for item, amount in info["receive"].items())
    for side in ("left", "right", "up", "down"):
        assert all(ground in MANUAL.actions[f"move_{side}"] for ground in upstream.constants.walkable)
    assert "500 steps" in MANUAL.goal
    assert "designed" not in " ".join((MANUAL.goal, *MANUAL.rules, *MANUAL.actions.values()))


def test_what_food_is_worth_is_the_games() -> None:
    world = upstream.engine.World(upstream.AREA, upstream.constants.materials, upstream.CHUNK)
    player = upstream.objects.Player(world, (32, 32))
    player.inventory["food"] = 0
    plant = upstream.objects.Plant(world, (32, 33))
    plant.grown = 1000
    player._do_object(plant)
    assert f"eat a ripe plant ({player.inventory['food']} food)" in MANUAL.actions["do"]
    player.inventory |= {"food": 0, "iron_sword": 1}
    player._do_object(upstream.objects.Cow(world, (32, 33)))
    assert f"a cow that is hit to its end gives {player.inventory['food']} food" in MANUAL.actions["do"]


# Scenes against the game's state


def offsets(text: str) -> tuple[int, int]:
    """'2 left and 1 up' as (-2, -1)."""
    x = y = 0
    for amount, side in re.findall(r"(\d) (left|right|up|down)", text):
        x += {"left": -1, "right": 1}.get(side, 0) * int(amount)
        y += {"up": -1, "down": 1}.get(side, 0) * int(amount)
    return x, y


def check_scene(text: str, state: SlotState) -> set[str]:
    """Compare every line with the whole game; returns the kinds of things that were in view."""
    game, player = state.game, state.objects[0]
    assert game is not None
    lines = text.splitlines()
    inventory = dict(zip(upstream.ITEMS, game["inventory"].tolist(), strict=True))
    assert lines[0] == (
        "Vital signs, of 9 each: health {health}, food {food}, drink {drink}, energy {energy}.".format(**inventory)
    )
    held = [f"{inventory[item]} {item}" for item in upstream.ITEMS[4:] if inventory[item]]
    assert lines[1] == f"You carry: {', '.join(held) or 'nothing'}."

    px, py = (int(n) for n in player["pos"])
    cells: dict[str, list[tuple[int, int]]] = {}
    things: dict[str, list[tuple[int, int]]] = {}
    at: dict[tuple[int, int], str] = {}
    kinds = {tuple(int(n) for n in one["pos"]): one for one in state.objects[1:]}
    for x in range(-4, 5):
        for y in range(-3, 4):
            inside = 0 <= px + x < 64 and 0 <= py + y < 64
            material = upstream.MATERIALS[game["materials"][px + x, py + y] - 1] if inside else "the world's end"
            at[x, y] = material
            if (x, y) == (0, 0):
                continue
            cells.setdefault(material, []).append((x, y))
            if (px + x, py + y) in kinds:
                one = kinds[px + x, py + y]
                name = KINDS[one["kind"]].lower()
                if name == "plant":
                    name = "ripe plant" if one["timer"] > 300 else "sapling"
                if name == "arrow":
                    fx, fy = one["facing"].tolist()
                    name = f"arrow flying {'left' if fx < 0 else 'right' if fx > 0 else 'up' if fy < 0 else 'down'}"
                things.setdefault(name, []).append((x, y))
                at[x, y] = f"{name} on {material}"

    fx, fy = game["facing"].tolist()
    side = {(-1, 0): "left", (1, 0): "right", (0, -1): "up", (0, 1): "down"}[fx, fy]
    if game["sleeping"]:
        assert lines[3] == f"You are asleep on {at[0, 0]}."
    else:
        assert lines[3] == f"You stand on {at[0, 0]} and face {side}: {at[fx, fy]}."
    beside = f"left {at[-1, 0]}, right {at[1, 0]}, up {at[0, -1]}, down {at[0, 1]}"
    assert lines[4] == f"Beside you: {beside}."

    told = dict(line.removeprefix("- ").split(": ", 1) for line in lines[6:])
    assert len(told) == len(lines) - 6
    assert told.keys() == cells.keys() | things.keys()
    for name, where in things.items():
        assert sorted(map(offsets, told[name].split("; "))) == sorted(where)
    for name, where in cells.items():
        nearest, number = re.fullmatch(r"(.+) \((\d+) cells?\)", told[name]).groups()  # type: ignore[union-attr]
        assert int(number) == len(where)
        assert offsets(nearest) in where
        assert sum(map(abs, offsets(nearest))) == min(abs(x) + abs(y) for x, y in where)
    return set(things) | set(cells) | ({"asleep"} if game["sleeping"] else set())


def test_scenes_tell_the_games_state() -> None:
    rng = np.random.default_rng(5)
    seen: set[str] = set()
    # Walking mostly one way leads to water and caves.
    weights = np.array([1, 8, 2, 8, 2, 6, 2, 1, 1, 1, 2, *[0] * 6], dtype=float)
    env = FAMILY.told_vector(list(range(6)), WorldSet.VALIDATION, 10_000)
    batch = Batch(env).reset()
    for step in range(300):
        if step % 4 == 0:
            for slot in range(6):
                scene = FAMILY.tell(batch.obs, slot)
                state = decode(env.get_state(slot))
                seen |= check_scene(scene.text, state)
                assert state.game is not None
                assert list(scene.counts.values()) == state.game["inventory"].tolist()
        batch.step(rng.choice(len(ACTIONS), size=6, p=weights / weights.sum()))
    env.close()
    assert seen >= {"cow", "zombie", "tree", "water", "sand", "sapling", "asleep"}


def test_the_worlds_end_is_told() -> None:
    env = FAMILY.told_vector([0], WorldSet.VALIDATION, 10)
    obs = Batch(env).reset().obs
    env.close()
    obs["view"][0, :, :4] = 0
    text = FAMILY.tell(obs, 0).text
    assert "Beside you: left the world's end, " in text
    assert "- the world's end: 1 left (28 cells)" in text


# Questions and answers


def test_spring_asks_nine_questions_each_after_those_that_it_needs() -> None:
    names = [question.name for question in CHAINS["spring"]]
    assert len(names) == len(set(names)) == 9
    assert names[-1] == "action"
    for number, question in enumerate(CHAINS["spring"]):
        assert set(question.needs) <= set(names[:number])


@pytest.mark.parametrize(
    "questions",
    [
        [Question("a", ""), Question("a", "")],
        [Question("a", "", needs=("b",))],
        [Question("a", "", needs=("b",)), Question("b", "", needs=("a",))],
        [Question("a", ""), Question("b", "")],
    ],
)
def test_a_chain_that_is_none_is_refused(questions: list[Question]) -> None:
    with pytest.raises(ValueError):
        in_order(questions)


def test_questions_come_in_topological_order() -> None:
    a, b, c, d = Question("a", "", ("b", "c")), Question("b", "", ("d",)), Question("c", ""), Question("d", "")
    assert [question.name for question in in_order([a, b, c, d])] == ["c", "d", "b", "a"]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Action: move_left", "move_left"),
        ("I could place_table or do.\n**Action:** `Do`.", "do"),
        ('{"thought": "wood first", "action": "make_wood_pickaxe"}', "make_wood_pickaxe"),
        ("Action: place_table\nNo, there is no wood.\nAction: move left", "move_left"),
        ("Make-Wood-Sword", "make_wood_sword"),
        ("I am tired.\nsleep", "sleep"),
        ("The best is `noop` here", "noop"),
        ("I walk to the tree, so I move_up now.", "move_up"),
        ("Action: do not sleep", None),
        ("I do what I can and sleep well", None),
        ("move_left or move_right", None),
        ("Action: jump", None),
        ("Action: move_left_twice", None),
        ("", None),
        ("\n" * 50_000, None),
        ("action " * 20_000, None),
    ],
)
def test_actions_are_found_but_never_guessed(text: str, action: str | None) -> None:
    assert read_action(text, ACTIONS) == action


# Whole runs over HTTP


def reply(messages: list[dict[str, str]]) -> str:
    """A player who goes round in circles, by the number of the step."""
    said = messages[1]["content"]
    step = int(re.findall(r"^Step (\d+)\.", said, re.MULTILINE)[0])
    question = max(CHAINS["spring"], key=lambda question: said.rfind(question.text))
    if "Answer in a few sentences." in said:
        return f"An answer to {question.name} in step {step}."
    return f"Well.\nAction: {wanted(step)}"


def wanted(step: int) -> str:
    return ACTIONS[1 + step % 5]


@pytest.fixture(scope="module")
def served() -> Iterator[LLMServer]:
    with LLMServer(reply) as server:
        # The first request imports what litellm puts off.
        config = compose_run(["llm=local", f"llm.api_base={server.url}"]).llm
        warm = provider.Provider(config)
        messages = [{"role": "system", "content": ""}, {"role": "user", "content": "Step 1."}]
        warm.ask(warm.request(messages, None), Address(0, "warm-up", 0))  # type: ignore[arg-type]
        yield server


@pytest.fixture
def server(served: LLMServer) -> Iterator[LLMServer]:
    served.script()
    yield served
    served.on_stage = lambda stage: None
    served.reply = reply


def composed(server: LLMServer, folder: Path, *overrides: str) -> RunConfig:
    prices = ("llm.input_price=2", "llm.output_price=8", "env.num_threads=1")
    local = ("llm=local", f"llm.api_base={server.url}", "llm.max_wait=0.01")
    return compose_run([*local, *prices, f"folder={folder}", "agent=direct", "agent.max_steps=6", *overrides])


def played(folder: Path) -> dict[str, bytes]:
    """What must not depend on kills and resumes."""
    files = [folder / "metrics.jsonl", folder / "episodes.jsonl", *sorted((folder / "phases").iterdir())]
    return {file.name: file.read_bytes() for file in files}


def test_whole_episodes_of_the_direct_agent(
    server: LLMServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = ("agent.episodes=2", "agent.max_steps=9", "seed=3", "evaluation.num_envs=1")  # the last has no effect
    assert command.run(composed(server, folder, *words), []) == 0
    assert len(server.seen) == 18

    # The same actions, played without a language model in the worlds of the report evaluation.
    actions = [wanted(step) for step in range(1, 10)]
    records = rows(folder / "episodes.jsonl")
    for number, seed in enumerate(seeding.integers(3, "worlds", "report", count=32)[:2]):
        env = FAMILY.vector([None], [seed], WorldSet.REPORT)
        batch = Batch(env).reset()
        total = 0.0
        for action in actions:
            index = np.array([ACTIONS.index(action)])
            assert batch.step(index) == []
            total += float(batch.rewards[0])
        state = decode(env.get_state(0))
        env.close()
        record = records[number]
        assert read_json(folder / "phases" / "000-report-evaluation.json")["episodes"][number]["actions"] == actions
        assert (record["slot"], record["length"], record["truncated"]) == (number, 9, True)
        assert record["world_seed"] == world_seed(seed, 1, WorldSet.REPORT)
        assert record["episode_return"] == pytest.approx(total)
        assert state.game is not None
        assert record["skills"] == state.game["achievements"].tolist()

    found = summary(folder)
    events = ledger.read(folder / "llm")
    answered = [event for event in events if event["event"] == "answered"]
    assert (found.trains, found.llm_calls, found.uses_llm) == (False, 18, True)
    assert found.cost == pytest.approx(sum(event["cost"] for event in answered))
    assert sum(seconds or 0 for seconds in found.by_episode["seconds"]) == pytest.approx(
        sum(event["seconds"] for event in answered)
    )
    assert found.by_episode["calls"] == [9, 9]
    assert found.by_episode["cut"] == [1, 1]
    assert {kind: steps for kind, steps in found.steps.items() if steps} == {"report": 18}
    assert [event["cycle"] for event in events if event["event"] == "sent"] == [1] * 9 + [2] * 9
    # Told of the game: names alone. Told of the moment: the last five steps and what was seen before.
    system, user = (message["content"] for message in server.seen[8].body["messages"])
    assert "needs" not in system
    assert all(name in system for name in (*ACTIONS, *upstream.SKILLS))
    assert re.findall(r"- step (\d): (\w+)", user) == [(str(n), wanted(n)) for n in range(4, 9)]
    assert user.count("Vital signs") == 2
    out = capsys.readouterr().out
    assert "9 ± 0 LLM calls" in out
    assert "change" not in out


def test_spring_shows_each_question_the_answers_that_it_needs(server: LLMServer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command.run(composed(server, folder, "agent=spring", "agent.max_steps=2"), []) == 0
    assert len(server.seen) == 18
    for number, seen in enumerate(server.seen):
        question = CHAINS["spring"][number % 9]
        system, user = (message["content"] for message in seen.body["messages"])
        assert all(line in system for line in (*MANUAL.actions.values(), *MANUAL.rules))
        assert user.rindex(question.text) > user.rindex("What you see now")
        told = re.findall(r"You answered: An answer to (\w+) in step", user)
        assert sorted(told) == sorted(question.needs)
        assert seen.body["max_tokens"] == 1024
    purposes = [event["purpose"] for event in ledger.read(folder / "llm") if event["event"] == "sent"]
    assert purposes == [question.name for question in CHAINS["spring"]] * 2
    assert read_json(folder / "phases/000-report-evaluation.json")["episodes"][0]["actions"] == [wanted(1), wanted(2)]


def test_answers_without_an_action_go_back_and_end_in_idling(server: LLMServer, tmp_path: Path) -> None:
    answers = iter(["Hm.", "move_left or move_right", "Action: move_up", *["I don't know."] * 3, "Action: do"])
    server.reply = lambda messages: next(answers)
    assert command.run(composed(server, tmp_path / "run", "agent.max_steps=3"), []) == 0
    (found,) = read_json(tmp_path / "run/phases/000-report-evaluation.json")["episodes"]
    assert found["actions"] == ["move_up", "noop", "do"]
    assert (found["repairs"], found["idle"]) == (4, 1)
    assert [len(seen.body["messages"]) for seen in server.seen] == [2, 4, 4, 2, 4, 4, 2]
    assert "names no action" in server.seen[1].body["messages"][-1]["content"]


def test_a_cap_holds_in_mid_episode_and_the_run_goes_on_from_there(server: LLMServer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(BudgetError, match=r"llm\.max_calls=8"):
        command.run(composed(server, folder, "agent.episodes=2", "llm.max_calls=8"), [])
    assert len(server.seen) == 8
    poorer = compose_run([f"resume={folder}", "llm.max_calls=null", "llm.max_dollars=0.01"])
    with pytest.raises(BudgetError, match=r"llm\.max_dollars=0\.01"):
        command.run(poorer, [])
    assert len(server.seen) == 8
    assert command.run(compose_run([f"resume={folder}", "llm.max_calls=12", "llm.max_dollars=null"]), []) == 0
    assert len(server.seen) == 12
    assert summary(folder).llm_calls == 12


@pytest.mark.parametrize(("request_number", "stage"), [(4, "arrived"), (8, "answered")])
def test_killed_and_resumed_nothing_is_bought_twice(
    request_number: int, stage: str, server: LLMServer, tmp_path: Path
) -> None:
    unbroken, folder = tmp_path / "unbroken", tmp_path / "run"
    assert command.run(composed(server, unbroken, "agent.episodes=2"), []) == 0
    server.script()

    def kill(reached: str) -> None:
        if (len(server.seen), reached) == (request_number, stage):
            os.kill(child, signal.SIGKILL)

    server.on_stage = kill
    config = composed(server, folder, "agent.episodes=2")
    child = fork(lambda: command.run(config, []))
    assert wait(child) == -signal.SIGKILL
    server.on_stage = lambda stage: None
    seen, finished = len(server.seen), len(list((folder / "llm/calls").glob("*.json")))
    assert seen == request_number
    assert finished in (seen - 1, seen)
    assert command.run(compose_run([f"resume={folder}"]), []) == 0
    assert len(server.seen) - seen == 12 - finished
    assert played(folder) == played(unbroken)
    # A finished run asks nothing and says the same.
    before = (folder / "summary.json").read_bytes()
    assert command.run(compose_run([f"resume={folder}"]), []) == 0
    assert len(server.seen) - seen == 12 - finished
    assert (folder / "summary.json").read_bytes() == before


def test_a_recorded_run_plays_again_without_a_model(server: LLMServer, tmp_path: Path) -> None:
    assert command.run(composed(server, tmp_path / "run"), []) == 0
    asked = len(server.seen)
    again = ["llm=replay", f"llm.replay_from={tmp_path / 'run'}", "agent=direct", "agent.max_steps=6"]
    assert command.run(compose_run([*again, f"folder={tmp_path / 'again'}"]), []) == 0
    assert len(server.seen) == asked
    assert played(tmp_path / "again") == played(tmp_path / "run")
    found = summary(tmp_path / "again")
    assert (found.llm_calls, found.uses_llm) == (0, False)


def test_tables_hold_the_run_and_say_what_differs(
    server: LLMServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        assert command.run(composed(server, tmp_path / f"sweep/{seed}", f"seed={seed}"), []) == 0
    study = collect(tmp_path / "sweep")
    assert [(arm.label, len(arm.runs)) for arm in study.arms] == [("direct, local, plays itself", 2)]
    assert study.notes == ()
    capsys.readouterr()
    assert report.main([str(tmp_path / "sweep")]) == 0
    assert "direct, local, plays itself" in capsys.readouterr().out
    assert report.main([str(tmp_path / "sweep/0")]) == 0
    assert "6 LLM calls" in capsys.readouterr().out
    page = (tmp_path / "sweep/0/report.html").read_text()
    assert "6 LLM calls" in page
    assert "could not be made" not in page
    sections = re.findall(r'<section id="(\w+)"', page) or re.findall(r'href="#(\w+)"', page)
    assert [one for one in sections if one != "main"] == ["headline", "skills", "episodes", "conversation", "config"]
    assert "Call 6: episode 1, action" in page
    assert is_finished(tmp_path / "sweep/0")


# Config


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["agent=direct"], "llm=offline writes designs by rules and can't play"),
        (
            ["agent=spring", "llm=gpt4", "env=heist"],
            "more than env=heist has: a game that is told in words",
        ),
        (["agent.name=dircet", "llm=gpt4"], "did you mean direct?; allowed: ppo | direct | spring"),
        (["agent=direct", "llm=gpt4"], "OPENAI_API_KEY"),
    ],
)
def test_what_cannot_play_is_refused_in_one_line(words: list[str], says: str, tmp_path: Path) -> None:
    config = dataclasses.replace(compose_run(words), runs_dir=str(tmp_path / "runs"))
    with pytest.raises(EnvGenError) as caught:
        command.run(config, [])
    assert says in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_the_plan_has_calls_and_dollars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    costs = {}
    for agent, each in (("direct", 1), ("spring", 9)):
        assert cli.main([f"agent={agent}", "llm=gpt4", "agent.episodes=2", "agent.max_steps=100", "dry_run=true"]) == 0
        out = capsys.readouterr().out
        assert f"{each} to openai/gpt-4.1 for each step, at most {100 * each} in an episode" in out
        one, both = (float(dollars) for dollars in re.findall(r"\$([\d.]+)", out))
        assert both == pytest.approx(2 * one, abs=0.011)
        costs[agent] = both
        assert len(re.findall(r"^--- question \d, \w+, user", out, re.MULTILINE)) == each
    assert costs["spring"] > 9 * costs["direct"] > 0


def test_the_agents_settings_change_no_trained_run() -> None:
    plain = compose_run([])
    assert identity(compose_run(["agent.episodes=7"])) == identity(plain)
    assert identity(compose_run(["agent=direct"])) != identity(plain)
    asked = identity(compose_run(["agent=direct"]))
    assert identity(compose_run(["agent=direct", "agent.episodes=7"])) != asked
    for other in ("ppo=paper", "designer=random", "cycles=2", "schedule.final_steps=7", "evaluation.report_episodes=9"):
        assert identity(compose_run(["agent=direct", other])) == asked, other


def test_a_run_from_before_there_were_agents_is_read(server: LLMServer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command.run(composed(server, folder), []) == 0
    document: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    del document["config"]["agent"]
    (folder / "config.yaml").write_text(json.dumps(document))
    assert RunRecord(folder).config.agent.name == "ppo"
