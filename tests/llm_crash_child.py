"""The process that tests/test_llm_crash.py kills: some calls, with a place at which it ends itself.

Imported once by a fork server, so that each child begins with litellm imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

from llm_server import NO_RULES, free_port

from envgen_exp.config import LLMConfig
from envgen_exp.llm.client import Client, Completion, make_client
from envgen_exp.llm.ledger import Address
from envgen_exp.llm.provider import Provider
from envgen_exp.llm.source import RequestFailed

WARM = "LLM_CRASH_CHILD_WARM"
"""The variable that the fork server has."""

CALLS = ((1, "design"), (1, "repair"), (2, "design"))
"""What a run asks, in order."""


def config(url: str) -> LLMConfig:
    return LLMConfig(
        name="local",
        model="openai/default",
        api_base=url,
        timeout=30.0,
        max_attempts=3,
        max_wait=0.01,
        input_price=1.0,
        output_price=1.0,
    )


def client(url: str, folder: Path) -> Client:
    return make_client(config(url), folder, NO_RULES, run="crash")


def ask_all(asking: Client) -> list[Completion]:
    """The run's calls."""
    return [
        asking.complete([{"role": "user", "content": f"cycle {cycle}, {purpose}"}], cycle=cycle, purpose=purpose)
        for cycle, purpose in CALLS
    ]


def main(url: str, folder: Path, operation: int, how: str, seconds: float | None) -> None:
    """Ask, and die before or in the middle of the `operation`-th write or sync, or after `seconds`."""
    _die_at(operation, how)
    if seconds is not None:
        threading.Timer(seconds, _die).start()
    ask_all(client(url, folder))
    os._exit(0)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(operation: int, how: str) -> None:
    count = 0

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == operation:
                if how == "half" and name == "write":
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                elif how == "after":
                    real(*arguments, **options)
                _die()
            return real(*arguments, **options)

        setattr(os, name, call)

    for name in ("write", "fsync", "replace", "posix_fallocate", "ftruncate"):
        wrap(name)


def warm_up() -> None:
    """The first request imports what litellm puts off; nobody listens, so it opens no connection."""
    with contextlib.suppress(RequestFailed):
        warm = Provider(config(f"http://127.0.0.1:{free_port()}/v1"))
        warm.ask(warm.request([{"role": "user", "content": "warm-up"}], None), Address(0, "warm-up", 0))


# Not where pytest collects: seconds of each of its processes.
if os.environ.get(WARM):
    warm_up()
