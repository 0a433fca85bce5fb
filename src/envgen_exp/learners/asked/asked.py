"""Asks a language model for each action in turn: the chain's questions, then repairs, then the idle action."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from envgen_exp.families.family import Manual, Scene
from envgen_exp.learners.asked.chain import Question
from envgen_exp.learners.asked.prompt import Prompter, Step
from envgen_exp.learners.asked.reply import read_action
from envgen_exp.llm.client import Client
from envgen_exp.llm.source import Message

REPAIR = "repair"
"""What the ledger calls a question whose answer named no action before."""


@dataclass(frozen=True)
class Decision:
    """What was decided for one step."""

    action: str
    repairs: int
    """How often an answer went back."""
    idle: bool
    """Whether no answer named an action, so that the idle one was taken."""


class AskedAgent:
    """A language model as the agent."""

    def __init__(self, name: str, chain: Sequence[Question], manual: Manual, history: int) -> None:
        self._chain = tuple(chain)
        self._prompter = Prompter(name, chain, manual, history)
        self._actions = tuple(manual.actions)
        self._idle = manual.idle

    def act(self, client: Client, episode: int, steps: Sequence[Step], scene: Scene) -> Decision:
        """The next action of an episode (from 1) after `steps`, at `scene`. Raises what `Client.complete` does."""
        answers: dict[str, str] = {}
        chat: list[Message] = []
        for question in self._chain:
            chat = self._prompter.question(question, steps, scene, answers)
            answers[question.name] = client.complete(chat, cycle=episode, purpose=question.name).text
        text = answers[self._chain[-1].name]
        for repairs in range(client.max_repairs + 1):
            action = read_action(text, self._actions)
            if action is not None or repairs == client.max_repairs:
                break
            repair = self._prompter.repair(chat, text)
            text = client.complete(repair, cycle=episode, purpose=REPAIR).text
        return Decision(action or self._idle, repairs, idle=action is None)

    def chats(self, steps: Sequence[Step], scene: Scene, answer: str) -> Iterator[tuple[Question, list[Message]]]:
        """Each question of one step with its chat, as if every earlier one had been answered by `answer`."""
        answers: Mapping[str, str] = {question.name: answer for question in self._chain}
        for question in self._chain:
            yield question, self._prompter.question(question, steps, scene, answers)
