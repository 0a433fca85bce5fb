"""Messages for a small model: about 1,000 tokens, each complete in itself, and a form in which little can be wrong.

Where the rich prompt tells the rules and lets the model find out what follows, this one tells what follows: which
skills a setting's choice rules out. The schema holds each design to the skills that are left.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from envgen_exp.config import Prompt
from envgen_exp.families.design import Design
from envgen_exp.families.family import DesignCheck, Family
from envgen_exp.llm.prompt import (
    Feedback,
    Prompter,
    bullets,
    counted,
    designs_schema,
    fill,
    object_schema,
    percent,
    targets_schema,
    value_schema,
)

_PURPOSE = 80
"""Most characters of a purpose."""

_TARGETS = 3
"""Most targets of a design."""

_WORLDS = 8
"""Sampled worlds on which rests what a choice rules out."""


def make_prompter(family: Family, kind: Prompt, num_designs: int) -> Prompter:
    """What writes the messages of this kind."""
    return (CompactPrompter if kind is Prompt.compact else Prompter)(family, kind, num_designs)


class CompactPrompter(Prompter):
    """Writes short messages, each of which stands alone."""

    remembers = False

    def first(self) -> str:
        """The question before anything is known of the agent."""
        return self._question("The agent has learned nothing yet.", self.num_designs)

    def feedback(self, feedback: Feedback, checks: Sequence[DesignCheck | None] = ()) -> str:
        """The question after a cycle: all that a model is told of the run so far."""
        return self._question(self._state(feedback), self.num_designs)

    def again(self, question: str, kept: Sequence[Design], problems: Sequence[str], count: int) -> str:
        """The question once more, for the designs alone that could not be used."""
        settled = [json.dumps({"targets": design.targets, **self.wording.show(design.settings())}) for design in kept]
        told = fill(
            "again_compact", problems=bullets(problems), kept=bullets(settled) or "- none", count=counted(count)
        )
        return f"{question.rpartition(_ORDER)[0]}{told}"

    def schema(self, count: int | None = None) -> dict[str, Any]:
        """As the others', with settings that may be left out, and without the skills that a choice rules out."""
        count = self.num_designs if count is None else count
        name, ruled_out = self._decisive()
        if not ruled_out:
            design = self._design_schema({}, ())
        else:
            setting = next(setting for setting in self.family.vocabulary if setting.name == name)
            design = {"anyOf": [self._design_schema({name: choice}, ruled_out[choice]) for choice in setting.choices]}
        return designs_schema(design, count)

    def _design_schema(self, fixed: Mapping[str, str], ruled_out: Sequence[str]) -> dict[str, Any]:
        possible = [skill for skill in self.family.skills if skill not in ruled_out]
        properties: dict[str, Any] = {name: {"type": "string", "enum": [choice]} for name, choice in fixed.items()}
        properties["targets"] = targets_schema(possible, _TARGETS) | {"minItems": 1}
        for setting in self.wording.settings:
            properties.setdefault(setting.name, value_schema(setting))
        properties["purpose"] = {"type": "string", "maxLength": _PURPOSE}
        return object_schema(properties, [*fixed, "targets", "purpose"])

    def _impossible(self, **settings: Any) -> frozenset[str]:
        """Skills that no world allows; all of them where there is no such world."""
        return frozenset(self.family.check(self.family.design_model(**settings), num_worlds=_WORLDS).impossible)

    @functools.cached_property
    def _ruled_out(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """By setting and choice, the skills that no world allows, whatever else is set and given at the start."""
        vocabulary = self.family.vocabulary
        most: dict[str, Any] = {one.name: one.high for one in vocabulary if one.name in self.family.gifts}
        beside = [most, *({setting.name: choice} for setting in vocabulary for choice in setting.choices)]
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for setting in vocabulary:
            for choice in setting.choices:
                skills = self._impossible(**{setting.name: choice})
                for other in beside:
                    if skills and setting.name not in other:
                        skills &= self._impossible(**{setting.name: choice, **other})
                found.setdefault(setting.name, {})[choice] = tuple(one for one in self.family.skills if one in skills)
        return {name: choices for name, choices in found.items() if any(choices.values())}

    def _decisive(self) -> tuple[str, dict[str, tuple[str, ...]]]:
        """The setting whose choices rule out most."""
        return max(self._ruled_out.items(), key=lambda item: sum(map(len, item[1].values())), default=("", {}))

    def _question(self, state: str, count: int) -> str:
        brief = self.family.brief
        by_range: dict[tuple[str, str | int], list[str]] = {}
        for setting in self.wording.settings:
            by_range.setdefault((setting.allowed(), setting.default), []).append(setting.name)
        ruled_out, never = [], self._impossible()
        for name, choices in self._ruled_out.items():
            for choice, skills in choices.items():
                hard = self._impossible(**{name: choice}) - never - {*skills}
                more = [skill for skill in self.family.skills if skill in hard]
                parts = [", ".join(skills)] * bool(skills)
                parts += [f"if nothing else is set {', '.join(more)} too"] * bool(more)
                ruled_out += [f"{name} {choice}: {'; '.join(parts)}"] * bool(parts)
        body = fill(
            "question_compact",
            game=brief.short or brief.game,
            skills=bullets(f"{name}: {doc}" for name, doc in brief.skills.items()),
            settings=bullets(
                f"{', '.join(names)}: {allowed} (default: {default})" for (allowed, default), names in by_range.items()
            ),
            ruled_out=bullets(ruled_out) or "- nothing",
            form=self._shape(),
            state=state,
        )
        return f"{body}\n{_ORDER}{fill('order_compact', count=counted(count))}"

    def _shape(self) -> str:
        """The form of an answer, without a value: a small model copies an example, design for design."""
        first, *_, last = self.wording.settings
        return f'{{"designs": [{{"{first.name}": ..., "targets": [...], "{last.name}": ..., "purpose": "..."}}, ...]}}'

    def _state(self, feedback: Feedback) -> str:
        by_rate: dict[str, list[str]] = {}
        for skill in sorted(self.family.skills, key=lambda skill: feedback.mean[skill]):
            by_rate.setdefault(percent(feedback.mean[skill]), []).append(skill)
        rates = bullets(f"{', '.join(skills)}: {rate}" for rate, skills in by_rate.items())
        return fill("state_compact", rates=rates, designs=bullets(self._effect(d, feedback) for d in feedback.designs))

    def _effect(self, design: Design | None, feedback: Feedback) -> str:
        """A design that was trained in, and what became of its targets."""
        if design is None:
            return "the original game"
        before = feedback.history[-1] if feedback.history else {}
        changed: list[str] = []
        same: list[str] = []
        for skill in design.targets:
            now, then = percent(feedback.mean[skill]), percent(before.get(skill, 0.0))
            (same if now == then else changed).append(skill if now == then else f"{skill} {then} -> {now}")
        effect = [*changed, *([f"no change in {', '.join(same)}"] * bool(same))]
        return f"{json.dumps(self.wording.show(design.settings()))}: {'; '.join(effect) or 'no targets'}"


_ORDER = "---\n"
"""Between what is told and what is asked."""
