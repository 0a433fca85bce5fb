"""``python -m envgen_exp drive FOLDER [km=100] [events=raised] [speed=20] [seed=0]`` lets a run's network drive.

A simple controller steers and brakes by what the network reads from each frame. Beside it the same controller drives by
exact labels, the best that any network could do, and by one that says that all is straight and free. Collisions and
departures are counted; they go into FOLDER/drives, with a film, and on the run's page.

events: raised (each kind alike often), natural (as rare as in the original) or none. speed: in m/s, on a free road.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envgen_exp.commands.failure import told
from envgen_exp.commands.play import Player
from envgen_exp.config import Device
from envgen_exp.errors import ConfigError
from envgen_exp.families.family import Drivable
from envgen_exp.guard.writing import write_atomic, write_json
from envgen_exp.learners.intervals import poisson
from envgen_exp.learners.learner import Reads
from envgen_exp.reporting.run.drives import EVENTS, RARE, RATES, Drivers, event_rows, rate_rows
from envgen_exp.reporting.run.page_of_run import make_report
from envgen_exp.run.films import MAX_STEPS, Film
from envgen_exp.run.folder import Files
from envgen_exp.run.pasted import typed
from envgen_exp.tracking.progress import make_console

NETWORK = "network"
"""What the run's own driver is called."""


def _number(low: float, high: float, kind: Callable[[str], float] = float) -> Callable[[str], float]:
    def read(text: str) -> float:
        pattern = r"\d+(_\d+)*" if kind is int else r"\d+(_\d+)*(\.\d+)?"
        if not re.fullmatch(pattern, text) or not low <= (value := kind(text)) <= high:
            raise ValueError(f"a {'whole ' if kind is int else ''}number from {low:,} to {high:,}")
        return value

    return read


WORDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "km": ("100", _number(0.1, 10_000)),
    "events": ("", str),
    "speed": ("20", _number(5, 40)),
    "seed": ("0", _number(0, 2**31 - 1, int)),
}
"""Each word's default and how it is read."""


@told
def main(argv: Sequence[str]) -> int:
    """Drive as asked and return the exit status: 2 with one line for what can't be."""
    if not argv or {"-h", "--help"} & {*argv}:
        print(f"usage: {typed('python -m envgen_exp drive')} FOLDER [KEY=VALUE ...]\n\n{__doc__}")
        return 0
    folders = [word for word in argv if "=" not in word]
    if len(folders) != 1:
        raise ConfigError(f"drive: needs one run's folder, got {len(folders)}")
    asked = read_words([word for word in argv if "=" in word])
    player = Player.open(Path(folders[0]), Device.auto)
    family, learner = player.family, player.learner
    if not isinstance(family, Drivable) or not isinstance(learner, Reads):
        raise ConfigError(f"drive: env={family.name} can't be driven; allowed is a run of agent=supervised on driving")
    asked["events"] = asked["events"] or next(iter(family.drive_events))
    if asked["events"] not in family.drive_events:
        raise ConfigError(f"events={asked['events']}: allowed is {' | '.join(family.drive_events)}")
    console = make_console()
    for line in (*player.notes, player.origin):
        console.print(Text(line), soft_wrap=True)
    film = Film(
        f"{asked['events']} events, seed {asked['seed']}",
        next(iter(family.drive_events.values())),
        MAX_STEPS,
        measure="km",
    )
    drivers = {}
    for name, reader in {NETWORK: learner.read, **family.bounds}.items():
        watch = _Filming(film) if name == NETWORK else None
        drivers[name] = with_rates(family.drive(reader, **asked, watch=watch))
        console.print(Text(f"driven: {name}, {drivers[name]['km']:,.0f} km"), soft_wrap=True)
    film.finish()
    usual = {name: read(default) for name, (default, read) in WORDS.items()}
    more = "".join(f"-{name}{asked[name]:g}" for name in ("km", "speed") if asked[name] != usual[name])
    stem = Files(player.folder).drives / f"{asked['events']}-s{asked['seed']}{more}"
    found = {"origin": player.origin, **asked, "drivers": drivers, "film": film.to_json()}
    write_json(Path(f"{stem}.json"), found)
    write_atomic(Path(f"{stem}.mp4"), film.data)
    tell(drivers, console)
    for file in (Path(f"{stem}.json"), Path(f"{stem}.mp4"), make_report(player.folder)):
        console.print(Text(f"written: {file}"), soft_wrap=True)
    return 0


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words, with defaults for the others; ConfigError for an unknown key or a value out of range."""
    given = dict(word.split("=", 1) for word in words)
    if unknown := [name for name in given if name not in WORDS]:
        raise ConfigError(f"drive: {unknown[0]}=...: no such word; allowed: {' | '.join(WORDS)}")
    asked = {}
    for name, (default, read) in WORDS.items():
        try:
            asked[name] = read(given.get(name, default))
        except ValueError as error:
            raise ConfigError(f"{name}={given[name]}: allowed is {error}") from None
    return asked


def with_rates(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts with those of `RARE` for each 1,000 km: (rate, low, high), a 95 % interval."""
    rates = {
        name: [round(value * 1000 / counts["km"], 2) for value in (counts[name], *poisson(counts[name]))]
        for name in RARE
    }
    return {**counts, "per_1000_km": rates}


def tell(drivers: Drivers, console: Console) -> None:
    """The tables: each driver's counts, and what each event came to."""
    for title, head, rows in ((RATES, "", rate_rows(drivers)), (EVENTS, "event", event_rows(drivers))):
        table = Table(head, box=None, title=title)
        for name in drivers:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)


class _Filming:
    """Adds what a driver sees to a film, until that is full."""

    def __init__(self, film: Film) -> None:
        self._film, self._km = film, 0.0

    def __call__(self, picture: Any, metres: float, met: Sequence[int]) -> None:
        if not self._film.finished:
            self._film.add(picture, metres / 1000 - self._km, met)
            self._km = metres / 1000
