"""The one way to ask a language model: retries, caps, the ledger, and answers that are never bought twice."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tenacity

from envgen_exp.config import LLMConfig, LLMKind
from envgen_exp.errors import BudgetError, ConfigError, LLMError, UnavailableError
from envgen_exp.families.family import Family
from envgen_exp.llm import keys, prices
from envgen_exp.llm.embedded import source as embedded
from envgen_exp.llm.ledger import LASTING, MODELS, PARTIAL, Address, Ledger, Totals, call_key, digest, record_bytes
from envgen_exp.llm.offline import Offline
from envgen_exp.llm.paste import Paste
from envgen_exp.llm.provider import Provider
from envgen_exp.llm.replay import Replay
from envgen_exp.llm.source import MAX_TEXT, Answer, Message, RequestFailed, Source, Writing

_log = logging.getLogger(__name__)

_FIRST_WAIT = 1.0
"""Seconds before the second attempt; each further wait is twice as long, with jitter, up to llm.max_wait."""

_MOST_ANSWER_BYTES = 12 * MAX_TEXT + 4096
"""Of a record without its request: JSON needs up to 12 bytes for a character."""


@dataclass(frozen=True, kw_only=True)
class Completion(Answer):
    """A model's answer to a chat."""

    attempts: int
    """Requests that it took."""
    call: int
    """Its number in the ledger, from 1."""


class Client(Protocol):
    """What a designer asks."""

    @property
    def max_repairs(self) -> int:
        """How often a reply that can't be used may go back."""

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        cycle: int,
        purpose: str = "design",
        draw: int = 0,
    ) -> Completion:
        """The answer to a chat, from the model or, where an earlier process finished this very call, from disk.

        `cycle` is the part of the run that a call belongs to, and that calls are counted in: a designer's cycle, or the
        episode where the model is the agent; both from 1, 0 is before the first.
        `schema` is the JSON schema of the answer, for models that can be held to one; `draw` tells answers to equal
        chats apart, each with a sampling seed of its own. Raises BudgetError, ReplayError or UnavailableError.
        """

    def totals(self, cycle: int | None = None) -> Totals:
        """What the run has asked of real language models so far, in all or in one cycle, resumes included."""

    def rest(self) -> None:
        """Nothing is asked for a while: a model that runs here gives its memory and threads back."""


def check_ready(config: LLMConfig) -> None:
    """Refuse, before anything is written, what the first call would fail on.

    Raises MissingKeyError without a key or a setting that the provider needs, ConfigError for a cap that can't be kept,
    an unknown provider or a wrong variable of a proxy, RunFolderError for a folder that can't be replayed.
    """
    if config.kind is LLMKind.replay:
        Replay(config)
    if config.kind is LLMKind.embedded:
        embedded.check_ready(config)
    if config.kind is LLMKind.litellm:
        keys.check_key(config)
    if config.max_dollars is not None and config.kind.is_model and prices.prices(config) is None:
        raise ConfigError(
            f"llm.max_dollars={config.max_dollars} can't be kept: the price of {config.model} is unknown;"
            " set llm.input_price and llm.output_price (dollars per million tokens)"
        )


def make_client(
    config: LLMConfig,
    folder: Path,
    family: Family,
    *,
    run: str,
    threads: int = 0,
    tell: Callable[[Writing], None] | None = None,
) -> Client:
    """The client of a run; `folder` is the run's llm/, `run` the name that ledger lines bear.

    `tell` hears how an answer grows; a model that runs here takes so many `threads` (0: what the machine has).
    """
    source: Source
    if config.kind is LLMKind.offline:
        source = Offline(family.skill_rules, config.max_repairs, config.seed)
    elif config.kind is LLMKind.replay:
        source = Replay(config)
    elif config.kind is LLMKind.embedded:
        source = embedded.Embedded(config, folder / PARTIAL, threads, tell)
    elif config.kind is LLMKind.paste:
        source = Paste(config, folder)
    else:
        source = Provider(config, folder / PARTIAL, tell)
    client = RecordedClient(config, source, Ledger(folder, run))
    if config.kind is LLMKind.litellm and config.check_key:
        client.check()
    return client


