"""What a preregistered study says, by the rule of docs/verdict.md."""

from __future__ import annotations

from envgen_exp.reporting.study.analysis import Analysis, ContrastResult
from envgen_exp.reporting.study.claims import MARGIN
from envgen_exp.reporting.study.collect import Arm

CORE = ("adaptive", "original", "placebo", "random")
"""Arms that a verdict needs."""

FEWEST = 10
"""Seeds below which there is no verdict."""

HELPS = "EnvGen with this model helps this agent"
HARMS = "it harms it"
SAME = "it makes no difference that matters"
OPEN = "not shown"

WHY = {
    "random": "it takes a model",
    "placebo": "it takes true rates",
    "fixed": "it takes adapting",
    "adaptive_stand_in": "rules would not have done",
    "archive": "learnability would not have done",
    "sfl": "learnability would not have done",
}
"""What `adaptive` above such an arm says, where it helps and the corrected p is below 0.05."""


def mains(analysis: Analysis) -> list[ContrastResult]:
    """The main contrasts of a preregistered study whose core is there; none of any other."""
    if not any(run.flat.get("preregistered") for arm in analysis.study.arms for run in arm.runs):
        return []
    found = [one for one in analysis.contrasts if (one.ours.name, one.theirs.name) in analysis.study.mains]
    return [one for one in found if {arm.name for arm in core(analysis, one)} == set(CORE)]


def core(analysis: Analysis, main: ContrastResult) -> list[Arm]:
    """The arms of the core that can be compared with the main contrast's."""
    beside = [one.theirs for one in analysis.contrasts if one.ours is main.ours]
    return [arm for arm in (main.ours, *beside) if arm.name in CORE]


def decided(analysis: Analysis, main: ContrastResult) -> str:
    """The verdict, by the 95 % interval of the main difference."""
    test = main.difference.test
    seeds = [sorted(run.flat["seed"] for run in arm.runs) for arm in core(analysis, main)]
    if any(some != seeds[0] for some in seeds):
        return "no verdict before all arms of the core have the same seeds"
    if test is None or main.difference.count < FEWEST:
        return f"no verdict before {FEWEST} seeds"
    if test.low > 0 or test.high < 0:
        return HELPS if test.low > 0 else HARMS
    return SAME if max(-test.low, test.high) <= MARGIN else OPEN


def reasons(analysis: Analysis, main: ContrastResult) -> list[tuple[ContrastResult, str]]:
    """Which other contrasts say why it helps, and what."""
    if decided(analysis, main) != HELPS:
        return []
    return [
        (one, WHY[one.theirs.name])
        for one in analysis.contrasts
        if one.ours is main.ours and one.theirs.name in WHY
        if one.difference.points > 0 and one.corrected is not None and one.corrected < 0.05
    ]
