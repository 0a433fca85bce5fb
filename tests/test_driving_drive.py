"""Closed loop: the car and who steers it against hand computation, and what is counted of a drive."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import chi2

from envgen_exp.commands import drive as command
from envgen_exp.commands.compose import compose_run
from envgen_exp.commands.play import Player
from envgen_exp.families import make_family
from envgen_exp.families.driving.config import DrivingConfig, ImageSize
from envgen_exp.families.driving.design import EVENTS
from envgen_exp.families.driving.drive import car
from envgen_exp.families.driving.drive.drive import RATES, Stage, drive_all
from envgen_exp.families.driving.drive.road import Road
from envgen_exp.families.driving.drive.traffic import FAR, Actor, looks, overlap
from envgen_exp.families.driving.family import DrivingFamily
from envgen_exp.families.driving.painter import METRE, Painter
from envgen_exp.families.family import Drivable, FrameBuffers
from envgen_exp.learners.intervals import poisson
from envgen_exp.learners.supervised.learner import Supervised
from envgen_exp.llm.client import LateClient
from envgen_exp.run.folder import RunFolder

SHAPE = ImageSize.half.shape
NAN = math.nan
FAMILY = DrivingFamily(DrivingConfig(num_threads=1))


def answer(place: float = 0.0, heading: float = 0.0, own: float = NAN) -> list[float]:
    """What is true of a car on a lane of 3.5 m, its heading in radians."""
    return [math.degrees(heading), NAN, own, NAN, NAN, 1.75 + place, 1.75 - place, NAN]


def emptied(road: Road, length: float = 600.0, *, world: int = 0) -> Stage:
    """A stage with nobody and nothing on it but a road."""
    stage = Stage(world, 3, length, {}, 20.0)
    stage.road = stage.traffic.road = road
    stage.traffic.actors, stage.traffic.density = [], 0.0
    stage.traffic._gaps = [math.inf] * stage.lanes.count
    stage._base |= {"markings": 0, "weather": 0, "time": 0, "visibility": 4000 * METRE}
    return stage


def driven(stage: Stage, reader: str = "exact labels") -> dict[str, Any]:
    return drive_all(Painter(1), SHAPE, FAMILY.bounds[reader], [stage])


# The car


def test_a_held_wheel_makes_the_circle_of_the_bicycle_model() -> None:
    steer, step = 0.05, 0.001
    slip = math.atan(math.tan(steer) / 2)
    radius = car.WHEELBASE / (math.cos(slip) * math.tan(steer))
    pose, places = car.Pose(0, 0, -slip, 10), []
    for _ in range(int(2 * math.pi * radius / 10 / step)):
        pose = car.moved(pose, steer, 0, 0, step)
        places.append((pose.s, pose.t))
    # It began along s, so the middle is a radius to its right.
    assert np.hypot(*(np.array(places) - (0, radius)).T) == pytest.approx(radius, rel=1e-3)
    assert pose.heading + slip == pytest.approx(2 * math.pi, rel=1e-3)
    # On a road of that curvature it keeps its place.
    pose = car.Pose(0, 0, -slip, 10)
    for _ in range(1000):
        pose = car.moved(pose, steer, 0, 1 / radius, step)
    assert (pose.t, pose.heading) == pytest.approx((0, -slip), abs=1e-6)
    assert pose.s == pytest.approx(10, rel=1e-6)


def test_a_car_brakes_to_a_stop_and_no_further() -> None:
    pose = car.Pose(0, 0, 0, 10)
    for _ in range(400):
        pose = car.moved(pose, 0, -5, 0, 0.01)
    assert pose.speed == 0
    assert pose.s == pytest.approx(10**2 / (2 * 5), abs=0.03)


@pytest.mark.parametrize("speed", [5.0, 20.0, 30.0])
def test_both_poles_are_where_they_are_said_to_be(speed: float) -> None:
    place, direction = car.gains(speed)
    # t' = v (heading + steer / 2), heading' = v steer / L, steer = -(place t + direction heading)
    system = [
        [-speed / 2 * place, speed - speed / 2 * direction],
        [-speed / car.WHEELBASE * place, -speed / car.WHEELBASE * direction],
    ]
    assert np.linalg.eigvals(system) == pytest.approx([-car.RESPONSE] * 2, rel=1e-4)


def test_the_way_back_to_the_middle_is_that_of_a_double_pole() -> None:
    speed, step = 20.0, 0.001
    driver, pose = car.Driver(speed), car.Pose(0, 0.3, 0, speed)
    for number in range(1, 2001):
        pose = car.moved(pose, driver.command(answer(pose.t, pose.heading), speed, step)[0], 0, 0, step)
        time = number * step
        slope = car.RESPONSE - car.RESPONSE**2 * car.WHEELBASE / (2 * speed)
        assert pose.t == pytest.approx(0.3 * math.exp(-car.RESPONSE * time) * (1 + slope * time), abs=2e-3)


def test_without_lines_the_place_is_reckoned_on() -> None:
    driver, place = car.Driver(20), car.gains(20)[0]
    driver.command(answer(0.5), 20, 0.1)
    blind = [math.degrees(0.02), *[NAN] * 7]
    slip = driver._slip
    steer, _ = driver.command(blind, 20, 0.1)
    reckoned = 0.5 + 20 * math.sin(0.02 + slip) * 0.1
    assert steer == pytest.approx(-place * reckoned - car.gains(20)[1] * 0.02)
    # One line is enough, the lane then being as wide as most.
    one = [0, NAN, NAN, NAN, NAN, 2.0, NAN, NAN]
    assert driver.command(one, 20, 0.1)[0] == pytest.approx(-place * (2.0 - car.LANE / 2))
    one[5:7] = NAN, 2.0
    assert driver.command(one, 20, 0.1)[0] == pytest.approx(place * (2.0 - car.LANE / 2))


def test_it_stops_a_gap_behind_what_stands() -> None:
    driver, pose = car.Driver(20), car.Pose(0, 0, 0, 20)
    for _ in range(1500):
        way = 100 - pose.s
        acceleration = driver.command(answer(own=way if way <= 60 else NAN), pose.speed, 0.01)[1]
        if acceleration < 0 and pose.speed == 20:
            # From v it needs v^2 / 2b, its bumper being half a car ahead.
            assert way == pytest.approx(20**2 / (2 * car.BRAKING) + car.LENGTH / 2 + car.GAP, abs=0.2)
        pose = car.moved(pose, 0, acceleration, 0, 0.01)
    assert pose.speed < 0.01
    # It follows what it plans a LAG behind, and ends nearer: y before the gap, y' = -v, v' = (plan - v) / LAG.
    plan = solve_ivp(
        lambda _, state: (-state[1], (math.sqrt(2 * car.BRAKING * max(state[0], 0)) - state[1]) / car.LAG),
        (0, 15),
        (20**2 / (2 * car.BRAKING), 20),
        rtol=1e-6,
    )
    assert -1 < plan.y[0, -1] < 0
    assert 100 - pose.s - car.LENGTH / 2 == pytest.approx(car.GAP + plan.y[0, -1], abs=0.1)


# The road


def test_a_scene_shows_the_road_that_is_driven() -> None:
    road = Road(3000, np.random.Generator(np.random.PCG64(4)))
    for s in (200.0, 777.0, 1550.0):
        scene = road.seen_from(s)
        at, heading, x = s, 0.0, 0.0
        while at < s + 50:  # the middle of the road, by its curvature
            x, heading, at = x + math.sin(heading) * 0.05, heading + road.curvature(at) * 0.05, at + 0.05
        y = 50 * METRE
        middle = ((scene["bend"] + (scene["twist"] * y >> 20)) * (y * y >> 4)) >> 32
        # A length along the road is drawn along the camera's axis, and a change of curvature within sight is spread.
        assert middle / METRE == pytest.approx(x, abs=0.25)
        assert scene["along"] == s * METRE


def test_lanes_shift_and_a_crest_falls_away() -> None:
    road = Road.of(0.0)
    end = road.add_shift(100, -1.2)
    road.add_crest(800, 300)
    assert [road.shift(s) for s in (100, 150, 300, end)] == pytest.approx([0, -0.6, -1.2, 0])
    assert [road.vertical(s) for s in (600, 675, 750, 860)] == pytest.approx([0, -0.5 / 300, -1 / 300, 0])


# Collisions


def test_outlines_meet_or_do_not() -> None:
    look = {**looks(3, "stalled_car")[0], "length": 4 * METRE, "width": 2 * METRE, "turn": 0}
    pose = car.Pose(0, 0, 0, 20)

    def meets(s: float, t: float, turn: float = 0.0) -> bool:
        actor = Actor({**look, "turn": round(turn / 360 * 65536)}, s, t)
        return overlap(pose, pose.t, actor, 0.0)

    long, wide = (car.LENGTH + 4) / 2, (car.WIDTH + 2) / 2
    assert meets(long - 0.01, 0)
    assert not meets(long + 0.01, 0)
    assert meets(0, wide - 0.01)
    assert not meets(0, wide + 0.01)
    # Turned by 45 degrees, its corner is (4 + 2) / 2 / sqrt 2 away along the road, and across.
    corner = 3 / math.sqrt(2)
    assert meets(0, car.WIDTH / 2 + corner - 0.02, 45)
    assert not meets(0, car.WIDTH / 2 + corner + 0.02, 45)


@pytest.mark.parametrize("curvature", [0.0, 0.004, -0.004])
def test_exact_labels_keep_to_the_lane(curvature: float) -> None:
    stage = emptied(Road.of(curvature))
    found = driven(stage)
    assert (found["departures"], found["collisions"], found["stops"], found["unfinished"]) == (0, 0, 0, 0)
    # Round a bend it heads half the wheel's angle inwards, L curvature, which place and heading must hold there.
    place, direction = car.gains(20)
    held = -curvature * car.WHEELBASE * (1 - direction / 2) / place
    assert stage.place == pytest.approx(held, abs=0.01)
    assert found["kmh"] == pytest.approx(72, abs=2)


@pytest.mark.parametrize(("reader", "hits"), [("straight ahead", ["stalled_car"]), ("exact labels", [])])
def test_who_sees_no_stalled_car_hits_it(reader: str, hits: list[str]) -> None:
    stage = emptied(Road.of(0.0), 200.0)
    stage.traffic.actors = [Actor(dict(looks(3, "stalled_car")[0]), 120, stage.pose.t, event="stalled_car")]
    found = driven(stage, reader)
    assert stage.collisions == hits
    assert found["by_event"]["stalled_car"]["collisions"] == found["collisions"] == len(hits)
    assert found["encounters"] == 1
    # A stop as planned, x metres before its end, is (GAP + x) / sqrt(2 BRAKING x) seconds from a collision.
    planned = 2 * math.sqrt(car.GAP / (2 * car.BRAKING))
    assert found["ttc_p5"] == pytest.approx(0.0 if hits else planned, abs=0.4)


def test_who_looks_at_nothing_leaves_a_bend() -> None:
    stage = emptied(Road.of(0.003), 300.0)
    found = driven(stage, "straight ahead")
    assert found["departures"] == len(stage.departures) > 2
    assert abs(stage.place) < stage.lanes.width / 2


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_is_met_and_seen(event: str) -> None:
    stage = Stage(1, 3, 900.0, {event: 1000.0}, 20.0)
    stage.length = 700.0
    assert stage.lanes.count > 1
    painter, seen = Painter(1), False
    buffers = FrameBuffers(np.empty((1, *SHAPE), np.uint8), np.empty((1, 8), np.float32), np.empty((1, 31), np.bool_))
    number = FAMILY.strata.index(event)
    while not stage.done:
        painter.draw_scenes([stage.scene()], buffers)
        seen |= bool(buffers.strata[0, number])
        stage.step(buffers.labels[0].tolist())
    assert set(stage.traffic.met) == {event}
    assert seen
    assert stage.departures == []
    assert stage.seconds < 200


def test_the_same_drive_is_the_same_twice() -> None:
    def once(seed: int = 1) -> dict[str, Any]:
        return FAMILY.drive(FAMILY.bounds["exact labels"], km=0.4, events="raised", seed=seed, speed=20.0)

    assert once() == once() != once(2)


def test_natural_events_are_as_rare_as_in_the_original() -> None:
    # Seen over 60 m of road, an event in 300 of 100,000 frames is met on 3 m of each 1,000, so 0.05 times.
    assert RATES["natural"]["truck_hides_car"] == pytest.approx(0.05)
    assert set(RATES["raised"]) == set(RATES["natural"]) == set(EVENTS)
    assert FAR > 60


@pytest.mark.parametrize("count", [0, 1, 10, 200])
def test_a_counts_interval_is_exact(count: int) -> None:
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    assert poisson(count) == pytest.approx((low, chi2.ppf(0.975, 2 * count + 2) / 2), rel=1e-6)


# The command


@pytest.fixture
def untaught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose network has learned nothing."""
    folder = tmp_path / "run"
    words = ["env=driving", "agent=supervised", "num_threads=1", "env.num_threads=1", "device=cpu", f"folder={folder}"]
    config = compose_run(words)
    RunFolder.create(config, command="python run.py", versions={}, chosen={}).close()
    family = make_family(config.env)
    player = Player(folder, config, family, Supervised.create(config, family, LateClient(), 1), "untaught", ())
    monkeypatch.setattr(Player, "open", lambda *_: player)
    return folder


