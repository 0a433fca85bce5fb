"""Driving's frames and labels: against geometry computed anew, mirrored, and equal however they are drawn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from driving_geometry import Geometry
from numpy.typing import NDArray

from envgen_exp.errors import EngineError
from envgen_exp.families.design import Design
from envgen_exp.families.driving.config import ImageSize
from envgen_exp.families.driving.design import EVENTS, KEPT_PAIRS, DrivingDesign
from envgen_exp.families.driving.painter import INVERSE, LABELS, STRATA, Depths, Painter, describe
from envgen_exp.families.family import FrameBuffers

HALF = ImageSize.half.shape
FULL = ImageSize.full.shape
AHEAD = slice(1, 4)
LINES = slice(4, 8)
SCENERY = 254
PAINTER = Painter(1)


@dataclass
class Drawn:
    buffers: FrameBuffers
    depths: Depths


def draw(
    designs: Sequence[Design | None],
    seeds: Sequence[int],
    shape: tuple[int, int, int] = HALF,
    painter: Painter = PAINTER,
    *,
    other_look: bool = False,
    mirrored: bool = False,
) -> Drawn:
    count = len(designs)
    made = FrameBuffers(
        np.zeros((count, *shape), np.uint8),
        np.zeros((count, len(LABELS)), np.float32),
        np.zeros((count, len(STRATA)), np.bool_),
    )
    depths = Depths(np.zeros((count, *shape[:2]), np.int32), np.zeros((count, *shape[:2]), np.uint8))
    painter.draw(designs, seeds, made, other_look=other_look, mirrored=mirrored, depths=depths)
    return Drawn(made, depths)


def mixture(count: int) -> list[Design | None]:
    """Designs that between them have every event, every pair, large headings, and the original."""
    kinds: list[Design | None] = [None, DrivingDesign(traffic="dense"), DrivingDesign(largest_heading=30)]
    kinds += [DrivingDesign(curve="sharp", slope="uphill", car_ahead="middle", largest_offset=150)]
    kinds += [DrivingDesign(event=event, event_share=100) for event in EVENTS]
    kinds += [DrivingDesign(event=a, second_event=b, event_share=100) for a, b in KEPT_PAIRS]
    return [kinds[index % len(kinds)] for index in range(count)]


def agree(count: int, shape: tuple[int, int, int], *, other_look: bool) -> tuple[int, int]:
    """Compare labels with the same computed from geometry; distances that were compared, and those in doubt.

    A thing is surely visible where its pixels are more than a quarter of the projection of the box around it, and
    surely hidden where it has none; in between it is in doubt, and so is what stands at the very edge of a lane.
    """
    designs, seeds = mixture(count), [17 * index + 3 for index in range(count)]
    drawn = draw(designs, seeds, shape, other_look=other_look)
    pixels = shape[0] * shape[1]
    compared = doubtful = 0
    for index, (design, seed) in enumerate(zip(designs, seeds, strict=True)):
        scene = Geometry(describe(design, seed, other_look=other_look))
        labels = drawn.buffers.labels[index]
        ids, inverse = drawn.depths.ids[index], drawn.depths.inverse[index]
        assert labels[0] == pytest.approx(math.degrees(scene.heading), abs=1e-4)
        np.testing.assert_allclose(labels[LINES], scene.lines(), atol=0.004)
        counts = np.bincount(ids.ravel(), minlength=256)
        sure, maybe = [], []
        for number, solid in enumerate(scene.things, start=1):
            box = boxed(scene, number, shape)
            seen = int(counts[number])
            if seen:
                inside_box(ids == number, box)
            far = scene.told["things"][number - 1]["y"] > scene.told["visibility"]
            if not seen or far or seen < 2e-4 * pixels:
                continue
            share = seen / max(area(box, shape), 1.0)
            (sure if share > 0.3 else maybe).append((number, solid))
        for place in (-1, 0, 1):
            lane = scene.own + place
            said = labels[2 + place]
            within = [
                [(solid.near, number) for number, solid in some if scene.in_lane(solid, lane) > -0.004]
                for some in (sure, maybe)
            ]
            edge = any(abs(scene.in_lane(solid, lane)) < 0.004 for _, solid in sure)
            clear = min(within[0], default=(math.inf, 0))
            if not 0 <= lane < scene.lanes:
                assert np.isnan(said)
                continue
            if edge or any(near < clear[0] for near, _ in within[1]) or abs(clear[0] - 60) < 0.01:
                doubtful += 1
                continue
            compared += 1
            if clear[0] > 60:
                assert np.isnan(said), (design, seed, place)
                continue
            assert said == pytest.approx(max(clear[0], 0), abs=0.01), (design, seed, place)
            if counts[clear[1]] > 0.002 * pixels and clear[0] > 2.5:
                # The same distance, read back from the picture of depths: no nearer, and hardly farther where the
                # thing's near end is in the picture.
                read = scene.places(inverse, ids == clear[1], INVERSE)[:, 1].min()
                assert -0.15 - 0.01 * said < read - said
                if whole(ids == clear[1]):
                    assert read - said < 0.75 + 0.02 * said, (design, seed, place)
    return compared, doubtful


def boxed(scene: Geometry, number: int, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """The eight corners of the box around a thing, projected."""
    solid = scene.things[number - 1]
    return np.concatenate([scene.project(solid.corners, up, shape[:2]) for up in (0.0, solid.height)])


def inside_box(chosen: NDArray[np.bool_], box: NDArray[np.float64]) -> None:
    """No pixel of a thing is outside the rectangle around its box, but for what stands out of it by centimetres."""
    if np.isnan(box).any():
        return
    rows, columns = np.nonzero(chosen)
    margin = 1.5 + 0.04 * (box.max(0) - box.min(0))
    assert columns.min() + 0.5 > box[:, 0].min() - margin[0]
    assert columns.max() + 0.5 < box[:, 0].max() + margin[0]
    assert rows.min() + 0.5 > box[:, 1].min() - margin[1]
    assert rows.max() + 0.5 < box[:, 1].max() + margin[1]


def area(box: NDArray[np.float64], shape: tuple[int, int, int]) -> float:
    """Pixels of the part of a frame that the rectangle around a box covers: at least those of what is in it."""
    if np.isnan(box).any():
        return float(shape[0] * shape[1])
    low, high = np.clip(box.min(0), 0, (shape[1], shape[0])), np.clip(box.max(0), 0, (shape[1], shape[0]))
    return float(np.prod(high - low))


def whole(chosen: NDArray[np.bool_]) -> bool:
    """Whether a thing's lower end is in the frame: it touches neither its sides nor its lower edge."""
    return not (chosen[-1].any() or chosen[:, 0].any() or chosen[:, -1].any())


