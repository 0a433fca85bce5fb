"""The paper's claims: what decides them, by planted arms at the paper's scale and smaller ones."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from studies import edit, make_arm, make_run

from envgen_exp.commands.report import main
from envgen_exp.reporting.study.claims import CLAIMS, MARGIN, Claim, paper_score
from envgen_exp.reporting.study.collect import collect, find_runs, make_arms, read_run
from envgen_exp.reporting.study.table_files import MARK
from envgen_exp.reporting.study.verdicts import Verdict, _Evidence, judge, write_claims
from envgen_exp.run.schemas import CONF

DOCS = Path(__file__).parents[1] / "docs"

LLM = {"llm.name": "gpt4", "llm.kind": "litellm", "llm.model": "openai/gpt-4.1"}


def plant(
    folder: Path, name: str, scores: list[float], designer: str = "adaptive", *words: str, **changes: Any
) -> None:
    """An arm at the paper's scale with a language model, unless `words` and `changes` say otherwise."""
    typed = ("experiment=table1", "scale=paper", "ppo=paper", f"arm={designer}", "llm=gpt4", *words)
    make_arm(folder, name, scores, *typed, changes={key.replace("__", "."): value for key, value in changes.items()})


def verdicts(folder: Path) -> dict[str, Verdict]:
    return {verdict.claim.text: verdict for verdict in judge(collect(folder).arms)}


ABOVE = "EnvGen is above PPO alone on the same number of steps"
KEPT = "Adaptive designs are better than the first set kept"
AS_GOOD = "Feedback every 0.12 M steps is as good as every 0.06 M"
PLAIN = [26.0, 27.0, 25.5, 26.8, 26.1]
GOOD = [32.0, 32.6, 31.4, 32.9, 31.8]


def test_a_planted_effect_is_replicated(tmp_path: Path) -> None:
    plant(tmp_path, "a", GOOD)
    plant(tmp_path, "o", PLAIN, "original")
    found = verdicts(tmp_path)
    assert found[ABOVE].word == "replicated"
    assert found[ABOVE].detail.startswith("+5.86 [")
    assert "(5 pairs; n=5, n=5)" in found[ABOVE].detail
    assert found["PPO alone on 1.96 M steps scores 26.4"].word == "replicated"
    assert found["EnvGen is above SPRING, a GPT-4 agent (27.3)"].word == "replicated"
    assert found[KEPT].word == "not run"
    assert [paper_score(arm.runs[0]) for arm in collect(tmp_path).arms] == [32.2, 26.4]


def test_no_effect_is_not_replicated_and_few_runs_are_underpowered(tmp_path: Path) -> None:
    plant(tmp_path / "none", "a", GOOD)
    plant(tmp_path / "none", "o", [31.9, 32.7, 31.5, 32.8, 31.7], "original")
    found = verdicts(tmp_path / "none")
    assert found[ABOVE].word == "not replicated"
    assert found["PPO alone on 1.96 M steps scores 26.4"].word == "not replicated"
    plant(tmp_path / "few", "a", [29.0, 36.0])
    plant(tmp_path / "few", "o", [33.0, 25.0], "original")
    few = verdicts(tmp_path / "few")[ABOVE]
    assert few.word == "underpowered"
    needed = re.search(r"; (\d+) runs an arm would do", few.detail)
    assert needed is not None
    assert int(needed[1]) > 2
    plant(tmp_path / "one", "a", [32.0])
    plant(tmp_path / "one", "o", [26.0], "original")
    assert "at least 2 independent runs an arm" in verdicts(tmp_path / "one")[ABOVE].detail


