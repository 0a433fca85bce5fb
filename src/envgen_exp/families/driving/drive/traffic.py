"""What else is on the road of a drive: cars that keep their speed, and the rare events as they happen.

Metres and seconds. Cars keep to their lane's speed, and leave the road where an event is about to be in their lane.
Events are told in `Turn`s: what somebody does once the driven car is near, or some time later.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envgen_exp.families.design import Design
from envgen_exp.families.driving.design import EVENTS, DrivingDesign
from envgen_exp.families.driving.drive import car
from envgen_exp.families.driving.drive.road import Road
from envgen_exp.families.driving.painter import METRE, describe

TURN = 1 << 16
"""Parts of a turn in a scene's numbers."""

FAR, BEHIND = 150.0, 40.0
"""How far ahead of the driven car things come up, and how far behind it they go."""
CLEAR = 250.0
"""So far before an event its lanes begin to clear."""
SLOW = 14.0
"""Speed of cars that an event is about, where it says no other."""
LEAVING = 1.5
"""Speed sideways of who leaves the road."""
_LOOKS = 24
"""Scenes that a drive's vehicles are taken from."""


@dataclass(frozen=True)
class Turn:
    """What somebody begins to do: `near` metres before the driven car's bumper, or `after` seconds of the last one."""

    changes: Mapping[str, Any]
    near: float = -math.inf
    after: float = math.inf


@dataclass
class Actor:
    """Something on the road."""

    look: dict[str, int]
    """Its numbers in a scene, but for the place."""
    s: float
    t: float
    """Of its middle, from the road's beginning and from the unshifted road's middle."""
    speed: float = 0.0
    lane: int | None = None
    """Of ordinary traffic."""
    event: str | None = None
    turns: tuple[Turn, ...] = ()
    target: float | None = None
    rate: float = 2.0
    """The speed to which its own changes, and how fast."""
    aim: float | None = None
    sideways: float = 0.0
    """The t to which it moves, and how fast."""
    leaves: bool = False
    """Whether it is gone where it aims at."""
    waited: float = 0.0
    followed: float = 0.0
    gone: bool = False

    @property
    def length(self) -> float:
        return self.look["length"] / METRE

    @property
    def width(self) -> float:
        return self.look["width"] / METRE

    @property
    def turn(self) -> float:
        """From the road's direction, radians."""
        turn = self.look["turn"] / TURN * 2 * math.pi
        if self.aim is not None and abs(self.speed) > 1:
            turn += math.atan2(math.copysign(self.sideways, self.aim - self.t), self.speed)
        return turn

    @property
    def extent(self) -> tuple[float, float]:
        """Half of what it takes along the road and across."""
        sine, cosine = abs(math.sin(self.turn)), abs(math.cos(self.turn))
        return (self.length * cosine + self.width * sine) / 2, (self.length * sine + self.width * cosine) / 2

    def move(self, ego: float, seconds: float) -> None:
        """Go on; `ego` is where the driven car's bumper is."""
        if self.turns:
            self.waited += seconds
            turn = self.turns[0]
            if self.s - self.extent[0] - ego <= turn.near or self.waited >= turn.after:
                for name, value in turn.changes.items():
                    if name in self.look:
                        self.look[name] = value
                    else:
                        setattr(self, name, value)
                self.turns, self.waited = self.turns[1:], 0.0
        if self.target is not None:
            step = self.rate * seconds
            self.speed += min(max(self.target - self.speed, -step), step)
        self.s += self.speed * seconds
        if self.aim is not None:
            step = self.sideways * seconds
            self.t += min(max(self.aim - self.t, -step), step)
            if self.t == self.aim:
                self.aim, self.gone = None, self.gone or self.leaves


@functools.lru_cache(64)
def looks(world_seed: int, event: str | None) -> tuple[dict[str, int], ...]:
    """Vehicles of the report's look as they are in scenes: traffic, or what an event is about."""
    settings: dict[str, Any] = {"traffic": "dense"} if event is None else {"event": event, "event_share": 100}
    design: Design = DrivingDesign(**settings)
    number = len(EVENTS) if event is None else list(EVENTS).index(event)
    found = []
    for seed in range(world_seed, world_seed + 4 * _LOOKS, 4):
        found += [one for one in describe(design, seed, other_look=True)["things"] if one["event"] == number]
    return tuple(found)


@dataclass
class Lanes:
    """The lanes of a road that is driven on; `own` is the driven car's."""

    count: int
    own: int
    width: float
    shoulders: tuple[float, float]

    def middle(self, lane: int) -> float:
        """t of a lane's middle where nothing is shifted."""
        return (lane + 0.5 - self.count / 2) * self.width

    def beside(self, side: float) -> float:
        """t of a place beside the road, to the right where `side` is above 0."""
        half = self.count * self.width / 2 + 3
        return half + self.shoulders[1] if side > 0 else -half - self.shoulders[0]


