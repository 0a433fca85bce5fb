"""The tables of a study whose learner looks at frames: what they say is what the runs' files say, and packs keep it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_results
import numpy as np
import pytest
import result_charts as charts
from boxes import Boxes, installed
from studies import make_run

from envgen_exp.commands import run
from envgen_exp.commands.compose import compose_run
from envgen_exp.reporting.study import curves
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.answers import answers
from envgen_exp.reporting.study.collect import Arm, collect, read_run
from envgen_exp.reporting.study.packs import open_study, opened, pack
from envgen_exp.reporting.study.page_of_study import render
from envgen_exp.reporting.study.parts import error_sheets, score_sheets
from envgen_exp.reporting.study.table_files import markdown
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import Episodes

ARMS, SEEDS = ("original", "random"), (3, 4)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two arms of two runs that look at boxes."""
    folder = tmp_path_factory.mktemp("sweep")
    with installed(tmp_path_factory.mktemp("boxes")):
        for arm in ARMS:
            for seed in SEEDS:
                words = [f"arm={arm}", f"seed={seed}", f"folder={folder / f'{arm}-{seed}'}"]
                words += ["main_contrast=random - original"]
                words += ["env=boxes", "agent=supervised", "agent.batch_size=20", "debug=smoke", "num_threads=1"]
                words += [
                    "device=cpu",
                    "llm=offline",
                    "cycles=2",
                    "evaluation.report_episodes=400",
                    "evaluation.report_at=[500]",
                ]
                assert run.run(compose_run(words), []) == 0
        yield folder


def frames_of(sweep: Path, arm: str) -> list[Any]:
    """What the runs of an arm found of frames, as their files have it."""
    files = [next((sweep / f"{arm}-{seed}").glob("phases/*-report-evaluation.json")) for seed in SEEDS]
    return [json.loads(file.read_text())["frames"] for file in files]


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def cells(column: list[Any]) -> list[str]:
    """What a table says of an arm's runs, of whose frames these are the errors."""
    missed = [100 * row["misses"] / row["there"] for row in column]
    return [spread([row["mae"] for row in column]), f"{np.mean(missed):.1f}"]


def interval(pairs: Any) -> list[float]:
    """A difference of two pairs and its 95 % interval: t has one degree of freedom."""
    mean, half = np.mean(pairs), 12.7062 * np.std(pairs, ddof=1) / 2**0.5
    return [float(mean), float(mean - half), float(mean + half)]


def said(cell: str) -> list[float]:
    return [float(word.strip("[,]")) for word in cell.split()]


def test_the_parts_of_the_score_and_their_differences(sweep: Path) -> None:
    parts, differences = score_sheets(Analysis(collect(sweep)))
    numbers: dict[str, Any] = {}
    for arm in ARMS:
        summaries = [RunRecord(sweep / f"{arm}-{seed}").summary for seed in SEEDS]
        rates = [[s.report.rate(skill) for skill in Boxes.skills] for s in summaries if s]
        numbers[arm] = 100 * np.array(rates).reshape(2, 2, 2).mean(axis=2).T  # (parts, runs)
        assert np.allclose(np.mean(numbers[arm], axis=0), [s.score for s in summaries if s])
    assert parts.headers == ("part", "original, laptop", "random, laptop")
    assert differences.headers == ("part", "random - original")
    for place, name in enumerate(("distances", "others")):
        assert parts.rows[place] == [name, *(spread(numbers[arm][place]) for arm in ARMS)]
        found, cell = differences.rows[place]
        assert found == name
        assert np.allclose(said(cell), interval(numbers["random"][place] - numbers["original"][place]), atol=0.01)


def test_errors_in_the_labels_units(sweep: Path) -> None:
    by_distance, by_stratum, differences = error_sheets(Analysis(collect(sweep)))
    found = [frames_of(sweep, arm) for arm in ARMS]
    assert by_distance.headers == ("label", "range", "original, laptop", "missed %", "random, laptop", "missed %")
    assert [row[:2] for row in by_distance.rows] == [
        *(["box, m", band] for band in ("all", "2 to 8", "8 to 14", "14 to 20")),
        ["line, columns", "all"],
    ]
    for place, row in enumerate(by_distance.rows):
        assert row[2:] == [cell for column in found for cell in cells([frames["errors"][place] for frames in column])]
    assert by_stratum.title == "Errors by stratum: box, m"
    assert [row[0] for row in by_stratum.rows] == ["common", "grainy"]
    for place, (stratum, *row) in enumerate(by_stratum.rows):
        of = [[frames["strata"][place]["box"] for frames in column] for column in found]
        assert row == [cell for column in of for cell in cells(column)]
        name, cell = differences.rows[place]
        assert name == stratum
        original, random = ([part["mae"] for part in column] for column in of)
        assert np.allclose(said(cell), interval(np.subtract(random, original)), atol=0.01)


