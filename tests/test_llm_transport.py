"""What leaves, on every way that litellm has to a server, and what is refused before anything leaves."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from llm_server import LLMServer

from envgen_exp.config import Engine, LLMConfig
from envgen_exp.errors import EnvGenError, LLMError
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.llm import ledger
from envgen_exp.llm.client import check_ready, make_client
from envgen_exp.llm.source import Message

KEY = "token-of-my-server-42"
HELLO: Message = {"role": "user", "content": "hello"}
FAMILY = CrafterFamily(CrafterConfig(engine=Engine.reference))
WAYS = {
    "openai/default": "Authorization",
    "azure/default": "api-key",
    "mistral/default": "Authorization",
    "anthropic/default": "x-api-key",
    "gemini/default": "x-goog-api-key",
}
"""A model for each of litellm's ways to a server, with the header that carries the key."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LLMServer, LLMServer]]:
    with LLMServer(lambda messages: "a reply") as one, LLMServer(lambda messages: "a reply") as other:
        # The first request imports what litellm puts off; no time-out of a test is for that.
        warm = LLMConfig("x", model="openai/default", api_base=one.url, timeout=300.0)
        make_client(warm, tmp_path_factory.mktemp("warm"), FAMILY, run="test").complete([HELLO], cycle=1)
        yield one, other


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVER_KEY", KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ask(model: str, url: str, folder: Path) -> str:
    """The one line that a request ends with."""
    config = LLMConfig("x", model=model, api_base=url, key_variable="MY_SERVER_KEY", max_attempts=1, timeout=300.0)
    with pytest.raises(LLMError) as caught:
        make_client(config, folder, FAMILY, run="test").complete([HELLO], cycle=1)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("model", WAYS)
def test_a_key_does_not_follow_a_redirect(model: str, servers: tuple[LLMServer, LLMServer], tmp_path: Path) -> None:
    one, other = servers
    one.script(f"redirect to={other.url}/x?token=t0p")
    other.script()
    line = ask(model, one.url, tmp_path)
    assert KEY in {name.lower(): value for name, value in one.seen[0].headers.items()}[WAYS[model].lower()]
    assert (len(one.seen), len(other.seen)) == (1, 0)
    assert f"redirected (HTTP 307): to http://127.0.0.1:{other.port}, which" in line
    assert "t0p" not in line


@pytest.mark.parametrize("model", ["openai/default", "anthropic/default", "gemini/default"])
def test_a_compressed_answer_takes_no_more_memory_than_a_plain_one(
    model: str, servers: tuple[LLMServer, LLMServer], tmp_path: Path
) -> None:
    one, _ = servers
    one.script("error-200")
    ask(model, one.url, tmp_path / "warm")  # what litellm imports counts nothing
    one.script("gzip size=300000000")
    # The size of a body is counted where it is allocated: by zlib, in bytes objects.
    tracemalloc.start(1)
    try:
        line = ask(model, one.url, tmp_path / "bomb")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "the answer is longer than 16 MiB" in line
    assert peak < 100e6
    assert one.seen[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("model", WAYS)
def test_the_words_of_an_error_with_status_200(
    model: str, servers: tuple[LLMServer, LLMServer], tmp_path: Path
) -> None:
    servers[0].script("error-200")
    assert "an error with HTTP 200: The model is asleep (you sent" in ask(model, servers[0].url, tmp_path)


@pytest.mark.parametrize("model", WAYS)
def test_what_fails_before_anything_leaves_is_not_repeated_and_costs_nothing(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: tuple[LLMServer, LLMServer]
) -> None:
    servers[0].script()
    monkeypatch.setenv("MY_SERVER_KEY", "a-key-with\nanother-line")
    config = LLMConfig("x", model=model, api_base=servers[0].url, key_variable="MY_SERVER_KEY", timeout=300.0)
    client = make_client(config, tmp_path, FAMILY, run="test")
    with pytest.raises(LLMError, match="not sent: ") as caught:
        client.complete([HELLO], cycle=1)
    assert "another-line" not in str(caught.value)
    assert servers[0].seen == []
    (failed,) = (event for event in ledger.read(tmp_path) if event["event"] == "failed")
    assert failed["billed"] is False
    assert client.totals().cost_known


@pytest.mark.parametrize("status", ["407", "502"])
def test_a_proxy_that_refuses_to_connect_is_named(
    status: str, servers: tuple[LLMServer, LLMServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers[0].script(status)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{servers[0].port}")
    line = ask("anthropic/default", "https://model.invalid:8443/v1", tmp_path)
    assert ": not connected" in line
    assert f": the proxy 127.0.0.1:{servers[0].port} (HTTPS_PROXY): {status} " in line
    assert "hunter2" not in line
    assert servers[0].seen[0].path == "model.invalid:8443"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "socks5://me:hunter2@127.0.0.1:1"),
        ("https_proxy", "ftp://me:hunter2@127.0.0.1:1"),
        ("ALL_PROXY", "http://"),
        ("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:port"),
        ("HTTPS_PROXY", "http://[me:hunter2"),
        ("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:99999"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/nowhere"),
        ("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem"),
        ("SSL_VERIFY", "/nowhere/ca.pem"),
        ("SSL_CERTIFICATE", "/nowhere/me.pem"),
        ("SSL_SECURITY_LEVEL", "NO-SUCH-CIPHER"),
    ],
)
def test_a_wrong_variable_is_named_before_the_run(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "some-key-0123")
    for name in ("SSL_VERIFY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    asked = LLMConfig("x", model="openai/gpt-4o")
    check_ready(asked)
    monkeypatch.setenv(variable, value)
    with pytest.raises(EnvGenError, match=f"the environment variable {variable}[ =]") as caught:
        check_ready(asked)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_proxy_that_does_not_stand_before_the_server_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    check_ready(LLMConfig("x", model="openai/default", api_base="http://127.0.0.1:8000/v1"))
    with pytest.raises(EnvGenError, match="ALL_PROXY"):
        check_ready(LLMConfig("x", model="openai/default", api_base="http://127.0.0.2:8000/v1"))


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        ("azure/gpt-4o", {}, "AZURE_API_BASE"),
        ("azure/gpt-4o", {"AZURE_API_KEY": "k"}, "not set: AZURE_API_BASE"),
        ("azure/gpt-4o", {"AZURE_API_BASE": "https://me.invalid"}, "AZURE_API_KEY"),
        ("azure/gpt-4o", {"AZURE_API_BASE": "https://me.invalid", "AZURE_API_KEY": "k"}, ""),
        ("vertex_ai/gemini-2.5-pro", {}, "VERTEXAI_PROJECT, VERTEXAI_LOCATION"),
        ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", {}, "not set: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"),
        (
            "bedrock/anthropic.claude-3-haiku-20240307-v1:0",
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION_NAME": "eu-west-1"},
            "",
        ),
        ("watsonx/ibm/granite", {"WATSONX_APIKEY": "k"}, "WX_PROJECT_ID"),
        ("cloudflare/x", {"CLOUDFLARE_API_KEY": "k"}, "CLOUDFLARE_API_BASE"),
    ],
)
def test_all_that_a_provider_needs_is_checked_before_the_run(
    model: str,
    given: dict[str, str],
    says: str,
    servers: tuple[LLMServer, LLMServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    asked = LLMConfig("x", model=model)
    if not says:
        check_ready(asked)
        return
    with pytest.raises(LLMError) as caught:
        check_ready(asked)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
