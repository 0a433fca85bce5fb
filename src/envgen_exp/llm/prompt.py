"""The messages that a designer sends: templates filled from a family's one vocabulary, and what feedback holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from string import Template
from typing import Any, ClassVar

from envgen_exp.config import Prompt
from envgen_exp.families.design import Design, Setting
from envgen_exp.families.family import DesignCheck, Family

_PURPOSE = 200
"""Most characters of a purpose that a schema allows."""

_TARGETS = 4
"""Most targets of a design that a schema allows."""


@dataclass(frozen=True)
class Feedback:
    """What a designer is told after a cycle: how the agent does in the original."""

    cycle: int
    """The cycle that has ended, from 1."""
    designs: tuple[Design | None, ...]
    """The designs that the agent has just trained in; None is the original."""
    mean: Mapping[str, float]
    """Success rate of each skill in the original, mean over seeds, in [0, 1]."""
    sd: Mapping[str, float]
    """Its standard deviation over seeds."""
    episodes: int
    """Episodes on which the rates rest, all seeds together."""
    steps_left: int
    """Training steps that the run has left."""
    history: tuple[Mapping[str, float], ...] = ()
    """Mean rates after each earlier cycle, oldest first."""
    taught: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By `design_key` success rates in the training episodes that ended in it in the cycle; no prompt says them."""


