"""Designs that a person wrote, for each cycle or for all: read from a file into the config, checked before the run."""

from __future__ import annotations

from typing import ClassVar

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.config import HumanConfig
from envgen_exp.designers.means import Defaults, Means
from envgen_exp.designers.proposal import Proposal
from envgen_exp.errors import ConfigError, DesignError
from envgen_exp.families.typed import read_design
from envgen_exp.llm.prompt import Feedback


class Human(Defaults):
    """The designer that brings its designs along."""

    draws: ClassVar[bool] = False

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        """Raises ConfigError for the first design that is none of the family's or that nobody can play."""
        assert isinstance(config, HumanConfig)
        where = f"designer.file={config.file}" if config.file else "designer.sets"
        self._proposals = [
            _proposal(designs, f"{where}: cycle {cycle}", means) for cycle, designs in enumerate(config.sets, start=1)
        ]

    def design(self, cycle: int, feedback: Feedback | None) -> Proposal:
        """The designs that the file has for the cycle."""
        return self._proposals[cycle - 1]


def _proposal(raw: list[dict[str, object]], where: str, means: Means) -> Proposal:
    designs, checks = [], []
    for number, settings in enumerate(raw, start=1):
        try:
            design = read_design(settings, means.family)
        except DesignError as error:
            raise ConfigError(f"{where}, design {number}: {str(error).removeprefix('design: ')}") from error
        check = means.family.check(design)
        if not check.playable:
            raise ConfigError(f"{where}, design {number}: can't be played: {'; '.join(check.findings)}")
        designs.append(design)
        checks.append(check)
    return Proposal(designs=tuple(designs), checks=tuple(checks))