def test_a_network_drives(untaught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(FAMILY, Drivable)
    assert command.main([str(untaught), "km=0.1", "events=none"]) == 0
    written = json.loads((untaught / "drives" / "none-s0-km0.1.json").read_text())
    assert list(written["drivers"]) == ["network", "exact labels", "straight ahead"]
    for found in written["drivers"].values():
        rate, low, high = found["per_1000_km"]["departures"]
        assert rate == pytest.approx(found["departures"] * 1000 / found["km"], abs=0.01)
        assert low <= rate <= high
    assert written["drivers"]["exact labels"]["departures"] == 0
    assert (untaught / "drives" / "none-s0-km0.1.mp4").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "collisions" in printed
    assert "pedestrian" in printed
    page = (untaught / "report.html").read_text()
    assert "could not be made" not in page
    assert "Drive none-s0-km0.1" in page
    assert page.count("<video") == 1
    rate, low, high = written["drivers"]["straight ahead"]["per_1000_km"]["departures"]
    assert f"{rate:,.0f} [{low:,.0f}, {high:,.0f}]" in page
    assert 'href="drives/' not in page  # the film is in the page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("km=0",), "km=0: allowed is a number from 0.1 to 10,000"),
        (("seed=1.5",), "seed=1.5: allowed is a whole number from 0"),
        (("events=many",), "events=many: allowed is raised | natural | none"),
        (("kilometres=3",), "kilometres=...: no such word; allowed: km | events | speed | seed"),
        (("another",), "needs one run's folder, got 2"),
    ],
)
def test_what_can_not_be_driven_is_one_line(
    words: tuple[str, ...], says: str, untaught: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(untaught), *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert {file.name for file in untaught.iterdir()} == {"config.yaml", "lock"}


def test_games_are_not_driven(
    untaught: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crafter = make_family(compose_run(["env=crafter"]).env)
    player: Mapping[str, Any] = vars(Player.open(untaught, None))  # type: ignore[arg-type]
    monkeypatch.setattr(Player, "open", lambda *_: dataclasses.replace(Player(**player), family=crafter))
    assert command.main([str(untaught)]) == 2
    assert "env=crafter can't be driven" in capsys.readouterr().err
