"""The archive and sampling for learnability, each by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from runs import composed, quick

from envgen_exp.config import DesignerConfig
from envgen_exp.designers import Means, Proposal
from envgen_exp.designers.archive import Archive, ArchiveMutated, Shelf
from envgen_exp.designers.config import SFLConfig
from envgen_exp.designers.random import draw
from envgen_exp.designers.sfl import SFL, learnability
from envgen_exp.errors import LLMError
from envgen_exp.families import make_family
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.llm.client import Completion
from envgen_exp.llm.prompt import Feedback

FAMILY = make_family(composed().env)
SKILLS = FAMILY.skills


def rates(first: float) -> dict[str, float]:
    return {skill: first if index == 0 else 0.0 for index, skill in enumerate(SKILLS)}


def told(cycle: int, designs: Sequence[Design | None], taught: dict[str, Any]) -> Feedback:
    zero = rates(0.0)
    return Feedback(cycle=cycle, designs=tuple(designs), mean=zero, sd=zero, episodes=4, steps_left=100, taught=taught)


def test_learnability_by_hand() -> None:
    assert learnability([0.0, 1.0, 0.5, 0.25]) == pytest.approx((0.25 + 0.1875) / 4)
    assert learnability([0.0, 1.0]) == 0.0


def alone(*biomes: str) -> Proposal:
    designs = tuple(FAMILY.design_model(target_biome=biome) for biome in biomes)
    return Proposal(designs=designs, checks=(None,) * len(designs))


def test_parents_are_drawn_by_learnability_among_those_with_few_children() -> None:
    """Weights 3/16, 1/4 and nothing: the third comes once the others can't; every child divides its parent's weight."""
    first = alone("grassland", "mountain", "beaches")
    keys = [design_key(design) for design in first.designs]
    counts: dict[str, int] = dict.fromkeys(keys, 0)
    for root in range(400):
        shelf = Shelf(Means(FAMILY, design_set=root))
        shelf.add(first, {keys[0]: rates(0.25), keys[1]: rates(0.5), keys[2]: rates(1.0)})
        found = shelf.parents(2, 1)
        assert found is not None
        counts[design_key(found.designs[0])] += 1
    assert counts[keys[2]] == 0
    assert counts[keys[1]] / 400 == pytest.approx(4 / 7, abs=0.08)
    shelf.add(first, {keys[0]: rates(0.0)})  # of a design's last cycle alone
    shelf.load_state_dict(shelf.state_dict())
    every = shelf.parents(3, 3)
    assert every is not None
    assert {design_key(design) for design in every.designs} == set(keys)
    state = shelf.state_dict()
    assert sum(one["children"] for one in state) == 4
    assert [round(one["learnable"] * len(SKILLS), 6) for one in state] == [0, 0.25, 0]


def test_what_nobody_finished_an_episode_in_is_not_kept() -> None:
    shelf = Shelf(Means(FAMILY))
    shelf.add(alone("grassland"), {})
    assert shelf.parents(2, 2) is None


def test_without_a_model_children_are_mutated_parents() -> None:
    with quick():
        designer = ArchiveMutated(DesignerConfig("archive_mutated", num_designs=3), Means(FAMILY, cycles=4))
        first = designer.design(1, None)
        keys = [design_key(design) for design in first.designs]
        resumed = ArchiveMutated(DesignerConfig("archive_mutated", num_designs=3), Means(FAMILY, cycles=4))
        resumed.load_state_dict(designer.state_dict())
        feedback = told(1, first.designs, {key: rates(0.5 if key == keys[1] else 1.0) for key in keys})
        second = designer.design(2, feedback)
        assert resumed.design(2, feedback) == second
        parent = first.designs[1]
        assert parent is not None
        drawn = [draw(FAMILY, 0, "test", n, parent=parent, share=0.2)[0].settings() for n in range(60)]
    changed = np.mean([[value != parent.settings()[name] for name, value in child.items()] for child in drawn])
    assert 0.08 < changed < 0.2  # a fifth is drawn anew, some to what it was
    assert all(child != parent.settings() for child in drawn)
    assert {design_key(design) for design in second.designs}.isdisjoint(keys)


class Spoken:
    """A client that keeps what it is asked and has no usable answer, or none at all."""

    max_repairs = 0

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.fails = False

    def complete(self, messages: Any, schema: Any, **_: Any) -> Completion:
        self.asked.append(messages)
        if self.fails:
            raise LLMError("no answer")
        return Completion(text="nothing", finish="stop", reasoning="", **UNUSED)


UNUSED: dict[str, Any] = {
    field.name: 0
    for field in dataclasses.fields(Completion)
    if field.name not in ("text", "finish", "reasoning") and field.default is dataclasses.MISSING
}


def test_a_model_is_told_of_the_parents_which_serve_where_it_fails() -> None:
    client = Spoken()
    with quick():
        designer = Archive(DesignerConfig("archive", num_designs=2), Means(FAMILY, client, cycles=4))  # type: ignore[arg-type]
        first = designer.design(1, None)
        keys = [design_key(design) for design in first.designs]
        # In the first alone the agent succeeds now and then.
        feedback = told(1, first.designs, {keys[0]: rates(0.5)})
        client.fails, before = True, designer.state_dict()
        with pytest.raises(LLMError):
            designer.design(2, feedback)
        assert designer.state_dict() == before
        client.fails = False
        second = designer.design(2, feedback)
    assert [design_key(design) for design in second.designs] == [keys[0], keys[0]]
    text = client.asked[-1][-1]["content"]
    assert [f'design {n} was {{"target_biome": "grassland"' in text for n in (1, 2, 3)] == [True, True, False]


def test_sfl_trains_in_what_the_agent_does_half_of_the_time() -> None:
    p = (1.0, 0.5, 0.0, 0.25)

    def trial(
        designs: Sequence[Design], *, episodes: int, by_pupil: bool, worth: Callable[[Sequence[EpisodeRecord]], float]
    ) -> list[float]:
        assert (len(designs), episodes, by_pupil) == (4, 4, False)
        shown = [[[int(n < 4 * share)] for n in range(4)] for share in p]
        return [
            worth([EpisodeRecord(0, 1, 0, "", 9, 0.0, False, tuple(skills)) for skills in of_it]) for of_it in shown
        ]

    with quick():
        config = SFLConfig("sfl", num_designs=2, num_candidates=4)
        found = {
            share: SFL(dataclasses.replace(config, random_share=share), Means(FAMILY, trial=trial))
            .design(1, None)
            .returns  # type: ignore[arg-type]
            for share in (0.0, 0.5, 1.0)
        }
        designer = SFL(config, Means(FAMILY, trial=trial))  # type: ignore[arg-type]
        assert designer.design(1, None).returns == found[0.5]
    # What is taken as it comes is what was drawn first, whatever the agent does in it.
    assert found == {0.0: (0.25, 0.1875), 0.5: (0.25, 0.0), 1.0: (0.0, 0.25)}
    assert SFL.deducts(config)
    assert SFL.validation(config, 4) == (0, 64)