def test_labels_are_those_of_the_geometry() -> None:
    for other_look in (False, True):
        compared, doubtful = agree(190, HALF, other_look=other_look)
        assert compared > 300
        assert doubtful < 0.2 * compared


@pytest.mark.long
@pytest.mark.parametrize("shape", [HALF, FULL])
@pytest.mark.parametrize("other_look", [False, True])
def test_labels_of_ten_thousand_frames_are_those_of_the_geometry(
    shape: tuple[int, int, int], *, other_look: bool
) -> None:
    compared, doubtful = agree(2500, shape, other_look=other_look)
    assert compared > 4000
    assert doubtful < 0.2 * compared


def test_lines_are_painted_where_labels_say() -> None:
    design = DrivingDesign(markings="solid", traffic="none", car_ahead="none", weather="clear", time_of_day="day")
    seeds = range(40)
    drawn = draw([design] * 40, seeds, FULL)
    for index, seed in enumerate(seeds):
        scene = Geometry(describe(design, seed, other_look=False))
        grey = drawn.buffers.images[index].astype(float).mean(2)
        for side, distance in ((-1, drawn.buffers.labels[index, 5]), (1, drawn.buffers.labels[index, 6])):
            y = 7.0
            point = np.array([[scene.middle(y) + scene.camera_t + side * distance, y]])
            u, v = (math.floor(value) for value in scene.project(point, 0.0, FULL[:2])[0])
            if 12 <= u < FULL[1] - 12 and v < FULL[0]:
                beside = np.r_[grey[v, u - 12 : u - 7], grey[v, u + 8 : u + 13]].mean()
                assert grey[v, u - 1 : u + 2].mean() > beside + 40


def test_a_mirrored_scene_has_mirrored_labels_and_looks_mirrored() -> None:
    designs, seeds = mixture(190), range(190)
    plain, mirrored = draw(designs, seeds), draw(designs, seeds, mirrored=True)
    ours, theirs = plain.buffers.labels, mirrored.buffers.labels
    np.testing.assert_array_equal(theirs[:, 0], -ours[:, 0])
    np.testing.assert_allclose(theirs[:, LINES], ours[:, LINES][:, ::-1], atol=0.003)
    # At the edge of what counts as visible a pixel may decide.
    same = np.isclose(theirs[:, AHEAD], ours[:, AHEAD][:, ::-1], atol=0.01, equal_nan=True)
    assert same.mean() > 0.985
    # What stands beside the road is drawn at random for each side.
    here, there = plain.depths.ids, mirrored.depths.ids[:, :, ::-1]
    compared = (here != SCENERY) & (there != SCENERY)
    assert (here == there)[compared].mean() > 0.99
    assert (here == there)[compared & (here != 0) & (here < SCENERY)].mean() > 0.9


