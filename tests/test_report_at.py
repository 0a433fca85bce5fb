"""evaluation.report_at: report evaluations in the midst of training, which change nothing in the run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from runs import composed, die, final_state, fork, quick, rows, run, summary, wait

from envgen_exp.commands import run as command
from envgen_exp.errors import ConfigError
from envgen_exp.reporting.run.page_of_run import make_report
from envgen_exp.reporting.run.terminal import midway_line
from envgen_exp.reporting.study import packs
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.table_files import markdown
from envgen_exp.run import evaluations
from envgen_exp.run.preparation import prepare, tell_plan
from envgen_exp.run.record import RunRecord
from envgen_exp.run.session import Session
from envgen_exp.seeding import WorldSet
from envgen_exp.tracking import metrics

QUICK = (
    *("designer=fixed", "env.observation=symbolic", "verbosity=quiet", "evaluation.report_episodes=3"),
    *("env.designed_length=40", "env.original_length=60"),
)
AT = "evaluation.report_at=[950,130,400]"
"""In the midst of the first phase's rollouts, at the end of a cycle's training, and in the last phase."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run without such evaluations, and one with them."""
    folder = tmp_path_factory.mktemp("runs")
    with quick(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluations, "FILMS", {"feedback": 0, "report": 0})
        return run(folder / "without", *QUICK), run(folder / "with", *QUICK, AT)


def without_midway(folder: Path) -> dict[str, Any]:
    """All that must be equal, less the rows of the evaluations and what follows from their being there."""
    state = final_state(folder)
    state["state"]["steps"].pop("midway", None)
    state["state"].pop("logs")
    for name in ("metrics.jsonl", "episodes.jsonl"):
        lines = (folder / name).read_text().splitlines()
        state[name] = [line for line in lines if '"phase":"report-at-' not in line]
    return state


def test_the_run_stays_what_it_is_byte_for_byte(both: tuple[Path, Path]) -> None:
    plain, evaluated = map(without_midway, both)
    assert plain == evaluated
    assert len(rows(both[1] / "metrics.jsonl")) == len(plain["metrics.jsonl"]) + 3


def test_each_is_played_once_its_step_is_reached_in_worlds_of_its_own(both: tuple[Path, Path]) -> None:
    found = RunRecord(both[1]).midway
    # Rollouts are of 64 steps and phases of 200 and 300.
    assert [one.step for one in found] == [192, 400, 400 + 400 + 192]
    assert [one.counts.episodes for one in found] == [3, 3, 3]
    told = [row for row in rows(both[1] / "metrics.jsonl") if "score/midway" in row]
    assert [row["phase"] for row in told] == ["report-at-130", "report-at-400", "report-at-950"]
    assert [row["step"] for row in told] == [one.step for one in found]
    assert [row["score/midway"] for row in told] == [one.values["score/midway"] for one in found]
    played: dict[str, set[int]] = {}
    for row in rows(both[1] / "episodes.jsonl"):
        kind = "midway" if row["phase"].startswith("report-at-") else row["phase"]
        played.setdefault(kind, set()).add(row["world_seed"])
    midway = played.pop("midway")
    assert len(midway) == 3  # the same at each step
    assert all(world % len(WorldSet) == WorldSet.REPORT for world in midway)
    assert not any(midway & others for others in played.values())


