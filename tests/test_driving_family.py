"""Driving as a family: its protocol, what it says of designs, what it asks of a network, and its score."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envgen_exp.config import Engine, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError
from envgen_exp.families import FAMILIES, make_family, make_playable
from envgen_exp.families.design import design_key
from envgen_exp.families.driving.brief import COMMON, SKILLS
from envgen_exp.families.driving.config import DrivingConfig, ImageSize
from envgen_exp.families.driving.design import EVENTS, KEPT_PAIRS, RARITY, VOCABULARY, DrivingDesign, events_of, recipe
from envgen_exp.families.driving.family import DrivingFamily
from envgen_exp.families.driving.painter import LABELS, STRATA
from envgen_exp.families.family import FrameBuffers, Labelled, Mirrored, Playable, Told
from envgen_exp.families.typed import parse_design
from envgen_exp.llm.prompt import Wording
from envgen_exp.llm.reply import parse_reply
from envgen_exp.seeding import WorldSet, world_seed


@pytest.fixture(scope="module")
def family() -> DrivingFamily:
    return DrivingFamily(DrivingConfig(num_threads=1))


def buffers(family: DrivingFamily, count: int) -> FrameBuffers:
    return FrameBuffers(
        np.zeros((count, *family.frame_spec.shape), np.uint8),
        np.zeros((count, len(family.labels)), np.float32),
        np.zeros((count, len(family.strata)), np.bool_),
    )


def test_a_group_with_a_setting_s_name_is_read(family: DrivingFamily) -> None:
    groups = {
        "traffic": {"vehicles": "trucks", "car_ahead": "near"},
        "weather": {"weather": "fog", "fog_visibility": 50},
    }
    text = json.dumps({"designs": [{"purpose": "p", **groups}]})
    reply = parse_reply(text, Wording.plain(VOCABULARY), DrivingDesign, SKILLS, 1)
    assert not reply.problems
    (design,) = reply.designs
    assert design is not None
    wanted = groups["traffic"] | groups["weather"]
    assert {name: value for name, value in design.settings().items() if name in wanted} == wanted


def test_protocol(family: DrivingFamily) -> None:
    assert isinstance(family, Labelled)
    assert not isinstance(family, Playable | Mirrored | Told)
    assert family.name in FAMILIES.names
    assert list(family.brief.skills) == list(family.skills)
    assert {rule.skill for rule in family.skill_rules} == set(family.skills)
    assert family.design_model().settings() == {setting.name: setting.default for setting in family.vocabulary}
    assert family.frame_spec.shape == (105, 140, 3)
    assert make_family(DrivingConfig(image_size=ImageSize.full)).frame_spec.shape == (210, 280, 3)  # type: ignore[attr-defined]
    assert len(set(family.strata)) == len(family.strata)
    known = set(family.skills)
    for rule in family.skill_rules:
        assert set(rule.requires) <= known
        parse_design(", ".join(f"{name}: {value}" for name, value in rule.settings.items()) or "lanes: two", family)
        known |= {rule.skill}
    with pytest.raises(ConfigError, match="env=driving: its games are not stepped"):
        make_playable(DrivingConfig())


@pytest.mark.parametrize(
    ("values", "words"),
    [({"engine": Engine.reference}, "env.engine=reference"), ({"observation": Observe.symbolic}, "env.observation=")],
)
def test_settings_that_driving_does_not_have(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        make_family(DrivingConfig(**values))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_default_designs_differ_and_are_playable(family: DrivingFamily) -> None:
    designs = family.default_designs(4)
    assert len({design_key(design) for design in designs}) == 4
    assert len(family.default_designs(9)) == 9
    for design in designs:
        check = family.check(design)
        assert check.playable
        assert design.targets
        assert not set(design.targets) & set(check.impossible)
        assert check == family.check(design)


@pytest.mark.parametrize("pair", KEPT_PAIRS)
def test_pairs_that_the_report_keeps_are_refused(family: DrivingFamily, pair: tuple[str, str]) -> None:
    for first, second in (pair, pair[::-1]):
        check = family.check(DrivingDesign(event="none", second_event=first, third_event=second))
        assert not check.playable
        assert check.impossible == family.skills
        (finding,) = check.findings
        assert first in finding
        assert second in finding
        assert "\n" not in finding
    for event in pair:
        assert family.check(DrivingDesign(event=event), num_worlds=16).playable


@pytest.mark.parametrize(
    "text",
    [
        "event: cut_in, lanes: one",
        "event: shifted_lanes, markings: missing",
        "event: shifted_lanes, markings: solid",
        "event: car_behind_crest, slope: uphill",
        "event: truck_hides_car, car_ahead: none",
        "event: hard_braking, car_ahead: far",
        "time_of_day: low_sun, weather: fog",
    ],
)
def test_contradictions_are_refused_in_one_line(family: DrivingFamily, text: str) -> None:
    design = parse_design(text, family)
    check = family.check(design)
    assert not check.playable
    (finding,) = check.findings
    for word in text.split(", "):
        assert word.replace(": ", "=") in finding
    # Each half of it alone is fine.
    for word in text.split(", "):
        assert family.check(parse_design(word, family), num_worlds=16).playable


def test_an_event_that_nobody_can_see_is_refused(family: DrivingFamily) -> None:
    design = DrivingDesign(event="car_behind_crest", weather="fog", fog_visibility=20)
    check = family.check(design)
    assert not check.playable
    assert check.findings[0] == "event=car_behind_crest is seen in none of 64 scenes that hold it"
    assert family.check(DrivingDesign(event="pedestrian", event_share=1)).playable


def test_a_check_names_targets_that_no_scene_asks_for(family: DrivingFamily) -> None:
    check = family.check(DrivingDesign(markings="missing", targets=("lane_position", "debris_distance", "heading")))
    assert check.playable
    assert {"lane_position", "debris_distance"} <= set(check.impossible)
    assert "targets that no sampled scene asks for: lane_position, debris_distance" in check.findings
    for number in (0, -1):
        with pytest.raises(EngineError, match="num_worlds"):
            family.check(DrivingDesign(), num_worlds=number)
    with pytest.raises(DesignError, match="the original needs no check"):
        family.check(None)  # type: ignore[arg-type]


def test_batteries(family: DrivingFamily) -> None:
    report = family.battery(WorldSet.REPORT, 32_500)
    assert [count for _, count in report] == [20_000] + [1_000] * 10 + [500] * 5
    assert report[0][0] is None
    assert [events_of(design) for design, _ in report[1:11] if design] == [(event,) for event in EVENTS]
    assert [events_of(design) for design, _ in report[11:] if design] == list(KEPT_PAIRS)
    feedback = family.battery(WorldSet.FEEDBACK, 1000)
    assert sum(count for _, count in feedback) == 1000
    assert {len(events_of(design)) for design, _ in feedback if design} == {1}
    assert all(count >= 1 for _, count in family.battery(WorldSet.REPORT, 1))


def test_every_skill_is_asked_for_by_the_battery(family: DrivingFamily) -> None:
    for worlds in (WorldSet.FEEDBACK, WorldSet.REPORT):
        kinds = family.battery(worlds, 650)
        designs = [design for design, count in kinds for _ in range(count)]
        out = buffers(family, len(designs))
        family.frames(designs, [world_seed(1, number, worlds) for number in range(len(designs))], worlds, out)
        asked, shown = family.judge(out.labels, out.labels, out.strata)
        assert asked.any(0).all()
        np.testing.assert_array_equal(asked, shown)  # the truth is right everywhere
        silent = np.full_like(out.labels, np.nan)
        assert not family.judge(silent, out.labels, out.strata)[1][:, SKILLS.index("heading")].any()


def test_the_report_looks_otherwise(family: DrivingFamily) -> None:
    pairs = [(None, number) for number in range(40)]
    looks = {}
    for worlds in WorldSet:
        out = buffers(family, len(pairs))
        family.frames([design for design, _ in pairs], [seed for _, seed in pairs], worlds, out)
        looks[worlds] = out
    for worlds in (WorldSet.FEEDBACK, WorldSet.VALIDATION):
        np.testing.assert_array_equal(looks[worlds].images, looks[WorldSet.TRAIN].images)
    assert (looks[WorldSet.REPORT].images != looks[WorldSet.TRAIN].images).any((1, 2, 3)).all()


def one(**labels: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A row of labels: straight ahead in the middle of the one lane, but for what is given."""
    row = {label.name: np.nan for label in LABELS} | {"heading": 0.0, "line_left": 1.75, "line_right": 1.75} | labels
    return np.array([[row[label.name] for label in LABELS]], np.float32)


