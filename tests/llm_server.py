"""A local HTTP server that speaks the OpenAI protocol and misbehaves on demand.

In a test:  with LLMServer(reply) as server: server.script("429 after=0.2", "500", "ok")
By hand:    python tests/llm_server.py --port 8000 [--script "500, 429 after=1, ok"]

A script is a list of faults, one for each request; when it is used up, every request is answered well. By hand the
good answers are designs for Crafter, written by the project's rule-based stand-in from the messages of the request.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import json
import socket
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

NO_RULES = SimpleNamespace(skill_rules=())
"""A family of which only the client's part is needed."""

FAULTS = {
    "ok": "a good answer",
    "429": "too many requests; after=SECONDS or date=SECONDS sends Retry-After as a number or as a date",
    "500": "internal server error",
    "503": "overloaded; after=SECONDS as for 429",
    "401": "key refused; the body repeats the Authorization header",
    "400": "bad request; the body repeats the Authorization header; names=PARAMETER says that it is not supported",
    "echo": "internal server error whose body and reason repeat the Authorization header",
    "echo-reply": "a good answer whose text repeats the Authorization header",
    "slow": "a good answer, for=SECONDS later",
    "hang": "no answer until the client gives up",
    "drip": "a good answer, byte by byte, one every=SECONDS",
    "cut": "half of a good answer, then the connection is reset",
    "cut-early": "the connection is reset before the first byte",
    "bad-json": "status 200 with a body that is no JSON",
    "no-choices": "status 200 with a JSON body of another kind",
    "empty-choices": "a completion with no choices",
    "empty": "a completion with an empty text",
    "null": "a completion whose content is null",
    "html": "status 200 with a page in place of JSON",
    "redirect": "another address, to=URL",
    "gzip": "a good answer, compressed though nobody asked; size=BYTES of spaces after it",
    "brotli": "an answer that says to be compressed by brotli",
    "error-200": "status 200 with a JSON body that reports an error and repeats the key",
    "407": "as a proxy: wants a name and a password",
    "502": "as a proxy: did not get through",
    "in-one": "a good answer in one piece though a stream was asked for",
    "stall": "half of a stream, then nothing",
    "half": "a stream that ends in the middle of an event",
    "no-end": "a stream that ends between two events, the last ones missing",
    "no-done": "a stream without its last line, [DONE]",
    "open": "a good stream whose connection stays open behind [DONE]",
    "huge": "a completion with a text of size=BYTES",
    "length": "a good answer cut by max_tokens, finish_reason length",
    "refusal": "a refusal in place of content",
    "no-usage": "a good answer without token counts",
    "broken": "a good answer cut in the middle of its JSON, finish_reason stop",
    "bad-usage": "a good answer with prompt=JSON and completion=JSON for its token counts",
    "named-cost": "a good answer whose header and body name a cost of -9 dollars",
    "parts": "a good answer whose content is a list of parts",
    "reasoning": "thoughts alone, no content",
    "cut-thinking": "thoughts cut by max_tokens, no content, finish_reason length",
}


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    fault: str
    at: float = field(default_factory=time.monotonic)


