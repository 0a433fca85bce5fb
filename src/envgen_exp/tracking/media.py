"""What W&B shows of a phase beside its numbers, read from the run's files: tables, pictures of worlds, films.

A phase that is finished always gives the same, so that a run that is resumed or published later shows it all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envgen_exp.families.design import settings_key
from envgen_exp.guard.reading import read_json
from envgen_exp.llm import ledger

# Without a slash: W&B would put each table with one into a collection of its own.
DESIGNS, SKILLS, LLM_CALLS = "table_designs", "table_skills", "table_llm_calls"
MAPS, VIEWS, FILMS = "worlds/map", "worlds/agent_view", "films"

ERROR_CHARACTERS = 300
"""Of a failed request's error the table has the beginning."""


@dataclass(frozen=True)
class Table:
    """Rows with the same columns."""

    columns: tuple[str, ...]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Media:
    """What belongs to one phase."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    """Whole up to this phase: the last one of a run has everything."""
    files: Mapping[str, list[Path]] = field(default_factory=dict)
    """Pictures and films of this phase alone."""

    @property
    def num_bytes(self) -> int:
        """Size of the files."""
        return sum(file.stat().st_size for files in self.files.values() for file in files)


def of_phase(folder: Path, phase: str) -> Media:
    """What the run in `folder` has of a finished phase; nothing for one that only trains. RunFolderError where a file
    can't be read."""
    finished = list(_finished(folder, phase))
    if not finished:
        return Media()
    last = finished[-1]
    tables = {}
    if "proposal" in last:
        tables[DESIGNS] = _designs(finished)
        calls = _calls(folder, last["cycle"])
        if calls.rows:
            tables[LLM_CALLS] = calls
    if "skills" in last:
        tables[SKILLS] = _skills(finished)
    found = {
        MAPS: sorted((folder / "pictures").glob(f"{phase}-*-map.png")),
        VIEWS: sorted((folder / "pictures").glob(f"{phase}-*-view.png")),
        FILMS: sorted((folder / "videos").glob(f"{phase}-*.mp4")),
    }
    return Media(tables, {key: files for key, files in found.items() if files})


def _finished(folder: Path, phase: str) -> Iterator[dict[str, Any]]:
    """The results of the phases up to this one; none where this one has no result yet."""
    files = sorted((folder / "phases").glob("[0-9]*.json"))
    names = [file.stem.partition("-")[2] for file in files]
    if phase in names:
        yield from map(read_json, files[: names.index(phase) + 1])


def _designs(results: Iterable[Mapping[str, Any]]) -> Table:
    rows = []
    for result in results:
        proposal = result.get("proposal", {"designs": []})
        for number, design in enumerate(proposal["designs"], start=1):
            row = {"cycle": result["cycle"], "number": number, "design": "original"}
            if design is not None:
                check = next(iter(proposal["checks"][number - 1 : number]), None) or {}
                settings = {name: value for name, value in design.items() if name not in ("purpose", "targets")}
                plain = {n: v if isinstance(v, str | int) else json.dumps(v) for n, v in settings.items()}
                row |= {
                    "design": settings_key(settings),
                    "purpose": design["purpose"],
                    "targets": ", ".join(design["targets"]),
                    "source": "filled in" if number in proposal["filled"] else proposal["source"],
                    "impossible": ", ".join(check.get("impossible", ())),
                    **plain,
                }
            rows.append(row)
    return _table(rows)


def _skills(results: Iterable[Mapping[str, Any]]) -> Table:
    """Success in each evaluation, with 95 % Wilson intervals."""
    from scipy.stats import binomtest  # only now: it takes long, and an evaluation comes late

    rows = []
    for result in results:
        if "skills" not in result:
            continue
        report, episodes = result["skills"], sum(result["skills"]["episodes"])
        for column, skill in enumerate(report["skills"]):
            successes = sum(seed[column] for seed in report["successes"])
            interval = binomtest(successes, episodes).proportion_ci(method="wilson")
            rows.append(
                {
                    "evaluation": result["phase"],
                    "cycle": result["cycle"],
                    "skill": skill,
                    "success_rate": successes / episodes,
                    "low": float(interval.low),
                    "high": float(interval.high),
                    "successes": successes,
                    "episodes": episodes,
                }
            )
    return _table(rows)


def _calls(folder: Path, cycle: int) -> Table:
    """The ledger: a row for each request up to this cycle, whatever became of it."""
    events = ledger.read(folder / "llm")
    ends = {(e["call"], e["attempt"]): e for e in events if e["event"] in ("answered", "failed", "unknown")}
    rows = []
    for sent in events:
        if sent["event"] != "sent" or sent["cycle"] > cycle:
            continue
        end = ends.get((sent["call"], sent["attempt"]), {})
        row = {name: sent[name] for name in ("at", "cycle", "purpose", "call", "attempt", "client", "model")}
        row |= {name: end.get(name) for name in ("status", "prompt_tokens", "completion_tokens", "cost", "seconds")}
        rows.append({**row, "error": str(end.get("error") or "")[:ERROR_CHARACTERS]})
    return _table(rows)


def _table(rows: list[dict[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(columns, [[row.get(name) for name in columns] for row in rows])
