"""TensorBoard's file, read as its format says; a run's curves as CSV."""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import runs

from envgen_exp.commands.report import main
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.record import RunRecord
from envgen_exp.tracking import wandb
from envgen_exp.tracking.tensorboard import FILE, _checksum

ROWS = [
    {"step": 0, "phase": "a", "cycle": 1, "llm/calls": 2, "llm/cost_dollars": None},
    {"step": 300, "phase": "b", "cycle": 1, "score/feedback": 1.5, "updates": 7},
    {"step": 70_000, "phase": "b", "cycle": 1, "score/feedback": 2.5},
]
TIMINGS = [{"step": 300, "phase": "b", "speed/steps_per_second": 99.0}]


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer."""

    def varint() -> int:
        nonlocal at
        found = shift = 0
        while True:
            byte = data[at]
            at, found, shift = at + 1, found | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return found

    at = 0
    while at < len(data):
        key = varint()
        if key & 7 == 2:
            size = varint()
            at += size
            yield key >> 3, data[at - size : at]
        elif key & 7 == 0:
            yield key >> 3, varint()
        else:
            size, form = {1: (8, "<d"), 5: (4, "<f")}[key & 7]
            at += size
            yield key >> 3, struct.unpack(form, data[at - size : at])[0]


def events(path: Path) -> list[tuple[int, dict[str, float]]]:
    """Step and scalars of each event; the checksums hold."""
    data, found = path.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = data[12 : 12 + size]
        assert data[8:12] == _checksum(data[:8])
        assert data[12 + size : 16 + size] == _checksum(event)
        data = data[16 + size :]
        parts = dict(fields(event))
        assert parts[1] > 1e9  # wall time
        if 3 in parts:
            assert not found
            assert parts[3] == b"brain.Event:2"
            continue
        values = [dict(fields(value)) for _, value in fields(parts[5])]
        found.append((parts[2], {value[1].decode(): value[2] for value in values}))
    return found


def test_checksums_are_the_published_ones() -> None:
    crc = 0xE3069283  # of RFC 3720 for "123456789"
    assert _checksum(b"123456789") == struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def test_the_file_has_every_number_once_also_after_a_resume(tmp_path: Path) -> None:
    config = runs.composed("tracker=tensorboard")
    for known in (0, 2):  # the resumed run's logs end before what the file has
        tracker = wandb.make_tracker(config, tmp_path, pytest.fail, RunRecord, 0)
        tracker.start(ROWS[:known], TIMINGS if known else ())
        for row in ROWS[known:]:
            tracker.publish(row)
            if row["step"] == 300:
                tracker.time(TIMINGS[0])
        tracker.close()
        tracker.close()
    assert events(tmp_path / FILE) == [
        (0, {"llm/calls": 2}),
        (300, {"score/feedback": 1.5, "updates": 7}),
        (300, {"speed/steps_per_second": 99}),
        (70_000, {"score/feedback": 2.5}),
    ]


def test_a_file_that_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("")
    told: list[str] = []
    tracker = wandb.make_tracker(runs.composed("tracker=tensorboard"), tmp_path, told.append, RunRecord, 0)
    tracker.start(ROWS)
    tracker.publish(ROWS[0])
    assert len(told) == 1
    assert "the run goes on without" in told[0]


def test_both_is_both_and_none_is_none(tmp_path: Path) -> None:
    config = runs.composed("tracker=both", "tracker.mode=offline")
    assert [type(t).__name__ for t in wandb.make_tracker(config, tmp_path, pytest.fail, RunRecord, 0)._trackers] == [
        "WandbTracker",
        "TensorBoardTracker",
    ]
    nothing = wandb.make_tracker(runs.composed("tracker=none"), tmp_path, pytest.fail, RunRecord, 0)
    nothing.start(ROWS)
    assert list(tmp_path.iterdir()) == []


def test_curves_as_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = tmp_path / "run", tmp_path / "curves.csv"
    RunFolder.create(runs.composed(f"folder={folder}"), command="python run.py", versions={}, chosen={}).close()
    (folder / "metrics.jsonl").write_text('{"step":1,"phase":"a","cycle":1,"loss/policy":0.5}\n')
    (folder / "timings.jsonl").write_text('{"step":1,"phase":"a","cycle":1,"seconds/env":2.0}\n')
    assert main([str(folder), "--csv", str(file)]) == 0
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert rows == [
        {"step": "1", "cycle": "1", "phase": "a", "loss/policy": "0.5", "seconds/env": ""},
        {"step": "1", "cycle": "1", "phase": "a", "loss/policy": "", "seconds/env": "2.0"},
    ]
    assert main([str(folder), "--csv", str(file)]) == 2  # nothing is overwritten
    assert "not there yet" in capsys.readouterr().err
