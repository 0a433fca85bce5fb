"""The protocol of a family: its skills, its design space with one vocabulary, and how to make its environments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, create_model

from envgen_exp.seeding import WorldSet

if TYPE_CHECKING:
    from envgen_exp.families.vector import ArraySpec, Observation, VectorEnv


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


@dataclass(frozen=True)
class SkillRule:
    """What the offline stand-in knows of one skill: what comes before it and which settings make it easier."""

    skill: str
    requires: tuple[str, ...] = ()
    """Skills without which this one can't be shown."""
    settings: Mapping[str, str | int] = field(default_factory=dict)
    """Settings that bring the skill nearer."""


@dataclass(frozen=True)
class Brief:
    """What a designer is told of the game; every word of it may go into a prompt."""

    game: str
    """A paragraph: what the game is and what the agent sees and does."""
    rules: tuple[str, ...]
    """The rules of the world, one line each."""
    skills: Mapping[str, str]
    """Each skill and how it is shown, in the family's order."""


@dataclass(frozen=True)
class DesignCheck:
    """What sampling a design's worlds found."""

    playable: bool
    findings: tuple[str, ...]
    """One line each, e.g. 'no water within reach in 64 of 64 worlds: collect_drink is impossible'."""
    impossible: tuple[str, ...] = ()
    """Skills that no sampled world allows."""
    counts: Mapping[str, float] = field(default_factory=dict)
    """Mean number of each resource a world, for reports."""


class Family(Protocol):
    """An environment family: everything above floor 1 knows a game only through this.

    The design `None` always means the original, the family's stock game.
    """

    @property
    def name(self) -> str: ...

    @property
    def engine(self) -> str:
        """Which engine plays it, e.g. 'native' or 'reference'; recorded with every run."""

    @property
    def skills(self) -> tuple[str, ...]: ...

    @property
    def vocabulary(self) -> tuple[Setting, ...]: ...

    @property
    def gifts(self) -> frozenset[str]:
        """The settings that give the player something at the start; all others are terrain."""

    @property
    def design_model(self) -> type[Design]: ...

    @property
    def brief(self) -> Brief: ...

    @property
    def skill_rules(self) -> tuple[SkillRule, ...]:
        """What the offline stand-in knows, in order of difficulty."""

    def default_designs(self, count: int) -> list[Design]:
        """What serves when a designer gives nothing usable in the first cycle."""

    def check(self, design: Design, *, num_worlds: int = 64) -> DesignCheck:
        """Sample worlds of the design and say what can be done in them. Deterministic."""

    def picture(self, design: Design | None, world_seed: int, *, unit: int = 8) -> NDArray[np.uint8]:
        """The whole first world of an episode as (height, width, 3) uint8, `unit` pixels a cell."""

    def score(self, success_rates: Mapping[str, float]) -> float:
        """The family's headline number, in percent, from success rates in [0, 1] by skill."""


@runtime_checkable
class Playable(Family, Protocol):
    """games that are stepped: an agent acts in them and is rewarded."""

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]: ...

    @property
    def num_actions(self) -> int: ...

    def vector(
        self, designs: Sequence[Design | None], seeds: Sequence[int], worlds: WorldSet | None = None
    ) -> VectorEnv:
        """Environments with one slot for each design and seed (equal lengths); `worlds` as in `seeding.world_seed`."""


@dataclass(frozen=True)
class Scene:
    """What a player sees at one moment, in words."""

    text: str
    """Some lines."""
    counts: Mapping[str, int]
    """What the player has, by name: what two scenes differ in is what a step has brought."""


@dataclass(frozen=True)
class Manual:
    """What a player is told of the original, once; every word of it may go into a prompt."""

    goal: str
    """A paragraph: what the game is and what counts."""
    actions: Mapping[str, str]
    """Each action by name and what it does and needs, in the order of their numbers."""
    idle: str
    """The action that does nothing."""
    rules: tuple[str, ...]
    """The rules of the world, one line each."""
    skills: Mapping[str, str]
    """Each skill and how it is shown, in the family's order."""


@runtime_checkable
class Told(Family, Protocol):
    """a game that is told in words, so that a language model can play it."""

    def manual(self, max_steps: int) -> Manual:
        """What the player of `told_vector` is told once."""

    def told_vector(self, seeds: Sequence[int], worlds: WorldSet, max_steps: int) -> VectorEnv:
        """As `vector`, of the original alone, with the observation that `tell` reads.

        Episodes are truncated after `max_steps`, or earlier where the original's own limit is lower.
        """

    def tell(self, obs: Observation, slot: int) -> Scene:
        """A slot's part of an observation of `told_vector` in words: what the agent sees, and nothing else."""
