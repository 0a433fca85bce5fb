"""The embedded model's whole path, with weights that are nonsense: load, grammar, stream, stops and kills.

tests/conftest.py leaves these out on a processor that can't run the library; what is said there stands in
tests/test_llm_embedded.py.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tiny_gguf
from runs import die, fork, run, summary, wait

from envgen_exp.config import Engine, LLMConfig, LLMKind, Prompt
from envgen_exp.errors import BudgetError, EnvGenError, UnavailableError
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.llm import ledger
from envgen_exp.llm.client import RecordedClient, make_client
from envgen_exp.llm.embedded import machine, source
from envgen_exp.llm.prompt import Prompter
from envgen_exp.llm.reply import parse_reply
from envgen_exp.llm.schema import bounded
from envgen_exp.llm.source import Message, Writing
from envgen_exp.run.stopping import Stopped

FAMILY = make_family(CrafterConfig(engine=Engine.reference))
PROMPTER = Prompter(FAMILY, Prompt.rich, 2)
CHAT: list[Message] = [{"role": "user", "content": "What do you design at 10 ± 2 %?"}]
SHORT = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 200}}, "required": ["a"]}
SHORT["additionalProperties"] = False
SMALL = ("num_threads=1", "designer.num_designs=1", "designer.prompt=paper")
LONG = Prompter(FAMILY, Prompt.rich, 4).schema()
"""So long an answer, some seconds of it, that it is still being written when something happens at its beginning."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A turn of its own for each test, whoever else runs a model here."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


Make = Callable[..., RecordedClient]


@pytest.fixture
def make(tiny: Path, tmp_path: Path) -> Iterator[Make]:
    """A client of the tiny model; the last one made is the one to ask."""
    made: list[RecordedClient] = []

    def client(folder: str = "llm", tell: Callable[[Writing], None] | None = None, **fields: Any) -> RecordedClient:
        for other in made:  # one model at a time
            other.rest()
        usual = {"weights": str(tiny), "model": "tiny", "context": 8192, "max_tokens": 3000, "max_wait": 0.01}
        config = LLMConfig(name="embedded", kind=LLMKind.embedded, seed=1, max_attempts=2, **{**usual, **fields})
        one = make_client(config, tmp_path / folder, FAMILY, run="test", threads=1, tell=tell)
        assert isinstance(one, RecordedClient)
        made.append(one)
        return one

    yield client
    for one in made:
        one.rest()


def model_processes() -> set[int]:
    """Model processes that run on this machine and have this process's cache."""
    mine = f"XDG_CACHE_HOME={os.environ['XDG_CACHE_HOME']}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"envgen_exp.llm.embedded.child" in words and mine in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def events(folder: Path) -> list[str]:
    return [event["event"] for event in ledger.read(folder)]


def once(action: Callable[[], None], at: int) -> Callable[[Writing], None]:
    """Do something in the middle of the first answer, once so many tokens are there."""
    done: list[int] = []

    def tell(now: Writing) -> None:
        if now.written >= at and not done:
            done.append(now.written)
            action()

    return tell


def test_an_answer_has_the_schema_s_form_and_the_seed_decides_it(make: Make) -> None:
    told: list[Writing] = []
    client = make(tell=told.append)
    first = client.complete(CHAT, PROMPTER.schema(), cycle=1)
    assert first.finish == "stop"
    jsonschema.validate(json.loads(first.text), bounded(PROMPTER.schema()))
    reply = parse_reply(first.text, PROMPTER.wording, FAMILY.design_model, FAMILY.skills, 2, finish=first.finish)
    assert (reply.usable, reply.problems) == (2, ())
    assert "\n" not in first.text  # no blanks that a model could go on with for ever

    assert [now.read for now in told] == sorted(now.read for now in told)
    assert [now.written for now in told] == sorted(now.written for now in told)
    assert (told[-1].read, told[-1].written) == (first.prompt_tokens, first.completion_tokens)
    assert len(told) > first.completion_tokens / 2

    assert client.complete(CHAT, PROMPTER.schema(), cycle=2).text == first.text
    client.rest()
    assert model_processes() == set()
    hot = make("hot", temperature=1.5)
    drawn = [hot.complete(CHAT, PROMPTER.schema(), cycle=1, draw=draw).text for draw in (0, 1)]
    assert drawn[0] != drawn[1]
    assert make("again", temperature=1.5).complete(CHAT, PROMPTER.schema(), cycle=1).text == drawn[0]


