"""The section `designer` of those designers that have settings of their own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from envgen_exp.config import POSITIVE, DesignerConfig, RunConfig, Stored, at_least, between, ranged
from envgen_exp.errors import ConfigError, RunFolderError
from envgen_exp.families.forms import listed, load, read_file


class Told(Enum):
    """What a placebo is told: its own rates, permuted over skills anew in each cycle, or another run's."""

    permuted = "permuted"
    another = "another"


@dataclass(frozen=True)
class PlaceboConfig(DesignerConfig):
    """Feedback without information."""

    placebo: Told = Told.permuted
    """What it is told: its own rates, permuted over skills anew in each cycle, or those of another run."""
    placebo_from: str | None = None
    """Of placebo=another: run folder whose feedback evaluations are told; copied into this run's config."""
    told: list[Any] = field(default_factory=list)
    """What was copied: the feedback evaluation of each cycle but the last."""

    @property
    def wants_source(self) -> str:
        """Whose rates it is told, where no run is named."""
        if self.placebo is Told.permuted or self.placebo_from is not None or self.told:
            return ""
        pair = "an adaptive run with another seed in its sweep (arm=adaptive,placebo and two seeds or more)"
        return f"{pair}, or designer.placebo_from=FOLDER"

    def is_served_by(self, other: DesignerConfig) -> bool:
        """The adaptive one's, whose calls are as many and alike."""
        return other == DesignerConfig("adaptive", self.num_designs, self.prompt, self.evidence)

    def enclosed(self, run: RunConfig, old: DesignerConfig | None, read: Stored) -> DesignerConfig:
        """With the other run's evaluations."""
        if self.placebo is Told.permuted:
            if self.placebo_from is not None:
                raise ConfigError(f"designer.placebo_from={self.placebo_from}: it wants designer.placebo=another too")
            return self
        if isinstance(old, PlaceboConfig) and self.placebo_from in (None, old.placebo_from):
            return replace(self, told=old.told)
        if self.placebo_from is not None:
            return replace(self, told=_told(Path(self.placebo_from), run, read))
        if not self.told:
            raise ConfigError(
                "designer.placebo=another needs the run whose rates it is told: designer.placebo_from=FOLDER"
            )
        return self


@dataclass(frozen=True)
class HumanConfig(DesignerConfig):
    """Designs that a person wrote."""

    file: str | None = None
    """YAML file: a list of designs for all cycles, or a list of such lists, one a cycle; copied into the config."""
    sets: list[Any] = field(default_factory=list)
    """What was copied."""

    def enclosed(self, run: RunConfig, old: DesignerConfig | None, read: Stored) -> DesignerConfig:
        """With the file's designs."""
        if isinstance(old, HumanConfig) and self.file in (None, old.file):
            return replace(self, sets=old.sets)
        if self.file is not None:
            where = f"designer.file={self.file}"
            return replace(self, sets=_checked(load(read_file(Path(self.file), where), where), where, run))
        if not self.sets:
            raise ConfigError("designer=human needs the file with the designs: designer.file=FILE")
        return replace(self, sets=_checked(self.sets, "designer.sets", run))


@dataclass(frozen=True)
class CandidatesConfig(DesignerConfig):
    """More designs than are trained in, ranked by how an agent does in them."""

    num_candidates: int = ranged(16, between(1, 64))
    """Designs that the language model writes at once; num_designs of them are taken for a cycle."""
    validation_episodes: int = ranged(10, at_least(1))
    """Episodes in each candidate on which its rank rests."""
    deduct: bool = False
    """Take the untrained steps that ranking takes off the last phase, so that all that is played is the budget."""


@dataclass(frozen=True)
class SFLConfig(DesignerConfig):
    """Random designs, of which the most learnable are trained in beside some as they come (Rutherford et al. 2024)."""

    num_candidates: int = ranged(32, between(1, 256))
    """Random designs of a cycle; num_designs of them are taken."""
    random_share: float = ranged(0.5, between(0, 1))
    """Share of the cycle's designs that are taken as they were drawn, rounded down (half in their code)."""
    validation_episodes: int = ranged(4, at_least(1))
    """Episodes in each candidate on which its learnability rests."""
    deduct: bool = True
    """Take the untrained steps that ranking takes off the last phase, so that all that is played is the budget."""


@dataclass(frozen=True)
class EasyToHardConfig(CandidatesConfig):
    """Candidates ranked once, by an agent made for that."""

    validation_steps: int = ranged(50_000, at_least(1))
    """Training steps, in the original and counted apart, of the agent that ranks the candidates (50,000 in the paper),
    rounded up so that the learner's slots share them."""


@dataclass(frozen=True)
class PLRConfig(DesignerConfig):
    """Prioritised level replay over the worlds of random designs (Jiang et al. 2021)."""

    population: int = ranged(16, between(1, 256))
    """Random designs."""
    worlds_per_design: int = ranged(16, between(1, 4096))
    """Worlds of each of them that may be played."""
    temperature: float = ranged(0.1, POSITIVE)
    """A world's priority is its rank's inverse to the power of 1 / temperature."""
    staleness: float = ranged(0.1, between(0, 1))
    """Share of replays that go by how long ago a world was played."""


def _told(folder: Path, config: RunConfig, read: Stored) -> list[Any]:
    """The feedback evaluations of another run, so many as this one tells of."""
    where, (theirs, reports) = f"designer.placebo_from={folder}", read(folder)
    if theirs["env"]["name"] != config.env.name:
        raise ConfigError(f"{where}: its family is {theirs['env']['name']}, this run's is {config.env.name}")
    if theirs["seed"] == config.seed:
        raise ConfigError(
            f"{where}: its seed is {config.seed} too, so that its first cycle may be this run's own; "
            "allowed is a run with another seed"
        )
    needed = config.cycles - 1
    if len(reports) < needed:
        raise RunFolderError(
            f"{where}: has finished {len(reports)} feedback evaluations, a run of cycles={config.cycles} is told "
            f"{needed}"
        )
    return reports[:needed]


def _checked(found: Any, where: str, config: RunConfig) -> list[Any]:
    """The designs of each cycle, as many as the run has of both."""
    one = listed(found)
    if one is not None:
        found = [one] * config.cycles
    count = config.designer.num_designs
    if not isinstance(found, list) or not all(isinstance(designs, list) for designs in found) or not found:
        raise ConfigError(f"{where}: needs a list of designs, or a list of such lists, one a cycle")
    if len(found) != config.cycles:
        raise ConfigError(f"{where}: has designs for {len(found)} cycles, the run has cycles={config.cycles}")
    for cycle, designs in enumerate(found, start=1):
        if len(designs) != count or not all(isinstance(design, dict) for design in designs):
            raise ConfigError(
                f"{where}: cycle {cycle}: needs designer.num_designs={count} designs, each with its settings, "
                f"has {len(designs)}"
            )
    return found
