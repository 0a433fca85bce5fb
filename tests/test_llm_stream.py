"""Answers token by token: every protocol's stream becomes the answer that would have come in one piece, or none."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_server import LLMServer
from runs import fork, wait
from test_llm_client import CHAT, FAMILY, REPLY, client, config, statuses

from envgen_exp.config import LLMConfig
from envgen_exp.errors import UnavailableError
from envgen_exp.guard.reading import read_json
from envgen_exp.llm import ledger, prices
from envgen_exp.llm.client import make_client
from envgen_exp.llm.source import Writing
from envgen_exp.llm.stream import Anthropic, Gemini, Ollama, OpenAI, put_together
from envgen_exp.llm.transport import server_error

MODELS = ("openai/s", "azure/s", "mistral/s", "anthropic/s", "gemini/s", "ollama_chat/s")
"""One for each way to a server, and one for each protocol at least."""

WHOLES = (OpenAI, Anthropic, Gemini, Ollama)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMServer]:
    with LLMServer(lambda messages: REPLY * 5) as server:
        # The first request imports what litellm puts off; no time-out of a test is for that.
        warm = LLMConfig("x", model="openai/default", api_base=server.url, timeout=300.0)
        for model in ("openai/default", "ollama_chat/s"):  # of the second, litellm asks once what it can do
            asked = replace(warm, model=model, api_base=address(model, server))
            make_client(asked, tmp_path_factory.mktemp("warm"), FAMILY, run="test").complete(CHAT, cycle=1)
        yield server


def address(model: str, server: LLMServer) -> str:
    return server.url.removesuffix("/v1") if model.startswith(("ollama", "anthropic", "gemini")) else server.url


@pytest.mark.parametrize("model", MODELS)
def test_every_protocol_streams_and_the_answer_is_whole(
    model: str, server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVER", "token-of-my-server-42")
    asked = config(address(model, server), model=model, key_variable="MY_SERVER")
    server.script("drip every=0.0005")
    heard: list[Writing] = []
    answer = make_client(asked, tmp_path / "llm", FAMILY, run="test", tell=heard.append).complete(CHAT, cycle=1)
    assert (answer.text, answer.finish, answer.attempts) == (REPLY * 5, "stop", 1)
    assert answer.prompt_tokens >= prices.count_tokens(CHAT)
    assert answer.completion_tokens >= prices.count_text(REPLY * 5)
    (seen,) = (seen for seen in server.seen if not seen.path.endswith("/api/show"))
    assert seen.body.get("stream") is True or seen.path.partition("?")[0].endswith(":streamGenerateContent")
    assert not (tmp_path / "llm" / "partial").exists()
    # Whoever waits sees it grow; the tokens are guessed from its length until the server counts them.
    written = [now.written for now in heard]
    assert written == sorted(written)
    assert len(set(written)) > 4
    assert written[-1] == len(REPLY * 5) // 4
    assert {now.read for now in heard} == {prices.count_tokens(CHAT)}


@pytest.mark.parametrize("model", ["openai/s", "anthropic/s", "gemini/s", "ollama_chat/s"])
def test_a_stream_that_breaks_off_is_no_answer_in_any_protocol(
    model: str, server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it ends: too early between two events, inside one, by a reset, by silence."""
    monkeypatch.setenv("MY_SERVER", "token-of-my-server-42")
    asked = config(address(model, server), model=model, key_variable="MY_SERVER", timeout=1.5, max_attempts=4)
    faults = ("no-end", "half", "cut", "stall")
    server.script(*faults)
    with pytest.raises(UnavailableError):
        client(asked, tmp_path).complete(CHAT, cycle=1)
    assert statuses(tmp_path) == ["not a completion", "not a completion", "connection lost", "timed out"]
    assert client(asked, tmp_path).complete(CHAT, cycle=1).text == REPLY * 5
    # What had come is kept, and was never served.
    texts = [read_json(file)["text"] for file in sorted((tmp_path / "llm" / "partial").iterdir())]
    assert 1 <= len(texts) <= len(faults)
    assert all((REPLY * 5).startswith(text) and text for text in texts)
    assert [event["billed"] for event in ledger.read(tmp_path / "llm") if event["event"] == "failed"] == [True] * 4


