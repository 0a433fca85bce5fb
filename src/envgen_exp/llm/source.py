"""What can stand behind a client: a provider, the offline stand-in, a recorded run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from envgen_exp import seeding
from envgen_exp.llm.ledger import Address

MAX_TEXT = 200_000
"""Characters of a reply that are kept; the longest useful ones have some thousands."""


class Message(TypedDict):
    """One message of a chat; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Answer:
    """What came back for one request, without secrets."""

    text: str
    finish: str
    """stop, length (cut by llm.max_tokens), refusal, content_filter, or what else the provider says."""
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    """Whether the tokens were counted here because the server did not say, or nothing that can be."""
    cost: float | None
    """Dollars; None where the price is unknown."""
    seconds: float
    """From sending the successful request to the end of its answer."""
    model: str
    """The name that the server gave."""
    reasoning: int = 0
    """Tokens that the model thought before its text, where the server shows or counts them."""


@dataclass(frozen=True)
class Writing:
    """How far an answer is that is still being written, in tokens."""

    read: int
    """Of the prompt, so far."""
    prompt: int
    written: int
    """Of the answer, so far."""
    expected: int
    """Of a whole answer, guessed."""


def sampling_seed(seed: int | None, draw: int) -> int | None:
    """The seed of the `draw`-th answer to the same messages: for the first, 0, the one that is configured."""
    return seeding.integers(seed or 0, "llm", draw, count=1)[0] if draw else seed


class RequestFailed(Exception):  # noqa: N818 - an outcome that the client deals with; users see an EnvGenError
    """A request ended without an answer."""

    def __init__(
        self,
        status: str,
        detail: str,
        *,
        http: int | None = None,
        again: bool = False,
        billed: bool = False,
        retry_after: float | None = None,
        adapted: bool = False,
        param: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        """What happened, in words: 'rate limited', 'timed out', ..."""
        self.detail = detail
        """The server's or the library's own words, shortened and without secrets."""
        self.http = http
        self.again = again
        """Whether the same request may succeed later."""
        self.billed = billed
        """Whether the provider may charge for it."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""
        self.param = param
        """The parameter that a refusal names."""
        self.adapted = adapted
        """Whether the next request leaves out what was refused: it goes at once and is not counted as a repetition."""


class Source(Protocol):
    """What answers."""

    @property
    def client(self) -> str:
        """The kind that ledger lines bear: a member of LLMKind by name."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def max_repairs(self) -> int:
        """How often a reply that can't be used may go back."""

    def request(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, draw: int = 0) -> dict[str, Any]:
        """The request as it is recorded and hashed: all that can change the answer, and no key.

        `draw` is which of the answers that the model may give to the same messages.
        """

    def reserve(self, request: Mapping[str, Any]) -> float | None:
        """The most dollars that the request can cost; None where the price is unknown."""

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """Send one request. Raises RequestFailed."""
