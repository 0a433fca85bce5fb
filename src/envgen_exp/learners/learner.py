"""The protocol of a learner: who gets better, from what experience, and how it is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import LLMConfig, RunConfig, design_set
from envgen_exp.errors import ConfigError
from envgen_exp.families.design import Design
from envgen_exp.families.family import FrameBuffers, Playable
from envgen_exp.families.vector import EpisodeRecord, VectorEnv
from envgen_exp.learners.curriculum import Curriculum
from envgen_exp.llm.client import Client
from envgen_exp.llm.ledger import Totals
from envgen_exp.llm.source import Message
from envgen_exp.seeding import WorldSet


@dataclass(frozen=True)
class Metric:
    """One name of a row of a run's logs; `<skill>` in it stands for each skill of the family."""

    name: str
    unit: str
    doc: str
    clock: bool = False
    """A clock reading or another thing of the machine's, which belongs into timings.jsonl."""


@dataclass(frozen=True)
class Progress:
    """What one stretch of training gave."""

    steps: int
    """Environment steps of this stretch."""
    steps_done: int
    """Environment steps of the phase so far."""
    metrics: Mapping[str, float]
    """What was learned, under the names of metrics.jsonl."""
    episodes: Sequence[EpisodeRecord]
    """Episodes that ended in this stretch, in the order of their ends."""
    readings: Mapping[str, float]
    """Clock readings, under the names of timings.jsonl."""


Game = Mapping[str, Any]
"""A slot's running game as the learner left it, with whatever it remembers of it: known to that learner alone, of types
that `torch.load(weights_only=True)` accepts."""


class Training(Protocol):
    """A training phase of exactly so many steps; iterating it trains, and between two stretches it can be saved."""

    @property
    def steps_done(self) -> int: ...

    def __iter__(self) -> Iterator[Progress]: ...

    def state_dict(self) -> dict[str, Any]:
        """All that, with the learner's own state, is needed to go on exactly."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same phase; CheckpointError where it is of another one."""

    def take_up(self, games: Sequence[Game | None]) -> None:
        """Before the first stretch: slots go on with these games; those without one begin an episode."""

    def leave(self) -> list[Game]:
        """Each slot's running game, for another phase with the same design in it; empty where nothing is played."""

    def close(self) -> None:
        """Give the environments back."""


def _unseen(*_: object, **__: object) -> None:
    """Nobody looks on."""


@dataclass(frozen=True)
class Onlooker:
    """Who looks on while episodes are played; what it does changes nothing in them."""

    on_episode: Callable[[EpisodeRecord], None] = _unseen
    """Hears of each episode as it ends."""
    on_step: Callable[..., None] = _unseen
    """Hears numbers by name, now and then, from a learner that takes long for a step."""
    camera: Callable[[VectorEnv], VectorEnv] = lambda env: env
    """Wraps the environment that is played."""


NOBODY = Onlooker()


@dataclass(frozen=True)
class Played:
    """What an evaluation found."""

    records: list[EpisodeRecord]
    """By slot and episode."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else the run's folder keeps of it, as plain values without clock readings."""


@dataclass(frozen=True)
class Speed:
    """Rates of this machine with this family and learner."""

    training: float
    """Training steps a second, updates included."""
    playing: float
    """Steps a second without updates."""


