"""Recorded runs as a replay reads them: a run's folder, or the transcript that a run was packed into.

A transcript is one JSON file: designs, messages, replies, models and dates of a run, without secrets. Each text stands
in it once, under its hash, and the hash of all is part of it: what was changed, or cut, is no transcript any more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from envgen_exp.errors import RunFolderError
from envgen_exp.guard.reading import MAX_JSON, read_json, understood, within
from envgen_exp.guard.redaction import redact
from envgen_exp.llm import ledger
from envgen_exp.llm.ledger import Address
from envgen_exp.llm.source import Answer, Message

FORMAT = 1
"""Version of a transcript's form."""

MAX_CALLS = 100_000
"""Calls of a transcript; its bytes are at most those of any JSON file that is read."""


@dataclass(frozen=True)
class Recorded:
    """One answered call."""

    where: str
    """The file that holds it."""
    messages: list[Message]
    answer: Answer


@dataclass(frozen=True)
class Recording:
    """What was asked and answered in a run."""

    name: str
    """Where it lies."""
    model: str
    client: str
    """Through what it was asked: a name of `LLMKind`."""
    max_repairs: int
    calls: Mapping[Address, Callable[[], Recorded]] = field(repr=False)
    """Each call, read when it is needed."""


def open_recording(path: Path) -> Recording:
    """The recording in a run's folder or in a transcript; RunFolderError where there is none to replay."""
    if os.path.lexists(path) and not os.path.isdir(path):
        return _of_transcript(path)
    folder = next((found for found in (path / "llm", path) if os.path.lexists(found / ledger.LEDGER)), None)
    if folder is None:
        raise RunFolderError(f"llm.from={path}: no run with recorded calls; llm/{ledger.LEDGER} is not there")
    with understood(folder / ledger.LEDGER):
        recording = _of_folder(folder)
    if not recording.calls:
        raise RunFolderError(f"llm.from={path}: the run has no finished call to replay")
    return recording


# A folder


def _of_folder(folder: Path) -> Recording:
    def load(file: str) -> Callable[[], Recorded]:
        return lambda: _read_call(folder, file)[1]

    opened, calls = _answered(folder)
    files = {_address(sent): load(file) for sent, file in calls}
    return Recording(
        str(folder), str(opened.get("model")), str(opened.get("client")), int(opened.get("max_repairs", 0)), files
    )


def _answered(folder: Path) -> tuple[dict[str, Any], list[tuple[dict[str, Any], str]]]:
    """The last `opened` line of a ledger, and for each address that was answered its `sent` line and its file."""
    events = ledger.read(folder)
    opened = [event for event in events if event["event"] == "opened"]
    sent = {(event["call"], event["attempt"]): event for event in events if event["event"] == "sent"}
    found = {}
    for event in events:
        # A later answer to the same address is from a resume that asked something else: it is what the run used.
        if event["event"] == "answered":
            asked = sent[event["call"], event["attempt"]]
            found[_address(asked)] = (asked, event["file"])
    return opened[-1] if opened else {}, list(found.values()) if opened else []


def _address(sent: Mapping[str, Any]) -> Address:
    return Address(sent["cycle"], sent["purpose"], sent["position"])


def _read_call(folder: Path, file: str) -> tuple[dict[str, Any], Recorded]:
    path = within(folder, file)
    record = read_json(path)
    with understood(path):
        messages = [Message(role=one["role"], content=one["content"]) for one in record["request"]["messages"]]
        return record, Recorded(str(folder / file), messages, Answer(**record["answer"]))


# A transcript

