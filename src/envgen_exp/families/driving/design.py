"""Driving's design space: the one vocabulary, and what each word of it means to the scene generator."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from envgen_exp.families.design import Design, Setting, design_model

EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "stalled_car": "a car stands across the own lane with its hazard lights on",
        "hard_braking": "the car ahead is near and brakes hard, its brake lights lit",
        "cut_in": "a car from a neighbouring lane pushes into the gap ahead, blinking; needs two lanes",
        "crossing_trailer": "a trailer the colour of the sky stands across the road",
        "pedestrian": "somebody walks across the own lane",
        "debris": "lost load lies in the own lane",
        "shifted_lanes": "roadworks: yellow lines, shifted from the old white ones, are those that count",
        "car_behind_crest": "the road falls away behind a crest, over which only the upper part of a car is seen",
        "wrong_way_car": "a car comes towards the viewer in the own lane, its headlights on",
        "truck_hides_car": "a truck ahead hides the car that drives before it",
    }
)
"""The rare events and what each is, in the order of the engine."""

RARITY: Mapping[str, int] = MappingProxyType(
    {
        "stalled_car": 60,
        "hard_braking": 200,
        "cut_in": 250,
        "crossing_trailer": 2,
        "pedestrian": 4,
        "debris": 40,
        "shifted_lanes": 300,
        "car_behind_crest": 60,
        "wrong_way_car": 1,
        "truck_hides_car": 300,
    }
)
"""In how many of 100,000 frames of the original each event is: set by us, to be rare as on a road, not measured."""

KEPT_PAIRS: tuple[tuple[str, str], ...] = (
    ("stalled_car", "pedestrian"),
    ("hard_braking", "crossing_trailer"),
    ("cut_in", "car_behind_crest"),
    ("debris", "truck_hides_car"),
    ("shifted_lanes", "wrong_way_car"),
)
"""Pairs that no design may hold together: the report's battery shows whether what was learnt of each adds up."""

MAX_EVENTS = 3

Numbers = tuple[int, ...]

# The choices of each setting, and the weights or ranges that they stand for; `natural` is the original's mixture.
# Which weight is whose, the engine's Recipe says (native/driving/scene.h).
_LANES = ("one", "two", "three", "four")
_WEIGHTS: Mapping[str, Mapping[str, Numbers]] = {
    "lanes": {
        "natural": (2, 40, 45, 13),
        **{name: tuple(int(name == other) for other in _LANES) for name in _LANES},
    },
    "curve": {"natural": (55, 38, 7), "straight": (1, 0, 0), "gentle": (0, 1, 0), "sharp": (0, 0, 1)},
    "slope": {"natural": (70, 15, 15), "flat": (1, 0, 0), "uphill": (0, 1, 0), "downhill": (0, 0, 1)},
    "lane_width": {"natural": (3300, 3750), "narrow": (2900, 3200), "wide": (3750, 4100)},
    "shoulder": {"natural": (500, 3000), "none": (200, 300), "narrow": (500, 1000), "wide": (2500, 3500)},
    "markings": {
        "natural": (80, 4, 14, 2),
        "dashed": (1, 0, 0, 0),
        "solid": (0, 1, 0, 0),
        "faded": (0, 0, 1, 0),
        "missing": (0, 0, 0, 1),
    },
    "time_of_day": {
        "natural": (58, 10, 10, 22),
        "day": (1, 0, 0, 0),
        "low_sun": (0, 1, 0, 0),
        "dusk": (0, 0, 1, 0),
        "night": (0, 0, 0, 1),
    },
    "sun_direction": {"natural": (1, 2, 1), "ahead": (1, 0, 0), "side": (0, 1, 0), "behind": (0, 0, 1)},
    "weather": {
        "natural": (60, 23, 13, 4),
        "clear": (1, 0, 0, 0),
        "overcast": (0, 1, 0, 0),
        "rain": (0, 0, 1, 0),
        "fog": (0, 0, 0, 1),
    },
    "traffic": {"natural": (2, 24), "none": (0, 0), "sparse": (2, 6), "dense": (24, 50)},
    "car_ahead": {
        "natural": (1, 0, 0, 0, 0),
        "none": (0, 1, 0, 0, 0),
        "near": (0, 0, 1, 0, 0),
        "middle": (0, 0, 0, 1, 0),
        "far": (0, 0, 0, 0, 1),
    },
    "vehicles": {"natural": (82, 10, 8), "cars": (1, 0, 0), "trucks": (0, 1, 0), "trailers": (0, 0, 1)},
    "colours": {"natural": (1, 0, 0, 0), "bright": (0, 1, 0, 0), "dark": (0, 0, 1, 0), "white": (0, 0, 0, 1)},
    "roadside": {
        "natural": (35, 35, 12, 18),
        "open": (1, 0, 0, 0),
        "trees": (0, 1, 0, 0),
        "buildings": (0, 0, 1, 0),
        "barriers": (0, 0, 0, 1),
    },
}