@pytest.mark.parametrize(
    ("answer", "skill", "right"),
    [
        (one(ahead_own=10.9), "car_near", True),
        (one(ahead_own=11.1), "car_near", False),
        (one(ahead_own=9.1), "car_near", True),
        (one(), "car_near", False),
        (one(ahead_own=30.0), "presence", True),
        (one(), "presence", False),
        (one(ahead_own=10.0, ahead_left=5.0), "presence", False),
        (one(ahead_own=10.0, heading=0.9), "heading", True),
        (one(ahead_own=10.0, heading=-1.1), "heading", False),
        (one(line_left=1.6, line_right=1.9), "lane_position", True),
        (one(line_left=1.5, line_right=2.0), "lane_position", False),
        (one(line_left=9.0, line_right=9.0), "lane_position", True),
    ],
)
def test_judging(
    family: DrivingFamily, answer: np.ndarray[tuple[int, ...], np.dtype[np.float32]], skill: str, *, right: bool
) -> None:
    strata = np.array([[name in ("common", "ahead_near", "day") for name in STRATA]])
    asked, shown = family.judge(answer, one(ahead_own=10.0), strata)
    questions = {name for name, yes in zip(SKILLS, asked[0], strict=True) if yes}
    assert questions == {"car_near", "presence", "lane_position", "heading"}
    assert bool(shown[0, SKILLS.index(skill)]) is right
    strata[0, STRATA.index("common")] = False
    strata[0, STRATA.index("debris")] = True
    asked, _ = family.judge(answer, one(ahead_own=10.0), strata)
    questions = {name for name, yes in zip(SKILLS, asked[0], strict=True) if yes}
    assert questions == {"debris_distance", "debris_presence", "debris_lane"}


