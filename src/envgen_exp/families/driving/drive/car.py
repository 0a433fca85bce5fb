"""The driven car: how it moves, and who steers it by what is read from a frame.

Metres, seconds, radians; positive to the right, as in the labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LENGTH, WIDTH, WHEELBASE = 4.5, 1.8, 2.7
"""Of the car; the camera is over its middle."""

RESPONSE = 3.0
"""Both poles of the steered car are at minus this, per second."""
SLOWEST = 5.0
"""Speed below which steering is as strong as at it."""
MOST_STEER = 0.5
LANE = 3.5
"""The lane's width where only one of its lines is seen."""

BRAKING = 5.0
"""Deceleration with which it plans to stop behind what is ahead."""
GAP = 5.0
"""From its bumper to what it has stopped for."""
LAG = 0.25
"""Seconds in which a wrong speed is mended."""
ACCELERATION = (-8.0, 2.0)


@dataclass(frozen=True)
class Pose:
    """Where the car is on a road."""

    s: float
    """Along the road's middle."""
    t: float
    """From the road's middle."""
    heading: float
    """From the road's direction."""
    speed: float


def moved(pose: Pose, steer: float, acceleration: float, curvature: float, seconds: float) -> Pose:
    """One step of the kinematic bicycle model, its middle being the point that is followed.

    `steer` is the front wheel's angle, `curvature` the road's there (1/m). Rolling wheels don't slide: the middle moves
    at atan(tan(steer) / 2) from the car's axis. After Rajamani, Vehicle Dynamics and Control (2012), section 2.2, with
    the road's own coordinates for a plane's.
    """
    slip = math.atan(math.tan(steer) / 2)
    speed = max(0.0, pose.speed + acceleration * seconds)
    way = (pose.speed + speed) / 2 * seconds
    s = way * math.cos(pose.heading + slip) / (1 - curvature * pose.t)
    turned = way * math.cos(slip) * math.tan(steer) / WHEELBASE
    return Pose(pose.s + s, pose.t + way * math.sin(pose.heading + slip), pose.heading + turned - curvature * s, speed)


def gains(speed: float) -> tuple[float, float]:
    """How far to steer for each metre from the lane's middle and for each radian from its direction.

    For small angles t' = v (heading + steer / 2) and heading' = v steer / WHEELBASE. With steer = -(a t + b heading)
    the determinant of that system is v^2 a / WHEELBASE and its trace -(v a / 2 + v b / WHEELBASE); both poles are at
    -RESPONSE where these are RESPONSE^2 and -2 RESPONSE.
    """
    speed = max(speed, SLOWEST)
    place = RESPONSE**2 * WHEELBASE / speed**2
    return place, (2 * RESPONSE - place * speed / 2) * WHEELBASE / speed


class Driver:
    """Steers to the lane's middle and brakes for what is ahead, of the kind of DeepDriving's (Chen et al. 2015)."""

    def __init__(self, cruise: float) -> None:
        self.cruise = cruise
        """Speed on a free road."""
        self._place = 0.0
        self._slip = 0.0

    def command(self, answer: Sequence[float], speed: float, seconds: float) -> tuple[float, float]:
        """The front wheel's angle and the acceleration for the next `seconds`.

        `answer` is as a frame's labels, NaN for none. Where no line of the lane is seen, the place in it is reckoned
        on from the last one by speed and heading. The speed is one from which the car can still stop.
        """
        heading = math.radians(answer[0])
        own, left, right = answer[2], answer[5], answer[6]
        if math.isnan(left) and math.isnan(right):
            self._place += speed * math.sin(heading + self._slip) * seconds
        elif math.isnan(left):
            self._place = LANE / 2 - right
        else:
            self._place = left - LANE / 2 if math.isnan(right) else (left - right) / 2
        place, direction = gains(speed)
        steer = min(max(-place * self._place - direction * heading, -MOST_STEER), MOST_STEER)
        self._slip = math.atan(math.tan(steer) / 2)
        safe = math.inf if math.isnan(own) else math.sqrt(2 * BRAKING * max(own - LENGTH / 2 - GAP, 0))
        return steer, min(max((min(safe, self.cruise) - speed) / LAG, ACCELERATION[0]), ACCELERATION[1])

    def put_back(self) -> None:
        """It stands in the middle of its lane."""
        self._place = self._slip = 0.0
