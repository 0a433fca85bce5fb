"""The messages that a designer sends, and the rule-based stand-in that reads them."""

from __future__ import annotations

import dataclasses
import json
import re
import string
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envgen_exp.config import Engine, Prompt
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.family import DesignCheck
from envgen_exp.families.heist.config import HeistConfig
from envgen_exp.llm import offline
from envgen_exp.llm.compact import make_prompter
from envgen_exp.llm.prices import count_text
from envgen_exp.llm.prompt import Feedback, Prompter
from envgen_exp.llm.reply import parse_reply
from envgen_exp.llm.schema import portable, typical
from envgen_exp.llm.source import Message

FAMILY = CrafterFamily(CrafterConfig(engine=Engine.reference))
RULES = FAMILY.skill_rules
LOW = dict.fromkeys(FAMILY.skills, 0.0)
LONG = (Prompt.paper, Prompt.rich, Prompt.obfuscated)
"""Those that tell the whole game."""


def feedback(mean: Mapping[str, float], **changes: Any) -> Feedback:
    values = {
        "cycle": 1,
        "designs": tuple(FAMILY.default_designs(2)),
        "mean": mean,
        "sd": dict.fromkeys(mean, 0.06),
        "episodes": 120,
        "steps_left": 1_480_000,
        "history": (),
    }
    return Feedback(**{**values, **changes})


def chat(prompter: Prompter, *more: str) -> list[Message]:
    return [{"role": "user", "content": text} for text in (prompter.first(), *more)]


@pytest.mark.parametrize("kind", LONG)
def test_every_word_of_the_vocabulary_stands_in_the_first_message(kind: Prompt) -> None:
    prompter = Prompter(FAMILY, kind, 4)
    text = prompter.first()
    for setting in prompter.wording.settings:
        assert f"- {setting.name}: {setting.allowed()} (default: {setting.default})" in text
        assert setting.doc in text
    for skill in FAMILY.skills:
        assert f"- {skill}: " in text
    assert FAMILY.brief.game in text
    assert "exactly 4 designs" in text


@pytest.mark.parametrize("kind", LONG)
def test_what_each_prompt_tells(kind: Prompt) -> None:
    """The paper's content; more only in `rich`; no word of the vocabulary in `obfuscated`."""
    prompter = Prompter(FAMILY, kind, 2)
    check = DesignCheck(True, ("no water within reach in 64 of 64 worlds",), ("collect_drink",))
    before = {**LOW, "collect_coal": 0.3}
    told = feedback({**LOW, "collect_coal": 0.38}, history=(before,))
    first, later = prompter.first(), prompter.feedback(told, [check, None])
    assert "- collect_coal: 38% ± 6%" in later
    assert "- eat_plant: 0% ± 6%" in later
    rich = kind is Prompt.rich
    assert (FAMILY.brief.rules[0] in first) is rich
    assert ("found in its worlds: no water" in later) is rich
    assert ("(before: 30%, change +8)" in later) is rich
    assert ("1,480,000 training steps left" in later) is rich
    hidden = kind is Prompt.obfuscated
    names = [setting.name for setting in FAMILY.vocabulary]
    assert any(name in first + later + json.dumps(prompter.schema()) for name in names) is not hidden
    assert ('"target_biome": "grassland"' in later) is not hidden


@pytest.mark.parametrize("kind", LONG)
def test_each_skill_is_told_its_own_rate_and_spread(kind: Prompt) -> None:
    mean = {skill: (3 * place + 20) / 100 for place, skill in enumerate(FAMILY.skills)}
    sd = {skill: (place + 1) / 100 for place, skill in enumerate(FAMILY.skills)}
    text = Prompter(FAMILY, kind, 1).feedback(feedback(mean, sd=sd))
    for place, skill in enumerate(FAMILY.skills):
        assert f"- {skill}: {3 * place + 20}% ± {place + 1}%" in text


def test_a_rare_skill_is_told_from_an_absent_one() -> None:
    text = Prompter(FAMILY, Prompt.paper, 1).feedback(feedback({**LOW, "collect_diamond": 0.002}))
    assert "- collect_diamond: 0.2% ± 6%" in text


