"""A sweep's tables, from hand-made folders: what is counted, what stands apart, what is refused, what is written."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from studies import crafter_report, edit, make_arm, make_run

from envgen_exp.commands.report import main
from envgen_exp.errors import RunFolderError
from envgen_exp.reporting.study import collect as collecting
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.collect import collect
from envgen_exp.reporting.study.table_files import latex, markdown, write_tables
from envgen_exp.reporting.study.terminal import print_study
from envgen_exp.run.pasted import pasted
from envgen_exp.run.summary import Successes

GPT4 = {"llm.name": "gpt4", "llm.kind": "litellm", "llm.model": "openai/gpt-4.1"}


def text_of(folder: Path, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_study(Analysis(collect(folder)), console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def row(text: str, first: str) -> list[str]:
    """The cells of a Markdown table's first row that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def records(file: Path) -> list[dict[str, str]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


# Numbers


def test_an_arm_is_a_row_with_its_spread(tmp_path: Path) -> None:
    make_arm(tmp_path, "a", [10.0, 12.0, 17.0], "designer=adaptive")
    make_run(tmp_path / "o", "designer=original", score=8.0, training_score=None)
    study = collect(tmp_path)
    assert [(arm.label, len(arm.runs)) for arm in study.arms] == [
        ("adaptive, offline (not an LLM), laptop", 3),
        ("original, laptop", 1),
    ]
    text = markdown(Analysis(study))
    # SD of 10, 12, 17 with n - 1 is sqrt(13); of three values none is a whole quarter, so the IQM is their mean.
    found = row(text, "adaptive")
    assert found[1:3] == ["3", "13.00 ± 3.61"]
    assert found[3].startswith("13.00 [")
    assert found[5] == "13.00 ± 3.61"
    assert row(text, "original")[1:] == ["1", "8.00 (n=1)", "8.00 (n=1)", "-", "-", "3.21 (n=1)"]
    assert "one run has no spread and no interval: original, laptop" in text


def test_the_pooled_score_is_the_familys_formula_over_all_runs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reports = [crafter_report(rng) for _ in range(3)]
    for seed, fields in enumerate(reports):
        make_run(tmp_path / str(seed), changes={"seed": seed}, **fields)
    result = Analysis(collect(tmp_path)).arms[0]
    counts = np.array([list(fields["report"].successes.values()) for fields in reports])
    expected = math.exp(np.log1p(100 * counts.sum(axis=0) / 3000).sum() / 22) - 1  # Hafner 2021, equation 1
    assert result.pooled == pytest.approx(expected)
    per_run = [math.exp(np.log1p(100 * one / 1000).mean()) - 1 for one in counts]
    assert result.pooled > np.mean(per_run)


