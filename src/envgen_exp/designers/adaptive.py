"""EnvGen's designer: a language model that sees where the agent is weak and writes the next designs (arXiv 2403.12014).

A cycle is one call. A reply that can't be used goes back with the exact problem, a bounded number of times; what is
still missing then is filled from the last good designs, in the first cycle from the family's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import DEFAULT, DESIGNER, LAST, Proposal
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import DesignCheck
from envgen_exp.llm.client import Completion
from envgen_exp.llm.compact import CompactPrompter, make_prompter
from envgen_exp.llm.prompt import Feedback
from envgen_exp.llm.reply import Problem, Reply, parse_reply
from envgen_exp.llm.source import Message

_KEPT = 20_000
"""Characters of a reply that stay in the chat."""


class Adaptive(Defaults):
    """The adaptive designer."""

    uses_llm: ClassVar[bool] = True

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        self._family = means.family
        self._client = means.client
        self._prompter = make_prompter(means.family, config.prompt, config.num_designs, config.evidence)
        self._num_designs = config.num_designs
        self._chat: list[Message] = []
        self._last: Proposal | None = None
        self._checked: dict[tuple[str, tuple[str, ...]], DesignCheck] = {}

    def num_calls(self, cycles: int) -> int:
        """One a cycle, repairs not counted."""
        return cycles

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """Ask for the designs of a cycle; raises LLMError where the model gives no answer at all."""
        assert self._client is not None, "a designer that asks needs a client"
        told = self._telling(feedback)
        chat = self._ask(told)
        talk = chat
        wanted = list(range(self._num_designs))
        best: tuple[Reply, str] | None = None
        repairs = 0
        while True:
            completion = self._client.complete(
                talk,
                self._prompter.schema(wanted, told),
                cycle=cycle,
                purpose="repair" if repairs else "design",
                draw=self._draw(cycle) + (0 if self._prompter.remembers else repairs),  # a repair with other luck
            )
            reply = self._read(completion, wanted, best[0] if best else None)
            if best is None or reply.usable >= best[0].usable:
                best = reply, completion.text
            if not reply.problems or repairs == self._client.max_repairs:
                break
            repairs += 1
            if isinstance(self._prompter, CompactPrompter):
                # A small model repeats what stands in its chat; so it never sees its answer, and is asked for less.
                reply = best[0]
                wanted = reply.wanting
                kept = [design for index, design in enumerate(reply.designs) if design and index not in wanted]
                again = self._prompter.again(chat[-1]["content"], kept, reply.objections, wanted, told)
                talk = [*chat[:-1], {"role": "user", "content": again}]
            else:
                repair = self._prompter.repair(reply.objections)
                talk = [*chat, _said(completion.text), {"role": "user", "content": repair}]
        proposal = self._proposal(best[0], repairs)
        if self._prompter.remembers:
            # Of a talk about repairs the chat keeps the answer that was taken: what was wrong is of no use later.
            self._chat = [*chat, _said(best[1])]
        self._last = proposal
        return proposal

    def preview(self) -> list[list[Message]]:
        """The first chat, and what a later cycle adds to it, with every rate at zero."""
        designs = self._family.default_designs(self._num_designs)
        zero = dict.fromkeys(self._family.skills, 0.0)
        example = Feedback(
            cycle=1, designs=tuple(designs), mean=zero, sd=zero, episodes=0, steps_left=0, trained=(tuple(designs),)
        )
        return [self._question(None), [{"role": "user", "content": self._prompter.feedback(example)}]]

    def example_reply(self) -> str:
        """A typical answer, for an estimate of the cost."""
        return self._prompter.example_reply()

    def state_dict(self) -> dict[str, Any]:
        """The chat and the last proposal."""
        return {"chat": [dict(message) for message in self._chat], "last": self._last and self._last.to_json()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._chat = [Message(role=message["role"], content=message["content"]) for message in state["chat"]]
        self._last = Proposal.from_json(state["last"], self._family.design_model) if state["last"] else None

    # What some rivals do otherwise

    def _telling(self, feedback: Feedback | None) -> Feedback | None:
        """What of the feedback the model is told."""
        return feedback

    def _ask(self, feedback: Feedback | None) -> list[Message]:
        """The chat that asks for a cycle's designs."""
        return [*self._chat, *self._question(feedback)]

    def _draw(self, cycle: int) -> int:
        """Which of the answers that a model may give to the same chat."""
        return 0

    def _shaped(self, design: Design) -> Design:
        """What of a design is trained in."""
        return design

    # Questions and replies

    def _question(self, feedback: Feedback | None) -> list[Message]:
        prompter = self._prompter
        checks = self._last.checks if self._last else ()
        text = prompter.first() if feedback is None else prompter.feedback(feedback, checks)
        opens = feedback is None or not prompter.remembers
        system: list[Message] = [{"role": "system", "content": prompter.system()}] if opens else []
        return [*system, {"role": "user", "content": text}]

    def _read(self, completion: Completion, wanted: Sequence[int], before: Reply | None) -> Reply:
        """A reply's designs, with the family's objections among the problems.

        `wanted` are the places of the designs that were asked for; the others are those that came `before`.
        """
        reply = parse_reply(
            completion.text,
            self._prompter.wording,
            self._family.design_model,
            self._family.skills,
            len(wanted),
            finish=completion.finish,
            reasoning=completion.reasoning,
        )
        if len(wanted) < self._num_designs and before is not None:
            reply = before.mended(reply, wanted)
        designs = list(reply.designs)
        problems = list(reply.problems)
        for index, design in enumerate(designs):
            if design is None:
                continue
            check = self._check(design)
            if not check.playable:
                why = "; ".join(check.findings) if self._prompter.objects else "no agent can play in its worlds"
                problems.append(Problem(f"it can't be played: {why}", index + 1))
                designs[index] = None
            elif self._prompter.objects:
                problems += self._contradictions(design, check, index + 1)
            if not self._prompter.remembers:
                problems += _twins(design, [other for other in designs[:index] if other], index + 1)
        return replace(reply, designs=tuple(designs), problems=tuple(problems))

    def _contradictions(self, design: Design, check: DesignCheck, number: int) -> list[Problem]:
        """Skills that a design should train and that none of its sampled worlds allows."""
        lost = [skill for skill in design.targets if skill in check.impossible]
        if not lost:
            return []
        named = [finding for finding in check.findings if any(skill in finding for skill in lost)]
        why = "; ".join(named or check.findings)
        text = f"it should train {', '.join(lost)}, but in its worlds that is impossible ({why})"
        return [Problem(text, number, fatal=False)]

    def _check(self, design: Design) -> DesignCheck:
        key = (design_key(design), design.targets)
        if key not in self._checked:
            self._checked[key] = self._family.check(design)
        return self._checked[key]

    def _proposal(self, reply: Reply, repairs: int) -> Proposal:
        """The designs that serve, with whatever is missing filled in."""
        if self._last is None:
            source, spare = DEFAULT, self._family.default_designs(self._num_designs)
        else:
            source = DEFAULT if self._last.source == DEFAULT else LAST
            spare = [design for design in self._last.designs if design is not None]
        designs = [self._shaped(design or spare[index]) for index, design in enumerate(reply.designs)]
        filled = tuple(index + 1 for index, design in enumerate(reply.designs) if design is None)
        notes = [*reply.notes, *(f"still wrong after {repairs} repairs: {problem}" for problem in reply.problems)]
        if filled:
            notes.append(f"{source} serve as design {', '.join(map(str, filled))}")
        return Proposal(
            designs=tuple(designs),
            notes=tuple(notes),
            checks=tuple(self._check(design) for design in designs),
            source=source if reply.usable == 0 else DESIGNER,
            filled=filled,
            repairs=repairs,
        )


def _twins(design: Design, others: Sequence[Design], number: int) -> list[Problem]:
    """What a design has in common with those before it: a small model likes to write one four times."""
    if design.settings() in [other.settings() for other in others]:
        return [Problem("its settings are those of another design", number, fatal=False)]
    if {*design.targets} in [{*other.targets} for other in others]:
        return [Problem("its targets are those of another design: choose other skills", number, fatal=False)]
    return []


def _said(text: str) -> Message:
    # Some providers refuse a chat with an empty message in it.
    return {"role": "assistant", "content": text[:_KEPT] if text.strip() else "(an empty answer)"}
