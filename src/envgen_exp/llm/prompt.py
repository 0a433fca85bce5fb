"""The messages that a designer sends: templates filled from a family's one vocabulary, and what feedback holds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

_WEAK = 0.5
"""Evidence is told of skills with a lower success rate."""


@dataclass(frozen=True)
class Ended:
    """An episode of an evaluation, and how it ended."""

    skills: frozenset[str]
    """Those that it showed."""
    length: int | None = None
    """Steps; None where it is not told how it ended."""
    truncated: bool = False
    """Ended by the time limit and not by the game."""


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
    trained: tuple[tuple[Design | None, ...], ...] = ()
    """What was trained in in each cycle so far, oldest first: of which evidence is told."""
    ended: tuple[Ended, ...] = ()
    """The episodes on which the rates rest; empty where what was played are no episodes, or nothing is told of them."""


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
    room: ClassVar[int] = 1500
    """Characters of the lines of evidence, one for a skill."""

    def __init__(self, family: Family, kind: Prompt, num_designs: int, evidence: bool = False) -> None:
        self.family = family
        self.num_designs = num_designs
        self.evidence = evidence
        """Whether feedback says how near episodes came to weak skills, and what came of the designs for them."""
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
            evidence=self._evidence(feedback, self.family.skills),
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

    def _evidence(self, feedback: Feedback, among: Sequence[str]) -> str:
        """Of the weak skills `among` these to which episodes came nearest: how near, and what designs for them did."""
        weak = [skill for skill in among if feedback.mean[skill] < _WEAK]
        if not (self.evidence and weak):
            return ""
        needs, ended = self._needs(), feedback.ended
        had = {skill: [one for one in ended if one.skills.issuperset(needs.get(skill, ()))] for skill in weak}
        lacked = {skill: [one for one in had[skill] if skill not in one.skills] for skill in weak}
        far = [skill for skill in weak if ended and not had[skill]]
        near = sorted((skill for skill in weak if skill not in far), key=lambda s: (not needs.get(s), -len(lacked[s])))
        lines: list[str] = []
        for skill in near:
            parts = list(self._outcome(skill, feedback))
            if ended and needs.get(skill):
                shown = len(had[skill]) - len(lacked[skill])
                parts.insert(0, f"{len(had[skill])} had {', '.join(needs[skill])}, {shown} of these showed it")
                if self.remembers and (step := _middle(lacked[skill])):
                    parts[0] += f", half of the others were over by step {step}"
            line = f"{skill}: {'; '.join(parts)}"
            if parts and len(bullets([*lines, line])) <= self.room:
                lines.append(line)
        if far and self.remembers:
            lines.append(f"none had what it takes for {', '.join(far)}")
        what = (
            f"How near its {len(ended)} episodes came to weak skills" if ended else "What designs for weak skills did"
        )
        if step := _middle(ended):
            limit = sum(one.truncated for one in ended)
            what += f" (the game ended {len(ended) - limit}, the time limit {limit}; half were over by step {step})"
        return "\n\n" + fill("evidence", what=what, lines=bullets(lines)).rstrip() if lines else ""

    def _needs(self) -> dict[str, list[str]]:
        """By skill what it requires, without what these require themselves."""
        requires = {rule.skill: rule.requires for rule in self.family.skill_rules}

        def before(skill: str) -> set[str]:
            return {*requires.get(skill, ())}.union(*map(before, requires.get(skill, ())))

        return {
            skill: [one for one in names if not any(one in before(other) for other in names)]
            for skill, names in requires.items()
        }

    def _outcome(self, skill: str, feedback: Feedback) -> Iterator[str]:
        """What became of a skill in the cycles that had designs for it, which may not be by these."""
        rates = [one[skill] for one in (*feedback.history, feedback.mean)]
        rose, others = [], []
        for number, (designs, now) in enumerate(zip(feedback.trained, rates, strict=False), start=1):
            aimed = [design for design in designs if design and skill in design.targets]
            then = rates[number - 2] if number > 1 else 0.0
            if aimed and percent(now) != percent(then) and now > then:
                rose.append(
                    (
                        now - then,
                        number,
                        f"{percent(then)} -> {percent(now)}" if number > 1 else f"to {percent(now)}",
                        aimed,
                    )
                )
            elif aimed:
                others.append(str(number))
        if rose:
            _, number, change, aimed = max(rose, key=lambda one: one[0])
            told = self._settings(min(aimed, key=lambda design: len(design.targets)))
            yield f"rose most in round {number} ({change}), with {told}"
        if others and (self.remembers or not rose):
            yield f"had designs in round {', '.join(others)} and did not rise"
        if feedback.trained and self.remembers and not rose and not others:
            yield "no design was for it"

    def _settings(self, design: Design) -> str:
        """A design in words."""
        settings = self.wording.show(design.settings())
        return ", ".join(f"{name} {value}" for name, value in settings.items()) or "all at default"

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


def _middle(ended: Sequence[Ended]) -> int | None:
    """The step at which half of the episodes were over; None where that is not told."""
    lengths = [one.length for one in ended if one.length is not None]
    return statistics.median_low(lengths) if lengths else None


def percent(share: float) -> str:
    """Whole percents, with one digit below 1 % so that a rare skill is told from an absent one."""
    percent = 100 * share
    return f"{percent:.1f}%" if 0 < percent < 1 else f"{percent:.0f}%"


def counted(number: int) -> str:
    return f"exactly {number} design{'' if number == 1 else 's'}"
