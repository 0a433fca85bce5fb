"""A drive: stages of road, each with its own light, weather and traffic, driven side by side and counted.

A frame comes every `STEP`; what is read from it steers the car until the next one. After a collision or a departure the
car is put back in the middle of its lane and goes on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp import seeding
from envgen_exp.families.driving.design import EVENTS, RARITY, DrivingDesign, recipe
from envgen_exp.families.driving.drive import car
from envgen_exp.families.driving.drive.road import Road
from envgen_exp.families.driving.drive.traffic import FAR, TURN, Actor, Lanes, Traffic, ahead, overlap
from envgen_exp.families.driving.painter import LABELS, METRE, STRATA, Painter, describe
from envgen_exp.families.family import FrameBuffers, Reader, Watcher
from envgen_exp.seeding import WorldSet

STAGE = 2000.0
"""Metres of a stage."""
SIDE_BY_SIDE = 50
"""Stages that are driven at once."""
STEP, SUBSTEPS = 0.1, 5
"""Seconds between two frames, and steps of the car's motion in it; all others move once a frame."""
SEEN = 60.0
"""Metres of road in which an event is taken to be seen, to make a rate a kilometre of one in frames."""
RAISED = 0.2
"""Events of each kind in a kilometre where they are raised."""
STANDS, WAITS = 3.0, 6.0
"""Seconds after which what the car has stopped for is cleared away, or where there is nothing, the car goes on."""
HELPED = 20.0
"""Metres by which a car is moved on that stands for nothing."""
SLOWEST_STAGE = 6
"""A stage ends after so many times the seconds that a free road takes."""

RATES: Mapping[str, Mapping[str, float]] = {
    "raised": dict.fromkeys(EVENTS, RAISED),
    "natural": {event: share / 100_000 * 1000 / SEEN for event, share in RARITY.items()},
    "none": {},
}
"""Events in a kilometre, by what is asked for."""

STRAIGHT = (0.0, math.nan, math.nan, math.nan, math.nan, car.LANE / 2, car.LANE / 2, math.nan)
"""What somebody says who looks at nothing: the middle of the lane, straight ahead, and nobody there."""