@dataclass
class Traffic:
    """Everything that is on the road but the driven car."""

    road: Road
    lanes: Lanes
    rng: np.random.Generator
    """Of the traffic."""
    event_rng: np.random.Generator
    world_seed: int
    density: float
    """Vehicles on a kilometre of lane."""
    cruise: float
    weights: Mapping[str, float]
    """How often each event is, in each kilometre."""
    actors: list[Actor] = field(default_factory=list)
    running: str | None = None
    """The event that takes place."""
    met: list[str] = field(default_factory=list)
    """Those that did, and that one."""

    def __post_init__(self) -> None:
        share = self.rng.uniform(0.75, 1.1, self.lanes.count)
        self._speeds = [float(one) * self.cruise for one in sorted(share, reverse=True)]
        self._speeds[self.lanes.own] = float(self.rng.uniform(0.7, 0.95)) * self.cruise
        self._gaps = [self._gap() for _ in range(self.lanes.count)]
        self._began = self._until = 0.0
        self._cleared: set[int] = set()
        self._next = self._draw_next(0.0)
        for lane in range(self.lanes.count):
            at = 30.0 if lane == self.lanes.own else -BEHIND
            while (at := at + self._gap()) < FAR:
                self._come(lane, at)

    def move(self, pose: car.Pose, seconds: float) -> None:
        """All go on by a step; who is far away is gone, and others come."""
        for actor in self.actors:
            actor.move(pose.s + car.LENGTH / 2, seconds)
        self._follow(pose, seconds)
        self.actors = [one for one in self.actors if not one.gone and -BEHIND <= one.s - pose.s <= CLEAR]
        self._happen(pose, seconds)
        for lane in range(self.lanes.count):
            self._fill(lane, pose)

    def remove(self, actor: Actor) -> None:
        """It is on the road no more."""
        self.actors = [one for one in self.actors if one is not actor]

    # Ordinary traffic

    def _gap(self) -> float:
        mean = 1000 / max(self.density, 0.1)
        return max(15.0, mean * float(self.rng.uniform(0.5, 1.5)))

    def _come(self, lane: int, s: float) -> None:
        kinds = looks(self.world_seed, None)
        look = dict(kinds[int(self.rng.integers(len(kinds)))])
        t = self.lanes.middle(lane) + float(self.rng.uniform(-0.2, 0.2))
        self.actors.append(Actor(look, s, t, self._speeds[lane], lane))

    def _fill(self, lane: int, pose: car.Pose) -> None:
        if lane in self._cleared:
            return
        places = [one.s - pose.s for one in self.actors if one.lane == lane and not one.leaves]
        if FAR - max(places, default=-FAR) > self._gaps[lane]:
            self._come(lane, pose.s + FAR)
        elif lane != self.lanes.own and min(places, default=FAR) + BEHIND > self._gaps[lane]:
            self._come(lane, pose.s - BEHIND + 5)
        else:
            return
        self._gaps[lane] = self._gap()

    def _follow(self, pose: car.Pose, seconds: float) -> None:
        """Who was followed for long leaves the road, so that others are met."""
        for one in self.actors:
            if one.lane == self.lanes.own and 0 < one.s - pose.s < 60:
                one.followed += seconds
                if one.followed > 15:
                    self._leave(one)

    def _leave(self, one: Actor) -> None:
        if not one.leaves:
            # Never through the driven car's lane.
            side = one.t if one.lane in (None, self.lanes.own) else one.lane - self.lanes.own
            one.leaves, one.sideways, one.aim = True, LEAVING, self.lanes.beside(side)

    # Events

    def _draw_next(self, s: float) -> tuple[float, str] | None:
        kinds = [kind for kind in self.weights if self.weights[kind] > 0]
        if self.lanes.count == 1:
            kinds = [kind for kind in kinds if kind != "cut_in"]
        total = sum(self.weights[kind] for kind in kinds)
        if not total:
            return None
        away = float(self.event_rng.exponential(1000 / total))
        share = [self.weights[kind] / total for kind in kinds]
        return s + away, kinds[int(self.event_rng.choice(len(kinds), p=share))]

    def _happen(self, pose: car.Pose, seconds: float) -> None:
        if self.running is not None:
            self._began += seconds
            there = any(one.event for one in self.actors)
            if self._began > 90:
                self.actors = [one for one in self.actors if not one.event]
            if (not there and pose.s > self._until) or self._began > 90:
                self.running, self._cleared = None, set()
                self._next = self._draw_next(pose.s)
            return
        if self._next is None or pose.s < self._next[0] - CLEAR:
            return
        self._cleared = {self.lanes.own}
        beside = self.lanes.own - 1 if self.lanes.own > 0 else self.lanes.own + 1
        if self._next[1] == "cut_in":
            self._cleared.add(beside)
        held = [one for one in self.actors if one.lane in self._cleared]
        for one in held:
            if one.s > pose.s or one.lane != self.lanes.own:
                self._leave(one)
        if pose.s >= self._next[0] - FAR and not held:
            self.running, self._began, self._until = self._next[1], 0.0, pose.s
            self.met.append(self.running)
            self._begin(self.running, pose.s + FAR, beside)

    def _begin(self, event: str, s: float, beside: int) -> None:
        """The event's things come up, `FAR` ahead of the driven car."""
        rng, own, width = self.event_rng, self.lanes.middle(self.lanes.own), self.lanes.width
        side = int(rng.choice((-1, 1)))
        out = self.lanes.beside(own)
        goes = {"leaves": True, "aim": out, "sideways": LEAVING, "target": None}
        if event == "shifted_lanes":
            self._until = self.road.add_shift(s, side * float(rng.uniform(0.8, 1.6)))
            return
        kinds = looks(self.world_seed, event)
        look = dict(kinds[int(rng.integers(len(kinds)))])
        one = Actor(look, s, own, event=event)
        if event == "car_behind_crest":
            self.road.add_crest(s, float(rng.uniform(220, 420)))
        elif event in ("stalled_car", "debris"):
            one.t += float(rng.uniform(-0.5, 0.5))
        elif event == "hard_braking":
            look["brakes"], one.speed = 0, SLOW
            rate = float(rng.uniform(5, 8))
            one.turns = (
                Turn({"target": 0.0, "rate": rate, "brakes": 1}, near=35.0),
                Turn({"target": SLOW + 4, "rate": 2.0, "brakes": 0}, after=5.0),
                Turn(goes, after=4.0),
            )
        elif event == "cut_in":
            one.t, one.speed = self.lanes.middle(beside), SLOW
            look["turn"] = 0
            into = {"aim": own, "sideways": width / 2.5}
            one.turns = (Turn(into, near=float(rng.uniform(8, 18))), Turn({"indicates": 0, **goes}, after=6.0))
        elif event == "crossing_trailer":
            look["turn"] = side * TURN // 4
            one.t -= side * (width / 2 + 1 + one.length / 2)
            one.turns = (_across(side, own + side * (width + one.length), 4.0, float(rng.uniform(48, 60))),)
        elif event == "pedestrian":
            look["turn"] = side * TURN // 4
            one.t -= side * (width / 2 + 0.8)
            one.turns = (_across(side, own + side * (width / 2 + 1.5), 1.5, float(rng.uniform(35, 60))),)
        elif event == "wrong_way_car":
            one.speed = -10.0
            one.turns = (Turn({"target": 0.0, "rate": 6.0}, near=45.0),)
        elif event == "truck_hides_car":
            one.speed = SLOW
            one.turns = (Turn(goes | {"sideways": width / 2.5}, near=32.0),)
            cars = [dict(other) for other in looks(self.world_seed, None) if other["kind"] == 0]
            hidden = Actor(cars[int(rng.integers(len(cars)))], s, own, SLOW, event=event)
            hidden.s += one.length / 2 + hidden.length / 2 + float(rng.uniform(4, 12))
            near = 32 + hidden.s - hidden.length / 2 - s + one.length / 2
            slows = {"target": 4.0, "rate": 5.0, "brakes": 1}
            hidden.turns = (Turn(slows, near=near), Turn({"brakes": 0, **goes}, after=8.0))
            self.actors.append(hidden)
        self.actors.append(one)