def test_score(family: DrivingFamily) -> None:
    none = dict.fromkeys(SKILLS, 0.0)
    assert family.score(none) == 0
    assert family.score(dict.fromkeys(SKILLS, 1.0)) == pytest.approx(100)
    assert family.score(none | dict.fromkeys(COMMON, 1.0)) == pytest.approx(50)
    assert family.score(none | {"debris_lane": 1.0}) == pytest.approx(50 / 30)
    for wrong in ({"heading": 1.0}, none | {"heading": 1.01}, none | {"heading": -0.01}):
        with pytest.raises(EngineError, match="score"):
            family.score(wrong)


def test_the_original_is_rare_in_events(family: DrivingFamily) -> None:
    """In 8,000 frames of the original there are as many events as the numbers say, give or take four deviations."""
    held = np.array(recipe(None)["events"])
    assert dict(zip(EVENTS, held.tolist(), strict=True)) == dict(RARITY)
    total = 0
    count = 2_000
    for start in range(0, 8_000, count):
        small = FrameBuffers(
            np.zeros((count, 9, 12, 3), np.uint8),
            np.zeros((count, len(LABELS)), np.float32),
            np.zeros((count, len(STRATA)), np.bool_),
        )
        family.frames([None] * count, range(start, start + count), WorldSet.TRAIN, small)
        total += int((~small.strata[:, STRATA.index("common")]).sum())
    expected = 8_000 * held.sum() / 100_000
    assert abs(total - expected) < 4 * np.sqrt(expected)


def test_pictures(family: DrivingFamily) -> None:
    design = DrivingDesign(event="pedestrian")
    assert family.picture(design, 3).shape == (210, 280, 3)
    assert family.picture(None, 3, unit=4).shape == (105, 140, 3)
    np.testing.assert_array_equal(family.picture(design, 3), family.picture(design, 3))
    out = buffers(family, 1)
    for seed in (2, 3):  # of the report's worlds, and of the validation's
        family.frames([design], [seed], WorldSet(seed), out)
        np.testing.assert_array_equal(family.picture(design, seed, unit=4), out.images[0])
    with pytest.raises(EngineError, match="unit"):
        family.picture(None, 3, unit=0)


def test_wrong_designs_and_seeds_are_refused(family: DrivingFamily) -> None:
    with pytest.raises(DesignError, match="needs a DrivingDesign or None"):
        family.frames(["clear"], [0], WorldSet.TRAIN, buffers(family, 1))  # type: ignore[list-item]
    with pytest.raises(EngineError, match="2 designs, but 1 world seeds"):
        family.frames([None, None], [0], WorldSet.TRAIN, buffers(family, 2))


def test_a_copy_draws_the_same(family: DrivingFamily) -> None:
    copy = pickle.loads(pickle.dumps(family))
    one, other = buffers(family, 2), buffers(family, 2)
    family.frames([None, None], [0, 1], WorldSet.TRAIN, one)
    copy.frames([None, None], [0, 1], WorldSet.TRAIN, other)
    np.testing.assert_array_equal(one.images, other.images)


@given(
    st.fixed_dictionaries(
        {
            setting.name: st.sampled_from(setting.choices)
            if setting.choices
            else st.integers(setting.low, setting.high)
            for setting in VOCABULARY
        }
    )
)
@settings(max_examples=40, deadline=None)
def test_any_design_is_checked_and_drawn(values: dict[str, object]) -> None:
    family = DrivingFamily(DrivingConfig(num_threads=1))
    design = DrivingDesign(**values)
    check = family.check(design, num_worlds=4)
    assert set(check.impossible) <= set(SKILLS)
    assert check.playable or check.findings
    out = buffers(family, 2)
    family.frames([design] * 2, [0, 2], WorldSet.REPORT, out)
    for index, label in enumerate(LABELS):
        column = out.labels[:, index]
        assert label.optional or not np.isnan(column).any()
        assert not (column < label.low).any()
        assert not (column > label.high).any()
    asked, shown = family.judge(out.labels, out.labels, out.strata)
    np.testing.assert_array_equal(asked, shown)