def test_killed_at_an_evaluation_and_resumed(
    both: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its rows, and before the next checkpoint."""
    monkeypatch.setattr(evaluations, "FILMS", {"feedback": 0, "report": 0})

    def until_killed(moment: str) -> None:
        episodes, boundary = Session.episodes, Session.boundary

        def episodes_(self: Session, *args: Any) -> None:
            if self.current.name == "report-at-950" and moment == "before its rows":
                die()
            episodes(self, *args)

        def boundary_(self: Session, *args: Any) -> None:
            if self.trained > 950 and moment == "after them":
                die()
            boundary(self, *args)

        Session.episodes, Session.boundary = episodes_, boundary_  # type: ignore[method-assign]
        run(tmp_path / "run", *QUICK, AT)

    with quick():
        for moment in ("before its rows", "after them"):
            assert wait(fork(lambda moment=moment: until_killed(moment))) < 0  # type: ignore[misc]
        (tmp_path / "run" / "report_at" / "130.json").rename(tmp_path / "130.json")
        with pytest.raises(ConfigError, match=r"report_at: 130; the run has \d+ training steps: allowed are later"):
            run(tmp_path / "run")
        kept = (tmp_path / "run" / "config.yaml").read_bytes()
        with pytest.raises(ConfigError, match="allowed are later"):
            command.run(composed(f"resume={tmp_path / 'run'}", *QUICK, "evaluation.report_at=[2]"), [])
        assert (tmp_path / "run" / "config.yaml").read_bytes() == kept
        (tmp_path / "130.json").rename(tmp_path / "run" / "report_at" / "130.json")
        run(tmp_path / "run")
    assert final_state(tmp_path / "run") == final_state(both[1])
    for file in sorted((both[1] / "report_at").iterdir()):
        assert (tmp_path / "run" / "report_at" / file.name).read_bytes() == file.read_bytes()


def test_what_was_played_is_shown_when_it_is_no_longer_asked_for(both: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(both[1], tmp_path / "run")
    with quick():
        assert command.run(composed(f"resume={tmp_path / 'run'}", "evaluation.report_at=[400]"), []) == 0
    record = RunRecord(tmp_path / "run")
    assert record.flat["evaluation.report_at"] == [400]
    assert [one.step for one in record.midway] == [192, 400, 992]


def test_tables_page_and_log_show_it(both: tuple[Path, Path]) -> None:
    found = summary(both[1]).midway
    assert [one.step for one in found] == [192, 400, 992]
    assert "after 992 training steps, 3 episodes in the original" in midway_line(found[-1])
    page = make_report(both[1]).read_text()
    for one in found:
        assert f"Score at {one.step} steps" in page
        assert f"at {one.step} steps: {one.values['score/midway']:.2f} %" in page
    (row,) = (row for row in rows(both[1] / "metrics.jsonl") if row["phase"] == "report-at-130")
    assert all(metrics.describe(name) for name in row.keys() - {"step", "phase", "cycle"})
    assert {"score/midway", "score/midway_low", "skill/midway/collect_wood", "steps/midway"} <= row.keys()


def test_a_study_s_tables_show_it_from_a_folder_and_from_a_pack(both: tuple[Path, Path], tmp_path: Path) -> None:
    found = RunRecord(both[1]).midway
    (tmp_path / "pack.json").write_bytes(packs.pack(packs.opened(both[1]).runs))
    texts = {markdown(Analysis(packs.open_study([path]))) for path in (both[1].parent, tmp_path / "pack.json")}
    for text in texts:
        table = text[text.index("## Score in the midst of training") :].splitlines()
        assert [cell.strip() for cell in table[4].split("|")[2:-1]] == ["192 steps", "400 steps", "992 steps"]
        cells = [f"{one.values['score/midway']:.2f} (n=1)" for one in found]
        assert any(row.split("|")[2:-1] == [f" {cell} " for cell in cells] for row in table)


def test_steps_that_the_run_never_has_are_refused_and_the_plan_tells_the_others() -> None:
    with pytest.raises(ConfigError, match=r"^evaluation\.report_at: 1101; allowed are .* 1 to 1,100$"):
        prepare(composed("evaluation.report_at=[1101]"))
    for wrong in ("[0]", "[5,5]"):
        with pytest.raises(ConfigError, match=r"evaluation\.report_at=.*allowed is different numbers above 0"):
            composed(f"evaluation.report_at={wrong}")
    told = "\n".join(tell_plan(prepare(composed("evaluation.report_at=[400,130]"))))
    assert "4 at the end for the score, as many at 130 steps, as many at 400 steps" in told
