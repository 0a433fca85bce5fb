"""Finished runs in one small file, which tables and curves are made of without the runs' folders.

A pack is one JSON file with a run on each line: config, versions, phases, summary, calls and cost, curve, and the
report evaluation's episodes in short. Equal runs give equal bytes; the hash of all is part of it, and what was changed,
or cut, is no pack any more. Nothing in it names a place on a machine.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from envgen_exp.errors import RunFolderError
from envgen_exp.guard.reading import MAX_JSON, read_text, understood
from envgen_exp.guard.redaction import redact
from envgen_exp.llm.ledger import Totals, digest
from envgen_exp.reporting.study.collect import (
    FoundRun,
    Study,
    check_identity,
    checked_run,
    collect,
    find_runs,
    make_study,
    versions_of,
)
from envgen_exp.run import plan
from envgen_exp.run.clone import has_file
from envgen_exp.run.folder import Files, checked_config

FORMAT = 1
"""Version of a pack's form."""

MAX_RUNS = 10_000
"""Runs of a pack; its bytes are at most those of any JSON file that is read."""

MAX_NAME = 100
"""Letters of the folder that the tables of several go to."""

_PLACES = {
    **dict.fromkeys(("folder", "resume", "llm.api_base", "llm.weights", "tracker.entity")),
    **dict.fromkeys(("designer.placebo_from", "designer.file")),
    "runs_dir": "runs",
}
"""Keys that name a place and change no result, and what stands there in a pack."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class _Run(_Part):
    document: dict[str, JsonValue]
    phases: dict[str, dict[str, JsonValue]]
    midway: list[dict[str, JsonValue]]
    summary: dict[str, JsonValue]
    spent: dict[str, JsonValue]
    training_episodes: int
    takings: dict[str, list[float | None]]
    windows: dict[str, list[float | None]]
    episodes: dict[str, list[float | str]]
    """Of the report evaluation: each one's steps and return, and the skills it showed as bits in hexadecimal."""
    gaps: dict[str, list[float]] = {}


class _Pack(_Part):
    format: Literal[1]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]
    runs: Annotated[list[_Run], Field(min_length=1, max_length=MAX_RUNS)]


class PackedRun(FoundRun):
    """A finished run out of a pack."""

    def __init__(self, pack: Path, values: Mapping[str, Any]) -> None:
        """Raises RunFolderError where the values are no run's of this version."""
        document = checked_config(values["document"], pack, pack)
        self.folder = pack / str(document["identity"])  # a name: nothing lies there
        self.files = Files(self.folder)
        self.document = document
        self.values = values
        self._results = dict(values["phases"])
        # What a run's folder has in files.
        self.phases = {name: number for number, name in enumerate(self._results)}
        self.finished = True
        self.spent = Totals(**values["spent"])
        self.last_training_episodes = values["training_episodes"]
        self.takings = values["takings"]
        self.trained = values["windows"], values.get("gaps", {})  # which older packs lack

    @property
    def midway_results(self) -> list[Any]:
        return list(self.values["midway"])

    def _kept(self) -> Any:
        return self.values["summary"]


@dataclass(frozen=True)
class Source:
    """What one of several paths holds."""

    where: str
    runs: list[FoundRun]
    """The finished ones."""
    unfinished: list[FoundRun] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    """A line for each folder that can't be used."""


def open_study(paths: Sequence[Path], out: Path | None = None, across: Sequence[str] = ()) -> Study:
    """The study in a sweep's folder, or in packs and folders together; its tables go to `out`, else beside the first.

    RunFolderError where there is none, or packs don't go together.
    """
    if len(paths) == 1 and os.path.isdir(paths[0]):
        return collect(paths[0])
    name = "+".join(path.resolve().name if os.path.isdir(path) else path.stem for path in paths)
    if len(name) > MAX_NAME:
        name = f"{paths[0].stem}+{len(paths) - 1}-more"
    sources = [opened(path) for path in paths]
    runs, left_out = merged(sources, across), [line for source in sources for line in source.passed_over]
    return make_study(out or paths[0].with_name(name), [*runs, *unfinished(sources)], left_out)