def test_templates_name_only_what_is_filled_in() -> None:
    """What is filled in is never read as a template again, whatever the model wrote."""
    prompter = Prompter(FAMILY, Prompt.rich, 1)
    text = prompter.repair(["design 1: coal_rarity='${answer} $count {0} %s' is unknown"])
    assert "coal_rarity='${answer} $count {0} %s' is unknown" in text
    for template in resources.files("envgen_exp.llm").joinpath("templates").iterdir():
        assert string.Template(template.read_text()).is_valid()


@pytest.mark.parametrize("kind", LONG)
def test_the_schema_is_one_that_strict_providers_take(kind: Prompt) -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("type") == "object":
                assert value["additionalProperties"] is False
                assert value["required"] == list(value["properties"])
            assert not value.keys() & {"default", "minimum", "maximum", "minItems", "maxItems", "oneOf", "$ref"}
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(inner)

    prompter = Prompter(FAMILY, kind, 4)
    check(portable(prompter.schema()))
    words = prompter.schema()["properties"]["designs"]["items"]["properties"]
    assert list(words) == ["purpose", "targets", *(setting.name for setting in prompter.wording.settings)]


@pytest.mark.parametrize("kind", LONG)
def test_the_stand_in_answers_in_the_form_that_is_asked_for(kind: Prompt) -> None:
    prompter = Prompter(FAMILY, kind, 3)
    reply = parse_reply(offline.answer(chat(prompter), RULES), prompter.wording, FAMILY.design_model, FAMILY.skills, 3)
    assert reply.usable == 3
    assert reply.problems == ()
    assert reply.notes == ()
    assert len({json.dumps(design.settings()) for design in reply.designs if design}) == 3


def targets_of(mean: Mapping[str, float], count: int = 2) -> list[list[str]]:
    """What the stand-in aims at when it is told these rates."""
    prompter = Prompter(FAMILY, Prompt.rich, count)
    text = offline.answer(chat(prompter, prompter.feedback(feedback(mean))), RULES)
    return [design["targets"] for design in json.loads(text)["designs"]]


def test_the_stand_in_aims_at_the_weakest_skill_within_reach() -> None:
    done = ("collect_wood", "place_table", "collect_drink", "eat_cow", "defeat_skeleton", "eat_plant", "place_plant")
    known = dict.fromkeys((*done, "collect_sapling", "wake_up"), 0.9)
    # The pickaxe is the weakest whose wood and table are there; diamonds are weaker and far out of reach.
    mean = {**LOW, **known, "make_wood_sword": 0.3, "make_wood_pickaxe": 0.15, "defeat_zombie": 0.5}
    first, second = targets_of(mean)
    assert first[0] == "make_wood_pickaxe"
    assert second[0] == "make_wood_sword"
    # Once it can make a pickaxe, stone is next.
    assert targets_of({**mean, "make_wood_pickaxe": 0.8})[0][0] == "collect_stone"


@pytest.mark.parametrize("weak", FAMILY.skills)
def test_the_stand_in_writes_no_two_equal_designs_where_one_skill_is_weak(weak: str) -> None:
    prompter = Prompter(FAMILY, Prompt.rich, 4)
    told = prompter.feedback(feedback({**dict.fromkeys(FAMILY.skills, 1.0), weak: 0.3}))
    designs = json.loads(offline.answer(chat(prompter, told), RULES))["designs"]
    worlds = [offline._settings_of(design) for design in designs]
    assert all(world not in worlds[:index] for index, world in enumerate(worlds))
    if any(rule.skill == weak and rule.settings for rule in RULES):
        assert designs[0]["targets"] == [weak]


def test_the_stand_in_reads_the_latest_rates_and_help_fades() -> None:
    prompter = Prompter(FAMILY, Prompt.rich, 1)
    start = {**LOW, "collect_sapling": 0.9}

    def plants(rate: float) -> Any:
        told = prompter.feedback(feedback({**start, "place_plant": rate}))
        old = prompter.feedback(feedback(LOW))
        only = [rule for rule in RULES if rule.skill in ("collect_sapling", "place_plant")]
        return json.loads(offline.answer(chat(prompter, old, told), only))["designs"][0]["starting_sapling"]

    assert plants(0.0) > plants(0.5) > plants(0.85) >= 1


def test_the_stand_in_does_something_else_after_a_complaint() -> None:
    prompter = Prompter(FAMILY, Prompt.rich, 2)
    asked = chat(prompter, prompter.feedback(feedback({**LOW, "collect_wood": 0.5})))
    said = offline.answer(asked, RULES)
    target = json.loads(said)["designs"][0]["targets"][0]
    complaint = prompter.repair([f"design 1: it should train {target}, but in its worlds that is impossible (x)"])
    again = offline.answer(
        [*asked, {"role": "assistant", "content": said}, {"role": "user", "content": complaint}], RULES
    )
    first, second = json.loads(again)["designs"]
    assert target not in first["targets"][:1]
    assert second == json.loads(said)["designs"][1]