_PARTS = {"time_of_day": "time", "sun_direction": "sun", "car_ahead": "ahead"}
"""The engine's names of parts that are not called as the setting."""

_FIXED: Mapping[str, Numbers] = {
    # Of straight, gentle and sharp curves, from 10 km to 200 m of radius, in 1e-6 / m.
    "curvature": (0, 100, 600, 2000, 2500, 5000),
    # Of slopes, per thousand.
    "gradient": (15, 60),
}

_ROAD = ("environment_settings", "road_settings", "road")
_LIGHT = ("environment_settings", "light_settings", "weather_settings", "light", "weather")
_TRAFFIC = ("environment_settings", "traffic_settings", "traffic")
_VIEW = ("environment_settings", "view_settings", "ego_settings", "ego")
_EVENTS = ("environment_settings", "event_settings", "events")


def _choice(name: str, doc: str, groups: tuple[str, ...]) -> Setting:
    return Setting(name, doc, "natural", choices=tuple(_WEIGHTS[name]), groups=groups)


def _event(name: str) -> Setting:
    return Setting(
        name,
        "A rare event that is in a part of the scenes, at most once in each.",
        "none",
        choices=("none", *EVENTS),
        groups=_EVENTS,
    )


VOCABULARY: tuple[Setting, ...] = (
    _choice("lanes", "How many lanes the road has in the viewer's direction.", _ROAD),
    _choice("curve", "How the road bends: gentle has a radius of 500 to 1,700 m, sharp of 200 to 400 m.", _ROAD),
    _choice("slope", "Whether the road ahead rises or falls, by 1.5 to 6 percent.", _ROAD),
    _choice("lane_width", "Width of the lanes: narrow is below 3.2 m, wide above 3.75 m.", _ROAD),
    _choice("shoulder", "Width of the paved shoulders.", _ROAD),
    _choice(
        "markings",
        "The lines: dashed between lanes, as usual; all solid; worn off in patches (faded); or none (missing).",
        _ROAD,
    ),
    _choice("roadside", "What stands beside the road.", _ROAD),
    _choice("time_of_day", "The light: day, a low sun that may blind, dusk, or night with headlights.", _LIGHT),
    _choice("sun_direction", "Where the sun stands by day; a low sun ahead shines into the camera.", _LIGHT),
    _choice("weather", "Clear, overcast, rain (grey, wet road) or fog.", _LIGHT),
    Setting("fog_visibility", "How far one sees in fog, in metres.", 100, low=20, high=300, groups=_LIGHT),
    _choice("traffic", "How many vehicles there are.", _TRAFFIC),
    _choice(
        "car_ahead",
        "The next vehicle in the own lane: near (6 to 20 m), middle (to 40), far (to 60), none, or as traffic has it.",
        _TRAFFIC,
    ),
    _choice("vehicles", "Which vehicles make up the traffic.", _TRAFFIC),
    _choice("colours", "Colours of the cars.", _TRAFFIC),
    Setting(
        "largest_offset",
        "How far from its lane's middle the viewer may be, to either side, in centimetres.",
        40,
        low=0,
        high=150,
        groups=_VIEW,
        short="offset",
    ),
    Setting(
        "largest_heading",
        "How far from its lane's direction the viewer may look, to either side, in degrees.",
        4,
        low=0,
        high=30,
        groups=_VIEW,
        short="heading",
    ),
    *map(_event, ("event", "second_event", "third_event")),
    Setting(
        "event_share",
        "In how many percent of the scenes each of the events is.",
        50,
        low=1,
        high=100,
        groups=_EVENTS,
        short="share",
    ),
)
"""Every word that a driving design may use, with what it takes and its default."""

