"""The JSONL logs: what is read is what was written, whatever was cut, torn or refused in between."""

from __future__ import annotations

import json
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envgen_exp.errors import RunFolderError
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.tracking import metrics
from envgen_exp.tracking.metrics import Log, read

RECORD = EpisodeRecord(
    slot=3,
    episode=2,
    world_seed=17,
    design="original",
    length=5,
    episode_return=0.1 + 0.2,
    truncated=False,
    skills=(2, 0),
)


def write(path: Path, *rows: dict[str, object]) -> Log:
    log = Log(path)
    log.extend(rows)
    return log


@given(
    rows=st.lists(st.dictionaries(st.text(max_size=8), st.floats() | st.integers() | st.text(max_size=5) | st.none()))
)
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    log = write(path, *rows)
    log.close()
    wanted = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]
    assert list(read(path)) == wanted
    assert [list(row) for row in read(path)] == [list(row) for row in rows]


def test_numpy_numbers_and_nan_are_plain_in_the_file(tmp_path: Path) -> None:
    value = np.float32(0.1)
    write(
        tmp_path / "log",
        {"a": value, "b": np.int64(3), "c": np.float64("nan"), "d": math.inf, "e": (1, [np.bool_(True)])},
    ).close()
    assert (tmp_path / "log").read_text() == f'{{"a":{float(value)!r},"b":3,"c":null,"d":null,"e":[1,[true]]}}\n'


def test_rows_wait_for_a_flush(tmp_path: Path) -> None:
    log = write(tmp_path / "log", {"a": 1})
    assert list(read(tmp_path / "log")) == []
    log.flush()
    assert list(read(tmp_path / "log")) == [{"a": 1}]
    log.close()


def test_cut_goes_back_to_a_position(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = write(path, {"a": 1}, {"a": 2})
    position = log.position()
    assert position == path.stat().st_size
    before = path.read_bytes()
    log.append({"a": 3})
    log.close()
    Log.cut(path, position)
    assert path.read_bytes() == before
    log = write(path, {"a": 4})
    log.close()
    assert [row["a"] for row in read(path)] == [1, 2, 4]
    Log.cut(path, 0)
    assert path.read_bytes() == b""
    Log.cut(tmp_path / "missing", 0)


@pytest.mark.parametrize("position", [3, 9, 100])
def test_cut_refuses_a_file_that_was_never_there(tmp_path: Path, position: int) -> None:
    path = tmp_path / "log"
    write(path, {"a": 1}, {"a": 2}).close()
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match="was changed or belongs to another run"):
        Log.cut(path, position)
    assert path.read_bytes() == before


@pytest.mark.parametrize("torn", [b"{", b'{"a":2}', b"\xff\xfe"])
def test_a_torn_last_line_is_left_out_and_written_over(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"a":1}\n' + torn)
    assert list(read(path)) == [{"a": 1}]
    write(path, {"a": 3}).close()
    assert path.read_bytes() == b'{"a":1}\n{"a":3}\n'


@pytest.mark.parametrize("broken", ["nonsense", "[1]", '{"a":'])
def test_a_broken_line_is_named(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "log"
    path.write_text(f'{{"a":1}}\n{broken}\n{{"a":2}}\n')
    with pytest.raises(RunFolderError, match="line 2"):
        list(read(path))


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: the write that crosses it is cut short and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_row_and_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = write(path, {"a": 1})
    log.flush()
    before = path.read_bytes()
    log.append({"text": "x" * 500})
    with disk_of(200), pytest.raises(RunFolderError, match="no disk space left"):
        log.flush()
    assert path.read_bytes() == before
    log.close()
    assert [len(row) for row in read(path)] == [1, 1]
    assert json.loads(path.read_text().splitlines()[1])["text"] == "x" * 500


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="missing/log"):
        Log(tmp_path / "missing" / "log")


def test_rows_have_a_place_and_sorted_names() -> None:
    row = metrics.row(10, "final", 4, {"loss/value": np.float32(0.5), "loss/policy": math.nan})
    assert list(row.items()) == [
        ("step", 10),
        ("phase", "final"),
        ("cycle", 4),
        ("loss/policy", None),
        ("loss/value", 0.5),
    ]


@pytest.mark.parametrize(
    ("name", "clock"),
    [
        ("loss/polcy", False),
        ("skill/report/", False),
        ("skill/moon/x", False),
        ("seconds/env", False),
        ("loss/value", True),
    ],
)
def test_a_name_must_stand_in_the_table_for_its_log(name: str, clock: bool) -> None:
    with pytest.raises(ValueError, match=r"tracking\.metrics\.METRICS"):
        metrics.row(0, "p", 1, {name: 1.0}, clock=clock)


def test_every_name_of_the_table_finds_its_own_entry() -> None:
    for metric in metrics.METRICS:
        assert metrics.describe(metric.name.replace("<skill>", "collect_coal")) is metric
    assert len({metric.name for metric in metrics.METRICS}) == len(metrics.METRICS)


def test_episode_rows_and_values() -> None:
    row = metrics.episode_row(7, "final", 1, RECORD)
    assert row["step"] == 7
    assert {key: row[key] for key in ("slot", "world_seed", "design", "episode_return")} == {
        "slot": 3,
        "world_seed": 17,
        "design": "original",
        "episode_return": 0.1 + 0.2,
    }
    other = EpisodeRecord(0, 1, 5, "original", 7, 1.0, True, (0, 0))
    values = metrics.episode_values("original", ("coal", "iron"), [RECORD, other])
    assert values == {
        "skill/original/coal": 0.5,
        "skill/original/iron": 0.0,
        "return/original": pytest.approx(0.65),
        "length/original": 6.0,
        "episodes/original": 2,
    }
    assert metrics.episode_values("original", ("coal", "iron"), []) == {}
    metrics.row(0, "p", 1, values)
