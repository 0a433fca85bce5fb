"""The protocol of a family: its skills, its design space with one vocabulary, and how to make its environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.design import Design, Setting
from envgen_exp.families.symmetry import Symmetry
from envgen_exp.families.vector import ArraySpec, Observation, VectorEnv
from envgen_exp.seeding import WorldSet


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
    short: str = ""
    """The game in a sentence or two, for a small model; empty is `game`."""


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
        """What the offline stand-in knows, in order of difficulty, by which compact prompts group the skills."""

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


@runtime_checkable
class Mirrored(Playable, Protocol):
    """games whose rules are the same when mirrored."""

    @property
    def symmetry(self) -> Symmetry: ...


@dataclass(frozen=True)
class Reference:
    """A score of the original that a run's is seen beside."""

    name: str
    score: float
    """In percent, as `Family.score` gives it."""
    spread: str
    """How sure it is, e.g. '± 2.1'; '' where that is not known."""
    steps: int | None
    """Environment steps of training; None for what was not trained in the game."""
    sees: str
    """What was seen of the game, e.g. 'pixels'; '' for what looks at nothing."""
    read: str
    """Of which episodes the score is."""
    source: str
    line: bool = False
    """Whether it is a line in the charts of runs with as many steps; in those of all runs, where it has none."""
    by_grade: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """In how many episodes it succeeded, and of how many, in the worlds of each grade (`Graded`)."""


@runtime_checkable
class Referenced(Family, Protocol):
    """games whose original others have a score of."""

    @property
    def references(self) -> tuple[Reference, ...]:
        """Those of the very game that the config makes the original."""


@runtime_checkable
class Graded(Family, Protocol):
    """games of whose worlds some are far harder than others, so that one score says little."""

    @property
    def grade_name(self) -> str:
        """What a grade counts, e.g. 'locks'."""

    def grade(self, world_seed: int) -> int:
        """That of the original's world with this seed."""


@runtime_checkable
class Parted(Family, Protocol):
    """games whose score is the mean of parts that are worth knowing apart."""

    def score_parts(self, success_rates: Mapping[str, float]) -> Mapping[str, float]:
        """Each part in percent, by name, from what `score` is given."""


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


@dataclass(frozen=True)
class Label:
    """One number that a frame is labelled with."""

    name: str
    unit: str
    low: float
    high: float
    optional: bool = False
    """Whether a frame may have none, which is NaN: there is no such thing in it, or it is hidden."""
    by_stratum: bool = False
    """Whether a study's tables tell its errors apart by stratum."""


@dataclass(frozen=True)
class FrameBuffers:
    """What `Labelled.frames` writes, row by row."""

    images: NDArray[np.uint8]
    """(num_frames, height, width, 3)."""
    labels: NDArray[np.float32]
    """(num_frames, num_labels), in the labels' units."""
    strata: NDArray[np.bool_]
    """(num_frames, num_strata): to which strata a frame belongs."""


@runtime_checkable
class Labelled(Family, Protocol):
    """scenes that are looked at: each frame has labels to learn from."""

    @property
    def frame_spec(self) -> ArraySpec:
        """(height, width, 3), uint8."""

    @property
    def labels(self) -> tuple[Label, ...]: ...

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of conditions, events and visibilities by which frames are told apart."""

    def frames(
        self, designs: Sequence[Design | None], world_seeds: Sequence[int], worlds: WorldSet, buffers: FrameBuffers
    ) -> None:
        """Draw one frame for each design and world seed (equal lengths): a function of these and nothing else.

        In `WorldSet.REPORT` the scenes are of another look than all that is trained in.
        """

    def battery(self, worlds: WorldSet, num_frames: int) -> list[tuple[Design | None, int]]:
        """What an evaluation looks at: designs, None for the original, and how many frames of each."""

    def judge(
        self, answers: NDArray[np.float32], labels: NDArray[np.float32], strata: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which skills frames ask for, and which of these the answers show, both (num_frames, num_skills).

        `answers` are as `labels`: (num_frames, num_labels), NaN for none.
        """


Reader = Callable[[FrameBuffers], NDArray[np.float32]]
"""Says the labels of frames, (num_frames, num_labels), NaN for none; one that looks reads `images` alone."""

Watcher = Callable[[NDArray[np.uint8], float, Sequence[int]], None]
"""Sees a picture of a drive, how far it has come, and how often each event was met."""


@runtime_checkable
class Drivable(Labelled, Protocol):
    """scenes that follow from each other as somebody drives by what he reads from them."""

    @property
    def drive_events(self) -> Mapping[str, tuple[str, ...]]:
        """What may be asked for of events, and which there are then; the first is the default, which has all."""

    @property
    def bounds(self) -> Mapping[str, Reader]:
        """Readers that others are compared with, by name: one that knows the labels, and one that looks at nothing."""

    def drive(
        self, reader: Reader, *, km: float, events: str, seed: int, speed: float, watch: Watcher | None = None
    ) -> dict[str, Any]:
        """Drive so far by what the reader says, at most at a speed in m/s; returns what was counted, as plain values.

        The same arguments are the same drive. `watch` sees a part of it.
        """
