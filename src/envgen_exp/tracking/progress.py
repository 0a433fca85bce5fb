"""What the terminal shows while a run goes on: a live display, plain lines where there is no terminal, or messages."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from envgen_exp.config import Verbosity

PLAIN_SECONDS = 10.0
"""Where there is no terminal, a running phase prints at most one line in this time."""

VERBOSE_SECONDS = 2.0
"""The same where a person wants to see more."""

NAMED_SKILLS = 3
"""Of the weakest skills and of the most improved ones so many are named."""

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

    def skills(self, cycle: int, rates: Mapping[str, float], episodes: int) -> None:
        """What a cycle's feedback evaluation found: success rates in [0, 1] from so many episodes, cycle by cycle."""

    def message(self, text: str) -> None:
        """A line that stays, and that a quiet run shows too."""

    def detail(self, text: str) -> None:
        """A line for those who want to see more."""

    def close(self) -> None:
        """End the display; the terminal is as it was. May be called twice."""


def make_console() -> Console:
    """A console on standard output; what its encoding lacks is printed as '?', colours follow NO_COLOR."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(highlight=False)


def make_progress(
    console: Console | None = None,
    *,
    total_steps: int = 0,
    done_steps: int = 0,
    verbosity: Verbosity = Verbosity.normal,
) -> Progress:
    """Live on a terminal, plain lines elsewhere; the run has `total_steps` training steps, `done_steps` behind it."""
    console = console or make_console()
    verbose = verbosity is Verbosity.verbose

    def write(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    if verbosity is Verbosity.quiet:
        return QuietProgress(write)
    if console.file.isatty() and console.is_terminal and not console.is_dumb_terminal:
        return LiveProgress(console, total_steps, done_steps, verbose=verbose)
    return PlainProgress(write, verbose=verbose)


class QuietProgress:
    """Messages alone."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def phase(self, name: str, total_steps: int, cycle: int, *, done: int = 0, unit: str = "steps") -> None: ...

    def update(self, steps_done: int, **numbers: float | None) -> None: ...

    def skills(self, cycle: int, rates: Mapping[str, float], episodes: int) -> None: ...

    def message(self, text: str) -> None:
        self._write(text)

    def detail(self, text: str) -> None: ...

    def close(self) -> None: ...


class PlainProgress:
    """A line at the start and end of each phase and now and then between."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic, *, verbose: bool = False
    ) -> None:
        self._write = write
        self._clock = clock
        self._verbose = verbose
        self._skills = _Skills()
        self._now = _Phase("", 0, 0, "", 0.0)
        self._numbers: dict[str, float] = {}
        self._written_at = clock()
        self._written = ""

    def phase(self, name: str, total_steps: int, cycle: int, *, done: int = 0, unit: str = "steps") -> None:
        self._end_phase()
        self._written_at = self._clock()
        self._now = _Phase(name, total_steps, done, unit, self._written_at)
        self._write(self._now.line())

    def update(self, steps_done: int, **numbers: float | None) -> None:
        now = self._clock()
        _merge(self._numbers, numbers)
        self._now.move(steps_done, now)
        if now - self._written_at >= (VERBOSE_SECONDS if self._verbose else PLAIN_SECONDS):
            self._written_at = now
            self._write_line()

    def skills(self, cycle: int, rates: Mapping[str, float], episodes: int) -> None:
        self._skills.add(cycle, rates, episodes)
        self._write("; ".join(self._skills.words()))

    def message(self, text: str) -> None:
        self._write(text)

    def detail(self, text: str) -> None:
        if self._verbose:
            self._write(text)

    def close(self) -> None:
        self._end_phase()

    def _end_phase(self) -> None:
        if self._now.moved:
            self._write_line()
        self._now = _Phase("", 0, 0, "", self._clock())

    def _write_line(self) -> None:
        """How far the phase is, unless that has just been said."""
        line = self._now.line(self._numbers)
        if line != self._written:
            self._write(line)
        self._written = line


class LiveProgress:
    """Bars of the phase and of the run's training steps, redrawn in place, and the latest numbers and skills."""

    def __init__(
        self,
        console: Console,
        total_steps: int,
        done_steps: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        verbose: bool = False,
    ) -> None:
        self._console = console
        self._clock = clock
        self._verbose = verbose
        self._skills = _Skills()
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

    def skills(self, cycle: int, rates: Mapping[str, float], episodes: int) -> None:
        self._skills.add(cycle, rates, episodes)
        self.detail("; ".join(self._skills.words()))

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def detail(self, text: str) -> None:
        if self._verbose:
            self.message(text)

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
        rows = [(phase.name, phase.at, phase.total, phase.words())]
        if self._total:  # a language model that plays trains nothing
            rows.append(("run", trained, self._total, run))
        for name, at, total, words in rows:
            bar = [ProgressBar(total=total or None, completed=at, pulse=not total)] if bars else []
            grid.add_row(Text(name, style="bold"), *bar, Text("  ".join(words)))
        lines = ["  ".join(_words(self._numbers)), *self._skills.words()]
        return Group(grid, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))


class _Skills:
    """The latest feedback evaluation against the one before."""

    def __init__(self) -> None:
        self._head = ""
        self._before: Mapping[str, float] = {}
        self._rates: Mapping[str, float] = {}

    def add(self, cycle: int, rates: Mapping[str, float], episodes: int) -> None:
        self._before, self._rates = self._rates, rates
        self._head = f"cycle {cycle}, {episodes:,} episodes"

    def words(self) -> list[str]:
        """E.g. ['cycle 2, 48 episodes: weakest eat_plant 0 %', 'most improved collect_drink +21 points']."""
        rates, before = self._rates, self._before
        if not rates:
            return []
        weakest = [f"{skill} {100 * rates[skill]:.0f} %" for skill in sorted(rates, key=rates.__getitem__)]
        zero = sum(rate == 0 for rate in rates.values())
        more = f" and {zero - NAMED_SKILLS} more at 0 %" if zero > NAMED_SKILLS else ""
        words = [f"{self._head}: weakest {', '.join(weakest[:NAMED_SKILLS])}{more}"]
        gains = {skill: rate - before[skill] for skill, rate in rates.items() if before and rate > before[skill]}
        best = sorted(gains, key=gains.__getitem__, reverse=True)[:NAMED_SKILLS]
        if best:
            words.append(f"most improved {', '.join(f'{skill} {100 * gains[skill]:+.0f}' for skill in best)} points")
        return words


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


def row_words(row: Mapping[str, object]) -> str:
    """A row of metrics as one line, e.g. 'final, step 2,048  loss/entropy 2.8'; nothing of where it stands twice."""
    numbers = {n: v for n, v in row.items() if isinstance(v, int | float) and n not in ("step", "cycle")}
    return "  ".join([f"{row['phase']}, step {row['step']:,}", *_words(numbers)])


def _merge(shown: dict[str, float], numbers: dict[str, float | None]) -> None:
    shown.update({name: value for name, value in numbers.items() if value is not None})


def _words(numbers: Mapping[str, float]) -> list[str]:
    return [f"{name} {value:.4g}" for name, value in numbers.items()]
