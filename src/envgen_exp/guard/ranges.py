"""What the fields of config classes may be: each range stands beside its field and is checked before a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Range:
    """What a field's number or text may be; null is allowed where its type allows it."""

    accepts: Callable[[Any], bool]
    words: str


def ranged(default: Any, allowed: Range) -> Any:
    """A field of a config class with this default whose value is checked before a run."""
    return field(default=default, metadata={"allowed": allowed})


def at_least(low: float, why: str = "") -> Range:
    """`low` and everything above."""
    return Range(lambda value: bool(value >= low), f"{low} or more" + (f", {why}" if why else ""))


def between(low: float, high: float) -> Range:
    """Both ends included."""
    return Range(lambda value: bool(low <= value <= high), f"from {low:g} to {high:g}")


POSITIVE = Range(lambda value: bool(value > 0), "above 0")
TEXT = Range(lambda value: bool(value.strip()), "a text that is not empty")
