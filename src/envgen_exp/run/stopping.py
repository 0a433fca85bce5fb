"""Signals end a run within seconds: the main thread where it can, a watching thread where that is deep in C.

The first signal raises `Stopped` in the main thread. Python delivers it only between bytecodes, and one backward pass
of a large network takes longer than a scheduler waits; so after `GRACE` seconds a thread does what has to be done and
ends the process. A second SIGINT ends it at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

GRACE = 3.0
"""Seconds that the main thread has to notice the signal and to write its last checkpoint."""

END = b"\0"
"""Not a signal's number: tells the watching thread to end."""


class Stopped(BaseException):
    """The run was asked to stop; not an error, so nothing that catches errors swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_status = 128 + signum


class Stop:
    """What became of the signals of a run."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.done = threading.Event()
        """Set once the main thread has put everything in order."""
        self.emergency: Callable[[str], None] = lambda _: None
        """What the watching thread does, with the signal's name, before it ends the process."""

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            if signum == signal.SIGINT:
                os._exit(128 + signum)
            return
        self.signum = signum
        raise Stopped(signum)

    def watch(self, pipe: int) -> None:
        """The watching thread: `pipe` gives a byte for each signal, also while the main thread is in C; 0 ends it."""
        while (number := os.read(pipe, 1)) != END:
            if number[0] in SIGNALS and not self.done.wait(GRACE):
                self.emergency(signal.Signals(number[0]).name)
                os._exit(128 + number[0])


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Handle `SIGNALS` for as long as the block runs; only in the main thread."""
    stop = Stop()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # A hangup that is ignored already was meant not to matter: nohup.
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    handled = [number for number in SIGNALS if number != signal.SIGHUP or not nohup]
    before = {number: signal.signal(number, stop) for number in handled}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=stop.watch, args=(reading,), name="signals", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.done.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        # The thread must not outlive the block: what `emergency` holds, tensors too, would be freed by it while Python
        # ends, and torch aborts the process then.
        os.write(writing, END)
        thread.join()
        os.close(writing)
        os.close(reading)
