"""What the terminal shows while a run goes on: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PLAIN_SECONDS = 10.0
"""Where there is no terminal, a running phase prints at most one line in this time."""

WIDE = 72
"""Columns of a terminal that has room for bars."""


class Progress(Protocol):
    """Where a run says how far it is."""

    def phase(self, name: str, total_steps: int, cycle: int, *, done: int = 0, unit: str = "steps") -> None:
        """A phase begins, or goes on after `done` steps; `total_steps=0` where the work can't be counted.

        `unit` is what is counted. Phases counted in "steps" move the whole run's bar.
        """

    def update(self, steps_done: int, **numbers: float | None) -> None:
        """The phase is at `steps_done`; `numbers` (e.g. score=4.2) stay on show until they change. None is left out."""

    def message(self, text: str) -> None:
        """A line that stays."""

    def close(self) -> None:
        """End the display; the terminal is as it was. May be called twice."""


def make_console() -> Console:
    """A console on standard output; what its encoding lacks is printed as '?', colours follow NO_COLOR."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(highlight=False)


def make_progress(console: Console | None = None, *, total_steps: int = 0, done_steps: int = 0) -> Progress:
    """Live on a terminal, plain lines elsewhere; the run has `total_steps` training steps, `done_steps` behind it."""
    console = console or make_console()
    if console.file.isatty() and console.is_terminal and not console.is_dumb_terminal:
        return LiveProgress(console, total_steps, done_steps)
    return PlainProgress(lambda line: console.print(line, markup=False, soft_wrap=True))


class PlainProgress:
    """A line at the start and end of each phase and now and then between."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._now = _Phase("", 0, 0, "", 0.0)
        self._numbers: dict[str, float] = {}
        self._written_at = clock()

    def phase(self, name: str, total_steps: int, cycle: int, *, done: int = 0, unit: str = "steps") -> None:
        self._end_phase()
        self._written_at = self._clock()
        self._now = _Phase(name, total_steps, done, unit, self._written_at)
        self._write(self._now.line())

    def update(self, steps_done: int, **numbers: float | None) -> None:
        now = self._clock()
        _merge(self._numbers, numbers)
        self._now.move(steps_done, now)
        if now - self._written_at >= PLAIN_SECONDS:
            self._written_at = now
            self._write(self._now.line(self._numbers))

    def message(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        self._end_phase()

    def _end_phase(self) -> None:
        if self._now.moved:
            self._write(self._now.line(self._numbers))
        self._now = _Phase("", 0, 0, "", self._clock())


class LiveProgress:
    """Two bars redrawn in place, one for the phase and one for the run's training steps, and the latest numbers."""

    def __init__(
        self, console: Console, total_steps: int, done_steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._total = total_steps
        self._before = done_steps
        """The run's training steps before the current phase."""
        self._now = _Phase("", 0, 0, "", clock())
        self._speed: float | None = None
        """Steps a second of the latest training, from which the run's time left is guessed."""
        self._cycle = 1
        self._numbers: dict[str, float] = {}
        self._live = Live(get_renderable=self._picture, console=console, refresh_per_second=2, transient=True)
        self._live.start()

    def phase(self, name: str, total_steps: int, cycle: int, *, done: int = 0, unit: str = "steps") -> None:
        self._end_phase()
        self._before -= done if unit == "steps" else 0
        self._cycle = cycle
        self._now = _Phase(name, total_steps, done, unit, self._clock())

    def update(self, steps_done: int, **numbers: float | None) -> None:
        _merge(self._numbers, numbers)
        self._now.move(steps_done, self._clock())
        if self._now.unit == "steps":
            self._speed = self._now.speed() or self._speed

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._end_phase()
        self._live.stop()

    def _end_phase(self) -> None:
        if self._now.moved:
            self.message(self._now.line(self._numbers))
        self._before = self._trained()
        self._now = _Phase("", 0, 0, "", self._clock())

    def _trained(self) -> int:
        return self._before + (self._now.at if self._now.unit == "steps" else 0)

    def _picture(self) -> RenderableType:
        # Called from the display's own thread: reads, never changes.
        phase, trained = self._now, self._trained()
        run = [f"{trained:,}/{self._total:,} steps", f"cycle {self._cycle}"]
        if self._speed and trained < self._total:
            run.append(f"{duration((self._total - trained) / self._speed)} of training left")
        grid = Table.grid(padding=(0, 1), expand=True)
        bars = self._console.width >= WIDE
        grid.add_column(no_wrap=True, overflow="ellipsis")
        if bars:
            grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        for name, at, total, words in (
            (phase.name, phase.at, phase.total, phase.words()),
            ("run", trained, self._total, run),
        ):
            bar = [ProgressBar(total=total or None, completed=at, pulse=not total)] if bars else []
            grid.add_row(Text(name, style="bold"), *bar, Text("  ".join(words)))
        return Group(grid, Text("  ".join(_words(self._numbers)), no_wrap=True, overflow="ellipsis"))


class _Phase:
    """How far the current phase is, and how fast; a speed is that since it began or was resumed."""

    def __init__(self, name: str, total: int, at: int, unit: str, now: float) -> None:
        self.name, self.total, self.at, self.unit = name, total, at, unit
        self._first, self._began, self._moved = at, now, now

    def move(self, at: int, now: float) -> None:
        self.at, self._moved = at, now

    @property
    def moved(self) -> bool:
        return self.at > self._first

    def speed(self) -> float | None:
        seconds = self._moved - self._began
        return (self.at - self._first) / seconds if self.moved and seconds > 0 else None

    def words(self) -> list[str]:
        """E.g. ['1,024/4,096 steps', '310 steps/s', '10 s left']; nothing where the work can't be counted."""
        if not self.total:
            return []
        words = [f"{self.at:,}/{self.total:,} {self.unit}"]
        speed = self.speed()
        if speed:
            words.append(f"{speed:,.0f} {self.unit}/s" if speed >= 10 else f"{speed:.1f} {self.unit}/s")
            if self.at < self.total:
                words.append(f"{duration((self.total - self.at) / speed)} left")
        return words

    def line(self, numbers: dict[str, float] | None = None) -> str:
        return "  ".join([self.name, *self.words(), *_words(numbers or {})])


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _merge(shown: dict[str, float], numbers: dict[str, float | None]) -> None:
    shown.update({name: value for name, value in numbers.items() if value is not None})


def _words(numbers: dict[str, float]) -> list[str]:
    return [f"{name} {value:.4g}" for name, value in numbers.items()]
