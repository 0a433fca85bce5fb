"""The section `env` of driving."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from envgen_exp.config import EnvConfig


class ImageSize(Enum):
    """Columns and rows of a frame: the paper's, and half of them."""

    full = "280x210"
    half = "140x105"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        width, height = map(int, self.value.split("x"))
        return height, width, 3


@dataclass(frozen=True)
class DrivingConfig(EnvConfig):
    """Highway driving, seen from a car."""

    name: str = "driving"
    """The family, as registered."""
    image_size: ImageSize = ImageSize.half
    """Columns and rows of a frame: full is 280x210, the paper's; half is 140x105."""