def _across(side: int, aim: float, speed: float, near: float) -> Turn:
    return Turn({"aim": aim, "sideways": speed}, near=near)


def overlap(pose: car.Pose, t: float, actor: Actor, shift: float) -> bool:
    """Whether the driven car's outline and something's meet, by separating axes; `t` is the car's."""
    ds, dt = actor.s - pose.s, actor.t + shift - t
    if math.hypot(ds, dt) > (car.LENGTH + car.WIDTH + actor.length + actor.width) / 2:
        return False
    boxes = ((pose.heading, car.LENGTH, car.WIDTH), (actor.turn, actor.length, actor.width))
    for turn, _, _ in boxes:
        for axis in ((math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))):
            reach = sum(
                abs(axis[0] * math.cos(own) + axis[1] * math.sin(own)) * length / 2
                + abs(axis[1] * math.cos(own) - axis[0] * math.sin(own)) * width / 2
                for own, length, width in boxes
            )
            if abs(ds * axis[0] + dt * axis[1]) > reach:
                return False
    return True


def ahead(pose: car.Pose, t: float, actors: Sequence[Actor], shift: float) -> tuple[Actor, float] | None:
    """What is next in the driven car's way, and how far before its bumper; None where nothing is within 60 m."""
    found = None
    for one in actors:
        along, across = one.extent
        gap = one.s - along - pose.s - car.LENGTH / 2
        if abs(one.t + shift - t) < across + car.WIDTH / 2 and -along < gap < 60 and (not found or gap < found[1]):
            found = one, max(gap, 0.0)
    return found
