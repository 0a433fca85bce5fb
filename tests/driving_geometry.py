"""Driving's scenes a second time, in floating point: what is where, how it is projected, and what labels follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

METRE = 1024
Floats = NDArray[np.float64]


@dataclass
class Solid:
    """Something on the road: its footprint in the road's coordinates where the camera stands, in metres."""

    corners: Floats
    """(4, 2): x to the right of the road's middle at the camera, y ahead."""
    height: float
    near: float
    """y of its nearest corner."""
    span: tuple[float, float]
    """Its extent across the road."""


class Geometry:
    """A scene from what `_driving.describe` says of it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.width = told["lane_width"] / METRE
        self.lanes: int = told["lanes"]
        self.own: int = told["own_lane"]
        self.camera_t = told["camera_t"] / METRE
        self.camera_height = told["camera_height"] / METRE
        self.heading = told["heading"] * 2 * np.pi / 65536
        self.things = [self._solid(thing) for thing in told["things"]]

    def edge(self, line: int) -> float:
        return (line - self.lanes / 2) * self.width + self.told["shift"] / METRE

    def middle(self, y: Floats | float) -> Floats | float:
        """x of the road's middle: half the curvature times y squared, and a sixth of its change times y cubed."""
        square = self.told["bend"] * METRE / 2**36
        cube = self.told["twist"] * METRE**2 / 2**56
        return square * y**2 + cube * y**3

    def slope(self, y: float) -> float:
        return 2 * self.told["bend"] * METRE / 2**36 * y + 3 * self.told["twist"] * METRE**2 / 2**56 * y**2

    def height(self, depth: Floats) -> Floats:
        rise = self.told["rise"] * METRE / 2**36
        to = self.told["rise_to"] / METRE
        bent = np.clip(depth, 0, to)
        return rise * bent**2 + 2 * rise * to * (np.clip(depth, to, 400) - to)

    def _solid(self, thing: dict[str, int]) -> Solid:
        t, y, length, width = (thing[name] / METRE for name in ("t", "y", "length", "width"))
        angle = np.arctan(self.slope(y)) + thing["turn"] * 2 * np.pi / 65536
        ahead = np.array([np.sin(angle), np.cos(angle)])
        right = np.array([np.cos(angle), -np.sin(angle)])
        middle = np.array([self.middle(y) + t, y])
        corners = np.array(
            [middle + a * length / 2 * ahead + r * width / 2 * right for a, r in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
        )
        across = corners[:, 0] - self.middle(corners[:, 1])
        return Solid(corners, thing["height"] / METRE, float(corners[:, 1].min()), (across.min(), across.max()))

    def to_camera(self, points: Floats) -> tuple[Floats, Floats]:
        """Right of the camera's axis and along it, of points (n, 2) in the road's coordinates."""
        x, y = points[:, 0] - self.camera_t, points[:, 1]
        c, s = np.cos(self.heading), np.sin(self.heading)
        return x * c - y * s, x * s + y * c

    def project(self, points: Floats, up: float, shape: tuple[int, int]) -> Floats:
        """Columns and rows (n, 2), in pixels, of points at a height above the ground; NaN behind the camera."""
        height, width = shape
        right, depth = self.to_camera(points)
        focal = width * 7 / 8
        with np.errstate(divide="ignore", invalid="ignore"):
            u = width / 2 + focal * right / depth
            v = height * 9 / 20 + focal * (self.camera_height - up - self.height(depth)) / depth
        return np.where(depth[:, None] > 0.6, np.stack([u, v], 1), np.nan)

    def in_lane(self, solid: Solid, lane: int) -> float:
        """By how many metres a thing is in a lane beyond what counts: 0.3 m, or all of it."""
        inside = min(solid.span[1], self.edge(lane + 1)) - max(solid.span[0], self.edge(lane))
        return inside - min(0.3, solid.span[1] - solid.span[0])

    def lines(self) -> list[float]:
        """Distances to LL, L, R, RR, NaN where there is none."""
        found = []
        for line in range(self.own - 1, self.own + 3):
            there = 0 <= line <= self.lanes and self.told["markings"] != 3
            distance = abs(self.edge(line) - self.camera_t)
            found.append(distance if there and distance <= 11 else np.nan)
        return found

    def places(self, inverse: NDArray[np.int32], chosen: NDArray[np.bool_], one: int) -> Floats:
        """Points (n, 2) in the road's coordinates, read back from a picture of inverse depths; `one` is that of 1 m."""
        width = inverse.shape[1]
        rows, columns = np.nonzero(chosen)
        depth = one / inverse[rows, columns]
        right = (columns + 0.5 - width / 2) * depth / (width * 7 / 8)
        c, s = np.cos(self.heading), np.sin(self.heading)
        return np.stack([self.camera_t + right * c + depth * s, depth * c - right * s], 1)
