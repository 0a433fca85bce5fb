"""No key reaches a file, a log, an error or a designer, even when the server quotes it."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import traceback
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_server import LLMServer

from envgen_exp.config import LLMConfig
from envgen_exp.errors import LLMError, MissingKeyError, SecretError
from envgen_exp.llm import keys
from envgen_exp.llm.client import check_ready, make_client
from envgen_exp.llm.provider import MAX_TEXT
from envgen_exp.llm.redaction import redact

KEY = 'sk-planted/0123456789+abc"def'
OTHER = "hunter2-correct-horse"
TESTS = Path(__file__).parent


class NoRules:
    """A family of which only the client's part is needed."""

    skill_rules = ()


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", KEY)
    monkeypatch.setenv("SOME_TOKEN", OTHER)


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(lambda messages: '{"designs": []}') as running:
        yield running


def forms(key: str) -> list[str]:
    """The ways in which a server may quote a key."""
    inside_json = json.dumps(key)[1:-1]
    return [key, inside_json, urllib.parse.quote(key, safe=""), base64.b64encode(key.encode()).decode()]


def leaks(text: str) -> bool:
    return any(form in text for form in (*forms(KEY), *forms(OTHER))) or "planted" in text


def config(url: str) -> LLMConfig:
    return LLMConfig(
        name="local",
        model="openai/default",
        api_base=url,
        key_variable="LOCAL_API_KEY",
        timeout=20.0,
        max_attempts=2,
        max_wait=0.01,
    )


@pytest.mark.parametrize("fault", ["401", "400", "echo", "echo-reply", "bad-json", "html", "cut", "no-choices"])
def test_nothing_leaks(
    fault: str,
    server: LLMServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.script(fault, fault)
    shown = ""
    with caplog.at_level(logging.DEBUG):
        client = make_client(config(server.url), tmp_path / "llm", NoRules(), run="secrets")
        try:
            shown = repr(client.complete([{"role": "user", "content": "hello"}], cycle=1))
        except LLMError as error:
            # The whole chain of errors, as a debugger or an experiment tracker would print it.
            shown = "".join(traceback.format_exception(error)) + repr(error.__context__) + repr(error.__cause__)
    assert KEY in server.seen[0].headers["Authorization"]
    assert not leaks(shown)
    assert not leaks(caplog.text)
    assert not leaks("".join(capfd.readouterr()))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert not leaks(file.read_text())


def test_what_was_hidden_is_named(server: LLMServer, tmp_path: Path) -> None:
    server.script("echo-reply")
    client = make_client(config(server.url), tmp_path / "llm", NoRules(), run="secrets")
    assert client.complete([{"role": "user", "content": "hello"}], cycle=1).text.startswith("You sent Bearer [")


def test_a_key_at_the_place_where_a_text_is_cut_is_hidden_whole(tmp_path: Path) -> None:
    with LLMServer(lambda messages: "x" * (MAX_TEXT - 12) + " " + KEY) as own:
        client = make_client(config(own.url), tmp_path / "llm", NoRules(), run="secrets")
        assert not leaks(client.complete([{"role": "user", "content": "hello"}], cycle=1).text)


def test_nothing_leaks_with_every_library_at_its_loudest(server: LLMServer, tmp_path: Path) -> None:
    server.script("echo", "echo-reply")
    script = f"""
import logging, sys
logging.basicConfig(level=logging.DEBUG, filename={str(tmp_path / "all.log")!r})
from pathlib import Path
from envgen_exp.config import LLMConfig
from envgen_exp.llm.client import make_client
class NoRules: skill_rules = ()
config = LLMConfig(name="local", model="openai/default", api_base={server.url!r}, key_variable="LOCAL_API_KEY",
                   max_attempts=2, max_wait=0.01)
client = make_client(config, Path({str(tmp_path / "llm")!r}), NoRules(), run="loud")
print(client.complete([{{"role": "user", "content": "hello"}}], cycle=1))
"""
    env = {"PATH": "/usr/bin:/bin", "LOCAL_API_KEY": KEY, "SOME_TOKEN": OTHER, "LITELLM_LOG": "DEBUG"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Completion(" in done.stdout
    assert not leaks(done.stdout + done.stderr)
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or not leaks(file.read_text())


@pytest.mark.parametrize(
    "changes",
    [
        {"key_variable": KEY},
        {"api_base": f"http://me:{OTHER}@127.0.0.1:1/v1"},
        {"api_base": f"http://127.0.0.1:1/v1?key={OTHER}"},
    ],
)
def test_a_key_in_the_config_is_refused_without_showing_it(changes: dict[str, str]) -> None:
    with pytest.raises(SecretError) as caught:
        check_ready(LLMConfig(**{"name": "local", "model": "openai/x", **changes}))
    assert not leaks(str(caught.value))


def test_a_key_that_could_be_a_variable_s_name_is_not_shown() -> None:
    with pytest.raises(MissingKeyError, match=r"set the environment variable that llm\.key_variable names") as caught:
        check_ready(LLMConfig(name="local", model="openai/x", key_variable="c0ffee0123456789abcdefghij"))
    assert "c0ffee" not in str(caught.value)


def test_a_variable_in_lower_case_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    named = LLMConfig(name="local", model="openai/x", key_variable="my_server_key")
    monkeypatch.setenv("my_server_key", OTHER)
    check_ready(named)
    assert keys.key(named) == OTHER


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from([*forms(KEY), *forms(OTHER)]))
def test_every_form_is_hidden_anywhere(before: str, after: str, form: str) -> None:
    assert form not in redact(before + form + after)


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdefgh0123456789",
        "gsk_0123456789abcdefABCDEF",
        "AIzaSyA0123456789abcdefghijklmnopqrstu",
        "Authorization: Bearer abcdefgh12345678",
    ],
)
def test_a_key_that_is_not_ours_is_hidden_too(text: str) -> None:
    assert "0123456789" not in redact(text)
    assert "12345678" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "task-specific-worlds-of-level-3",
        "risk-averse agents",
        "a bearer of gifts",
        "sk-short",
        "llm=gpt4 seed=12345678",
    ],
)
def test_plain_words_stay(text: str) -> None:
    assert redact(text) == text
