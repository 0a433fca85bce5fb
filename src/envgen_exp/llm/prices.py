"""What a model charges and how many tokens a message has, without a request and without importing litellm."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envgen_exp.config import LLMConfig, LLMKind
from envgen_exp.llm.schema import bounded, typical
from envgen_exp.llm.source import Message

_MARGIN = 1.25
"""Other tokenizers than cl100k_base make up to a quarter more tokens of English and JSON."""

_MESSAGE_TOKENS = 4
"""What the chat form adds to each message."""


@dataclass(frozen=True)
class Prices:
    """Dollars per token."""

    input: float
    output: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars of one request."""
        return prompt_tokens * self.input + completion_tokens * self.output


@dataclass(frozen=True)
class Expected:
    """What a run is going to ask for, if no reply needs repair and no request has to be repeated."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """Dollars; None where the price is unknown."""


def prices(config: LLMConfig) -> Prices | None:
    """The prices set in config, else those of litellm's table; None where neither knows the model."""
    if config.input_price is not None and config.output_price is not None:
        return Prices(config.input_price / 1e6, config.output_price / 1e6)
    # What is pasted into a chat window is not charged by the token.
    known = {} if config.kind is LLMKind.paste else known_model(config.model)
    if "input_cost_per_token" not in known or "output_cost_per_token" not in known:
        return None
    return Prices(float(known["input_cost_per_token"]), float(known["output_cost_per_token"]))


def known_model(model: str) -> Mapping[str, Any]:
    """What litellm's table says of a model, with or without its provider's prefix; empty where it is not in it."""
    table = _table()
    if model in table:
        return table[model]
    provider, _, name = model.partition("/")
    entry = table.get(name, {})
    return entry if entry.get("litellm_provider") == provider else {}


def count_tokens(messages: Sequence[Message]) -> int:
    """Tokens of a chat in OpenAI's cl100k_base encoding: near enough for plans, other models differ by some percent."""
    return sum(count_text(message["content"]) + _MESSAGE_TOKENS for message in messages)


def count_text(text: str) -> int:
    """Tokens of a text in the same encoding."""
    encoding = _encoding()
    if encoding is None:
        return math.ceil(len(text.encode(errors="replace")) / 4)
    return len(encoding.encode(text, disallowed_special=()))


def expected_tokens(schema: Mapping[str, Any] | None, most: int) -> int:
    """Tokens of an answer in the schema's form, guessed; without a schema the `most` that it may have."""
    return most if schema is None else min(count_text(json.dumps(typical(bounded(schema)))), most)


def most_cost(config: LLMConfig, messages: Sequence[Message], schema: Mapping[str, Any] | None = None) -> float | None:
    """The most dollars that one request can cost; None where the price is unknown."""
    price = prices(config)
    tokens = count_tokens(messages) + (count_text(json.dumps(schema)) if schema else 0)
    return price.cost(math.ceil(tokens * _MARGIN), config.max_tokens) if price else None


def expected_cost(
    config: LLMConfig,
    first: Sequence[Message],
    feedback: Sequence[Message] | None,
    reply: str,
    calls: int,
) -> Expected:
    """Calls, tokens and dollars of a whole run.

    `first` is the chat of the first call, `feedback` what each later one adds to it, `reply` a typical answer; the
    chat is kept, so every call sends all that came before again. Without `feedback` every call sends the first chat.
    """
    answer = count_text(reply)
    start = count_tokens(first)
    more = 0 if feedback is None else count_tokens(feedback) + answer + _MESSAGE_TOKENS
    prompt_tokens = sum(start + call * more for call in range(calls))
    price = prices(config)
    cost = price.cost(prompt_tokens, calls * answer) if price else None
    return Expected(calls, prompt_tokens, calls * answer, cost)


def _litellm_folder() -> Path | None:
    # Finding a package does not import it, and litellm takes seconds to import.
    found = importlib.util.find_spec("litellm")
    return Path(next(iter(found.submodule_search_locations))) if found and found.submodule_search_locations else None


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    folder = _litellm_folder()
    file = folder / "model_prices_and_context_window_backup.json" if folder else None
    if file is None or not file.is_file():
        return {}
    table: dict[str, dict[str, Any]] = json.loads(file.read_text())
    return table


@functools.cache
def _encoding() -> Any:
    """tiktoken's cl100k_base from the copy that litellm brings, so that nothing is fetched; None without that copy."""
    folder = _litellm_folder()
    cache = folder / "litellm_core_utils" / "tokenizers" if folder else None
    if cache is None or not (cache / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4").is_file():
        return None
    os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)  # as litellm does when it is imported
    import tiktoken

    return tiktoken.get_encoding("cl100k_base")
