"""A package with a family, a designer, a learner and a network of its own, installed: no file of ours knows it.

It is examples/plugins; each has settings of its own.
"""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import once

from envgen_exp import seeding
from envgen_exp.commands import cli
from envgen_exp.commands.compose import CONF, compose_run
from envgen_exp.commands.help import usage_of
from envgen_exp.config import RunConfig
from envgen_exp.errors import CheckpointError, ConfigError
from envgen_exp.families import make_family
from envgen_exp.guard.frozen import freeze, plain
from envgen_exp.guard.reading import read_json
from envgen_exp.learners import LEARNERS
from envgen_exp.learners.playing import Stepwise, play
from envgen_exp.learners.ppo.config import NETWORKS
from envgen_exp.learners.ppo.export import export
from envgen_exp.learners.ppo.ppo import PPO
from envgen_exp.llm.client import LateClient
from envgen_exp.reporting.study.collect import read_run
from envgen_exp.run.identity import identity
from envgen_exp.run.record import RunRecord
from envgen_exp.run.stored import structured
from envgen_exp.seeding import WorldSet

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugins"
CHOSEN = ("env=walk", "designer=ladder", "agent=table", "tracker=none")
NETWORK = ("env=walk", "designer=ladder", "ppo=flat", "tracker=none")
SMOKE = ("debug=smoke", "num_threads=1")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed."""

    def make(folder: Path) -> None:
        shutil.copytree(EXAMPLE, folder / "source")
        offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
        command = [sys.executable, "-m", "pip", "install", *offline, "--target", folder / "site", folder / "source"]
        subprocess.run(command, check=True, timeout=300)
        broken = folder / "site" / "broken-1.dist-info"
        broken.mkdir()
        (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
        points = (f"[envgen_exp.{kind}]\nbroken = no_such_module:X\n" for kind in ("families", "learners", "networks"))
        (broken / "entry_points.txt").write_text("".join(points))

    return once(tmp_path_factory, "plugins", make) / "site"


@pytest.fixture(autouse=True, scope="module")
def _installed(site: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "walk"]:
        del sys.modules[name]


def test_each_is_found_and_short() -> None:
    assert LEARNERS.find("table") is importlib.import_module("walk.learner").Table
    assert "flat" in NETWORKS.names
    for file in (EXAMPLE / "walk").glob("*.py"):
        assert len(file.read_text().splitlines()) <= 60, file


def test_its_settings_are_typed_like_ours() -> None:
    values = plain(compose_run([*CHOSEN, "env.patience=20", "designer.lowest=5", "agent.rate=0.25"]))
    assert (values["env"]["name"], values["env"]["patience"]) == ("walk", 20)
    assert (values["designer"]["lowest"], values["agent"]["rate"]) == (5, 0.25)
    values = plain(compose_run([*NETWORK, "ppo.width=8"]))
    assert [values["ppo"][key] for key in ("name", "network", "width")] == ["flat", "flat", 8]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("env.patince=7", "did you mean env.patience?"),
        ("designer.lowst=1", "did you mean designer.lowest?"),
        ("agent.rat=1", "did you mean agent.rate?"),
        ("ppo.widht=8", "did you mean ppo.width?"),
        ("env.patience=9", "env.patience=9: allowed is from 10 to 1000"),
        ("designer.lowest=many", "a whole number"),
        ("ppo.width=0", "ppo.width=0: allowed is from 1 to 4096"),
        (
            "ppo.network=falt",
            "ppo.network=falt: there is none of this name, did you mean flat?; allowed: auto | moon | envgen",
        ),
        ("agent=tabel", "no such option, did you mean table?"),
    ],
)
def test_a_wrong_word_gets_one_line(typed: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*NETWORK, typed] if "ppo" in typed else [*CHOSEN, typed]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["env=broken"], ["agent=broken"], ["ppo.network=broken"], ["env=broken", "env.patience=7"]]
)
def test_one_that_does_not_load_is_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*SMOKE, *words, f"folder={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "=broken: does not load: ModuleNotFoundError: No module named 'no_such_module'\n" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_help_has_its_keys_with_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help", "env", "designer", "agent", *CHOSEN]) == 0
    text = capsys.readouterr().out
    for line in ("env.patience=40", "Steps after which an episode ends.", "designer.lowest=3", "agent.explore=0.2"):
        assert line in text
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [
        text.count(f"    {name:<16} (an installed package's)\n") for name in ("walk", "ladder", "table", "flat")
    ] == [1] * 4
    text = usage_of("ppo", compose_run(NETWORK), CONF)
    assert "ppo.width=64" in text
    assert "(auto | moon | envgen | nature | dedieu | symbolic | symmetric | tiles | tiny | broken | flat)" in text


@pytest.mark.parametrize("words", [CHOSEN, NETWORK])
def test_what_a_folder_keeps_of_it_is_read_again(words: tuple[str, ...], tmp_path: Path) -> None:
    config = compose_run([*words, "env.patience=20"])
    assert freeze(structured(plain(config), tmp_path), RunConfig) == config


def test_what_changes_its_results_counts() -> None:
    kept = {identity(compose_run([*CHOSEN, *more])) for more in ([], ["ppo=smoke"], ["ppo.gamma=0.5"])}
    assert len(kept) == 1  # without effect on a table
    changes = ["agent.rate=0.25", "designer.lowest=5", "env.patience=20", "schedule.final_steps=4000", "cycles=2"]
    assert len({identity(compose_run([*CHOSEN, change])) for change in changes} | kept) == 1 + len(changes)


@pytest.mark.parametrize("words", [CHOSEN, (*NETWORK, "ppo.num_envs=4", "ppo.width=8")])
def test_a_run_ends_with_a_report(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert cli.main([*SMOKE, *words, f"folder={folder}"]) == 0
    said = capsys.readouterr().out
    choice = "agent=table" if words is CHOSEN else "ppo=flat"
    assert f"designer=ladder llm=offline {choice} seed=0" in said
    assert choice in (folder / "report.html").read_text()
    metrics = (folder / "metrics.jsonl").read_text()
    assert ("table/pictures" in metrics) is (words is CHOSEN)
    assert ("loss/policy" in metrics) is (words is not CHOSEN)
    run = read_run(folder)
    assert run.label == f"ladder, {choice.partition('=')[2]}"
    assert (run.asks, run.report_episodes) == (False, 4)
    assert run.summary is not None
    assert run.summary.family == "walk"
    assert RunRecord(folder).config.env.patience == 40  # type: ignore[attr-defined]
    first = read_json(next((folder / "phases").glob("*-cycle1-design.json")))
    assert [design["cells"] for design in first["proposal"]["designs"]] == [3, 5, 7, 9]


def learner_of(config: RunConfig) -> Any:
    return LEARNERS.find(config.agent.name).create(config, make_family(config.env), LateClient(), 0)


def mean_return(records: list[Any]) -> float:
    return float(np.mean([record.episode_return for record in records]))


@pytest.mark.parametrize("seed", range(5))
def test_the_learner_beats_a_random_policy(seed: int) -> None:
    config = compose_run([*CHOSEN, f"seed={seed}"])
    learner, worlds = learner_of(config), seeding.integers(seed, "worlds", count=4)
    for _ in learner.train([None] * 4, worlds, WorldSet.TRAIN, 2000):
        pass
    played = learner.evaluate([None] * 4, worlds, WorldSet.REPORT, [10] * 4, (seed, "evaluate")).records
    draw = np.random.default_rng(seed)
    env = learner.family.vector([None] * 4, worlds, WorldSet.REPORT)
    by_chance = play(env, [10] * 4, lambda obs: draw.integers(2, size=len(obs["pixels"])))
    assert mean_return(played) > mean_return(by_chance) + 0.3
    assert mean_return(played) == pytest.approx(0.97)  # four steps to the door


def test_a_phase_that_is_gone_on_with_ends_the_same() -> None:
    config = compose_run(CHOSEN)
    worlds = seeding.integers(0, "worlds", count=4)

    def begun(steps: int = 640) -> tuple[Any, Stepwise]:
        learner = learner_of(config)
        return learner, learner.train([None] * 4, worlds, WorldSet.TRAIN, steps)

    whole, phase = begun()
    ends = [progress.steps_done for progress in phase]
    assert ends == [128, 256, 384, 512, 640]
    first, phase = begun()
    for progress in phase:
        if progress.steps_done == 256:
            break
    saved = {"learner": first.state_dict(), "phase": phase.state_dict()}
    second, phase = begun()
    second.load_state_dict(saved["learner"])
    phase.load_state_dict(saved["phase"])
    assert [progress.steps_done for progress in phase] == ends[2:]
    assert second.state_dict() == whole.state_dict()
    with pytest.raises(CheckpointError, match="another phase"):
        begun(128)[1].load_state_dict(saved["phase"])
    with pytest.raises(ConfigError, match="can't be shared by its 4 slots"):
        type(whole).check_steps(641, config)


def test_a_network_of_another_package_has_its_own_width_where_the_preset_has_none(tmp_path: Path) -> None:
    sizes = []
    for words in (["ppo=smoke", "ppo.network=flat"], ["ppo=flat"], ["ppo=flat", "ppo.width=8"]):
        config = compose_run(["env=walk", "tracker=none", *words])
        family = make_family(config.env)
        made = PPO.create(config.ppo, family.observation_spec, family.num_actions, 0, torch.device("cpu"))  # type: ignore[attr-defined, arg-type]
        sizes.append(made.agent.encoder.num_features)
    assert sizes == [64, 64, 8]
    with pytest.raises(ConfigError, match=r"ppo\.network=flat: is another package's"):
        export(made, family, tmp_path, origin="")  # type: ignore[arg-type]


def test_a_learner_that_is_not_there_is_one_line() -> None:
    config = compose_run(CHOSEN)
    with pytest.raises(ConfigError, match=r"agent\.name=absent: there is none of this name; allowed: ppo \| direct"):
        identity(dataclasses.replace(config, agent=dataclasses.replace(config.agent, name="absent")))
