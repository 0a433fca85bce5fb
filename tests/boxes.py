"""A family of labelled frames in one file: how far away a red box is, if there is one, and where a white line stands.

The smallest that `agent=supervised` can learn; tests train on it in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envgen_exp.config import EnvConfig
from envgen_exp.families.design import Design, Setting, design_model
from envgen_exp.families.family import Brief, DesignCheck, FrameBuffers, Label, SkillRule
from envgen_exp.families.vector import ArraySpec
from envgen_exp.seeding import WorldSet

HEIGHT, WIDTH = 24, 32
VOCABULARY = (
    Setting("noise", "How grainy frames are.", "some", choices=("none", "some", "much")),
    Setting("boxes", "How many frames of a hundred have a box.", 50, low=0, high=100),
)
BoxesDesign = design_model("BoxesDesign", __name__, "One kind of frames.", VOCABULARY)


class Boxes:
    """What everybody else needs to know of it."""

    name, engine = "boxes", "numpy"
    skills = ("box_near", "box_far", "box_there", "line")
    vocabulary = VOCABULARY
    gifts: frozenset[str] = frozenset()
    design_model = BoxesDesign
    brief = Brief(
        game="Frames of noise with a white line and, in half of them, a red box that is smaller the farther it is.",
        rules=("A box is 2 to 20 m away.", "A line stands within 10 columns of the middle."),
        skills={
            "box_near": "tell the distance of a box within 8 m to 1.5 m",
            "box_far": "tell the distance of a farther box to 3 m",
            "box_there": "tell whether there is a box",
            "line": "tell the line's place to 2 columns",
        },
    )
    skill_rules = (
        SkillRule("box_there", settings={"boxes": 50}),
        SkillRule("line", settings={"noise": "none"}),
        SkillRule("box_near", requires=("box_there",), settings={"boxes": 100}),
        SkillRule("box_far", requires=("box_near",), settings={"boxes": 100, "noise": "none"}),
    )
    labels = (Label("box", "m", 2.0, 20.0, optional=True, by_stratum=True), Label("line", "columns", -10.0, 10.0))
    strata = ("common", "grainy")
    frame_spec = ArraySpec((HEIGHT, WIDTH, 3), np.dtype(np.uint8), 0, 255)

    def __init__(self, config: EnvConfig | None = None) -> None: ...

    def default_designs(self, count: int) -> list[Design]:
        return [self.design_model(boxes=100 - place) for place in range(count)]

    def check(self, design: Design, *, num_worlds: int = 64) -> DesignCheck:
        missing = ("box_near", "box_far") if design.settings()["boxes"] == 0 else ()
        return DesignCheck(True, tuple(f"no box at all: {skill} is impossible" for skill in missing), missing)

    def picture(self, design: Design | None, world_seed: int, *, unit: int = 8) -> NDArray[np.uint8]:
        image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        self._frame(design, world_seed, image, np.empty(2, np.float32))
        return image.repeat(unit, axis=0).repeat(unit, axis=1)

    def score(self, success_rates: Mapping[str, float]) -> float:
        return 100 * float(np.mean(list(success_rates.values())))

    def score_parts(self, success_rates: Mapping[str, float]) -> Mapping[str, float]:
        places = success_rates["box_near"], success_rates["box_far"], success_rates["box_there"], success_rates["line"]
        return {"distances": 50 * sum(places[:2]), "others": 50 * sum(places[2:])}

    def frames(
        self, designs: Sequence[Design | None], world_seeds: Sequence[int], worlds: WorldSet, buffers: FrameBuffers
    ) -> None:
        for place, (design, seed) in enumerate(zip(designs, world_seeds, strict=True)):
            self._frame(design, seed, buffers.images[place], buffers.labels[place])
            buffers.strata[place] = True, design is not None and design.settings()["noise"] == "much"

    def _frame(self, design: Design | None, seed: int, image: NDArray[np.uint8], labels: NDArray[np.float32]) -> None:
        settings: dict[str, Any] = {"noise": "some", "boxes": 50} if design is None else design.settings()
        draw = np.random.default_rng(seed)
        grain = {"none": 1, "some": 20, "much": 80}[settings["noise"]]
        image[:] = 60 + draw.integers(0, grain, (HEIGHT, WIDTH, 1), np.uint8)
        place = draw.uniform(-10, 10)
        image[:, WIDTH // 2 + round(place)] = 255
        distance = draw.uniform(2, 20) if draw.uniform(0, 100) < settings["boxes"] else np.nan
        if not np.isnan(distance):
            size = round(40 / (distance + 2))
            column = int(draw.integers(0, WIDTH - size))
            image[HEIGHT - 4 - size : HEIGHT - 4, column : column + size] = 220, 40, 40
        labels[:] = distance, place

    def battery(self, worlds: WorldSet, num_frames: int) -> list[tuple[Design | None, int]]:
        grainy = num_frames // 4
        return [(None, num_frames - grainy), (self.design_model(noise="much", boxes=60), grainy)]

    def judge(
        self, answers: NDArray[np.float32], labels: NDArray[np.float32], strata: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        there, said, error = ~np.isnan(labels[:, 0]), ~np.isnan(answers[:, 0]), np.abs(answers - labels)
        near = labels[:, 0] < 8
        asked = np.stack([there & near, there & ~near, there | True, there | True], axis=1)
        shown = np.stack([error[:, 0] < 1.5, error[:, 0] < 3, there == said, error[:, 1] < 2], axis=1)
        return asked, asked & shown


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """Have it found as what a package of its own would bring; `site` is an empty folder."""
    info = site / "boxes-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: boxes\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[envgen_exp.families]\nboxes = boxes:Boxes\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield
