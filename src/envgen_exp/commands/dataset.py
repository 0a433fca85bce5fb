"""``python -m envgen_exp dataset env=FAMILY num_images=N folder=FOLDER`` draws labelled images into WebDataset shards.

Shards are gzipped tar files with an N.jpg and an N.json (labels, strata, the world's seed) for each image; card.json
says what is in them. The images are the original's, in worlds of the training set; the same words make the same bytes.
A command that was stopped goes on where it was. Other words are those of run.py: seed=1, env.KEY=VALUE.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import math
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from envgen_exp import seeding
from envgen_exp.commands.compose import compose_run
from envgen_exp.commands.failure import told
from envgen_exp.config import RunConfig
from envgen_exp.errors import ConfigError, RunFolderError
from envgen_exp.families import make_family
from envgen_exp.families.family import FrameBuffers, Labelled
from envgen_exp.families.frames import draw
from envgen_exp.guard.frozen import plain
from envgen_exp.guard.reading import read_bytes, read_json, understood
from envgen_exp.guard.writing import UNFINISHED, disk_errors, write_atomic, write_json
from envgen_exp.run.preparation import origin, versions
from envgen_exp.seeding import WorldSet
from envgen_exp.tracking.progress import make_progress

QUALITY = 92
"""JPEG quality."""

SHARD = 4000
"""Images of a shard."""

CHUNK = 200
"""Images that are drawn at once."""

SAMPLE = 64
"""Images by which the size of all is estimated."""

PACKED = 6
"""gzip's level. Heads of members and pictures are much alike, and these are a tenth of a plain tar file; Huffman tables
made for each picture would save half as much and cost twice the time."""

FORMAT = 2
MAX_SHARD = 2**31
_OWN = ("num_images", "folder")


@told
def main(argv: Sequence[str]) -> int:
    """Draw what is missing and return the exit status: 2 with one line where that can't be."""
    if not argv or {"-h", "--help"} & {*argv}:
        print(f"usage: python -m envgen_exp dataset env=FAMILY num_images=N folder=FOLDER [KEY=VALUE ...]\n\n{__doc__}")
        return 0
    own = dict(word.split("=", 1) for word in argv if word.split("=")[0] in _OWN and "=" in word)
    if missing := [name for name in _OWN if not own.get(name)]:
        raise ConfigError(f"dataset: needs {missing[0]}=..., e.g. env=driving num_images=480_000 folder=frames")
    if not re.fullmatch(r"(?=.{1,15}$)[1-9]\d*(_\d+)*", own["num_images"], re.ASCII):
        raise ConfigError(f"num_images={own['num_images']}: allowed is a whole number above 0")
    words = [word for word in argv if word.split("=")[0] not in _OWN]
    config = compose_run([*words, "agent=supervised", "tracker=none"])
    if config.dry_run or config.resume is not None:
        word = "dry_run=true" if config.dry_run else f"resume={config.resume}"
        raise ConfigError(f"{word}: says nothing here; the same command goes on with a dataset that was begun")
    Dataset(config, int(own["num_images"]), Path(own["folder"])).make()
    return 0


