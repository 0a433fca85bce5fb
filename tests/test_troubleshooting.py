"""docs/troubleshooting.md quotes what the program says: commands are run, other lines are found in the source."""

from __future__ import annotations

import ast
import fcntl
import importlib
import io
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import smoke

from envgen_exp.commands import cli

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ENTRIES = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [
    (title, command, line)
    for title, text in ENTRIES.items()
    for command, line in re.findall(r"^```console\n\$ (.+)\n(.+)\n```$", text, re.MULTILINE)
]
QUOTED = [(title, line) for title, text in ENTRIES.items() for line in re.findall(r"^```text\n(.+)\n```$", text, re.M)]

PREPARED: dict[str, Callable[[Path], object]] = {
    "A locked folder": lambda folder: hold(folder / "lock"),
    "A damaged checkpoint": lambda folder: [flip(file) for file in (folder / "checkpoints").glob("*.pt")],
    "A log that was changed": lambda folder: (folder / "metrics.jsonl").write_text("{}\n"),
    "A run of an older version": lambda folder: replace(folder / "config.yaml", "format: 1\n", "format: 0\n"),
    "A folder that is no run": lambda folder: shutil.rmtree(folder),
}
"""What has happened to runs/first before a command."""

VARIES = ("A locked folder", "A damaged checkpoint", "A log that was changed")
"""Entries whose numbers are the machine's or the run's."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return smoke(tmp_path_factory)


def hold(file: Path) -> object:
    handle = file.open("a+")
    fcntl.flock(handle, fcntl.LOCK_EX)
    file.write_text("4242")
    return handle


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def say(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and last line on stderr of a command of the page, in this process."""
    words = shlex.split(command)
    assert words[0] == "python"
    if words[1] == "run.py":
        status = cli.main(words[2:])
    else:
        assert words[1] == "-m"
        status = importlib.import_module(f"{words[2]}.__main__").main(words[3:])
    return status, capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("title", "command", "line"), COMMANDS, ids=[title for title, _, _ in COMMANDS])
def test_a_command_says_what_the_page_says(
    title: str,
    command: str,
    line: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "runs/first")
    kept = PREPARED.get(title, lambda folder: None)(Path("runs/first"))
    status, said = say(command, capsys)
    if isinstance(kept, io.IOBase):
        kept.close()
    assert status == 2
    if title in VARIES:
        said, line = (re.sub(r"\d+", "N", text) for text in (said, line))
    assert said == line


def messages(source: str) -> Iterator[list[str]]:
    """The texts of a source, each as the parts between what is filled in."""
    inside = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [""]
            for value in node.values:
                inside.add(id(value))
                if isinstance(value, ast.Constant):
                    parts[-1] += str(value.value)
                else:
                    parts.append("")
            yield parts
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield re.split(r"%s|%d|%\.1f", node.value)


MESSAGES = [
    parts
    for file in sorted((ROOT / "src").rglob("*.py"))
    for parts in messages(file.read_text())
    if len("".join(parts)) >= 12
]


@pytest.mark.parametrize(("title", "line"), QUOTED, ids=[title for title, _ in QUOTED])
def test_a_line_is_one_of_the_program(title: str, line: str) -> None:
    """Texts of the source, with something filled in, are nearly all of the line."""
    line = line.removeprefix("envgen: error: ")
    if line in (ROOT / "Makefile").read_text():
        return
    fitting = [parts for parts in MESSAGES if re.search(".+?".join(map(re.escape, parts)), line)]
    assert fitting, line
    longest = max(len("".join(parts)) for parts in fitting)
    assert longest >= 20, (line, longest)


def test_there_is_something_to_compare() -> None:
    assert len(COMMANDS) + len(QUOTED) >= 30
    assert len(ENTRIES) >= 25
    assert all(PAGE.count(f"### {title}") == 1 for title in PREPARED)
    assert not [parts for parts in MESSAGES if re.search(".+?".join(map(re.escape, parts)), "a line of nobody's, 17")]


def test_every_entry_shows_a_line() -> None:
    assert set(ENTRIES) == {title for title, *_ in (*COMMANDS, *QUOTED)}
