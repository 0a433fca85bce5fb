"""What a designer is told of Heist, and what the offline stand-in knows of its skills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envgen_exp.families.family import Brief, SkillRule
from envgen_exp.families.heist.config import HeistConfig, HeistMode
from envgen_exp.families.heist.design import LOCKS, SKILLS
from envgen_exp.families.heist.procgen_state import COLOURS

_DIFFICULTY: tuple[str, ...] = (
    "take_gem",
    *(f"{verb}_{number}" for number in range(1, len(LOCKS)) for verb in ("collect_key", "open_lock")),
)
"""The skills from easy to hard; the gem comes first, since without locks it is the easiest."""

_WORLDS = {HeistMode.easy: "9 x 9", HeistMode.hard: "13 x 13", HeistMode.memory: "23 x 23"}


def brief(config: HeistConfig, locks: Sequence[float]) -> Brief:
    """The game, its rules and its skills in words; `locks` are the shares of the original's levels by their number."""
    mode, length = config.mode, config.designed_length
    usual = HeistConfig.designed_length
    shorter = f", and one of a design after {length} steps if its timeout is not less" if length < usual else ""
    seen = "the 8 x 8 cells around the player" if mode is HeistMode.memory else "the whole world"
    game = (
        f"Heist (procgen, Cobbe et al. 2020, {mode.value} mode) is a maze game; every episode has a new level. The "
        "player starts somewhere in the maze and has to take a gem that lies behind up to three locks. The agent sees "
        f"{seen} as a picture of 64 x 64 pixels and pushes the player in one of eight directions or not at all. Taking "
        "the gem gives a reward of 10 and ends the episode; nothing else is rewarded. Without the gem an episode of "
        f"the original ends after {config.original_length} steps{shorter}."
    )
    shares = ", ".join(
        f"{share:.0%} have {name} lock{'' if number == 1 else 's'}"
        for number, (name, share) in enumerate(zip(("no", *LOCKS[1:]), locks, strict=True))
    )
    rules = (
        "Locks and keys have colours: the first of a level is "
        + ", then ".join(COLOURS)
        + "; a key opens the lock of its colour.",
        "A lock fills a cell and blocks the way. Whoever touches it while holding its key opens it for good.",
        "Touching a key collects it; it is kept for the whole episode and shown in the upper right corner.",
        "The locks form a chain: the second key lies behind the first lock, the third key behind the second lock, the "
        "gem behind the last lock. So whoever has taken the gem has opened every lock.",
        "A skill that belongs to a lock or key can only be shown in a level that has it.",
        f"The original's world is {_WORLDS[mode]} cells; of its levels {shares}.",
        "At full speed the player walks 3 cells in 5 steps; it takes a step or two to start, stop and turn.",
    )
    short = (
        "Heist is a maze game. The agent has to take a gem that lies behind up to three locks; a key opens the lock of "
        "its colour."
    )
    return Brief(game=game, rules=rules, skills={skill: _shown(skill) for skill in SKILLS}, short=short)


def _shown(skill: str) -> str:
    verb, _, number = skill.rpartition("_")
    if skill == "take_gem":
        return "touch the gem, which ends the episode"
    colour = COLOURS[int(number) - 1]
    behind = "" if number == "1" else f" (behind lock {int(number) - 1})"
    if verb == "collect_key":
        return f"touch the {colour} key{behind}"
    return f"touch the {colour} lock{behind} while holding the {colour} key"


def skill_rules() -> tuple[SkillRule, ...]:
    """What comes before each skill, from easy to hard.

    The stand-in lets numbers fade as a skill is learnt, so numbers stand only where less of them is harder.
    """
    return tuple(SkillRule(skill, _requires(skill), _settings(skill)) for skill in _DIFFICULTY)


def _requires(skill: str) -> tuple[str, ...]:
    verb, _, number = skill.rpartition("_")
    if skill in ("take_gem", "collect_key_1"):
        return ()
    return (f"open_lock_{int(number) - 1}",) if verb == "collect_key" else (f"collect_key_{number}",)


def _settings(skill: str) -> Mapping[str, str | int]:
    """Small mazes; of several locks the earlier ones are gone, so that the skill's own comes first."""
    if skill == "take_gem":
        return {"locks": "none", "maze_size": "5x5", "walls_removed": 40}
    number = int(skill[-1])
    if number == 1:
        return {"locks": "one", "maze_size": "5x5"}
    return {"locks": LOCKS[number], "maze_size": "7x7", "locks_open": number - 1}
