"""The adaptive designer's designs with one half of every design at its defaults: which half does the work?

A family says which settings are gifts, what the player is given at the start; all others are terrain.
"""

from __future__ import annotations

from typing import ClassVar

from envgen_exp.config import DesignerConfig
from envgen_exp.designers.adaptive import Adaptive
from envgen_exp.designers.means import Means
from envgen_exp.errors import ConfigError
from envgen_exp.families.design import Design


class _Half(Adaptive):
    """Adaptive, with a part of each accepted design taken back; feedback shows what was trained in."""

    gifts: ClassVar[bool]
    """Whether the gifts are kept, or else the terrain."""

    def __init__(self, config: DesignerConfig, means: Means) -> None:
        """Raises ConfigError for a family without gifts."""
        if not means.family.gifts:
            raise ConfigError(f"designer={config.name}: none of {means.family.name}'s settings are gifts")
        super().__init__(config, means)

    def _shaped(self, design: Design) -> Design:
        """The kept half, or every default where that half alone can't be played."""
        given = self._family.gifts
        kept = {name: value for name, value in design.settings().items() if (name in given) is self.gifts}
        made = self._family.design_model(purpose=design.purpose, targets=design.targets, **kept)
        return made if self._check(made).playable else self._family.design_model(purpose="every setting at its default")


class GiftsOnly(_Half):
    """Gifts in default terrain."""

    gifts = True


class TerrainOnly(_Half):
    """Terrain without gifts."""

    gifts = False