class Dataset:
    """One dataset, made or still to be made."""

    def __init__(self, config: RunConfig, num_images: int, folder: Path) -> None:
        """ConfigError for a family whose frames have no labels."""
        family = make_family(config.env)
        if not isinstance(family, Labelled):
            raise ConfigError(f"env={family.name}: its games are stepped; allowed is a family whose frames have labels")
        self.config, self.num_images, self.folder = config, num_images, folder
        self.family = family
        self.threads = config.num_threads or len(os.sched_getaffinity(0))
        (self._root,) = seeding.integers(config.seed, "dataset", count=1)
        self._own = threading.local()
        self._stopped = threading.Event()
        values = plain(config)["env"]
        values.pop("num_threads", None)
        self.asked = {
            "format": FORMAT,
            "env": values,
            "seed": config.seed,
            "num_images": num_images,
            "quality": QUALITY,
            "shard_images": SHARD,
        }

    @property
    def num_shards(self) -> int:
        return -(-self.num_images // SHARD)

    def shard(self, number: int) -> Path:
        return self.folder / f"shard-{number:06d}.tar.gz"

    def facts(self, number: int) -> Path:
        """What is in a shard."""
        return self.folder / f"shard-{number:06d}.json"

    def make(self) -> None:
        """Draw the missing shards, each written whole or not at all, and then the card."""
        there = self._open()
        missing = [number for number in range(self.num_shards) if number not in there]
        images = sum(len(self._images(number)) for number in missing)
        self._check_disk(images)
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(f".*{UNFINISHED}"):
                left.unlink()
        if not (self.folder / "asked.json").exists():
            write_json(self.folder / "asked.json", self.asked)
        progress = make_progress(verbosity=self.config.verbosity)
        done = self.num_images - images
        try:
            progress.phase("dataset", self.num_images, 1, done=done, unit="images")
            for number, facts in self._drawn(missing):
                there[number] = facts
                done += facts["images"]
                progress.update(done)
        finally:
            progress.close()
        self._write_card([there[number] for number in range(self.num_shards)])
        size = sum(facts["bytes"] for facts in there.values())
        print(f"written: {self.folder} ({self.num_images:,} images, {self.num_shards:,} shards, {size / 1e9:.2f} GB)")

    def _open(self) -> dict[int, dict[str, Any]]:
        """The facts of the whole shards that are there; RunFolderError for another dataset, and for a damaged shard."""
        if self.folder.exists() and not self.folder.is_dir():
            raise RunFolderError(f"folder={self.folder}: is no folder")
        if not self.folder.exists() or all(file.name.endswith(UNFINISHED) for file in self.folder.iterdir()):
            return {}
        asked = self.folder / "asked.json"
        if not asked.exists():
            raise RunFolderError(f"folder={self.folder}: holds something else; allowed is a new folder")
        then = read_json(asked)
        with understood(asked):
            for key, value in self.asked.items():
                if then[key] != json.loads(json.dumps(value)):
                    raise RunFolderError(
                        f"folder={self.folder}: holds a dataset with {key}={then[key]}, not {value}: go on with that, "
                        "or take another folder"
                    )
        there = {}
        for number in range(self.num_shards):
            # The facts are written after their shard.
            file = self.facts(number)
            if not file.exists():
                continue
            facts = read_json(file)
            with understood(file):
                if not self.shard(number).exists() or _hash(self.shard(number)) != facts["sha256"]:
                    raise RunFolderError(
                        f"{self.shard(number)} is damaged: it is not what was written; delete {file} and start again, "
                        "and it is drawn anew"
                    )
                there[number] = {**facts, "images": int(facts["images"]), "bytes": int(facts["bytes"])}
        return there

    def _check_disk(self, images: int) -> None:
        """ConfigError where the disk has too little room for so many images more, by a sample of them."""
        if not images:
            return
        sample = range(min(SAMPLE, self.num_images))
        size = len(self._tar(sample)[0]) / len(sample) * images
        place = next(path for path in (self.folder.absolute(), *self.folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(place).free
        if size > free:
            raise ConfigError(
                f"folder={self.folder}: {images:,} images take about {size / 1e9:.2f} GB, and the disk has "
                f"{free / 1e9:.2f} GB free; allowed are about {int(images * free / size):,} images"
            )

    def _drawn(self, missing: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each of these shards once it is written."""
        waiting: set[Future[tuple[int, dict[str, Any]]]] = set()
        numbers = iter(missing)
        with ThreadPoolExecutor(self.threads, thread_name_prefix="shards") as pool:
            try:
                while True:
                    while len(waiting) < self.threads and (number := next(numbers, None)) is not None:
                        waiting.add(pool.submit(self._write_shard, number))
                    if not waiting:
                        return
                    ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for one in ended:
                        yield one.result()
            finally:
                self._stopped.set()

    def _write_shard(self, number: int) -> tuple[int, dict[str, Any]]:
        data, facts = self._tar(self._images(number))
        facts |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_atomic(self.shard(number), data)
        write_json(self.facts(number), facts)
        return number, facts

    def _images(self, shard: int) -> range:
        return range(shard * SHARD, min((shard + 1) * SHARD, self.num_images))

    def _tar(self, images: range) -> tuple[bytes, dict[str, Any]]:
        """A shard of these images, and what is in it."""
        file, parts = io.BytesIO(), []
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for start in range(0, len(images), CHUNK):
                if self._stopped.is_set():
                    raise RunFolderError(f"{self.folder}: stopped")
                chunk = images[start : start + CHUNK]
                seeds = [seeding.world_seed(self._root, number, WorldSet.TRAIN) for number in chunk]
                seen = draw(self._drawer(), [None] * len(seeds), seeds, WorldSet.TRAIN)
                self._add(tar, chunk, seeds, seen)
                parts.append((seen.labels, seen.strata))
        labels, strata = (np.concatenate(of) for of in zip(*parts, strict=True))
        return gzip.compress(file.getvalue(), PACKED, mtime=0), {
            "images": len(images),
            "strata": dict(zip(self.family.strata, strata.sum(axis=0).tolist(), strict=True)),
            "labels": {label.name: _range(column) for label, column in zip(self.family.labels, labels.T, strict=True)},
        }

    def _add(self, tar: tarfile.TarFile, chunk: range, seeds: Sequence[int], seen: FrameBuffers) -> None:
        names, strata = [label.name for label in self.family.labels], np.array(self.family.strata)
        for number, seed, image, labels, own in zip(
            chunk, seeds, seen.images, seen.labels.tolist(), seen.strata, strict=True
        ):
            picture = io.BytesIO()
            Image.fromarray(image).save(picture, format="JPEG", quality=QUALITY)
            told = {
                "labels": {
                    name: None if math.isnan(value) else round(value, 4)
                    for name, value in zip(names, labels, strict=True)
                },
                "strata": strata[own].tolist(),
                "seed": seed,
            }
            for kind, data in (("jpg", picture.getvalue()), ("json", json.dumps(told, separators=(",", ":")).encode())):
                member = tarfile.TarInfo(f"{number:09d}.{kind}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    def _drawer(self) -> Labelled:
        """A family of this thread's own, which draws by this thread alone."""
        if not hasattr(self._own, "family"):
            self._own.family = make_family(dataclasses.replace(self.config.env, num_threads=1))
        family: Labelled = self._own.family
        return family

    def _write_card(self, shards: Sequence[dict[str, Any]]) -> None:
        """card.json: what is in all shards, by what it was made, and how it is read."""
        strata = {name: sum(shard["strata"][name] for shard in shards) for name in self.family.strata}
        labels = {}
        for label in self.family.labels:
            parts = [shard["labels"][label.name] for shard in shards]
            ends = {end: [part[end] for part in parts if part[end] is not None] for end in ("least", "most")}
            labels[label.name] = {
                "unit": label.unit,
                "low": label.low,
                "high": label.high,
                "there": sum(part["there"] for part in parts),
                "least": min(ends["least"], default=None),
                "most": max(ends["most"], default=None),
            }
        height, width, _ = self.family.frame_spec.shape
        write_json(
            self.folder / "card.json",
            {
                **self.asked,
                "images": self.num_images,
                "height": height,
                "width": width,
                "strata": strata,
                "labels": labels,
                "shards": [self.shard(number).name for number in range(self.num_shards)],
                "bytes": sum(shard["bytes"] for shard in shards),
                "engine": self.family.engine,
                "versions": versions(),
                **{key: value for key, value in origin().items() if key != "processor"},
            },
        )


def _range(column: np.ndarray[Any, Any]) -> dict[str, float | int | None]:
    """How often a label is there, and its ends."""
    there = column[~np.isnan(column)]
    ends = (round(float(there.min()), 4), round(float(there.max()), 4)) if len(there) else (None, None)
    return {"there": len(there), "least": ends[0], "most": ends[1]}


def _hash(path: Path) -> str:
    with contextlib.suppress(RunFolderError):
        return hashlib.sha256(read_bytes(path, MAX_SHARD)).hexdigest()
    return ""