def test_frames_are_a_function_of_design_and_seed_alone() -> None:
    designs, seeds = mixture(38), [5 * index for index in range(38)]
    first = draw(designs, seeds)
    backwards = draw(designs[::-1], seeds[::-1], painter=Painter(2))
    for name in ("images", "labels", "strata"):
        np.testing.assert_array_equal(getattr(first.buffers, name), getattr(backwards.buffers, name)[::-1])
    for index in (0, 5, 21):
        alone = draw([designs[index]], [seeds[index]])
        np.testing.assert_array_equal(alone.buffers.images[0], first.buffers.images[index])
        np.testing.assert_array_equal(alone.buffers.labels[0], first.buffers.labels[index])
    equal = DrivingDesign(**designs[1].settings(), purpose="Something else")
    np.testing.assert_array_equal(draw([equal], [seeds[1]]).buffers.images[0], first.buffers.images[1])


def test_frames_are_the_same_bytes_on_every_machine() -> None:
    """Another digest means another game: every pack and every data set is of one version of it."""
    digest = hashlib.sha256()
    for shape in (HALF, FULL):
        for other_look in (False, True):
            drawn = draw(mixture(19), range(100, 119), shape, other_look=other_look)
            digest.update(drawn.buffers.images.tobytes())
            digest.update(np.nan_to_num(drawn.buffers.labels, nan=-1).tobytes())
            digest.update(drawn.buffers.strata.tobytes())
    assert digest.hexdigest() == DIGEST


def test_each_setting_changes_frames() -> None:
    plain = DrivingDesign(event="debris", event_share=100)
    seeds = range(8)
    base = draw([plain] * 8, seeds).buffers.images
    for name, field in DrivingDesign.model_fields.items():
        if name in ("purpose", "targets", "event", "second_event", "third_event"):
            continue
        design = DrivingDesign(event="debris", event_share=100)
        choices = {"fog_visibility": (20,), "largest_offset": (150,), "largest_heading": (20,), "event_share": (1,)}
        values = choices.get(name) or getattr(field.annotation, "__args__", ())[1:]
        update = {"weather": "fog"} if name == "fog_visibility" else {}
        before = draw([design.model_copy(update=update)] * 8, seeds).buffers.images if update else base
        for value in values:
            after = draw([design.model_copy(update={**update, name: value})] * 8, seeds).buffers.images
            assert (before != after).any(), f"{name}={value} changes nothing"


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_reaches_pixels_labels_and_its_stratum(event: str) -> None:
    seeds = range(24)
    settings = {"weather": "clear", "time_of_day": "day", "lanes": "two", "traffic": "sparse"}
    without = draw([DrivingDesign(**settings)] * 24, seeds)
    held = draw([DrivingDesign(**settings, event=event, event_share=100)] * 24, seeds)
    seen = held.buffers.strata[:, STRATA.index(event)]
    assert seen.mean() > 0.75
    assert not held.buffers.strata[:, STRATA.index("common")].any()
    assert without.buffers.strata[:, STRATA.index("common")].all()
    assert not without.buffers.strata[:, STRATA.index(event)].any()
    changed = (held.buffers.images != without.buffers.images).any(3).mean((1, 2))
    assert (changed[seen] > 1.9e-4).all()
    if event == "shifted_lanes":  # the viewer keeps its lane, so that the numbers are those of the yellow lines
        np.testing.assert_array_equal(held.buffers.labels[:, LINES], without.buffers.labels[:, LINES])
        return
    ours, theirs = held.buffers.labels[seen, AHEAD], without.buffers.labels[seen, AHEAD]
    assert not np.isclose(ours, theirs, equal_nan=True).all()
    assert (ours[:, 1] <= 60).mean() > 0.8


def test_what_is_hidden_is_not_ahead() -> None:
    """A truck near ahead hides the car before it: no label is of that car, and fog hides what is beyond it."""
    design = DrivingDesign(event="truck_hides_car", event_share=100, curve="straight", largest_heading=0)
    drawn = draw([design] * 30, range(30))
    for index, seed in enumerate(range(30)):
        things = describe(design, seed, other_look=False)["things"]
        (truck,) = [thing for thing in things if thing["event"] == list(EVENTS).index("truck_hides_car")]
        near = (truck["y"] - truck["length"] / 2) / 1024
        own = drawn.buffers.labels[index, 2]
        assert np.isnan(own) or own <= near + 0.2
    fog = DrivingDesign(weather="fog", fog_visibility=30, traffic="dense", car_ahead="far")
    foggy = draw([fog] * 30, range(30)).buffers.labels
    assert np.isnan(foggy[:, 2]).all()
    assert not (foggy[:, AHEAD] > 31).any()


def test_buffers_that_do_not_fit_are_refused() -> None:
    wrong = FrameBuffers(np.zeros((1, *HALF), np.uint8), np.zeros((1, 3), np.float32), np.zeros((1, 9), np.bool_))
    with pytest.raises(EngineError, match="frames: ") as error:
        PAINTER.draw([None], [0], wrong)
    assert "\n" not in str(error.value)


DIGEST = "3dddbae4b4d005c6c84a703486352b0432a2ef02b6ce63cdc70ce0d2f52012f2"
