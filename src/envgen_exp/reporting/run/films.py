"""The films of a run on a page: in it as far as there is room, told in words, with controls for all of them."""

from __future__ import annotations

import shlex
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envgen_exp.families.family import Playable
from envgen_exp.guard.reading import read_bytes, within
from envgen_exp.reporting.page import Markup, data_uri, element, joined, png
from envgen_exp.run.films import FRAMES_PER_SECOND, MAX_STEPS
from envgen_exp.run.pasted import pasted
from envgen_exp.run.record import RunRecord


@dataclass
class Room:
    """How many bytes of films a page still takes into itself; further ones are linked."""

    left: int = 8_000_000

    def takes(self, file: Path) -> bool:
        """Whether a film goes into the page, which then has less room."""
        size = file.stat().st_size
        if size > self.left:
            return False
        self.left -= size
        return True


def films(data: RunRecord) -> Markup:
    """Episode videos in the run's folder: in the page as far as there is room, then as links."""
    room = Room()
    parts = []
    order = {phase.name: number for number, phase in enumerate(data.planned)}

    def place(file: Path) -> tuple[int, str]:
        return order.get(file.stem.rpartition("-")[0], len(order)), file.name

    for file in sorted(data.films(), key=place):
        link = urllib.parse.quote(file.relative_to(data.folder).as_posix())
        parts.append(figure(data, file, file.stem, link, embedded=room.takes(file)))
    if not parts and not (data.finished and data.learner.trains and isinstance(data.family, Playable)):
        return Markup("")
    if not parts:
        why = (
            f"with the pictures of worlds they would take more than 2.5 % of its time, or more than {MAX_STEPS:,} steps"
        )
        none = f"The run kept no films: {why}. This makes some:"
        command = pasted(shlex.join(["python", "-m", "envgen_exp", "play", str(data.folder)]))
        return joined([element("p", none, class_="note"), element("pre", command, class_="command")])
    note = (
        "First episodes of evaluations, as they were counted; a skill that is new is marked for a second. A film shows "
        f"a whole episode: there is none of one that took more than {MAX_STEPS:,} steps, or whose film would take "
        "more than 2.5 % of the run's time."
    )
    if any(file.stem.startswith("play-") for file in data.films()):
        note += " Those that begin with `play` were made afterwards, of episodes that count nowhere."
    return joined([element("p", note, class_="note"), control(), element("div", *parts, class_="charts")])


def control() -> Markup:
    """Buttons for all films of a section: whether they begin again at their end, and how fast they run."""
    loop = element("button", "Loop", type="button", aria_pressed="true")
    speed = element("button", "Speed 1×", type="button", aria_live="polite")
    return element("p", loop, speed, class_="control", data_control="films", hidden=True)


def figure(data: RunRecord, file: Path, caption: str, link: str, *, embedded: bool) -> Markup:
    """A film under its caption, in the page or as a link, and what it shows."""
    shown = film(data, file, caption, link, embedded=embedded)
    return element("figure", element("figcaption", caption), shown, _film_facts(data, file))


def film(data: RunRecord, file: Path, caption: str, link: str, *, embedded: bool) -> Markup:
    """A film in the page, or as a link."""
    name, size = file.relative_to(data.folder).as_posix(), file.stat().st_size
    if not embedded:
        return element("a", f"{name} ({size / 1e6:.1f} MB)", href=link)
    return element(
        "video",
        controls=True,
        loop=True,
        preload="metadata",
        poster=_poster(file),
        aria_label=f"Video {caption}",
        src=data_uri("video/mp4", read_bytes(within(data.folder, name), size)),
    )


def _film_facts(data: RunRecord, file: Path) -> Markup:
    """What a film shows, in words; nothing for a film of which that is not known."""
    shows = data.film(file)
    if shows is None:
        return Markup("")
    end = "the whole episode" if shows["whole"] else "cut there"
    line = f"{shows['title']}: {shows['steps']:,} steps ({end}), return {shows['episode_return']:.1f}; "
    line += f"{len(shows['unlocked'])} of {len(data.skills)} skills"
    parts = [element("p", line, class_="note")]
    if shows["unlocked"]:
        times = ((skill, divmod(step // FRAMES_PER_SECOND, 60)) for skill, step in shows["unlocked"].items())
        parts.append(element("ul", *(element("li", f"{skill} {m}:{s:02d}") for skill, (m, s) in times), class_="chips"))
    return joined(parts)


def _poster(file: Path) -> str | None:
    """A video's first frame; None where it has none that can be read."""
    import av  # only now: it takes long, and films come at the end

    try:
        with av.open(str(file)) as container:
            frame = next(container.decode(video=0), None)
            return None if frame is None else png(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    except (av.FFmpegError, IndexError):  # no video, or a file without one
        return None
