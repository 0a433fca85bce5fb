"""A person with a chat window: what waits in files, when a reply is one, and what a stopped run still knows."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import runs
import warm
from llm_server import NO_RULES
from runs import SMOKE, rows, summary

from envgen_exp.__main__ import main
from envgen_exp.commands.compose import compose_run
from envgen_exp.config import LLMConfig
from envgen_exp.errors import BudgetError, ConfigError
from envgen_exp.families.crafter.brief import skill_rules
from envgen_exp.guard.reading import read_json
from envgen_exp.llm import ledger, paste, prices
from envgen_exp.llm.client import Client, Completion, check_ready, make_client
from envgen_exp.llm.offline import answer
from envgen_exp.llm.source import Message

CHAT: list[Message] = [{"role": "system", "content": "Design."}, {"role": "user", "content": "Write one."}]
RULES = skill_rules()
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paste, "SETTLED", 0.3)
    monkeypatch.setattr(paste, "_POLL", 0.02)


@pytest.fixture
def config() -> LLMConfig:
    return compose_run(["llm=paste", "llm.model=some-chat"]).llm


def client(config: LLMConfig, folder: Path) -> Client:
    return make_client(config, folder / "llm", NO_RULES, run="test")  # type: ignore[arg-type]


def waits(folder: Path, number: int = 1) -> Path:
    """The `number`-th message, once it is there."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = sorted(folder.glob("llm/paste/*-message.txt"), key=lambda file: file.stat().st_mtime_ns)
        if len(found) >= number:
            return found[number - 1]
        time.sleep(0.02)
    raise TimeoutError(f"{number} messages in {folder}")


def reply_to(message: Path) -> Path:
    return message.with_name(message.name.replace("-message.txt", "-reply.txt"))


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Callable[[Callable[[Path], object]], None]]:
    """Does something with the first message's reply file, in a thread."""
    threads = []

    def start(work: Callable[[Path], object]) -> None:
        threads.append(threading.Thread(target=lambda: work(reply_to(waits(tmp_path)))))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


def test_a_reply_in_the_file_is_the_answer(config: LLMConfig, tmp_path: Path, person: Any) -> None:
    person(lambda reply: reply.write_text("\ufeffA reply.\n"))
    asking = client(config, tmp_path)
    said = asking.complete(CHAT, cycle=1)
    assert (said.text, said.finish, said.model, said.cost) == ("A reply.\n", "stop", "some-chat", None)
    assert said.prompt_tokens == prices.count_tokens(CHAT)
    assert said.completion_tokens == prices.count_text("A reply.\n")
    totals = asking.totals()
    assert (totals.calls, totals.unknown, totals.cost_known) == (1, 0, False)
    events = ledger.read(tmp_path / "llm")
    assert [event["event"] for event in events] == ["opened", "sent", "answered"]
    assert (events[1]["client"], events[1]["model"], events[2]["estimated"]) == ("paste", "some-chat", True)
    assert waits(tmp_path).read_text() == "Design.\nWrite one."
    # From the disk from now on, as every finished call.
    assert client(config, tmp_path).complete(CHAT, cycle=1) == said


def test_it_costs_what_the_prices_say_and_caps_hold(config: LLMConfig, tmp_path: Path, person: Any) -> None:
    # A chat window has no price by the token, whatever a model of that name costs elsewhere.
    known = replace(config, model="openai/gpt-4o")
    assert prices.prices(known) is None
    with pytest.raises(ConfigError, match=r"llm\.max_dollars=1.0 can't be kept"):
        check_ready(replace(known, max_dollars=1.0))
    priced = replace(config, input_price=2.0, output_price=10.0, max_calls=1)
    person(lambda reply: reply.write_text("A reply."))
    asking = client(priced, tmp_path)
    said = asking.complete(CHAT, cycle=1)
    assert said.cost == pytest.approx((said.prompt_tokens * 2 + said.completion_tokens * 10) / 1e6)
    with pytest.raises(BudgetError, match=r"llm\.max_calls=1"):
        asking.complete(CHAT, cycle=2)
    assert len(list((tmp_path / "llm" / "paste").iterdir())) == 2


def test_a_reply_that_is_still_being_written_is_not_one(config: LLMConfig, tmp_path: Path, person: Any) -> None:
    def write(reply: Path) -> None:
        with reply.open("w") as file:
            file.write("half ")
            file.flush()
            time.sleep(1.0)  # thrice as long as it takes to settle
            file.write("and half")

    person(write)
    assert client(config, tmp_path).complete(CHAT, cycle=1).text == "half and half"


def test_a_file_that_still_changes_is_no_reply_where_the_disk_can_t_tell_who_writes(
    config: LLMConfig, tmp_path: Path, person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paste, "is_being_written", lambda handle: False)

    def write(reply: Path) -> None:
        for length in range(1, 9):
            reply.write_text("12345678"[:length])
            time.sleep(0.1)

    person(write)
    assert client(config, tmp_path).complete(CHAT, cycle=1).text == "12345678"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda reply: reply.write_text(" \n"), ""),
        (lambda reply: reply.write_bytes(b"x" * (paste.MAX_REPLY + 1)), "too many to be what it should"),
        (os.mkfifo, "is a named pipe, not a file"),
        (Path.mkdir, "is a folder, not a file"),
        (lambda reply: reply.symlink_to("/etc/passwd"), "outside of it"),
        (lambda reply: reply.write_bytes(b"caf\xe9"), "is no text in UTF-8"),
    ],
    ids=["empty", "huge", "pipe", "folder", "link", "latin"],
)
def test_what_is_no_reply_is_told_once_and_another_is_waited_for(
    what: Callable[[Path], object],
    says: str,
    config: LLMConfig,
    tmp_path: Path,
    person: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def act(reply: Path) -> None:
        what(reply)
        time.sleep(0.8)
        reply.rmdir() if reply.is_dir() else reply.unlink()
        waits(tmp_path).unlink()  # and the message is written again
        time.sleep(0.2)
        assert waits(tmp_path).read_text() == "Design.\nWrite one."
        reply.write_text("A reply.")

    person(act)
    with caplog.at_level(logging.WARNING):
        assert client(config, tmp_path).complete(CHAT, cycle=1).text == "A reply."
    assert len(caplog.messages) == (2 if says else 1)
    assert says in caplog.messages[-1]
    assert all("\n" not in line for line in caplog.messages)


def test_a_secret_in_a_reply_is_hidden(
    config: LLMConfig, tmp_path: Path, person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "token-of-my-server-42")
    person(lambda reply: reply.write_text("My key is token-of-my-server-42."))
    assert client(config, tmp_path).complete(CHAT, cycle=1).text == "My key is [OPENAI_API_KEY]."


def test_a_chat_is_one_message_in_order() -> None:
    said: Message = {"role": "assistant", "content": "ANSWER"}
    text = paste.in_one_text([*CHAT, said, {"role": "user", "content": "Again."}])
    assert [line for line in text.splitlines() if line] == [
        "=== What you were told first ===",
        "Design.",
        "Write one.",
        "=== You answered ===",
        "ANSWER",
        "=== Now answer this ===",
        "Again.",
    ]


# Stopped meanwhile


def ask_and_die(config: LLMConfig, folder: Path, number: int) -> None:
    """A process that asks and is ended by a signal while it waits."""
    child = runs.fork(lambda: client(config, folder).complete(CHAT, cycle=1))
    waits(folder)
    time.sleep(0.1)
    os.kill(child, number)
    assert runs.wait(child) != 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_waits_on_for_the_same_answer(number: int, config: LLMConfig, tmp_path: Path) -> None:
    ask_and_die(config, tmp_path, number)
    assert [event["event"] for event in ledger.read(tmp_path / "llm")] == ["opened", "sent"]
    reply_to(waits(tmp_path)).write_text("A late reply.")
    capped = client(replace(config, max_calls=1), tmp_path)
    said = capped.complete(CHAT, cycle=1)
    assert (said.text, said.call, said.attempts) == ("A late reply.", 1, 1)
    assert (capped.totals().calls, capped.totals().unknown) == (1, 0)
    assert len(list((tmp_path / "llm" / "paste").iterdir())) == 2


def test_a_request_that_is_not_asked_any_more_has_an_end(config: LLMConfig, tmp_path: Path, person: Any) -> None:
    ask_and_die(config, tmp_path, signal.SIGKILL)
    old = waits(tmp_path)
    reply_to(old).write_text("To the old question.")
    threading.Thread(target=lambda: reply_to(waits(tmp_path, 2)).write_text("To the new one.")).start()
    asking = client(config, tmp_path)
    assert asking.complete([*CHAT[:1], {"role": "user", "content": "Write two."}], cycle=1).text == "To the new one."
    assert [e["event"] for e in ledger.read(tmp_path / "llm")][-3:] == ["unknown", "sent", "answered"]
    assert (asking.totals().calls, asking.totals().unknown) == (2, 1)


def test_a_reply_can_be_pasted_into_the_terminal(config: LLMConfig, tmp_path: Path) -> None:
    """With a line longer than the 4,095 bytes that a terminal keeps of one, in the child's own terminal."""
    ours, theirs = pty.openpty()
    answers: list[Completion] = []

    def work() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        os.dup2(theirs, 0)
        answers.append(client(config, tmp_path).complete(CHAT, cycle=1))
        assert termios.tcgetattr(0)[3] & termios.ICANON

    child = runs.fork(work)
    os.close(theirs)
    waits(tmp_path)
    time.sleep(0.3)
    text = f"first\r{'x' * 20_000}\rlast"
    for start in range(0, len(text), 1000):
        os.write(ours, text[start : start + 1000].encode())
    os.write(ours, b"\x04")
    assert runs.wait(child) == 0
    os.close(ours)
    (record,) = (tmp_path / "llm" / "calls").iterdir()
    assert read_json(record)["answer"]["text"] == text.replace("\r", "\n")
    assert reply_to(waits(tmp_path)).read_text() == text.replace("\r", "\n")


# A whole run


def test_a_run_by_paste_goes_on_after_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real processes; the test is the person, whose first reply does not fit."""
    folder = tmp_path / "runs" / "one"
    run = warm.start([str(ROOT / "run.py"), *SMOKE, "cycles=1", "llm=paste", f"folder={folder}"], cwd=tmp_path)
    first = waits(folder)
    reply_to(first).write_text('{"designs": [{"target_biome": "moon"}]}')
    second = waits(folder, 2)
    assert "repair0" in second.name
    text = second.read_text()
    assert "moon" in text.partition("=== Now answer this ===")[2]
    os.kill(run.pid, signal.SIGKILL)
    done = run.wait()
    assert done.returncode == -signal.SIGKILL
    assert f"paste {first} into a new chat with unnamed and save the reply as {reply_to(first)}" in done.stderr
    assert "the last reply does not fit: " in done.stderr

    capsys.readouterr()
    assert main(["waiting", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr().out
    assert f"{folder}: cycle 1 repair 0 for unnamed, since " in told
    assert f"  message  {second}\n  reply    {reply_to(second)}\n" in told
    assert main(["waiting", str(folder)]) == 0
    assert capsys.readouterr().out == told

    question = [{"role": "user", "content": first.read_text()}]
    reply_to(second).write_text(f"Here you are:\n```json\n{answer(question, RULES)}\n```\n")
    assert main(["waiting", str(folder)]) == 0
    assert "a reply is there" in capsys.readouterr().out
    done = warm.run([str(ROOT / "run.py"), f"resume={folder}"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = summary(folder)
    assert (found.llm, found.llm_calls, found.uses_llm) == ("paste", 2, True)
    assert read_json(folder / "phases" / "000-cycle1-design.json")["proposal"]["source"] == "designer"
    assert [row["event"] for row in rows(folder / "llm" / "ledger.jsonl")].count("sent") == 2
    capsys.readouterr()
    assert main(["waiting", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out == f"nothing waits in {tmp_path / 'runs'}\n"


def test_waiting_says_one_line_for_what_it_can_t_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: LLMConfig
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["waiting"]) == 0
    assert capsys.readouterr().out == "nothing waits in runs/ and multirun/\n"
    assert main(["waiting", "none"]) == 2
    assert capsys.readouterr().err == "envgen: error: none is not a folder\n"
    for name in ("multirun/sweep/a", "runs/b", "runs/c"):
        (tmp_path / name / "llm" / "paste").mkdir(parents=True)
    ask_and_die(config, tmp_path / "multirun/sweep/a", signal.SIGKILL)
    (tmp_path / "runs/b/llm/ledger.jsonl").write_text(
        '{"event": "sent", "client": "paste", "call": [], "attempt": 1}\n'
    )
    (tmp_path / "runs/c/llm/ledger.jsonl").write_text("[1]\n")
    assert main(["waiting"]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("multirun/sweep/a: cycle 1 design 0 for some-chat, since ")
    assert len(told.err.splitlines()) == 2
