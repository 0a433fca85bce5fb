"""Driving as a family: its words for designers, its frames, what a design's scenes hold, and what an evaluation is."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Engine, EnvConfig, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError
from envgen_exp.families.design import Design, Setting, check_design
from envgen_exp.families.driving.brief import SKILLS, brief, skill_rules
from envgen_exp.families.driving.config import DrivingConfig, ImageSize
from envgen_exp.families.driving.design import (
    EVENTS,
    KEPT_PAIRS,
    VOCABULARY,
    DrivingDesign,
    contradiction,
    events_of,
)
from envgen_exp.families.driving.drive.drive import RATES, STRAIGHT, Stage, drive_all, stages
from envgen_exp.families.driving.drive.panel import with_panel
from envgen_exp.families.driving.judging import judge, score, score_parts
from envgen_exp.families.driving.painter import LABELS, STRATA, Painter
from envgen_exp.families.family import Brief, DesignCheck, FrameBuffers, Label, Reader, SkillRule, Watcher
from envgen_exp.families.vector import ArraySpec
from envgen_exp.seeding import WorldSet, world_seed

_DEFAULTS: tuple[Mapping[str, Any], ...] = (
    {
        "purpose": "Dense traffic at all distances",
        "targets": ("car_near", "car_middle", "presence"),
        "traffic": "dense",
    },
    {
        "purpose": "What stands in the way",
        "targets": ("stalled_car_distance", "debris_distance"),
        "event": "stalled_car",
        "second_event": "debris",
        "event_share": 30,
    },
    {
        "purpose": "Bends, and lines that are hard to see",
        "targets": ("lane_position", "heading", "shifted_lanes_lane"),
        "curve": "sharp",
        "event": "shifted_lanes",
        "event_share": 30,
        "largest_heading": 8,
    },
    {
        "purpose": "Somebody crosses, and a trailer before a bright sky",
        "targets": ("pedestrian_distance", "crossing_trailer_distance"),
        "event": "pedestrian",
        "second_event": "crossing_trailer",
        "time_of_day": "day",
    },
)

_COMMON_FRAMES, _EVENT_FRAMES, _PAIR_FRAMES = 20_000, 1_000, 500
"""The report's battery at its full size: common frames, and frames of each event and of each kept pair."""

_UNIT = 4
"""A picture's columns and rows are a frame's of 140x105 at this unit."""


