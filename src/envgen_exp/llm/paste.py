"""`llm=paste`: a person carries messages to a chat window and the replies back, by files or through the terminal.

    paste/cycle1-design0-3fa2c1-message.txt    what to paste into a new chat
    paste/cycle1-design0-3fa2c1-reply.txt      where the reply is to be saved

The hash in both names is the request's: what is saved as a message's reply is one, whenever that was.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import signal
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envgen_exp.config import LLMConfig, LLMKind
from envgen_exp.errors import RunFolderError
from envgen_exp.guard.reading import open_regular, within
from envgen_exp.guard.redaction import redact
from envgen_exp.guard.writing import write_atomic
from envgen_exp.llm import prices
from envgen_exp.llm.ledger import Address, call_key, digest
from envgen_exp.llm.source import MAX_TEXT, Answer, Message

FOLDER = "paste"
"""In a run's llm/."""

SETTLED = 2.0
"""Seconds for which a reply's file has to stay as it is."""

MAX_REPLY = 2**20
"""Bytes of a reply."""

_POLL = 0.2
"""Seconds between two looks at a file."""

_SHOWN = 10
"""Problems of a reply that the terminal shows; all of them stand in the message."""

_END = b"\x04"
"""What Ctrl-D sends."""

_log = logging.getLogger(__name__)


def files(folder: Path, address: Address, request: str) -> tuple[Path, Path]:
    """The message's and the reply's file of a request, which is named by its hash, in a run's llm/ folder."""
    name = f"cycle{address.cycle}-{address.purpose}{address.position}-{call_key(address, request)[:6]}"
    return folder / FOLDER / f"{name}-message.txt", folder / FOLDER / f"{name}-reply.txt"


class Paste:
    """A person with a chat window as a source of answers."""

    client = LLMKind.paste.name

    def __init__(self, config: LLMConfig, folder: Path) -> None:
        """`folder` is the run's llm/."""
        self._config = config
        self._folder = folder
        self.model = config.model
        self.max_repairs = config.max_repairs

    def request(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, draw: int = 0) -> dict[str, Any]:
        """The messages are all that a chat window takes; `draw` tells apart what is asked more than once."""
        return {"model": self.model, "draw": draw, "messages": [dict(message) for message in messages]}

    def reserve(self, request: Mapping[str, Any]) -> float | None:
        """The most dollars that the request can cost by the prices of the config; None without."""
        return prices.most_cost(self._config, request["messages"])

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """Write the message, and wait for as long as it takes until its reply is there and whole."""
        start = time.monotonic()
        message, reply = files(self._folder, address, digest(request))
        text = in_one_text(request["messages"]).encode()
        if address.purpose == "repair":
            problems = [line for line in request["messages"][-1]["content"].splitlines() if line.startswith("- ")]
            for problem in problems[:_SHOWN]:
                self._tell(f"the last reply does not fit: {problem[2:300]}")
        if not os.path.lexists(message):
            write_atomic(message, text)
        with _Terminal() as terminal:
            here = ", or paste it here (it is not shown) and press Ctrl-D" if terminal.open else ""
            self._tell(f"paste {message} into a new chat with {self.model} and save the reply as {reply}{here}")
            watch = _Watch(reply, self._tell)
            while (said := watch.look()) is None:
                if not os.path.lexists(message):  # somebody took it away
                    write_atomic(message, text)
                typed = terminal.read(_POLL)
                if typed is not None and len(typed) > MAX_REPLY:
                    self._tell(f"what was pasted has more than {MAX_REPLY:,} bytes: it is no reply")
                elif typed and typed.strip():
                    write_atomic(reply, typed)
                    said = typed.decode(errors="replace")
                    break
        said = redact(said[: 2 * MAX_TEXT])[:MAX_TEXT]
        prompt_tokens, completion_tokens = prices.count_tokens(request["messages"]), prices.count_text(said)
        price = prices.prices(self._config)
        return Answer(
            text=said,
            finish="stop",
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            estimated=True,
            cost=price.cost(prompt_tokens, completion_tokens) if price else None,
            seconds=round(time.monotonic() - start, 3),
            model=self.model,
        )

    def _tell(self, line: str) -> None:
        _log.warning("llm=%s: %s", self._config.name, redact(line))


