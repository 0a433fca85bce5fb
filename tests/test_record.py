"""The reader of a run's folder: each fact from the one file that has it, older folders, and nothing written."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from studies import edit, make_run

from envgen_exp.commands import report
from envgen_exp.errors import RunFolderError
from envgen_exp.llm import ledger
from envgen_exp.reporting.study.collect import collect
from envgen_exp.run.preparation import open_folder
from envgen_exp.run.record import RunRecord
from envgen_exp.run.schemas import CONF
from envgen_exp.run.summary import Episodes, Successes

GPT4 = {"llm.name": "gpt4", "llm.kind": "litellm", "llm.model": "openai/gpt-4.1"}


def test_a_summary_is_put_together_from_phases_config_and_ledger(tmp_path: Path) -> None:
    report = Successes(40, {"collect_coal": 4, "wake_up": 40})
    numbers = {"score": 7.5, "training_score": None, "report": report, "llm_calls": 3, "cost": 0.5, "updates": 9}
    make_run(tmp_path / "run", changes={"seed": 5, **GPT4}, **numbers)
    assert set(json.loads((tmp_path / "run" / "summary.json").read_text())) == {"steps", "seconds", "updates"}
    found = RunRecord(tmp_path / "run").summary
    assert found is not None
    assert (found.score, found.training_score, found.report, found.skills) == (
        7.5,
        None,
        report,
        ("collect_coal", "wake_up"),
    )
    assert (found.llm_calls, found.cost, found.uses_llm, found.llm, found.seed) == (3, 0.5, True, "gpt4", 5)
    assert (found.updates, found.seconds, found.training_episodes) == (9, 345.0, 1234)
    assert RunRecord(make_run(tmp_path / "unfinished", finished=False)).summary is None


def test_what_the_stand_in_was_asked_counts_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "run", llm_calls=3, cost=0.5)
    (tmp_path / "run" / "llm" / "ledger.jsonl").write_text("damaged\n")  # not even read
    found = RunRecord(tmp_path / "run").summary
    assert found is not None
    assert (found.uses_llm, found.llm_calls, found.cost) == (False, 0, 0.0)


def test_copies_of_an_earlier_version_are_not_believed(tmp_path: Path) -> None:
    """That version's summary.json had all that its table showed."""
    folder = make_run(tmp_path / "run", score=7.5)
    copies = {
        "score": 99.0,
        "seed": 3,
        "skills": ["x"],
        "llm_calls": 8,
        "by_episode": {},
        "arm": "other",
        "ppo": "paper",
    }
    edit(folder / "summary.json", lambda values: values.update(copies))
    found = RunRecord(folder).summary
    assert found is not None
    assert (found.score, found.seed, found.llm_calls) == (7.5, 0, 0)
    assert collect(tmp_path).arms[0].name == "adaptive"
    edit(folder / "summary.json", lambda values: values.pop("updates"))  # still earlier ones
    assert [s.updates for s in collect(tmp_path).arms[0].summaries] == [0]


def test_a_played_run_of_an_earlier_version_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its phases were its episodes."""
    folder = make_run(tmp_path / "sweep" / "run", "agent=direct", "llm=gpt4", report=Successes(1, {"wake_up": 1}))
    (last,) = (folder / "phases").iterdir()
    for number in (1, 2):
        (folder / "phases" / f"{number - 1:03d}-episode{number}.json").write_text("{}")
    last.unlink()
    with pytest.raises(RunFolderError, match="phases/ lacks the report evaluation: not whole, or made by another"):
        RunRecord(folder).summary  # noqa: B018
    assert report.main([str(folder)]) == 2
    assert "phases/ lacks the report evaluation" in capsys.readouterr().err
    assert report.main([str(folder.parent)]) == 2
    assert "(passed over: " in capsys.readouterr().err
    (folder / "summary.json").unlink()  # as a run that was broken off
    says = "its phase episode1 is none of this version, where report-evaluation stands"
    assert report.main([str(folder)]) == 2
    assert says in capsys.readouterr().err
    with pytest.raises(RunFolderError, match=says):
        open_folder(dataclasses.replace(RunRecord(folder).config, resume=str(folder)), {}, [])


def test_reading_a_ledger_neither_locks_nor_mends_it(tmp_path: Path) -> None:
    """A run that goes on is read: a request is on its way, and the last line is half written."""
    folder = make_run(tmp_path / "run", changes=GPT4, llm_calls=2, cost=0.5, prompt_tokens=7)
    file = folder / "llm" / "ledger.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + '{"event": "answ')
    before, files = file.read_bytes(), sorted(folder.rglob("*"))
    os.utime(file, (1, 1))
    spent = RunRecord(folder).spent
    assert (spent.calls, spent.cost, spent.cost_known, spent.unknown, spent.prompt_tokens) == (2, 0.5, False, 1, 7)
    assert (file.read_bytes(), file.stat().st_mtime, sorted(folder.rglob("*"))) == (before, 1, files)
    file.write_bytes(b"".join(map(str.encode, lines)))
    assert RunRecord(folder).spent == ledger.totals(ledger.read(folder / "llm")) != spent


def test_phases_stand_in_order_beyond_a_thousand(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", finished=False)
    for number in range(1, 1002):
        (folder / "phases" / f"{number:03d}-p{number}.json").write_text("{}")
    assert list(RunRecord(folder).phases)[-2:] == ["p1000", "p1001"]


def test_a_phase_that_is_missing_between_others_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    next((folder / "phases").glob("002-*")).unlink()
    with pytest.raises(RunFolderError, match="phases/ lacks phase 002"):
        RunRecord(folder).phases  # noqa: B018


def test_nobody_else_reads_a_runs_files() -> None:
    """Their names stand in run/folder.py alone, and read_config is called by the reader and the folder's owner."""
    names = (
        "config.yaml",
        "summary.json",
        "metrics.jsonl",
        "timings.jsonl",
        "episodes.jsonl",
        '"phases"',
        "read_config(",
    )
    source = CONF.parent / "src" / "envgen_exp"
    found = set()
    for file in source.rglob("*.py"):
        for line in file.read_text().splitlines():
            reads = " / " in line or "glob(" in line or "read_config(" in line
            if reads and any(name in line for name in names):
                found.add(file.relative_to(source).as_posix())
    allowed = {"run/folder.py", "run/record.py"}
    # One reads conf/; the others ask whether a folder is a run's before anybody reads it.
    assert found - allowed <= {
        "commands/help.py",
        "commands/report.py",
        "commands/sweep.py",
        "reporting/study/collect.py",
        "reporting/study/packs.py",
    }


def test_means_are_over_episodes_where_a_record_stands_for_several() -> None:
    one = {"episode_return": 0.5, "length": 3, "skills": [2], "trials": [3]}
    other = {"episode_return": 0.1, "length": 1, "skills": [0], "trials": [1]}
    found = Episodes.of([one, other], 1)
    assert (len(found), found.mean_length, found.mean_return) == (4, 1.0, pytest.approx(0.4))
