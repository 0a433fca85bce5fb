"""What an evaluation found in the labels' own units: errors by distance and by stratum, and the worst frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.families.design import Design
from envgen_exp.families.family import FrameBuffers, Label, Labelled
from envgen_exp.learners.supervised.cnn import NONE, SCALE
from envgen_exp.seeding import WorldSet

PAPER_RMSE = {
    "heading": 2.8,
    "ahead_left": 18.5,
    "ahead_own": 23.3,
    "ahead_right": 11.0,
    "line_left_left": 1.14,
    "line_left": 0.95,
    "line_right": 0.76,
    "line_right_right": 0.73,
}
"""Root mean square errors of Martinez et al. 2017 by label, worked out of those of its validation set."""

BANDS = 3
"""Parts of the range of a label that may be missing, near to far, whose errors are told apart."""

WORST = 4
"""Frames of each stratum that are kept to be looked at."""


@dataclass(frozen=True)
class Found:
    """Frames with what was answered to them."""

    answers: NDArray[np.float32]
    """(frames, labels), as are the labels."""
    labels: NDArray[np.float32]
    strata: NDArray[np.bool_]
    """(frames, strata)."""
    designs: Sequence[Design | None]
    seeds: Sequence[int]

    @classmethod
    def of(
        cls,
        looked: Iterable[tuple[NDArray[np.float32], FrameBuffers]],
        designs: Sequence[Design | None],
        seeds: Sequence[int],
    ) -> Found:
        """Batches put together; their images are not kept."""
        parts = [(answers, seen.labels, seen.strata) for answers, seen in looked]
        answers, labels, strata = (np.concatenate(of) for of in zip(*parts, strict=True))
        return cls(answers, labels, strata, designs, seeds)

    @classmethod
    def joined(cls, parts: Sequence[Found]) -> Found:
        """Several as one."""
        return cls(
            np.concatenate([part.answers for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.strata for part in parts]),
            [design for part in parts for design in part.designs],
            [seed for part in parts for seed in part.seeds],
        )

    def judged(self, family: Labelled) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which skills each frame asks for, and which of these were shown, (frames, skills) both."""
        asked, shown = family.judge(self.answers, self.labels, self.strata)
        return asked, asked & shown


def details(family: Labelled, found: Found, worlds: WorldSet) -> dict[str, Any]:
    """All of it as plain values, for the file of a phase."""
    labels = family.labels
    rows = [
        {"label": label.name, "unit": label.unit, **part}
        for place, label in enumerate(labels)
        for part in _by_distance(label, found.answers[:, place], found.labels[:, place])
    ]
    strata = [
        {
            "stratum": stratum,
            "frames": int(within.sum()),
            **{
                label.name: errors(label, found.answers[within, place], found.labels[within, place])
                for place, label in enumerate(labels)
            },
        }
        for stratum, within in zip(family.strata, found.strata.T, strict=True)
        if within.any()
    ]
    return {
        "worlds": worlds.name,
        "number": len(found.seeds),
        "errors": rows,
        "strata": strata,
        "worst": list(_worst(family, found)),
    }


def errors(label: Label, answers: NDArray[np.float32], labels: NDArray[np.float32]) -> dict[str, float | int | None]:
    """Of (frames,) answers to one label: errors in its unit where it is there and was said to be, misses (said not to
    be there) and phantoms (said to be where it is not), and the error as the paper counts it.

    `paper_rmse` counts a wrong 'there or not' as a jump to the value that stands for none, as the validation error of
    Martinez et al. does. None where there is nothing to count.
    """
    there, said = ~np.isnan(labels), ~np.isnan(answers)
    error = np.abs(answers - labels)[there & said].astype(np.float64)
    span = (label.high - label.low) / (2 * SCALE)
    none = label.low + (NONE + SCALE) * span
    jumps = np.where(said, answers, none).astype(np.float64) - np.where(there, labels, none)
    return {
        "there": int(there.sum()),
        "frames": len(labels),
        "mae": _number(error.mean() if len(error) else math.nan),
        "rmse": _number(math.sqrt((error**2).mean()) if len(error) else math.nan),
        "p95": _number(np.percentile(error, 95) if len(error) else math.nan),
        "misses": int((there & ~said).sum()),
        "phantoms": int((~there & said).sum()),
        "paper_rmse": _number(math.sqrt((jumps**2).mean()) if len(jumps) else math.nan),
    }


def _by_distance(label: Label, answers: NDArray[np.float32], labels: NDArray[np.float32]) -> Iterable[dict[str, Any]]:
    yield {"low": label.low, "high": label.high, "whole": True, **errors(label, answers, labels)}
    if label.optional:
        ends = np.linspace(label.low, label.high, BANDS + 1)
        for low, high in itertools.pairwise(ends.tolist()):
            within = (labels >= low) & ((labels < high) | (high == label.high))
            of_it = errors(label, answers[within], labels[within])
            yield {"low": low, "high": high, "whole": False, **of_it}


def _worst(family: Labelled, found: Found) -> Iterable[dict[str, Any]]:
    """The frames of each stratum with the largest error, counted in shares of each label's range; a wrong 'there or
    not' counts as the whole range."""
    span = np.array([label.high - label.low for label in family.labels])
    share = np.abs(found.answers - found.labels) / span
    total = np.where(np.isnan(share), np.isnan(found.answers) != np.isnan(found.labels), np.nan_to_num(share)).sum(
        axis=1
    )
    for stratum, within in zip(family.strata, found.strata.T, strict=True):
        places = np.flatnonzero(within)
        for place in places[np.argsort(-total[places], kind="stable")[:WORST]].tolist():
            design = found.designs[place]
            yield {
                "stratum": stratum,
                "design": None if design is None else design.settings(),
                "seed": int(found.seeds[place]),
                "answers": [_number(value) for value in found.answers[place].tolist()],
                "labels": [_number(value) for value in found.labels[place].tolist()],
            }


def _number(value: float) -> float | None:
    """To four decimals; None for NaN."""
    return None if math.isnan(value) else round(float(value), 4)