def test_a_stratum_without_the_label_has_no_row(sweep: Path) -> None:
    study = collect(sweep)
    empty = {"there": 0, "frames": 9, "mae": None, "misses": 0, "paper_rmse": 0.0}
    for summary in (summary for arm in study.arms for summary in arm.summaries):
        summary.frames["strata"].append({"stratum": "bare", "frames": 9, "box": empty, "line": empty})
    for sheet in error_sheets(Analysis(study))[1:]:
        assert [row[0] for row in sheet.rows] == ["common", "grainy"]


def test_one_run_an_arm_has_no_interval_and_two_families_have_no_such_tables(sweep: Path) -> None:
    study = collect(sweep)
    alone = dataclasses.replace(study, arms=tuple(Arm(arm.label, arm.runs[:1]) for arm in study.arms))
    assert all(row[1].endswith(" (n=1)") for row in score_sheets(Analysis(alone))[1].rows)
    other = make_run(sweep.parent / "crafter" / "run", "arm=original", "seed=3", finished=True)
    mixed = dataclasses.replace(study, arms=(*study.arms, Arm("crafter", (read_run(other),))))
    assert score_sheets(Analysis(mixed)) == error_sheets(Analysis(mixed)) == []


def test_what_training_seldom_asked_for_has_no_time_when_it_came(sweep: Path) -> None:
    study = collect(sweep)
    for arm in study.arms:
        for one in arm.runs:
            one.trained[0]["skill/box_near"][-1] = None
    unlocks = next(sheet for sheet in answers(Analysis(study)) if sheet.title == "When skills come")
    assert unlocks.rows[0] == ["box_near", "-", "-"]
    assert "-" not in unlocks.rows[2]


def test_a_run_s_page_tells_no_change_from_feedback_to_a_report_of_another_look(sweep: Path) -> None:
    page = (sweep / "original-3" / "report.html").read_text()
    assert "report evaluation looks at frames of another look, and no change is told" in page
    assert "Looked at: " not in page
    assert "Episode length" not in page
    assert "Looked at: 50 frames, mean return" in (sweep / "random-3" / "report.html").read_text()
    heat = page.partition('class="heat')[2].partition("</table>")[0]
    assert heat.count('class="change') == len(Boxes.skills)  # of the second cycle alone


def test_a_pack_keeps_them_and_leaves_the_worst_frames(sweep: Path, tmp_path: Path) -> None:
    study = collect(sweep)
    file = tmp_path / "boxes.json"
    file.write_bytes(pack(opened(sweep).runs))
    packed = Analysis(open_study([file]))
    assert "worst" not in file.read_text()
    assert error_sheets(packed) == error_sheets(Analysis(study))
    assert score_sheets(packed) == score_sheets(Analysis(study))
    assert "## Parts of the score" in markdown(packed)
    page = render(packed)
    assert "Errors by stratum: box, m" in page
    assert "looks at frames of another look, and is no point" in page
    text = make_results.page([file], tmp_path)
    assert "## Errors by distance\n" in text
    assert make_results.PART_CURVES.format(picture="../pictures/boxes.svg") in text
    charts.draw_verdict(packed, tmp_path / "verdict.svg")
    for name in ("boxes", "verdict"):
        assert (tmp_path / f"{name}.svg").read_text().count("<path") > 20


def test_a_skill_that_few_frames_ask_for_has_no_rate_in_a_curve(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read_run(sweep / "original-3")
    rows = [row for phase in run.episodes for row in run.episodes[phase] if row["step"] == 200]
    near, far, *_ = Episodes.of(rows, len(run.skills)).trials.sum(axis=0).tolist()
    assert 0 < near < far
    for fewest, known in ((near, True), (near + 1, False)):
        monkeypatch.setattr(curves, "FEWEST", fewest)
        points = curves.curve(run, run.training_steps)
        window = next(place for place, step in enumerate(points["steps"]) if step and step >= 200)
        assert points["skill/box_far"][window] is not None
        assert (points["skill/box_near"][window] is not None) is known
        assert (points["score"][window] is not None) is known