class Learner(Protocol):
    """One learner of a run. What stands here as a class variable or class method is asked before anything is made; what
    has to be known before torch is loaded stands in its `Config` (`config.AgentConfig`).

    The design None always means the original.
    """

    needs: ClassVar[type]
    """The protocol of families/family.py that a family must have beside `Family`."""
    sparing: ClassVar[str]
    """What to type where memory runs out, as the end of a sentence."""

    @classmethod
    def create(cls, config: RunConfig, family: Any, client: Client, total_steps: int) -> Learner:
        """A new one; `client` answers once the run's folder is open. ConfigError for what can't be had here.

        `total_steps` are the training steps of the whole run.
        """

    @classmethod
    def slots(cls, config: RunConfig) -> int:
        """Designs that it trains in side by side; 0 for one that does not train."""

    @classmethod
    def check_steps(cls, steps: int, config: RunConfig) -> None:
        """ConfigError where a training phase can't have exactly `steps` steps."""

    @classmethod
    def llm(cls, config: RunConfig) -> LLMConfig:
        """The language model's section as this learner's runs ask it."""

    @property
    def updates(self) -> int:
        """Steps of its optimizer so far."""

    def describe(self) -> dict[str, Any]:
        """What the config left open and was decided here, as plain values for a run's config.yaml."""

    def plan(self) -> list[str]:
        """Lines of the run's plan that it alone can write; empty for one whose runs train and evaluate as planned."""

    def preview(self) -> list[tuple[str, list[Message]]]:
        """Chats that it would send, with a title each, as far as they are known before the run."""

    def speed(self) -> Speed | None:
        """Rates measured now, with worlds of its own and a copy of itself; None where there is nothing to measure."""

    def pupil(self, seed: int) -> Learner:
        """A new learner of the same kind and settings that has learned nothing; its streams are those of `seed`."""

    def train(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        steps: int,
        *,
        total_steps: int | None = None,
        curriculum: Curriculum | None = None,
    ) -> Training:
        """Train for exactly `steps` steps in one design and world seed a slot, as many as `slots` says.

        `total_steps` stands in for those of the whole run.
        """

    def evaluate(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        quota: Sequence[int],
        stream: tuple[int | str, ...],
        onlooker: Onlooker = NOBODY,
    ) -> Played:
        """Play each slot's quota of whole episodes and learn nothing; what is drawn comes from the stream's names."""

    @classmethod
    def takings(
        cls,
        config: RunConfig,
        details: Mapping[str, Any],
        records: Sequence[EpisodeRecord],
        totals: Callable[[int], Totals],
    ) -> dict[str, list[float | None]]:
        """What each episode of an evaluation took, by name, for the run's table; empty where that is steps alone.

        `details` are those of `Played`, `totals` says what was asked in an episode, counted from 1.
        """

    def export(self, folder: Any, *, origin: str) -> None:
        """Write what it learned into a folder, to be used without this package; ConfigError where that can't be."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that it has learned and draws from, as `torch.load(weights_only=True)` accepts it."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; CheckpointError where it is of another kind."""


@runtime_checkable
class Reads(Protocol):
    """Learners that say the labels of frames."""

    def read(self, frames: FrameBuffers) -> NDArray[np.float32]:
        """(num_frames, num_labels), NaN for none; a `families.family.Reader`."""


class Defaults:
    """What a learner is that says nothing else: it plays, has a slot for each design and asks nobody."""

    needs: ClassVar[type] = Playable
    sparing: ClassVar[str] = "a smaller learner needs less"

    @classmethod
    def slots(cls, config: RunConfig) -> int:
        """One for each design."""
        return config.designer.num_designs

    @classmethod
    def check_steps(cls, steps: int, config: RunConfig) -> None:
        """Slots share them evenly."""
        slots = cls.slots(config)
        if slots and steps % slots:
            raise ConfigError(
                f"agent={config.agent.name}: a phase of {steps} steps can't be shared by its {slots} slots; "
                f"nearest allowed: {max(steps // slots, 1) * slots}"
            )

    @classmethod
    def llm(cls, config: RunConfig) -> LLMConfig:
        """As the designer asks it: sampled by the design set."""
        return seeded(config.llm, design_set(config))

    @property
    def updates(self) -> int:
        """It counts none."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Nothing was left open."""
        return {}

    def plan(self) -> list[str]:
        """All goes as planned."""
        return []

    def preview(self) -> list[tuple[str, list[Message]]]:
        """It asks nobody."""
        return []

    def speed(self) -> Speed | None:
        """Not known."""
        return None

    def pupil(self, seed: int) -> Learner:
        """It has none."""
        raise ConfigError("designer: ranks designs by an agent made for that, and this learner makes none")

    @classmethod
    def takings(cls, config: Any, details: Any, records: Any, totals: Any) -> dict[str, list[float | None]]:
        """Nothing but steps."""
        return {}

    def export(self, folder: Any, *, origin: str) -> None:
        """There is nothing that goes without this package."""
        raise ConfigError("--export: this learner writes nothing that is used without its package")


def seeded(llm: LLMConfig, seed: int) -> LLMConfig:
    """A language model's section with this sampling seed where the config names none."""
    return llm if llm.seed is not None else replace(llm, seed=seed)
