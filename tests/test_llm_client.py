"""The client over litellm's real HTTP path, against a server that misbehaves on demand."""

from __future__ import annotations

import errno
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from llm_server import FAULTS, LLMServer, free_port

from envgen_exp.config import Engine, LLMConfig, LLMKind
from envgen_exp.errors import BudgetError, ConfigError, LLMError, MissingKeyError, RunFolderError, UnavailableError
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.llm import ledger, prices, provider, transport
from envgen_exp.llm.client import Client, check_ready, make_client
from envgen_exp.llm.ledger import Address
from envgen_exp.llm.source import Message

ROOT = Path(__file__).parent.parent
REPLY = '{"designs": [{"target_biome": "mountain"}]}'
ASKED = {"model": "openai/default", "temperature": 0.0, "seed": None, "max_tokens": 99, "schema": None}
CHAT: list[Message] = [{"role": "system", "content": "Design worlds."}, {"role": "user", "content": "Write one."}]
FAMILY = CrafterFamily(CrafterConfig(engine=Engine.reference))


@pytest.fixture(scope="module")
def served() -> Iterator[LLMServer]:
    with LLMServer(lambda messages: REPLY) as server:
        # The first request imports what litellm puts off, which takes longer than the time-outs below.
        provider.Provider(config(server.url, timeout=60.0)).ask({**ASKED, "messages": CHAT}, Address(0, "warm-up", 0))
        yield server


def config(url: str, **changes: Any) -> LLMConfig:
    local = LLMConfig(
        name="local",
        kind=LLMKind.litellm,
        model="openai/default",
        api_base=url,
        timeout=10.0,
        max_attempts=3,
        max_wait=0.02,
        input_price=2.0,
        output_price=10.0,
    )
    return replace(local, **changes)


def client(settings: LLMConfig, folder: Path) -> Client:
    return make_client(settings, folder / "llm", FAMILY, run="test")


def statuses(folder: Path) -> list[str]:
    """How each request in the ledger ended."""
    return [e["status"] for e in ledger.read(folder / "llm") if e["event"] in ("answered", "failed", "unknown")]


# The fault matrix, which docs/llm.md shows as a table


@dataclass(frozen=True)
class Row:
    """What the client does about a fault, with three attempts allowed."""

    fault: str
    script: tuple[str, ...]
    requests: int
    """Requests that the server saw."""
    ledger: tuple[str, ...]
    """How the ledger says that each request ended."""
    shows: str
    """The completion's finish, or a part of the error that the user sees."""
    answered: bool = True
    changes: tuple[tuple[str, Any], ...] = ()
    proxy: bool = False
    """Whether the server, or nobody where the fault is that, stands as a proxy before the model's address."""


