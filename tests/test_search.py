"""tools/search.py: bad settings stop early, and a search that was killed goes on as it would have."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from search import RUNGS, Search, main

from envgen_exp.commands.compose import compose_run
from envgen_exp.config import RunConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.learners.ppo.learner import PPOLearner

OPTIONS = ("ppo=smoke", "--trials", "6", "--steps", "640", "--seeds", "9000", "9001", "--tune", "gamma", "ent_coef")


def table(folder: Path) -> list[list[str]]:
    rows = (folder / "search.md").read_text().splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_bad_settings_stop_early_and_a_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes whose score is made up from the settings: the larger ent_coef, the better."""
    base = compose_run(
        ["ppo=smoke", "designer=original", "env.original_length=30", "num_threads=1", "env.num_threads=1"]
    )
    settings: dict[str, Any] = {}

    def composed(self: Search, chosen: dict[str, Any], seed: int) -> RunConfig:
        settings.update(chosen)
        return dataclasses.replace(base, seed=seed, ppo=dataclasses.replace(base.ppo, **chosen))

    def score(self: CrafterFamily, rates: dict[str, float]) -> float:
        return 1000 * float(settings["ent_coef"]) + rates["collect_sapling"]

    monkeypatch.setattr(Search, "composed", composed)
    monkeypatch.setattr(CrafterFamily, "score", score)
    assert main([str(tmp_path / "whole"), *OPTIONS]) == 0
    rows = table(tmp_path / "whole")
    assert sorted(int(row[0]) for row in rows) == [*range(6)]
    stopped = [row for row in rows if not row[1]]
    assert stopped
    assert all(re.fullmatch(rf"seed 1, [1-9]/{RUNGS}", row[2]) for row in stopped)
    best = [float(row[5]) for row in rows if row[1]]
    assert best == sorted(best, reverse=True)
    assert max(float(row[5]) for row in stopped) < best[0]

    # The same, killed now and then, after a part of a training that was kept and after one that wasn't.
    keep, kept = Search.keep, 0

    def dies(self: Search, state: dict[str, Any]) -> None:
        nonlocal kept
        kept += 1
        if kept % 26:
            keep(self, state)
        if not kept % 13:
            raise KeyboardInterrupt

    monkeypatch.setattr(Search, "keep", dies)
    deaths = 0
    while not (tmp_path / "killed" / "search.md").exists() or table(tmp_path / "killed") != rows:
        assert deaths < 20
        try:
            main([str(tmp_path / "killed"), *OPTIONS])
        except KeyboardInterrupt:
            deaths += 1
        else:
            break
    assert deaths > 3
    assert table(tmp_path / "killed") == rows


def test_settings_reach_the_config(tmp_path: Path) -> None:
    options = argparse.Namespace(folder=tmp_path, settings=["ppo=symbolic"], tune=["gamma"])
    config = Search(options).composed({"gamma": 0.97, "anneal_lr": True, "memory": 64}, 9001)
    assert (config.seed, config.designer.name) == (9001, "original")
    assert (config.ppo.gamma, config.ppo.anneal_lr, config.ppo.memory) == (0.97, True, 64)


@pytest.mark.parametrize(("more", "expected"), [((), 640), (("--total-steps", "1000"), 1000)])
def test_what_is_annealed_ends_with_the_run(
    more: tuple[str, ...], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: list[int] = []
    create = PPOLearner.create

    def noted(config: RunConfig, family: Any, client: Any, total_steps: int) -> PPOLearner:
        totals.append(total_steps)
        return create(config, family, client, total_steps)

    monkeypatch.setattr(PPOLearner, "create", noted)
    alone = ("ppo=smoke", "--trials", "1", "--steps", "640", "--seeds", "9000", "--tune")
    assert main([str(tmp_path), *alone, *more]) == 0
    assert totals == [expected]


def test_seeds_of_reported_runs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "ppo=smoke", "--seeds", "7"])
    assert "--seeds 7: allowed is 9000 and above" in capsys.readouterr().err
