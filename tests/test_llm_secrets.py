"""No key reaches a file, a log, an error or a designer, even when the server quotes it."""

from __future__ import annotations

import base64
import json
import logging
import re
import subprocess
import sys
import time
import traceback
import urllib.parse
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import llm_server
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from llm_server import NO_RULES, LLMServer

from envgen_exp.commands import preview
from envgen_exp.config import LLMConfig
from envgen_exp.designers.proposal import Proposal
from envgen_exp.errors import LLMError, MissingKeyError, SecretError
from envgen_exp.families.crafter.design import VOCABULARY, CrafterDesign
from envgen_exp.families.crafter.upstream import SKILLS
from envgen_exp.guard import secrets
from envgen_exp.guard.redaction import redact
from envgen_exp.llm import keys
from envgen_exp.llm.client import check_ready, make_client
from envgen_exp.llm.prompt import Wording
from envgen_exp.llm.provider import MAX_TEXT
from envgen_exp.llm.reply import parse_reply

KEY = 'sk-planted/0123456789+abc"def'
OTHER = "hunter2-correct-horse"


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
        client = make_client(config(server.url), tmp_path / "llm", NO_RULES, run="secrets")
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
    client = make_client(config(server.url), tmp_path / "llm", NO_RULES, run="secrets")
    assert client.complete([{"role": "user", "content": "hello"}], cycle=1).text.startswith("You sent Bearer [")


def test_a_key_at_the_place_where_a_text_is_cut_is_hidden_whole(tmp_path: Path) -> None:
    with LLMServer(lambda messages: "x" * (MAX_TEXT - 12) + " " + KEY) as own:
        client = make_client(config(own.url), tmp_path / "llm", NO_RULES, run="secrets")
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
        {"api_base": f"http://{OTHER}@127.0.0.1:1/v1"},
        {"api_base": f"http://127.0.0.1:1/v1#{OTHER}"},
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


# A key that is escaped, broken or called otherwise

CHARACTERS = st.characters(min_codepoint=33, max_codepoint=0x1F600, exclude_categories=["Cs", "Cc", "Zs"])
SECRETS = st.text(st.one_of(st.characters(min_codepoint=33, max_codepoint=126), CHARACTERS), min_size=8, max_size=24)


def escaped(text: str, which: list[bool]) -> str:
    """A text inside JSON, some of its characters as \\u escapes."""
    units = [text[at].encode("utf-16-be") for at in range(len(text))]
    as_units = ["".join(f"\\u{unit[i : i + 2].hex()}" for i in range(0, len(unit), 2)) for unit in units]
    return "".join(
        long if which[at % len(which)] else json.dumps(text[at], ensure_ascii=False)[1:-1]
        for at, long in enumerate(as_units)
    )


ENCODINGS = {
    "escapes": lambda secret, which: escaped(secret, which),
    "broken": lambda secret, which: json.dumps(secret[:3] + "\u200b" + secret[3:])[1:-1],
    "url": lambda secret, which: json.dumps(urllib.parse.quote(secret, safe=""))[1:-1],
    "base64": lambda secret, which: base64.b64encode(f"{'x' * len(which)}{secret}!".encode()).decode(),
    "base64url": lambda secret, which: base64.urlsafe_b64encode(secret.encode()).decode(),
    "hexadecimal": lambda secret, which: secret.encode().hex(),
}


def decoded(value: object) -> str:
    """All texts of plain values, with what they say in URL form and in base64."""
    if isinstance(value, str):
        found = [value, urllib.parse.unquote(value)]
        for word in re.findall(r"[A-Za-z0-9+/_=-]{8,}", value):
            word = word.translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
            found += [
                base64.b64decode(word[at:] + "A" * (-len(word[at:]) % 4)).decode(errors="ignore") for at in range(4)
            ]
            if re.fullmatch("(?:[0-9a-f]{2})+", word):
                found.append(bytes.fromhex(word).decode(errors="ignore"))
        return "\n".join(found)
    if isinstance(value, dict):
        return "\n".join(decoded(item) for pair in value.items() for item in pair)
    return "\n".join(map(decoded, value)) if isinstance(value, list) else ""


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SECRETS, st.sampled_from(sorted(ENCODINGS)), st.lists(st.booleans(), min_size=1, max_size=6))
@example("sk-planted/0123", "escapes", [True])
@example("sk-planted/0123", "escapes", [False, True])
def test_no_encoding_of_a_secret_reaches_a_phase(
    monkeypatch: pytest.MonkeyPatch, secret: str, encoding: str, which: list[bool]
) -> None:
    assume("\\\\" not in secret)
    monkeypatch.setenv("MY_MODEL_ACCESS", secret)
    secrets.use("MY_MODEL_ACCESS")
    said = ENCODINGS[encoding](secret, which)
    text = redact(
        f'{{"designs": [{{"purpose": "a {said} b", "targets": ["{said}"], "unheard": "{said}", '
        f'"coal_rarity": "{said}"}},'
        f'{{"purpose": "say {said}", "{said}": 3}}]}}'
    )
    reply = parse_reply(text, Wording.plain(VOCABULARY), CrafterDesign, SKILLS, 2)
    phase = Proposal(reply.designs, reply.notes).to_json() | {"problems": list(map(str, reply.problems))}
    assert reply.problems
    written = json.dumps({"text": text, **phase})
    for shown in (text, written, decoded(json.loads(written))):
        assert secret not in shown.replace("[MY_MODEL_ACCESS]", "")


