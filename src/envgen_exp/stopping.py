"""Signals that end a run: the first asks it to stop at the next boundary, a second SIGINT ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """The run was asked to stop; not an error, so nothing that catches errors swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_status = 128 + signum


class Stop:
    """Whether a signal has come. While `waiting` a signal interrupts at once, else at the next `check`."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.waiting = True

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        first = self.signum is None
        self.signum = signum
        if self.waiting or not first:
            raise Stopped(signum)

    def check(self) -> None:
        """Raise Stopped if a signal has come: called where a checkpoint can be written."""
        if self.signum is not None:
            raise Stopped(self.signum)

    @contextmanager
    def only_at_boundaries(self) -> Iterator[None]:
        """Put a signal off to the next `check` while the block runs."""
        self.waiting = False
        try:
            yield
        finally:
            self.waiting = True


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Handle the signals of `SIGNALS` for as long as the block runs."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
