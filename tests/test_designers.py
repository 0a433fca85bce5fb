"""The designers: what they ask, what they do with replies, and what serves when none can be used."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_server import LLMServer

from envgen_exp.config import DesignerConfig, Engine, LLMConfig, LLMKind, Prompt
from envgen_exp.designers import Designer, Feedback, Means, Proposal, make_designer
from envgen_exp.designers.config import PlaceboConfig
from envgen_exp.designers.placebo import Placebo
from envgen_exp.errors import ConfigError, UnavailableError
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import DesignCheck
from envgen_exp.llm import ledger, offline
from envgen_exp.llm.client import Client, Completion, make_client
from envgen_exp.llm.ledger import Totals
from envgen_exp.llm.source import Message


class Crafter(CrafterFamily):
    """The real family, sampling few worlds so that tests are quick."""

    def check(self, design: Design, *, num_worlds: int = 64) -> DesignCheck:
        return super().check(design, num_worlds=min(num_worlds, 3))


FAMILY = Crafter(CrafterConfig(engine=Engine.reference))
NATIVE = Crafter(CrafterConfig())
CrafterDesign = FAMILY.design_model
COAL = {"purpose": "coal", "targets": ["collect_coal"], "target_biome": "mountain", "coal_rarity": "very common"}
WOOD = {"purpose": "wood", "targets": ["collect_wood"], "target_biome": "grassland"}
DRY = {"purpose": "water", "targets": ["collect_drink"], "target_biome": "grassland"}


def text_of(*designs: Mapping[str, Any]) -> str:
    return json.dumps({"designs": designs})


def design_of(raw: Mapping[str, Any]) -> Design:
    return CrafterDesign(**{**raw, "targets": tuple(raw["targets"])})


class Scripted:
    """A client that answers from a list and keeps what it was asked."""

    def __init__(self, *texts: str, max_repairs: int = 2) -> None:
        self.texts = list(texts)
        self.max_repairs = max_repairs
        self.asked: list[tuple[str, list[Message]]] = []

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        cycle: int,
        purpose: str = "design",
        draw: int = 0,
    ) -> Completion:
        self.asked.append((purpose, list(messages)))
        if not self.texts:
            raise UnavailableError("llm=scripted: nothing is left")
        text = self.texts.pop(0)
        return Completion(text, "stop", 1, 1, False, 0.0, 0.0, "scripted", attempts=1, call=len(self.asked))

    def totals(self) -> Totals:
        return Totals()


def adaptive(client: Client, count: int = 2, prompt: Prompt = Prompt.rich) -> Designer:
    family = NATIVE if prompt is Prompt.compact else FAMILY
    return make_designer(DesignerConfig(name="adaptive", num_designs=count, prompt=prompt), Means(family, client))


def feedback(proposal: Proposal, rate: float = 0.1, cycle: int = 1) -> Feedback:
    rates = dict.fromkeys(FAMILY.skills, rate)
    return Feedback(cycle, proposal.designs, rates, dict.fromkeys(rates, 0.02), 120, 1000)


def offline_client(folder: Path) -> Client:
    return make_client(LLMConfig(name="offline", kind=LLMKind.offline), folder, FAMILY, run="test")


# A good reply


def test_a_good_reply_becomes_designs_that_keep_their_purpose_and_targets() -> None:
    client = Scripted(text_of(COAL, WOOD))
    proposal = adaptive(client).design(1, None)
    assert proposal.designs == (design_of(COAL), design_of(WOOD))
    assert (proposal.source, proposal.repairs, proposal.notes, proposal.filled) == ("designer", 0, (), ())
    assert [check.playable for check in proposal.checks if check] == [True, True]
    ((purpose, messages),) = client.asked
    assert purpose == "design"
    assert [message["role"] for message in messages] == ["system", "user"]


def test_the_chat_is_kept_and_feedback_says_what_led_there() -> None:
    client = Scripted(text_of(COAL, WOOD), text_of(WOOD, COAL))
    designer = adaptive(client)
    designer.design(2, feedback(designer.design(1, None), rate=0.38))
    messages = client.asked[1][1]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[:2] == client.asked[0][1]
    assert messages[2]["content"] == text_of(COAL, WOOD)
    assert "- collect_coal: 38% ± 2%" in messages[3]["content"]
    assert '"coal_rarity": "very common"' in messages[3]["content"]
    assert "it should train collect_wood" in messages[3]["content"]
    # A grassland without water surprises nobody.
    assert "found in its worlds: no water within reach in 3 of 3 worlds" in messages[3]["content"]


def test_the_whole_chat_goes_along_in_every_cycle() -> None:
    client = Scripted(*[text_of(COAL, WOOD)] * 6)
    designer = adaptive(client)
    proposal = designer.design(1, None)
    for cycle in range(2, 7):
        proposal = designer.design(cycle, feedback(proposal, rate=cycle / 10, cycle=cycle - 1))
    sent = [messages for _, messages in client.asked]
    assert [len(messages) for messages in sent] == [2, 4, 6, 8, 10, 12]
    for before, after in itertools.pairwise(sent):
        assert after[: len(before)] == before
    told = [f"- collect_coal: {cycle}0% ±" in sent[-1][2 * cycle - 1]["content"] for cycle in range(2, 7)]
    assert all(told)


# A small model


def test_a_small_model_is_asked_anew_for_the_designs_that_are_wrong() -> None:
    """Without its own words: what stands in its chat it says again."""
    stone = {"purpose": "stone", "targets": ["collect_stone"], "target_biome": "mountain", "starting_wood_pickaxe": 1}
    client = Scripted(text_of(COAL, DRY, COAL), text_of(WOOD, stone), text_of(WOOD, COAL, stone))
    designer = adaptive(client, 3, Prompt.compact)
    proposal = designer.design(1, None)
    assert proposal.designs == (design_of(COAL), design_of(WOOD), design_of(stone))
    assert (proposal.repairs, proposal.filled, proposal.source) == (1, (), "designer")
    (_, first), (purpose, second) = client.asked
    assert purpose == "repair"
    assert [message["role"] for message in second] == ["system", "user"]
    question = second[1]["content"]
    assert "design 2: it should train collect_drink, but" in question
    assert "design 3: its settings are those of another design" in question
    order = question.partition("could not be used")[2].partition("exactly 2 designs")[2]
    assert re.findall(r"^(\d)\. ", order, re.MULTILINE) == ["2", "3"]
    assert "exactly 3" not in question
    settled = question[question.index("settled:") : question.index("could not be used")]
    assert settled.count("target_biome") == 1
    assert question.startswith(first[1]["content"].partition("---")[0])

    designer.design(2, feedback(proposal, rate=0.38))
    later = client.asked[2][1]
    assert [message["role"] for message in later] == ["system", "user"]
    assert "38%" in later[1]["content"]
    assert len(designer.state_dict()["chat"]) == 0


def test_a_small_model_is_told_that_targets_repeat() -> None:
    client = Scripted(text_of(COAL, {**COAL, "coal_rarity": "common"}), text_of(WOOD))
    proposal = adaptive(client, 2, Prompt.compact).design(1, None)
    assert proposal.designs == (design_of(COAL), design_of(WOOD))
    assert "design 2: its targets are those of another design" in client.asked[1][1][1]["content"]


def test_a_small_model_s_last_good_design_stays_when_its_repair_is_worse() -> None:
    client = Scripted(text_of(COAL, DRY), "nothing", text_of({**DRY, "coal_rarity": "abundant"}))
    proposal = adaptive(client, 2, Prompt.compact).design(1, None)
    assert proposal.designs[0] == design_of(COAL)
    assert proposal.designs[1] == design_of(DRY)
    assert proposal.repairs == 2
    assert any("collect_drink" in note for note in proposal.notes)


# Repair


def test_a_bad_value_goes_back_with_the_exact_problem_and_what_is_allowed() -> None:
    client = Scripted(text_of({**COAL, "coal_rarity": "abundant"}, WOOD), text_of(COAL, WOOD), text_of(COAL, WOOD))
    designer = adaptive(client)
    proposal = designer.design(1, None)
    assert proposal.designs == (design_of(COAL), design_of(WOOD))
    assert proposal.repairs == 1
    assert [purpose for purpose, _ in client.asked] == ["design", "repair"]
    *before, said, asked = client.asked[1][1]
    assert before == client.asked[0][1]
    assert "abundant" in said["content"]
    assert "- design 1: coal_rarity='abundant' is unknown; allowed: very common | common | rare" in asked["content"]
    # Later cycles see the answer that was taken, not what was wrong with the first.
    designer.design(2, feedback(proposal))
    assert [message["content"] for message in client.asked[2][1][2:3]] == [text_of(COAL, WOOD)]


@pytest.mark.parametrize("prompt", [Prompt.paper, Prompt.rich, Prompt.obfuscated])
def test_a_contradiction_goes_back_in_the_rich_prompt_and_is_noted_in_the_paper_s(prompt: Prompt) -> None:
    hidden = prompt is Prompt.obfuscated
    dry = {**DRY, "setting_1": "option 1"} if hidden else DRY
    raw = {key: value for key, value in dry.items() if not hidden or key != "target_biome"}
    client = Scripted(text_of(raw), text_of({**raw, "targets": ["collect_wood"]}))
    proposal = adaptive(client, count=1, prompt=prompt).design(1, None)
    assert proposal.designs[0] is not None
    assert proposal.checks[0] is not None
    assert "collect_drink" in proposal.checks[0].impossible
    if prompt is Prompt.rich:
        assert proposal.designs[0].targets == ("collect_wood",)
        complaint = client.asked[1][1][-1]["content"]
        assert "design 1: it should train collect_drink, but in its worlds that is impossible (no water" in complaint
        assert "no coal" not in complaint
    else:
        assert len(client.asked) == 1
        assert proposal.designs[0].targets == ("collect_drink",)


def test_a_contradiction_that_stays_serves_with_a_note() -> None:
    proposal = adaptive(Scripted(*[text_of(DRY)] * 3), count=1).design(1, None)
    assert proposal.designs == (design_of(DRY),)
    assert proposal.source == "designer"
    assert "still wrong after 2 repairs: design 1: it should train collect_drink" in proposal.notes[0]


def test_the_number_of_repairs_is_bounded_and_the_defaults_serve_visibly() -> None:
    client = Scripted("no", "no", "no", "no")
    proposal = adaptive(client).design(1, None)
    assert [purpose for purpose, _ in client.asked] == ["design", "repair", "repair"]
    assert proposal.designs == tuple(FAMILY.default_designs(2))
    assert proposal.source == "default designs"
    assert proposal.notes[-1] == "default designs serve as design 1, 2"
    # Defaults that serve twice are still the defaults, not good designs of the model's.
    designer = adaptive(Scripted("no", "no", max_repairs=0))
    assert designer.design(2, feedback(designer.design(1, None))).source == "default designs"


def test_later_the_last_good_designs_serve() -> None:
    designer = adaptive(Scripted(text_of(COAL, WOOD), "no", "no", "no"))
    proposal = designer.design(2, feedback(designer.design(1, None)))
    assert proposal.designs == (design_of(COAL), design_of(WOOD))
    assert proposal.source == "last good designs"


def test_what_is_missing_is_filled_in_and_named() -> None:
    designer = adaptive(Scripted(text_of(COAL, WOOD), *[text_of(WOOD)] * 3))
    proposal = designer.design(2, feedback(designer.design(1, None)))
    assert proposal.designs == (design_of(WOOD), design_of(WOOD))
    assert (proposal.source, proposal.filled) == ("designer", (2,))
    assert "last good designs serve as design 2" in proposal.notes


def test_of_several_replies_the_one_with_the_most_designs_is_taken() -> None:
    client = Scripted(text_of(COAL), "", "Sorry.", text_of(COAL, WOOD))
    designer = adaptive(client)
    proposal = designer.design(1, None)
    assert proposal.designs[0] == design_of(COAL)
    assert proposal.filled == (2,)
    # It is also the one that later cycles see; and no message is empty, which some providers refuse.
    designer.design(2, feedback(proposal))
    assert client.asked[3][1][2]["content"] == text_of(COAL)
    assert all(message["content"].strip() for _, messages in client.asked for message in messages)


def test_a_design_that_nobody_can_play_is_never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def unplayable(design: Design, *, num_worlds: int = 64) -> DesignCheck:
        dead = design.settings()["target_biome"] == "mountain"
        return DesignCheck(not dead, ("lava everywhere",) if dead else ())

    monkeypatch.setattr(FAMILY, "check", unplayable)
    client = Scripted(text_of(COAL, WOOD), text_of(COAL, WOOD), text_of(COAL, WOOD))
    proposal = adaptive(client).design(1, None)
    assert proposal.designs[1] == design_of(WOOD)
    assert proposal.designs[0] == FAMILY.default_designs(2)[0]
    assert "- design 1: it can't be played: lava everywhere" in client.asked[1][1][-1]["content"]


def test_a_huge_reply_does_not_swell_the_chat() -> None:
    client = Scripted("x" * 150_000, text_of(COAL, WOOD))
    adaptive(client).design(1, None)
    assert sum(len(message["content"]) for message in client.asked[1][1]) < 50_000
    assert "150,000 characters" in client.asked[1][1][-1]["content"]


# State


def test_no_answer_at_all_leaves_the_state_as_it_was() -> None:
    client = Scripted(text_of(COAL, WOOD))
    designer = adaptive(client)
    proposal = designer.design(1, None)
    state = designer.state_dict()
    with pytest.raises(UnavailableError):
        designer.design(2, feedback(proposal))
    assert designer.state_dict() == state


def test_a_restored_designer_asks_what_the_first_would_have_asked() -> None:
    first = Scripted(text_of(COAL, WOOD), text_of(COAL, COAL))
    designer = adaptive(first)
    told = feedback(designer.design(1, None))
    state = json.loads(json.dumps(designer.state_dict()))
    designer.design(2, told)
    second = Scripted("no", "no", "no")
    other = adaptive(second)
    other.load_state_dict(state)
    assert other.design(2, told).designs == (design_of(COAL), design_of(WOOD))
    assert second.asked[0] == first.asked[1]


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        s.name: st.sampled_from(s.choices) if s.choices else st.integers(s.low, s.high) for s in FAMILY.vocabulary
    },
)
DESIGNS = st.builds(lambda chosen, purpose: CrafterDesign(purpose=purpose, **chosen), SETTINGS, st.text(max_size=20))


@settings(deadline=None)
@given(st.lists(st.none() | DESIGNS, min_size=1, max_size=4), st.lists(st.text(max_size=20), max_size=3))
def test_a_proposal_survives_json(designs: list[Design | None], notes: list[str]) -> None:
    check = DesignCheck(True, ("no water",), ("collect_drink",), {"tree": 3.5})
    checks = tuple(None if design is None else check for design in designs)
    proposal = Proposal(tuple(designs), tuple(notes), checks, "last good designs", (1,), 2)
    assert Proposal.from_json(json.loads(json.dumps(proposal.to_json())), CrafterDesign) == proposal


# The whole way


@pytest.mark.parametrize("prompt", [prompt for prompt in Prompt if prompt is not Prompt.auto])
def test_with_the_stand_in_different_feedback_gives_different_designs(prompt: Prompt, tmp_path: Path) -> None:
    def run(folder: str, mean: float) -> list[list[str]]:
        designer = adaptive(offline_client(tmp_path / folder), count=3, prompt=prompt)
        first = designer.design(1, None)
        told = feedback(first, rate=mean)
        second = designer.design(2, told)
        return [[design_key(design) for design in proposal.designs] for proposal in (first, second)]

    assert run("a", 0.1) == run("b", 0.1)
    assert run("c", 0.6)[1] != run("a2", 0.1)[1]
    assert len(set(run("d", 0.1)[0])) == 3


def test_the_stand_in_counts_no_calls(tmp_path: Path) -> None:
    client = offline_client(tmp_path)
    adaptive(client).design(1, None)
    assert client.totals() == Totals()
    assert [event["client"] for event in ledger.read(tmp_path) if event["event"] == "sent"] == ["offline"]


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(lambda messages: offline.answer(messages, FAMILY.skill_rules)) as running:
        yield running


def test_two_cycles_over_http_and_their_replay(server: LLMServer, tmp_path: Path) -> None:
    """The same designs from the server, from the disk of a run that is done again, and from a replay."""
    server.script("429", "ok", "broken", "ok")
    config = LLMConfig(name="local", model="openai/default", api_base=server.url, max_wait=0.01)
    recorded = LLMConfig(name="replay", kind=LLMKind.replay, replay_from=str(tmp_path))

    def run(settings: LLMConfig, folder: Path) -> tuple[list[Proposal], Client]:
        client = make_client(settings, folder, FAMILY, run="test")
        designer = adaptive(client)
        first = designer.design(1, None)
        return [first, designer.design(2, feedback(first))], client

    proposals, client = run(config, tmp_path / "llm")
    assert [proposal.repairs for proposal in proposals] == [0, 1]
    assert all(proposal.source == "designer" and not proposal.filled for proposal in proposals)
    assert len(server.seen) == client.totals().calls == 4
    # Killed before the phase was written down: the phase is done again and nothing is bought.
    assert run(config, tmp_path / "llm")[0] == proposals
    assert run(recorded, tmp_path / "replay")[0] == proposals
    assert len(server.seen) == 4


def test_a_preview_shows_both_kinds_of_message() -> None:
    first, later = adaptive(Scripted()).preview()
    assert [message["role"] for message in first] == ["system", "user"]
    assert "- collect_coal: 0% ± 0%" in later[0]["content"]


# The others


def test_permuted_rates_are_the_same_ones_and_say_nothing_of_a_skill() -> None:
    """Over many cycles a skill's told rate does not go with its true one; mean and spread stay together."""
    placebo = make_designer(PlaceboConfig(name="placebo"), Means(FAMILY, cycles=400, seed=3))
    assert isinstance(placebo, Placebo)
    rng = np.random.default_rng(0)
    own = {
        skill: float(rate) for skill, rate in zip(FAMILY.skills, rng.beta(0.5, 0.5, len(FAMILY.skills)), strict=True)
    }
    told = []
    for cycle in range(1, 401):
        before = tuple(own for _ in range(min(cycle - 1, 2)))
        found = placebo._own(
            Feedback(
                cycle=cycle,
                designs=(),
                mean=own,
                sd={s: r / 10 for s, r in own.items()},
                episodes=1,
                steps_left=0,
                history=before,
            )
        )
        assert sorted(found.mean.values()) == sorted(own.values())
        assert all(found.sd[skill] == pytest.approx(found.mean[skill] / 10) for skill in own)
        told.append([found.mean[skill] for skill in own])
        if cycle > 1:
            assert list(found.history[0].values()) == told[0]  # as it was told then
    truth = list(own.values())
    correlations = [np.corrcoef(one, truth)[0, 1] for one in told]
    assert np.mean(correlations) == pytest.approx(0, abs=0.05)  # 400 of them have an error of .011
    assert len({tuple(one) for one in told}) > 390
    again = make_designer(PlaceboConfig(name="placebo"), Means(FAMILY, cycles=4, seed=4))
    assert isinstance(again, Placebo)
    assert again._exchanged(own, 1) != placebo._exchanged(own, 1)


def test_original_trains_in_the_original_and_asks_nobody() -> None:
    designer = make_designer(DesignerConfig(name="original", num_designs=3), Means(FAMILY))
    assert not designer.uses_llm
    proposal = designer.design(1, None)
    assert proposal.designs == (None, None, None)
    assert Proposal.from_json(proposal.to_json(), CrafterDesign) == proposal
    designer.load_state_dict(designer.state_dict())
    assert designer.design(2, feedback(proposal)) == proposal
    assert (designer.preview(), designer.example_reply()) == ([], "")


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (DesignerConfig(name="adaptative"), "did you mean adaptive"),
        (DesignerConfig(name="adaptive", num_designs=0), r"designer\.num_designs=0: allowed is 1 or more"),
    ],
)
def test_bad_values_are_refused(config: DesignerConfig, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        make_designer(config, Means(FAMILY))