def test_a_server_that_produces_is_not_asked_anew(server: LLMServer, tmp_path: Path) -> None:
    """The whole answer takes many times llm.timeout; only beyond llm.total_timeout it is given up, once and for all."""
    server.script("drip every=0.004")
    begun = time.monotonic()
    client(config(server.url, timeout=1.0), tmp_path / "a").complete(CHAT, cycle=1)
    assert time.monotonic() - begun > 3
    assert len(server.seen) == 1
    server.script("drip every=0.006")
    with pytest.raises(UnavailableError, match=r"timed out.*takes longer than it may"):
        client(config(server.url, timeout=1.0, total_timeout=6.0), tmp_path / "b").complete(CHAT, cycle=1)
    assert len(server.seen) == 1
    (partial,) = (tmp_path / "b" / "llm" / "partial").iterdir()
    assert (REPLY * 5).startswith(read_json(partial)["text"])


def test_a_stopped_run_keeps_what_had_come_as_a_record_only(server: LLMServer, tmp_path: Path) -> None:
    asked = config(server.url, timeout=60.0)
    server.script("stall")
    child = fork(lambda: client(asked, tmp_path).complete(CHAT, cycle=1))
    while not server.seen:
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(child, signal.SIGINT)
    assert wait(child) != 0
    (partial,) = (tmp_path / "llm" / "partial").iterdir()
    record = read_json(partial)
    assert record["why"] == "KeyboardInterrupt: "
    assert record["request"]["messages"] == CHAT
    assert (REPLY * 5).startswith(record["text"])
    assert not list((tmp_path / "llm" / "calls").glob("*"))
    asking = client(asked, tmp_path)
    assert asking.complete(CHAT, cycle=1).text == REPLY * 5
    assert statuses(tmp_path) == ["unknown", "ok"]
    assert (asking.totals().calls, asking.totals().unknown) == (2, 1)


def test_a_secret_that_comes_in_two_tokens_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "token-of-my-server-42"
    monkeypatch.setenv("MY_SERVER", key)
    text = f"{'x' * 30}{key}{'y' * 200}"  # pieces have 40 characters
    with LLMServer(lambda messages: text) as own:
        own.script("stall", "ok")
        asked = config(own.url, key_variable="MY_SERVER", timeout=1.5)
        assert client(asked, tmp_path).complete(CHAT, cycle=1).text == text.replace(key, "[MY_SERVER]")
    written = "".join(file.read_text() for file in (tmp_path / "llm").rglob("*.json*"))
    assert "[MY_SERVER]" in written
    assert key not in written
    (partial,) = (tmp_path / "llm" / "partial").iterdir()
    assert "[MY_SERVER]" in read_json(partial)["text"] or key[:5] not in read_json(partial)["text"]


@pytest.mark.parametrize(("name", "left"), [("stream", set()), ("stream_options", {"stream"})])
def test_what_a_server_refuses_of_a_stream_is_left_out_once_and_nothing_is_bought_twice(
    name: str, left: set[str], server: LLMServer, tmp_path: Path
) -> None:
    asked = config(server.url, model=f"openai/refuses-{name}", max_attempts=1, max_calls=3)
    server.script(f"400 names={name}")
    asking = client(asked, tmp_path)
    assert [asking.complete(CHAT, cycle=cycle).text for cycle in (1, 2)] == [REPLY * 5] * 2
    assert statuses(tmp_path) == ["refused a parameter", "ok", "ok"]
    assert {"stream", "stream_options"} <= server.seen[0].body.keys()
    for seen in server.seen[1:]:
        assert {key for key in ("stream", "stream_options") if key in seen.body} == left
    failed = next(event for event in ledger.read(tmp_path / "llm") if event["event"] == "failed")
    assert f"{name} is left out from now on" in failed["error"]
    assert failed["billed"] is False


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=12))
def test_an_answer_is_the_same_wherever_its_bytes_are_cut(cuts: list[int]) -> None:
    data = b": a comment\r\n\r\n" + sse(chunk(content="gr\u00fc\u00df"), chunk(content=" dich"), chunk("stop"))
    data = data.replace(b"\n", b"\r\n") + b"data: [DONE]"
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces: list[str] = []
    whole = json.loads(put_together((data[a:b] for a, b in itertools.pairwise(ends)), OpenAI(), pieces))
    assert whole["choices"][0]["message"]["content"] == "".join(pieces) == "gr\u00fc\u00df dich"


