"""One request over litellm: what leaves, what may come back, and what went wrong.

litellm sends through the OpenAI client or through handlers of its own, and words every failure in its own way. Under
all of them lies one `Guard`, which keeps the rules and remembers what it saw: no litellm error is asked what happened
on the wire. litellm is told never to retry; `client` does that.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import functools
import json
import logging
import math
import os
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from envgen_exp.errors import ConfigError
from envgen_exp.guard.redaction import redact
from envgen_exp.llm.body import make_plain
from envgen_exp.llm.network import Proxy, open_way, proxy_for
from envgen_exp.llm.source import RequestFailed
from envgen_exp.llm.stream import is_stream, put_together, streamed

MAX_BODY = 16 * 2**20
"""Bytes of a server's answer, decompressed, after which the connection is closed."""

MAX_ERROR = 300
"""Characters of a server's error that are shown and recorded."""

_QUOTED = 2**16
"""Bytes of an answer that are kept to quote from."""

_PIECE = 2**16
"""Bytes that are decompressed at a time."""


@dataclass
class Exchange:
    """What the guard saw of the last HTTP request of one call."""

    deadline: float = math.inf
    stream: Mapping[str, Any] = field(default_factory=dict)
    """Those options of STREAM that the server has not refused; empty where the answer is to come in one piece."""
    pieces: list[str] = field(default_factory=list)
    """What has come of a streamed text."""
    rehearsal: bool = False
    """Whether nothing may leave."""
    requests: int = 0
    proxy: Proxy | None = None
    status: int | None = None
    retry_after: str | None = None
    body: bytes = b""
    """Its beginning."""
    failure: RequestFailed | None = None

    def fail(self, status: str, detail: str, *, again: bool = False, billed: bool = False) -> httpx.TransportError:
        """Remember what happened; the error returned only carries the news through litellm."""
        self.failure = RequestFailed(status, words(detail), http=self.status, again=again, billed=billed)
        return httpx.TransportError(self.failure.detail)


_here = threading.local()
"""`exchange` is the one of the call that this thread makes."""


class Guard(httpx.BaseTransport):
    """The only way out: no redirects, no surprises in size or time, and the proxy that the environment names."""

    def __init__(self) -> None:
        self._way = functools.cache(open_way)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange: Exchange = getattr(_here, "exchange", None) or Exchange()
        exchange.requests += 1
        exchange.status, exchange.retry_after, exchange.body, exchange.failure = None, None, b"", None
        if exchange.rehearsal:
            raise httpx.TransportError("a rehearsal ends here")
        try:
            exchange.proxy = proxy_for(str(request.url))
            way = self._way(exchange.proxy)
        except ConfigError as error:
            raise exchange.fail("not sent", str(error)) from None
        request, whole = streamed(request, exchange.stream)
        request.headers["Accept-Encoding"] = "identity"
        left = max(exchange.deadline - time.monotonic(), 0.001)
        limits = request.extensions.get("timeout", {}).items()
        request.extensions["timeout"] = {name: left if most is None else min(most, left) for name, most in limits}
        try:
            response = way.handle_request(request)
        except httpx.TransportError as error:
            raise _lost(error, exchange) from None
        exchange.status = response.status_code
        exchange.retry_after = response.headers.get("retry-after")
        refusal = _refusal(response, request, exchange)
        if refusal is not None:
            response.close()
            raise refusal
        assert isinstance(response.stream, httpx.SyncByteStream)
        body = Body(response.stream, response.headers.get("content-encoding", ""), exchange)
        for name in ("content-encoding", "content-length"):
            response.headers.pop(name, None)
        if whole is not None and is_stream(response):
            try:
                data = put_together(body, whole, exchange.pieces)
            except ValueError as error:
                raise exchange.fail("not a completion", str(error), again=True, billed=True) from None
            finally:
                response.close()
            exchange.body = data[:_QUOTED]
            return httpx.Response(200, headers={"content-type": "application/json"}, content=data)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=body, extensions=response.extensions
        )


