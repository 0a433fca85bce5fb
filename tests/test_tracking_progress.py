"""What the terminal shows: lines without one, a live display that narrow, plain and ASCII terminals survive."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from rich.console import Console

from envgen_exp.config import Verbosity
from envgen_exp.tracking.progress import LiveProgress, PlainProgress, duration, make_progress, row_words

RUN = """
import time
from envgen_exp.tracking.progress import make_progress
progress = make_progress(total_steps=2000)
progress.phase("cycle1-design", 0, 1)
progress.message("designs: \\u201cmountain\\u201d [bold]as typed[/bold]")
progress.phase("cycle1-train-designed", 1000, 1)
for step in (250, 500):
    progress.update(step, score=4.25)
    time.sleep(0.7)
progress.update(1000, score=12.5)
progress.phase("cycle1-evaluate", 12, 1, unit="episodes")
progress.update(12)
progress.close()
progress.close()
"""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_are_rate_limited_and_end_each_phase() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = PlainProgress(lines.append, clock)
    progress.phase("train", 1000, 1)
    for step in range(100, 1001, 100):
        clock.now += 4
        progress.update(step, score=step / 100, reward=None)
    progress.phase("evaluate", 20, 1, unit="episodes")
    clock.now += 40
    progress.update(10)
    progress.close()
    progress.close()
    assert lines == [
        "train  0/1,000 steps",
        "train  300/1,000 steps  25 steps/s  28 s left  score 3",
        "train  600/1,000 steps  25 steps/s  16 s left  score 6",
        "train  900/1,000 steps  25 steps/s  4 s left  score 9",
        "train  1,000/1,000 steps  25 steps/s  score 10",
        "evaluate  0/20 episodes",
        "evaluate  10/20 episodes  0.2 episodes/s  40 s left  score 10",
    ]


def test_a_resumed_phase_counts_its_speed_from_where_it_went_on() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = PlainProgress(lines.append, clock)
    progress.phase("train", 1000, 1, done=900)
    clock.now += 10
    progress.update(950)
    assert lines == ["train  900/1,000 steps", "train  950/1,000 steps  5.0 steps/s  10 s left"]


def live(width: int, clock: Clock) -> tuple[LiveProgress, Console]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    return LiveProgress(console, 2000, 500, clock), console


def shown(progress: LiveProgress, console: Console) -> str:
    with console.capture() as captured:
        console.print(progress._picture())
    return captured.get()


def test_live_display_counts_the_run_through_phases_and_a_resume() -> None:
    clock = Clock()
    progress, console = live(120, clock)
    try:
        progress.phase("train", 1000, 1, done=500)  # the checkpoint's 500 steps are of this phase
        clock.now += 5
        progress.update(600, score=7.5)
        picture = shown(progress, console)
        assert re.search(r"train\s.*600/1,000 steps  20 steps/s  20 s left", picture)
        assert re.search(r"run\s.*600/2,000 steps  cycle 1  70 s of training left", picture)
        assert "score 7.5" in picture
        clock.now += 20
        progress.update(1000)
        progress.phase("evaluate", 12, 1, unit="episodes")
        progress.update(6)
        picture = shown(progress, console)
        assert "6/12 episodes" in picture
        assert "1,000/2,000 steps" in picture
        progress.phase("final", 1000, 1)
        progress.update(1000)
        assert "2,000/2,000 steps" in shown(progress, console)
    finally:
        progress.close()
    lines = console.file.getvalue()  # type: ignore[attr-defined]
    assert "train  1,000/1,000 steps" in lines


def test_the_weakest_and_the_most_improved_skills_are_named() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append, Clock())
    progress.skills(1, {"a": 0.0, "b": 0.25, "c": 0.5, "d": 0.0, "e": 0.0, "f": 0.0}, 1200)
    progress.skills(2, {"a": 0.0, "b": 0.5, "c": 0.25, "d": 0.0, "e": 0.125, "f": 0.0}, 1200)
    progress.close()
    assert lines == [
        "cycle 1, 1,200 episodes: weakest a 0 %, d 0 %, e 0 % and 1 more at 0 %",
        "cycle 2, 1,200 episodes: weakest a 0 %, d 0 %, f 0 %; most improved b +25, e +12 points",
    ]
    display, console = live(120, Clock())
    try:
        display.skills(1, {"a": 0.0, "b": 0.5}, 48)
        display.skills(2, {"a": 0.1, "b": 0.5}, 48)
        display.update(0, **{"LLM calls": 3, "dollars": 0.125})
        picture = shown(display, console)
    finally:
        display.close()
    assert "cycle 2, 48 episodes: weakest a 10 %, b 50 %" in picture
    assert "most improved a +10 points" in picture
    assert "LLM calls 3  dollars 0.125" in picture


def test_quiet_shows_messages_alone_and_verbose_more(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for verbosity in Verbosity:
        progress = make_progress(total_steps=100, verbosity=verbosity)
        progress.phase("train", 100, 1)
        progress.update(100, score=1.0)
        progress.detail(row_words({"step": 2048, "phase": "train", "cycle": 1, "loss/entropy": 2.5, "nothing": None}))
        progress.skills(1, {"a": 0.0}, 10)
        progress.message("look here")
        progress.close()
        shown[verbosity] = capsys.readouterr().out.splitlines()
    assert shown[Verbosity.quiet] == ["look here"]
    detail = "train, step 2,048  loss/entropy 2.5"
    assert detail not in shown[Verbosity.normal]
    assert detail in shown[Verbosity.verbose]
    assert len(shown[Verbosity.normal]) == 4
    assert len(shown[Verbosity.verbose]) == 5


@pytest.mark.parametrize("width", [200, 72, 71, 40, 12, 3])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    progress, console = live(width, Clock())
    try:
        progress.phase("cycle1-train-designed", 1_000_000, 1)
        progress.update(123_456, score=12.345, reward=3.2)
        progress.skills(1, {"collect_diamond": 0.0, "make_iron_pickaxe": 0.25}, 1200)
        assert max(map(len, shown(progress, console).splitlines())) <= width
    finally:
        progress.close()


@pytest.mark.parametrize(("columns", "encoding"), [(100, "utf-8"), (20, "ascii")])
def test_on_a_real_terminal(columns: int, encoding: str) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "NO_COLOR": "1", "PYTHONIOENCODING": encoding}
    process = subprocess.Popen([sys.executable, "-c", RUN], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    output = b""
    while True:
        try:
            output += os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
    os.close(leader)
    text = output.decode(encoding)
    assert process.wait(timeout=60) == 0, text
    assert "Traceback" not in text
    assert "\x1b[1A" in text, "it was redrawn in place"
    assert "\x1b[?25h" in text, "the cursor is back"
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", text), "NO_COLOR"
    assert "[bold]as typed[/bold]" in text.replace("\r\n", "")
    assert "score" in text


def test_without_a_terminal_there_are_only_lines() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, env=environment, timeout=60, check=True)
    assert b"\x1b[1A" not in done.stdout
    lines = done.stdout.decode("ascii").splitlines()
    assert lines[0] == "cycle1-design"
    assert lines[1] == "designs: ?mountain? [bold]as typed[/bold]"
    assert lines[-1].startswith("cycle1-evaluate  12/12 episodes")
    assert not done.stderr


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(make_progress(Console(file=Terminal())), PlainProgress)
    monkeypatch.setenv("TERM", "xterm")
    progress = make_progress(Console(file=Terminal()))
    assert isinstance(progress, LiveProgress)
    progress.close()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (7199, "2 h 00 min"), (12_000, "3 h 20 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