KEYS = (
    "choices",
    "delta",
    "content",
    "text",
    "type",
    "index",
    "message",
    "content_block",
    "usage",
    "candidates",
    "parts",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(events=st.lists(JSON, max_size=4), number=st.integers(0, 3), types=st.booleans())
def test_whatever_is_streamed_makes_an_answer_or_a_value_error(events: list[Any], number: int, types: bool) -> None:
    kinds = ("message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop")
    if types:
        events = [{**event, "type": kinds[at % 5]} for at, event in enumerate(events) if isinstance(event, dict)]
    with contextlib.suppress(ValueError):
        data = put_together([sse(*events), b"data: [DONE]\n"], WHOLES[number](), [])
        assert isinstance(json.loads(data), dict)


def test_thoughts_and_tools_come_whole() -> None:
    openai = [chunk(reasoning_content="hm"), chunk(reasoning_content="m"), chunk("length", refusal="No.")]
    message = json.loads(put_together([sse(*openai)], OpenAI(), []))["choices"][0]
    assert message["message"] == {"role": "assistant", "content": None, "reasoning_content": "hmm", "refusal": "No."}
    assert message["finish_reason"] == "length"
    blocks = [
        {"type": "thinking", "thinking": ""},
        {"type": "tool_use", "id": "t", "name": "json_tool_call", "input": {}},
    ]
    deltas = [{"thinking": "hm"}, {"signature": "s"}], [{"partial_json": '{"a"'}, {"partial_json": ": 1}"}]
    events: list[Any] = [{"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas[index]]
    events += [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}}]
    pieces: list[str] = []
    whole = json.loads(put_together([sse(*events, {"type": "message_stop"})], Anthropic(), pieces))
    assert whole["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert whole["content"][1]["input"] == {"a": 1}
    assert (whole["stop_reason"], whole["usage"]) == ("tool_use", {"input_tokens": 3, "output_tokens": 7})
    assert pieces == ['{"a"', ": 1}"]
    # Cut off, a tool's input is what there is of it.
    cut = [event for event in events if event.get("delta") != {"partial_json": ": 1}"}]
    whole = json.loads(put_together([sse(*cut, {"type": "message_stop"})], Anthropic(), []))
    assert whole["content"][1] == {"type": "text", "text": '{"a"'}


@pytest.mark.parametrize("whole", WHOLES)
def test_an_error_in_mid_stream_is_an_error_in_the_server_s_words(whole: Any) -> None:
    event = {"type": "error", "error": {"message": "The model fell asleep"}}
    data = put_together([sse(event, chunk(content="never read"))], whole(), [])
    assert server_error(data) == "The model fell asleep"


def test_twice_the_pieces_take_about_twice_the_time() -> None:
    def seconds(count: int) -> float:
        event = sse(chunk(content="word"))
        begun = time.process_time()
        # No line ends for long, and many short ones do.
        put_together([*[b"x"] * count, b"\n", *[event] * (count // 10), sse(chunk("stop"))], OpenAI(), [])
        return time.process_time() - begun

    seconds(1000)
    assert seconds(200_000) < 4 * max(seconds(100_000), 0.05)
