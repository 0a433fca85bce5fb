"""The preregistered study: what is run, which contrast is the main one, which runs are packed, and its own tables."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import make_studies as studies
import numpy as np
import pytest
from scipy import stats
from studies import edit, make_run

from envgen_exp.commands.compose import CONF, compose_run, compose_sweep
from envgen_exp.config import design_set
from envgen_exp.designers import Means, make_designer
from envgen_exp.errors import RunFolderError
from envgen_exp.families import make_family
from envgen_exp.learners.learner import seeded
from envgen_exp.llm.ledger import Address
from envgen_exp.llm.replay import Replay
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.answers import answers, carried, taught
from envgen_exp.reporting.study.collect import collect
from envgen_exp.reporting.study.contrasts import Difference
from envgen_exp.reporting.study.packs import merged, open_study, opened, pack
from envgen_exp.reporting.study.page_of_study import render
from envgen_exp.reporting.study.preregistered import FEWEST, HARMS, HELPS, OPEN, SAME, WHY, decided, mains, reasons
from envgen_exp.reporting.study.table_files import markdown
from envgen_exp.reporting.study.tables import points, sheets
from envgen_exp.run import clone
from envgen_exp.run.plan import training_steps
from envgen_exp.run.summary import Successes

PAGE = CONF.parent / "docs" / "verdict.md"
STUDY = ("experiment=verdict",)
SKILLS = ("collect_coal", "collect_diamond", "wake_up")


def test_what_is_run() -> None:
    experiments = ("verdict", "verdict_more", "verdict_pixels")
    runs = [run.config for name in experiments for run in compose_sweep([f"experiment={name}"]).runs]
    core, more = ("adaptive", "original", "placebo", "random"), ("fixed", "fixed_large", "archive", "sfl")
    wanted = {(str(arm), "symbolic"): 15 for arm in (*core, *more, "adaptive_stand_in")}
    assert Counter((config.arm, config.ppo.name) for config in runs) == {
        **wanted,
        ("adaptive", "laptop"): 5,
        ("original", "laptop"): 5,
    }
    assert {training_steps(config) for config in runs} == {1_960_000}
    assert {config.seed for config in runs} == {*range(200, 215)}
    assert {config.preregistered for config in runs} == {f"docs/{PAGE.name}"}
    for config in runs:
        if config.arm in ("adaptive", "placebo", "fixed", "archive"):
            assert (config.llm.name, config.llm.temperature) == ("embedded", 0.7)
            assert seeded(config.llm, design_set(config)).seed == config.seed
    assert studies.row("verdict_pixels", "verdict") in (PAGE.parent / "studies.md").read_text(), "make studies"


def test_ten_recorded_sets_in_turn_answer_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PAGE.parents[1])
    typed = ["experiment=verdict_more", "arm=fixed_large"]
    configs = [compose_run([*typed, f"seed={seed}"]) for seed in range(200, 215)]
    assert [config.design_set for config in configs] == [*range(1, 11), *range(1, 6)]
    assert len({config.llm.replay_from for config in configs}) == 10
    answered = set()
    for config in configs:
        first, *_ = make_designer(config.designer, Means(make_family(config.env), cycles=config.cycles)).preview()
        answered.add(Replay(config.llm).ask({"messages": first}, Address(1, "design", 0)).text)
    assert len(answered) == 10


def of_arm(folder: Path, arm: str, scores: dict[int, float], *typed: str, **numbers: Any) -> None:
    """An arm of the study by seed. Its config is composed for each, since a seed may choose a recording."""
    for seed, score in scores.items():
        words = (*(typed or STUDY), f"arm={arm}", f"seed={seed}")
        make_run(folder / f"{arm}-{seed}", *words, score=score, **numbers)


def test_its_main_contrast_and_the_family_of_the_others(tmp_path: Path) -> None:
    seeds = (0, 1, 2, 10)
    rng = np.random.default_rng(0)
    scores = {
        arm: dict(zip(seeds, rng.normal(12, 1, 4).tolist(), strict=True))
        for arm in ("adaptive", "original", "placebo", "fixed", "fixed_large", "adaptive_stand_in")
    }
    for arm, by_seed in scores.items():
        of_arm(tmp_path, arm, by_seed)
    analysis = Analysis(collect(tmp_path))
    assert len(analysis.study.arms) == 6  # the recordings of fixed_large are one arm
    found = {(one.ours.name, one.theirs.name): one for one in analysis.contrasts}
    assert list(found) == [
        ("adaptive", "original"),
        ("adaptive", "placebo"),
        ("adaptive", "fixed"),
        ("adaptive", "adaptive_stand_in"),  # of two models, which a contrast may be that the config names
        ("fixed_large", "fixed"),
    ]

    def p(*arms: str) -> float:
        ours, theirs = (list(scores[arm].values()) for arm in arms)
        return float(stats.ttest_rel(ours, theirs).pvalue)

    assert found["adaptive", "original"].corrected == pytest.approx(p("adaptive", "original"))
    assert found["adaptive", "placebo"].corrected == pytest.approx(min(1, 12 * p("adaptive", "placebo")))
    large = found["fixed_large", "fixed"].difference
    assert (large.pairs, large.count) == (4, 3)  # seeds 0 and 10 have one recording
    assert "adaptive - original, and tested alone; all others" in markdown(analysis)


@pytest.mark.parametrize(
    ("shift", "spread", "pairs", "said"),
    [
        (3.0, 1.0, 10, HELPS),
        (-3.0, 1.0, 10, HARMS),
        (0.5, 1.0, 12, SAME),
        (0.5, 5.0, 12, OPEN),
        (3.0, 1.0, 9, "no verdict before 10 seeds"),
    ],
)
def test_what_the_main_difference_says(tmp_path: Path, shift: float, spread: float, pairs: int, said: str) -> None:
    around = spread * stats.zscore(np.arange(pairs), ddof=1)
    scores = {
        "original": (30.0, 0),
        "adaptive": (30 + shift, 1),
        "random": (21 + shift, -1),
        "placebo": (30 + 2 * shift, -1),
    }
    for arm, (mean, sign) in scores.items():
        for seed, more in enumerate(around.tolist()):
            run = tmp_path / f"{arm}-{seed}"
            make_run(run, *STUDY, f"arm={arm}", score=30 + mean + sign * more, changes={"seed": seed})
    analysis = Analysis(collect(tmp_path))
    (main,) = mains(analysis)
    half = stats.t.ppf(0.975, pairs - 1) * spread / pairs**0.5
    assert main.difference.test is not None
    assert (main.difference.test.low, main.difference.test.high) == pytest.approx((shift - half, shift + half))
    assert decided(analysis, main) == said
    assert [one.theirs.name for one, _ in reasons(analysis, main)] == (["random"] if said == HELPS else [])
    assert f"| {said} |" in markdown(analysis)
    ours, theirs = (np.array([*scores_of(analysis, arm)]) for arm in ("adaptive", "original"))
    without = [stats.ttest_rel(np.delete(ours, seed), np.delete(theirs, seed)).pvalue for seed in range(pairs)]
    assert f", not below 0.05 in {sum(p >= 0.05 for p in without)} of {pairs} |" in markdown(analysis)


def scores_of(analysis: Analysis, arm: str) -> list[float]:
    """By seed."""
    (found,) = (one for one in analysis.study.arms if one.name == arm)
    return found.values(lambda s: s.score)


def test_each_arm_stands_beside_the_original_at_each_evaluation(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    scores = {arm: rng.normal(12, 1, 4) for arm in ("adaptive", "original", "placebo")}
    for arm, found in scores.items():
        of_arm(tmp_path, arm, dict(enumerate(found.tolist())))
    (sheet,) = (one for one in sheets(Analysis(collect(tmp_path))) if one.title == "Beside the original")
    assert sheet.headers == ("difference", "at the end")
    for arm, row in zip(("adaptive", "placebo"), sheet.rows, strict=True):
        test = stats.ttest_rel(scores[arm], scores["original"])
        low, high = test.confidence_interval()
        mean = float(np.mean(scores[arm] - scores["original"]))
        assert row[0].startswith(f"{arm}, ")
        assert row[1] == f"{mean:+.2f} [{low:.2f}, {high:.2f}]"
    assert points(Difference([], [[1.0, 2.0]], [])) == "-"  # an evaluation that the original has not


def test_seeds_that_an_arm_lacks_and_other_studies_have_no_verdict(tmp_path: Path) -> None:
    def made(name: str, *arms: str) -> Analysis:
        for arm in arms:
            for seed in range(10 + (arm == "random")):
                run = tmp_path / name / f"{arm}-{seed}"
                make_run(run, f"experiment={name}", f"arm={arm}", score=10.0 + seed % 3, changes={"seed": seed})
        return Analysis(collect(tmp_path / name))

    core = made("verdict", "adaptive", "original", "placebo", "random")
    assert "no verdict before all arms of the core have the same seeds" in markdown(core)
    assert mains(made("verdict_pixels", "adaptive", "original")) == []
    assert mains(made("controls", "adaptive", "original", "placebo", "random")) == []


def test_the_words_of_a_verdict_are_the_page_s() -> None:
    text = " ".join(PAGE.read_text().split())
    assert f"lies above 0 | {HELPS} |" in text
    assert f"lies below 0 | {HARMS} |" in text
    assert f"lies within ±2 points | {SAME} |" in text
    assert f"else | {OPEN};" in text
    for arm, words in WHY.items():
        assert re.search(rf"above (`\w+` or )?`{arm}`( or `\w+`)?, {words}", text), arm
    assert FEWEST == 10
    assert "if they are ten or more" in text


def test_two_main_contrasts_are_corrected_for_each_other(tmp_path: Path) -> None:
    for arm, scores in (("adaptive", (14, 15, 16)), ("original", (12, 13.1, 14)), ("placebo", (11, 12.2, 13))):
        of_arm(tmp_path, arm, dict(enumerate(scores)))

    def corrected() -> list[float]:
        return [one.corrected or 0.0 for one in Analysis(collect(tmp_path)).contrasts]

    original, placebo = corrected()
    make_run(tmp_path / "other", "arm=archive_mutated")  # of a study whose main contrast is that with placebo
    assert corrected() == pytest.approx([2 * original, 2 * placebo / 12])
    assert "tested 2 times here, its p multiplied by that" in markdown(Analysis(collect(tmp_path)))


# Packs


def commit(folder: Path) -> str:
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "c"]):
        subprocess.run([*git, *words], check=True)
    found = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return found.stdout.strip()


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a clone: before its page, with it, and after that."""
    there = tmp_path / "clone"
    (there / "docs").mkdir(parents=True)
    found = []
    for name in ("run.py", "docs/verdict.md", "later.py"):
        (there / name).write_text(name)
        found.append(commit(there))
    monkeypatch.setattr(clone, "SCRIPT", there / "run.py")
    return found


