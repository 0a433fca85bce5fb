"""A real language model: what it is sent, and what its answer holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from envgen_exp.config import LLMConfig
from envgen_exp.llm import keys, prices
from envgen_exp.llm.ledger import MODEL, Address
from envgen_exp.llm.redaction import redact
from envgen_exp.llm.source import Answer, Message, sampling_seed

MAX_TEXT = 200_000
"""Characters of a reply that are kept; the longest useful ones have some thousands."""


class Provider:
    """A language model behind litellm."""

    client = MODEL

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
            "schema": schema if config.structured else None,
        }

    def reserve(self, request: Mapping[str, Any]) -> float | None:
        """The most dollars that the request can cost; None where the price is unknown."""
        return prices.most_cost(self._config, request["messages"])

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """Send one request and wait at most `llm.timeout` seconds for the whole answer. Raises RequestFailed."""
        config = self._config
        # litellm comes with the first request: it takes seconds to import.
        from envgen_exp.llm import transport

        litellm = transport.load_litellm()
        arguments: dict[str, Any] = {
            "model": request["model"],
            "messages": request["messages"],
            "temperature": request["temperature"],
            "max_tokens": request["max_tokens"],
            "timeout": config.timeout,
            "api_key": keys.key(config),
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
        response = transport.complete(arguments, config.timeout)
        return self._answer(response, request, time.monotonic() - start)

    def _answer(self, response: Any, request: Mapping[str, Any], seconds: float) -> Answer:
        choice = response.choices[0]
        message, finish = choice.message, choice.finish_reason or "stop"
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
