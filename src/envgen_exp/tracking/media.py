"""What W&B shows of a phase beside its numbers, read from the run's files: tables, pictures of worlds, films.

A phase that is finished always gives the same, so that a run that is resumed or published later shows it all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from envgen_exp.families.design import settings_key
from envgen_exp.learners.intervals import wilson
from envgen_exp.learners.skills import pooled, rate
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
    captions: Mapping[Path, str] = field(default_factory=dict)
    """Of films."""

    @property
    def num_bytes(self) -> int:
        """Size of the files."""
        return sum(file.stat().st_size for files in self.files.values() for file in files)


class Record(Protocol):
    """What is read of a run's folder (run/record.py, some floors above)."""

    @property
    def document(self) -> Mapping[str, Any]: ...
    @property
    def phases(self) -> Mapping[str, int]: ...
    def result(self, phase: str) -> Mapping[str, Any]: ...
    @property
    def calls(self) -> Sequence[ledger.Request]: ...
    def pictures(self, phase: str, what: str) -> list[Path]: ...
    def films(self, phase: str) -> list[Path]: ...
    def film(self, file: Path) -> Mapping[str, Any] | None: ...


def of_phase(record: Record, phase: str) -> Media:
    """What a run has of a finished phase; nothing for one that only trains. RunFolderError where a file can't be
    read."""
    if phase not in record.phases:
        return Media()
    finished = [record.result(name) for name, index in record.phases.items() if index <= record.phases[phase]]
    last = finished[-1]
    tables = {}
    if "proposal" in last:
        tables[DESIGNS] = _designs(finished)
        calls = _calls(record.calls, last["cycle"])
        if calls.rows:
            tables[LLM_CALLS] = calls
    if "skills" in last:
        tables[SKILLS] = _skills(finished)
    films = record.films(phase)
    found = {MAPS: record.pictures(phase, "map"), VIEWS: record.pictures(phase, "view"), FILMS: films}
    captions = {file: _caption(file, record.film(file)) for file in films}
    return Media(tables, {key: files for key, files in found.items() if files}, captions)


def _caption(file: Path, film: Mapping[str, Any] | None) -> str:
    if film is None:
        return file.stem
    unlocked = ", ".join(f"{skill} at step {step}" for skill, step in film["unlocked"].items())
    return f"{file.stem}: {film['title']}, {film['steps']} steps; {unlocked or 'no skill shown'}"


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
    rows = []
    for result in results:
        if "skills" not in result:
            continue
        for skill, (successes, episodes) in pooled(result["skills"]).items():
            low, high = wilson(successes, episodes)
            rows.append(
                {
                    "evaluation": result["phase"],
                    "cycle": result["cycle"],
                    "skill": skill,
                    "success_rate": rate(successes, episodes),
                    "low": low,
                    "high": high,
                    "successes": successes,
                    "episodes": episodes,
                }
            )
    return _table(rows)


def _calls(calls: Iterable[ledger.Request], cycle: int) -> Table:
    """The ledger: a row for each request up to this cycle, whatever became of it."""
    rows = []
    for sent, outcome in calls:
        if sent["cycle"] > cycle:
            continue
        end = outcome or {}
        row = {name: sent[name] for name in ("at", "cycle", "purpose", "call", "attempt", "client", "model")}
        row |= {name: end.get(name) for name in ("status", "prompt_tokens", "completion_tokens", "cost", "seconds")}
        rows.append({**row, "error": str(end.get("error") or "")[:ERROR_CHARACTERS]})
    return _table(rows)


def _table(rows: list[dict[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(columns, [[row.get(name) for name in columns] for row in rows])
