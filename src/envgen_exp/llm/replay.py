"""Serves a recorded run's replies again: no key, no network, and a clear refusal where the run would go another way."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envgen_exp.config import LLMConfig
from envgen_exp.errors import ConfigError, ReplayError, RunFolderError
from envgen_exp.guard.reading import read_json, understood, within
from envgen_exp.guard.redaction import redact
from envgen_exp.llm import ledger
from envgen_exp.llm.ledger import Address
from envgen_exp.llm.source import Answer, Message

_SHOWN = 160
"""Characters of a differing line that a refusal shows."""


class Replay:
    """A recorded run as a source of answers."""

    client = "replay"

    def __init__(self, config: LLMConfig) -> None:
        """Raises ConfigError or RunFolderError where there is nothing to replay."""
        if not config.replay_from:
            raise ConfigError("llm=replay needs the folder of a recorded run: llm.from=FOLDER")
        self._strict = config.strict
        self._folder = _find(Path(config.replay_from))
        self._files: dict[Address, str] = {}
        with understood(self._folder / ledger.LEDGER):
            self._read(config)

    def _read(self, config: LLMConfig) -> None:
        events = ledger.read(self._folder)
        opened = [event for event in events if event["event"] == "opened"]
        places = {
            (event["call"], event["attempt"]): Address(event["cycle"], event["purpose"], event["position"])
            for event in events
            if event["event"] == "sent"
        }
        for event in events:
            # A later answer to the same address is from a resume that asked something else: it is what the run used.
            if event["event"] == "answered":
                self._files[places[event["call"], event["attempt"]]] = event["file"]
        if not opened or not self._files:
            raise RunFolderError(f"llm.from={config.replay_from}: the run has no finished call to replay")
        self.model = str(opened[-1]["model"])
        self.max_repairs = int(opened[-1]["max_repairs"])

    def request(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, draw: int = 0) -> dict[str, Any]:
        """What is compared with the record: the messages alone."""
        return {"messages": [dict(message) for message in messages]}

    def reserve(self, request: Mapping[str, Any]) -> float | None:
        """Nothing is paid."""
        return 0.0

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """The recorded answer; ReplayError where the recorded request was another one."""
        file = self._files.get(address)
        if file is None:
            raise ReplayError(f"llm=replay: {self._folder} has no answer for {address}; it has {self._list()}")
        path = within(self._folder, file)
        record = read_json(path)
        with understood(path):
            difference = self._strict and _difference(record["request"]["messages"], request["messages"])
            answer = Answer(**{**record["answer"], "text": redact(record["answer"]["text"]), "cost": 0.0})
        if difference:
            raise ReplayError(
                f"llm=replay: {address} asks something else than {self._folder / file} did: {difference};"
                " llm.strict=false serves the recorded answer all the same"
            )
        return answer

    def _list(self) -> str:
        return ", ".join(str(address) for address in self._files)


def _find(folder: Path) -> Path:
    for candidate in (folder / "llm", folder):
        if os.path.lexists(candidate / ledger.LEDGER):
            return candidate
    raise RunFolderError(f"llm.from={folder}: no run with recorded calls; llm/{ledger.LEDGER} is not there")


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
                return f"message {number} line {at + 1} is {now[:_SHOWN]!r}, recorded is {was[:_SHOWN]!r}"
        return f"message {number} differs in its line ends"
    if len(recorded) != len(asked):
        return f"{len(asked)} messages, recorded are {len(recorded)}"
    return ""