def _refusal(response: httpx.Response, request: httpx.Request, exchange: Exchange) -> Exception | None:
    """Why an answer is not read, from its head alone."""
    status = response.status_code
    if status == 407 and exchange.proxy:
        return exchange.fail("not connected", f"{exchange.proxy}: {response.reason_phrase}")
    if 300 <= status < 400:
        # httpx would take every header but Authorization along, and so the keys of x-api-key, api-key and their kind.
        try:
            target = urlsplit(str(request.url.join(response.headers.get("location", ""))))
            where = f"{target.scheme}://{target.hostname or ''}{f':{target.port}' if target.port else ''}"
        except (ValueError, httpx.InvalidURL):
            where = "an address that is none"
        return exchange.fail("redirected", f"to {where}, which is not followed: the key would go along")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", *_DEFLATED):
        detail = f"the answer is compressed by {encoding} although it was to be plain"
        return exchange.fail("not a completion", detail, billed=True)
    return None


_DEFLATED = ("gzip", "x-gzip", "deflate")


class Body(httpx.SyncByteStream):
    """A server's answer, decompressed: so many bytes and no more, by the deadline and no later."""

    def __init__(self, stream: httpx.SyncByteStream, encoding: str, exchange: Exchange) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(wbits=47) if encoding.strip().lower() in _DEFLATED else None
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        size, exchange = 0, self._exchange
        try:
            for part in self._parts():
                size += len(part)
                if size > MAX_BODY:
                    detail = f"the answer is longer than {MAX_BODY >> 20} MiB"
                    raise exchange.fail("connection lost", detail, again=True, billed=True)
                if time.monotonic() > exchange.deadline:
                    # It may still be produced: asked anew, it would be paid for twice.
                    raise exchange.fail("timed out", "the whole answer takes longer than it may", billed=True)
                exchange.body += part[: _QUOTED - len(exchange.body)]
                yield part
        except zlib.error as error:
            raise exchange.fail("not a completion", f"the answer: {error}", again=True, billed=True) from None
        except httpx.TransportError as error:
            raise (error if exchange.failure else _lost(error, exchange)) from None

    def _parts(self) -> Iterator[bytes]:
        """The stream in pieces; a few compressed bytes may become very many."""
        if self._inflate is None:
            yield from self._stream
            return
        for part in self._stream:
            while part:
                yield self._inflate.decompress(part, _PIECE)
                part = self._inflate.unconsumed_tail
        yield self._inflate.flush(_PIECE)
        if not self._inflate.eof:
            raise zlib.error("it ends in the middle of a compressed block")

    def close(self) -> None:
        self._stream.close()


def _lost(error: httpx.TransportError, exchange: Exchange) -> Exception:
    """What a failure of the connection means."""
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.ProxyError):
        # The proxy answered: what it refuses once, it refuses again; a 5xx is for the moment.
        return exchange.fail("not connected", f"{exchange.proxy}: {text}", again=text.startswith("5"))
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        # Through a proxy, only TLS comes to the server itself.
        peer = f"{exchange.proxy}: " if exchange.proxy and "ssl" not in text.lower() else ""
        return exchange.fail("not connected", peer + text, again=True)
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return exchange.fail("not sent", text)
    if isinstance(error, httpx.TimeoutException):
        return exchange.fail("timed out", "no answer in time", again=True, billed=True)
    return exchange.fail("connection lost", text, again=True, billed=True)


def complete(arguments: Mapping[str, Any], seconds: float, stream: Mapping[str, Any], pieces: list[str]) -> Any:
    """litellm's completion with at least one choice, all of it within `seconds`. Raises RequestFailed.

    It is streamed by those options of STREAM that stand in `stream`; `pieces` gets the text as it comes.
    """
    exchange = Exchange(time.monotonic() + seconds, stream, pieces)
    try:
        response = _ask(arguments, exchange, seconds)
    except RequestFailed as failed:
        failure = failed
    except Exception as error:  # noqa: BLE001 - litellm raises whatever lies under it
        failure = classify(error, exchange)
    else:
        choices = getattr(response, "choices", None)
        said = server_error(exchange.body)
        if choices and (said is None or getattr(choices[0].message, "content", None)):
            return response
        failure = _no_completion(exchange, "an answer without choices")
    if exchange.proxy and str(exchange.proxy) not in failure.detail:
        failure.detail += f" (through {exchange.proxy})"
    # Raised here, so that no traceback carries the library's error, which may quote the key.
    raise failure


