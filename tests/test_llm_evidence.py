"""`designer.evidence`: how near episodes came to weak skills, and what the designs for these were followed by."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import composed

from envgen_exp.config import Prompt
from envgen_exp.designers import Means, make_designer
from envgen_exp.designers.config import PlaceboConfig
from envgen_exp.designers.placebo import Placebo
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.design import Design
from envgen_exp.guard.frozen import plain
from envgen_exp.llm import offline
from envgen_exp.llm.compact import make_prompter
from envgen_exp.llm.prices import count_text
from envgen_exp.llm.prompt import Ended, Feedback
from envgen_exp.run.identity import identity_of

FAMILY = CrafterFamily(CrafterConfig())
KINDS = (Prompt.paper, Prompt.rich, Prompt.compact, Prompt.obfuscated)
WITH = {kind: make_prompter(FAMILY, kind, 4, evidence=True) for kind in KINDS}
WITHOUT = {kind: make_prompter(FAMILY, kind, 4) for kind in KINDS}


def design(*targets: str, **chosen: Any) -> Design:
    return FAMILY.design_model(targets=targets, **chosen)


def told(ended: tuple[Ended, ...], *cycles: tuple[Design | None, ...], history: tuple[Any, ...] = ()) -> Feedback:
    """Feedback whose rates are those of the episodes; the skills of `history` are at 0 where it does not name them."""
    zero = dict.fromkeys(FAMILY.skills, 0.0)
    mean = {skill: sum(skill in one.skills for one in ended) / max(len(ended), 1) for skill in FAMILY.skills}
    earlier = tuple({**zero, **rates} for rates in history)
    return Feedback(len(cycles), cycles[-1], mean, zero, len(ended), 1000, earlier, {}, cycles, ended)


WOOD, TABLE = ("collect_wood",), ("collect_wood", "place_table")
PICKAXE = (*TABLE, "make_wood_pickaxe")
SEEN = told(
    (
        *(Ended(frozenset(WOOD), 100 + number) for number in range(6)),
        *(Ended(frozenset(TABLE), 200 + number) for number in range(3)),
        Ended(frozenset(PICKAXE), 10_000, truncated=True),
    ),
    (design("make_wood_pickaxe", "place_table", tree_rarity="very common"), design("eat_cow")),
    (design("make_wood_pickaxe", "eat_cow", starting_wood=3), design("make_wood_pickaxe", starting_wood=9)),
    (design("eat_cow"), None),
    history=({"make_wood_pickaxe": 0.02, "place_table": 0.5}, {"make_wood_pickaxe": 0.08, "place_table": 0.5}),
)


def test_the_rich_prompt_says_what_is_recorded() -> None:
    text = WITH[Prompt.rich].feedback(SEEN).partition("How near")[2].partition("\n\n")[0]
    assert text.splitlines() == [
        " its 10 episodes came to weak skills (the game ended 9, the time limit 1; half were over by step 104):",
        "- place_table: 10 had collect_wood, 4 of these showed it, half of the others were over by step 102; "
        "rose most in round 1 (to 50%), with tree_rarity very common",
        "- make_wood_sword: 4 had place_table, 0 of these showed it, half of the others were over by step 201; "
        "no design was for it",
        "- make_wood_pickaxe: 4 had place_table, 1 of these showed it, half of the others were over by step 201; "
        "rose most in round 2 (2% -> 8%), with starting_wood 9",
        "- collect_coal: 1 had make_wood_pickaxe, 0 of these showed it, half of the others were over by step 10000; "
        "no design was for it",
        "- collect_stone: 1 had make_wood_pickaxe, 0 of these showed it, half of the others were over by step 10000; "
        "no design was for it",
        "- collect_drink: no design was for it",
        "- collect_sapling: no design was for it",
        "- defeat_skeleton: no design was for it",
        "- defeat_zombie: no design was for it",
        "- eat_cow: had designs in round 1, 2, 3 and did not rise",
        "- wake_up: no design was for it",
        "- none had what it takes for collect_diamond, collect_iron, eat_plant, make_iron_pickaxe, make_iron_sword, "
        "make_stone_pickaxe, make_stone_sword, place_furnace, place_plant, place_stone",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_without_it_nothing_is_said(kind: Prompt) -> None:
    """And a message that has it is the one without, with a part more."""
    bare = dataclasses.replace(SEEN, trained=(), ended=())
    assert WITHOUT[kind].feedback(SEEN) == WITHOUT[kind].feedback(bare)
    text = WITH[kind].feedback(SEEN)
    assert "had place_table" in text
    assert re.sub(r"\n\nHow near .*?(?=\n\n)", "", text, flags=re.DOTALL) == WITHOUT[kind].feedback(SEEN)
    assert make_prompter(FAMILY, kind, 4, evidence=True).first() == WITHOUT[kind].first()


def test_settings_stay_hidden_where_they_are() -> None:
    text = WITH[Prompt.obfuscated].feedback(SEEN)
    assert "rose most in round 1 (to 50%), with setting_" in text
    assert not [setting.name for setting in FAMILY.vocabulary if setting.name in text]


def test_what_are_no_episodes_has_no_ends() -> None:
    text = WITH[Prompt.rich].feedback(dataclasses.replace(SEEN, ended=()))
    assert "What designs for weak skills did:\n" in text
    assert "- make_wood_pickaxe: rose most in round 2 (2% -> 10%)" not in text
    assert "- make_wood_pickaxe: rose most in round 2 (2% -> 8%), with starting_wood 9" in text
    assert "had place_table" not in text


@st.composite
def feedbacks(draw: st.DrawFn) -> Feedback:
    """Any episodes and cycles."""
    skills = st.frozensets(st.sampled_from(FAMILY.skills))
    ended = draw(st.lists(st.builds(Ended, skills, st.integers(1, 10_000), st.booleans()), max_size=8))
    few = st.lists(st.sampled_from(FAMILY.skills), max_size=2, unique=True)
    made = st.builds(
        lambda names, wood: design(*names, starting_wood=wood, target_biome="mountain"), few, st.integers(0, 9)
    )
    cycles = draw(st.lists(st.tuples(made, st.none() | made), min_size=1, max_size=4))
    rate = st.fixed_dictionaries(dict.fromkeys(FAMILY.skills, st.floats(0, 1)))
    history = draw(st.tuples(*[rate] * (len(cycles) - 1)))
    return told(tuple(ended), *cycles, history=history)


@settings(deadline=None, max_examples=15)
@given(feedbacks())
def test_whatever_happened_it_is_short_and_its_numbers_are_right(seen: Feedback) -> None:
    for kind in (Prompt.rich, Prompt.compact):
        text, bare = WITH[kind].feedback(seen), WITHOUT[kind].feedback(seen)
        assert count_text(text) - count_text(bare) <= (650 if kind is Prompt.rich else 170)
        near = re.findall(r"^- (\w+): (\d+) had (.*?), (\d+) of these showed it", text, re.MULTILINE)
        for skill, some, needs, both in near:
            had = [one for one in seen.ended if one.skills >= {*needs.split(", ")}]
            assert (int(some), int(both)) == (len(had), sum(skill in one.skills for one in had))
            assert seen.mean[skill] < 0.5
        for skill, number in re.findall(r"^- (\w+): .*rose most in round (\d+)", text, re.MULTILINE):
            rates = [0.0, *(one[skill] for one in (*seen.history, seen.mean))]
            aimed = [n for n, designs in enumerate(seen.trained, 1) if any(d and skill in d.targets for d in designs)]
            assert int(number) == max(aimed, key=lambda n: rates[n] - rates[n - 1])
        # The stand-in looks for rates, settings and complaints: this is none.
        chats: Any = [[{"role": "user", "content": message}] for message in (text, bare)]
        assert offline.answer(chats[0], FAMILY.skill_rules) == offline.answer(chats[1], FAMILY.skill_rules)


def test_a_placebo_s_evidence_is_of_the_wrong_skills() -> None:
    """As its rates are: the same permutation, and nothing of how its agent's episodes ended."""
    placebo = make_designer(PlaceboConfig(name="placebo", evidence=True), Means(FAMILY, cycles=4, seed=3))
    assert isinstance(placebo, Placebo)
    found = placebo._own(SEEN)
    again = told(found.ended, *found.trained, history=found.history)
    assert again.mean == found.mean
    assert again.mean != SEEN.mean
    assert {one.length for one in found.ended} == {None}
    text = WITH[Prompt.rich].feedback(found)
    assert "How near its 10 episodes came to weak skills:\n" in text
    assert not re.search("time limit|over by step|20[0-3]", text)


def test_another_run_s_episodes_are_not_told() -> None:
    report = {"skills": FAMILY.skills, "seeds": [0], "successes": [[1] * len(FAMILY.skills)], "episodes": [4]}
    numbers = {"mean_return": 1.0, "return_sd": 1.0, "mean_length": 9.0, "steps": 36}
    config = PlaceboConfig(name="placebo", evidence=True, told=[{**report, **numbers}] * 3)
    other = make_designer(config, Means(FAMILY, cycles=4, seed=3))
    assert isinstance(other, Placebo)
    assert other._other(SEEN).ended == ()


def test_off_it_is_no_part_of_an_identity() -> None:
    """So that a run of an earlier version goes on; on, it makes another run."""
    values = plain(composed())
    without = {**values, "designer": {k: v for k, v in values["designer"].items() if k != "evidence"}}
    assert values["designer"]["evidence"] is False
    assert identity_of(values) == identity_of(without)
    assert identity_of({**values, "designer": {**values["designer"], "evidence": True}}) != identity_of(values)