def in_one_text(messages: Sequence[Message]) -> str:
    """A whole chat as one message to a model that has seen nothing of it."""
    if all(message["role"] != "assistant" for message in messages):
        return "\n".join(message["content"] for message in messages)
    heads = {"assistant": "=== You answered ===", "user": "=== Then you were asked ==="}
    parts = []
    for number, message in enumerate(messages):
        last = number == len(messages) - 1
        head = "=== Now answer this ===" if last else heads.get(message["role"], "")
        if number < 2 and message["role"] != "assistant":
            head = "=== What you were told first ===" if number == 0 else ""
        parts += [line for line in (head, message["content"]) if line]
    return "\n".join(parts)


class _Watch:
    """A reply's file: it is whole once it stays as it is and nobody has it open to write."""

    def __init__(self, file: Path, tell: Any) -> None:
        self._file = file
        self._tell = tell
        self._told = ""
        self._state: tuple[int, ...] = ()
        self._since = 0.0

    def look(self) -> str | None:
        """The reply, or None while there is none; what is there and can't be one is told once."""
        if not os.path.lexists(self._file):
            self._state = ()
            return None
        try:
            with open_regular(within(self._file.parent, self._file.name), MAX_REPLY) as file:
                status = os.fstat(file.fileno())
                state = (status.st_ino, status.st_size, status.st_mtime_ns)
                if state != self._state:
                    self._state, self._since = state, time.monotonic()
                if time.monotonic() - self._since < SETTLED or is_being_written(file.fileno()):
                    return None
                text = file.read(MAX_REPLY).decode("utf-8-sig")
                return text if text.strip() else None
        except RunFolderError as error:
            if not isinstance(error.__cause__, FileNotFoundError):  # which was taken away since
                self._refuse(str(error))
        except OSError as error:
            self._refuse(f"can't read {self._file}: {error.strerror}")
        except UnicodeDecodeError as error:
            self._refuse(f"{self._file} is no text in UTF-8: {error.reason} at byte {error.start}")
        return None

    def _refuse(self, why: str) -> None:
        if why != self._told:
            self._tell(f"{why}; the run waits for another")
        self._told = why


def is_being_written(handle: int) -> bool:
    """Whether somebody has an open file open to write too, where the file system can tell: it gives no lease then."""
    try:
        # The kernel tells by this signal, which does nothing, who opens the file in the moment that the lease lasts.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


class _Terminal:
    """Standard input while it is a terminal of ours: what is pasted comes whole, however long its lines are."""

    def __init__(self) -> None:
        self._data = b""
        self._before: list[Any] | None = None

    @property
    def open(self) -> bool:
        """Whether there is such a terminal, and this process stands in its foreground."""
        if self._before is None:
            return False
        with contextlib.suppress(OSError):
            return os.tcgetpgrp(0) == os.getpgrp()
        return False

    def __enter__(self) -> _Terminal:
        with contextlib.suppress(OSError, termios.error):
            if os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp():
                fcntl.lockf(0, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the runs of a sweep may have the same terminal
                before = termios.tcgetattr(0)
                # A terminal that collects lines cuts each at 4,095 bytes; a display would be torn by an echo.
                raw = [*before[:3], before[3] & ~(termios.ICANON | termios.ECHO), *before[4:]]
                termios.tcsetattr(0, termios.TCSADRAIN, raw)
                self._before = before
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None and self.open:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._before)
                fcntl.lockf(0, fcntl.LOCK_UN)

    def read(self, seconds: float) -> bytes | None:
        """What was pasted before a Ctrl-D; None where nothing ended within some seconds, which are waited for."""
        if not self.open:
            time.sleep(seconds)
            return None
        if select.select([0], [], [], seconds)[0]:
            try:
                part = os.read(0, 2**16)
            except OSError:
                part = b""
            if not part:  # it was hung up
                self._before = None
            # One byte more than a reply may have tells that it is none.
            self._data = (self._data + part.partition(_END)[0])[: MAX_REPLY + 1]
            if _END in part:
                whole, self._data = self._data, b""
                return whole
        return None
