"""The embedded model as a source of answers: loaded for a call, streamed token by token, unloaded when idle."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envgen_exp.config import LLMConfig
from envgen_exp.errors import UnavailableError
from envgen_exp.guard.redaction import redact
from envgen_exp.llm.embedded import machine
from envgen_exp.llm.embedded.server import Server
from envgen_exp.llm.embedded.weights import cache_folder, weights_of
from envgen_exp.llm.ledger import Address, keep_partial
from envgen_exp.llm.prices import expected_tokens
from envgen_exp.llm.schema import bounded
from envgen_exp.llm.source import Answer, Message, RequestFailed, Writing, sampling_seed
from envgen_exp.llm.stream import lines

if TYPE_CHECKING:
    import httpx

GRAMMAR = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
"""Blanks between a JSON text's parts: none, or a small model may write nothing else until it is cut."""


def check_ready(config: LLMConfig) -> None:
    """Refuse what the first call would fail on: package, processor, weights, memory."""
    machine.check_processor()
    if importlib.util.find_spec("xllamacpp") is None:
        raise UnavailableError(
            f"llm={config.name}: the package xllamacpp is missing: `make model` installs it and fetches the "
            "weights; without make, pip install '.[embedded]' in its clone"
        )
    file = weights_of(config)
    if not machine.is_busy(cache_folder()):  # a model that is at work will have given its memory back
        machine.check_memory(file, config.context)


class Embedded:
    """A language model inside."""

    client = "embedded"

    def __init__(
        self, config: LLMConfig, partial: Path, threads: int = 0, tell: Callable[[Writing], None] | None = None
    ) -> None:
        """`partial` is the folder for what had come of answers that were stopped; `tell` hears how an answer grows."""
        self._config = config
        self._partial = partial
        self._threads = threads or len(os.sched_getaffinity(0))
        self._tell = tell or (lambda _: None)
        self._server: Server | None = None
        self._length: int | None = None
        """Tokens of the last whole answer."""
        self.model = config.model
        self.max_repairs = config.max_repairs

    def request(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, draw: int = 0) -> dict[str, Any]:
        """What decides the answer; the model's name stands for its weights."""
        config = self._config
        return {
            "model": config.model,
            "temperature": config.temperature,
            "seed": sampling_seed(config.seed, draw),
            "max_tokens": config.max_tokens,
            "messages": [dict(message) for message in messages],
            "schema": bounded(schema) if schema is not None and config.structured else None,
        }

    def reserve(self, request: Mapping[str, Any]) -> float | None:
        """Nothing is paid."""
        return 0.0

    def rest(self) -> None:
        """Give memory and threads back; the next call loads the model again."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """The model's answer. Raises RequestFailed; what had come is kept as a record then, never as an answer."""
        pieces: list[str] = []
        start = time.monotonic()
        try:
            return self._answer(request, pieces, start)
        except BaseException as error:
            self.rest()
            keep_partial(self._partial, request, address, pieces, error)
            raise

    def _answer(self, request: Mapping[str, Any], pieces: list[str], start: float) -> Answer:
        import httpx

        config = self._config
        if self._server is None or not self._server.alive:
            self.rest()
            self._server = Server(
                weights_of(config), context=config.context, threads=self._threads, cache=cache_folder()
            )
        headers = {"Authorization": f"Bearer {self._server.key}"}
        last: dict[str, Any] = {}
        finish = "stop"
        try:
            with httpx.Client(
                base_url=self._server.address, headers=headers, timeout=config.timeout, trust_env=False
            ) as client:
                prompt = _post(client, "/apply-template", {"messages": request["messages"]})["prompt"]
                count = len(_post(client, "/tokenize", {"content": prompt, "add_special": True})["tokens"])
                self._check_length(count)
                expected = self._length or expected_tokens(request["schema"], request["max_tokens"])
                for last in _events(client, order(request, prompt)):
                    if "error" in last:
                        finish = "grammar"
                        break
                    pieces.append(last["content"])
                    read = last.get("prompt_progress", {}).get("processed", count)
                    self._tell(Writing(read, count, last["tokens_predicted"], expected))
                    if time.monotonic() - start > config.total_timeout:
                        raise RequestFailed("timed out", f"no whole answer within {config.total_timeout:g} s")
        except httpx.TimeoutException as error:
            detail = f"nothing came for {config.timeout:g} s after {len(pieces)} pieces"
            raise RequestFailed("timed out", detail, again=True) from error
        except httpx.TransportError as error:
            raise RequestFailed("the model's process ended", self._server.lost(str(error)), again=True) from error
        text = redact("".join(pieces))
        self._length = int(last.get("tokens_predicted", 0))
        if last.get("stop_type") == "limit":
            finish = "length"
        elif request["schema"] is not None and finish == "stop" and not _is_json(text):
            finish = "grammar"  # one that the library could not take is passed over by it
        return Answer(
            text=text,
            finish=finish,
            prompt_tokens=count,
            completion_tokens=self._length,
            estimated=False,
            cost=0.0,
            seconds=round(time.monotonic() - start, 3),
            model=self.model,
        )

    def _check_length(self, count: int) -> None:
        config = self._config
        if count + config.max_tokens > config.context:
            raise RequestFailed(
                "the prompt is too long",
                f"it has {count:,} tokens; llm.context={config.context} less llm.max_tokens={config.max_tokens} leaves "
                f"{max(0, config.context - config.max_tokens):,}",
            )


def order(request: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """The request in the server's words: its plain completion, since its chats are read by a parser that may fail."""
    body = {
        "prompt": prompt,
        "n_predict": request["max_tokens"],
        "temperature": request["temperature"],
        "stream": True,
        "return_progress": True,
        "cache_prompt": False,
    }
    if request["seed"] is not None:
        body["seed"] = request["seed"] % 2**32
    if request["schema"] is not None:
        body["json_schema"] = {"x-guidance": GRAMMAR, **request["schema"]}
    return body


def _post(client: httpx.Client, path: str, body: Mapping[str, Any]) -> Any:
    response = client.post(path, json=body)
    if response.status_code != 200:
        raise _refusal(response.status_code, response.text)
    return response.json()


def _events(client: httpx.Client, order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the server sends while it reads and writes, piece by piece."""
    with client.stream("POST", "/completion", json=order) as response:
        if response.status_code != 200:
            raise _refusal(response.status_code, response.read().decode(errors="replace"))
        for line in lines(response.iter_bytes()):
            kind, _, value = line.partition(b": ")
            if kind == b"error" or (kind == b"data" and value != b"[DONE]"):
                event = json.loads(value)
                yield {"error": event} if kind == b"error" else event


def _refusal(status: int, text: str) -> RequestFailed:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["error"]["message"]
    return RequestFailed("the model refused", " ".join(redact(text).split())[:300], http=status)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
