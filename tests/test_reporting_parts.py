"""The tables of a study whose learner looks at frames: what they say is what the runs' files say, and packs keep it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boxes import Boxes, installed

from envgen_exp.commands import run
from envgen_exp.commands.compose import compose_run
from envgen_exp.reporting.study import curves
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.collect import collect, read_run
from envgen_exp.reporting.study.packs import open_study, opened, pack
from envgen_exp.reporting.study.page_of_study import render
from envgen_exp.reporting.study.parts import part_sheets
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
                words += ["device=cpu", "llm=offline", "cycles=2", "evaluation.report_episodes=400"]
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
    missed = 100 * sum(row["misses"] for row in column) / sum(row["there"] for row in column)
    return [spread([row["mae"] for row in column]), f"{missed:.1f}"]


def test_the_parts_of_the_score_and_their_differences(sweep: Path) -> None:
    parts, differences = part_sheets(Analysis(collect(sweep)))[:2]
    numbers: dict[str, list[list[float]]] = {}
    for arm in ARMS:
        summaries = [RunRecord(sweep / f"{arm}-{seed}").summary for seed in SEEDS]
        rates = [[s.report.rate(skill) for skill in Boxes.skills] for s in summaries if s]
        numbers[arm] = (100 * np.array(rates).reshape(2, 2, 2).mean(axis=2).T).tolist()
        assert np.allclose(np.mean(numbers[arm], axis=0), [s.score for s in summaries if s])
    assert parts.headers == ("arm", "distances", "others")
    assert parts.rows == [[f"{arm}, laptop", *map(spread, numbers[arm])] for arm in ARMS]
    ((name, *found),) = differences.rows
    assert name == "random, laptop - original, laptop"
    for cell, ours, theirs in zip(found, numbers["random"], numbers["original"], strict=True):
        pairs = np.subtract(ours, theirs)
        half = 12.7062 * pairs.std(ddof=1) / 2**0.5  # t with one degree of freedom
        said = [float(word.strip("[,]")) for word in cell.split()]
        assert np.allclose(said, [pairs.mean(), pairs.mean() - half, pairs.mean() + half], atol=0.01)


def test_errors_in_the_labels_units(sweep: Path) -> None:
    by_distance, by_stratum = part_sheets(Analysis(collect(sweep)))[2:]
    found = [frames_of(sweep, arm) for arm in ARMS]
    assert by_distance.headers == ("label", "range", "original, laptop", "missed %", "random, laptop", "missed %")
    assert [row[:2] for row in by_distance.rows] == [
        *(["box, m", band] for band in ("all", "2 to 8", "8 to 14", "14 to 20")),
        ["line, columns", "all"],
    ]
    for place, row in enumerate(by_distance.rows):
        assert row[2:] == [cell for column in found for cell in cells([frames["errors"][place] for frames in column])]
    assert by_stratum.title == "Errors by stratum: box, m"
    for place, row in enumerate(by_stratum.rows):
        of = [[frames["strata"][place] for frames in column] for column in found]
        assert row == [
            of[0][0]["stratum"],
            *(cell for column in of for cell in cells([part["box"] for part in column])),
        ]
    assert [row[0] for row in by_stratum.rows] == ["common", "grainy"]


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
    file.write_bytes(pack(opened(sweep)[1]))
    packed = open_study([file])
    assert "worst" not in file.read_text()
    assert part_sheets(Analysis(packed)) == part_sheets(Analysis(study))
    assert "## Parts of the score" in markdown(Analysis(packed))
    assert "Errors by stratum: box, m" in render(Analysis(packed))


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
