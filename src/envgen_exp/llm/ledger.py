"""Every request to a model, written down before it goes out and again when it has ended: what caps and bills rest on.

    ledger.jsonl         one line for each event, append-only, on disk before the next thing happens
    calls/<key>.json     request and answer of each finished call
    partial/             what had come of answers that were stopped; a record, never served
    paste/               messages for a person, and the replies (llm/paste.py)

A request is `sent`, then `answered`, `failed` or, where the process died in between, `unknown`; one that a person has
to answer waits on.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envgen_exp.config import LLMKind
from envgen_exp.errors import RunFolderError
from envgen_exp.guard.reading import read_bytes, read_json, understood
from envgen_exp.guard.redaction import redact
from envgen_exp.guard.writing import disk_errors, open_own, sync_folder, write_json
from envgen_exp.llm.room import Room, write_all

LEDGER = "ledger.jsonl"
CALLS = "calls"
PARTIAL = "partial"

MAX_LEDGER = 256 * 2**20
"""Bytes of a ledger."""

MODELS = frozenset(kind.name for kind in LLMKind if kind.is_model)
"""The clients whose requests go to a real language model; the others' are recorded and count nothing."""

LASTING = frozenset({LLMKind.paste.name})
"""The clients whose requests outlive a process: a person has the message and may answer it at any time."""


Request = tuple[Mapping[str, Any], Mapping[str, Any] | None]
"""A request as it was sent, and the event that ended it."""


@dataclass(frozen=True)
class Totals:
    """What a run has asked of real language models, resumes included."""

    calls: int = 0
    """Requests that were sent, those that failed and those whose end is unknown included."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """Dollars, of the requests whose cost is known."""
    cost_known: bool = True
    """Whether `cost` is all of it: no price was unknown and no request ended unseen."""
    unknown: int = 0
    """Requests that were in flight when the process died."""
    seconds: float = 0.0
    """That requests took until they were answered or failed; waits between attempts are not counted."""


@dataclass(frozen=True)
class Address:
    """Which call of a run: the `position`-th (from 0) of its purpose in its cycle."""

    cycle: int
    """As `Client.complete` has it: where the model is the agent, the episode."""
    purpose: str
    position: int

    def __str__(self) -> str:
        return f"cycle {self.cycle} {self.purpose} {self.position}"


def digest(value: Any) -> str:
    """A short hash of plain values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Ledger:
    """The ledger of one run's llm/ folder; one process at a time (the run folder's lock)."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._run = run
        self._file = folder / LEDGER
        self._room = Room(folder / CALLS)
        self._events = read(folder, cut_torn_end=True)
        with understood(self._file):
            self._settle()
            self.totals(), self.committed(), self.next_call()
        self._room.free()

    # Writing

    def opened(self, client: str, model: str, max_repairs: int) -> None:
        """A process begins to use the ledger."""
        self._append({"event": "opened", "client": client, "model": model, "max_repairs": max_repairs})

    def sent(
        self,
        address: Address,
        call: int,
        attempt: int,
        request: str,
        *,
        client: str,
        model: str,
        reserve: float | None,
        room: int,
    ) -> None:
        """A request is about to go out.

        `reserve` is the most that it can cost in dollars, None where unknown; `room` the most bytes that its record can
        have, which are taken from the disk now, or 0 for an answer that costs nothing.
        """
        where = {"cycle": address.cycle, "purpose": address.purpose, "position": address.position}
        request_of = {"call": call, "attempt": attempt, "request": request}
        of = {"client": client, "model": model, "reserve": reserve, "at": _now()}
        for event in unanswered(self._events):  # a lasting one that is not asked any more
            self.ended_unseen(event["call"], event["attempt"], "the run went on with another request")
        if room:
            self._room.take(room)
        try:
            self._append({"event": "sent", **where, **request_of, **of})
        except RunFolderError:
            self._room.free()
            raise

    def answered(self, call: int, attempt: int, key: str, record: Mapping[str, Any]) -> None:
        """A request was answered: the answer goes to its file, then its line to the ledger."""
        self._room.fill(self._call_file(key), record_bytes(record))
        self._append({"event": "answered", "call": call, "attempt": attempt, **_outcome(key, record)})

    def failed(
        self, call: int, attempt: int, *, status: str, http: int | None, error: str, seconds: float, billed: bool
    ) -> None:
        """A request ended without an answer; `billed` where the provider may charge for it all the same."""
        self._room.free()
        outcome = {"status": status, "http": http, "error": error, "seconds": round(seconds, 3), "billed": billed}
        self._append({"event": "failed", "call": call, "attempt": attempt, **outcome})

    def ended_unseen(self, call: int, attempt: int, why: str) -> None:
        """Nobody saw how a request ended: the process was killed or interrupted."""
        self._room.free()
        self._append({"event": "unknown", "call": call, "attempt": attempt, "status": "unknown", "error": why})

    # Reading

    def finished(self, key: str) -> dict[str, Any] | None:
        """The record of a call that an earlier process finished."""
        file = self._call_file(key)
        if not file.exists():
            return None
        record: dict[str, Any] = read_json(file)
        return record

    def waiting(self, address: Address, request: str) -> tuple[int, int] | None:
        """Call and attempt of this very request, where an earlier process has sent it and it is not answered yet."""
        for event in unanswered(self._events):
            there = Address(event["cycle"], event["purpose"], event["position"])
            if (there, event["request"]) == (address, request):
                return event["call"], event["attempt"]
        return None

    def next_call(self) -> int:
        """The number of the next call, counted from 1 over all resumes."""
        return 1 + max((event["call"] for event in self._events if event["event"] == "sent"), default=0)

    def totals(self, cycle: int | None = None) -> Totals:
        """What real language models were asked so far, in all or in one cycle."""
        return totals(self._events, cycle)

    def committed(self, price: Callable[[int, int], float] | None = None, most: float = 0.0) -> float:
        """Dollars that are spent or may be: known costs, and the reserve of every request whose cost nobody knows.

        Where no price was known when one was sent, an answer costs `price` of its tokens, another request `most`.
        """
        total = 0.0
        for sent, event in requests(self._events):
            if not _of_a_model(sent):
                continue
            reserve = sent["reserve"]
            if event is None or event["event"] == "unknown" or event.get("billed"):
                total += most if reserve is None else reserve
            elif event["event"] == "answered":
                cost = reserve if event["cost"] is None else event["cost"]
                if cost is None:
                    cost = price(event["prompt_tokens"], event["completion_tokens"]) if price else 0.0
                total += max(cost, 0.0)  # never less than nothing, whatever an earlier version believed
        return total

    # The files

    def _settle(self) -> None:
        """Give every request of an earlier process an end: its answer's file may be there although its line is not."""
        for event in unanswered(self._events):
            number = (event["call"], event["attempt"])
            key = call_key(Address(event["cycle"], event["purpose"], event["position"]), event["request"])
            record = self.finished(key)
            if record is not None and (record["call"], record["attempts"]) == number:
                self._append({"event": "answered", "call": number[0], "attempt": number[1], **_outcome(key, record)})
            elif event["client"] not in LASTING:
                self.ended_unseen(*number, "the process ended while the request was in flight")

    def _call_file(self, key: str) -> Path:
        return self._folder / CALLS / f"{key}.json"

    def _append(self, event: Mapping[str, Any]) -> None:
        line = {"run": self._run, **event}
        data = (json.dumps(line) + "\n").encode()
        with disk_errors(self._file):
            new = not self._file.exists()
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = open_own(self._file)
            try:
                size = os.lseek(handle, 0, os.SEEK_END)
                try:
                    write_all(handle, data)
                    os.fsync(handle)
                except OSError:
                    os.ftruncate(handle, size)
                    raise
            finally:
                os.close(handle)
            if new:
                sync_folder(self._folder)
        self._events.append(line)