def test_a_run_that_does_not_descend_from_the_page_is_not_packed(tmp_path: Path, commits: list[str]) -> None:
    before, page, after = commits
    for seed, made_at in ((1, page), (2, after)):
        run = make_run(tmp_path / "sweep" / str(seed), *STUDY, changes={"seed": seed})
        edit(run / "config.yaml", lambda values, made_at=made_at: values.update(origin={"commit": made_at}))
    good = tmp_path / "good.json"
    good.write_bytes(pack(merged([opened(tmp_path / "sweep")])))
    assert pack(merged([opened(good)])) == good.read_bytes()  # which knows the commits
    for made_at in ({"commit": before}, {"commit": "0" * 40}, {}):
        edit(run / "config.yaml", lambda values, made_at=made_at: values.update(origin=made_at))
        with pytest.raises(RunFolderError, match=r"sweep/2: docs/verdict.md preregisters its study, and its commit,"):
            pack(merged([opened(tmp_path / "sweep")]))
    edit(run / "config.yaml", lambda values: values.update(origin={"commit": page, "tree": "changed"}))
    with pytest.raises(RunFolderError, match=rf"docs/verdict.md .* its commit, {page[:16]}, with changed files"):
        pack(merged([opened(tmp_path / "sweep")]))
    edit(run / "config.yaml", lambda values: values["config"].update(preregistered=None))
    assert b'"origin"' not in pack(merged([opened(tmp_path / "sweep" / "2")]))