def unfinished(sources: Sequence[Source]) -> list[FoundRun]:
    """Runs that no source has finished."""
    finished = {_key(run) for source in sources for run in source.runs}
    once = {_key(run): run for source in sources for run in source.unfinished}
    return [run for key, run in once.items() if key not in finished]


def _key(run: FoundRun) -> tuple[str, int]:
    return str(run.document["identity"]), int(run.flat["seed"])


def opened(path: Path) -> Source:
    """What a sweep's folder holds, a run's, or a pack; RunFolderError where no run of it is finished."""
    if not os.path.isdir(path):
        return Source(str(path), list(_read(path)))
    found, passed_over = (
        ([checked_run(FoundRun(path))], []) if os.path.lexists(path / "config.yaml") else find_runs(path)
    )
    finished = [run for run in found if run.summary is not None]
    if not finished:
        reason = passed_over[0] if passed_over else f"{len(found)} runs are not finished" if found else "no run"
        raise RunFolderError(f"{path}: holds no finished run ({reason})")
    return Source(str(path), finished, [run for run in found if run.summary is None], passed_over)


def merged(sources: Sequence[Source], across: Sequence[str] = ()) -> list[FoundRun]:
    """All runs of all sources, each once, in an order of their own.

    RunFolderError, with names, for different versions, for arms of one name whose configs differ from source to source
    in a key that no source varies and `across` does not name, and for one run that came out differently.
    """
    _check_versions(sources)
    once: dict[tuple[str, int], tuple[str, FoundRun]] = {}
    for source in sources:
        for run in source.runs:
            other, first = once.setdefault(_key(run), (source.where, run))
            if first is not run and _result(first) != _result(run):
                raise RunFolderError(
                    f"{run.arm}, seed {run.flat['seed']} came out differently in {other} and in {source.where}: one is "
                    "another version's"
                )
    for number, source in enumerate(sources):
        for earlier in sources[:number]:
            _check_alike(earlier, source, across)
    return [run for _, (_, run) in sorted(once.items())]


def pack(runs: Sequence[FoundRun]) -> bytes:
    """These runs as a pack; RunFolderError where it would be too large to be read again, or where the commit of a run
    lacks the page that preregisters its study: then that page came later; or where it ran with changed files."""
    for run in runs:
        page = run.flat.get("preregistered")
        if page and not has_file(_commit(run), page):
            raise RunFolderError(
                f"{run.folder}: {page} preregisters its study, and its commit, {_commit(run) or 'which is not known'}, "
                "has no such page or is none of this clone's: the run does not count"
            )
        if page and run.document["origin"].get("tree") == "changed":
            raise RunFolderError(
                f"{run.folder}: {page} preregisters its study, and what ran was its commit, {_commit(run)}, with "
                "changed files: the run does not count"
            )
    lines = [redact(json.dumps(_packed(run), separators=(",", ":"))) for run in runs]
    found = digest([json.loads(line) for line in lines])
    text = ",\n".join(lines)
    data = f'{{"format":{FORMAT},"hash":"{found}","runs":[\n{text}\n]}}\n'.encode()
    if len(data) > MAX_JSON or len(runs) > MAX_RUNS:
        raise RunFolderError(
            f"a pack of {len(runs):,} runs and {len(data):,} bytes is too large: allowed are {MAX_RUNS:,} runs and "
            f"{MAX_JSON:,} bytes; make several"
        )
    return data


def _commit(run: FoundRun) -> str:
    # Whole, it would be hidden: a key of W&B has that form.
    return str(run.document.get("origin", {}).get("commit", ""))[:16]


def _result(run: FoundRun) -> Any:
    report = run.result(plan.REPORT)
    return report["skills"], report["values"]


