"""Which skills a frame asks for, and which of them an answer shows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import EngineError
from envgen_exp.families.driving.brief import COMMON, SKILLS
from envgen_exp.families.driving.design import EVENTS
from envgen_exp.families.driving.painter import LABELS, STRATA

DISTANCE = 0.1
"""Share of a distance by which an answer may be off."""
POSITION = 0.2
"""Metres by which a place in the lane may be off."""
HEADING = 1.0
"""Degrees by which a heading may be off."""

_HEADING, _OWN, _LEFT, _RIGHT = (
    [label.name for label in LABELS].index(name) for name in ("heading", "ahead_own", "line_left", "line_right")
)
_AHEAD = slice(1, 4)


def judge(
    answers: NDArray[np.float32], labels: NDArray[np.float32], strata: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What `Labelled.judge` says; EngineError where the arrays do not fit."""
    if answers.shape != labels.shape or labels.shape[1:] != (len(LABELS),):
        raise EngineError(f"answers: needs (num_frames, {len(LABELS)}) of both, got {answers.shape} and {labels.shape}")
    if strata.shape != (len(labels), len(STRATA)):
        raise EngineError(f"strata: needs ({len(labels)}, {len(STRATA)}), got {strata.shape}")
    own = labels[:, _OWN]
    there = ~np.isnan(own)
    with np.errstate(invalid="ignore"):  # a comparison with NaN is false, which is what none should be
        near = np.abs(answers[:, _OWN] - own) <= DISTANCE * own
        place, said = ((rows[:, _RIGHT] - rows[:, _LEFT]) / 2 for rows in (labels, answers))
        placed = np.abs(said - place) <= POSITION
        aimed = np.abs(answers[:, _HEADING] - labels[:, _HEADING]) <= HEADING
    lined = ~np.isnan(place)
    every = np.ones(len(labels), np.bool_)
    present = (np.isnan(answers[:, _AHEAD]) == np.isnan(labels[:, _AHEAD])).all(1)
    common = _stratum(strata, "common")
    asked = {
        "car_near": common & _stratum(strata, "ahead_near"),
        "car_middle": common & _stratum(strata, "ahead_middle"),
        "car_far": common & _stratum(strata, "ahead_far"),
        "presence": common,
        "lane_position": common & lined,
        "heading": common,
    }
    right = {
        "car_near": near,
        "car_middle": near,
        "car_far": near,
        "presence": present,
        "lane_position": placed,
        "heading": aimed,
    }
    for event in EVENTS:
        here = _stratum(strata, event)
        asked |= {f"{event}_distance": here & there, f"{event}_presence": here, f"{event}_lane": here & lined}
        right |= {f"{event}_distance": near, f"{event}_presence": present, f"{event}_lane": placed & aimed}
    questions = np.stack([asked[skill] for skill in SKILLS], 1)
    return questions, questions & np.stack([right[skill] & every for skill in SKILLS], 1)


def score(success_rates: Mapping[str, float]) -> float:
    """The mean of the two parts, in percent: a network that is right in all common scenes and in no rare one has 50."""
    parts = score_parts(success_rates)
    return sum(parts.values()) / len(parts)


def score_parts(success_rates: Mapping[str, float]) -> dict[str, float]:
    """The mean rate of the common skills and that of the events' skills, in percent."""
    if set(success_rates) != set(SKILLS) or not all(0 <= rate <= 1 for rate in success_rates.values()):
        raise EngineError(f"score: needs a success rate from 0 to 1 for each of the {len(SKILLS)} skills")
    common = [success_rates[skill] for skill in COMMON]
    rare = [success_rates[skill] for skill in SKILLS if skill not in COMMON]
    return {"common": 100 * sum(common) / len(common), "rare": 100 * sum(rare) / len(rare)}


def _stratum(strata: NDArray[np.bool_], name: str) -> NDArray[np.bool_]:
    return strata[:, STRATA.index(name)]