@dataclass(frozen=True)
class Wording:
    """A family's vocabulary as a prompt spells it, and the way back."""

    settings: tuple[Setting, ...]
    """The settings as the model sees them."""
    meant: tuple[Setting, ...]
    """The family's own, in the same order."""

    @classmethod
    def plain(cls, vocabulary: Sequence[Setting]) -> Wording:
        """The vocabulary as it is."""
        return cls(tuple(vocabulary), tuple(vocabulary))

    @classmethod
    def obfuscated(cls, vocabulary: Sequence[Setting]) -> Wording:
        """Names and choices without meaning, for the paper's ablation."""
        shown = []
        for number, setting in enumerate(vocabulary, start=1):
            choices = tuple(f"option {index}" for index in range(1, len(setting.choices) + 1))
            default = choices[setting.choices.index(str(setting.default))] if choices else setting.default
            shown.append(Setting(f"setting_{number}", "", default, choices, setting.low, setting.high))
        return cls(tuple(shown), tuple(vocabulary))

    def show(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A design's settings in the model's words, defaults left out."""
        result = {}
        for shown, meant in zip(self.settings, self.meant, strict=True):
            value = settings[meant.name]
            if value != meant.default:
                result[shown.name] = shown.choices[meant.choices.index(value)] if shown.choices else value
        return result

    def read(self, name: str, value: str | int) -> tuple[str, str | int]:
        """A setting and a valid value in the model's words, as the family spells them."""
        index = next(index for index, shown in enumerate(self.settings) if shown.name == name)
        shown, meant = self.settings[index], self.meant[index]
        return meant.name, meant.choices[shown.choices.index(str(value))] if shown.choices else value


class Prompter:
    """Writes every message that goes to the model."""

    remembers: ClassVar[bool] = True
    """Whether a question adds to the chat of the questions before; else each stands alone."""

    def __init__(self, family: Family, kind: Prompt, num_designs: int) -> None:
        self.family = family
        self.num_designs = num_designs
        self.rich = kind in (Prompt.rich, Prompt.auto)  # which one auto is has been said where a config is composed
        """Whether the model is told more than in the paper: changes, steps left, what was found in worlds."""
        self.objects = self.rich or kind is Prompt.compact
        """Whether a design goes back whose targets its worlds rule out."""
        obfuscate = kind is Prompt.obfuscated
        self.wording = (Wording.obfuscated if obfuscate else Wording.plain)(family.vocabulary)

    def system(self) -> str:
        """The message before all others."""
        return fill("system")

    def first(self) -> str:
        """What opens the chat: game, skills, settings, form of the answer."""
        brief = self.family.brief
        return fill(
            "first_rich" if self.rich else "first_paper",
            game=brief.game,
            rules=bullets(brief.rules),
            skills=bullets(f"{name}: {doc}" for name, doc in brief.skills.items()),
            settings=bullets(_setting_line(setting) for setting in self.wording.settings),
            answer=self._form(),
            count=counted(self.num_designs),
        )

    def feedback(self, feedback: Feedback, checks: Sequence[DesignCheck | None] = ()) -> str:
        """What a later cycle adds to the chat; `checks` are the trained designs', for the rich prompt."""
        before = feedback.history[-1] if feedback.history else None
        return fill(
            "feedback_rich" if self.rich else "feedback_paper",
            cycle=str(feedback.cycle),
            episodes=f"{feedback.episodes:,}",
            rates=bullets(self._rate_line(name, feedback, before) for name in self.family.skills),
            designs=self._trained(feedback, checks),
            steps_left=f"{feedback.steps_left:,}",
            count=counted(self.num_designs),
        )

    def repair(self, problems: Sequence[str]) -> str:
        """The answer to a reply that can't be used."""
        return fill("repair", problems=bullets(problems), answer=self._form(), count=counted(self.num_designs))

    def schema(self, places: Sequence[int] | None = None, feedback: Feedback | None = None) -> dict[str, Any]:
        """The JSON schema of an answer with the designs in these places, from 0, as a rule all that a cycle has.

        Everything is required. `feedback` is what the question tells. `llm.schema` takes out what a provider can't be
        told.
        """
        count = self.num_designs if places is None else len(places)
        properties: dict[str, Any] = {
            "purpose": {
                "type": "string",
                "maxLength": _PURPOSE,
                "description": "One sentence: what the design is for.",
            },
            "targets": targets_schema(self.family.skills, _TARGETS),
        }
        for setting in self.wording.settings:
            text = _setting_line(setting).removeprefix(f"{setting.name}: ")
            properties[setting.name] = value_schema(setting) | {"description": text}
        return designs_schema(object_schema(properties, list(properties)), count)

    def example_reply(self) -> str:
        """A typical answer, for estimates: the family's default designs with a purpose and two targets each."""
        targets = list(self.family.skills[:2])
        designs = [
            {"purpose": "trains " + " and ".join(targets), "targets": targets, **self.wording.show(design.settings())}
            for design in self.family.default_designs(self.num_designs)
        ]
        return json.dumps({"designs": designs}, indent=1)

    def _form(self) -> str:
        settings = ", ".join(f'"{setting.name}": ...' for setting in self.wording.settings[:2])
        return (
            '{"designs": [{"purpose": "one sentence: what this design is for", "targets": ["skills it should train"], '
            f"{settings}, ...}}, ...]}}"
        )

    def _rate_line(self, skill: str, feedback: Feedback, before: Mapping[str, float] | None) -> str:
        line = f"{skill}: {percent(feedback.mean[skill])} ± {percent(feedback.sd[skill])}"
        if not self.rich or before is None or skill not in before:
            return line
        change = round(100 * feedback.mean[skill]) - round(100 * before[skill])
        return f"{line} (before: {percent(before[skill])}, change {change:+d})"

    def _trained(self, feedback: Feedback, checks: Sequence[DesignCheck | None]) -> str:
        """The trained designs, one block each."""
        blocks = []
        for number, design in enumerate(feedback.designs, start=1):
            if design is None:
                blocks.append(f"- design {number} was the original game")
                continue
            settings = json.dumps(self.wording.show(design.settings()))
            lines = [f"- design {number} was {settings}"]
            if self.rich and design.targets:
                lines.append(f"  it should train {', '.join(design.targets)}")
            check = checks[number - 1] if number <= len(checks) else None
            if self.rich and check is not None:
                lines += [f"  found in its worlds: {finding}" for finding in check.findings]
            blocks += lines
        return "\n".join(blocks)


def targets_schema(skills: Sequence[str], most: int) -> dict[str, Any]:
    """A list of skills."""
    return {"type": "array", "items": {"type": "string", "enum": list(skills)}, "maxItems": most}


def value_schema(setting: Setting) -> dict[str, Any]:
    """A setting's value."""
    if setting.choices:
        return {"type": "string", "enum": list(setting.choices)}
    return {"type": "integer", "minimum": setting.low, "maximum": setting.high}


def object_schema(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def designs_schema(design: Mapping[str, Any], count: int) -> dict[str, Any]:
    """An answer: so many designs."""
    designs = {"type": "array", "items": dict(design), "minItems": count, "maxItems": count}
    return object_schema({"designs": designs}, ["designs"])


def fill(template: str, **values: str) -> str:
    """A template with its words filled in; what is filled in is never read as a template itself."""
    text = resources.files("envgen_exp.llm").joinpath("templates", f"{template}.md").read_text()
    return Template(text).substitute(values).strip() + "\n"


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _setting_line(setting: Setting) -> str:
    return f"{setting.name}: {setting.allowed()} (default: {setting.default}). {setting.doc}".rstrip(" .") + "."


def percent(share: float) -> str:
    """Whole percents, with one digit below 1 % so that a rare skill is told from an absent one."""
    percent = 100 * share
    return f"{percent:.1f}%" if 0 < percent < 1 else f"{percent:.0f}%"


def counted(number: int) -> str:
    return f"exactly {number} design{'' if number == 1 else 's'}"
