"""One request to a real language model over litellm, and what its failures mean.

litellm is imported with the first request: that takes seconds. It is told never to retry; `client` does that.
"""

from __future__ import annotations

import datetime
import email.utils
import functools
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from envgen_exp.config import LLMConfig, LLMKind
from envgen_exp.errors import ConfigError, MissingKeyError, SecretError
from envgen_exp.llm import prices
from envgen_exp.llm.ledger import Address
from envgen_exp.llm.redaction import redact
from envgen_exp.llm.schema import portable
from envgen_exp.llm.source import Answer, Message, RequestFailed, sampling_seed

MAX_TEXT = 200_000
"""Characters of a reply that are kept; the longest useful ones have some thousands."""

MAX_BODY = 16 * 2**20
"""Bytes of a server's answer after which the connection is closed."""

MAX_ERROR = 300
"""Characters of a server's error that are shown and recorded."""

KEY_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY",),
    "ollama": (),
    "ollama_chat": (),
    "hosted_vllm": (),
    "lm_studio": (),
}
"""The variables of which one must hold a provider's key. Other providers are looked up in litellm."""

_SERVERS_OF_ONES_OWN = "llm=offline needs none, llm=ollama and llm=local ask a server of your own"


class Provider:
    """A language model behind litellm."""

    client = LLMKind.litellm.name

    def __init__(self, config: LLMConfig) -> None:
        self._config = config
        self.model = config.model
        self.max_repairs = config.max_repairs

    def request(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, draw: int = 0) -> dict[str, Any]:
        """What is sent; neither the key nor the address, which may change on resume."""
        config = self._config
        return {
            "model": config.model,
            "temperature": config.temperature,
            "seed": sampling_seed(config.seed, draw),
            "max_tokens": config.max_tokens,
            "messages": [dict(message) for message in messages],
            "schema": portable(schema) if schema is not None and config.structured else None,
        }

    def reserve(self, request: Mapping[str, Any]) -> float | None:
        """The most dollars that the request can cost; None where the price is unknown."""
        return prices.most_cost(self._config, request["messages"])

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """Send one request and wait at most `llm.timeout` seconds for the whole answer. Raises RequestFailed."""
        config = self._config
        litellm = load_litellm()
        arguments: dict[str, Any] = {
            "model": request["model"],
            "messages": request["messages"],
            "temperature": request["temperature"],
            "max_tokens": request["max_tokens"],
            "timeout": config.timeout,
            "api_key": _key(config),
            # tenacity owns retries; left alone, litellm and the OpenAI client under it send up to three requests.
            "max_retries": 0,
            "num_retries": 0,
            # Some models refuse a temperature or a seed: rather without than not at all.
            "drop_params": True,
        }
        if config.api_base:
            arguments["api_base"] = config.api_base
        if request["seed"] is not None:
            arguments["seed"] = request["seed"]
        if request["schema"] is not None and litellm.supports_response_schema(model=config.model):
            form = {"name": "designs", "strict": True, "schema": request["schema"]}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}

        start = time.monotonic()
        failure: RequestFailed
        try:
            response = _within(config.timeout, lambda: litellm.completion(**arguments))
            return self._answer(response, request, time.monotonic() - start)
        except RequestFailed as failed:
            failure = failed
        except Exception as error:  # noqa: BLE001 - litellm raises whatever lies under it
            failure = _classify(error)
        # Raised here, so that no traceback carries the library's error, which may quote the key.
        raise failure

    def _answer(self, response: Any, request: Mapping[str, Any], seconds: float) -> Answer:
        choices = getattr(response, "choices", None)
        if not choices:
            raise RequestFailed("not a completion", "an answer without choices", again=True, billed=True)
        message, finish = choices[0].message, choices[0].finish_reason or "stop"
        text = message.content if isinstance(message.content, str) else ""
        refusal = (getattr(message, "provider_specific_fields", None) or {}).get("refusal")
        if not text and isinstance(refusal, str):
            text, finish = refusal, "refusal"
        usage = getattr(response, "usage", None)
        prompt_tokens = int(getattr(usage, "prompt_tokens", 0) or 0)
        completion_tokens = int(getattr(usage, "completion_tokens", 0) or 0)
        # Hidden before it is cut, so that no part of a key stays; half a character pair could not be sent again.
        text = redact(text[: 2 * MAX_TEXT])[:MAX_TEXT].encode(errors="replace").decode()
        estimated = prompt_tokens == 0
        if estimated:
            prompt_tokens = prices.count_tokens(request["messages"])
            completion_tokens = prices.count_text(text)
        return Answer(
            text=text,
            finish=redact(str(finish))[:40],
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            estimated=estimated,
            cost=self._cost(response, prompt_tokens, completion_tokens, estimated),
            seconds=round(seconds, 3),
            model=redact(str(getattr(response, "model", None) or self.model))[:200],
        )

    def _cost(self, response: Any, prompt_tokens: int, completion_tokens: int, estimated: bool) -> float | None:
        config = self._config
        own = config.input_price is not None and config.output_price is not None
        price = prices.prices(config)
        # litellm knows what cached and reasoning tokens cost, so its number goes before the plain product.
        cost = (getattr(response, "_hidden_params", None) or {}).get("response_cost")
        if not own and not estimated and price is not None and isinstance(cost, int | float):
            return float(cost)
        return price.cost(prompt_tokens, completion_tokens) if price else None


