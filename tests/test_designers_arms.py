"""Every arm whole, in the real pipeline at smoke scale: its steps at the environment, its resume, what it refuses."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import composed, final_state, once, rows, run, summary

from envgen_exp.commands import run as command
from envgen_exp.commands.compose import CONF, compose_run
from envgen_exp.designers import DESIGNERS, Means, make_designer
from envgen_exp.errors import ConfigError, EnvGenError, IdentityError
from envgen_exp.families import make_family
from envgen_exp.families.crafter.engine import NativeVector
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.design import Design
from envgen_exp.families.family import DesignCheck
from envgen_exp.learners.learner import Speed
from envgen_exp.learners.ppo.learner import PPOLearner
from envgen_exp.reporting.study.collect import read_run
from envgen_exp.run.evaluations import Evaluations
from envgen_exp.run.films import Camera
from envgen_exp.run.folder import read_config
from envgen_exp.run.identity import identity
from envgen_exp.run.record import RunRecord
from envgen_exp.run.session import Session
from envgen_exp.seeding import WorldSet

ARMS = (*DESIGNERS.names, "blend", "adversarial_deducted")
"""Arms of equal budget; conf/arm/ has others too, e.g. a language model that plays."""
DESIGNS = Path(__file__).parents[1] / "examples" / "designs.yaml"

steps_played: Counter[tuple[WorldSet | None, str]] = Counter()
"""Steps at the environment by set of worlds and kind of slot."""


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Few sampled worlds, no film, no page, no table, no measurement; and every step at the environment is counted."""
    check, step = CrafterFamily.check, NativeVector.step

    def few(self: CrafterFamily, design: Design, *, num_worlds: int = 64) -> DesignCheck:
        return check(self, design, num_worlds=2)

    def counted(self: NativeVector, *args: Any, active: Any = None, **named: Any) -> Any:
        for index, slot in enumerate(self._slots):
            if active is None or active[index]:
                steps_played[slot.worlds, "original" if slot.design is None else "designed"] += 1
        return step(self, *args, active=active, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrafterFamily, "check", few)
        patch.setattr(NativeVector, "step", counted)
        patch.setattr(PPOLearner, "speed", lambda *_: Speed(1e9, 1e9))
        patch.setattr(Evaluations, "_camera", lambda *_: Camera([], 0))
        patch.setattr(command, "write_report", lambda folder: None)
        patch.setattr(command, "tell_run", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose rates a placebo can be told."""
    return once(tmp_path_factory, "earlier", lambda folder: run(folder, "arm=original", "seed=7"))


SHORT = ("env.designed_length=30", "env.original_length=30", "evaluation.report_episodes=2")
"""Short episodes: the smallest evaluations."""


DEDUCTED = ["designer.num_designs=2", "designer.num_candidates=4", "designer.validation_episodes=1"]
"""Fewer steps than the last phase has."""


def arm_words(arm: str, earlier: Path) -> list[str]:
    """What an arm is typed as at smoke scale."""
    needs = {
        "human": [f"designer.file={DESIGNS}"],
        "plr": ["designer.population=3", "designer.worlds_per_design=2"],
        "blend": ["designer.num_designs=2"],
        "easy_to_hard": ["designer.validation_steps=200", "designer.validation_episodes=1"],
        "adversarial": ["designer.validation_episodes=1"],
        "adversarial_deducted": DEDUCTED,
        "sfl": DEDUCTED,
        "archive": ["designer.evidence=true"],
    }
    return [f"arm={arm}", *SHORT, *needs.get(arm, [])]


def test_every_designer_has_an_arm() -> None:
    assert set(ARMS) <= {file.stem for file in (CONF / "arm").glob("*.yaml")}


Finished = Callable[[str], tuple[Path, Mapping[tuple[WorldSet | None, str], int]]]


@pytest.fixture(scope="module")
def finished(earlier: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An arm's finished run and the steps that it played, done once."""

    def finish(arm: str) -> tuple[Path, Mapping[tuple[WorldSet | None, str], int]]:
        def make(folder: Path) -> None:
            steps_played.clear()
            run(folder / "run", *arm_words(arm, earlier))
            (folder / "played.pickle").write_bytes(pickle.dumps(steps_played))

        folder = once(tmp_path_factory, f"arm-{arm}", make)
        return folder / "run", pickle.loads((folder / "played.pickle").read_bytes())

    return finish


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_has_the_same_steps_at_the_environment(arm: str, finished: Finished) -> None:
    folder, played = finished(arm)
    found = summary(folder)
    config = composed(f"resume={folder}")
    schedule = config.schedule
    total = config.cycles * (schedule.designed_steps + schedule.original_steps) + schedule.final_steps
    if arm in ("sfl", "adversarial_deducted"):
        assert 0 < found.steps["validation"] <= schedule.final_steps
        budget, total = total, total - -(-found.steps["validation"] // 4) * 4
        assert budget - 4 < total + found.steps["validation"] <= budget
        assert RunRecord(folder).report.step == total  # type: ignore[union-attr]
    designed = 0 if arm == "original" else config.cycles * schedule.designed_steps
    assert played[WorldSet.TRAIN, "designed"] == found.steps["designed"] == designed
    assert played[WorldSet.TRAIN, "original"] == found.steps["original"] == total - designed
    for kind, worlds in (("feedback", WorldSet.FEEDBACK), ("report", WorldSet.REPORT)):
        assert played[worlds, "original"] == found.steps[kind] > 0
        assert played[worlds, "designed"] == 0
    validation = played[WorldSet.VALIDATION, "designed"] + played[WorldSet.VALIDATION, "original"]
    assert validation == found.steps["validation"]
    assert (validation > 0) == (arm in ("easy_to_hard", "adversarial", "adversarial_deducted", "sfl"))
    if arm == "easy_to_hard":
        assert played[WorldSet.VALIDATION, "original"] == 200
    run_of_arm = read_run(folder)
    assert (run_of_arm.arm, found.designer, run_of_arm.design_set) == (arm, config.designer.name, 0)
    assert found.updates > 0
    assert run_of_arm.diagnostic == ()
    assert found.llm_calls == 0
    last = [row for row in rows(folder / "metrics.jsonl") if "updates" in row][-1]
    assert (last["updates"], last["step"]) == (found.updates, total)


def proposals(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(f.read_text())["proposal"] for f in sorted((folder / "phases").glob("*-design.json"))]


def test_what_the_arms_make_of_the_same_first_set(finished: Finished) -> None:
    """Fixed keeps it, resample takes another, the halves show it by halves, easy to hard orders its own."""
    arms = ("adaptive", "fixed", "resample", "gifts_only", "terrain_only", "easy_to_hard", "generator")
    made = {arm: proposals(finished(arm)[0]) for arm in arms}
    first = made["adaptive"][0]["designs"]
    assert made["fixed"][0]["designs"] == made["fixed"][1]["designs"] == first
    assert made["resample"][0]["designs"] == first
    assert made["resample"][1]["designs"] not in (first, made["adaptive"][1]["designs"])
    default = CrafterFamily(composed().env).design_model().settings()  # type: ignore[arg-type]
    for whole, gifts, terrain in zip(
        first, made["gifts_only"][0]["designs"], made["terrain_only"][0]["designs"], strict=True
    ):
        for name, value in default.items():
            given = name.startswith("starting_")
            assert gifts[name] == (whole[name] if given else value)
            assert terrain[name] == (value if given else whole[name])
    easy, harder = (proposal["returns"] for proposal in made["easy_to_hard"])
    assert sorted([*easy, *harder], reverse=True) == [*easy, *harder]
    assert all(design[name] == value for design in made["generator"][0]["designs"] for name, value in default.items())


def test_a_design_set_is_what_designers_draw_from(finished: Finished, tmp_path: Path) -> None:
    """Runs of two seeds with one set have equal first designs, with two sets other ones."""
    firsts = []
    for name, words in {"a": ["seed=1", "design_set=5"], "b": ["seed=2", "design_set=5"]}.items():
        folder = run(tmp_path / name, "arm=fixed", "cycles=1", "schedule.final_steps=0", *SHORT, *words)
        firsts.append(proposals(folder)[0]["designs"])
        assert read_run(folder).design_set == 5
    assert firsts[0] == firsts[1] != proposals(finished("fixed")[0])[0]["designs"]
    family = make_family(composed().env)
    drawn = [
        make_designer(composed("arm=random").designer, Means(family, design_set=n)).design(1, None) for n in (0, 1)
    ]
    assert [design and design.settings() for design in drawn[0].designs] == [
        {name: value for name, value in design.items() if name not in ("purpose", "targets")}
        for design in proposals(finished("random")[0])[0]["designs"]
    ]
    assert drawn[0].designs != drawn[1].designs


def test_a_blend_has_both_kinds_in_every_phase(tmp_path: Path) -> None:
    words = ["arm=blend", "designer.num_designs=1", "schedule.designed_steps=100", "schedule.original_steps=300"]
    folder = run(tmp_path / "run", *words, "env.designed_length=20", "env.original_length=20")
    episodes = [row for row in rows(folder / "episodes.jsonl") if "blend" in row["phase"]]
    assert {row["slot"] for row in episodes if row["design"] != "original"} == {0}
    assert {row["slot"] for row in episodes if row["design"] == "original"} == {1, 2, 3}
    steps = [row for row in rows(folder / "metrics.jsonl") if row["phase"] == "cycle1-train-blend"]
    assert all(row["steps/original"] == 3 * row["steps/designed"] for row in steps)
    assert "return/designed" in steps[-1]
    assert "return/original" in steps[-1]


# Killed and resumed


class Killed(BaseException):
    """Ends a run without its last words."""


def killed_and_resumed(folder: Path, words: list[str], at: set[int], patch: pytest.MonkeyPatch) -> Path:
    """Do a run, and end it each time that so many boundaries inside of phases have been passed."""
    boundary, passed = Session.boundary, 0

    def boundary_(self: Session, inside: Any) -> None:
        nonlocal passed
        boundary(self, inside)
        passed += 1
        if passed in at:
            raise Killed

    patch.setattr(Session, "boundary", boundary_)
    for _ in at:
        with pytest.raises(Killed):
            run(folder, *words)
    return run(folder, *words)


@pytest.mark.parametrize(
    ("arm", "at"),
    [
        ("easy_to_hard", {2, 4, 9}),
        ("sfl", {2, 9}),
        ("plr", {1, 2, 6, 10, 11}),
    ],
)
def test_killed_and_resumed_it_ends_the_same(
    arm: str, at: set[int], earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A checkpoint at every second boundary, so that some steps are done again.
    words = [*arm_words(arm, earlier), "checkpoint.every_steps=100", "schedule.final_steps=64"]
    whole = run(tmp_path / "whole", *words)
    broken = killed_and_resumed(tmp_path / "broken", words, at, monkeypatch)
    assert final_state(broken) == final_state(whole)
    assert summary(broken).steps == summary(whole).steps


# What is in the config of a run that named other files


def test_a_placebo_is_told_the_other_run_s_rates_and_resumes_without_it(earlier: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(earlier, source)
    words = [f"designer.placebo_from={source}", "arm=placebo_another", *SHORT]
    folder = run(tmp_path / "run", *words)
    report = json.loads(next((source / "phases").glob("*-cycle1-evaluate.json")).read_text())["skills"]
    told = next(text for text in calls(folder) if "noop" not in text and "± " in text)
    for index, skill in enumerate(report["skills"]):
        percent = 100 * sum(row[index] for row in report["successes"]) / sum(report["episodes"])
        assert f"- {skill}: {percent:.0f}% ± " in told
    before = identity(composed(f"folder={tmp_path / 'x'}", *words))
    shutil.rmtree(source)
    config = composed(f"resume={folder}")
    assert identity(config) == before
    assert len(config.designer.told) == 1  # type: ignore[attr-defined]


def test_a_placebo_is_told_its_own_rates_for_the_wrong_skills(finished: Finished) -> None:
    folder = finished("placebo")[0]
    report = json.loads(next((folder / "phases").glob("*-cycle1-evaluate.json")).read_text())["skills"]
    told = next(text for text in calls(folder) if "noop" not in text and "± " in text)
    own = [
        round(100 * sum(row[index] for row in report["successes"]) / sum(report["episodes"]))
        for index in range(len(report["skills"]))
    ]
    read = [int(re.findall(rf"- {skill}: (\d+)% ±", told)[0]) for skill in report["skills"]]
    assert sorted(read) == sorted(own)
    assert read != own


def test_evidence_is_of_the_run_s_own_episodes_and_designs(finished: Finished) -> None:
    """Of those that were trained in, where others are told of in their place."""
    folder = finished("archive")[0]
    told = next(text for text in calls(folder) if "Round 1 is over" in text)
    skills = CrafterFamily(composed().env).skills  # type: ignore[arg-type]
    played = [row for row in rows(folder / "episodes.jsonl") if row["phase"] == "cycle1-evaluate"]
    shown = [set(itertools.compress(skills, row["skills"])) for row in played]
    lengths, limit = sorted(row["length"] for row in played), sum(row["truncated"] for row in played)
    assert (
        f"How near its {len(played)} episodes came to weak skills (the game ended {len(played) - limit}, "
        f"the time limit {limit}; half were over by step {lengths[(len(played) - 1) // 2]}):" in told
    )
    for skill, had, needs, both in re.findall(r"^- (\w+): (\d+) had (.+?), (\d+) of", told, re.MULTILINE):
        assert int(had) == sum({*needs.split(", ")} <= one for one in shown)
        assert int(both) == sum({*needs.split(", "), skill} <= one for one in shown)
    aimed = {skill for design in proposals(folder)[0]["designs"] for skill in design["targets"]}
    outcomes = re.findall(r"^- (\w+): .*?(rose most in|had designs in|no design was) ", told, re.MULTILINE)
    assert outcomes
    assert all((skill in aimed) == (outcome != "no design was") for skill, outcome in outcomes)


def calls(folder: Path) -> list[str]:
    """The last message of each request."""
    files = sorted((folder / "llm" / "calls").iterdir())
    return [json.loads(file.read_text())["request"]["messages"][-1]["content"] for file in files]


def test_a_person_s_designs_are_in_the_config_and_count(tmp_path: Path) -> None:
    file = tmp_path / "designs.yaml"
    file.write_text("- [{target_biome: grassland}]\n- [{target_biome: mountain}]\n")
    words = ["arm=human", f"designer.file={file}", "designer.num_designs=1", *SHORT]
    folder = run(tmp_path / "run", *words)
    assert [p["designs"][0]["target_biome"] for p in proposals(folder)] == ["grassland", "mountain"]
    before = identity(composed(*words))
    file.write_text("- [{target_biome: grassland}]\n- [{target_biome: beaches}]\n")
    assert identity(composed(*words)) != before
    file.unlink()
    assert identity(composed(f"resume={folder}")) == before
    other = tmp_path / "other.yaml"
    other.write_text("- {target_biome: natural, tree_rarity: rare}\n")
    with pytest.raises(IdentityError, match=r"designer\.sets was \[\[{'target_biome") as caught:
        command.run(composed(f"resume={folder}", f"designer.file={other}"), [])
    assert len(str(caught.value)) < 600


def test_a_resume_takes_the_words_of_the_first_command_again(finished: Finished, earlier: Path) -> None:
    for arm, words in (("placebo", ["arm=placebo"]), ("human", ["arm=human"]), ("blend", ["arm=blend"])):
        folder, _ = finished(arm)
        assert identity(composed(f"resume={folder}", *words)) == read_config(folder)["identity"]


def test_an_arm_s_name_is_a_label(tmp_path: Path) -> None:
    assert identity(compose_run(["arm=fixed"])) == identity(compose_run(["designer=fixed"]))
    config = compose_run(["arm=blend", f"folder={tmp_path / 'run'}", "designer.num_designs=2", "debug=smoke"])
    assert (config.arm, config.designer.name, config.schedule.mixture.name) == ("blend", "adaptive", "blend")
    # The arm wins over what an experiment says.
    assert compose_run(["experiment=paper", "arm=fixed"]).designer.name == "fixed"


# Refusals


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["arm=placebo", "designer.placebo_from={earlier}"], "it wants designer.placebo=another too"),
        (["arm=placebo_another"], "designer.placebo=another needs the run whose rates it is told"),
        (["arm=placebo_another", "designer.placebo_from=nowhere"], "nowhere is not a folder"),
        (["arm=placebo_another", "seed=7", "designer.placebo_from={earlier}"], "its seed is 7 too"),
        (["arm=placebo_another", "cycles=4", "designer.placebo_from={earlier}"], "has finished 2 feedback evaluations"),
        (["arm=placebo_another", "env=heist", "designer.placebo_from={earlier}"], "its family is crafter"),
        (["arm=human"], "designer=human needs the file"),
        (["arm=human", "designer.file=nowhere"], "designer.file=nowhere: can't be read"),
        (["arm=human", "designer.file={file}", "designer.num_designs=2"], "cycle 1: needs designer.num_designs=2"),
        (
            ["arm=human", "designer.file={file}", "designer.num_designs=1"],
            "cycle 1, design 1: there is no setting 'tre",
        ),
        (
            ["arm=human", "designer.sets=[[{{tree_rarity: rare}}]]"],
            "designer.sets: has designs for 1 cycles, the run has",
        ),
        (["arm=easy_to_hard", "designer.num_candidates=7"], "takes 8 of them (4 a cycle); allowed is 8 or more"),
        (["arm=adversarial", "designer.num_candidates=3"], "allowed is 4 or more"),
        (["arm=plr", "designer.temperature=0"], "designer.temperature=0"),
        (["arm=plr", "designer.staleness=1.5"], "from 0 to 1"),
        (["designer=resample", "llm=gpt4"], "llm.temperature=0 has one answer to it"),
        (["arm=blend"], "4 designs in 2 slots"),
        (["arm=blend", "schedule.designed_steps=300"], "no whole number of the learner's 4 slots"),
        (["arm=fixed", "designer=random"], "arm=fixed: the designer is random"),
        (["arm=fixt"], "did you mean fixed?"),
        (["design_set=-1"], "design_set=-1"),
        (["env.original=forked"], "stock | fork"),
        (["env=heist", "env.original=fork"], "no such key"),
    ],
)
def test_what_can_t_be_is_one_line_before_anything_is_written(
    words: list[str], says: str, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    (tmp_path / "designs.yaml").write_text(yaml.safe_dump([{"tre_rarity": "rare"}]))
    words = [word.format(earlier=earlier, file=tmp_path / "designs.yaml") for word in words]
    with pytest.raises(EnvGenError) as caught:
        command.run(composed(f"folder={tmp_path / 'run'}", *words), [])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_gifts_are_asked_of_a_family_that_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrafterFamily, "gifts", frozenset())
    with pytest.raises(ConfigError, match="designer=gifts_only: none of crafter's settings are gifts"):
        command.run(composed("arm=gifts_only"), [])


# Diagnostics


def test_a_diagnostic_run_says_so(tmp_path: Path) -> None:
    words = ["arm=generator", "env.original=fork", "env.generator=released", "cycles=1", *SHORT]
    folder = run(tmp_path / "run", *words)
    found = summary(folder)
    assert read_run(folder).diagnostic == ("env.original=fork", "env.generator=released")
    # It is the original all the same, in what counts and in what is scored.
    assert found.steps["original"] == 500
    assert found.training_episodes > 0
