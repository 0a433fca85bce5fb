"""SIGKILL before, during and after requests: no finished call is bought twice, one in flight is unknown and counted."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import llm_crash_child as child
import pytest
from llm_server import LLMServer

from envgen_exp.llm import ledger

OPERATIONS = 33
"""Writes, syncs, renames and what is taken or cut of the disk, in three calls."""


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["llm_crash_child"])
    # Python 3.11's fork server does not take over sys.path.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv(child.WARM, "1")
        forkserver.ensure_running()
    return context


@pytest.fixture(scope="module")
def served() -> Iterator[LLMServer]:
    with LLMServer(lambda messages: f"answer to {messages[0]['content']}") as server:
        yield server


def kill_and_resume(
    forks: ForkServerContext,
    server: LLMServer,
    folder: Path,
    *,
    operation: int = 0,
    how: str = "before",
    seconds: float | None = None,
    stage: tuple[int, str] | None = None,
) -> None:
    """One process killed at one place, the next one finishing the run; then everything has to add up."""
    process = forks.Process(target=child.main, args=(server.url, folder, operation, how, seconds))

    def kill(reached: str) -> None:
        if (len(server.seen), reached) == stage:
            os.kill(process.pid, signal.SIGKILL)

    server.on_stage = kill
    process.start()
    process.join(60)
    assert process.exitcode in ((-signal.SIGKILL,) if seconds is None else (-signal.SIGKILL, 0))
    server.on_stage = lambda stage: None

    finished = len(list((folder / "calls").glob("*.json"))) if (folder / "calls").exists() else 0
    seen = len(server.seen)
    resumed = child.client(server.url, folder)
    answers = child.ask_all(resumed)

    assert [answer.text for answer in answers] == [f"answer to cycle {c}, {p}" for c, p in child.CALLS]
    # No finished call was bought twice, every other one was asked for once more.
    assert len(server.seen) - seen == len(child.CALLS) - finished
    events = ledger.read(folder)
    sent = [(e["call"], e["attempt"]) for e in events if e["event"] == "sent"]
    ended = [(e["call"], e["attempt"]) for e in events if e["event"] in ("answered", "failed", "unknown")]
    assert sorted(sent) == sorted(ended)
    assert len(set(sent)) == len(sent)
    # The ledger is ahead of the server by at most the one request that the kill kept from arriving.
    unknown = sum(e["event"] == "unknown" for e in events)
    assert unknown <= 1
    assert len(server.seen) <= len(sent) <= len(server.seen) + unknown
    totals = resumed.totals()
    assert (totals.calls, totals.unknown) == (len(sent), unknown)
    assert totals.cost_known is (unknown == 0)
    assert not list(folder.rglob(".*"))
    # A third process buys nothing.
    again = child.ask_all(child.client(server.url, folder))
    assert again == answers
    assert len(server.seen) - seen == len(child.CALLS) - finished


POINTS = [
    *({"operation": n, "how": "before"} for n in range(1, 12)),
    *({"operation": n, "how": "half"} for n in (4, 9)),
    {"operation": 20, "how": "after"},
    *({"stage": (request, stage)} for request in (1, 2) for stage in ("arrived", "half", "answered")),
]


def test_there_are_twenty_points() -> None:
    assert len(POINTS) == 20


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_killed_at(point: dict[str, object], forks: ForkServerContext, server: LLMServer, tmp_path: Path) -> None:
    kill_and_resume(forks, server, tmp_path / "llm", **point)


@pytest.mark.chaos
@pytest.mark.parametrize("number", range(200))
def test_killed_anywhere(number: int, forks: ForkServerContext, server: LLMServer, tmp_path: Path) -> None:
    chance = random.Random(number)
    if number % 2:
        point = {"operation": chance.randint(1, OPERATIONS), "how": chance.choice(["before", "half", "after"])}
    else:
        point = {"seconds": chance.uniform(0.0, 0.25)}
    kill_and_resume(forks, server, tmp_path / "llm", **point)