def check_key(config: LLMConfig) -> None:
    """Whether the environment holds the key that the model needs; MissingKeyError with one line where it does not.

    SecretError where a key stands in the config itself, ConfigError for a model that litellm does not know.

    Nothing is imported for the providers of KEY_VARIABLES, and nothing is sent.
    """
    if config.key_variable and not re.fullmatch(r"[A-Z][A-Z0-9_]*", config.key_variable):
        raise SecretError("llm.key_variable takes the name of a variable such as MY_KEY, never the key itself")
    if config.api_base and (urlsplit(config.api_base).password or urlsplit(config.api_base).query):
        raise SecretError("llm.api_base takes an address alone; a key belongs into the variable of llm.key_variable")
    needed = _key_variables(config)
    if needed is None:
        needed = _look_up(config)
    if needed and not any(os.environ.get(name) for name in needed):
        names = " or ".join(needed)
        raise MissingKeyError(
            f"llm={config.name}: no key for {config.model}; set the environment variable {names}"
            f" ({_SERVERS_OF_ONES_OWN})"
        )


def _key_variables(config: LLMConfig) -> tuple[str, ...] | None:
    """The variables of which one must hold the key; empty where none is needed, None where only litellm knows."""
    if config.key_variable:
        return (config.key_variable,)
    if config.api_base:
        return ()
    provider = config.model.split("/")[0] if "/" in config.model else prices.known_model(config.model)
    if not isinstance(provider, str):
        provider = provider.get("litellm_provider", "")
    return KEY_VARIABLES.get(provider)


def _look_up(config: LLMConfig) -> tuple[str, ...]:
    litellm = load_litellm()
    try:
        litellm.get_llm_provider(model=config.model)
    except Exception:  # noqa: BLE001 - any of its errors means the same here
        known = ", ".join(KEY_VARIABLES)
        raise ConfigError(
            f"llm.model={config.model}: litellm knows no such provider; write provider/model, e.g. openai/gpt-4o"
            f" (providers: {known}, and litellm's others)"
        ) from None
    found = litellm.validate_environment(model=config.model)
    return () if found["keys_in_environment"] else tuple(found["missing_keys"])


def _key(config: LLMConfig) -> str | None:
    """The key to send. A server at an address of one's own never gets a provider's key unless config names it."""
    names = _key_variables(config)
    if names is None:
        return None
    key = next((os.environ[name] for name in names if os.environ.get(name)), None)
    return key or ("none" if config.api_base else None)


@functools.cache
def load_litellm() -> Any:
    """Import litellm and make it silent: no network at import, no .env file, nothing in any log."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import httpx
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router", "httpx", "httpcore", "openai"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.setLevel(logging.CRITICAL + 1)

    class Capped(httpx.SyncByteStream):
        def __init__(self, stream: httpx.SyncByteStream, seconds: float) -> None:
            self._stream = stream
            self._deadline = time.monotonic() + seconds

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for part in self._stream:
                size += len(part)
                if size > MAX_BODY:
                    raise httpx.ReadError(f"the answer is longer than {MAX_BODY >> 20} MiB")
                if time.monotonic() > self._deadline:
                    raise httpx.ReadTimeout("the answer came too slowly")
                yield part

        def close(self) -> None:
            self._stream.close()

    def cap(response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.SyncByteStream)
        seconds = response.request.extensions.get("timeout", {}).get("read")
        response.stream = Capped(response.stream, math.inf if seconds is None else seconds)

    litellm.client_session = httpx.Client(event_hooks={"response": [cap]}, follow_redirects=True)
    return litellm


_T = TypeVar("_T")


def _within(seconds: float, work: Callable[[], _T]) -> _T:
    """Do `work` in a thread and give up after `seconds`.

    The libraries' time-outs are for each read: a server that sends a byte now and then is waited for without end.
    """
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, work()))
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            outcome.append((False, error))

    thread = threading.Thread(target=run, name="llm-request", daemon=True)
    thread.start()
    thread.join(seconds + 0.5)  # the libraries' own time-out, where it works, ends the connection too
    if not outcome:
        raise RequestFailed("timed out", f"no whole answer within {seconds:g} s", again=True, billed=True)
    good, value = outcome[0]
    if not good:
        raise value
    result: _T = value
    return result


def _classify(error: Exception) -> RequestFailed:
    """What one of litellm's errors means; keeps no reference to it."""
    import httpx

    litellm = load_litellm()
    detail = _words(str(error))
    http = getattr(error, "status_code", None)
    http = http if isinstance(http, int) else None
    headers = getattr(error, "litellm_response_headers", None)
    wait = _retry_after(headers.get("retry-after")) if headers is not None else None
    if isinstance(error, litellm.AuthenticationError | litellm.PermissionDeniedError):
        return RequestFailed("refused the key", detail, http=http)
    if isinstance(error, litellm.RateLimitError):
        return RequestFailed("rate limited", detail, http=http, again=True, retry_after=wait)
    if isinstance(error, litellm.Timeout):
        return RequestFailed("timed out", detail, again=True, billed=True)
    if http is not None and 400 <= http < 500 and http != 408:
        return RequestFailed("bad request", detail, http=http)
    if headers is not None:
        return RequestFailed("server error", detail, http=http, again=True, retry_after=wait)
    for cause in _causes(error):
        if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
            return RequestFailed("not connected", _words(str(cause)), again=True)
        if isinstance(cause, httpx.TransportError):
            return RequestFailed("connection lost", _words(str(cause)), again=True, billed=True)
    if http is not None:
        return RequestFailed("not a completion", detail, again=True, billed=True)
    return RequestFailed("failed", f"{type(error).__name__}: {detail}", billed=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(16):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _words(text: str) -> str:
    """An error's text on one line, without secrets and without the names that litellm puts before it."""
    text = " ".join(redact(text).split())
    text = text.split("Exception - ", 1)[-1] if text.startswith("litellm.") else text
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= MAX_ERROR else text[:MAX_ERROR] + " ..."


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