@settings(deadline=None)
@given(st.fixed_dictionaries({skill: st.floats(0, 1) for skill in FAMILY.skills}), st.integers(1, 6))
def test_whatever_the_rates_are_the_stand_in_s_designs_are_designs(mean: dict[str, float], count: int) -> None:
    prompter = Prompter(FAMILY, Prompt.rich, count)
    asked = chat(prompter, prompter.feedback(feedback(mean)))
    text = offline.answer(asked, RULES)
    assert text == offline.answer(asked, RULES)
    reply = parse_reply(text, prompter.wording, FAMILY.design_model, FAMILY.skills, count)
    assert reply.usable == count
    assert not reply.problems


# For small models

COMPACT = make_prompter(CrafterFamily(CrafterConfig()), Prompt.compact, 4)
TOLD = feedback(
    {**LOW, "collect_wood": 0.83, "collect_coal": 0.004},
    designs=(*FAMILY.default_designs(3), None),
    history=(LOW,),
)


def test_a_compact_question_is_short_and_complete() -> None:
    """All names, what each skill takes, what a world has, and later how the agent does: no chat is needed."""
    first, later = COMPACT.first(), COMPACT.feedback(TOLD)
    for text in (first, later):
        for setting in FAMILY.vocabulary:
            assert re.search(rf"^- (.*, )?{setting.name}(, .*)?: {re.escape(setting.allowed())} ", text, re.MULTILINE)
        assert re.search("^- target_biome mountain: .* stone.*; no water$", text, re.MULTILINE)
        assert "exactly 4 designs" in text
    assert all(f"- {skill}: {takes}" in first for skill, takes in FAMILY.brief.skills.items())
    assert sum(f"- {skill}: {takes}" in later for skill, takes in FAMILY.brief.skills.items()) == 16  # the weakest
    assert "\n- collect_coal: 0.4%\n- collect_wood: 83%\n" in later
    assert "- target_biome grassland, tree_rarity very common: collect_wood" in later
    assert "collect_wood 0% -> 83%; no change in place_table" in later
    assert count_text(first) < 1_000
    assert count_text(later) < 1_250
    assert count_text(make_prompter(FAMILY, Prompt.rich, 4).first()) > 2 * count_text(first)
    assert not COMPACT.remembers


