"""Answers token by token: turns a request into a streaming one, and joins the pieces into the whole answer.

This happens under litellm, which asks for, and sees, an answer in one piece: what is believed of an answer, and what it
costs, is the same either way. Four protocols are known; another one's requests go out as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import httpx

from envgen_exp.llm.body import text_of

STREAM = {"stream": True, "stream_options": {"include_usage": True}}
"""What a request for a stream has, by names that a refusal may use."""


class Whole(Protocol):
    """An answer that comes in pieces."""

    ended: bool
    """Whether the server said that this was all."""

    def add(self, event: dict[str, Any]) -> str:
        """Take one event in; returns what it adds to the text."""

    def body(self) -> dict[str, Any]:
        """The answer as it would have come in one piece."""


class OpenAI:
    """What most servers speak."""

    def __init__(self) -> None:
        self.ended = False
        self._texts: dict[str, list[str]] = {}
        self._finish: str | None = None
        self._rest: dict[str, Any] = {}

    def add(self, event: dict[str, Any]) -> str:
        self._rest |= {name: event[name] for name in ("model", "usage", "error") if event.get(name)}
        choice = _first(event.get("choices"))
        delta = choice.get("delta") or choice.get("message")
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            text = text_of(delta.get(name)) if isinstance(delta, dict) else ""
            if text:
                self._texts.setdefault(name, []).append(text)
        if isinstance(choice.get("finish_reason"), str):
            self._finish, self.ended = choice["finish_reason"], True
        return text_of(delta.get("content")) if isinstance(delta, dict) else ""

    def body(self) -> dict[str, Any]:
        if not self._texts and self._finish is None:
            return self._rest
        message = {"role": "assistant", "content": None, **_joined(self._texts)}
        choice = {"index": 0, "message": message, "finish_reason": self._finish or "stop"}
        return {"object": "chat.completion", "choices": [choice], **self._rest}


class Anthropic:
    """Messages of content blocks."""

    def __init__(self) -> None:
        self.ended = False
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._texts: dict[int, dict[str, list[str]]] = {}

    def add(self, event: dict[str, Any]) -> str:
        kind, delta = event.get("type"), event.get("delta") or {}
        if kind == "error":
            self._message = event
            self.ended = True
        elif kind == "message_start":
            self._message = dict(event["message"])
        elif kind == "content_block_start":
            self._blocks[event["index"]] = dict(event["content_block"])
        elif kind == "content_block_delta":
            texts = self._texts.setdefault(event["index"], {})
            for name in ("text", "thinking", "signature", "partial_json"):
                if isinstance(delta.get(name), str):
                    texts.setdefault(name, []).append(delta[name])
            return str(delta.get("text") or delta.get("partial_json") or "")
        elif kind == "message_delta":
            usage = {**(self._message.get("usage") or {}), **(event.get("usage") or {})}
            self._message |= {**delta, "usage": usage}
        elif kind == "message_stop":
            self.ended = True
        return ""

    def body(self) -> dict[str, Any]:
        blocks = []
        for index, block in self._blocks.items():
            texts = _joined(self._texts.get(index, {}))
            written = texts.pop("partial_json", None)
            try:
                blocks.append({**block, **texts, **({"input": json.loads(written)} if written else {})})
            except ValueError:  # cut off by max_tokens: what there is of it is read as text
                blocks.append({"type": "text", "text": written})
        return self._message | ({"content": blocks} if "error" not in self._message else {})


class Gemini:
    """Answers of candidates, each event a whole answer with the next parts."""

    def __init__(self) -> None:
        self.ended = False
        self._last: dict[str, Any] = {}
        self._parts: list[Any] = []

    def add(self, event: dict[str, Any]) -> str:
        self._last |= event
        candidate = _first(event.get("candidates"))
        parts = (candidate.get("content") or {}).get("parts") or []
        self._parts += parts
        self.ended |= bool(candidate.get("finishReason") or event.get("promptFeedback") or event.get("error"))
        return "".join(text_of(part) for part in parts if not part.get("thought"))

    def body(self) -> dict[str, Any]:
        candidate = _first(self._last.get("candidates"))
        if not candidate:
            return self._last
        content = {"role": "model", **(candidate.get("content") or {}), "parts": self._parts}
        return {**self._last, "candidates": [{**candidate, "content": content}]}


class Ollama:
    """Lines of JSON, each with the next words of a message."""

    def __init__(self) -> None:
        self.ended = False
        self._last: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}

    def add(self, event: dict[str, Any]) -> str:
        self._last |= event
        message = event.get("message") or {}
        for name in ("content", "thinking"):
            if isinstance(message.get(name), str):
                self._texts.setdefault(name, []).append(message[name])
        self.ended |= bool(event.get("done") or event.get("error"))
        return text_of(message.get("content"))

    def body(self) -> dict[str, Any]:
        return {
            **self._last,
            "message": {**(self._last.get("message") or {}), "role": "assistant", **_joined(self._texts)},
        }


def streamed(request: httpx.Request, options: Mapping[str, Any]) -> tuple[httpx.Request, Whole | None]:
    """The request as one for a stream, with what puts its answer together; as it is where it has none.

    `options` are those of STREAM that the server has not refused.
    """
    path = request.url.path
    if "stream" not in options:
        return request, None
    url, more = request.url, dict(options)
    whole: Whole
    if path.endswith("/chat/completions"):
        whole = OpenAI()
    elif path.endswith("/v1/messages"):
        whole, more = Anthropic(), {"stream": True}
    elif path.endswith(":generateContent"):
        whole, more = Gemini(), {}
        url = url.copy_with(path=path.replace(":generateContent", ":streamGenerateContent"))
        url = url.copy_merge_params({"alt": "sse"})
    elif path.endswith("/api/chat"):
        whole, more = Ollama(), {"stream": True}
    else:
        return request, None
    body = json.loads(request.read())
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
    content = json.dumps({**body, **more}).encode()
    return httpx.Request(request.method, url, headers=headers, content=content, extensions=request.extensions), whole


def is_stream(response: httpx.Response) -> bool:
    """Whether a server streams its answer: some answer in one piece, whatever they are asked."""
    kind = response.headers.get("content-type", "")
    return response.status_code == 200 and ("event-stream" in kind or "ndjson" in kind)


def put_together(parts: Iterable[bytes], whole: Whole, pieces: list[str]) -> bytes:
    """The whole answer of a stream; what has come of its text is in `pieces` meanwhile.

    Raises ValueError where the stream is none, or has ended before its end.
    """
    for line in lines(parts):
        field, _, value = line.partition(b":")
        data = line if line.startswith(b"{") else value.strip() if field == b"data" else b""
        if data == b"[DONE]":
            whole.ended = True
            break  # whatever else a server does with the connection
        if data:
            try:
                event = json.loads(data)
                piece = whole.add(event)
            except (ValueError, RecursionError, AttributeError, LookupError, TypeError) as error:
                raise ValueError(f"an event is of no known kind: {data[:100].decode(errors='replace')}") from error
            if piece:
                pieces.append(piece)
            if event.get("error"):
                return json.dumps(event).encode()
    if not whole.ended:
        raise ValueError("the stream ended in the middle")
    try:
        return json.dumps(whole.body()).encode()
    except (AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"the stream makes no answer: {error}") from error


def lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """A stream's lines, which end at line feeds alone: what a model writes may hold other separators as they are."""
    begun: list[bytes] = []
    for part in parts:
        first, *more = part.split(b"\n")
        begun.append(first)
        for line in more:
            yield b"".join(begun).strip()
            begun = [line]
    yield b"".join(begun).strip()


def _joined(texts: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: "".join(pieces) for name, pieces in texts.items()}


def _first(items: Any) -> dict[str, Any]:
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else {}