def test_its_calls_count_and_cost_nothing(make: Make, tmp_path: Path) -> None:
    client = make(max_calls=1, max_dollars=0.0)
    client.complete(CHAT, SHORT, cycle=1)
    totals = client.totals()
    assert (totals.calls, totals.cost, totals.cost_known) == (1, 0.0, True)
    assert totals.prompt_tokens > 10
    with pytest.raises(BudgetError):
        client.complete(CHAT, SHORT, cycle=2)
    opened, sent, answered = ledger.read(tmp_path / "llm")
    assert (opened["client"], opened["model"], sent["reserve"], answered["estimated"]) == ("embedded", "tiny", 0, False)


def test_a_cut_answer_and_one_without_the_form_are_recorded_as_such(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make(max_tokens=20)
    assert client.complete(CHAT, SHORT, cycle=1).finish == "length"
    # The library passes over a grammar that it can't read.
    client = make(max_tokens=200)
    unreadable = {"type": "object", "properties": {"a": {"type": "string", "pattern": "((("}}}
    assert client.complete(CHAT, unreadable, cycle=1).finish in ("grammar", "length")

    monkeypatch.setattr(source, "_events", lambda *_: iter(({"content": '{"a', "tokens_predicted": 2}, {"error": {}})))
    broken = client.complete(CHAT, SHORT, cycle=2)
    assert (broken.finish, broken.text) == ("grammar", '{"a')


def test_a_prompt_that_is_too_long_is_not_sent(make: Make, tmp_path: Path) -> None:
    told: list[Writing] = []
    client = make(context=512, max_tokens=400, tell=told.append)
    with pytest.raises(UnavailableError, match=r"\d+ tokens; llm.context=512 less llm.max_tokens=400 leaves 112"):
        client.complete([{"role": "user", "content": "far too long " * 20}], SHORT, cycle=1)
    assert told == []
    assert events(tmp_path / "llm") == ["opened", "sent", "failed"]


def test_a_killed_model_is_started_anew_and_what_had_come_is_a_record(make: Make, tmp_path: Path) -> None:
    def kill() -> None:
        (model,) = model_processes()
        os.kill(model, signal.SIGKILL)

    answer = make(tell=once(kill, 1)).complete(CHAT, LONG, cycle=1)
    assert answer.attempts == 2
    assert events(tmp_path / "llm") == ["opened", "sent", "failed", "sent", "answered"]
    failed = ledger.read(tmp_path / "llm")[2]
    assert failed["status"] == "the model's process ended"
    assert "ended by SIGKILL" in failed["error"]
    (partial,) = (tmp_path / "llm" / "partial").iterdir()
    text = json.loads(partial.read_text())["text"]
    assert answer.text.startswith(text)
    assert 0 < len(text) < len(answer.text)


def test_a_model_that_stalls_is_given_up_and_one_that_writes_is_not(make: Make, tmp_path: Path) -> None:
    def stall() -> None:
        for model in model_processes():
            os.kill(model, signal.SIGSTOP)

    answer = make(tell=once(stall, 1), timeout=3.0).complete(CHAT, LONG, cycle=1)
    assert answer.attempts == 2
    assert [e.get("status") for e in ledger.read(tmp_path / "llm")][2] == "timed out"
    with pytest.raises(UnavailableError, match="no whole answer within 1e-06 s"):
        make("long", total_timeout=1e-6).complete(CHAT, SHORT, cycle=1)
    assert events(tmp_path / "long") == ["opened", "sent", "failed"]  # and never asked anew


def test_a_stopped_run_keeps_what_had_come_as_a_record_only(make: Make, tmp_path: Path) -> None:
    def stop() -> None:
        raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        make(tell=once(stop, 30)).complete(CHAT, SHORT, cycle=1)
    assert model_processes() == set()
    assert not list((tmp_path / "llm" / "calls").glob("*"))
    (partial,) = (tmp_path / "llm" / "partial").iterdir()
    record = json.loads(partial.read_text())
    assert record["why"] == "Stopped: SIGTERM"

    resumed = make().complete(CHAT, SHORT, cycle=1)
    assert resumed.text.startswith(record["text"])
    assert len(record["text"]) < len(resumed.text)
    assert make().complete(CHAT, SHORT, cycle=1) == resumed
    assert events(tmp_path / "llm") == ["opened", "sent", "unknown", "opened", "sent", "answered"]


@pytest.mark.parametrize("at", [0, 20], ids=["reading", "writing"])
def test_a_killed_run_leaves_no_model_behind(at: int, make: Make, tmp_path: Path) -> None:
    child = fork(lambda: make(tell=once(die, at)).complete(CHAT, SHORT, cycle=1))
    assert wait(child) == -signal.SIGKILL
    while model_processes():  # the kernel ends it; that it does is what is tested
        time.sleep(0.01)
    resumed = make()
    answer = resumed.complete(CHAT, SHORT, cycle=1)
    assert (resumed.totals().calls, resumed.totals().unknown) == (2, 1)
    assert make().complete(CHAT, SHORT, cycle=1) == answer
    assert len(list((tmp_path / "llm" / "calls").iterdir())) == 1


def test_one_model_at_a_time(make: Make, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    turn = machine.take_turn(cache / "envgen")
    answers: list[str] = []
    other = threading.Thread(target=lambda: answers.append(make().complete(CHAT, SHORT, cycle=1).text))
    with caplog.at_level(logging.WARNING):
        other.start()
        while "waiting for its turn" not in caplog.text:
            other.join(0.01)
    assert model_processes() == set()
    os.close(turn)
    other.join()
    assert len(answers) == 1
    assert caplog.text.count("waiting for its turn") == 1


def test_a_cache_that_cant_be_written_still_gives_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    os.close(machine.take_turn(tmp_path / "file" / "envgen"))
    assert len(list(tmp_path.glob("envgen-*.lock"))) == 1


@pytest.mark.parametrize("end", [100, 40_000])
def test_weights_that_the_library_refuses(end: int, make: Make, tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny.read_bytes()[:end])
    with pytest.raises(UnavailableError, match=r"the model could not be loaded: .+") as caught:
        make(weights=str(broken)).complete(CHAT, SHORT, cycle=1)
    assert "\n" not in str(caught.value)
    assert events(tmp_path / "llm") == ["opened", "sent", "failed"]


def test_too_little_memory_is_said_before_loading(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_available", lambda: 10**6)
    with pytest.raises(EnvGenError, match=r"needs about 0\.3 GB of memory, 0\.0 GB are free"):
        make().complete(CHAT, SHORT, cycle=1)
    assert events(tmp_path / "llm") == ["opened", "sent", "failed"]
    assert model_processes() == set()


def test_nobody_else_is_answered(make: Make) -> None:
    import httpx

    client = make()
    client.complete(CHAT, SHORT, cycle=1)
    server = client._source._server
    assert server.address.startswith("http://127.0.0.1:")
    for key in ("", "Bearer", "Bearer other"):
        headers = {"Authorization": key, "Origin": "http://example.org"}
        response = httpx.post(f"{server.address}/completion", json={"prompt": "x"}, headers=headers, trust_env=False)
        assert response.status_code == 401
    (model,) = model_processes()
    assert server.key.encode() not in Path(f"/proc/{model}/cmdline").read_bytes()
    assert server.key.encode() not in Path(f"/proc/{model}/environ").read_bytes()


def test_a_whole_run(tiny: Path, tmp_path: Path) -> None:
    """Design, train, feed back and design again; the model is there while it is asked, not while the agent learns."""
    words = ("llm=embedded", f"llm.weights={tiny}", "llm.max_repairs=0", "cycles=2", *SMALL)
    folder = run(tmp_path / "run", *words)
    found = summary(folder)
    assert (found.uses_llm, found.llm_calls, found.cost) == (True, 2, 0.0)
    assert model_processes() == set()
    assert "embedded" in (folder / "report.html").read_text()
