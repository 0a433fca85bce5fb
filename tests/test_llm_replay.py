"""A recorded run serves again: no key, no network, and a refusal where the run would go another way."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from llm_server import NO_RULES, LLMServer

from envgen_exp.config import LLMConfig, LLMKind
from envgen_exp.errors import ConfigError, ReplayError, RunFolderError
from envgen_exp.llm import ledger
from envgen_exp.llm.client import Client, check_ready, make_client
from envgen_exp.llm.replay import _difference
from envgen_exp.llm.source import Message

CALLS = ((1, "design"), (1, "repair"), (1, "repair"), (2, "design"))


def chat(number: int) -> list[Message]:
    return [{"role": "system", "content": "Design."}, {"role": "user", "content": f"line one\nquestion {number}\nend"}]


def ask(client: Client, calls: tuple[tuple[int, str], ...] = CALLS) -> list[str]:
    return [client.complete(chat(n), cycle=c, purpose=p).text for n, (c, p) in enumerate(calls)]


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(lambda messages: f"to {messages[1]['content'].splitlines()[1]}") as running:
        yield running


@pytest.fixture(scope="module")
def recorded(server: LLMServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a real client's calls."""
    folder = tmp_path_factory.mktemp("recorded")
    config = LLMConfig(name="local", model="openai/default", api_base=server.url, max_repairs=4)
    assert ask(make_client(config, folder / "llm", NO_RULES, run="recorded")) == [f"to question {n}" for n in range(4)]
    return folder


def replay(recorded: Path, folder: Path, *, strict: bool = True) -> Client:
    config = LLMConfig(name="replay", kind=LLMKind.replay, replay_from=str(recorded), strict=strict)
    check_ready(config)
    return make_client(config, folder / "llm", NO_RULES, run="replay")


def test_the_same_answers_without_a_request(server: LLMServer, recorded: Path, tmp_path: Path) -> None:
    requests = len(server.seen)
    client = replay(recorded, tmp_path)
    assert ask(client) == [f"to question {n}" for n in range(4)]
    assert len(server.seen) == requests
    assert client.totals() == ledger.Totals()
    # The repairs that the recorded run allowed itself, so that a replay goes the same way.
    assert client.max_repairs == 4
    # A replay is a recorded run too, and one that was killed goes on from what it has served.
    assert ask(replay(tmp_path, tmp_path / "again")) == ask(replay(recorded, tmp_path))


def test_a_request_that_differs_is_refused_with_the_difference(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(ReplayError) as caught:
        replay(recorded, tmp_path).complete(chat(7), cycle=1)
    line = str(caught.value)
    assert "cycle 1 design 0 asks something else" in line
    assert "message 2 line 2 is 'question 7', recorded is 'question 0'" in line
    assert "llm.strict=false" in line
    with pytest.raises(ReplayError, match="1 messages, recorded are 2"):
        replay(recorded, tmp_path).complete(chat(0)[:1], cycle=1)


def test_of_long_lines_the_difference_is_shown() -> None:
    recorded, asked = ([{"role": "user", "content": "word " * 200 + end}] for end in ("10,000 steps", "20 steps"))
    told = _difference(recorded, asked)  # type: ignore[arg-type]
    assert re.fullmatch(r"message 1 line 1 is '\.\.\..* word 20 steps', recorded is '\.\.\..* word 10,000 steps'", told)
    assert len(told) < 400


def test_it_is_served_by_position_where_that_is_wanted(recorded: Path, tmp_path: Path) -> None:
    loose = replay(recorded, tmp_path, strict=False)
    assert loose.complete(chat(7), cycle=1).text == "to question 0"
    assert loose.complete(chat(7), cycle=1, purpose="repair").text == "to question 1"
    with pytest.raises(ReplayError, match="no answer for cycle 3 design 0; it has cycle 1 design 0, "):
        loose.complete(chat(7), cycle=3)


def test_an_offline_run_can_be_replayed_too(tmp_path: Path) -> None:
    offline = make_client(LLMConfig(name="offline", kind=LLMKind.offline), tmp_path / "llm", NO_RULES, run="offline")
    text = offline.complete(chat(0), cycle=1).text
    assert replay(tmp_path, tmp_path / "again").complete(chat(0), cycle=1).text == text


def test_what_a_resume_asked_anew_is_what_is_served(server: LLMServer, tmp_path: Path) -> None:
    config = LLMConfig(name="local", model="openai/default", api_base=server.url)
    make_client(config, tmp_path / "llm", NO_RULES, run="r").complete(chat(0), cycle=1)
    changed = dataclasses.replace(config, temperature=0.5)
    make_client(changed, tmp_path / "llm", NO_RULES, run="r").complete(chat(5), cycle=1)
    assert replay(tmp_path, tmp_path / "again").complete(chat(5), cycle=1).text == "to question 5"


def test_a_folder_without_calls_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"llm\.from=FOLDER"):
        check_ready(LLMConfig(name="replay", kind=LLMKind.replay))
    with pytest.raises(RunFolderError, match=r"no run with recorded calls"):
        check_ready(LLMConfig(name="replay", kind=LLMKind.replay, replay_from=str(tmp_path)))
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "ledger.jsonl").write_text("")
    with pytest.raises(RunFolderError, match=r"no finished call to replay"):
        check_ready(LLMConfig(name="replay", kind=LLMKind.replay, replay_from=str(tmp_path)))