class Stage:
    """One stage and what happened in it."""

    def __init__(self, number: int, seed: int, length: float, rates: Mapping[str, float], cruise: float) -> None:
        world = seeding.world_seed(seed, number + 1, WorldSet.VALIDATION)
        base = describe(None, world, other_look=True)
        self.length, self.cruise = length, cruise
        self.road = Road(length + FAR, seeding.generator(seed, "drive", number, "road"))
        self.lanes = Lanes(
            base["lanes"],
            base["own_lane"],
            base["lane_width"] / METRE,
            (base["shoulder_left"] / METRE, base["shoulder_right"] / METRE),
        )
        rng = seeding.generator(seed, "drive", number, "traffic")
        self.traffic = Traffic(
            self.road,
            self.lanes,
            rng,
            seeding.generator(seed, "drive", number, "events"),
            world,
            float(rng.uniform(*recipe(DrivingDesign(), other_look=True)["traffic"])),
            cruise,
            rates,
        )
        self._base = {**base, "driven": 1, "other_look": 1}
        self.driver = car.Driver(cruise)
        self.pose = car.Pose(0.0, self.lanes.middle(self.lanes.own), 0.0, cruise)
        self._bearing = self._standing = 0.0
        self.seconds = self.metres = self.squares = 0.0
        self.frames = self.stops = 0
        self.collisions: list[str] = []
        self.departures: list[str] = []
        self._closest: dict[int, tuple[Actor, float]] = {}

    @property
    def done(self) -> bool:
        """Whether the stage is at its end, or takes too long."""
        return self.pose.s >= self.length or self.seconds > SLOWEST_STAGE * self.length / self.cruise

    @property
    def place(self) -> float:
        """Metres from the lane's middle."""
        return self.pose.t - self._middle()

    @property
    def least_times(self) -> list[float]:
        """Of each thing that was in the way, the shortest time to collision, seconds."""
        return [least for _, least in self._closest.values()]

    def scene(self) -> dict[str, Any]:
        """What the camera sees, as the painter takes it."""
        pose, road = self.pose, self.road.seen_from(self.pose.s)
        axis = (self._bearing + pose.heading) / (2 * math.pi) * TURN
        shift = road["shift"] / METRE
        things = [
            {
                **one.look,
                "turn": round(one.turn / (2 * math.pi) * TURN),
                "t": round((one.t + shift) * METRE),
                "y": round((one.s - pose.s) * METRE),
            }
            for one in self.traffic.actors
            if -20 <= one.s - pose.s <= FAR
        ]
        return {
            **self._base,
            **road,
            "markings": 0 if shift and self._base["markings"] in (1, 3) else self._base["markings"],
            "camera_t": round(pose.t * METRE),
            "heading": round(pose.heading / (2 * math.pi) * TURN),
            "sun_bearing": (round(self._base["sun_bearing"] - axis) + TURN // 2) % TURN - TURN // 2,
            "things": things,
        }

    def step(self, answer: Sequence[float]) -> None:
        """Drive by what was read from a frame until the next one, and see what comes of it."""
        steer, acceleration = self.driver.command(answer, self.pose.speed, STEP)
        for _ in range(SUBSTEPS):
            curvature = self.road.curvature(self.pose.s)
            before, self.pose = self.pose, car.moved(self.pose, steer, acceleration, curvature, STEP / SUBSTEPS)
            self.metres += self.pose.s - before.s
            self._bearing += curvature * (self.pose.s - before.s)
        self.traffic.move(self.pose, STEP)
        self.seconds += STEP
        self.frames += 1
        self.squares += self.place**2
        shift = self.road.shift(self.pose.s)
        self._watch(shift)
        for actor in self.traffic.actors:
            if overlap(self.pose, self.pose.t, actor, shift):
                self.collisions.append(actor.event or "traffic")
                self._closest[id(actor)] = actor, 0.0
                self.traffic.remove(actor)
                self._put_back(speed=min(self.pose.speed, max(actor.speed, 0.0)))
        if abs(self.place) > self.lanes.width / 2:
            self.departures.append(self.traffic.running or "traffic")
            self._put_back(speed=self.pose.speed)
        self._go_on(shift)

    def _middle(self) -> float:
        return self.lanes.middle(self.lanes.own) + self.road.shift(self.pose.s)

    def _put_back(self, speed: float) -> None:
        self.pose = car.Pose(self.pose.s, self._middle(), 0.0, speed)
        self.driver.put_back()

    def _watch(self, shift: float) -> None:
        found = ahead(self.pose, self.pose.t, self.traffic.actors, shift)
        if found is None:
            return
        actor, gap = found
        closing = self.pose.speed * math.cos(self.pose.heading) - actor.speed
        least = self._closest.get(id(actor), (actor, math.inf))[1]
        self._closest[id(actor)] = actor, min(least, gap / closing if closing > 0.1 else math.inf)

    def _go_on(self, shift: float) -> None:
        """What stands in the way is cleared once the car has waited before it."""
        self._standing = self._standing + STEP if self.pose.speed < 0.3 else 0.0
        if self._standing < STANDS:
            return
        found = ahead(self.pose, self.pose.t, self.traffic.actors, shift)
        if found is not None and abs(found[0].speed) < 0.3:
            self.traffic.remove(found[0])
            self._standing = 0.0
        elif found is None and self._standing >= WAITS:
            self.stops += 1
            self.pose = car.Pose(self.pose.s + HELPED, self.pose.t, self.pose.heading, 0.0)
            self._put_back(speed=0.0)
            self._standing = 0.0


def stages(km: float, events: str, seed: int, cruise: float) -> list[Stage]:
    """Those of a drive; the last one may be shorter."""
    metres = km * 1000
    count = math.ceil(metres / STAGE)
    lengths = [min(STAGE, metres - number * STAGE) for number in range(count)]
    return [Stage(number, seed, length, RATES[events], cruise) for number, length in enumerate(lengths)]


def drive_all(
    painter: Painter,
    shape: tuple[int, ...],
    reader: Reader,
    driven: Sequence[Stage],
    watch: Watcher | None = None,
    picture: Callable[[Stage, NDArray[np.float32], NDArray[np.float32]], NDArray[np.uint8]] | None = None,
) -> dict[str, Any]:
    """Drive all stages by what `reader` says of frames of this shape, and count; `watch` sees the first one.

    `picture` draws what it sees, of the stage with the frame's labels and what was read.
    """
    for start in range(0, len(driven), SIDE_BY_SIDE):
        running = list(driven[start : start + SIDE_BY_SIDE])
        while running:
            buffers = FrameBuffers(
                np.empty((len(running), *shape), np.uint8),
                np.empty((len(running), len(LABELS)), np.float32),
                np.empty((len(running), len(STRATA)), np.bool_),
            )
            painter.draw_scenes([stage.scene() for stage in running], buffers)
            answers = reader(buffers)
            if watch is not None and picture is not None and running[0] is driven[0]:
                counts = Counter(running[0].traffic.met)
                shown = picture(running[0], buffers.labels[0], answers[0])
                watch(shown, running[0].pose.s, [counts[event] for event in EVENTS])
            for stage, answer in zip(running, answers.tolist(), strict=True):
                stage.step(answer)
            running = [stage for stage in running if not stage.done]
    return counted(driven)


def counted(driven: Sequence[Stage]) -> dict[str, Any]:
    """What happened in all stages, as plain values."""
    collisions = Counter(one for stage in driven for one in stage.collisions)
    departures = Counter(one for stage in driven for one in stage.departures)
    met = Counter(one for stage in driven for one in stage.traffic.met)
    least = sorted(value for stage in driven for value in stage.least_times)
    seconds, metres = (sum(getattr(stage, name) for stage in driven) for name in ("seconds", "metres"))
    frames = sum(stage.frames for stage in driven)
    return {
        "km": round(metres / 1000, 3),
        "hours": round(seconds / 3600, 4),
        "kmh": round(metres / seconds * 3.6, 2),
        "collisions": sum(collisions.values()),
        "departures": sum(departures.values()),
        "stops": sum(stage.stops for stage in driven),
        "unfinished": sum(stage.pose.s < stage.length for stage in driven),
        "place_rms": round(math.sqrt(sum(stage.squares for stage in driven) / frames), 3),
        "encounters": len(least),
        "ttc_p5": _quantile(least, 0.05),
        "ttc_median": _quantile(least, 0.5),
        "ttc_below_1": sum(value < 1 for value in least),
        "by_event": {
            kind: {"met": met[kind], "collisions": collisions[kind], "departures": departures[kind]}
            for kind in ("traffic", *EVENTS)
        },
    }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The least value that so much of all is not above; None where that is never, or nothing is there."""
    value = ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.inf
    return None if math.isinf(value) else round(value, 2)
