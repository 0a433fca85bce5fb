"""The messages that a designer sends: templates filled from a family's one vocabulary, and what feedback holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

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

    def __init__(self, family: Family, kind: Prompt, num_designs: int) -> None:
        self.family = family
        self.num_designs = num_designs
        self.rich = kind is Prompt.rich
        """Whether the model is told more than in the paper: feasibility, changes, steps left."""
        obfuscate = kind is Prompt.obfuscated
        self.wording = (Wording.obfuscated if obfuscate else Wording.plain)(family.vocabulary)

    def system(self) -> str:
        """The message before all others."""
        return _fill("system")

    def first(self) -> str:
        """What opens the chat: game, skills, settings, form of the answer."""
        brief = self.family.brief
        return _fill(
            "first_rich" if self.rich else "first_paper",
            game=brief.game,
            rules=_list(brief.rules),
            skills=_list(f"{name}: {doc}" for name, doc in brief.skills.items()),
            settings=_list(_setting_line(setting) for setting in self.wording.settings),
            answer=self._form(),
            count=_count(self.num_designs),
        )

    def feedback(self, feedback: Feedback, checks: Sequence[DesignCheck | None] = ()) -> str:
        """What a later cycle adds to the chat; `checks` are the trained designs', for the rich prompt."""
        before = feedback.history[-1] if feedback.history else None
        return _fill(
            "feedback_rich" if self.rich else "feedback_paper",
            cycle=str(feedback.cycle),
            episodes=f"{feedback.episodes:,}",
            rates=_list(self._rate_line(name, feedback, before) for name in self.family.skills),
            designs=self._trained(feedback, checks),
            steps_left=f"{feedback.steps_left:,}",
            count=_count(self.num_designs),
        )

    def repair(self, problems: Sequence[str]) -> str:
        """The answer to a reply that can't be used."""
        return _fill("repair", problems=_list(problems), answer=self._form(), count=_count(self.num_designs))

    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer, everything required; `llm.schema` takes out what a provider can't be told."""
        properties: dict[str, Any] = {
            "purpose": {
                "type": "string",
                "maxLength": _PURPOSE,
                "description": "One sentence: what the design is for.",
            },
            "targets": {
                "type": "array",
                "items": {"type": "string", "enum": list(self.family.skills)},
                "maxItems": _TARGETS,
            },
        }
        for setting in self.wording.settings:
            text = _setting_line(setting).removeprefix(f"{setting.name}: ")
            if setting.choices:
                properties[setting.name] = {"type": "string", "enum": list(setting.choices), "description": text}
            else:
                properties[setting.name] = {
                    "type": "integer",
                    "minimum": setting.low,
                    "maximum": setting.high,
                    "description": text,
                }
        design = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
        return {
            "type": "object",
            "properties": {
                "designs": {
                    "type": "array",
                    "items": design,
                    "minItems": self.num_designs,
                    "maxItems": self.num_designs,
                }
            },
            "required": ["designs"],
            "additionalProperties": False,
        }

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
        line = f"{skill}: {_percent(feedback.mean[skill])} ± {_percent(feedback.sd[skill])}"
        if not self.rich or before is None or skill not in before:
            return line
        change = round(100 * feedback.mean[skill]) - round(100 * before[skill])
        return f"{line} (before: {_percent(before[skill])}, change {change:+d})"

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


def _fill(template: str, **values: str) -> str:
    """A template with its words filled in; what is filled in is never read as a template itself."""
    text = resources.files("envgen_exp.llm").joinpath("templates", f"{template}.md").read_text()
    return Template(text).substitute(values).strip() + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _setting_line(setting: Setting) -> str:
    return f"{setting.name}: {setting.allowed()} (default: {setting.default}). {setting.doc}".rstrip(" .") + "."


def _percent(share: float) -> str:
    """Whole percents, with one digit below 1 % so that a rare skill is told from an absent one."""
    percent = 100 * share
    return f"{percent:.1f}%" if 0 < percent < 1 else f"{percent:.0f}%"


def _count(number: int) -> str:
    return f"exactly {number} design{'' if number == 1 else 's'}"