def _packed(run: FoundRun) -> Any:
    if isinstance(run, PackedRun):
        return run.values
    with understood(run.folder):
        words = str(run.document["command"]).split()
        config = json.loads(json.dumps(run.document["config"]))
        for key, value in _PLACES.items():
            *parents, last = key.split(".")
            section = config
            for name in parents:
                section = section.get(name, {})
            if last in section:
                section[last] = value
        document = {name: run.document[name] for name in ("format", "identity", "versions", "chosen")}
        if run.flat.get("preregistered"):
            document["origin"] = {"commit": _commit(run)}
        document |= {"command": " ".join(word for word in words if "/" not in word), "config": config}
        rows = run.episodes.get(plan.REPORT, [])
        value = {
            "document": document,
            "phases": {name: _in_short(run.result(name)) for name in run.phases},
            "midway": [_in_short(result) for result in run.midway_results],
            "summary": run._kept(),
            "spent": asdict(run.spent),
            "training_episodes": run.last_training_episodes,
            "takings": run.takings if run.learner.asks else {},
            "windows": run.windows if run.trains else {},
            "gaps": run.gaps if run.trains else {},
            "episodes": {
                "steps": [row["length"] for row in rows],
                "return": [round(row["episode_return"], 4) for row in rows],
                "skills": [_bits(row["skills"]) for row in rows if not row.get("trials")],
            },
        }
    return _plain(value)


def _in_short(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the worst frames, which are for a run's own page and more than all the rest."""
    if "frames" not in result:
        return result
    return {**result, "frames": {name: value for name, value in result["frames"].items() if name != "worst"}}


def _bits(counts: Sequence[int]) -> str:
    return f"{sum((count > 0) << place for place, count in enumerate(counts)):x}"


def _plain(value: Any) -> Any:
    """With null for what is no number."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _read(path: Path) -> Sequence[FoundRun]:
    try:
        value = json.loads(read_text(path, MAX_JSON))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or "runs" not in value or not isinstance(value.get("format"), int):
        raise RunFolderError(
            f"{path} is no run's folder and no pack of runs: `python -m envgen_exp pack FOLDER FILE` makes one"
        )
    if value["format"] != FORMAT:
        raise RunFolderError(f"{path} is a pack in format {value['format']}; this version reads format {FORMAT}")
    try:
        found = _Pack.model_validate(value)
    except (ValidationError, RecursionError) as error:
        wrong = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(str(part)[:40] for part in wrong["loc"][:6]) if wrong else "it"
        raise RunFolderError(
            redact(f"{path} is no whole pack: {where}: {wrong['msg'] if wrong else 'too deep'}")
        ) from error
    with understood(path):
        if digest(value["runs"]) != found.hash:
            raise RunFolderError(f"{path} was changed since it was packed: its content does not fit its hash")
        runs = []
        for values in value["runs"]:
            run = checked_run(PackedRun(path, values))
            check_identity(run)
            runs.append(run)
        return runs


def _check_versions(sources: Sequence[Source]) -> None:
    seen: dict[str, tuple[Any, str]] = {}
    for source in sources:
        for run in source.runs:
            for name, value in versions_of(run).items():
                first, other = seen.setdefault(name, (value, source.where))
                if first != value:
                    raise RunFolderError(
                        f"the {name} is {first} in {other} and {value} in {source.where}: what they found is not put "
                        "together"
                    )


def _check_alike(one: Source, other: Source, across: Sequence[str]) -> None:
    arms: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = defaultdict(lambda: ([], []))
    for side, source in enumerate((one, other)):
        for run in source.runs:
            arms[run.arm][side].append(run.treatment)
    found = {
        name: f"{arm} has {name}={here} in {one.where} and {name}={there} in {other.where}"
        for arm, (ours, theirs) in arms.items()
        for name, (here, there) in _differences(ours, theirs).items()
        if name not in across
    }
    if found:
        words = " ".join(f"--across {name}" for name in found)
        raise RunFolderError(
            f"{next(iter(found.values()))}: these are different arms; if the study varies it, say so by {words}"
        )


def _differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Keys that have one value on each side, and not the same one."""
    found = {}
    if ours and theirs:
        for key in sorted({key for values in (*ours, *theirs) for key in values}):
            here, there = ({json.dumps(values.get(key), sort_keys=True) for values in side} for side in (ours, theirs))
            if here != there and len(here) == len(there) == 1:
                found[key] = (here.pop(), there.pop())
    return found