def test_the_stand_in_decides_nothing_about_a_language_model(tmp_path: Path) -> None:
    plant(tmp_path, "a", GOOD, llm__name="offline", llm__kind="offline", llm__model="")
    plant(tmp_path, "o", PLAIN, "original", llm__kind="offline")
    found = verdicts(tmp_path)
    assert found[ABOVE].word == "not run with a language model"
    assert "decides nothing" in found[ABOVE].detail
    asked = {text: verdict.word for text, verdict in found.items() if verdict.claim.asks}
    assert not {"replicated", "not replicated", "underpowered"} & set(asked.values())
    assert found["PPO alone on 1.96 M steps scores 26.4"].word == "replicated"  # which asks nobody


@pytest.mark.parametrize("kind", ["embedded", "paste"])
def test_every_real_language_model_decides(kind: str, tmp_path: Path) -> None:
    plant(tmp_path, "a", GOOD, llm__name=kind, llm__kind=kind, llm__model="some")
    plant(tmp_path, "o", PLAIN, "original", llm__kind="offline")
    assert verdicts(tmp_path)[ABOVE].word == "replicated"


def test_smaller_runs_are_told_and_decide_nothing(tmp_path: Path) -> None:
    plant(tmp_path, "a", GOOD, "adaptive", "ppo=laptop")
    plant(tmp_path, "o", [26.0, 27.0, 25.5], "original", "ppo=laptop")
    found = verdicts(tmp_path)
    assert found[ABOVE].word == "not run at the paper's scale"
    assert "1,960,000 steps, ppo=laptop: +" in found[ABOVE].detail
    assert "ppo.name=laptop (paper: paper)" in found[ABOVE].detail
    alone = found["PPO alone on 1.96 M steps scores 26.4"]
    assert alone.word == "not run at the paper's scale"
    assert "points" not in alone.detail


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ppo.network", "nature"),
        ("ppo.gamma", 0.99),
        ("designer.prompt", "rich"),
        ("llm.temperature", 1.0),
        ("evaluation.report_episodes", 4),
        ("env.original_length", 500),
        ("schedule.mixture", "blend"),
    ],
)
def test_what_is_not_the_papers_is_named_and_decides_nothing(key: str, value: Any, tmp_path: Path) -> None:
    for name, scores, designer in (("a", GOOD[:2], "adaptive"), ("o", PLAIN[:2], "original")):
        plant(tmp_path, name, scores, designer, **{key: value})
    found = verdicts(tmp_path)
    if key == "schedule.mixture":
        assert found[ABOVE].word == "not run"  # another treatment altogether
        return
    assert found[ABOVE].word == "not run at the paper's scale"
    assert f"decides nothing, since {key}={value} (paper: " in found[ABOVE].detail
    arms = {arm.name: paper_score(arm.runs[0]) for arm in collect(tmp_path).arms}
    asked_alone = key.startswith(("designer.", "llm."))  # plain PPO has neither
    assert arms == {"adaptive": None, "original": 26.4 if asked_alone else None}


def test_what_changes_nothing_of_the_comparison_may_differ(tmp_path: Path) -> None:
    free = {"evaluation.report_episodes": 2000, "env.engine": "reference", "device": "cuda", "design_set": 3}
    plant(tmp_path, "a", GOOD, **free, **{"llm.model": "x/y", "llm.name": "other", "llm.max_tokens": 9})
    plant(tmp_path, "o", PLAIN, "original", **free)
    assert verdicts(tmp_path)[ABOVE].word == "replicated"


@pytest.mark.parametrize(
    ("experiment", "typed"),
    [
        ("table3", ("arm=adaptive", "cycles=40")),
        ("table4", ("arm=original", "cycles=1")),
        ("table7", ("arm=ratio_2_to_1",)),
        ("obfuscated", ("arm=adaptive", "designer.prompt=obfuscated")),
    ],
)
def test_a_claims_arm_is_what_its_command_composes(experiment: str, typed: tuple[str, ...], tmp_path: Path) -> None:
    claim = next(claim for claim in CLAIMS if claim.experiment == experiment)
    arm = claim.theirs
    assert arm is not None
    folder = make_run(
        tmp_path / "run", f"experiment={experiment}", "scale=paper", "ppo=paper", "llm=gpt4", *typed, finished=False
    )
    assert arm.matches(read_run(folder))
    assert arm.departures(read_run(folder), experiment) == []
    edit(folder / "config.yaml", lambda values: values["config"]["schedule"].update(final_steps=7))
    assert arm.departures(read_run(folder), experiment)[0].startswith("schedule.final_steps=7 (paper: ")


