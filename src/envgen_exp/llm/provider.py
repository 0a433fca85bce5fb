"""A real language model: what it is sent, and what its answer holds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from envgen_exp.config import LLMConfig, LLMKind
from envgen_exp.guard.redaction import redact
from envgen_exp.guard.secrets import use
from envgen_exp.llm import body, keys, parameters, prices
from envgen_exp.llm.ledger import Address, keep_partial
from envgen_exp.llm.schema import portable
from envgen_exp.llm.source import MAX_TEXT, Answer, Message, RequestFailed, Writing, sampling_seed
from envgen_exp.llm.stream import STREAM

_CHARACTERS = 4
"""Of a token, about: servers count tokens at an answer's end alone."""


class _Heard(list[str]):
    """The pieces of an answer's text; whoever wants to know is told of each."""

    def __init__(self, tell: Callable[[Writing], None], prompt: int, expected: int) -> None:
        self._tell, self._prompt, self._expected = tell, prompt, expected
        self._characters = 0

    def append(self, piece: str) -> None:
        super().append(piece)
        self._characters += len(piece)
        written = max(1, self._characters // _CHARACTERS)
        self._tell(Writing(self._prompt, self._prompt, written, self._expected))


class Provider:
    """A language model behind litellm."""

    client = LLMKind.litellm.name

    def __init__(
        self, config: LLMConfig, partial: Path | None = None, tell: Callable[[Writing], None] | None = None
    ) -> None:
        """`partial` is the folder for what had come of answers that were stopped; `tell` hears how an answer grows."""
        use(config.key_variable)
        self._partial = partial
        self._config = config
        self._tell = tell
        self._length: int | None = None
        """Tokens of the last whole answer."""
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
        from envgen_exp.llm import transport

        transport.import_all()  # now, since the ledger says next that the request is out
        return prices.most_cost(self._config, request["messages"], request["schema"])

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """Send one request and listen for as long as something comes at least each `llm.timeout` seconds.

        Raises RequestFailed; what had come is kept as a record then, never as an answer.
        """
        config = self._config
        # litellm comes with the first request: it takes seconds to import.
        from envgen_exp.llm import transport

        litellm = transport.load_litellm()
        # What pydantic says of an answer that is not of the form it should be quotes the answer.
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
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
            # Some providers know no temperature or seed: rather without than not at all.
            "drop_params": True,
        }
        if config.api_base:
            arguments["api_base"] = config.api_base
        if request["seed"] is not None:
            arguments["seed"] = request["seed"]
        if request["schema"] is not None and self._may_take_a_schema(litellm):
            form = {"name": "designs", "strict": True, "schema": request["schema"]}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        arguments = parameters.adapted(config.model, config.api_base, {**arguments, **STREAM})
        stream = {name: arguments.pop(name) for name in STREAM if name in arguments}
        if config.api_base and "response_format" in arguments and not config.model.startswith("anthropic/"):
            arguments["allowed_openai_params"] = ["response_format"]  # else litellm drops it by the model's name

        start = time.monotonic()
        pieces = self._heard(request)
        try:
            response = transport.complete(arguments, config.total_timeout, stream, pieces)
        except RequestFailed as failed:
            failure = failed
            keep_partial(self._partial, request, address, pieces, failure)
            sent = {**arguments, **stream}
            done = failure.http in (400, 422) and parameters.learn(config.model, config.api_base, sent, failure)
            if done:
                detail = f"{done} from now on: {failure.detail}"
                failure = RequestFailed("refused a parameter", detail, http=failure.http, again=True, adapted=True)
        except BaseException as error:
            keep_partial(self._partial, request, address, pieces, error)
            raise
        else:
            return self._answer(response, request, time.monotonic() - start)
        raise failure

    def _heard(self, request: Mapping[str, Any]) -> list[str]:
        """A list for the pieces of an answer."""
        if self._tell is None:
            return []
        prompt = prices.count_tokens(request["messages"])
        return _Heard(
            self._tell, prompt, self._length or prices.expected_tokens(request["schema"], request["max_tokens"])
        )

    def _answer(self, response: Any, request: Mapping[str, Any], seconds: float) -> Answer:
        choice = response.choices[0]
        message, finish = choice.message, choice.finish_reason or "stop"
        text = message.content if isinstance(message.content, str) else ""
        refusal = (getattr(message, "provider_specific_fields", None) or {}).get("refusal")
        if not text and isinstance(refusal, str):
            text, finish = refusal, "refusal"
        # Hidden before it is cut, so that no part of a key stays; half a character pair could not be sent again.
        text = redact(text[: 2 * MAX_TEXT])[:MAX_TEXT].encode(errors="replace").decode()
        usage = getattr(response, "usage", None)
        counted = body.counted(usage)
        thoughts = body.thoughts(message, text)
        reasoning = prices.count_text(thoughts[:MAX_TEXT])
        own = prices.count_text(text) + (0 if thoughts == text else reasoning)
        # The larger count of the server's and ours: a cap must hold whatever a server says.
        prompt_tokens, completion_tokens = counted or (0, 0)
        prompt_tokens = max(prompt_tokens, prices.count_tokens(request["messages"]))
        completion_tokens = max(completion_tokens, own)
        price = prices.prices(self._config)
        self._length = completion_tokens
        return Answer(
            text=text,
            finish=redact(str(finish))[:40],
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            estimated=counted is None,
            cost=price.cost(prompt_tokens, completion_tokens) if price else None,
            seconds=round(seconds, 3),
            model=redact(str(getattr(response, "model", None) or self.model))[:200],
            reasoning=max(reasoning, body.thought_tokens(usage)),
        )

    def _may_take_a_schema(self, litellm: Any) -> bool:
        """Whether to try: only of a provider's own model does litellm's table know that it can't."""
        model = self._config.model
        unknown = self._config.api_base or not prices.known_model(model)
        return bool(unknown or litellm.supports_response_schema(model=model))
