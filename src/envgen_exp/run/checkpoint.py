"""Everything that a run needs to go on, written whole, checksummed, the last two kept.

A checkpoint is `<number>.pt`, which torch loads with weights_only=True, and `<number>.json` with its size and SHA-256,
written after it: one without the other is not a checkpoint.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from envgen_exp.errors import CheckpointError, RunFolderError
from envgen_exp.guard.reading import read_bytes, read_json
from envgen_exp.guard.writing import write_atomic, write_json

FORMAT = 1
KEPT = 2

MAX_BYTES = 16 * 2**30
"""Of a checkpoint."""


def save(folder: Path, number: int, state: dict[str, Any]) -> int:
    """Write checkpoint `number` (they count up) and drop the oldest; returns its size in bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    write_atomic(folder / f"{number:06d}.pt", data)
    write_json(
        folder / f"{number:06d}.json",
        {"format": FORMAT, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()},
    )
    for old in _numbers(folder)[:-KEPT]:
        (folder / f"{old:06d}.json").unlink(missing_ok=True)
        (folder / f"{old:06d}.pt").unlink(missing_ok=True)
    return len(data)


def load_latest(folder: Path) -> tuple[int, dict[str, Any] | None, list[str]]:
    """The newest whole checkpoint: its number, its state, and a line for each damaged one that was passed over.

    Number 0 and None where there never was one. CheckpointError where there are some, all damaged.
    """
    notes: list[str] = []
    numbers = _numbers(folder)
    for number in reversed(numbers):
        try:
            return number, _load(folder, number), notes
        except CheckpointError as error:
            notes.append(str(error))
    if numbers:
        raise CheckpointError(f"no checkpoint in {folder} is whole: {'; '.join(notes)}")
    return 0, None, notes


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.json") if path.stem.isdigit())


def _load(folder: Path, number: int) -> dict[str, Any]:
    path = folder / f"{number:06d}.pt"
    try:
        about = read_json(path.with_suffix(".json"))
        form, size, digest = about["format"], about["size"], about["sha256"]
        data = read_bytes(path, min(int(size), MAX_BYTES))
    except (KeyError, TypeError, ValueError, RunFolderError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from error
    if form != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {form}; this version reads format {FORMAT}")
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(f"checkpoint {path} is damaged: its checksum differs")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        if not isinstance(state, dict):
            raise TypeError("it holds no state")
    except Exception as error:  # a stranger's raises what it likes
        raise CheckpointError(f"checkpoint {path} can't be loaded: {' '.join(str(error).split())[:300]}") from error
    return state
