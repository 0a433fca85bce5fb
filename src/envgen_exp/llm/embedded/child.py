"""The process in which the embedded model runs; xllamacpp is imported here and nowhere else.

Its first line of standard input says what to run, its one line of standard output where it listens or what went wrong.
It ends with the process that started it, however that ends: the kernel kills it, and standard input closes.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1

BATCH = 128
"""Tokens of the prompt between two signs of life."""

_alive: list[Any] = []
"""The server, for as long as the process lives."""


def main() -> None:
    """Serve until the parent ends."""
    orders = json.loads(sys.stdin.readline())
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != orders["parent"]:
        os._exit(1)  # it ended before the kernel was asked to tell
    threading.Thread(target=_watch, daemon=True).start()
    reply = os.dup(1)
    os.dup2(2, 1)  # what the library prints is no reply
    try:
        address = _serve(orders)
        answer = {"address": address}
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent says it
        answer = {"error": f"{type(error).__name__}: {error}"}
    os.write(reply, (json.dumps(answer) + "\n").encode())
    if "error" in answer:
        os._exit(1)
    threading.Event().wait()


def _watch() -> None:
    """End once the parent has closed, or lost, its end of standard input."""
    os.read(0, 1)
    os._exit(0)


def _serve(orders: dict[str, Any]) -> str:
    """Load the model and return the address at which it answers."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = orders["weights"]
    params.n_ctx = orders["context"]
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = BATCH
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = orders["threads"]
        threads.poll = 0  # idle threads sleep
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [orders["key"]]
    params.n_threads_http = 2
    params.sse_ping_interval = -1  # only the model's own progress is a sign of life
    params.cors_origins = ""
    params.ui = params.endpoint_slots = params.warmup = params.fit_params = False
    params.offline = True
    params.verbosity = 1
    # What a cache holds decides how the rest of a prompt is cut, and so the last bits of what comes out: a run that was
    # resumed would get other answers.
    params.cache_prompt = False
    params.cache_ram_mib = 0
    server = xllamacpp.Server(params)
    _alive.append(server)
    return str(server.listening_address)


if __name__ == "__main__":
    main()
