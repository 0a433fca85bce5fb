"""What a language model that plays is told: the context once, the moment, earlier answers, and one question."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from envgen_exp.families.family import Manual, Scene
from envgen_exp.learners.asked.chain import Question
from envgen_exp.llm.source import Message

MAX_ANSWER = 4000
"""Characters of an answer that later questions are shown."""

_BRIEF = "Answer in a few sentences."


@dataclass(frozen=True)
class Step:
    """A step that was taken: what was seen, and what was done then."""

    scene: Scene
    action: str


class Prompter:
    """Writes every message of one agent."""

    def __init__(self, name: str, chain: Sequence[Question], manual: Manual, history: int) -> None:
        self._chain = tuple(chain)
        self._history = history
        self._actions = tuple(manual.actions)
        context = _fill(
            name,
            goal=manual.goal,
            action_names=", ".join(manual.actions),
            skill_names=", ".join(manual.skills),
            actions=_list(f"{action}: {line}" for action, line in manual.actions.items()),
            rules=_list(manual.rules),
            skills=_list(f"{skill}: {line}" for skill, line in manual.skills.items()),
        )
        self._system: Message = {"role": "system", "content": context}

    def question(
        self, question: Question, steps: Sequence[Step], scene: Scene, answers: Mapping[str, str]
    ) -> list[Message]:
        """The chat that asks one question at a moment: after `steps`, at `scene`, with the answers so far."""
        shown = (
            f"You were asked: {earlier.text}\nYou answered: {_kept(answers[earlier.name])}\n\n"
            for earlier in self._chain
            if earlier.name in question.needs
        )
        text = _fill(
            "moment",
            before=self._before(steps, scene),
            step=str(len(steps) + 1),
            scene=scene.text,
            answers="".join(shown),
            question=question.text,
            form=self._form() if question is self._chain[-1] else _BRIEF,
        )
        return [self._system, {"role": "user", "content": text}]

    def repair(self, chat: Sequence[Message], answer: str) -> list[Message]:
        """The chat that sends an answer without a usable action back."""
        return [
            *chat,
            {"role": "assistant", "content": _kept(answer)},
            {"role": "user", "content": _fill("repair", actions=", ".join(self._actions))},
        ]

    def _form(self) -> str:
        return f'End with a line of the form "Action: NAME", where NAME is one of: {", ".join(self._actions)}'

    def _before(self, steps: Sequence[Step], scene: Scene) -> str:
        """The last steps, a line each, and what was seen before the last of them."""
        if not steps:
            return "Nothing has happened yet."
        first = max(0, len(steps) - self._history)
        scenes = [*(step.scene for step in steps[first:]), scene]
        lines = [
            f"- step {number}: {step.action}; {_change(before, after)}"
            for number, (step, before, after) in enumerate(
                zip(steps[first:], scenes, scenes[1:], strict=False), start=first + 1
            )
        ]
        return "\n".join(("Your last steps:", *lines, "", "What you saw before the last one:", steps[-1].scene.text))


def _kept(answer: str) -> str:
    return answer[:MAX_ANSWER].strip() or "(nothing)"


def _change(before: Scene, after: Scene) -> str:
    changes = {name: after.counts[name] - count for name, count in before.counts.items()}
    if any(changes.values()):
        return ", ".join(f"{name} {change:+d}" for name, change in changes.items() if change)
    return "nothing gained or lost" if after.text != before.text else "nothing changed"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _fill(template: str, **values: str) -> str:
    """A template with its words filled in; what is filled in is never read as a template itself."""
    return _template(template).substitute(values).strip() + "\n"


@functools.cache
def _template(name: str) -> Template:
    return Template(resources.files("envgen_exp.learners.asked").joinpath("templates", f"{name}.md").read_text())
