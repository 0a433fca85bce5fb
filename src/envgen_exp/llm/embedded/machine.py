"""Whether this machine can run the embedded model: its processor, its memory, and that one model runs at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import Any, BinaryIO

from envgen_exp.errors import UnavailableError

_log = logging.getLogger(__name__)

FLAGS = ("avx2", "fma", "f16c")
"""What the library's build wants of the processor."""

SCRATCH = 300 * 2**20
"""Bytes that the library takes beside the weights and the context."""

REPACKED = 0.65
"""Of the weights this share is held a second time, in an order that suits the processor."""

_WAIT = 0.2
"""Seconds between two looks at the lock."""


def check_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """One line where the processor can't run the model's library."""
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    flags = next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), [])
    missing = [flag for flag in FLAGS if flag not in flags]
    if missing:
        raise UnavailableError(
            f"llm=embedded: this processor lacks {', '.join(missing)}, which the model's library needs: take "
            "another machine, llm=local for a server elsewhere, or llm=offline for the stand-in"
        )


def check_memory(file: Path, context: int, available: int | None = None) -> None:
    """One line, before anything is loaded, where the model would not fit into memory."""
    needed = memory_needed(file, context)
    free = memory_available() if available is None else available
    if needed > free:
        raise UnavailableError(
            f"llm=embedded: {file.name} with llm.context={context} needs about {needed / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free: end something else, or take a smaller llm.context"
        )


def memory_needed(file: Path, context: int) -> int:
    """Bytes that the model takes, by its size and by what its header says of the context's part."""
    size, header = file.stat().st_size, read_header(file)
    kind = header.get("general.architecture", "")

    def number(name: str, otherwise: int) -> int:
        found = header.get(f"{kind}.{name}", otherwise)
        return found if isinstance(found, int) else otherwise

    heads = max(1, number("attention.head_count", 1))
    width = number("attention.key_length", number("embedding_length", 4096) // heads)
    a_token = 2 * 2 * number("block_count", 32) * number("attention.head_count_kv", heads) * width
    return round(size * (1 + REPACKED)) + context * a_token + SCRATCH


def memory_available(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: what the machine has free, or less where a control group is tighter."""
    fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines() if ":" in line)
    free = int(fields["MemAvailable"].split()[0]) * 1024
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = groups / "memory" if kinds else groups
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            limit, used = (_text(folder / name).strip() for name in names)
            if limit.isdigit() and used.isdigit():
                stat = dict(entry.split() for entry in _text(folder / "memory.stat").splitlines())
                free = min(free, max(0, int(limit) - int(used) + int(stat.get("inactive_file", 0))))
            if folder == root:
                break
    return free


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _LIST = 8, 9
_MOST_KEYS = 10_000


def read_header(file: Path) -> dict[str, Any]:
    """The numbers and texts in a GGUF file's header; empty, or cut, where it is damaged: the library says so then."""
    found: dict[str, Any] = {}
    try:
        with file.open("rb") as handle:
            if handle.read(4) == b"GGUF":
                _, _, keys = struct.unpack("<IQQ", handle.read(20))
                for _ in range(min(keys, _MOST_KEYS)):
                    name = _string(handle)
                    found[name] = _value(handle, *struct.unpack("<I", handle.read(4)))
    except (OSError, struct.error, UnicodeDecodeError, KeyError, OverflowError, MemoryError, RecursionError):
        pass
    return found


def _string(handle: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", handle.read(8))
    return handle.read(min(length, 2**20)).decode()


def _value(handle: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(handle)
    if kind == _LIST:
        inner, count = struct.unpack("<IQ", handle.read(12))
        if inner in _NUMBERS:
            handle.seek(count * struct.calcsize(_NUMBERS[inner]), os.SEEK_CUR)
        else:
            for _ in range(count):
                _value(handle, inner)
        return None
    return struct.unpack(_NUMBERS[kind], handle.read(struct.calcsize(_NUMBERS[kind])))[0]


def take_turn(folder: Path) -> int:
    """Wait until no other model of this user runs on this machine; returns a file handle that holds the turn.

    The turn lasts as long as some process has the handle open: the model's process inherits it.
    """
    handle = _lock(folder)
    told = False
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
            except BlockingIOError:
                if not told:
                    _log.warning("llm=embedded: another run's model is at work on this machine; waiting for its turn")
                    told = True
                time.sleep(_WAIT)
    except BaseException:
        os.close(handle)
        raise


def is_busy(folder: Path) -> bool:
    """Whether another model of this user runs on this machine now."""
    handle = _lock(folder)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(folder: Path) -> int:
    """The file by which models take turns."""
    name = f"running-{socket.gethostname()}.lock"  # a cache may be shared by machines
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # a cache that can't be written still has weights that can be read
        return os.open(Path(tempfile.gettempdir()) / f"envgen-{os.getuid()}-{name}", os.O_RDWR | os.O_CREAT, 0o600)
