"""What a server says of its own answers is checked: counts, costs, forms; and an answer that was paid for is kept."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_server import LLMServer
from test_llm_client import CHAT, FAMILY, REPLY, client, config, statuses

from envgen_exp.config import LLMConfig, Prompt
from envgen_exp.errors import BudgetError, RunFolderError, UnavailableError
from envgen_exp.llm import body, ledger, parameters, prices, provider, transport
from envgen_exp.llm.client import RecordedClient
from envgen_exp.llm.ledger import Address, Ledger
from envgen_exp.llm.prompt import Prompter
from envgen_exp.llm.reply import parse_reply
from envgen_exp.llm.source import Answer


@pytest.fixture(scope="module")
def served() -> Iterator[LLMServer]:
    with LLMServer(lambda messages: REPLY) as server:
        yield server


PRICE = prices.Prices(2e-6, 10e-6)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.integers(0, 100_000)
    | st.floats()
    | st.sampled_from(["12", "many", 1e308]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


# Counts and costs


class Says(provider.Provider):
    """A provider whose answers name these counts and this cost."""

    said: tuple[Any, Any, Any] = (0, 0, 0)

    def ask(self, request: Any, address: Address) -> Answer:
        prompt, completion, cost = self.said
        return self._answer(
            SimpleNamespace(
                choices=[SimpleNamespace(message=SimpleNamespace(content=REPLY), finish_reason="stop")],
                usage=SimpleNamespace(prompt_tokens=prompt, completion_tokens=completion, cost=cost),
                _hidden_params={"response_cost": cost},
            ),
            request,
            0.1,
        )


@settings(max_examples=25, deadline=None)
@given(own_price=st.booleans(), said=st.lists(st.tuples(ANYTHING, ANYTHING, ANYTHING), min_size=1, max_size=3))
def test_no_counts_and_costs_make_what_is_spent_fall_or_less_than_our_own_count(
    own_price: bool, said: list[tuple[Any, Any, Any]]
) -> None:
    """`gpt-4o` costs per token what PRICE says of it, or what litellm's table does."""
    asked = config("http://127.0.0.1:1/v1", model="openai/gpt-4o")
    if not own_price:
        asked = LLMConfig(**{**vars(asked), "input_price": None, "output_price": None})
    price = PRICE if own_price else prices.prices(asked)
    assert price is not None
    least = price.cost(prices.count_tokens(CHAT), prices.count_text(REPLY))
    most = price.cost(body.MOST_TOKENS, body.MOST_TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        book, source = Ledger(Path(folder), "run"), Says(asked)
        asking = RecordedClient(asked, source, book)
        spent = 0.0
        for cycle, source.said in enumerate(said):
            asking.complete(CHAT, cycle=cycle)
            assert spent + least * 0.999 <= book.committed() <= spent + most * 1.001
            spent = book.committed()
        assert Ledger(Path(folder), "run").committed() == spent
        assert asking.totals().cost == pytest.approx(spent)


@given(usage=ANYTHING | st.fixed_dictionaries({"prompt_tokens": ANYTHING, "completion_tokens": ANYTHING}))
def test_litellm_sees_two_whole_numbers_or_none(usage: Any) -> None:
    sent = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    kept = json.loads(body.plain(json.dumps(sent).encode())).get("usage")
    assert kept is None or all(
        type(kept[name]) is int and 0 <= kept[name] <= body.MOST_TOKENS
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("-5", "-7"), ("1.5", "2"), ("1e308", "1"), ('"12"', "true"), ("[]", "NaN"), ("9", "1" * 30)],
)
def test_counts_that_are_no_counts_are_noted_and_done_here(
    prompt: str, completion: str, server: LLMServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.script(f"bad-usage prompt={prompt} completion={completion}")
    answer = client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    assert len(server.seen) == 1
    assert (answer.prompt_tokens, answer.completion_tokens) == (prices.count_tokens(CHAT), prices.count_text(REPLY))
    assert answer.cost == PRICE.cost(answer.prompt_tokens, answer.completion_tokens)
    assert ledger.read(tmp_path / "llm")[-1]["estimated"] is True
    assert caplog.text.count("they are counted here") == 1


def test_the_larger_count_and_our_price_are_what_counts(server: LLMServer, tmp_path: Path) -> None:
    server.script("bad-usage prompt=5000 completion=1", "bad-usage prompt=1 completion=90000", "named-cost")
    known = config(server.url, model="openai/gpt-4o", input_price=None, output_price=None)
    asking = client(known, tmp_path)
    own = prices.count_tokens(CHAT), prices.count_text(REPLY)
    price = prices.prices(known)
    assert price is not None
    for cycle, counts in enumerate([(5000, own[1]), (own[0], 90000), own]):
        answer = asking.complete(CHAT, cycle=cycle)
        assert (answer.prompt_tokens, answer.completion_tokens) == counts
        assert answer.cost == price.cost(*counts)
    # A price that came later counts for what was bought without one.
    unpriced = config(server.url, input_price=None, output_price=None)
    for cycle in (1, 2):
        client(unpriced, tmp_path / "later").complete(CHAT, cycle=cycle)
    capped = config(server.url, input_price=1e6, output_price=1e6, max_dollars=own[0] + own[1])
    with pytest.raises(BudgetError, match=rf"\${2 * sum(own)}\.0000 are spent or may be"):
        client(capped, tmp_path / "later").complete(CHAT, cycle=3)
    # The second cost more than the most that it should have: what was spent counts.
    reserve = prices.most_cost(known, CHAT)
    assert reserve is not None
    assert Ledger(tmp_path / "llm", "test").committed() == asking.totals().cost > 3 * reserve


def test_a_schema_is_part_of_the_most_that_a_request_can_cost() -> None:
    asked = provider.Provider(config("http://127.0.0.1:1/v1"))
    plain, held = (asked.reserve(asked.request(CHAT, schema)) for schema in (None, {"type": "object"}))
    assert plain is not None
    assert held is not None
    assert held > plain


# Forms of an answer


def test_a_text_in_parts_is_one_text(server: LLMServer, tmp_path: Path) -> None:
    server.script("parts")
    assert client(config(server.url), tmp_path).complete(CHAT, cycle=1).text == REPLY
    assert len(server.seen) == 1


@pytest.mark.parametrize("fault", ["reasoning", "cut-thinking"])
def test_thoughts_without_an_answer_are_counted_and_named(
    fault: str, server: LLMServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.script(fault)
    answer = client(config(server.url, max_tokens=99), tmp_path).complete(CHAT, cycle=1)
    thought = prices.count_text(REPLY)
    assert (answer.text, answer.reasoning, answer.completion_tokens) == ("", thought, thought)
    (record,) = (tmp_path / "llm" / "calls").iterdir()
    assert json.loads(record.read_text())["answer"]["reasoning"] == thought
    problem = _problem("", answer.finish, answer.reasoning)
    assert f"{thought} tokens of reasoning" in problem
    for text in (problem, caplog.text):
        assert ("llm.max_tokens" in text) == (fault == "cut-thinking")


def test_thoughts_in_the_text_itself_are_thoughts(tmp_path: Path) -> None:
    with LLMServer(lambda messages: "<think>First I wonder") as own:
        own.script("length")
        answer = client(config(own.url), tmp_path).complete(CHAT, cycle=1)
    assert answer.reasoning == answer.completion_tokens == prices.count_text(answer.text)
    assert "tokens of reasoning; think less" in _problem(answer.text, answer.finish, answer.reasoning)


def _problem(text: str, finish: str, reasoning: int) -> str:
    prompter = Prompter(FAMILY, Prompt.paper, 1)
    reply = parse_reply(
        text, prompter.wording, FAMILY.design_model, FAMILY.skills, 1, finish=finish, reasoning=reasoning
    )
    (problem,) = reply.problems
    return str(problem)


# Parameters that a server does not take


def test_what_a_refusal_names_is_left_out_or_renamed_once_for_the_whole_process(
    server: LLMServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("max_tokens", "temperature", "seed", "response_format")
    asked = config(server.url, model="openai/strict", seed=3, max_attempts=1)
    server.script(*(f"400 names={name}" for name in names))
    schema = {"type": "object"}
    first = client(asked, tmp_path).complete(CHAT, schema, cycle=1)
    assert (first.text, first.attempts) == (REPLY, 5)
    assert statuses(tmp_path) == ["refused a parameter"] * 4 + ["ok"]
    failed = [event for event in ledger.read(tmp_path / "llm") if event["event"] == "failed"]
    assert failed[0]["error"].startswith("max_tokens is sent as max_completion_tokens from now on: Unsupported")
    assert failed[1]["error"].startswith("temperature is left out from now on")
    assert not any(event["billed"] for event in failed)
    assert "seed is left out from now on" in caplog.text
    again = client(asked, tmp_path)
    assert again.complete(CHAT, schema, cycle=1) == first
    again.complete(CHAT, schema, cycle=2)
    assert len(server.seen) == again.totals().calls == 6
    sent = server.seen[-1].body
    assert sent["max_completion_tokens"] == asked.max_tokens
    assert not sent.keys() & set(names)


def test_a_parameter_is_refused_once_only_and_a_length_is_never_left_out(server: LLMServer, tmp_path: Path) -> None:
    asked = config(server.url, model="openai/stricter")
    server.script("400 names=max_tokens", "500", "400 names=max_completion_tokens")
    with pytest.raises(UnavailableError, match="bad request"):
        client(asked, tmp_path).complete(CHAT, cycle=1)
    assert statuses(tmp_path) == ["refused a parameter", "server error", "bad request"]


@pytest.mark.parametrize(
    ("said", "param", "found"),
    [
        ("[{'loc': ['body', 'seed'], 'msg': 'extra fields not permitted'}]", None, "seed is left out"),
        ("This response_format type is unavailable now", None, "response_format is left out"),
        ("json_schema is not supported", None, "response_format is left out"),
        ("Invalid schema", "response_format.json_schema", "response_format is left out"),
        ("temperature: Only the default (1) is supported", "temperature", "temperature is left out"),
        ("temperature: range: 0..1", None, None),  # a value that it can't have
        ("the seed-36b model has no temperature-control", None, None),
        ("your messages say seed", "messages", None),
        ("top_p is unknown", None, None),
    ],
)
def test_which_parameter_a_refusal_names(
    said: str, param: str | None, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "_learnt", {})
    error = ValueError(said)
    error.param = param  # type: ignore[attr-defined]
    sent = {"max_tokens": 9, "temperature": 0.0, "seed": 1, "response_format": {}}
    assert parameters.learn("m", None, sent, error) == found
    assert (parameters.adapted("m", None, sent) == sent) is (found is None)
    assert parameters.learn("m", None, sent, error) is None


# Before anything is sent


def test_what_sending_needs_is_imported_before_the_ledger_says_sent(
    server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, seen = transport.load_litellm, list[list[str]]()

    def spy() -> Any:
        seen.append([event["event"] for event in ledger.read(tmp_path / "llm")])
        return load()

    monkeypatch.setattr(transport, "load_litellm", spy)
    transport.import_all.cache_clear()
    client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    assert seen[0] == ["opened"]


def test_without_room_for_the_answer_nothing_is_sent(server: LLMServer, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(RunFolderError, match="no disk space left"):
            client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not server.seen
    assert [event["event"] for event in ledger.read(tmp_path / "llm")] == ["opened"]
    assert not list((tmp_path / "llm" / "calls").iterdir())


def test_a_disk_that_fills_after_the_request_does_not_lose_the_answer(
    server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the request's arrival on there are no new files, and only blocks that a file has already can be written."""
    full = False
    write, opened, make = os.write, os.open, tempfile.mkstemp

    def no_room() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fits(handle: int, data: bytes) -> int:
        at = os.lseek(handle, 0, os.SEEK_CUR)
        if full and at + len(data) > os.fstat(handle).st_blocks * 512:
            no_room()
        return write(handle, data)

    def known(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if full and flags & os.O_CREAT and not os.path.exists(path):
            no_room()
        return opened(path, flags, *rest, **more)

    def fill(stage: str) -> None:
        nonlocal full
        full = True

    monkeypatch.setattr(os, "write", fits)
    monkeypatch.setattr(os, "open", known)
    monkeypatch.setattr(tempfile, "mkstemp", lambda *a, **k: no_room() if full else make(*a, **k))
    server.on_stage = fill
    with contextlib.suppress(RunFolderError):
        client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    assert full
    full = False
    assert client(config(server.url), tmp_path).complete(CHAT, cycle=1).text == REPLY
    assert len(server.seen) == 1


@pytest.mark.parametrize("script", [("ok",), ("500",) * 3, ("401",)])
@pytest.mark.parametrize("knows", [True, False])
def test_the_room_is_an_answer_s_or_nobody_s(
    script: tuple[str, ...], knows: bool, server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if not knows:
        monkeypatch.setattr(os, "posix_fallocate", unknown)
    sizes = []
    server.on_stage = lambda stage: sizes.extend(p.stat().st_size for p in (tmp_path / "llm/calls").iterdir())
    server.script(*script)
    calls = tmp_path / "llm" / "calls"
    with contextlib.suppress(UnavailableError):
        client(config(server.url), tmp_path).complete(CHAT, cycle=1)
    left = list(calls.iterdir())
    assert [json.loads(file.read_text())["answer"]["text"] for file in left] == [REPLY] * (script == ("ok",))
    assert not sizes or sizes[0] > 12 * provider.MAX_TEXT
    # What a kill leaves goes with the next process.
    (calls / ".answer.unfinished").write_bytes(b"x")
    client(config(server.url), tmp_path)
    assert list(calls.iterdir()) == left


def test_warnings_hide_a_key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("MY_KEY", "a-key-of-mine-0123")
    with caplog.at_level(logging.WARNING):
        assert body.counted({"prompt_tokens": "a-key-of-mine-0123", "completion_tokens": 1}) is None
    assert "a-key" not in caplog.text