def test_seeds_of_one_design_set_stand_together(tmp_path: Path) -> None:
    for seed, score in enumerate([10.0, 11.0, 20.0, 21.0, 30.0, 31.0]):
        make_run(tmp_path / str(seed), changes={"seed": seed, "design_set": seed // 2}, score=score)
    analysis = Analysis(collect(tmp_path))
    assert analysis.arms[0].n == "3 × 2"
    arm = analysis.study.arms[0]
    assert arm.groups(lambda s: s.score) == [[10.0, 11.0], [20.0, 21.0], [30.0, 31.0]]
    assert records(write_tables(analysis)[2])[0]["independent_units"] == "3"
    for seed in (0, 1):
        make_run(tmp_path / "one" / str(seed), changes={"seed": seed, "design_set": 7})
    study = collect(tmp_path / "one")
    assert study.arms[0].one_set
    assert "its runs share one design set" in "".join(study.notes)


def test_what_draws_no_designs_has_no_sets(tmp_path: Path) -> None:
    for seed in range(4):
        make_run(tmp_path / str(seed), "designer=original", changes={"seed": seed, "design_set": seed // 2})
    for seed in range(4):  # of a sweep over both, whose runs are the same once more
        make_run(tmp_path / f"{seed}x", "designer=original", changes={"seed": seed, "design_set": 9})
    analysis = Analysis(collect(tmp_path))
    assert analysis.arms[0].n == "4"
    assert "3x repeats" in "".join(analysis.notes)


def test_differences_go_by_seed_and_are_corrected_for_their_family(tmp_path: Path) -> None:
    adaptive, fixed, told = [14.0, 15.0, 16.5, 15.2], [12.0, 13.0, 12.5, 14.5], [15.0, 14.0, 16.0, 15.5]
    make_arm(tmp_path, "a", adaptive, changes={"arm": "adaptive"})
    make_arm(tmp_path, "f", fixed, changes={"designer.name": "fixed"})
    make_arm(tmp_path, "p", told, changes={"designer.name": "random", "arm": "placebo"})
    analysis = Analysis(collect(tmp_path))
    found = records(write_tables(analysis)[4])
    assert [one["contrast"] for one in found] == ["adaptive - placebo", "adaptive - fixed"]
    tests = [stats.ttest_rel(adaptive, other) for other in (told, fixed)]
    assert [float(one["p"]) for one in found] == pytest.approx([test.pvalue for test in tests])
    ends = tests[1].confidence_interval(0.95)
    assert (float(found[1]["low"]), float(found[1]["high"])) == pytest.approx((ends.low, ends.high))
    beside = stats.ttest_ind(adaptive, fixed, equal_var=False)
    assert float(found[1]["welch_p"]) == pytest.approx(beside.pvalue)
    assert [one["pairs"] for one in found] == ["4", "4"]
    # The main contrast is tested alone; the rivals are one family, of which this study has a part.
    assert float(found[0]["p_corrected"]) == pytest.approx(tests[0].pvalue)
    assert float(found[1]["p_corrected"]) == pytest.approx(min(1, len(collecting.RIVALS) * tests[1].pvalue))
    assert float(found[1]["difference"]) == pytest.approx(np.mean(adaptive) - np.mean(fixed))
    assert float(found[1]["p_better"]) == pytest.approx(stats.mannwhitneyu(adaptive, fixed).statistic / 16)
    flipped = stats.permutation_test(
        (adaptive, fixed), lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples"
    )
    assert float(found[1]["p_permutation"]) == pytest.approx(flipped.pvalue)
    assert float(found[1]["p_permutation_smallest"]) == pytest.approx(2 / 16)
    assert int(found[1]["runs_needed_for_2_points"]) >= 2
    text = markdown(analysis)
    assert "## Differences" in text
    assert f"multiplied by its size, {len(collecting.RIVALS)}" in text


def test_one_contrast_has_one_corrected_p_in_every_study(tmp_path: Path) -> None:
    adaptive, fixed = [14.0, 15.0, 16.5, 15.2], [12.0, 15.1, 16.0, 14.5]
    for study, rivals in (("small", ["fixed"]), ("large", ["fixed", "original", "random", "resample"])):
        make_arm(tmp_path / study, "a", adaptive)
        for rival in rivals:
            scores = fixed if rival == "fixed" else [20.0, 21.5, 20.4, 23.0]
            make_arm(tmp_path / study, rival, scores, changes={"designer.name": rival})
    found = [
        {one.theirs.name: one.corrected for one in Analysis(collect(tmp_path / study)).contrasts}
        for study in ("small", "large")
    ]
    assert found[0]["fixed"] == found[1]["fixed"]
    assert len(found[1]) == 4


def test_runs_without_a_partner_are_tested_by_welch(tmp_path: Path) -> None:
    make_arm(tmp_path, "a", [14.0, 15.0, 16.5])
    for seed, score in ((5, 12.0), (6, 13.5), (7, 12.2)):
        make_run(tmp_path / f"f{seed}", changes={"seed": seed, "designer.name": "fixed"}, score=score)
    one = Analysis(collect(tmp_path)).contrasts[0]
    beside = stats.ttest_ind([14.0, 15.0, 16.5], [12.0, 13.5, 12.2], equal_var=False)
    assert one.difference.pairs == 0
    assert one.difference.test is not None
    assert one.difference.test.p == pytest.approx(beside.pvalue)


def test_pairs_that_share_designs_are_tested_by_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(14, 1, (3, 4)), rng.normal(12, 1, (3, 4))
    for seed in range(12):
        where = divmod(seed, 4)
        same = {"seed": seed, "design_set": where[0]}
        make_run(tmp_path / f"a{seed}", changes=same, score=float(ours[where]))
        make_run(tmp_path / f"o{seed}", "designer=original", changes=same, score=float(theirs[where]))
    one = Analysis(collect(tmp_path)).contrasts[0]
    assert one.difference.test is not None
    assert one.difference.test.p == pytest.approx(stats.ttest_1samp((ours - theirs).mean(axis=1), 0).pvalue)
    assert (one.difference.pairs, one.difference.count) == (12, 3)


def test_unequal_budgets_are_not_compared(tmp_path: Path) -> None:
    make_arm(tmp_path, "a", [10.0, 11.0])
    make_arm(tmp_path, "f", [10.0, 12.0], changes={"designer.name": "fixed", "schedule.final_steps": 9999})
    analysis = Analysis(collect(tmp_path))
    assert analysis.contrasts == []
    notes = "\n".join(analysis.notes)
    assert "the rows differ in training steps a run" in notes
    assert "adaptive - fixed is not compared: no two of these arms have all else equal" in notes


def test_the_config_names_more_contrasts(tmp_path: Path) -> None:
    make_run(tmp_path / "a", changes={"contrasts": ["fixed - original", "nonsense"]})
    study = collect(tmp_path)
    assert study.contrasts[0] == ("adaptive", "placebo")
    assert study.contrasts[-1] == ("fixed", "original")
    assert "'nonsense' is not written as 'arm - arm'" in "".join(study.notes)


def test_costs_by_kind(tmp_path: Path) -> None:
    for seed in (0, 1):
        steps = {"designed": 400, "original": 700, "feedback": 50, "report": 100, "validation": 800_000, "midway": 3}
        numbers: dict[str, Any] = {"llm_calls": 4 + seed, "prompt_tokens": 1000, "cost": 0.25 + seed}
        make_run(tmp_path / str(seed), changes={"seed": seed, **GPT4}, steps=steps, updates=240, **numbers)
    analysis = Analysis(collect(tmp_path))
    text = markdown(analysis)
    costs = row(text[text.index("## Costs") :], "adaptive")
    assert costs[1:] == ["4.5", "1,000", "0.75", "240", "6 min"]
    steps_of = row(text[text.index("## Environment steps") :], "adaptive")
    assert steps_of[1:] == ["400", "700", "50", "100", "800,000", "3"]
    assert records(write_tables(analysis)[2])[0]["dollars"] == "0.75"
    make_run(tmp_path / "open", changes={"seed": 2, **GPT4}, steps=steps, **numbers | {"cost": None})
    (*_, arms, _, _) = write_tables(Analysis(collect(tmp_path)))
    assert records(arms)[0]["dollars"] == ""  # as the table has it
    assert "took up to 800,000 validation steps beyond the training budget" in text
    without = make_run(tmp_path / "x" / "y")
    assert "| validation |" not in markdown(Analysis(collect(without.parent)))


def test_skills_have_both_rates_and_intervals(tmp_path: Path) -> None:
    for seed, coal in enumerate((300, 400, 350)):
        report = Successes(1000, {"collect_coal": coal, "collect_diamond": 0, "wake_up": 1000})
        make_run(tmp_path / str(seed), changes={"seed": seed}, report=report)
    found = records(write_tables(Analysis(collect(tmp_path)))[3])
    coal, diamond, _ = found
    theirs = stats.binomtest(1050, 3000).proportion_ci(0.95, method="wilson")
    assert (float(coal["pooled_low"]), float(coal["pooled_high"])) == pytest.approx(
        (100 * theirs.low, 100 * theirs.high)
    )
    over_runs = stats.t.interval(0.95, 2, 35, stats.sem([30, 40, 35]))
    assert (float(coal["mean_low"]), float(coal["mean_high"])) == pytest.approx(over_runs)
    # 0 of 3,000 is not never; runs that agree in it say nothing of others.
    never = stats.binomtest(0, 3000).proportion_ci(0.95, method="wilson")
    assert (diamond["mean"], diamond["mean_low"], diamond["mean_high"]) == ("0.0", "", "")
    assert float(diamond["pooled_high"]) == pytest.approx(100 * never.high)
    text = markdown(Analysis(collect(tmp_path)))
    assert row(text, "collect_diamond")[1] == "0.00 [0.00, 0.13]*"
    assert row(text, "wake_up")[1] == "100.00 [99.87, 100.00]*"


def test_runs_that_agree_have_no_interval_and_are_not_one_run(tmp_path: Path) -> None:
    make_arm(tmp_path, "a", [10.0] * 5)
    make_arm(tmp_path, "f", [9.0] * 5, changes={"designer.name": "fixed"})
    text = markdown(Analysis(collect(tmp_path)))
    assert row(text[text.index("## Results") :], "adaptive")[3] == "10.00 (n=5, no spread)"
    found = row(text[text.index("## Differences") :], "adaptive")
    assert found[1] == "+1.00 (n=5, no spread)"
    assert "n=1" not in text


@pytest.mark.parametrize("name", ["score", "score_low", "score_high", "reward", "training_score"])
def test_a_run_whose_result_is_no_number_is_passed_over(name: str, tmp_path: Path) -> None:
    make_arm(tmp_path, "a", [10.0, 11.0, 12.0])
    make_run(tmp_path / "b", changes={"seed": 3}, **{name: math.nan})
    study = collect(tmp_path)
    assert [len(arm.runs) for arm in study.arms] == [3]
    assert f"its {name} is nan, not a number" in "".join(study.notes)


# What stands apart, and what is refused


def test_different_configs_and_versions_are_rows_of_their_own(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", changes={"seed": 1, "evaluation.report_episodes": 9})
    make_run(tmp_path / "c", changes={"seed": 2}, versions="2")
    study = collect(tmp_path)
    assert [len(arm.runs) for arm in study.arms] == [1, 1, 1]
    labels = "\n".join(arm.label for arm in study.arms)
    assert "evaluation.report_episodes=9" in labels
    assert "version of torch=2" in labels
    notes = "\n".join(study.notes)
    assert "the rows differ in episodes of the report evaluation" in notes
    assert "the runs differ in torch (1, 2)" in notes


def test_what_changes_no_result_makes_no_arm(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "tracker=none")
    make_run(tmp_path / "b", "tracker=wandb", "num_threads=2", "checkpoint.every_steps=9", changes={"seed": 1})
    earlier = tmp_path / "b" / "config.yaml"
    earlier.write_text(earlier.read_text().replace(', "evidence": false', ""))  # of a version without the key
    make_run(tmp_path / "c", "designer=original", "llm=offline")
    make_run(tmp_path / "d", "designer=original", "llm=gpt4", changes={"seed": 1})
    make_run(tmp_path / "e", changes={"seed": 0, "designer.name": "placebo", "designer.told": [1]})
    make_run(tmp_path / "f", changes={"seed": 1, "designer.name": "placebo", "designer.told": [2]})
    assert [len(arm.runs) for arm in collect(tmp_path).arms] == [2, 2, 2]


def test_diagnostics_stand_apart(tmp_path: Path) -> None:
    make_arm(tmp_path, "a", [10.0, 11.0])
    make_arm(tmp_path, "f", [30.0, 31.0], changes={"designer.name": "fixed", "env.original": "fork"})
    make_arm(tmp_path, "g", [20.0, 21.0], changes={"env.generator": "released"})
    study = collect(tmp_path)
    assert len(study.arms) == 1
    assert {arm.runs[0].diagnostic for arm in study.diagnostics} == {
        ("env.original=fork",),
        ("env.generator=released",),
    }
    analysis = Analysis(study)
    assert analysis.contrasts == []
    text = markdown(analysis)
    assert {arm.label for arm in study.diagnostics} == {
        "fixed, offline (not an LLM), laptop, env.original=fork",
        "adaptive, offline (not an LLM), laptop, env.generator=released",
    }
    assert text.count("## Diagnostics, not to be compared: success by skill") == 1
    assert text.index("30.50 ± 0.71") > text.index("## Diagnostics, not to be compared: results") > text.index("10.50")


def test_a_repeated_run_counts_once(tmp_path: Path) -> None:
    make_run(tmp_path / "a", score=10.0)
    make_run(tmp_path / "b", score=20.0)
    study = collect(tmp_path)
    assert [len(arm.runs) for arm in study.arms] == [1]
    assert "b repeats" in study.notes[0]
    assert "10.00 (n=1)" in text_of(tmp_path)


def test_steps_that_do_not_match_the_budget_are_noted(tmp_path: Path) -> None:
    make_run(tmp_path / "a", steps={"designed": 1, "original": 2, "feedback": 3, "report": 4})
    assert "trained 3 steps where its config asks for" in collect(tmp_path).notes[0]


def test_steps_that_were_taken_off_are_not_missing(tmp_path: Path) -> None:
    changes = {"arm": "sfl", "designer.deduct": True}
    budget = make_run(tmp_path / "budget")
    asked = collecting.read_run(budget).training_steps
    steps = {"designed": 0, "original": asked - 50, "feedback": 3, "report": 4, "validation": 41}
    make_run(tmp_path / "a" / "0", changes=changes, steps=steps)
    notes = collect(tmp_path / "a").notes
    assert "took up to 41 validation steps taken off its training" in notes[0]
    assert "where its config asks for" not in "".join(notes)
    make_run(tmp_path / "a" / "1", changes={**changes, "seed": 1}, steps={**steps, "original": asked})
    assert "where its config asks for" in "".join(collect(tmp_path / "a").notes)


def test_unfinished_runs_are_named_and_counted_in_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", changes={"seed": 1}, finished=False)
    text = text_of(tmp_path)
    assert "note: unfinished runs: 1; they count in no number" in text
    assert "seed 1, 1 phases done; to go on:" in text
    assert pasted(f"python run.py resume={tmp_path / 'b'}") in text
    (tmp_path / "a" / "summary.json").unlink()
    assert "No run is finished yet." in markdown(Analysis(collect(tmp_path)))
    assert main([str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "phases" / "003-cycle1-evaluate.json").unlink(), "phases/ lacks phase 003"),
        (lambda run: sorted(run.glob("phases/*"))[-1].unlink(), "phases/ lacks the report evaluation"),
        (lambda run: shutil.rmtree(run / "phases"), "phases/ lacks the report evaluation"),
        (lambda run: edit(run / "config.yaml", lambda v: v["config"].update(cycles=9)), "its identity is not that of"),
        (lambda run: edit(run / "config.yaml", lambda v: v["config"].pop("llm")), "it lacks 'llm.name'"),
        (
            lambda run: edit(run / "config.yaml", lambda v: v["config"]["agent"].update(name="absent")),
            "agent.name=absent: there is none of this name",
        ),
        (lambda run: edit(run / "summary.json", lambda v: v.pop("steps")), "is no run's summary"),
        (lambda run: edit(max(run.glob("phases/*")), lambda v: v.pop("values")), "what no run writes"),
        (lambda run: (run / "summary.json").write_text("{"), "can't read"),
        (lambda run: (run / "summary.json").write_text("[]"), "is no run's summary"),
        (lambda run: (run / "config.yaml").write_text("a: 1\n"), "it has no format"),
    ],
)
def test_a_folder_that_is_not_whole_is_passed_over(tmp_path: Path, damage: Any, words: str) -> None:
    make_run(tmp_path / "a")
    damage(make_run(tmp_path / "b", changes={"seed": 5}))
    (tmp_path / "plain").mkdir()
    study = collect(tmp_path)
    assert [len(arm.runs) for arm in study.arms] == [1]
    assert len(study.notes) == 1
    assert study.notes[0].startswith("passed over: ")
    assert words in study.notes[0]


def test_two_sweeps_in_one_folder_are_told(tmp_path: Path) -> None:
    make_run(tmp_path / "a", command="python run.py experiment=table2 seed=0")
    make_run(tmp_path / "b", changes={"seed": 1}, command="python run.py experiment=controls seed=1")
    assert (
        collect(tmp_path)
        .notes[0]
        .startswith("several sweeps in one folder, experiment=controls (runs: 1), table2 (runs: 1)")
    )


def test_a_folder_of_sweeps_is_one_line(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_run(tmp_path / name / "a")
    with pytest.raises(RunFolderError, match=r"holds 2 sweeps \(one, two\): name one, e\.g\. .*/one$"):
        collect(tmp_path)


@pytest.mark.parametrize("make", ["missing", "empty", "foreign", "file"])
def test_what_is_no_run_is_one_line_and_exit_status_2(
    tmp_path: Path, make: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x"
    if make == "file":
        folder.write_text("")
    elif make != "missing":
        folder.mkdir()
    if make == "foreign":
        (folder / "config.yaml").write_text("nothing: here\n")
    assert main([str(folder)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("envgen: error: ")
    assert output.err.count("\n") == 1
    assert str(folder) in output.err


@pytest.mark.parametrize("name", ["tables.md", "tables.tex", "arms.csv", "skills.csv", "contrasts.csv"])
def test_nobody_elses_file_is_overwritten(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "a")
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path)]) == 0  # ours are written anew
    (tmp_path / name).write_text("my own notes\n")
    capsys.readouterr()
    assert main([str(tmp_path)]) == 2
    assert f"{name} was not written by this command" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "my own notes\n"


# What is written


def test_all_files_say_the_same(tmp_path: Path) -> None:
    make_arm(tmp_path, "a", [10.0, 12.0, 17.0, 11.0])
    make_arm(tmp_path, "f", [9.0, 8.0, 9.5, 10.0], changes={"designer.name": "fixed"})
    analysis = Analysis(collect(tmp_path))
    md, tex, arms, skills, contrasts = (file.read_text() for file in write_tables(analysis))
    mean = np.mean([10.0, 12.0, 17.0, 11.0])
    assert f"{mean:.2f} ± " in md
    assert rf"{mean:.2f} $\pm$ " in tex
    assert records(tmp_path / "arms.csv")[0]["score_mean"] == str(mean)
    assert "12.50" in text_of(tmp_path, 78)
    assert "adaptive - fixed" in contrasts
    assert skills.count("\n") == 1 + 2 * 3
    assert arms.count("\n") == 3
    assert {
        len(line.replace(r"\|", "").split("|")) for line in md.split("## Results")[1].split("##")[0].splitlines()[4:]
    } <= {1, 9}
    # Computed again, the same to the last letter.
    assert [file.read_text() for file in write_tables(Analysis(collect(tmp_path)))] == [
        md,
        tex,
        arms,
        skills,
        contrasts,
    ]


def test_latex_is_escaped_and_balanced(tmp_path: Path) -> None:
    make_arm(tmp_path, "a", [1.0, 2.0], changes={"arm": "100%_&#${}~^\\"})
    text = latex(Analysis(collect(tmp_path)))
    assert r"100\%\_\&\#\$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in text
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") > 1
    plain = text.replace(r"\{", "").replace(r"\}", "")
    assert plain.count("{") == plain.count("}")
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = len(table.partition("{")[2].partition("}")[0])
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {line.replace(r"\&", "").count(" & ") + 1 for line in rows} == {columns}


def test_numbers_are_whole_in_a_narrow_terminal(tmp_path: Path) -> None:
    steps = {"designed": 240_000, "original": 1_240_000, "feedback": 123_456, "report": 212_345, "validation": 800_000}
    make_arm(tmp_path, "a", [10.0, 12.0, 17.0], steps=steps)
    make_arm(tmp_path, "f", [9.0, 8.0, 9.5], changes={"designer.name": "fixed"}, steps=steps)
    text = text_of(tmp_path, 40)
    assert "…" not in text
    assert "13.00 ± 3.61" in text
    assert "1,240,000" in text
    assert "345 s" in text or "6 min" in text
    assert "1 - 2" in text
    assert not Counter(text_of(tmp_path, 250).split()) - Counter(text.split())  # no column is left out


def test_a_contrast_of_an_arm_that_is_none_is_noted(tmp_path: Path) -> None:
    named = {"main_contrast": "adaptive - orignal", "contrasts": ["fixed - mine", "mine - random"]}
    make_run(tmp_path / "a", changes=named)
    make_run(tmp_path / "b", changes={"arm": "mine", "ppo.gamma": 0.5, **named})
    notes = "\n".join(Analysis(collect(tmp_path)).notes)
    assert "adaptive - orignal: no arm is called orignal, did you mean original?" in notes
    assert notes.count("no arm is called") == 1


def test_a_thousand_runs_take_seconds(tmp_path: Path) -> None:
    """30 runs are made, then their folders repeated with other seeds: reading and counting is what is timed."""
    rng = np.random.default_rng(0)
    made = tmp_path / "made"
    for arm in range(10):
        changes = {"ppo.learning_rate": (arm + 1) / 1e4}
        make_run(made / str(arm), changes=changes, **crafter_report(rng))
    folder = tmp_path / "sweep"
    from envgen_exp.run.identity import identity_of

    for source in made.iterdir():
        document = json.loads((source / "config.yaml").read_text())
        *others, last = sorted((source / "phases").iterdir())
        report = json.loads(last.read_text())
        for seed in range(100):
            there = folder / f"{source.name}-{seed}"
            (there / "phases").mkdir(parents=True)
            for name in (*(f"phases/{other.name}" for other in others), "summary.json"):
                (there / name).symlink_to(source / name)
            document["config"]["seed"] = seed
            document["identity"] = identity_of(document["config"])
            (there / "config.yaml").write_text(json.dumps(document))
            report["values"]["score/report"] = float(rng.normal(10 + int(source.name), 1))
            (there / "phases" / last.name).write_text(json.dumps(report))
    start = time.process_time()
    assert main([str(folder)]) == 0
    assert time.process_time() - start < 20
    assert len(records(folder / "arms.csv")) == 10
    assert {found["runs"] for found in records(folder / "arms.csv")} == {"100"}


def test_the_command_prints_a_run_and_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "before", score=7.89).rename(tmp_path / "a")
    assert main([str(run)]) == 0
    output = capsys.readouterr().out
    assert "7.89 % [4.75, 5.50], report evaluation" in output
    assert f"\n  {run}\n" in output
    command = [sys.executable, "-W", "error", "-m", "envgen_exp", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "7.89 (n=1)" in done.stdout
    assert f"  {tmp_path / 'tables.md'}\n" in done.stdout
    assert not done.stderr