_Count = Annotated[int, Field(ge=0, le=10**12)]
_Text = Annotated[str, Field(max_length=1000)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class _Said(_Part):
    role: Literal["system", "user", "assistant"]
    content: str


class _Reply(_Part):
    """An Answer of which the text is a message."""

    text: _Hash
    finish: _Text
    prompt_tokens: _Count
    completion_tokens: _Count
    estimated: bool
    cost: float | None
    seconds: float
    model: _Text
    reasoning: _Count = 0


class _Call(_Part):
    cycle: _Count
    purpose: _Text
    position: _Count
    client: _Text
    model: _Text
    at: _Text
    request: _Hash
    """The ledger's hash of the whole request."""
    messages: list[_Hash]
    answer: _Reply


class _Designs(_Part):
    cycle: _Count
    source: _Text
    repairs: _Count
    designs: list[dict[str, JsonValue] | None]


class _Transcript(_Part):
    format: Literal[1]
    run: dict[str, JsonValue]
    """Where it comes from: name, date, identity, versions and what was chosen."""
    model: _Text
    max_repairs: _Count
    designs: list[_Designs]
    texts: dict[_Hash, _Said]
    calls: Annotated[list[_Call], Field(min_length=1, max_length=MAX_CALLS)]
    hash: _Hash


def pack(folder: Path, run: Mapping[str, Any], designs: list[dict[str, Any]]) -> bytes:
    """The transcript of the calls in a run's llm/ folder; `run` says where it comes from.

    Raises RunFolderError where nothing was asked, and where a transcript would be too large to be read again.
    """
    texts: dict[str, Message] = {}

    def put(role: str, content: str) -> str:
        message = Message(role=role, content=redact(content))
        texts[ledger.digest(message)] = message
        return ledger.digest(message)

    with understood(folder / ledger.LEDGER):
        opened, answered = _answered(folder)
        calls = []
        for sent, file in answered:
            record, call = _read_call(folder, file)
            names = ("cycle", "purpose", "position", "client", "model", "at", "request")
            calls.append(
                {name: _redacted(sent[name]) for name in names}
                | {"messages": [put(message["role"], message["content"]) for message in call.messages]}
                | {"answer": _redacted(record["answer"]) | {"text": put("assistant", call.answer.text)}}
            )
        if not calls:
            raise RunFolderError(f"{folder.parent}: the run has no answered request to a language model to pack")
        value = {
            "format": FORMAT,
            **_redacted({"run": run, "model": opened["model"], "max_repairs": opened["max_repairs"]}),
            "designs": _redacted(designs),
            "texts": texts,
            "calls": calls,
        }
        data = (json.dumps(value | {"hash": ledger.digest(value)}, indent=1) + "\n").encode()
    if len(data) > MAX_JSON or len(calls) > MAX_CALLS:
        raise RunFolderError(
            f"{folder.parent}: a transcript of {len(calls):,} calls and {len(data):,} bytes is too large: allowed are "
            f"{MAX_CALLS:,} calls and {MAX_JSON:,} bytes"
        )
    _checked(json.loads(data), folder)  # a stranger's folder may hold what no run writes
    return data


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {redact(str(name)): _redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def _of_transcript(path: Path) -> Recording:
    found = _checked(read_json(path), path)

    def load(call: _Call) -> Callable[[], Recorded]:
        said = [found.texts[name] for name in call.messages]
        messages = [Message(role=one.role, content=one.content) for one in said]
        answer = Answer(**{**vars(call.answer), "text": found.texts[call.answer.text].content})
        return lambda: Recorded(str(path), messages, answer)

    calls = {Address(call.cycle, call.purpose, call.position): load(call) for call in found.calls}
    return Recording(str(path), found.model, found.calls[0].client, found.max_repairs, calls)


def _checked(value: Any, path: Path) -> _Transcript:
    """The transcript in a JSON value; RunFolderError where it is none, another version's, or was changed."""
    if not isinstance(value, dict) or not isinstance(value.get("format"), int) or "texts" not in value:
        raise RunFolderError(f"{path} is no transcript of a run: `python -m envgen_exp transcript RUN FILE` makes one")
    if value["format"] != FORMAT:
        raise RunFolderError(f"{path} is a transcript in format {value['format']}; this version reads format {FORMAT}")
    try:
        found = _Transcript.model_validate(value)
    except (ValidationError, RecursionError) as error:
        found_wrong = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(str(part)[:40] for part in found_wrong["loc"][:6]) if found_wrong else "it"
        what = found_wrong["msg"] if found_wrong else "too many levels, one in the other"
        raise RunFolderError(redact(f"{path} is no whole transcript: {where}: {what}")) from error
    names = {name for call in found.calls for name in (*call.messages, call.answer.text)}
    if missing := sorted(names - found.texts.keys()):
        raise RunFolderError(f"{path} is no whole transcript: the text {missing[0]} is not in it")
    said = {name: {"role": text.role, "content": text.content} for name, text in found.texts.items()}
    wrong = [name for name, text in said.items() if ledger.digest(text) != name]
    if wrong or ledger.digest({name: part for name, part in value.items() if name != "hash"}) != found.hash:
        what = f"the text {wrong[0]}" if wrong else "its content"
        raise RunFolderError(f"{path} was changed since it was packed: {what} does not fit its hash")
    return found
