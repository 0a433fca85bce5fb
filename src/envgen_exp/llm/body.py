"""What is believed of a server's answer: reads the forms of it that litellm would throw away, and no other numbers.

litellm fails on a text in parts and on token counts that are no whole numbers, after the answer has been paid for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from envgen_exp.guard.redaction import redact

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger(__name__)

MOST_TOKENS = 10_000_000
"""More tokens than any model reads or writes at once: a greater count is not believed."""

_MESSAGE = {"refusal": str, "reasoning_content": str, "reasoning": str, "thinking_blocks": list, "tool_calls": list}


def make_plain(response: httpx.Response) -> None:
    """Put the plain form of a completion in place of what a server sent; anything else stays as it is."""
    if response.is_success:
        response._content = plain(response.read())  # httpx lets a hook see an answer, not change it


def plain(data: bytes) -> bytes:
    """The parts of a chat completion that are used, its text in one piece."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return data
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict) or body.get("error"):
        return data
    told = {name: message[name] for name, kind in _MESSAGE.items() if isinstance(message.get(name), kind)}
    said = {"role": "assistant", "content": text_of(message.get("content")), **told}
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) else "stop"
    kept: dict[str, Any] = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
    }
    if isinstance(body.get("model"), str):
        kept["model"] = body["model"]
    counts = counted(body.get("usage"))
    if counts is not None:
        details = {"reasoning_tokens": thought_tokens(body["usage"])}
        names = {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}
        kept["usage"] = {**names, "completion_tokens_details": details}
    return json.dumps(kept).encode()


def text_of(content: Any) -> str:
    """A message's text in one piece. It may come in parts; those of other kinds, say thoughts, are no text."""
    if isinstance(content, list):
        return "".join(text_of(part) for part in content)
    if isinstance(content, dict):
        content = content.get("text")
    return content if isinstance(content, str) else ""


def counted(usage: Any) -> tuple[int, int] | None:
    """The prompt's and the completion's tokens as the server counts them; None where it does not.

    Also None, with a warning, where they are not two whole numbers from 0 to MOST_TOKENS.
    """
    if usage is None:
        return None
    prompt, completion = counts = _member(usage, "prompt_tokens"), _member(usage, "completion_tokens")
    if all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts):
        return (prompt, completion) if prompt else None
    _log.warning(
        "the server counts %s prompt and %s completion tokens, no whole numbers from 0 to %d: they are counted here",
        *(redact(repr(count))[:40] for count in counts),
        MOST_TOKENS,
    )
    return None


def thoughts(message: Any, text: str) -> str:
    """What a model thought before its answer, where the server shows it, also in a text that is nothing else."""
    told = getattr(message, "reasoning_content", None)
    blocks = getattr(message, "thinking_blocks", None)
    if not told and isinstance(blocks, list):
        told = "".join(str(block.get("thinking") or "") for block in blocks if isinstance(block, Mapping))
    start = text.lstrip().lower()
    only = start.startswith("<think") and "</think" not in start
    return told if isinstance(told, str) and told else text if only else ""


def thought_tokens(usage: Any) -> int:
    """Tokens of thoughts as the server counts them; 0 where it does not."""
    count = _member(_member(usage, "completion_tokens_details"), "reasoning_tokens")
    return count if type(count) is int and 0 < count <= MOST_TOKENS else 0


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
