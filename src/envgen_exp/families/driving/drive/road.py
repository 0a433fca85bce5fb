"""A road that goes on: curvature and hills that change steadily along the way, shifted lanes and crests in places.

Metres; positive to the right and upwards. Each picture shows the road as the curve that has its curvature at the camera
and, `SIGHT` ahead, the curvature there.
"""

from __future__ import annotations

import numpy as np

from envgen_exp.families.driving.design import DrivingDesign, recipe
from envgen_exp.families.driving.painter import METRE

NODE = 150.0
"""Between two places whose curvature is drawn; between them it changes evenly, as in clothoids."""
SIGHT = 60.0
RAMP = 100.0
"""In which lanes are shifted."""
SHIFTED = 250.0
"""For how long they stay so."""
CREST_RAMP, BEFORE_CREST = 50.0, 150.0
"""A crest begins so far before the car behind it, and its curvature grows and ends in so many metres."""
_TO_GRADIENT = 120.0
"""In which a slope of the design becomes as steep as it says."""


class Road:
    """One road's course."""

    def __init__(self, length: float, rng: np.random.Generator) -> None:
        """As curved and as hilly as the report's roads are."""
        mixture = recipe(DrivingDesign(), other_look=True)
        count = int(length / NODE) + 4
        self._nodes = np.arange(count) * NODE
        self._curvature = np.array([_curvature(mixture, rng) for _ in range(count)])
        self._vertical = np.array([_vertical(mixture, rng) for _ in range(count)])
        self._shifts: list[tuple[float, float]] = []
        self._crests: list[tuple[float, float]] = []

    @classmethod
    def of(cls, curvature: float, length: float = 1000.0) -> Road:
        """A level circle."""
        road = cls(length, np.random.Generator(np.random.PCG64(0)))
        road._curvature[:], road._vertical[:] = curvature, 0
        return road

    def curvature(self, s: float) -> float:
        """1/m."""
        return float(np.interp(s, self._nodes, self._curvature))

    def vertical(self, s: float) -> float:
        """Curvature of its height, 1/m; below 0 it falls away."""
        value = float(np.interp(s, self._nodes, self._vertical))
        for at, radius in self._crests:
            ends = (at - BEFORE_CREST, at - BEFORE_CREST + CREST_RAMP, at, at + CREST_RAMP)
            part = float(np.interp(s, ends, (0, 1, 1, 0), 0, 0))
            value = value * (1 - part) - part / radius
        return value

    def shift(self, s: float) -> float:
        """Of the lanes."""
        return sum(
            float(np.interp(s, (at, at + RAMP, at + RAMP + SHIFTED, at + 2 * RAMP + SHIFTED), (0, size, size, 0), 0, 0))
            for at, size in self._shifts
        )

    def add_shift(self, s: float, size: float) -> float:
        """Shift the lanes from there on; returns where that ends."""
        self._shifts.append((s, size))
        return s + 2 * RAMP + SHIFTED

    def add_crest(self, s: float, radius: float) -> None:
        """Let the road fall away before that place."""
        self._crests.append((s, radius))

    def seen_from(self, s: float) -> dict[str, int]:
        """The numbers of a scene whose camera is there (native/driving/scene.h)."""
        here = self.curvature(s)
        change = (self.curvature(s + SIGHT) - here) / SIGHT
        return {
            "along": round(s * METRE),
            "bend": round(here / 2 * 2**36 / METRE),
            "twist": round(change / 6 * 2**56 / METRE**2),
            "rise": round(self.vertical(s) / 2 * 2**36 / METRE),
            "rise_to": 150 * METRE,
            "shift": round(self.shift(s) * METRE),
        }


def _chosen(weights: tuple[int, ...], rng: np.random.Generator) -> int:
    return int(rng.choice(len(weights), p=np.array(weights) / sum(weights)))


def _curvature(mixture: dict[str, tuple[int, ...]], rng: np.random.Generator) -> float:
    curve = _chosen(mixture["curve"], rng)
    low, high = mixture["curvature"][2 * curve : 2 * curve + 2]
    return float(rng.uniform(low, high) * rng.choice((-1, 1)) / 1e6)


def _vertical(mixture: dict[str, tuple[int, ...]], rng: np.random.Generator) -> float:
    slope = (0, 1, -1)[_chosen(mixture["slope"], rng)]
    return float(slope * rng.uniform(*mixture["gradient"]) / 1000 / _TO_GRADIENT)
