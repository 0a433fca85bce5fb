"""Messages for a small model: about 1,000 tokens, each complete in itself, and a form in which little can be wrong.

Where the rich prompt tells the rules and lets the model find out what follows, this one tells what follows: what a
world has and which skills it rules out. A small model writes one design again and again; so each design of an answer is
about skills of its own, and the schema holds it to those that its world allows.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from envgen_exp.config import Prompt
from envgen_exp.families.design import Design, Setting
from envgen_exp.families.family import DesignCheck, Family
from envgen_exp.families.reading import OPTIONS
from envgen_exp.llm.prompt import (
    Feedback,
    Prompter,
    bullets,
    counted,
    fill,
    object_schema,
    percent,
    targets_schema,
    value_schema,
)

_PURPOSE = 80
"""Most characters of a purpose."""

_TARGETS = 2
"""Most targets of a design."""

_WORLDS = 8
"""Sampled worlds on which rests what a choice rules out."""

_EACH = 4
"""Skills for each design, of the weakest, among which it chooses."""

_OPTIONS = 4
"""Most settings of a design besides the decisive one: a small model goes on through all that there are."""


def make_prompter(family: Family, kind: Prompt, num_designs: int, evidence: bool = False) -> Prompter:
    """What writes the messages of this kind."""
    return (CompactPrompter if kind is Prompt.compact else Prompter)(family, kind, num_designs, evidence)


class CompactPrompter(Prompter):
    """Writes short messages, each of which stands alone."""

    remembers = False
    room = 380

    def first(self) -> str:
        """The question before anything is known of the agent."""
        return self._question("The agent has learned nothing yet.", None)

    def feedback(self, feedback: Feedback, checks: Sequence[DesignCheck | None] = ()) -> str:
        """The question after a cycle: all that a model is told of the run so far."""
        return self._question(self._state(feedback), feedback)

    def again(
        self,
        question: str,
        kept: Sequence[Design],
        problems: Sequence[str],
        places: Sequence[int],
        feedback: Feedback | None,
    ) -> str:
        """The question once more, for the designs alone, by place from 0, that could not be used."""
        settled = [f"{', '.join(design.targets)}: {self._settings(design)}" for design in kept]
        told = fill("again_compact", problems=bullets(problems), kept=bullets(settled) or "- none")
        return f"{question.rpartition(_ORDER)[0]}{told}\n{self._order(places, feedback)}"

    def schema(self, places: Sequence[int] | None = None, feedback: Feedback | None = None) -> dict[str, Any]:
        """Designs by number: each about its own skills, without those that a choice rules out.

        Settings may be left out; those that stand there are not at their default.
        """
        aims = self._aims(feedback)
        designs = {str(place + 1): self._design_schema(aims[place]) for place in self._places(places)}
        return object_schema({"designs": object_schema(designs, list(designs))}, ["designs"])

    def _places(self, places: Sequence[int] | None) -> Sequence[int]:
        return range(self.num_designs) if places is None else places

    def _aims(self, feedback: Feedback | None) -> list[list[str]]:
        """For each design the skills among which it chooses: the weakest, cut into as many parts by difficulty."""
        ranked = [rule.skill for rule in self.family.skill_rules]
        skills = [*ranked, *(skill for skill in self.family.skills if skill not in ranked)]
        rates = feedback.mean if feedback else dict.fromkeys(skills, 0.0)
        if feedback is not None:
            weak = sorted(skills, key=lambda skill: rates[skill])[: _EACH * self.num_designs]
            skills = [skill for skill in skills if skill in weak]
        ends = [len(skills) * place // self.num_designs for place in range(self.num_designs + 1)]
        parts = [skills[start:end] or skills for start, end in itertools.pairwise(ends)]
        return [sorted(part, key=lambda skill: rates[skill]) for part in parts]

    def _design_schema(self, skills: Sequence[str]) -> dict[str, Any]:
        """A design about some of these skills."""
        name, ruled_out = self._decisive()
        choices: dict[tuple[str, ...], list[str]] = {}
        for choice, lost in ruled_out.items():
            choices.setdefault(tuple(skill for skill in skills if skill not in lost), []).append(choice)
        choices.pop((), None)
        kinds = [self._kind({name: {"type": "string", "enum": alike}}, left) for left, alike in choices.items()]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else self._kind({}, skills)

    def _kind(self, decided: Mapping[str, Any], skills: Sequence[str]) -> dict[str, Any]:
        properties: dict[str, Any] = {"targets": targets_schema(skills, _TARGETS) | {"minItems": 1}}
        properties["purpose"] = {"type": "string", "maxLength": _PURPOSE}
        properties |= decided
        others = [setting for setting in self.wording.settings if setting.name not in decided]
        option = {"anyOf": [object_schema({one.name: _changed(one)}, [one.name]) for one in others]}
        properties[OPTIONS] = {"type": "array", "items": option, "maxItems": _OPTIONS}
        return object_schema(properties, list(properties))

    def _impossible(self, **settings: Any) -> frozenset[str]:
        """Skills that no world allows; all of them where there is no such world."""
        return frozenset(self._check(**settings).impossible)

    def _check(self, **settings: Any) -> DesignCheck:
        return self.family.check(self.family.design_model(**settings), num_worlds=_WORLDS)

    @functools.cached_property
    def _ruled_out(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """By setting and choice, the skills that no world allows where nothing else is set."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for setting in self.family.vocabulary:
            usual = setting.choices and frozenset.intersection(
                *(self._impossible(**{setting.name: choice}) for choice in setting.choices)
            )
            for choice in setting.choices:
                lost = self._impossible(**{setting.name: choice}) - {*usual}
                found.setdefault(setting.name, {})[choice] = tuple(one for one in self.family.skills if one in lost)
        return {name: choices for name, choices in found.items() if any(choices.values())}

    def _decisive(self) -> tuple[str, dict[str, tuple[str, ...]]]:
        """The setting whose choices rule out most."""
        return max(self._ruled_out.items(), key=lambda item: sum(map(len, item[1].values())), default=("", {}))

    def _question(self, state: str, feedback: Feedback | None) -> str:
        brief = self.family.brief
        decisive, _ = self._decisive()
        by_range: dict[tuple[str, str | int], list[Setting]] = {}
        for setting in self.wording.settings:
            by_range.setdefault((setting.allowed(), setting.default), []).append(setting)
        settings, wanted = [], {*itertools.chain(*self._aims(feedback))}
        for (allowed, default), alike in by_range.items():
            doc = f". {alike[0].doc}" if len(alike) == 1 and alike[0].name != decisive else ""
            settings.append(f"{', '.join(one.name for one in alike)}: {allowed} (default: {default}){doc}")
        body = fill(
            "question_compact",
            game=brief.short or brief.game,
            skills=bullets(f"{name}: {doc}" for name, doc in brief.skills.items() if name in wanted),
            settings=bullets(settings),
            worlds=bullets(self._worlds()) or "- all are alike",
            state=state,
        )
        return f"{body}\n{_ORDER}{self._order(None, feedback)}"

    def _worlds(self) -> Iterator[str]:
        """What worlds have by the choice that decides most; where nothing is counted, the skills that it rules out."""
        name, choices = self._decisive()
        for choice, skills in choices.items():
            counts = self._check(**{name: choice}).counts
            has = [
                f"{count:.0f} {what}" if count >= 1 else f"{count:.1f} {what}"
                for what, count in counts.items()
                if count
            ]
            lacks = [what for what, count in counts.items() if not count]
            parts = [", ".join(has)] * bool(has) + [f"no {', '.join(lacks)}"] * bool(lacks)
            parts = parts or [f"rules out {', '.join(skills)}"] * bool(skills)
            if parts:
                yield f"{name} {choice}: {'; '.join(parts)}"

    def _order(self, places: Sequence[int] | None, feedback: Feedback | None) -> str:
        """What is asked for."""
        aims, wanted = self._aims(feedback), self._places(places)
        decisive, _ = self._decisive()
        named = f"{json.dumps(decisive)}: ..., " if decisive else ""
        form = f'{{"targets": [...], "purpose": "...", {named}"{OPTIONS}": [{{setting: value}}, ...]}}'
        return fill(
            "order_compact",
            count=counted(len(wanted)),
            aims="\n".join(f"{place + 1}. {', '.join(aims[place])}" for place in wanted),
            form=f'{{"designs": {{"{wanted[0] + 1}": {form}, ...}}}}',
        )

    def _state(self, feedback: Feedback) -> str:
        by_rate: dict[str, list[str]] = {}
        for skill in sorted(self.family.skills, key=lambda skill: feedback.mean[skill]):
            by_rate.setdefault(percent(feedback.mean[skill]), []).append(skill)
        rates = bullets(f"{', '.join(skills)}: {rate}" for rate, skills in by_rate.items())
        evidence = self._evidence(feedback, [*itertools.chain(*self._aims(feedback))])
        designs = bullets(self._effect(design, feedback) for design in feedback.designs)
        return fill("state_compact", rates=rates, evidence=evidence, designs=designs)

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
        return f"{self._settings(design)}: {'; '.join(effect) or 'no targets'}"


def _changed(setting: Setting) -> dict[str, Any]:
    """The values of a setting but its default, as far as a schema can say so."""
    if setting.choices:
        others = tuple(choice for choice in setting.choices if choice != setting.default)
        return value_schema(replace(setting, choices=others or setting.choices))
    low, high = setting.low, setting.high
    if low < high:
        low, high = low + (setting.default == low), high - (setting.default == high)
    return value_schema(replace(setting, low=low, high=high))


_ORDER = "---\n"
"""Between what is told and what is asked."""
