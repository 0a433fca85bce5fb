"""Serves a recorded run's replies again: no key, no network, and a clear refusal where the run would go another way."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envgen_exp.config import LLMConfig
from envgen_exp.errors import ConfigError, ReplayError
from envgen_exp.guard.reading import understood
from envgen_exp.guard.redaction import redact
from envgen_exp.llm.ledger import Address
from envgen_exp.llm.recording import open_recording
from envgen_exp.llm.source import Answer, Message

_SHOWN = 160
"""Characters of a differing line that a refusal shows."""


class Replay:
    """A recorded run as a source of answers."""

    client = "replay"

    def __init__(self, config: LLMConfig) -> None:
        """Raises ConfigError or RunFolderError where there is nothing to replay."""
        if not config.replay_from:
            raise ConfigError("llm=replay needs a recorded run, its folder or its transcript: llm.from=FOLDER or FILE")
        self._strict = config.strict
        self._recording = open_recording(Path(config.replay_from))
        self.model = self._recording.model
        self.max_repairs = self._recording.max_repairs

    def request(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, draw: int = 0) -> dict[str, Any]:
        """What is compared with the record: the messages alone."""
        return {"messages": [dict(message) for message in messages]}

    def reserve(self, request: Mapping[str, Any]) -> float | None:
        """Nothing is paid."""
        return 0.0

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """The recorded answer; ReplayError where the recorded request was another one."""
        load = self._recording.calls.get(address)
        if load is None:
            there = ", ".join(str(address) for address in self._recording.calls)
            raise ReplayError(f"llm=replay: {self._recording.name} has no answer for {address}; it has {there}")
        call = load()
        with understood(call.where):
            difference = self._strict and _difference(call.messages, request["messages"])
            answer = dataclasses.replace(call.answer, text=redact(call.answer.text), cost=0.0)
        if difference:
            raise ReplayError(
                f"llm=replay: {address} asks something else than {call.where} did: {difference};"
                " llm.strict=false serves the recorded answer all the same"
            )
        return answer


def _difference(recorded: Sequence[Message], asked: Sequence[Message]) -> str:
    """The first difference of two chats in words; empty where there is none."""
    for number, (old, new) in enumerate(zip(recorded, asked, strict=False), start=1):
        if old == new:
            continue
        if old["role"] != new["role"]:
            return f"message {number} is from {new['role']}, recorded is {old['role']}"
        old_lines, new_lines = old["content"].splitlines(), new["content"].splitlines()
        for at in range(max(len(old_lines), len(new_lines))):
            was = old_lines[at] if at < len(old_lines) else "(end)"
            now = new_lines[at] if at < len(new_lines) else "(end)"
            if was != now:
                # Of long lines what is about the place where they part.
                alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(was, now, strict=False))
                start = max(0, sum(1 for _ in alike) - _SHOWN // 2)
                was, now = (("..." if start else "") + line[start : start + _SHOWN] for line in (was, now))
                return f"message {number} line {at + 1} is {now!r}, recorded is {was!r}"
        return f"message {number} differs in its line ends"
    if len(recorded) != len(asked):
        return f"{len(asked)} messages, recorded are {len(recorded)}"
    return ""
