"""What drives by a run's network came to, for terminal and page: rates, what each event came to, the film."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

from envgen_exp.guard.reading import read_json, within
from envgen_exp.reporting.page import Markup, element, joined, table
from envgen_exp.reporting.run.films import Room, film
from envgen_exp.run.record import RunRecord

Drivers = Mapping[str, Mapping[str, Any]]
"""What was counted of each driver, by its name."""

RARE = ("collisions", "departures", "stops")
"""Counts that are also given for each 1,000 km, with an exact Poisson interval."""

RATES = "in 1,000 km, with 95 % Poisson intervals and n"
EVENTS = "collisions + departures / events met"
"""Captions of the two tables."""

_SAID = {
    "km": "km",
    "mean speed, km/h": "kmh",
    "from the lane's middle, RMS m": "place_rms",
    "things in the way": "encounters",
    "least time to collision, 5th percentile, s": "ttc_p5",
    "... median, s": "ttc_median",
    "... below 1 s": "ttc_below_1",
}
"""Rows of the first table, and what each shows of what was counted."""


def rate_rows(drivers: Drivers) -> list[list[str]]:
    """What was counted, a row a count with each driver's."""
    rows = []
    for kind in RARE:
        rates = [(*found["per_1000_km"][kind], found[kind]) for found in drivers.values()]
        rows.append([kind, *(f"{rate:,.0f} [{low:,.0f}, {high:,.0f}] {n:,}" for rate, low, high, n in rates)])
    for title, key in _SAID.items():
        rows.append([title, *("-" if found[key] is None else f"{found[key]:,}" for found in drivers.values())])
    return rows


def event_rows(drivers: Drivers) -> list[list[str]]:
    """What each event came to, a row an event with each driver's."""
    rows = []
    for event in next(iter(drivers.values()))["by_event"]:
        cells = [found["by_event"][event] for found in drivers.values()]
        met = [f" / {one['met']}" if event != "traffic" else "" for one in cells]
        ends = (f"{one['collisions']} + {one['departures']}{of}" for one, of in zip(cells, met, strict=True))
        rows.append([event, *ends])
    return rows


def drives(data: RunRecord) -> Markup:
    """The section of a run's page, of all that it drove; nothing for a run that drove nowhere."""
    parts: list[object] = []
    room = Room()
    for file in sorted(data.files.drives.glob("*.json")):
        kept = read_json(within(data.folder, file.relative_to(data.folder)))
        drivers, filmed = kept["drivers"], file.with_suffix(".mp4")
        head = ["", *drivers]
        told = f"{kept['km']:g} km, {kept['events']} events, {kept['speed']:g} m/s where the road is free, "
        told += f"seed {kept['seed']}; {kept['origin']}"
        parts += [element("h3", f"Drive {file.stem}"), element("p", told, class_="note")]
        parts += [table(RATES, head, rate_rows(drivers)), table(EVENTS, head, event_rows(drivers))]
        if filmed.exists():
            link = urllib.parse.quote(filmed.relative_to(data.folder).as_posix())
            what = "What the network says, in orange, beside the truth, in white"
            shown = film(data, filmed, what, link, embedded=room.takes(filmed))
            parts.append(element("figure", element("figcaption", what), shown))
    return joined(parts)