def requests(events: Sequence[Mapping[str, Any]]) -> list[Request]:
    """Each request that was sent, in order, with the event that ended it."""
    ends = {(e["call"], e["attempt"]): e for e in events if e["event"] in ("answered", "failed", "unknown")}
    return [(e, ends.get((e["call"], e["attempt"]))) for e in events if e["event"] == "sent"]


def totals(events: Sequence[Mapping[str, Any]], cycle: int | None = None) -> Totals:
    """What real language models were asked, in all or in one cycle, by the events of a ledger; nothing is written."""
    asked = [(sent, end) for sent, end in requests(events) if _of_a_model(sent) and cycle in (None, sent["cycle"])]
    answers = [end for _, end in asked if end and end["event"] == "answered"]
    unseen = [end for _, end in asked if end is None or end["event"] == "unknown"]
    unpriced = [end for end in answers if end["cost"] is None]
    billed = [end for _, end in asked if end and end.get("billed")]
    return Totals(
        calls=len(asked),
        prompt_tokens=sum(end["prompt_tokens"] for end in answers),
        completion_tokens=sum(end["completion_tokens"] for end in answers),
        cost=sum(end["cost"] or 0.0 for end in answers),
        cost_known=not unpriced and not unseen and not billed,
        unknown=len(unseen),
        seconds=sum(end.get("seconds", 0.0) for _, end in asked if end),
    )


def _of_a_model(sent: Mapping[str, Any]) -> bool:
    return sent["client"] in MODELS


def unanswered(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The `sent` lines of requests that have no end."""
    return [sent for sent, end in requests(events) if end is None]


def call_key(address: Address, request: str) -> str:
    """The name of a finished call's file: a hash of where it stands in the run and of what was asked."""
    return digest([address.cycle, address.purpose, address.position, request])


def keep_partial(
    folder: Path | None, request: Mapping[str, Any], address: Address, pieces: Sequence[str], why: BaseException
) -> None:
    """Write down what had come of an answer that nobody got: a record, never an answer."""
    if folder is None or not pieces:
        return
    number = len(list(folder.glob("*.json"))) + 1
    name = f"{number}-cycle{address.cycle}-{address.purpose}{address.position}.json"
    record = {"why": redact(f"{type(why).__name__}: {why}"), "text": redact("".join(pieces)), "request": request}
    with contextlib.suppress(Exception):  # why it ended comes first
        write_json(folder / name, record)


def record_bytes(record: Mapping[str, Any]) -> bytes:
    """What a finished call's file holds."""
    return (json.dumps(record, indent=1) + "\n").encode()


def read(folder: Path, *, cut_torn_end: bool = False) -> list[dict[str, Any]]:
    """The events of a ledger, oldest first; RunFolderError where it is damaged.

    A last line without its end is a write that a kill cut short: what it announces had not happened yet. With
    `cut_torn_end` it is removed from the file.
    """
    file = folder / LEDGER
    if not os.path.lexists(file):
        return []
    data = read_bytes(file, MAX_LEDGER)
    whole = data.rfind(b"\n") + 1
    with disk_errors(file):
        if cut_torn_end and whole < len(data):
            os.truncate(file, whole)
    events = []
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunFolderError(f"{file} line {number} is damaged: what was spent can't be counted") from error
        events.append(event)
    return events


def _outcome(key: str, record: Mapping[str, Any]) -> dict[str, Any]:
    answer = record["answer"]
    names = ("prompt_tokens", "completion_tokens", "estimated", "cost", "seconds", "finish")
    return {"status": "ok", **{name: answer[name] for name in names}, "file": f"{CALLS}/{key}.json"}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