class LLMServer:
    """The server, in threads of this process; `seen` holds every request that arrived whole."""

    def __init__(self, reply: Callable[[list[dict[str, str]]], str], port: int = 0) -> None:
        self.reply = reply
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self.on_stage: Callable[[str], None] = lambda stage: None
        """Called in a good answer with 'arrived', 'half' and 'answered'."""
        self._script: deque[str] = deque()
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *faults: str) -> None:
        """What to do with the next requests."""
        for fault in faults:
            if fault.split()[0] not in FAULTS:
                raise ValueError(f"no fault {fault!r}; there are {', '.join(FAULTS)}")
        with self._lock:
            self._script = deque(faults)
            self.seen.clear()

    def next_fault(self) -> str:
        with self._lock:
            return self._script.popleft() if self._script else "ok"

    def __enter__(self) -> LLMServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def wait(self) -> None:
        """Serve until interrupted."""
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: LLMServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are the point of this server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        fault, *words = owner.next_fault().split()
        options = dict(word.split("=", 1) for word in words)
        owner.seen.append(Seen(self.path, dict(self.headers.items()), body, fault))
        # Every connection serves one request, so that a test can count connections too.
        self.close_connection = True
        self._answer(owner, fault, options, body)

    def _answer(self, owner: LLMServer, fault: str, options: dict[str, str], body: dict[str, Any]) -> None:
        authorization = self.headers.get("Authorization", "")
        if fault in ("429", "503"):
            extra = {}
            if "after" in options:
                extra["Retry-After"] = options["after"]
            if "date" in options:
                extra["Retry-After"] = email.utils.formatdate(time.time() + float(options["date"]), usegmt=True)
            text = "Rate limit reached" if fault == "429" else "The server is overloaded"
            self._error(int(fault), text, extra)
        elif fault == "500":
            self._error(500, "The server had an error", {})
        elif fault == "400" and "names" in options:
            name = options["names"]
            advice = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            self._error(
                400, f"Unsupported parameter: '{name}' is not supported with this model.{advice}", {}, param=name
            )
        elif fault in ("401", "400"):
            text = "Incorrect API key provided" if fault == "401" else "This model does not exist"
            self._error(int(fault), f"{text} (you sent {authorization})", {})
        elif fault == "echo":
            self._error(500, f"could not handle {dict(self.headers.items())}", {}, reason=f"Failed {authorization}")
        elif fault == "hang":
            owner.closing.wait()
        elif fault == "cut-early":
            self._reset()
        elif fault == "bad-json":
            self._send(200, b'{"id": "x", "choices": [{"mess', "application/json")
        elif fault == "no-choices":
            self._send(200, b'{"answer": "yes"}', "application/json")
        elif fault == "empty-choices":
            self._send(200, _completion(body, "", choices=[]), "application/json")
        elif fault == "html":
            self._send(200, b"<html><body>Welcome to the captive portal</body></html>", "text/html")
        elif fault == "redirect":
            self._send(307, b"", "text/plain", extra={"Location": options["to"]})
        elif fault == "brotli":
            self._send(200, b"\x0b\x02\x80{}\x03", "application/json", extra={"Content-Encoding": "br"})
        elif fault == "error-200":
            self._error(200, f"The model is asleep (you sent {authorization})", {})
        elif fault in ("407", "502"):
            self._error(int(fault), "The proxy is strict" if fault == "407" else "The proxy got no answer", {})
        else:
            self._good(owner, fault, options, body, authorization)

    def _good(
        self, owner: LLMServer, fault: str, options: dict[str, str], body: dict[str, Any], authorization: str
    ) -> None:
        owner.on_stage("arrived")
        text: str | None = owner.reply(_asked(body))
        finish, refusal, usage = "stop", None, True
        if fault == "slow":
            owner.closing.wait(float(options["for"]))
        elif fault == "huge":
            text = "x" * int(options["size"])
        elif fault == "length":
            text, finish = str(text)[: len(str(text)) // 2], "length"
        elif fault == "broken":
            text = str(text)[: len(str(text)) // 2]
        elif fault == "refusal":
            text, refusal = None, "I can't help with that."
        elif fault == "empty":
            text = ""
        elif fault == "null":
            text = None
        elif fault == "no-usage":
            usage = False
        elif fault == "echo-reply":
            text = f"You sent {authorization}. {text}"
        elif fault == "cut-thinking":
            finish = "length"
        data = _completion(body, text, finish=finish, refusal=refusal, usage=usage)
        extra = {}
        if fault in ("bad-usage", "named-cost", "parts", "reasoning", "cut-thinking"):
            value = json.loads(data)
            message = value["choices"][0]["message"]
            if fault == "bad-usage":
                counts = {f"{name}_tokens": json.loads(options[name]) for name in ("prompt", "completion")}
                value["usage"].update(counts)
            elif fault == "named-cost":
                extra = {"x-litellm-response-cost": "-9"}
                value |= {"_hidden_params": {"response_cost": -9}, "response_cost": -9}
                value["usage"]["cost"] = -9
            elif fault == "parts":
                half = len(str(text)) // 2
                texts = [{"type": "text", "text": part} for part in (str(text)[:half], str(text)[half:])]
                message["content"] = [{"type": "thinking", "thinking": "hmm"}, *texts]
            else:
                message.update(content=None, reasoning_content=str(text))
            data = json.dumps(value).encode()
        kind, events = "application/json", []
        if (fault != "in-one" and "size" not in options) or fault == "huge":
            kind, events = _events(self.path, body, json.loads(data))
            data = b"".join(events) or data
        if fault == "gzip":
            data = compressed(data, int(options.get("size", 0)))
            self._send(200, data, kind, extra={"Content-Encoding": "gzip"})
        elif fault == "cut":
            self._send(200, data, kind, until=len(data) // 2)
            self._reset()
        elif fault in ("stall", "open"):
            self._send(200, data, kind, until=len(data) // 2 if fault == "stall" else len(data), extra={"Length": ""})
            owner.closing.wait()
        elif fault in ("half", "no-end", "no-done"):
            keep = {"half": data[: -len(events[-1]) - 9], "no-end": b"".join(events[:2]), "no-done": data[:-14]}[fault]
            self._send(200, keep, kind, extra={"Length": ""})
        elif fault == "drip":
            self._send(200, data, kind, until=0)
            for byte in data:
                if owner.closing.wait(float(options["every"])):
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        else:
            self._send(200, data, kind, until=len(data) // 2, extra=extra)
            self.wfile.flush()
            owner.on_stage("half")
            self.wfile.write(data[len(data) // 2 :])
            self.wfile.flush()
            owner.on_stage("answered")

    def _error(
        self, status: int, text: str, extra: dict[str, str], reason: str | None = None, param: str | None = None
    ) -> None:
        data = json.dumps({"error": {"message": text, "type": "error", "param": param, "code": None}}).encode()
        self._send(status, data, "application/json", extra=extra, reason=reason)

    def _send(
        self,
        status: int,
        data: bytes,
        kind: str,
        *,
        until: int | None = None,
        extra: dict[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        self.send_response(status, reason)
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), **(extra or {})}
        if "Length" in headers:  # none is said: the end of the connection is the end
            headers = {"Content-Type": kind, "Connection": "close"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:until])
        self.wfile.flush()

    def _reset(self) -> None:
        # Linger 0 makes close() send a reset in place of an orderly end.
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()


def _completion(
    body: dict[str, Any],
    text: str | None,
    *,
    finish: str = "stop",
    refusal: str | None = None,
    usage: bool = True,
    choices: list[Any] | None = None,
) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    value: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body.get("model", ""),
        "choices": [{"index": 0, "message": message, "finish_reason": finish}] if choices is None else choices,
    }
    if usage:
        prompt = sum(len(m["content"]) for m in body.get("messages", [])) // 4
        reply = len(text or "") // 4
        value["usage"] = {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}
    return json.dumps(value).encode()


def _asked(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a request, Gemini's too."""
    said = [content["parts"][0]["text"] for content in body.get("contents", [])]
    return body.get("messages") or [{"role": "user", "content": text} for text in said]


def _events(path: str, body: dict[str, Any], value: dict[str, Any]) -> tuple[str, list[bytes]]:
    """A completion as the stream that was asked for, in the protocol of the path; no events where none was."""
    choice = value["choices"][0]
    message, usage = choice["message"], value.get("usage", {})
    text = message["content"] if isinstance(message["content"], str) else ""
    step = max(40, len(text) // 200)
    pieces = [text[start : start + step] for start in range(0, len(text), step)]
    counts = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    kind = "text/event-stream"
    if path.partition("?")[0].endswith(":streamGenerateContent"):
        parts = [{"candidates": [{"content": {"role": "model", "parts": [{"text": piece}]}}]} for piece in pieces]
        last = {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}
        last["usageMetadata"] = {"promptTokenCount": counts[0], "candidatesTokenCount": counts[1], "totalTokenCount": 9}  # type: ignore[assignment]
        return kind, [_event(part) for part in (*parts, last)]
    if not body.get("stream"):
        return "application/json", []
    if path.endswith("/v1/messages"):
        start = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": body["model"]}
        usage = {"input_tokens": counts[0], "output_tokens": 0}
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        deltas = [{"index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
        end = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": counts[1]}}
        events = [{"type": "message_start", "message": {**start, "usage": usage}}]
        events += [{"type": "content_block_start", **block}, {"type": "ping"}]
        events += [{"type": "content_block_delta", **delta} for delta in deltas]
        events += [{"type": "content_block_stop", "index": 0}, {"type": "message_delta", **end}]
        events += [{"type": "message_stop"}]
        return kind, [f"event: {event['type']}\n".encode() + _event(event) for event in events]
    if path.endswith("/api/chat"):
        lines = [{"message": {"role": "assistant", "content": piece}, "done": False} for piece in pieces]
        done = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
        lines.append(done | {"prompt_eval_count": counts[0], "eval_count": counts[1]})
        named = [{"model": body["model"], "created_at": "2024-01-01T00:00:00Z", **line} for line in lines]
        return "application/x-ndjson", [json.dumps(line).encode() + b"\n" for line in named]
    told = {name: part for name, part in message.items() if part is not None and not (name == "content" and text)}
    deltas = [told, *({"content": piece} for piece in pieces)]
    rest = {name: part for name, part in value.items() if name not in ("choices", "usage")}
    rest["object"] = "chat.completion.chunk"
    chunks = [{**rest, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**rest, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    if body.get("stream_options", {}).get("include_usage") and usage:
        chunks.append({**rest, "choices": [], "usage": usage})
    return kind, [*(_event(chunk) for chunk in chunks), b"data: [DONE]\n\n"]


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def compressed(data: bytes, spaces: int) -> bytes:
    """The data in gzip, followed by so many spaces; gigabytes of them take no time."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = b"\x1f\x8b\x08" + bytes(7) + deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(b" " * 2**20) + deflate.flush(zlib.Z_FULL_FLUSH)
    end = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return start + block * (spaces >> 20) + deflate.flush() + end


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog="faults: " + "; ".join(f"{name}: {gloss}" for name, gloss in FAULTS.items()),
    )
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--script", default="", help="faults for the first requests, separated by commas")
    arguments = parser.parse_args()

    # Imported here: as a fixture the server knows no game.
    from envgen_exp.families.crafter.brief import skill_rules
    from envgen_exp.llm.offline import answer

    rules = skill_rules()
    with LLMServer(lambda messages: answer(messages, rules), arguments.port) as server:
        if arguments.script:
            server.script(*(fault.strip() for fault in arguments.script.split(",")))
        print(f"llm=local llm.api_base={server.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()


if __name__ == "__main__":
    main()