class DrivingFamily:
    """Highway driving behind the protocols of families/family.py."""

    Config: ClassVar[type[EnvConfig]] = DrivingConfig

    def __init__(self, config: DrivingConfig) -> None:
        if config.engine is not Engine.native:
            raise ConfigError(f"env.engine={config.engine.value}: driving has one engine; leave it at native")
        if config.observation is not Observe.pixels:
            raise ConfigError(f"env.observation={config.observation.value}: driving shows pixels alone")
        self._config = config

    @property
    def name(self) -> str:
        return "driving"

    @property
    def engine(self) -> str:
        return self._config.engine.value

    @property
    def skills(self) -> tuple[str, ...]:
        return SKILLS

    @property
    def vocabulary(self) -> tuple[Setting, ...]:
        return VOCABULARY

    @property
    def gifts(self) -> frozenset[str]:
        return frozenset()

    @property
    def design_model(self) -> type[Design]:
        return DrivingDesign

    @property
    def brief(self) -> Brief:
        return brief()

    @property
    def skill_rules(self) -> tuple[SkillRule, ...]:
        return skill_rules()

    @property
    def frame_spec(self) -> ArraySpec:
        return ArraySpec(self._config.image_size.shape, np.dtype(np.uint8), 0, 255)

    @property
    def labels(self) -> tuple[Label, ...]:
        return LABELS

    @property
    def strata(self) -> tuple[str, ...]:
        return STRATA

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has threads of its own."""
        return type(self), (self._config,)

    def default_designs(self, count: int) -> list[Design]:
        return [DrivingDesign(**_DEFAULTS[index % len(_DEFAULTS)]) for index in range(count)]

    def frames(
        self, designs: Sequence[Design | None], world_seeds: Sequence[int], worlds: WorldSet, buffers: FrameBuffers
    ) -> None:
        for design in {id(design): design for design in designs}.values():
            check_design(design, DrivingDesign)
        if len(designs) != len(world_seeds):
            raise EngineError(f"frames: {len(designs)} designs, but {len(world_seeds)} world seeds")
        self._painter.draw(designs, world_seeds, buffers, other_look=worlds is WorldSet.REPORT)

    def battery(self, worlds: WorldSet, num_frames: int) -> list[tuple[Design | None, int]]:
        """The original and each event alone; in the report's also the pairs that no design may hold.

        Their numbers are in proportion to 20,000 frames, 1,000 of each event and 500 of each pair, and at least one;
        what rounding leaves are frames of the original.
        """
        kinds: list[tuple[Design | None, int]] = [(None, _COMMON_FRAMES)]
        kinds += [(_holding(event=event), _EVENT_FRAMES) for event in EVENTS]
        if worlds is WorldSet.REPORT:
            kinds += [(_holding(event=first, second_event=second), _PAIR_FRAMES) for first, second in KEPT_PAIRS]
        total = sum(count for _, count in kinds)
        numbers = [max(1, num_frames * count // total) for _, count in kinds]
        numbers[0] += max(0, num_frames - sum(numbers))
        return [(design, number) for (design, _), number in zip(kinds, numbers, strict=True)]

    def judge(
        self, answers: NDArray[np.float32], labels: NDArray[np.float32], strata: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which skills frames ask for, and which of these the answers show; see `judging`."""
        return judge(answers, labels, strata)

    def score(self, success_rates: Mapping[str, float]) -> float:
        """Half the common skills' mean rate and half the rare ones', in percent; see `judging.score`."""
        return score(success_rates)

    def score_parts(self, success_rates: Mapping[str, float]) -> Mapping[str, float]:
        """The two halves of the score."""
        return score_parts(success_rates)

    def check(self, design: Design, *, num_worlds: int = 64) -> DesignCheck:
        """Refuse contradictions, then draw scenes: which skills they ask for, and whether events can be seen.

        A design is playable if nothing contradicts and each of its events is seen in some scene that holds it.
        """
        checked = check_design(design, DrivingDesign)
        if checked is None:
            raise DesignError("design: the original needs no check")
        if num_worlds < 1:
            raise EngineError(f"num_worlds: {num_worlds} worlds can't be sampled, at least 1")
        if reason := contradiction(checked):
            return DesignCheck(playable=False, findings=(reason,), impossible=SKILLS)
        seeds = [world_seed(0, episode, WorldSet.VALIDATION) for episode in range(1, num_worlds + 1)]
        drawn = self._draw(checked, seeds)
        # Every event in every scene: a rare one must not be taken for one that can't be seen.
        held = self._draw(checked.model_copy(update={"event_share": 100}), seeds)
        findings = []
        unseen = []
        for event in events_of(checked):
            seen = int(held.strata[:, STRATA.index(event)].sum())
            if seen == 0:
                unseen.append(f"event={event} is seen in none of {num_worlds} scenes that hold it")
            elif seen < num_worlds:
                findings.append(f"event={event} is seen in {seen} of {num_worlds} scenes that hold it")
        asked = np.zeros(len(SKILLS), np.bool_)
        for buffers in (drawn, held):
            asked |= judge(buffers.labels, buffers.labels, buffers.strata)[0].any(0)
        impossible = tuple(skill for skill, some in zip(SKILLS, asked, strict=True) if not some)
        if hopeless := [skill for skill in checked.targets if skill in impossible]:
            findings.append(f"targets that no sampled scene asks for: {', '.join(hopeless)}")
        return DesignCheck(
            playable=not unseen,
            findings=(*unseen, *findings),
            impossible=impossible,
            counts=_counts(drawn),
        )

    def picture(self, design: Design | None, world_seed: int, *, unit: int = 8) -> NDArray[np.uint8]:
        """A world's frame, 35 x 26.25 units of pixels: 280x210 at 8. In a world of the report's, of its look."""
        if not 1 <= unit <= 64:
            raise EngineError(f"unit: {unit} pixels, allowed are 1 to 64")
        height, width, _ = ImageSize.half.shape
        buffers = _buffers(1, (height * unit // _UNIT, width * unit // _UNIT, 3))
        self.frames([design], [world_seed], WorldSet(world_seed % len(WorldSet)), buffers)
        pixels: NDArray[np.uint8] = buffers.images[0]
        return pixels

    @property
    def drive_events(self) -> Mapping[str, tuple[str, ...]]:
        return {name: tuple(rates) for name, rates in RATES.items()}

    @property
    def bounds(self) -> Mapping[str, Reader]:
        straight = np.array(STRAIGHT, np.float32)
        return {
            "exact labels": lambda frames: frames.labels,
            "straight ahead": lambda frames: np.tile(straight, (len(frames.labels), 1)),
        }

    def drive(
        self, reader: Reader, *, km: float, events: str, seed: int, speed: float, watch: Watcher | None = None
    ) -> dict[str, Any]:
        """Roads of the report's look, in stages of 2 km that are driven side by side; see docs/driving.md."""
        driven = stages(km, events, seed, speed)
        return drive_all(self._painter, self.frame_spec.shape, reader, driven, watch, self._filmed)

    def _filmed(self, stage: Stage, labels: NDArray[np.float32], answers: NDArray[np.float32]) -> NDArray[np.uint8]:
        height, width, _ = ImageSize.half.shape
        seen = _buffers(1, (3 * height, 3 * width, 3))
        self._painter.draw_scenes([stage.scene()], seen)
        return with_panel(seen.images[0], labels, answers, stage.pose.speed)

    @functools.cached_property
    def _painter(self) -> Painter:
        return Painter(self._config.num_threads)

    def _draw(self, design: Design, seeds: Sequence[int]) -> FrameBuffers:
        buffers = _buffers(len(seeds), ImageSize.half.shape)
        self.frames([design] * len(seeds), seeds, WorldSet.VALIDATION, buffers)
        return buffers


def _holding(**events: Any) -> Design:
    """The design with these events in every scene."""
    settings: dict[str, Any] = {**events, "event_share": 100}
    return DrivingDesign(**settings)


def _buffers(count: int, shape: tuple[int, int, int]) -> FrameBuffers:
    return FrameBuffers(
        np.empty((count, *shape), np.uint8),
        np.empty((count, len(LABELS)), np.float32),
        np.empty((count, len(STRATA)), np.bool_),
    )


def _counts(frames: FrameBuffers) -> dict[str, float]:
    """Mean numbers a scene, of what is seen."""
    there = ~np.isnan(frames.labels)
    ahead = {label.name: float(there[:, index].mean()) for index, label in enumerate(LABELS) if "ahead" in label.name}
    events = frames.strata[:, [STRATA.index(event) for event in EVENTS]]
    return {
        **ahead,
        "lines": float(there[:, -4:].sum(1).mean()),
        "events": float(events.sum(1).mean()),
    }