def test_verdicts_exclude_each_other(tmp_path: Path) -> None:
    """30 runs an arm, and a difference of half a point where the paper has 5.8."""
    rng = np.random.default_rng(0)
    plain = (26.4 + rng.normal(0, 1, 30)).tolist()
    plant(tmp_path, "a", [one + 0.48 + rng.normal(0, 0.3) for one in plain], design_set=None)
    plant(tmp_path, "o", plain, "original")
    found = verdicts(tmp_path)[ABOVE]
    assert found.word == "smaller"
    assert found.detail.startswith("+0.")
    assert found.detail.endswith("after Holm; above zero and below half of 5.8")


def test_both_sides_of_all_claims_are_one_family(tmp_path: Path) -> None:
    plant(tmp_path, "a", GOOD)
    plant(tmp_path, "o", PLAIN, "original")
    plant(tmp_path, "f", [31.0, 32.0, 31.5, 30.8, 31.4], "fixed")
    # Table 1: two numbers, above plain PPO, above SPRING; Table 2: above the first set kept; appendix and skills: none.
    decided = [one for one in verdicts(tmp_path).values() if "after Holm" in one.detail]
    assert len(decided) == 5 + sum(one.claim.skill is not None for one in decided)
    test = stats.ttest_rel(GOOD, [31.0, 32.0, 31.5, 30.8, 31.4])
    raw = [(test.pvalue, stats.ttest_1samp(np.subtract(GOOD, [31.0, 32.0, 31.5, 30.8, 31.4]), 1.15).pvalue)]
    shown = re.search(r"p=([\d.e-]+) for, ([\d.e-]+) against", verdicts(tmp_path)[KEPT].detail)
    assert shown is not None
    assert float(shown[1]) > 2 * raw[0][0] * 0.99  # more than its own two sides
    assert float(shown[1]) <= 2 * len(decided) * raw[0][0] * 1.01


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ([32.1, 32.5, 31.6, 32.7, 31.9], "replicated"),
        ([22.0, 22.5, 21.6, 22.7, 21.9], "not replicated"),
        ([25.0, 39.0], "underpowered"),
    ],
)
def test_as_good_as_is_a_test_of_equivalence(tmp_path: Path, other: list[float], word: str) -> None:
    plant(tmp_path, "a", GOOD)
    plant(
        tmp_path, "b", other, cycles=8, schedule__designed_steps=60_000, schedule__original_steps=60_000, contrasts=[]
    )
    assert verdicts(tmp_path)[AS_GOOD].word == word


def test_the_sides_of_a_claim_are_tested_at_their_own_bounds() -> None:
    """Above nothing, both ways; below half of what the paper claims; for equality within the margin, and outside it."""
    above = next(claim for claim in CLAIMS if claim.text == ABOVE)
    same = next(claim for claim in CLAIMS if claim.kind == "same")
    p_above = {0.0: 0.03, MARGIN: 0.4, -MARGIN: 0.2}
    p_below = {above.size / 2: 0.07, MARGIN: 0.1, -MARGIN: 0.3}
    found = SimpleNamespace(test=SimpleNamespace(above=p_above.__getitem__, below=p_below.__getitem__))

    def p_values(claim: Claim) -> tuple[float, float]:
        return _Evidence(claim, None, None, True, (), found).p_values  # type: ignore[arg-type]

    assert p_values(above) == (0.06, 0.07)
    assert p_values(same) == (0.2, 0.6)
    p_above |= {0.0: 0.8, MARGIN: 0.7}
    p_below |= {-MARGIN: 0.9}
    assert p_values(above) == (1.0, 0.07)
    assert p_values(same) == (0.2, 1.0)


