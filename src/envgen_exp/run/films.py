"""Films of episodes as they are played, an mp4 each: frames drawn off-screen, skills marked as they are shown."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from envgen_exp.errors import ConfigError
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.vector import ArraySpec, Buffers, EpisodeRecord, Observation, VectorEnv
from envgen_exp.guard.writing import write_atomic, write_json

SIZE = 288
"""Rows and columns of a frame that an engine draws: 32 pixels for each of Crafter's 9 cells."""

BAR = 56
"""Rows of the caption bar above it: a player's controls lie over what is below."""

FRAMES_PER_SECOND = 15
"""Steps of the game in a second of film."""

MAX_STEPS = 1000
"""An evaluation's episode of more steps is not filmed to its end, and so has no film."""

SHOWN_FRAMES = 15
"""For how long a newly shown skill stays marked, and the last picture of an episode stays."""

MAX_BYTES = 4 * 2**20
"""No film is larger; 500 frames of Crafter have about 0.5 MB."""


class Camera:
    """Films some slots of whatever environment is played; there are no films of one that can't be filmed."""

    def __init__(
        self,
        titles: Sequence[str],
        max_steps: int,
        max_seconds: float = math.inf,
        warn: Callable[[str], None] | None = None,
        first: int = 0,
    ) -> None:
        """As in `FilmedEnv`."""
        self._titles, self._limits, self._warn, self._first = titles, (max_steps, max_seconds), warn, first
        self._filmed: FilmedEnv | None = None

    def __call__(self, env: VectorEnv) -> VectorEnv:
        if self._titles:
            steps, seconds = self._limits
            with contextlib.suppress(ConfigError):
                self._filmed = FilmedEnv(
                    env, self._titles, max_steps=steps, max_seconds=seconds, warn=self._warn, first=self._first
                )
        return self._filmed or env

    @property
    def films(self) -> list[Film]:
        return [] if self._filmed is None else self._filmed.films

    @property
    def seconds(self) -> float:
        """What filming has taken so far."""
        return 0.0 if self._filmed is None else self._filmed.seconds