class LateClient:
    """A client that answers once the run's folder is open, for those who are made before."""

    def __init__(self) -> None:
        self._client: Client | None = None

    def open(self, client: Client) -> None:
        """Answer by this client from now on."""
        self._client = client

    @property
    def _opened(self) -> Client:
        assert self._client is not None, "a client answers once its run's folder is open"
        return self._client

    @property
    def max_repairs(self) -> int:
        return self._opened.max_repairs

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        cycle: int,
        purpose: str = "design",
        draw: int = 0,
    ) -> Completion:
        return self._opened.complete(messages, schema, cycle=cycle, purpose=purpose, draw=draw)

    def totals(self, cycle: int | None = None) -> Totals:
        return self._opened.totals(cycle)

    def rest(self) -> None:
        if self._client is not None:
            self._client.rest()


class RecordedClient:
    """A client that keeps the ledger, the caps and the retries around whatever answers."""

    def __init__(self, config: LLMConfig, source: Source, ledger: Ledger) -> None:
        self._config = config
        self._source = source
        self._ledger = ledger
        self._positions: Counter[tuple[int, str]] = Counter()
        self._opened = False
        self._adapted = 0
        """Attempts of the present call that only taught what the server does not take."""

    @property
    def max_repairs(self) -> int:
        return self._source.max_repairs

    def totals(self, cycle: int | None = None) -> Totals:
        return self._ledger.totals(cycle)

    def rest(self) -> None:
        if isinstance(self._source, embedded.Embedded):
            self._source.rest()

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        cycle: int,
        purpose: str = "design",
        draw: int = 0,
    ) -> Completion:
        address = Address(cycle, purpose, self._positions[cycle, purpose])
        self._positions[cycle, purpose] += 1
        request = self._source.request(messages, schema, draw)
        key = call_key(address, digest(request))
        record = self._ledger.finished(key)
        if record is None:
            record = self._buy(address, request, key)
        return Completion(**record["answer"], attempts=record["attempts"], call=record["call"])

    def check(self) -> None:
        """Send one request; LLMError where it does not go through."""
        self._positions[0, "check"] = self._ledger.totals(0).calls  # what an earlier process heard is of another day
        self.complete([{"role": "user", "content": "Answer with the word ok."}], cycle=0, purpose="check")

    def _buy(self, address: Address, request: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Ask until there is an answer or no hope of one; returns the record that is now on disk."""
        if not self._opened:
            self._ledger.opened(self._source.client, self._source.model, self._source.max_repairs)
            self._opened = True
        call = self._ledger.next_call()
        self._adapted = 0
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, RequestFailed) and error.again),
            stop=self._no_more,
            wait=self._wait,
            before_sleep=self._tell,
            reraise=True,
        )
        start = time.monotonic()
        try:
            for attempt in retrying:
                with attempt:
                    number = attempt.retry_state.attempt_number
                    return self._attempt(address, request, key, call, number)
        except RequestFailed as failure:
            attempts = retrying.statistics.get("attempt_number", 1) - self._adapted
            line = self._epitaph(failure, attempts, time.monotonic() - start)
        raise UnavailableError(line)

    def _attempt(
        self, address: Address, request: Mapping[str, Any], key: str, call: int, attempt: int
    ) -> dict[str, Any]:
        """One request, with its lines in the ledger around it."""
        ledger, source = self._ledger, self._source
        waiting = ledger.waiting(address, digest(request))
        if waiting is not None:
            call, attempt = waiting
        else:
            reserve = source.reserve(request)
            self._keep_caps(reserve)
            bought = source.client in MODELS - LASTING
            ledger.sent(
                address,
                call,
                attempt,
                digest(request),
                client=source.client,
                model=source.model,
                reserve=reserve,
                room=len(record_bytes({"request": request})) + _MOST_ANSWER_BYTES if bought else 0,
            )
        start = time.monotonic()
        try:
            answer = source.ask(request, address)
        except RequestFailed as failure:
            ledger.failed(
                call,
                attempt,
                status=failure.status,
                http=failure.http,
                error=failure.detail,
                seconds=time.monotonic() - start,
                billed=failure.billed,
            )
            raise
        except LLMError as error:
            ledger.failed(call, attempt, status="refused", http=None, error=str(error), seconds=0.0, billed=False)
            raise
        except BaseException as error:
            if source.client not in LASTING:
                ledger.ended_unseen(call, attempt, type(error).__name__)
            raise
        record = {
            "cycle": address.cycle,
            "purpose": address.purpose,
            "position": address.position,
            "call": call,
            "attempts": attempt,
            "client": source.client,
            "request": request,
            "answer": dataclasses.asdict(answer),
        }
        ledger.answered(call, attempt, key, record)
        if answer.reasoning and answer.finish == "length":
            _log.warning(
                "llm=%s: the answer was cut off after %d tokens, of which %d were reasoning: raise llm.max_tokens=%d",
                self._config.name,
                answer.completion_tokens,
                answer.reasoning,
                self._config.max_tokens,
            )
        return record

    def _keep_caps(self, reserve: float | None) -> None:
        config = self._config
        if self._source.client not in MODELS:
            return
        calls = self._ledger.totals().calls
        if config.max_calls is not None and calls >= config.max_calls:
            raise BudgetError(
                f"llm.max_calls={config.max_calls}: the run has sent {calls} requests; the next is not sent"
            )
        if config.max_dollars is not None and reserve is not None:
            price = prices.prices(config)
            spent = self._ledger.committed(price.cost if price else None, reserve)
            if spent + reserve > config.max_dollars:
                raise BudgetError(
                    f"llm.max_dollars={config.max_dollars:g}: ${spent:.4f} are spent or may be and the next request can"
                    f" cost up to ${reserve:.4f}; it is not sent"
                )

    # tenacity's questions

    def _no_more(self, state: tenacity.RetryCallState) -> bool:
        failure = _failure(state)
        if failure.adapted:
            self._adapted += 1
            return False
        wait = failure.retry_after
        attempts = state.attempt_number - self._adapted
        return attempts >= self._config.max_attempts or (wait is not None and wait > self._config.max_wait)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        if _failure(state).adapted:
            return 0.0
        most = self._config.max_wait
        backoff = tenacity.wait_exponential_jitter(initial=_FIRST_WAIT, max=most)(state)
        return max(min(backoff, most), _failure(state).retry_after or 0.0)

    def _tell(self, state: tenacity.RetryCallState) -> None:
        failure = _failure(state)
        if failure.adapted:
            _log.warning("llm=%s: %s: %s", self._config.name, failure.status, failure.detail)
            return
        seconds = state.next_action.sleep if state.next_action else 0.0
        _log.warning(
            "llm=%s: %s (%s); next attempt in %.1f s, %d of %d are used",
            self._config.name,
            failure.status,
            failure.detail,
            seconds,
            state.attempt_number - self._adapted,
            self._config.max_attempts,
        )

    def _epitaph(self, failure: RequestFailed, attempts: int, seconds: float) -> str:
        """The one line for a call that got no answer."""
        config = self._config
        status = failure.status + (f" (HTTP {failure.http})" if failure.http else "")
        where = f" at {config.api_base}" if config.api_base else ""
        line = f"llm={config.name}: {config.model}{where}: {status}"
        if not failure.again:
            return f"{line}: {failure.detail}"
        if failure.retry_after is not None and failure.retry_after > config.max_wait:
            return (
                f"{line}: the server asks to wait {failure.retry_after:.0f} s, longer than"
                f" llm.max_wait={config.max_wait:g}: {failure.detail}"
            )
        return f"{line} {attempts} times in {seconds:.0f} s, llm.max_attempts={config.max_attempts}: {failure.detail}"


def _failure(state: tenacity.RetryCallState) -> RequestFailed:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, RequestFailed)
    return error