def kinds_of(schema: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """By a design's number the skills that its schema lets it aim at, by what it decides first."""
    found: dict[str, dict[str, list[str]]] = {}
    for number, design in schema["properties"]["designs"]["properties"].items():
        for kind in design.get("anyOf", [design]):
            properties = kind["properties"]
            assert kind["required"] == list(properties)
            (decided,) = (name for name in properties if name not in ("targets", "purpose", "options"))
            for choice in properties[decided]["enum"]:
                found.setdefault(number, {})[choice] = properties["targets"]["items"]["enum"]
    return found


def test_each_design_of_a_compact_schema_is_about_skills_of_its_own_that_its_world_allows() -> None:
    kinds = kinds_of(COMPACT.schema())
    assert list(kinds) == ["1", "2", "3", "4"]
    assert sorted(skill for design in kinds.values() for skill in design["natural"]) == sorted(FAMILY.skills)
    assert "collect_drink" in kinds["1"]["beaches"]
    assert "collect_drink" not in kinds["1"]["mountain"]
    assert kinds["2"]["grassland"] == [skill for skill in kinds["2"]["natural"] if skill != "collect_stone"]
    assert kinds["4"]["grassland"] == kinds["4"]["beaches"] == ["eat_plant"]
    assert list(kinds_of(COMPACT.schema([1, 3]))) == ["2", "4"]


def test_compact_designs_are_about_the_weakest_skills_and_the_question_says_which() -> None:
    strong = ("wake_up", "collect_wood", "place_table", "make_wood_sword", "make_wood_pickaxe", "eat_cow")
    told = feedback({**LOW, **dict.fromkeys(strong, 0.9), "collect_drink": 0.2})
    aims = [design["natural"] for design in kinds_of(COMPACT.schema(None, told)).values()]
    assert [len(skills) for skills in aims] == [4, 4, 4, 4]
    chosen = {skill for skills in aims for skill in skills}
    assert not chosen & {*strong}
    assert aims[0] == ["collect_sapling", "place_plant", "defeat_zombie", "collect_drink"]  # the weakest first
    order = COMPACT.feedback(told).partition("---")[2]
    for number, skills in enumerate(aims, start=1):
        assert f"\n{number}. {', '.join(skills)}\n" in order


def test_a_compact_option_is_one_setting_that_is_not_at_its_default() -> None:
    design = COMPACT.schema()["properties"]["designs"]["properties"]["1"]["anyOf"][0]
    options = design["properties"]["options"]
    assert options["maxItems"] == 4
    values = {name: value for one in options["items"]["anyOf"] for name, value in one["properties"].items()}
    assert {*values} == {setting.name for setting in FAMILY.vocabulary} - {"target_biome"}
    assert values["diamond_rarity"]["enum"] == ["very common", "common"]
    assert (values["starting_wood"]["minimum"], values["starting_wood"]["maximum"]) == (1, 9)
    assert (values["starting_wood_pickaxe"]["minimum"], values["starting_wood_pickaxe"]["maximum"]) == (1, 1)


def test_an_answer_in_the_compact_form_is_read_without_a_note() -> None:
    answer = typical(COMPACT.schema())
    for number, design in enumerate(answer["designs"].values()):
        design["options"] = [{"starting_wood": number + 1}, {"tree_rarity": "rare"}]
    reply = parse_reply(json.dumps(answer), COMPACT.wording, FAMILY.design_model, FAMILY.skills, 4)
    assert (reply.usable, reply.notes, reply.problems) == (4, (), ())
    assert [design.settings()["starting_wood"] for design in reply.designs if design] == [1, 2, 3, 4]
    assert {design.settings()["tree_rarity"] for design in reply.designs if design} == {"rare"}


def test_a_compact_question_of_heist_says_what_its_locks_make() -> None:
    prompter = make_prompter(make_family(HeistConfig()), Prompt.compact, 4)
    worlds = prompter.first().partition("worlds have:\n")[2].partition("\n\n")[0]
    assert worlds.splitlines() == [
        "- locks none: 49 free cells; no keys, locks",
        "- locks one: 1 keys, 1 locks, 49 free cells",
        "- locks two: 2 keys, 2 locks, 49 free cells",
        "- locks three: 3 keys, 3 locks, 49 free cells",
    ]
    kinds = kinds_of(prompter.schema())
    assert list(kinds["4"]) == ["three"]
    assert list(kinds["2"]) == ["one", "two", "three"]


def test_the_stand_in_reads_compact_questions_too() -> None:
    """It aims at the skills that it aims at when it is asked at length."""
    asked: list[Message] = [{"role": "user", "content": COMPACT.feedback(TOLD)}]
    rich = make_prompter(FAMILY, Prompt.rich, 4)
    at_length: list[Message] = chat(rich, rich.feedback(TOLD))
    made = [json.loads(offline.answer(talk, RULES))["designs"] for talk in (asked, at_length)]
    assert [design["targets"] for design in made[0]] == [design["targets"] for design in made[1]]
    reply = parse_reply(offline.answer(asked, RULES), COMPACT.wording, FAMILY.design_model, FAMILY.skills, 4)
    assert (reply.usable, reply.problems) == (4, ())


def test_the_compact_prompt_names_the_choice_that_decides_and_what_it_rules_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Crafter counts what a world has; of a game that counts nothing, each choice says which skills it rules out."""
    question = make_prompter(FAMILY, Prompt.compact, 2).first()
    assert '"purpose": "...", "target_biome": ..., "options":' in question
    assert "target_biome grassland: " in question
    assert "rules out" not in question
    check = CrafterFamily.check
    monkeypatch.setattr(CrafterFamily, "check", lambda *args, **kw: dataclasses.replace(check(*args, **kw), counts={}))
    question = make_prompter(FAMILY, Prompt.compact, 2).first()
    lines = [line for line in question.splitlines() if "rules out" in line]
    assert [line.split(":")[0] for line in lines] == [
        f"- target_biome {biome}" for biome in ("grassland", "mountain", "beaches")
    ]
    assert lines[1].endswith("mountain: rules out collect_drink")
    assert "collect_stone" in lines[0]
    assert "collect_drink" not in lines[2]