class FilmedEnv:
    """A vector environment some of whose slots are filmed, each for its first episode; else it is the same.

    Frames come from the engine's `frame(slot, size)` where it has one, which leaves the game as it is, else from the
    image that the agent sees, enlarged. Skills are marked in the step that shows them where the engine counts them
    (`achievements()`, (num_envs, num_skills)), else at the episode's end. Neither is part of the `VectorEnv` contract.

    Args:
        env: what is played; `close` is its owner's.
        titles: a line for each film: how many slots are filmed.
        max_steps: where a film is cut.
        max_seconds: how long drawing and coding may take in all. With half of it gone so few steps are drawn that the
            rest lasts for `max_steps`; with all of it gone the films end where they are.
        warn: hears why filming failed, once; the films are lost and the play goes on. Without it the error is raised.
        first: the first slot that is filmed.

    Raises ConfigError where there is nothing to draw a frame from.
    """

    def __init__(
        self,
        env: VectorEnv,
        titles: Sequence[str],
        *,
        max_steps: int,
        max_seconds: float = math.inf,
        warn: Callable[[str], None] | None = None,
        first: int = 0,
    ) -> None:
        self._env = env
        self._first = first
        self._draw = _drawing(env)
        self._counts: Callable[[], NDArray[np.int32]] | None = getattr(env, "achievements", None)
        self._max_seconds = max_seconds
        self._warn = warn
        self.films = [Film(title, env.skills, max_steps) for title in titles]
        self.seconds = 0.0
        """What filming has taken so far."""
        self._drawn = 0
        """Frames of all films so far."""

    @property
    def num_envs(self) -> int:
        return self._env.num_envs

    @property
    def num_actions(self) -> int:
        return self._env.num_actions

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]:
        return self._env.observation_spec

    @property
    def skills(self) -> tuple[str, ...]:
        return self._env.skills

    def reset(self, obs: Observation) -> None:
        self._env.reset(obs)
        self._film(obs, np.zeros(self.num_envs, np.float32), [])

    def step(
        self, actions: NDArray[np.int64], out: Buffers, *, active: NDArray[np.bool_] | None = None
    ) -> list[EpisodeRecord]:
        ended = self._env.step(actions, out, active=active)
        self._film(out.obs, out.rewards, ended, active)
        return ended

    def set_design(self, slot: int, design: Design | None, *, world: int | None = None) -> None:
        self._env.set_design(slot, design, world=world)

    def get_state(self, slot: int) -> bytes:
        return self._env.get_state(slot)

    def set_state(self, slot: int, state: bytes) -> None:
        self._env.set_state(slot, state)

    def close(self) -> None:
        self._env.close()

    def _film(
        self,
        obs: Observation,
        rewards: NDArray[np.float32],
        ended: Sequence[EpisodeRecord],
        active: NDArray[np.bool_] | None = None,
    ) -> None:
        """One more frame of each unfinished film."""
        filmed = enumerate(self.films, self._first)
        running = [s for s, film in filmed if not film.finished and (active is None or active[s])]
        if not running:
            return
        begun = time.perf_counter()
        try:
            self._add(running, obs, rewards, {record.slot: record for record in ended})
        except Exception as error:
            if self._warn is None:
                raise
            self.films = []
            self._warn(f"no more films: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        self.seconds += time.perf_counter() - begun
        if self.seconds > self._max_seconds:
            for film in self.films:
                film.finish()

    def _add(
        self,
        running: Sequence[int],
        obs: Observation,
        rewards: NDArray[np.float32],
        records: Mapping[int, EpisodeRecord],
    ) -> None:
        # A slot that has ended shows its next episode already.
        counts = None if self._counts is None else self._counts()
        gap = 1.0
        if self.seconds > self._max_seconds / 2:
            to_come = sum(film.max_steps - film.coming for film in self.films if not film.finished)
            left = 0.9 * self._max_seconds - self.seconds  # the rest, and half of this, is for steps that aren't drawn
            gap = to_come * self.seconds / self._drawn / (left / 2) if left > 0 else math.inf
        for slot in running:
            film = self.films[slot - self._first]
            if slot in records:
                film.end(records[slot])
            else:
                shown = () if counts is None else counts[slot].tolist()
                due = film.coming - film.drawn >= gap
                self._drawn += due
                film.add(self._draw(obs, slot) if due else None, float(rewards[slot]), shown)


class Film:
    """One episode's film, from its first frame on; `data` is the mp4 once it is finished."""

    def __init__(self, title: str, skills: Sequence[str], max_steps: int, measure: str = "return") -> None:
        """`measure` is the word for the sum of what `add` calls rewards."""
        self.title = title
        self._measure = measure
        self.unlocked: dict[str, int] = {}
        """The step in which each skill was first shown, in that order."""
        self.steps = 0
        """Steps of the game in the film."""
        self.drawn = -math.inf
        """The latest step with a picture."""
        self.max_steps = max_steps
        self.record: EpisodeRecord | None = None
        """The episode's record; None where the film was cut before its end."""
        self.data = b""
        self._skills = tuple(skills)
        self._return = 0.0
        self._last: NDArray[np.uint8] | None = None
        self._file = io.BytesIO()
        self._container: Any = None
        self._stream: Any = None

    @property
    def finished(self) -> bool:
        """Whether nothing is added any more."""
        return bool(self.data)

    @property
    def coming(self) -> int:
        """The step that is added next; 0 is the beginning."""
        return 0 if self._container is None else self.steps + 1

    def add(self, picture: NDArray[np.uint8] | None, reward: float, counts: Sequence[int]) -> None:
        """The state after the next step, or at the beginning: (rows, columns, 3) uint8, None where it is not drawn, and
        how often each skill was shown so far (empty where that is not known)."""
        if self._container is not None:
            self.steps += 1
            self._return += reward
        self._unlock(counts)
        if picture is not None:
            self._write(picture, "", self.steps)
            self._last, self.drawn = picture, self.steps
        if self.steps >= self.max_steps or self._file.tell() > MAX_BYTES:
            self.finish()

    def end(self, record: EpisodeRecord) -> None:
        """The last step, after which there is no picture: the one before it stays for a moment."""
        assert self._last is not None
        self.record = record
        self.steps, self._return = record.length, record.episode_return
        self._unlock(record.skills)
        words = "out of time" if record.truncated else "episode over"
        for place in range(SHOWN_FRAMES):
            self._write(self._last, words, self.steps + place)
        self.finish()

    def finish(self) -> None:
        """Close the file; once is enough."""
        if self._container is None:
            return
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
        self._container = self._stream = None
        self.data = self._file.getvalue()

    def to_json(self) -> dict[str, Any]:
        """What the film shows, for those who don't see it; `whole` is whether it goes to the episode's end."""
        return {
            "title": self.title,
            "steps": self.steps,
            "episode_return": round(self._return, 3),
            "whole": self.record is not None,
            "unlocked": self.unlocked,
        }

    def _unlock(self, counts: Sequence[int]) -> None:
        for skill, count in zip(self._skills, counts, strict=False):
            if count:
                self.unlocked.setdefault(skill, self.steps)

    def _write(self, picture: NDArray[np.uint8], words: str, place: int) -> None:
        """One more frame, shown from the moment of step `place` on."""
        rows, columns = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2  # the format stores colours at half size
        image = np.empty((rows + BAR, columns, 3), np.uint8)
        seen = image[BAR:]
        seen[:] = picture[:rows, :columns]
        fresh = [skill for skill, step in self.unlocked.items() if self.steps - step < SHOWN_FRAMES]
        image[:BAR] = self._bar(columns, words, fresh)
        if fresh:
            for edge in (seen[:4], seen[-4:], seen[:, :4], seen[:, -4:]):
                edge[:] = _MARKED
        import av  # only now: it takes long, and a film comes at the end of a run

        if self._container is None:
            self._container = av.open(self._file, "w", format="mp4")
            self._container.metadata["title"] = self.title
            options = {"preset": "veryfast", "crf": "28"}
            self._stream = self._container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = columns, rows + BAR, "yuv420p"
            self._stream.thread_count = 1  # drawing takes longer, and the other cores have work
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = place, Fraction(1, FRAMES_PER_SECOND)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _bar(self, columns: int, words: str, fresh: Sequence[str]) -> NDArray[np.uint8]:
        """Three lines: which episode, where it is, and the skills, the newest marked."""
        image = Image.new("RGB", (columns, BAR), (24, 24, 24))
        draw = ImageDraw.Draw(image)
        draw.text((6, 3), self.title, font=_font(), fill=(160, 160, 160))
        now = f"step {self.steps:,}   {self._measure} {self._return:.1f}   {words}"
        draw.text((6, 20), now, font=_font(), fill=(255, 255, 255))
        count = f"{len(self.unlocked)}/{len(self._skills)}"
        if fresh:
            draw.rectangle((0, 37, columns, BAR), fill=_MARKED)
            draw.text((6, 38), f"{count}  + {', '.join(fresh)}", font=_font(), fill=(0, 0, 0))
        else:
            names = ", ".join(reversed(self.unlocked))
            draw.text((6, 38), f"{count}  {names}", font=_font(), fill=(160, 160, 160))
        return np.asarray(image)


_MARKED = (90, 200, 120)
"""Colour of what is new."""


@functools.cache
def _font() -> Any:
    return ImageFont.load_default(size=12)


def _drawing(env: VectorEnv) -> Callable[[Observation, int], NDArray[np.uint8]]:
    """How a slot's frame is drawn, given the observations of all."""
    frame: Callable[..., NDArray[np.uint8]] | None = getattr(env, "frame", None)
    if frame is not None:
        return lambda obs, slot: frame(slot, (SIZE, SIZE))
    for name, spec in env.observation_spec.items():
        if len(spec.shape) == 3 and spec.shape[2] == 3 and spec.dtype == np.uint8 and spec.high == 255:
            times = max(1, SIZE // max(spec.shape[:2]))
            return lambda obs, slot: obs[name][slot].repeat(times, axis=0).repeat(times, axis=1)
    raise ConfigError("videos: this environment neither draws frames nor shows the agent an image")


def film_title(design: Design | None, world_seed: int) -> str:
    """The first line of a film's caption."""
    return f"{design_key(design)}, world {world_seed}"


def write_films(films: Sequence[Film], folder: Path, name: str) -> dict[Path, Film]:
    """Write those films that show a whole episode to `<folder>/<name>-<n>.mp4`, n from 1, and beside each what it shows
    as JSON; RunFolderError where it can't."""
    written = {}
    for number, film in enumerate(films, start=1):
        film.finish()
        if film.record is None:
            continue
        path = folder / f"{name}-{number}.mp4"
        write_atomic(path, film.data)
        write_json(path.with_suffix(".json"), film.to_json())
        written[path] = film
    return written
