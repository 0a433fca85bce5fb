"""What is read of a run's training episodes for a study: its curve in the original, and how it does in its designs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envgen_exp.families.design import design_key
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import Episodes

WINDOWS = 20
"""Points of a curve over training, each made of the training episodes that ended since the one before."""

FEWEST = 20
"""Episodes of such a point, at least, that ask for a skill."""


def rate_of(skill: str) -> str:
    """What a curve calls a skill's success rate."""
    return f"skill/{skill}"


def curve(run: RunRecord, training_steps: int) -> dict[str, list[float | None]]:
    """Score, mean return and success rates of the training episodes in the original, by twentieths of the steps.

    None where few episodes ended, as in a phase of designed worlds, or few asked for what is counted; no rates where
    none ended at all.
    """
    rows = [
        row
        for phase, of_it in run.episodes.items()
        if phase in run.phases and run.result(phase).get("steps")
        for row in of_it
        if row["design"] == design_key(None)
    ]
    at, found = np.array([row["step"] for row in rows]), Episodes.of(rows, len(rows[0]["skills"]) if rows else 0)
    skills = run.skills if rows else ()
    points: dict[str, list[float | None]] = {"steps": [], "score": [], "return": [], **{rate_of(s): [] for s in skills}}
    for x in np.linspace(0, training_steps, WINDOWS + 1)[1:]:
        inside = (at > x - training_steps / WINDOWS) & (at <= x)
        ended = found.chosen(inside)
        asked = (ended.trials.sum(axis=0) >= FEWEST).tolist()
        rates = {skill: rate for skill, rate, some in zip(skills, ended.rates.tolist(), asked, strict=True) if some}
        points["steps"].append(float(x))
        points["score"].append(run.family.score(rates) if skills and len(rates) == len(skills) else None)
        points["return"].append(ended.mean_return if len(ended) >= FEWEST else None)
        for skill in skills:
            points[rate_of(skill)].append(round(rates[skill], 4) if skill in rates else None)
    return points


def _proposals(run: RunRecord) -> dict[int, Mapping[str, Any]]:
    proposed = [run.result(phase) for phase in run.phases if phase.endswith("-design")]
    return {one["cycle"]: one["proposal"] for one in proposed if "proposal" in one}


def designs(run: RunRecord) -> dict[int, list[Mapping[str, Any]]]:
    """By cycle that trained in designs, these."""
    found = {cycle: [d for d in one["designs"] if d] for cycle, one in _proposals(run).items()}
    return {cycle: some for cycle, some in found.items() if some}


def counted(run: RunRecord) -> list[Mapping[str, float]]:
    """Of each of its designs that was checked, what a world holds on average."""
    checks = [check for one in _proposals(run).values() for check in one.get("checks", ())]
    return [check["counts"] for check in checks if check and check.get("counts")]


def targets(run: RunRecord) -> dict[int, set[str]]:
    """By cycle that trained in designs, the skills that at least one of these is to train."""
    return {cycle: {name for d in some for name in d["targets"]} for cycle, some in designs(run).items()}


def gaps(run: RunRecord) -> dict[str, list[float]]:
    """By cycle, in percent: success of its training episodes in its designs, and in the original.

    It is the mean over the skills that the designs are to train, or over all where they name none, without those that
    few episodes asked for.
    """
    found = {}
    for cycle, wanted in targets(run).items():
        both = [run.training_episodes(cycle, kind) for kind in ("designed", "original")]
        asked = np.logical_and(*(ended.trials.sum(axis=0) >= max(1, min(FEWEST, len(ended))) for ended in both))
        places = [place for place, skill in enumerate(run.skills) if asked[place] and (not wanted or skill in wanted)]
        if places:
            found[str(cycle)] = [round(100 * float(ended.rates[places].mean()), 2) for ended in both]
    return found
