"""A design, one environment's settings, and the vocabulary that a family writes its settings in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from envgen_exp.errors import DesignError


class Design(BaseModel):
    """One environment's settings inside a family's design space; a family adds its settings as fields.

    `purpose` and `targets` are what the designer said of it; they change nothing in the game.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    purpose: str = ""
    targets: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """The settings alone, in the vocabulary's order: what decides how the game plays."""
        return self.model_dump(mode="json", exclude={"purpose", "targets"})


def design_key(design: Design | None) -> str:
    """A short name for a design that is equal for equal settings: 'original' or twelve hexadecimal digits."""
    return "original" if design is None else settings_key(design.settings())


def check_design(design: object, model: type[Design]) -> Design | None:
    """None, the original, or a design of the family's model; DesignError for anything else."""
    if design is None or isinstance(design, model):
        return design
    raise DesignError(f"design: needs a {model.__name__} or None (the original), got {type(design).__name__}")


def settings_key(settings: Mapping[str, Any]) -> str:
    """The name of the design with these settings."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Setting:
    """One word of a family's vocabulary: the single truth for prompt, reply parser, design model and engine.

    A setting takes either one of `choices` or a whole number from `low` to `high`.
    """

    name: str
    doc: str
    """One sentence for the prompt: what it does in the game."""
    default: str | int
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    groups: tuple[str, ...] = ()
    """Names of groups in which a design may have it among others, e.g. inventory_settings."""
    short: str = ""
    """Its name inside those groups, where that is another one."""

    def allowed(self) -> str:
        """The allowed values in words, for prompts and error lines."""
        return " | ".join(self.choices) if self.choices else f"whole number from {self.low} to {self.high}"


def design_model(name: str, module: str, doc: str, vocabulary: Sequence[Setting]) -> type[Design]:
    """A family's design model: beside `purpose` and `targets`, its fields are the vocabulary's words in their order."""

    def made(setting: Setting) -> tuple[Any, Any]:
        default = Field(default=setting.default, description=setting.doc)
        if setting.choices:
            return Literal[setting.choices], default
        return Annotated[int, Field(ge=setting.low, le=setting.high)], default

    fields: dict[str, Any] = {setting.name: made(setting) for setting in vocabulary}
    return create_model(name, __base__=Design, __module__=module, __doc__=doc, **fields)
