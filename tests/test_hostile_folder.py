"""Files from strangers: whatever lies in a folder, every command that reads it says one line, at once."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from runs import SMOKE, smoke

from envgen_exp.commands import cli, play, preview, report
from envgen_exp.errors import RunFolderError
from envgen_exp.guard.reading import dump_yaml, load_yaml, within

SECONDS = 20.0
"""Of CPU time: far more than any refusal takes, far less than it takes to read what is refused."""

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def anew(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


def sparse(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**40)


THINGS: dict[str, Callable[[Path], object]] = {
    "huge": anew(sparse),
    "pipe": anew(os.mkfifo),
    "folder": anew(Path.mkdir),
    "device": anew(lambda file: file.symlink_to("/dev/zero")),
    "ring": anew(lambda file: file.symlink_to(file)),
    "garbage": lambda file: file.write_bytes(bytes(range(256)) * 8 + b"\n"),
    "deep": lambda file: file.write_text("[" * 100_000 + "\n"),
    "list": lambda file: file.write_text("[1, 2, 3]\n"),
    "other": lambda file: file.write_text('{"format": 1, "event": "sent", "cycle": [], "spare": null}\n'),
}
"""What can lie in a file's place."""


def changed(file: str, *path: str | int, value: Any) -> Callable[[Path], object]:
    """One value of a JSON file set to another one."""

    def change(folder: Path) -> None:
        (found,) = folder.glob(file)
        lines = found.read_text().splitlines() if found.suffix == ".jsonl" else [found.read_text()]
        values = [json.loads(line) for line in lines]
        for node in values:
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value
        found.write_text("".join(f"{json.dumps(one)}\n" for one in values))

    return change


def config(old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        text = (folder / "config.yaml").read_text()
        assert old in text
        (folder / "config.yaml").write_text(text.replace(old, new))

    return change


FOLDERS: dict[str, Callable[[Path], object]] = {
    "config bomb": config("config:\n", BOMB + "config:\n"),
    "config twice": config("format: 1\n", "format: 1\nformat: 1\n"),
    "config nested": config("  seed: 0\n", f"  seed: {'[' * 5000}{']' * 5000}\n"),
    "config no keys": config("versions:\n", "versions: 3\nspare:\n"),
    "config another type": config("  cycles: 2\n", "  cycles: {a: b}\n"),
    "config section": config("  schedule:\n", "  schedule: 7\n  spare:\n"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return smoke(tmp_path_factory)


def resume(folder: Path) -> int:
    return cli.main([f"resume={folder}"])


def replay(folder: Path) -> int:
    return cli.main([*SMOKE, "cycles=2", "llm=replay", f"llm.from={folder}", f"folder={folder.parent / 'new'}"])


def placebo(folder: Path) -> int:
    new = folder.parent / "new"
    return cli.main(
        [*SMOKE, "cycles=2", "seed=1", "arm=placebo_another", f"designer.placebo_from={folder}", f"folder={new}"]
    )


def reported(folder: Path) -> int:
    return report.main([str(folder)])


def swept(folder: Path) -> int:
    return report.main([str(folder.parent)])


def played(folder: Path) -> int:
    return play.main([str(folder), "--episodes", "0"])


def previewed(folder: Path) -> int:
    return preview.main([str(folder), "--out", str(folder.parent / "preview.html"), "--worlds", "1"])


READERS: dict[str, Sequence[Callable[[Path], int]]] = {
    "config.yaml": (resume, reported, swept, played, previewed, placebo),
    "summary.json": (reported, swept),
    "metrics.jsonl": (resume, reported),
    "episodes.jsonl": (resume, reported),
    "timings.jsonl": (resume, reported),
    "phases/000-*.json": (resume, reported, previewed),
    "phases/*evaluate.json": (placebo,),
    "checkpoints/*.json": (resume, played),
    "checkpoints/*.pt": (resume, played),
    "llm/ledger.jsonl": (resume, reported, replay),
    "llm/calls/*.json": (replay,),
}
"""Who reads which file of a folder."""


@pytest.fixture
def spent() -> Iterator[None]:
    begun = time.process_time()
    yield
    assert time.process_time() - begun < SECONDS


def refused(reader: Callable[[Path], int], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    status = reader(folder)
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    # A page says which of its sections could not be made; a preview shows the designs of another cycle.
    if reader in (reported, previewed) and status == 0:
        assert not lines
        return ""
    assert (status, len(lines)) == (2, 1), (status, lines)
    assert lines[0].startswith("envgen: error: ")
    assert len(lines[0]) < 1500
    return lines[0]


@pytest.mark.usefixtures("spent")
@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("file", READERS)
def test_whatever_lies_in_a_files_place(
    file: str, thing: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for reader in READERS[file]:
        folder = tmp_path / reader.__name__ / "run"
        shutil.copytree(whole, folder)
        for found in folder.glob(file):
            THINGS[thing](found)
        refused(reader, folder, capsys)


@pytest.mark.parametrize("damage", FOLDERS)
def test_a_config_that_no_run_wrote(
    damage: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for reader in (resume, played):
        folder = tmp_path / reader.__name__ / "run"
        shutil.copytree(whole, folder)
        FOLDERS[damage](folder)
        refused(reader, folder, capsys)


@pytest.mark.parametrize("text", [BOMB, "a: 1\na: 2\n", "a: &x [*x]\n", "[" * 100 + "]" * 100, "a: [", "9" * 5000])
def test_yaml_that_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        load_yaml(text, aliases=True)
    assert "\n" not in str(caught.value)


def test_values_come_back_from_yaml_without_aliases() -> None:
    shared = {"b": [1, 2.5, None, "x"]}
    text = dump_yaml({"a": [shared, shared]})
    assert "*" not in text
    assert load_yaml(text) == {"a": [shared, shared]}


@pytest.mark.parametrize("name", ["/etc/passwd", "../out", "link", "a/../../out", "ring"])
def test_no_name_leads_out_of_a_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("/etc/passwd")
    (tmp_path / "in" / "ring").symlink_to("ring")
    with pytest.raises(RunFolderError, match="outside of it"):
        within(tmp_path / "in", name)
