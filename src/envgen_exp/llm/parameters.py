"""Learns from refusals which parameters a server does not take: a model's name says little of that.

What was learnt lasts for the process. It leaves a request's identity alone, so that a resume buys nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_INSTEAD: Mapping[str, str | None] = {
    "max_tokens": "max_completion_tokens",  # never left out: caps rest on it
    "response_format": None,
    "temperature": None,
    "seed": None,
    "stream_options": None,
    "stream": None,  # the answer comes in one piece then
}

_ALSO = {"response_format": "|json_schema", "stream_options": "|include_usage", "stream": "|streaming"}
"""Other words by which a refusal names a parameter."""

_OUT_OF_RANGE = re.compile(r"\b(range|between|maximum|at most|less than)\b")
"""How a refusal speaks of a value that a parameter can't have, not of the parameter."""

_learnt: dict[tuple[str, str | None], set[str]] = {}


def adapted(model: str, address: str | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without those that the server has refused, or under the names that it knows."""
    refused = _learnt.get((model, address), ())
    names = {name: _INSTEAD[name] if name in refused else name for name in arguments}
    return {names[name] or "": value for name, value in arguments.items() if names[name]}


def learn(model: str, address: str | None, arguments: Mapping[str, Any], error: Exception) -> str | None:
    """What is done from now on about a parameter that a refusal names; None where it names none, or one again."""
    param = getattr(error, "param", None)
    said = param if isinstance(param, str) and param else str(error)
    refused = _learnt.setdefault((model, address), set())
    for name, instead in _INSTEAD.items():
        named = re.search(rf"(?<![\w-])(?:{name}{_ALSO.get(name, '')})(?![\w-])", said)
        if named and name == "temperature" and _OUT_OF_RANGE.search(said):
            return None  # without it the run would be at another temperature than its config says
        if named and name in arguments and name not in refused:
            refused.add(name)
            return f"{name} is sent as {instead}" if instead else f"{name} is left out"
    return None