def test_a_key_in_use_is_hidden_whatever_its_variable_is_called(
    server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, key in enumerate(("mine-and-no-other-s", "/slashed+0123", "ab12")):
        monkeypatch.setenv(f"MY_ACCESS_{number}", key)
        server.script("echo-reply")
        asked = replace(config(server.url), key_variable=f"MY_ACCESS_{number}")
        client = make_client(asked, tmp_path / f"{number}", NO_RULES, run="secrets")
        text = client.complete([{"role": "user", "content": "hello"}], cycle=1).text
        assert server.seen[0].headers["Authorization"] == f"Bearer {key}"
        assert text.startswith(f"You sent Bearer [MY_ACCESS_{number}]")
        assert all(key not in file.read_text() for file in (tmp_path / f"{number}").rglob("*.json*"))


def test_a_word_in_place_of_a_key_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_ACCESS_3", "EMPTY")
    secrets.use("MY_ACCESS_3")
    assert redact("an EMPTY world") == "an EMPTY world"


def test_an_answer_of_another_form_is_not_quoted_in_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    whole = llm_server._completion
    changed = lambda *args, **kwargs: whole(*args, **kwargs).replace(b'"model":', b'"id": ["planted"], "model":')  # noqa: E731
    monkeypatch.setattr(llm_server, "_completion", changed)
    warnings.simplefilter("always")
    with LLMServer(lambda messages: "hello") as own:
        client = make_client(config(own.url), tmp_path / "llm", NO_RULES, run="secrets")
        assert client.complete([{"role": "user", "content": "hello"}], cycle=1).text == "hello"
    assert not [str(one.message) for one in recwarn if leaks(str(one.message))]


@pytest.mark.parametrize("text", [f"purpose: {OTHER}", "purpose: say sk-abcdefghijklmnop0123456789", f"{OTHER}: 3"])
def test_preview_shows_no_secret(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "design.yaml"
    file.write_text(text)
    for design in (text, str(file)):
        assert preview.main([design, "--worlds", "1", "--out", str(tmp_path / "page.html")]) == 2
        shown = "".join(capsys.readouterr())
        assert not leaks(shown)
        assert "sk-abc" not in shown
    assert not (tmp_path / "page.html").exists()


FRAGMENTS = [
    *("sk-", "sk_a", "sk-a1", "eyJ-", "eyJaaaaaaaa.", "eyJaaaaaaaa-", "AKIA", "gh", "ghp_", "ghp_0", "github_pat_"),
    *("a_", "key", "key ", "key=", "api_key '", "-key\n", "a-token ", "'\"", "bearer ", "bearer\t", "://", "://a:"),
    *("0123456789abcdef", " 0", "\\", "\\u0073", "%", "%25", "&#", "sk-planted/", "c2stcGxhbnRlZC8w", "\\\\u0068"),
]


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_twice_the_text_takes_at_most_about_twice_the_time(fragment: str) -> None:
    def seconds(size: int) -> float:
        text = fragment * (size // len(fragment))
        start = time.process_time()
        redact(text)
        secrets._ASSIGNED.search(text)
        return time.process_time() - start

    redact(fragment * 9)  # compiles
    # In turns, so that a busy moment of the machine hits both sizes; a quadratic expression takes seconds here.
    short, long = map(min, zip(*[(seconds(20_000), seconds(40_000)) for _ in range(7)], strict=True))
    assert long <= 3 * short + 0.002