# Tables


@pytest.fixture
def sweep(tmp_path: Path, commits: list[str]) -> Path:
    """Two seeds of adaptive, whose second run showed more, and of original."""
    for seed, more in ((1, 0), (2, 2)):
        ours = [(10 + more, 0, 50), (20 + more, 0, 60)], [(5, 0, 50), (6, 0, 58)]
        for arm, rows in zip(("adaptive", "original"), ours, strict=True):
            shown = tuple(Successes(100, dict(zip(SKILLS, counts, strict=True))) for counts in rows)
            asked = {"llm_calls": 1, "cost": 0.0} if arm == "adaptive" else {}
            of_arm(tmp_path / "sweep", arm, {seed: 10.0 + seed}, feedback=shown, **asked)
            run = tmp_path / "sweep" / f"{arm}-{seed}"
            edit(run / "config.yaml", lambda values: values.update(origin={"commit": commits[1]}))
            if arm == "original":
                continue
            for cycle in (1, 2):
                (file,) = (run / "phases").glob(f"*-cycle{cycle}-design.json")
                designs = [{"targets": ["collect_coal"], "trees": cycle}, {"targets": [], "trees": 1, "purpose": "p"}]
                checks = [{"counts": {"tree": 3.0 * cycle}}, {"counts": {}}]
                file.write_text(json.dumps({"cycle": cycle, "proposal": {"designs": designs, "checks": checks}}))
            ledger = run / "llm" / "ledger.jsonl"
            ledger.write_text(ledger.read_text().replace('"cost"', '"seconds": 45.0, "cost"'))
            (run / "episodes.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in episodes(run, more)))
    return tmp_path / "sweep"


def episodes(run: Path, more: int) -> list[dict[str, Any]]:
    """Of training: in a design three in four show the skill that it is to train, in the original one in four; in the
    second half of the last phase another one comes."""
    skills = make_family(compose_run([]).env).skills

    def row(phase: str, step: int, design: str, *shown: str) -> dict[str, Any]:
        found = [int(skill in shown) for skill in skills]
        return {
            "phase": phase, "step": step, "design": design, "skills": found, "episode_return": 1.0, "length": 9,
        }  # fmt: skip

    coal = [("collect_coal",) if number < 3 else () for number in range(4)]
    rows = [row("cycle1-train-designed", 100, "d", *shown) for shown in coal]
    rows += [row("cycle1-train-original", 300, "original", *shown) for shown in coal[2:] * 2]
    last = [row("final", step, "original", *(("wake_up",) if step > 950 else ())) for step in range(801, 1100)]
    return rows + last


def test_whether_designs_taught_what_they_claimed(sweep: Path) -> None:
    ours, original = (arm.runs for arm in collect(sweep).arms)
    first, second = (taught(ours[0], cycle, original[0]) for cycle in (1, 2))
    # 10 points for coal; 0 and 10 for the others. In original 1, 0 and 8.
    assert (second.targeted, second.untargeted, second.difference) == pytest.approx((10, 5, 5))
    assert second.beside == pytest.approx(5 - (1 - 4))
    assert (first.targeted, first.difference) == (None, None)
    assert first.beside == pytest.approx((10 - 25) - (5 - 25))
    assert first.gap == pytest.approx(75 - 50)
    assert second.gap is None
    assert taught(ours[0], 2, None).beside is None


def test_the_tables_of_folders_and_of_packs(sweep: Path, tmp_path: Path) -> None:
    file = tmp_path / "pack.json"
    file.write_bytes(pack(merged([opened(sweep)])))
    studies_ = collect(sweep), open_study([file])
    wanted, found = (markdown(Analysis(study)).partition("## ")[2] for study in studies_)
    assert found == wanted
    assert "What the designs did" in render(Analysis(studies_[1]))
    for study in studies_:
        for run in study.arms[1].runs:
            run.windows["score"][:] = [0.02 * (step or 0) for step in run.windows["steps"]]
        designs, named, chosen, minutes, unlocks = answers(Analysis(study))
        # In the second run coal began with 2 points more, so that in the first cycle it leads by 2 more.
        assert [row[1:] for row in designs.rows] == [
            ["1", "25.00 ± 0.00", "1", "-", "-", "-", "+6.0 [-6.7, +18.7]"],
            ["2", "-", "1", "+10.0", "+5.0", "+5.0", "+8.0"],
        ]
        assert named.headers == ("skill", study.arms[0].label)  # nothing is designed in original
        assert {skill: cell for skill, cell in named.rows if cell != "0"} == {"collect_coal": "100"}
        assert chosen.rows == [
            ["designs", "8"],
            ["distinct", "2"],
            ["trees", "1 (75 %), 2 (25 %)"],
            ["tree, mean", "4.5"],
        ]
        # 1,100 steps in the 300 of its 345 seconds in which nobody was asked.
        assert [row[1:] for row in minutes.rows] == [["45 s", "4", "165", "3.30 ± 0.00"]]
        came = {skill: cells for skill, *cells in unlocks.rows}
        assert came == {
            "collect_coal": ["never (0 of 2)", "-"],
            "collect_diamond": ["never (0 of 2)", "-"],
            "wake_up": ["990 (2 of 2)", "-"],
        }


def test_what_one_skill_makes_of_a_difference(tmp_path: Path) -> None:
    """Alone it makes all; where two do, both together do."""
    all_skills = make_family(compose_run([]).env).skills
    shown = {"original": [(10, 10), (10, 10)], "adaptive": [(40, 10), (40, 80)]}
    for arm, rows in shown.items():
        for seed, counts in enumerate(rows):
            report = Successes(100, {**dict.fromkeys(all_skills, 0), **dict(zip(SKILLS, counts, strict=False))})
            of_arm(tmp_path, arm, {seed: 1.0}, report=report, skills=all_skills)
    study = collect(tmp_path)
    found = carried(*study.arms)

    def score(*percents: float) -> float:
        return math.exp(sum(math.log(1 + each) for each in percents) / len(all_skills)) - 1

    alone = score(40, 10) - score(10, 10)
    both = score(40, 80) - score(10, 10)
    coal = both - (score(25, 80) - score(25, 10))
    diamond = both - (score(40, 45) - score(10, 45))
    assert found["collect_coal"] == [pytest.approx([alone, coal])]
    assert found["collect_diamond"] == [pytest.approx([0, diamond])]
    assert found["wake_up"] == [pytest.approx([0, 0])]
    (sheet,) = (one for one in answers(Analysis(study)) if one.title == "Which skills make the difference")
    assert dict(sheet.rows)["collect_coal"].startswith(f"{(alone + coal) / 2:+.2f} [")


def test_a_study_without_designs_has_no_such_tables(tmp_path: Path) -> None:
    of_arm(tmp_path, "original", {0: 1.0})
    assert answers(Analysis(collect(tmp_path))) == []


def test_an_original_with_other_cycles_is_not_put_beside(sweep: Path) -> None:
    for seed in (1, 2):
        shutil.rmtree(sweep / f"original-{seed}")
    of_arm(sweep, "original", {1: 11.0, 2: 12.0}, *STUDY, "cycles=1", "schedule.final_steps=700")
    analysis = Analysis(collect(sweep))
    assert [one.theirs.name for one in analysis.contrasts] == ["original"]  # its budget is equal
    assert [row[-1] for row in answers(analysis)[0].rows] == ["-", "-"]
