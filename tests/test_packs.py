"""Packs: equal bytes, the folders' tables, put together or refused by name, and what a stranger may send."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import edit, make_arm, make_run
from test_hostile_folder import THINGS

from envgen_exp.__main__ import main
from envgen_exp.errors import RunFolderError
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.llm.ledger import digest
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.collect import collect
from envgen_exp.reporting.study.curves import WINDOWS
from envgen_exp.reporting.study.packs import merged, open_study, opened, pack
from envgen_exp.reporting.study.table_files import markdown

GPT4 = {"llm.name": "gpt4", "llm.kind": "litellm", "llm.model": "openai/gpt-4.1"}
FIXED = {"designer.name": "fixed"}


def write(file: Path, *sources: Path) -> Path:
    file.write_bytes(pack(merged([opened(source) for source in sources])))
    return file


def tables(*paths: Path) -> str:
    """All tables, without the title."""
    return markdown(Analysis(open_study(paths))).partition("## ")[2]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs") / "sweep"
    costs: dict[str, Any] = {"llm_calls": 4, "prompt_tokens": 1000, "completion_tokens": 70, "cost": 0.25}
    make_arm(folder, "a", [10.0, 12.5, 11.0], changes=GPT4, **costs)
    make_arm(folder, "f", [9.0, 11.5, 10.5], changes=FIXED)
    return folder


@pytest.fixture(scope="module")
def packed(sweep: Path) -> Path:
    return write(sweep.parent / "packed.json", sweep)


def test_a_pack_has_the_folders_tables_to_the_last_letter(sweep: Path, tmp_path: Path) -> None:
    sweep = Path(shutil.copytree(sweep, tmp_path / "sweep"))
    make_run(sweep / "open", changes={"seed": 9}, finished=False)  # which no pack has
    file = write(tmp_path / "one.json", sweep)
    wanted = markdown(Analysis(collect(sweep))).partition("## ")[2]
    assert (
        wanted.split("## Unfinished runs")[0].replace("- unfinished runs: 1; they count in no number\n", "")
        == tables(file) + "\n"
    )
    assert "0.25" in tables(file)
    assert file.stat().st_size < 6 * 50_000
    assert str(tmp_path) not in file.read_text()
    assert write(tmp_path / "again.json", sweep).read_bytes() == file.read_bytes()


def test_parts_make_the_whole_in_any_order(sweep: Path, packed: Path, tmp_path: Path) -> None:
    whole, sweep = packed, Path(shutil.copytree(sweep, tmp_path / "sweep"))
    parts = []
    for number, name in enumerate(("a-0", "a-1", "a-2", "f-0", "f-1", "f-2")):
        part = tmp_path / "parts" / str(number % 2)
        part.mkdir(parents=True, exist_ok=True)
        (sweep / name).rename(part / name)
        parts = sorted((tmp_path / "parts").iterdir())
    packs = [write(tmp_path / f"part{part.name}.json", part) for part in parts]
    for order in (packs, packs[::-1], [parts[1], packs[0]], [*packs, packs[0]]):
        assert write(tmp_path / "merged.json", *order).read_bytes() == whole.read_bytes()
    assert tables(*packs) == tables(whole)
    assert open_study(packs).folder == tmp_path / "part0+part1"


def test_a_curve_is_in_the_pack(tmp_path: Path) -> None:
    family = make_family(CrafterConfig())
    rng = np.random.default_rng(0)
    run = make_run(tmp_path / "sweep" / "run", "scale=laptop", "ppo=laptop", finished=True)
    rows = []
    for step in range(500, 313_600, 500):
        shown = (rng.random(len(family.skills)) < 0.3).astype(int).tolist()
        phase = "final"
        rows.append(
            {"phase": phase, "step": step, "design": "original", "skills": shown, "episode_return": 1.5, "length": 9}
        )
    (run / "episodes.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    wanted = collect(tmp_path / "sweep").arms[0].runs[0].windows
    found = open_study([write(tmp_path / "pack.json", tmp_path / "sweep")]).arms[0].runs[0].windows
    assert found == wanted
    assert len(wanted["score"]) == WINDOWS
    last = [row["skills"] for row in rows if row["step"] > 313_600 * 19 / 20]
    rates = dict(zip(family.skills, np.mean(last, axis=0).tolist(), strict=True))
    assert wanted["score"][-1] == pytest.approx(family.score(rates))
    assert wanted["return"][-1] == 1.5


def test_different_versions_are_refused_by_name(sweep: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "other" / "run", changes={"seed": 7, **GPT4}, versions="2")
    with pytest.raises(RunFolderError, match=r"the version of torch is 1 in .*sweep and 2 in .*other"):
        write(tmp_path / "x.json", sweep, tmp_path / "other")


def test_different_configs_are_refused_by_name_unless_the_study_varies_them(sweep: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "other" / "run", changes={"seed": 7, "ppo.gamma": 0.5, "ppo.clip_coef": 0.3, **GPT4})
    words = ["--across", "ppo.clip_coef", "--across", "ppo.gamma"]
    wanted = rf"adaptive has ppo.clip_coef=0.\d+ in .*sweep and ppo.clip_coef=0.3 in .*other.*by {' '.join(words)}$"
    with pytest.raises(RunFolderError, match=wanted):
        write(tmp_path / "x.json", sweep, tmp_path / "other")
    file = tmp_path / "x.json"
    assert main(["pack", *words, str(sweep), str(tmp_path / "other"), str(file)]) == 0
    assert len(open_study([file]).arms) == 3
    assert main(["report", str(sweep), str(tmp_path / "other"), *words]) == 0
    make_run(
        tmp_path / "arm" / "run", changes={"seed": 7, "designer.name": "random"}
    )  # an arm of its own is none of that
    assert len(open_study([write(tmp_path / "y.json", sweep, tmp_path / "arm")]).arms) == 3


def test_one_run_that_came_out_differently_is_refused(sweep: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "other" / "run", changes={"seed": 0, **FIXED}, score=9.5)
    with pytest.raises(RunFolderError, match=r"fixed, seed 0 came out differently in .*sweep and in .*other"):
        write(tmp_path / "x.json", sweep, tmp_path / "other")


def test_no_secret_is_packed(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "s3cret-value-of-mine")
    run = Path(shutil.copytree(sweep / "f-0", tmp_path / "sweep" / "run"))
    edit(run / "config.yaml", lambda values: values.update(command="python run.py note=s3cret-value-of-mine"))
    text = write(tmp_path / "pack.json", run.parent).read_text()
    assert "s3cret" not in text
    assert "note=[MY_API_KEY]" in text


def test_the_command_and_its_report(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "packs" / "study.json"
    assert main(["pack", str(sweep), str(file)]) == 0
    assert "6 runs" in capsys.readouterr().out
    assert main(["report", str(file)]) == 0
    assert "11.17 ± 1.26" in capsys.readouterr().out
    assert {one.name for one in (tmp_path / "packs" / "study").iterdir()} >= {"report.html", "tables.md", "arms.csv"}
    assert main(["pack", str(sweep), str(file)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert main(["pack", str(sweep / "a-0"), str(tmp_path / "one.json")]) == 0  # a single run
    make_run(tmp_path / "begun" / "run", finished=False)
    make_run(tmp_path / "begun" / "other", finished=False, changes={"seed": 1})
    make_run(tmp_path / "begun" / "broken")
    (tmp_path / "begun" / "broken" / "phases" / "003-cycle1-evaluate.json").unlink()
    assert main(["pack", str(tmp_path / "begun"), str(tmp_path / "none.json")]) == 2
    assert "holds no finished run (passed over: " in capsys.readouterr().err
    # Beside others each has its line, but for what another folder has finished.
    make_run(tmp_path / "begun" / "done", changes={"seed": 9, **GPT4})
    Path(shutil.copytree(sweep / "a-0", tmp_path / "begun" / "copied") / "summary.json").unlink()
    assert main(["pack", str(tmp_path / "begun"), str(sweep), str(tmp_path / "both.json")]) == 0
    out = capsys.readouterr().out
    assert out.count("unfinished, not packed: ") == 2
    assert "broken: phases/ lacks phase 003" in out
    study = open_study([tmp_path / "begun", sweep], tmp_path / "out")
    assert sorted(run.folder.name for run in study.unfinished) == ["other", "run"]
    assert len(open_study([tmp_path / "begun", tmp_path / "begun", sweep]).unfinished) == 2
    assert open_study([tmp_path / "both.json"] * 30).folder == tmp_path / "both+29-more"
    assert "broken: phases/ lacks phase 003" in "".join(study.notes)


# What a stranger may send


@pytest.mark.parametrize("thing", THINGS)
def test_whatever_lies_in_a_packs_place(thing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pack.json"
    file.write_text("{}")
    THINGS[thing](file)
    for words in (["report", str(file)], ["pack", str(file), str(tmp_path / "new.json")]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("envgen: error: ")
        assert error.count("\n") == 1


def _document(values: Any) -> Any:
    return values["runs"][0]["document"]


DAMAGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "format": (lambda v: v.update(format=2), "format 2; this version reads format 1"),
    "a score": (lambda v: v["runs"][0]["phases"]["report-evaluation"]["values"].update({"score/report": 99.0}), "HASH"),
    "no number": (
        lambda v: v["runs"][0]["phases"]["report-evaluation"]["values"].update({"score/report": None}),
        "its score is None, not a number",
    ),
    "a config": (lambda v: _document(v)["config"].update(cycles=9), "its identity is not that of its config"),
    "another format of runs": (lambda v: _document(v).update(format=7), "format 7"),
    "no config": (lambda v: _document(v).pop("config"), "lacks config"),
    "a phase": (lambda v: v["runs"][0]["phases"].pop("report-evaluation"), "lacks the report evaluation"),
    "more": (lambda v: v["runs"][0].update(spare=1), "Extra inputs are not permitted"),
    "no runs": (lambda v: v.update(runs=[]), "at least 1 item"),
    "a text": (lambda v: v["runs"][0].update(training_episodes="many"), "valid integer"),
    "totals": (lambda v: v["runs"][0]["spent"].update(spare=1), "holds what no run writes"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_no_whole_pack_is_one_line(name: str, packed: Path, tmp_path: Path) -> None:
    change, says = DAMAGES[name]
    file = Path(shutil.copy(packed, tmp_path / "pack.json"))
    values = json.loads(file.read_text())
    change(values)
    if says == "HASH":
        says = "was changed since it was packed"
    else:  # by somebody who knows how
        values["hash"] = digest(values["runs"])
    file.write_text(json.dumps(values))
    with pytest.raises(RunFolderError) as caught:
        open_study([file])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
