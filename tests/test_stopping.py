"""What the handling of signals leaves behind; what signals do to a run stands in test_reliability.py."""

from __future__ import annotations

import os
import signal
import threading
import weakref

from envgen_exp.run.stopping import SIGNALS, stoppable


class Holder:
    """Stands for a run, which holds tensors."""

    def stopped(self, why: str) -> None:
        raise AssertionError(why)


def test_nothing_of_it_outlives_the_block() -> None:
    """Tensors freed by a thread while Python ends abort the process: one run in twelve ended so on a busy machine."""
    handlers = [signal.getsignal(number) for number in SIGNALS]
    descriptors = os.listdir("/proc/self/fd")
    holder = Holder()
    with stoppable() as stop:
        stop.emergency = holder.stopped
        (thread,) = (one for one in threading.enumerate() if one.name == "signals")
    assert not thread.is_alive()
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert os.listdir("/proc/self/fd") == descriptors
    gone = weakref.ref(holder)
    del stop, thread, holder
    assert gone() is None


def test_a_hangup_that_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP in SIGNALS