def rehearse(arguments: Mapping[str, Any], seconds: float = 60.0) -> str | None:
    """Prepare a request as far as its first byte. What keeps it from leaving, in litellm's words, or None."""
    exchange = Exchange(time.monotonic() + seconds, rehearsal=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _ask(arguments, exchange, seconds)
    except RequestFailed:
        return None  # it takes long, as looking for credentials in a cloud may; the request itself will tell
    except Exception as error:  # noqa: BLE001 - litellm raises whatever lies under it
        return None if exchange.requests else words(str(error))
    return None


def _ask(arguments: Mapping[str, Any], exchange: Exchange, seconds: float) -> Any:
    litellm = load_litellm()

    def ask() -> Any:
        _here.exchange = exchange
        return litellm.completion(**arguments)

    return within(seconds, ask)


@functools.cache
def load_litellm() -> Any:
    """Import litellm and make it silent and guarded: no network at import, no .env file, nothing in any log."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router", "httpx", "httpcore", "openai"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.setLevel(logging.CRITICAL + 1)
    # The first is for litellm's own handlers (Anthropic, Gemini and most others), the second for the OpenAI client.
    guard = Guard()
    litellm.sync_transport = guard
    litellm.client_session = httpx.Client(transport=guard, trust_env=False, event_hooks={"response": [make_plain]})
    return litellm


@functools.cache
def import_all() -> None:
    """Import litellm and what it puts off until its first request, which together takes seconds."""
    import openai.resources  # noqa: F401

    load_litellm().completion(model="openai/none", messages=[{"role": "user", "content": ""}], mock_response="none")


_T = TypeVar("_T")


def within(seconds: float, work: Callable[[], _T]) -> _T:
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
        raise RequestFailed("timed out", f"no whole answer within {seconds:g} s", billed=True)
    good, value = outcome[0]
    if not good:
        raise value
    result: _T = value
    return result


def classify(error: Exception, exchange: Exchange) -> RequestFailed:
    """What one of litellm's errors means, after what the guard saw; keeps no reference to it."""
    if exchange.failure is not None:
        return exchange.failure
    http = exchange.status
    if not exchange.requests:
        # Wrong or missing settings, a package that is missing: the same next time, and nobody can charge for it.
        return RequestFailed("not sent", words(str(error)))
    if http is None:
        return RequestFailed("failed", words(f"{type(error).__name__}: {error}"), billed=True)
    if http < 400:
        return _no_completion(exchange, str(error))
    detail = words(server_error(exchange.body) or exchange.body.decode(errors="replace") or str(error))
    wait = retry_after(exchange.retry_after)
    if http in (401, 403):
        return RequestFailed("refused the key", detail, http=http)
    if http == 429:
        return RequestFailed("rate limited", detail, http=http, again=True, retry_after=wait)
    if http == 408:
        return RequestFailed("timed out", detail, http=http, again=True, billed=True)
    if http < 500:
        return RequestFailed("bad request", detail, http=http, param=refused_parameter(exchange.body))
    return RequestFailed("server error", detail, http=http, again=True, retry_after=wait)


def _no_completion(exchange: Exchange, otherwise: str) -> RequestFailed:
    """An answer of status 200 that is none, in its own words."""
    said = server_error(exchange.body)
    detail = f"an error with HTTP {exchange.status}: {said}" if said else exchange.body.decode(errors="replace")
    return RequestFailed("not a completion", words(detail or otherwise), again=True, billed=True)


def server_error(body: bytes) -> str | None:
    """The message of a JSON body that reports an error, in whichever of the providers' forms; None for others."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(body)
        value = value[0] if isinstance(value, list) and value else value
        error = value.get("error") if isinstance(value, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        if error:
            return message if isinstance(message, str) and message else json.dumps(error)
    return None


def refused_parameter(body: bytes) -> str | None:
    """The parameter that an error names in a field of its own."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(body)
        error = value.get("error") if isinstance(value, dict) else None
        param = error.get("param") if isinstance(error, dict) else None
        return param if isinstance(param, str) and param else None
    return None


def words(text: str) -> str:
    """An error's text on one line, without secrets and without what litellm puts around it."""
    text = " ".join(redact(text).split()).split(" Traceback (most recent call last)")[0]
    text = text.split("Exception - ", 1)[-1] if text.startswith("litellm.") else text
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= MAX_ERROR else text[:MAX_ERROR] + " ..."


def retry_after(value: str | None) -> float | None:
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