DrivingDesign = design_model(
    "DrivingDesign", __name__, "One kind of highway scene: the vocabulary as a frozen, strict model.", VOCABULARY
)


def events_of(design: Design) -> tuple[str, ...]:
    """The events that a design names, in its order, each once."""
    settings = design.settings()
    named = (settings[name] for name in ("event", "second_event", "third_event"))
    return tuple(dict.fromkeys(event for event in named if event != "none"))


def recipe(design: Design | None, *, other_look: bool = False) -> dict[str, Numbers]:
    """The generator's numbers for a design, None being the original, by the names of the engine's parts.

    With `other_look` what is `natural` is the mixture of the report's roads, which have other weather and more curves.
    """
    settings = (design or DrivingDesign()).settings()
    parts: dict[str, Numbers] = dict(_FIXED)
    for name, choices in _WEIGHTS.items():
        chosen = settings[name]
        mixture = _OTHER.get(name) if other_look and chosen == "natural" else None
        parts[_PARTS.get(name, name)] = mixture or choices[chosen]
    far = settings["fog_visibility"]
    parts["visibility"] = (40, 250) if design is None else (far * 9 // 10, far)
    parts["offset"] = (settings["largest_offset"] * 10,)
    parts["heading"] = (settings["largest_heading"] * 100,)
    if design is None:
        parts["events"] = tuple(RARITY.values())
    else:
        held = events_of(design)
        parts["events"] = tuple(1000 * settings["event_share"] if event in held else 0 for event in EVENTS)
    return parts


_OTHER: Mapping[str, Numbers] = {
    "lanes": (4, 52, 32, 12),
    "curve": (30, 50, 20),
    "slope": (50, 25, 25),
    "lane_width": (3150, 3900),
    "markings": (66, 12, 18, 4),
    "time_of_day": (46, 20, 16, 18),
    "weather": (40, 28, 20, 12),
    "traffic": (4, 34),
    "vehicles": (66, 20, 14),
    "colours": (0, 3, 2, 1),
    "roadside": (45, 15, 25, 15),
}
"""The mixtures of the report's roads, where they are not the original's."""


def contradiction(design: Design) -> str | None:
    """Why a design is refused, where its settings alone tell; None where they don't."""
    settings = design.settings()
    held = events_of(design)
    for pair in KEPT_PAIRS:
        if set(pair) <= set(held):
            return f"{pair[0]} and {pair[1]} may not be held together: the report keeps this pair for itself"
    if "cut_in" in held and settings["lanes"] == "one":
        return "event=cut_in needs two lanes, but lanes=one"
    if "shifted_lanes" in held and settings["markings"] in ("missing", "solid"):
        return f"event=shifted_lanes has lines of its own, but markings={settings['markings']}"
    if "car_behind_crest" in held and settings["slope"] != "natural":
        return f"event=car_behind_crest makes the road's slope, but slope={settings['slope']}"
    if "truck_hides_car" in held and settings["car_ahead"] == "none":
        return "event=truck_hides_car has a truck ahead, but car_ahead=none"
    if "hard_braking" in held and settings["car_ahead"] not in ("natural", "near"):
        return f"event=hard_braking is of a near car, but car_ahead={settings['car_ahead']}"
    if settings["time_of_day"] == "low_sun" and settings["weather"] in ("overcast", "rain", "fog"):
        return f"time_of_day=low_sun needs a clear sky, but weather={settings['weather']}"
    return None
