"""What a designer hands over: the designs of a cycle and where each came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envgen_exp.families.design import Design
from envgen_exp.families.family import DesignCheck
from envgen_exp.guard.reading import understood

DESIGNER, LAST, DEFAULT = "designer", "last good designs", "default designs"


@dataclass(frozen=True)
class Proposal:
    """The designs of one cycle."""

    designs: tuple[Design | None, ...]
    """One for each slot of designed training; None is the original."""
    notes: tuple[str, ...] = ()
    """What was read leniently, clamped, refused or filled in."""
    checks: tuple[DesignCheck | None, ...] = ()
    """What sampling each design's worlds found; None for the original."""
    source: str = DESIGNER
    """'designer'; 'last good designs' or 'default designs' where no reply could be used."""
    filled: tuple[int, ...] = ()
    """Numbers, from 1, of the designs that are not the designer's own."""
    repairs: int = 0
    """How often a reply went back to the model."""
    returns: tuple[float, ...] = ()
    """Mean return in each design of the agent by which designs were ranked; empty where they were not."""

    def take(self, indices: Sequence[int], returns: Sequence[float]) -> Proposal:
        """The designs with these indices, in their order; `returns` are those of all of them."""
        return dataclasses.replace(
            self,
            designs=tuple(self.designs[index] for index in indices),
            checks=tuple(self.checks[index] for index in indices),
            filled=tuple(number for number, index in enumerate(indices, start=1) if index + 1 in self.filled),
            returns=tuple(returns[index] for index in indices),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "designs": [None if design is None else design.model_dump(mode="json") for design in self.designs],
            "notes": list(self.notes),
            "checks": [None if check is None else _plain(check) for check in self.checks],
            "source": self.source,
            "filled": list(self.filled),
            "repairs": self.repairs,
            "returns": list(self.returns),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], model: type[Design]) -> Proposal:
        """The proposal that `to_json` made plain; `model` is the family's design model."""

        def design(raw: dict[str, Any]) -> Design:
            return model(**{**raw, "targets": tuple(raw["targets"])})

        def check(raw: dict[str, Any]) -> DesignCheck:
            tuples = {name: tuple(raw[name]) for name in ("findings", "impossible")}
            return DesignCheck(**{**raw, **tuples})

        with understood("a phase's designs"):
            return cls(
                designs=tuple(None if raw is None else design(raw) for raw in value["designs"]),
                notes=tuple(value["notes"]),
                checks=tuple(None if raw is None else check(raw) for raw in value["checks"]),
                source=value["source"],
                filled=tuple(value["filled"]),
                repairs=value["repairs"],
                returns=tuple(value.get("returns", ())),
            )


def _plain(check: DesignCheck) -> dict[str, Any]:
    value = dataclasses.asdict(check)
    return {**value, "findings": list(check.findings), "impossible": list(check.impossible)}
