"""What a designer is told of driving, and what the offline stand-in knows of its skills."""

from __future__ import annotations

from collections.abc import Mapping

from envgen_exp.families.driving.design import EVENTS, KEPT_PAIRS, MAX_EVENTS, RARITY
from envgen_exp.families.family import Brief, SkillRule

COMMON: Mapping[str, str] = {
    "car_near": "say the distance to what is less than 20 m ahead in the own lane, to within 10 percent",
    "car_middle": "the same at 20 to 40 m",
    "car_far": "the same at 40 to 60 m",
    "presence": "say rightly of the left, own and right lane whether something is within 60 m ahead",
    "lane_position": "say how far the viewer is from its lane's middle, to within 0.2 m",
    "heading": "say the angle between the viewer's and the lane's direction, to within 1 degree",
}
"""The skills of scenes without an event, and how each is shown."""

_RARE: Mapping[str, str] = {
    "distance": "say the distance to what is ahead in the own lane to within 10 percent",
    "presence": "say rightly of each lane whether something is ahead",
    "lane": "say the place in the lane to within 0.2 m and the heading to within 1 degree",
}
"""The skills of scenes with an event."""

SKILLS: tuple[str, ...] = (*COMMON, *(f"{event}_{skill}" for event in EVENTS for skill in _RARE))
"""Each is shown frame by frame, in those frames that ask for it."""

_SETTINGS: Mapping[str, Mapping[str, str | int]] = {
    "car_near": {"car_ahead": "near"},
    "car_middle": {"car_ahead": "middle"},
    "car_far": {"car_ahead": "far"},
    "presence": {"traffic": "dense"},
}


def brief() -> Brief:
    """The scenes, their rules and the skills in words."""
    game = (
        "A network looks at single pictures of a highway, taken by a camera in a moving car, and says eight numbers: "
        "the angle between the car and its lane; the distance to whatever is ahead in the left, own and right lane, to "
        "60 m, or that there is nothing; and the distances to four lane markings, two on each side. It is taught by "
        "pictures with the true numbers. A design is a kind of scene: every picture of it is drawn anew within its "
        "settings. The original is ordinary driving, in which the events below are so rare that a network hardly sees "
        "one. What counts is how often it is right, in ordinary scenes and in those with an event, on roads that look "
        "otherwise than all that it was taught on."
    )
    rules = (
        "Whatever stands or drives in a lane is ahead there: vehicles, people and debris. What is hidden is not ahead.",
        "A setting that is natural is drawn for each picture as in the original, a mixture of all its values.",
        f"A design has at most {MAX_EVENTS} events; each is in event_share percent of its pictures.",
        *(f"{name}: {what} ({RARITY[name]} in 100,000 pictures of the original)." for name, what in EVENTS.items()),
        "Refused is a design that holds both events of a pair: " + "; ".join(" and ".join(p) for p in KEPT_PAIRS) + ".",
    )
    short = (
        "A network looks at pictures of a highway and says its angle and place in the lane and the distance to what is "
        "ahead. Designs are kinds of scenes that it is taught on."
    )
    return Brief(game=game, rules=rules, skills=shown(), short=short)


def shown() -> dict[str, str]:
    """How each skill is shown."""
    rare = {f"{event}_{skill}": f"with {event}: {how}" for event in EVENTS for skill, how in _RARE.items()}
    return {**COMMON, **rare}


def skill_rules() -> tuple[SkillRule, ...]:
    """What comes before each skill, from easy to hard; what is rare is brought by its event."""
    order = ("lane_position", "heading", "car_near", "presence", "car_middle", "car_far")
    before = {"car_middle": ("car_near",), "car_far": ("car_middle",)}
    common = (SkillRule(skill, before.get(skill, ()), _SETTINGS.get(skill, {})) for skill in order)
    rare = (SkillRule(f"{event}_{skill}", (), {"event": event}) for event in EVENTS for skill in _RARE)
    return (*common, *rare)
