"""Datasets: the same bytes whether stopped or not, a card that counts, and one line for what can't be."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from boxes import Boxes, installed
from PIL import Image

from envgen_exp.__main__ import main
from envgen_exp.commands import dataset
from envgen_exp.families.frames import draw
from envgen_exp.seeding import WorldSet


@pytest.fixture(autouse=True, scope="module")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("boxes")), pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "SHARD", 40)
        patch.setattr(dataset, "CHUNK", 25)
        yield


def made(folder: Path, *words: str, num_images: str = "1_00") -> int:
    return main(["dataset", "env=boxes", f"num_images={num_images}", f"folder={folder}", "num_threads=2", *words])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "whole"
    assert made(folder) == 0
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_shards_hold_images_with_their_labels(whole: Path) -> None:
    labels, names = [], []
    for shard in sorted(whole.glob("*.tar.gz")):
        with tarfile.open(shard) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        names += list(files)
        for name in sorted(files):
            if name.endswith(".json"):
                told = json.loads(files[name])
                seen = draw(Boxes(), [None], [told["seed"]], WorldSet.TRAIN)
                image = np.asarray(Image.open(io.BytesIO(files[name.replace(".json", ".jpg")])))
                assert np.abs(image.astype(int) - seen.images[0]).mean() < 12  # JPEG loses some
                there = [
                    np.nan if told["labels"][label.name] is None else told["labels"][label.name]
                    for label in Boxes.labels
                ]
                np.testing.assert_allclose(there, seen.labels[0], atol=1e-4)
                assert told["strata"] == ["common"]
                labels.append(there)
    assert names == [f"{number:09d}.{kind}" for number in range(100) for kind in ("jpg", "json")]
    card = json.loads((whole / "card.json").read_text())
    boxes = [box for box, _ in labels if not np.isnan(box)]
    assert (
        card["labels"]["box"] | {"there": len(boxes), "least": min(boxes), "most": max(boxes)} == card["labels"]["box"]
    )
    assert card["strata"] == {"common": 100, "grainy": 0}
    assert (card["images"], card["width"], card["height"], len(card["shards"])) == (100, 32, 24, 3)
    assert card["bytes"] == sum(file.stat().st_size for file in whole.glob("*.tar.gz"))


def test_one_that_was_stopped_goes_on_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = tmp_path / "broken", dataset.write_atomic
    folder.mkdir()
    (folder / ".asked.json.0.unfinished").write_bytes(b"{")  # killed before anything else was written

    def write_until(path: Path, data: bytes) -> None:
        if path.name == "shard-000001.tar.gz":
            (path.parent / ".shard-000001.tar.gz.00.unfinished").write_bytes(data[:999])
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "write_atomic", write_until)
        assert made(folder, "num_threads=1") == 130
    assert not (folder / "card.json").exists()
    assert (folder / "shard-000000.tar.gz").exists()
    before = (folder / "shard-000000.tar.gz").stat().st_mtime_ns
    assert made(folder, "num_threads=1") == 0
    assert content(folder) == content(whole)
    assert (folder / "shard-000000.tar.gz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("num_images=1_",), "num_images=1_: allowed is a whole number above 0"),
        (("num_images=0",), "num_images=0: allowed is a whole number above 0"),
        (("env=crafter", "num_images=9"), "env=crafter: its games are stepped; allowed is a family whose frames"),
        (("num_images=9", "env.nois=1"), "env.nois"),
        (("num_images=9", "dry_run=true"), "dry_run=true: says nothing here"),
    ],
)
def test_what_can_not_be_made_is_one_line(
    words: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "env=boxes", *words, f"folder={tmp_path / 'new'}"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_folder_that_can_not_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert made(tmp_path / "file" / "new") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_small_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert made(tmp_path / "new") == 2
    error = capsys.readouterr().err
    assert "100 images take about" in error
    assert "0.00 GB free" in error
    assert not (tmp_path / "new").exists()


def test_a_damaged_shard_and_another_dataset_are_one_line(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    assert made(folder, "seed=3") == 2
    assert "holds a dataset with seed=0, not 3" in capsys.readouterr().err
    shard = folder / "shard-000002.tar.gz"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert made(folder) == 2
    error = capsys.readouterr().err
    assert "shard-000002.tar.gz is damaged" in error
    assert error.count("\n") == 1
    (folder / "shard-000002.json").unlink()
    assert made(folder) == 0
    assert content(folder) == content(whole)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    assert made(tmp_path / "other") == 2
    assert "holds something else" in capsys.readouterr().err