def test_a_run_with_diagnostic_settings_is_no_evidence(tmp_path: Path) -> None:
    plant(tmp_path, "p", PLAIN, "original", env__original="fork")
    plant(tmp_path, "e", GOOD, env__original="fork")
    arms, _ = make_arms(find_runs(tmp_path)[0])
    assert len(arms) == 2
    assert {verdict.claim.text: verdict for verdict in judge(arms)}[ABOVE].word == "not run"


def test_other_models_and_budgets_are_never_paired(tmp_path: Path) -> None:
    plant(tmp_path, "a", GOOD)
    plant(tmp_path, "f", [29.0, 30.0, 29.5], "fixed", llm__name="deepseek", llm__model="deepseek/deepseek-chat")
    plant(tmp_path, "o", [26.0, 27.0, 25.5], "original", schedule__final_steps=900_000)
    plant(tmp_path, "d", [36.0, 37.0], "original", env__original="fork")
    found = verdicts(tmp_path)
    assert found[KEPT].word == found[ABOVE].word == "not run"
    plant(tmp_path, "g", [31.0, 32.4, 31.1], "fixed")
    found = verdicts(tmp_path)
    assert found[KEPT].word != "not run"
    assert found["GPT-4's fixed designs are better than DeepSeek-Coder's"].detail.startswith("+2.00 [")


def test_what_cannot_be_decided_says_why(tmp_path: Path) -> None:
    settings = {"designer.name": "adaptive", "env.name": "heist", "cycles": 1, **LLM}
    make_arm(tmp_path, "a", [37.0, 38.0], changes=settings)
    make_arm(tmp_path, "o", [26.5, 26.5], changes={**settings, "designer.name": "original"})
    found = verdicts(tmp_path)["EnvGen takes the gem more often than PPO alone"]
    assert found.word == "no verdict possible"
    assert "+11.00 [" in found.detail


def test_every_claim_of_the_paper_has_an_entry_and_a_command() -> None:
    assert {claim.table for claim in CLAIMS} >= {*(f"Table {number}" for number in range(1, 8)), "Heist", "appendix"}
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.size > 0 or claim.kind == "number"
        if not claim.experiment:
            assert claim.impossible
            continue
        assert claim.command.startswith(f"python run.py -m experiment={claim.experiment}")
        assert ("llm=" in claim.command) == (claim.asks and claim.experiment != "table5")


def test_every_claims_experiment_is_there() -> None:
    files = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
    assert {claim.experiment for claim in CLAIMS if claim.experiment} <= files


def test_the_document_is_written_from_the_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweeps, out = tmp_path / "multirun", tmp_path / "docs" / "claims.md"
    plant(sweeps / "one", "a", GOOD)
    plant(sweeps / "two", "o", PLAIN, "original")
    assert main(["--claims", str(sweeps), "--out", str(out)]) == 0
    assert f"{ABOVE} (Table 1): replicated: +5.86 [" in capsys.readouterr().out
    text = out.read_text()
    assert text.startswith(MARK)
    assert str(tmp_path) not in text
    line = next(line for line in text.splitlines() if ABOVE in line)
    assert "| **replicated** | +5.86 [" in line
    assert "`python run.py -m experiment=table1 scale=paper llm=gpt4`" in line
    write_claims(sweeps, out)
    assert out.read_text() == text
    out.write_text("mine")
    assert main(["--claims", str(sweeps), "--out", str(out)]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert main(["--claims", str(tmp_path / "nowhere")]) == 2


def test_the_committed_document_has_these_claims() -> None:
    text = (DOCS / "claims.md").read_text()
    for claim in CLAIMS:
        assert f"| {claim.table} | {claim.text} | {claim.printed} | **" in text
        assert f"`{claim.command}`" in text