SOON = (("timeout", 1.5),)
MATRIX = (
    Row("ok", ("ok",), 1, ("ok",), "stop"),
    Row("429", ("429", "ok"), 2, ("rate limited", "ok"), "stop"),
    Row(
        "429, then for ever", ("429",) * 9, 3, ("rate limited",) * 3, "rate limited (HTTP 429) 3 times", answered=False
    ),
    Row(
        "429 with Retry-After", ("429 after=0.3", "ok"), 2, ("rate limited", "ok"), "stop", changes=(("max_wait", 2.0),)
    ),
    Row("429 with a date", ("429 date=1", "ok"), 2, ("rate limited", "ok"), "stop", changes=(("max_wait", 2.0),)),
    Row("429, Retry-After too long", ("429 after=999",), 1, ("rate limited",), "asks to wait 999 s", answered=False),
    Row("500", ("500", "ok"), 2, ("server error", "ok"), "stop"),
    Row("503", ("503 after=0.01", "500", "ok"), 3, ("server error", "server error", "ok"), "stop"),
    Row("401", ("401",), 1, ("refused the key",), "refused the key (HTTP 401)", answered=False),
    Row("400", ("400",), 1, ("bad request",), "bad request (HTTP 400): This model does not exist", answered=False),
    Row("slow", ("slow for=0.2",), 1, ("ok",), "stop"),
    Row("slow beyond the time-out", ("slow for=4", "ok"), 2, ("timed out", "ok"), "stop", changes=SOON),
    Row("hang", ("hang", "ok"), 2, ("timed out", "ok"), "stop", changes=SOON),
    Row("drip", ("drip every=0.002",), 1, ("ok",), "stop", changes=SOON),
    Row(
        "drip for too long",
        ("drip every=0.02",),
        1,
        ("timed out",),
        "takes longer than it may",
        answered=False,
        changes=(*SOON, ("total_timeout", 2.0)),
    ),
    Row("stall", ("stall", "ok"), 2, ("timed out", "ok"), "stop", changes=SOON),
    Row("half", ("half", "ok"), 2, ("not a completion", "ok"), "stop"),
    Row("no-end", ("no-end", "ok"), 2, ("not a completion", "ok"), "stop"),
    Row("no-done", ("no-done",), 1, ("ok",), "stop"),
    Row("open", ("open",), 1, ("ok",), "stop"),
    Row("in-one", ("in-one",), 1, ("ok",), "stop"),
    Row("cut", ("cut", "ok"), 2, ("connection lost", "ok"), "stop"),
    Row("cut-early", ("cut-early", "ok"), 2, ("connection lost", "ok"), "stop"),
    Row("refused connection", (), 0, ("not connected",) * 3, "not connected 3 times", answered=False),
    Row("bad-json", ("bad-json", "ok"), 2, ("not a completion", "ok"), "stop"),
    Row("no-choices", ("no-choices", "ok"), 2, ("not a completion", "ok"), "stop"),
    Row("empty-choices", ("empty-choices", "ok"), 2, ("not a completion", "ok"), "stop"),
    Row("html", ("html", "html", "html"), 3, ("not a completion",) * 3, "captive portal", answered=False),
    Row(
        "redirect",
        ("redirect to=http://127.0.0.1:9/v1?key=2",),
        1,
        ("redirected",),
        "redirected (HTTP 307): to http://127.0.0.1:9, which",
        answered=False,
    ),
    Row("gzip", ("gzip",), 1, ("ok",), "stop"),
    Row("gzip bomb", ("gzip size=3000000000", "ok"), 2, ("connection lost", "ok"), "stop"),
    Row("brotli", ("brotli",), 1, ("not a completion",), "compressed by br although", answered=False),
    Row(
        "error-200",
        ("error-200",) * 3,
        3,
        ("not a completion",) * 3,
        "an error with HTTP 200: The model is asleep",
        answered=False,
    ),
    Row("refused proxy", (), 0, ("not connected",) * 3, "the proxy 127.0.0.1:", answered=False, proxy=True),
    Row(
        "proxy 407",
        ("407",),
        1,
        ("not connected",),
        "not connected (HTTP 407): the proxy 127.0.0.1:",
        answered=False,
        proxy=True,
    ),
    Row("proxy 502", ("502",) * 3, 3, ("server error",) * 3, "(through the proxy 127", answered=False, proxy=True),
    Row("huge", ("huge size=20000000", "ok"), 2, ("connection lost", "ok"), "stop"),
    Row("empty", ("empty",), 1, ("ok",), "stop"),
    Row("null", ("null",), 1, ("ok",), "stop"),
    Row("length", ("length",), 1, ("ok",), "length"),
    Row("broken", ("broken",), 1, ("ok",), "stop"),
    Row("refusal", ("refusal",), 1, ("ok",), "refusal"),
    Row("no-usage", ("no-usage",), 1, ("ok",), "stop"),
    Row("echo", ("echo", "ok"), 2, ("server error", "ok"), "stop"),
    Row("echo-reply", ("echo-reply",), 1, ("ok",), "stop"),
    Row("bad-usage", ("bad-usage prompt=-5 completion=1e308",), 1, ("ok",), "stop"),
    Row("named-cost", ("named-cost",), 1, ("ok",), "stop"),
    Row("parts", ("parts",), 1, ("ok",), "stop"),
    Row("reasoning", ("reasoning",), 1, ("ok",), "stop"),
    Row("cut-thinking", ("cut-thinking",), 1, ("ok",), "length"),
    Row(
        "400 that names stream",
        ("400 names=stream", "ok"),
        2,
        ("refused a parameter", "ok"),
        "stop",
        changes=(("model", "openai/matrix-in-one"), ("max_attempts", 1)),
    ),
    Row(
        "400 that names a parameter",
        ("400 names=temperature", "ok"),
        2,
        ("refused a parameter", "ok"),
        "stop",
        changes=(("model", "openai/matrix"), ("max_attempts", 1)),
    ),
)


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.fault)
def test_fault_matrix(row: Row, server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script(*row.script)
    url = f"http://127.0.0.1:{free_port()}/v1" if row.fault.startswith("refused") else server.url
    if row.proxy:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        url = "http://model.invalid/v1"
    asking = client(config(url, **dict(row.changes)), tmp_path)
    start = time.monotonic()
    if row.answered:
        completion = asking.complete(CHAT, cycle=1)
        assert completion.finish == row.shows
        assert completion.attempts == row.requests
    else:
        with pytest.raises(UnavailableError) as caught:
            asking.complete(CHAT, cycle=1)
        assert row.shows in str(caught.value)
        assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 20
    assert len(server.seen) == row.requests
    assert statuses(tmp_path) == list(row.ledger)
    # What never reached the server is the only difference allowed between ledger and server.
    arrived = [status for status in statuses(tmp_path) if status != "not connected"]
    assert len(arrived) == len(server.seen) or row.proxy
    assert asking.totals().calls == len(row.ledger)


def test_every_fault_is_in_the_matrix_and_the_documentation_shows_it_as_it_is() -> None:
    assert {word.split()[0] for row in MATRIX for word in row.script} == set(FAULTS)
    text = (ROOT / "docs" / "llm.md").read_text()
    shown = re.findall(r"^\| ([^|]+) \| [^|]+ \| (\d+) \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    assert [(fault, int(requests), outcome) for fault, requests, outcome in shown] == [
        (row.fault, row.requests, ", ".join(row.ledger)) for row in MATRIX
    ]


def test_retry_after_is_waited_for(server: LLMServer, tmp_path: Path) -> None:
    server.script("429 after=0.4", "ok")
    client(config(server.url, max_wait=1.0), tmp_path).complete(CHAT, cycle=1)
    assert server.seen[1].at - server.seen[0].at >= 0.4


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after_header(value: str, seconds: float | None) -> None:
    assert transport.retry_after(value) == seconds


def test_a_wait_is_announced(server: LLMServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.script("503", "ok")
    with caplog.at_level(logging.WARNING):
        client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    assert "llm=local: server error (The server is overloaded); next attempt in" in caplog.text


# What is sent and what comes back


def test_a_request_as_the_server_sees_it(server: LLMServer, tmp_path: Path) -> None:
    asking = client(config(server.url, temperature=0.3, seed=7, max_tokens=99), tmp_path)
    completion = asking.complete(CHAT, {"type": "object"}, cycle=1)
    body = server.seen[0].body
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("default", 0.3, 7, 99)
    assert body["messages"] == CHAT
    # Nobody knows whether this model can be held to a schema, so the server is asked.
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert completion.text == REPLY
    assert completion.model == "default"
    assert completion.cost == pytest.approx((completion.prompt_tokens * 2 + completion.completion_tokens * 10) / 1e6)


@pytest.mark.parametrize("model", ["openai/gpt-4o", "openai/gpt-4", "openai/nobody-s"])
def test_structured_output_where_the_model_supports_it(server: LLMServer, tmp_path: Path, model: str) -> None:
    """A name says nothing of what stands behind an address: litellm's table has no schema for gpt-4."""
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    client(config(server.url, model=model), tmp_path / "a").complete(CHAT, schema, cycle=1)
    client(config(server.url, model=model, structured=False), tmp_path / "b").complete(CHAT, schema, cycle=1)
    asked, plain = (seen.body for seen in server.seen)
    assert asked["response_format"]["type"] == "json_schema"
    assert asked["response_format"]["json_schema"]["schema"] == schema
    assert "response_format" not in plain


def test_a_provider_s_key_is_not_sent_to_another_server(
    server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdefgh")
    monkeypatch.setenv("MY_SERVER", "token-of-my-server-42")
    client(config(server.url), tmp_path / "a").complete(CHAT, cycle=1)
    client(config(server.url, key_variable="MY_SERVER"), tmp_path / "b").complete(CHAT, cycle=1)
    headers = [seen.headers["Authorization"] for seen in server.seen]
    assert headers == ["Bearer none", "Bearer token-of-my-server-42"]


def test_tokens_are_counted_here_where_the_server_does_not(server: LLMServer, tmp_path: Path) -> None:
    server.script("no-usage")
    completion = client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    assert completion.prompt_tokens == prices.count_tokens(CHAT) > 8
    assert completion.completion_tokens == prices.count_text(REPLY) > 8
    (answered,) = (e for e in ledger.read(tmp_path / "llm") if e["event"] == "answered")
    assert answered["estimated"] is True


def test_a_long_text_is_kept_in_part(server: LLMServer, tmp_path: Path) -> None:
    server.script("huge size=1000000")
    assert len(client(config(server.url), tmp_path).complete(CHAT, cycle=1).text) == provider.MAX_TEXT


def test_half_a_character_does_not_spoil_the_chat(tmp_path: Path) -> None:
    with LLMServer(lambda messages: "broken \ud83d face") as own:
        asking = client(config(own.url), tmp_path)
        text = asking.complete(CHAT, cycle=1).text
        assert text == "broken ? face"
        asking.complete([*CHAT, {"role": "assistant", "content": text}], cycle=2)


# Ledger, caps, and what an earlier process has bought


def test_a_finished_call_is_not_bought_twice(server: LLMServer, tmp_path: Path) -> None:
    first = client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    other = client(config(server.url), tmp_path).complete(CHAT, cycle=2)
    again = client(config(server.url), tmp_path)
    assert again.complete(CHAT, cycle=1) == first
    assert again.complete(CHAT, cycle=2) == other
    assert len(server.seen) == 2
    # The same question a second time in one process is a second call, another question too.
    assert again.complete(CHAT, cycle=1).call == 3
    assert again.complete(CHAT[:1], cycle=3).call == 4
    assert len(server.seen) == 4
    assert again.totals().calls == 4


def test_every_field_that_a_ledger_line_owes(server: LLMServer, tmp_path: Path) -> None:
    server.script("500", "ok")
    completion = client(config(server.url), tmp_path).complete(CHAT, cycle=2, purpose="repair")
    events = ledger.read(tmp_path / "llm")
    assert [event["event"] for event in events] == ["opened", "sent", "failed", "sent", "answered"]
    assert all(event["run"] == "test" for event in events)
    sent, failed, again, answered = events[1:]
    assert (sent["cycle"], sent["purpose"], sent["position"]) == (2, "repair", 0)
    assert (sent["call"], sent["attempt"], again["call"], again["attempt"]) == (1, 1, 1, 2)
    assert sent["request"] == again["request"]
    assert (failed["status"], failed["http"]) == ("server error", 500)
    assert answered["prompt_tokens"] == completion.prompt_tokens
    assert answered["cost"] == completion.cost
    assert answered["seconds"] == completion.seconds > 0
    record = json.loads((tmp_path / "llm" / answered["file"]).read_text())
    assert record["request"]["messages"] == CHAT
    assert record["answer"]["text"] == REPLY


def test_the_ledger_is_on_disk_before_the_request_arrives(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def reply(messages: list[dict[str, str]]) -> str:
        seen.append([event["event"] for event in ledger.read(tmp_path / "llm")])
        return REPLY

    with LLMServer(reply) as own:
        client(config(own.url), tmp_path).complete(CHAT, cycle=1)
    assert seen == [["opened", "sent"]]


def test_max_calls_holds_across_resumes_and_retries(server: LLMServer, tmp_path: Path) -> None:
    capped = config(server.url, max_calls=3)
    server.script("ok", "500")
    client(capped, tmp_path).complete(CHAT, cycle=1)
    client(capped, tmp_path).complete(CHAT, cycle=2)
    with pytest.raises(BudgetError, match=r"llm\.max_calls=3: the run has sent 3 requests"):
        client(capped, tmp_path).complete(CHAT, cycle=3)
    assert len(server.seen) == 3
    server.script("500", "500", "500")
    other = tmp_path / "other"
    with pytest.raises(BudgetError):
        client(config(server.url, max_calls=2), other).complete(CHAT, cycle=1)
    assert len(server.seen) == 2
    # A call that an earlier process finished is free.
    client(capped, tmp_path).complete(CHAT, cycle=1)


def test_max_dollars_is_kept_by_the_worst_case(server: LLMServer, tmp_path: Path) -> None:
    worst = prices.most_cost(config(server.url), CHAT)
    assert worst is not None
    real = client(config(server.url), tmp_path / "a").complete(CHAT, cycle=1).cost
    assert real is not None
    assert real < worst
    capped = config(server.url, max_dollars=worst + real * 1.5)
    asking = client(capped, tmp_path / "b")
    asking.complete(CHAT, cycle=1)
    asking.complete(CHAT, cycle=2)
    with pytest.raises(BudgetError, match=r"llm\.max_dollars=.* it is not sent"):
        asking.complete(CHAT, cycle=3)
    assert asking.totals().cost == pytest.approx(2 * real)


def test_a_request_that_may_have_been_billed_counts_against_the_cap(server: LLMServer, tmp_path: Path) -> None:
    worst = prices.most_cost(config(server.url), CHAT)
    assert worst is not None
    server.script("cut", "ok")
    asking = client(config(server.url, max_dollars=1.9 * worst), tmp_path)
    with pytest.raises(BudgetError):
        asking.complete(CHAT, cycle=1)
    assert len(server.seen) == 1
    assert asking.totals().cost_known is False


def test_an_unknown_price_is_said_to_be_unknown(server: LLMServer, tmp_path: Path) -> None:
    unknown = config(server.url, input_price=None, output_price=None)
    asking = client(unknown, tmp_path)
    assert asking.complete(CHAT, cycle=1).cost is None
    assert asking.totals().cost_known is False
    with pytest.raises(ConfigError, match=r"llm\.max_dollars=1.0 can't be kept.*llm\.input_price"):
        check_ready(replace(unknown, max_dollars=1.0))
    check_ready(replace(config(server.url), max_dollars=1.0))


def test_a_known_price_comes_from_litellm(server: LLMServer, tmp_path: Path) -> None:
    known = config(server.url, model="openai/gpt-4o", input_price=None, output_price=None)
    completion = client(known, tmp_path).complete(CHAT, cycle=1)
    price = prices.prices(known)
    assert price is not None
    assert completion.cost == pytest.approx(price.cost(completion.prompt_tokens, completion.completion_tokens))


def test_a_damaged_ledger_is_refused_and_a_torn_end_is_not(server: LLMServer, tmp_path: Path) -> None:
    client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    file = tmp_path / "llm" / "ledger.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"run": "test", "event": "se')
    assert client(config(server.url), tmp_path).totals().calls == 1
    assert file.read_bytes() == whole
    file.write_bytes(whole.replace(b'"event"', b'"ev', 1))
    with pytest.raises(RunFolderError, match=r"ledger\.jsonl line 1 is damaged"):
        client(config(server.url), tmp_path)


def test_an_answer_for_which_there_is_no_room_is_unknown_and_counted(
    server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    asking = client(config(server.url), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(RunFolderError, match="no disk space left"):
            asking.complete(CHAT, cycle=1)
    again = client(config(server.url), tmp_path)
    assert statuses(tmp_path) == ["unknown"]
    again.complete(CHAT, cycle=1)
    assert again.totals().calls == len(server.seen) == 2


def test_an_interrupted_request_is_unknown_and_counted(
    server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = client(config(server.url), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(provider.Provider, "ask", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            asking.complete(CHAT, cycle=1)
    assert statuses(tmp_path) == ["unknown"]
    totals = asking.totals()
    assert (totals.calls, totals.unknown, totals.cost_known) == (1, 1, False)
    client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    assert statuses(tmp_path) == ["unknown", "ok"]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# Before the run


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai/gpt-4o", "OPENAI_API_KEY"),
        ("gpt-4o", "OPENAI_API_KEY"),
        ("anthropic/claude-sonnet-4-6", "ANTHROPIC_API_KEY"),
        ("gemini/gemini-2.5-pro", "GEMINI_API_KEY"),
        ("cohere/command-r", "COHERE_API_KEY"),
    ],
)
def test_a_missing_key_is_named(model: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "COHERE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    asked = LLMConfig(name="x", model=model)
    with pytest.raises(MissingKeyError, match=f"set the environment variable {variable}.*llm=offline needs none"):
        check_ready(asked)
    monkeypatch.setenv(variable, "some-key-0123")
    check_ready(asked)


def test_the_key_variable_can_be_named_and_a_server_of_one_s_own_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(MissingKeyError, match="MY_KEY"):
        check_ready(LLMConfig(name="x", model="openai/x", api_base="http://127.0.0.1:1/v1", key_variable="MY_KEY"))
    check_ready(LLMConfig(name="x", model="openai/x", api_base="http://127.0.0.1:1/v1"))
    check_ready(LLMConfig(name="x", kind=LLMKind.offline))


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"llm\.model=nonsense/model: litellm knows no such provider"):
        check_ready(LLMConfig(name="x", model="nonsense/model"))


def test_checking_the_key_sends_one_request_that_is_counted(server: LLMServer, tmp_path: Path) -> None:
    checked = client(config(server.url, check_key=True), tmp_path)
    assert len(server.seen) == 1
    assert checked.totals().calls == 1
    assert client(config(server.url, check_key=True), tmp_path).totals().calls == 2  # each process its own
    server.script("401")
    with pytest.raises(LLMError, match="refused the key"):
        client(config(server.url, check_key=True), tmp_path / "other")


def test_the_plan_knows_the_cost_before_the_first_request() -> None:
    asked = LLMConfig(name="gpt4o", model="openai/gpt-4o")
    expected = prices.expected_cost(asked, CHAT, CHAT[1:], REPLY, calls=4)
    first, more, reply = prices.count_tokens(CHAT), prices.count_tokens(CHAT[1:]) + 4, prices.count_text(REPLY)
    assert expected.calls == 4
    assert expected.prompt_tokens == 4 * first + 6 * (more + reply)
    assert expected.completion_tokens == 4 * reply
    assert expected.cost == pytest.approx(expected.prompt_tokens * 2.5e-6 + expected.completion_tokens * 1e-5)
    assert prices.expected_cost(replace(asked, model="openai/none-such"), CHAT, CHAT, REPLY, calls=1).cost is None


def test_litellm_is_imported_with_the_first_request_only(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from envgen_exp.config import DesignerConfig, Engine, LLMConfig, LLMKind
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.designers import make_designer
from envgen_exp.designers.means import Means
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.llm import prices
from envgen_exp.llm.client import check_ready, make_client
family = CrafterFamily(CrafterConfig(engine=Engine.reference))
for config in (LLMConfig(name="offline", kind=LLMKind.offline), LLMConfig(name="x", model="openai/gpt-4o")):
    check_ready(config)
    client = make_client(config, Path({str(tmp_path)!r}) / config.name, family, run="r")
    designer = make_designer(DesignerConfig(name="adaptive", num_designs=1), Means(family, client))
    first, feedback = designer.preview()
    prices.expected_cost(config, first, feedback, "x", calls=4)
make_client(LLMConfig(name="offline", kind=LLMKind.offline), Path({str(tmp_path)!r}), family, run="r").complete(
    first, cycle=1
)
assert "litellm" not in sys.modules, "imported"
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/usr/bin:/bin", "OPENAI_API_KEY": "some-key-0123"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
