"""`import envgen_exp` in a script or a notebook: docs/python.md and the notebook of examples/ as they stand."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from PIL.Image import Image
from runs import SMOKE, quick

import envgen_exp
from envgen_exp.commands import interface, sweep
from envgen_exp.errors import ConfigError, DesignError, RunFolderError
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.family import DesignCheck

ROOT = Path(__file__).parents[1]
PAGE = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE | re.DOTALL)
LABELS = {"step", "cycle", "phase"}
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def test_importing_the_package_registers_the_games_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time\n"
        "import numpy\n"
        "before = time.process_time()\n"
        "import envgen_exp\n"
        "took = time.process_time() - before\n"
        "import gymnasium\n"
        "assert {'EnvGen/Crafter-v0', 'EnvGen/Heist-v0'} <= gymnasium.registry.keys()\n"
        "print(took, [name for name in sys.modules if name.split('.')[0] in "
        "('torch', 'litellm', 'wandb', 'hydra', 'omegaconf', 'crafter', 'procgen', 'pydantic', 'numba')])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds, _, modules = out.partition(" ")
    assert modules == "[]\n"
    assert float(seconds) < 0.5


def test_what_it_offers_is_typed_and_there() -> None:
    stub = (ROOT / "src" / "envgen_exp" / "__init__.pyi").read_text()
    assert sorted(re.findall(r"import (\w+) as \1\n", stub)) == sorted(envgen_exp._OFFERED)
    for name in envgen_exp._OFFERED:
        assert getattr(envgen_exp, name) is getattr(interface, name)
        assert name in dir(envgen_exp)
    with pytest.raises(AttributeError, match="has no attribute 'compsoe'"):
        _ = envgen_exp.compsoe


def test_who_has_the_engines_alone_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'hydra'", name="hydra")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"envgen_exp.load needs hydra.*'\.\[run\]'"):
        _ = envgen_exp.load


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the page's code has made, one block after the other."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, quick():
        patch.chdir(tmp_path_factory.mktemp("page"))
        for block in PAGE:
            exec(compile(block, "docs/python.md", "exec"), names)
        yield names


def test_the_page_runs_as_written(page: dict[str, Any]) -> None:
    assert "training    2 cycles" in page["composed"].plan()
    assert page["run"].finished
    assert page["run"].folder.parent == Path("runs")
    assert page["run"].config.seed == 3
    assert page["picture"].shape == (576, 576, 3)
    assert page["played"]["length"].shape == (2,)


def test_designs_alone_are_those_of_the_whole_run(page: dict[str, Any]) -> None:
    designed: envgen_exp.LoadedRun = page["designed"]
    assert not designed.finished
    assert designed.curves["designs/repaired"].steps.tolist() == [0]
    assert designed.curves.keys().isdisjoint({"steps/designed", "steps/original"})
    assert designed.designs == [row for row in page["run"].designs if row["cycle"] == 1]


def test_an_agent_is_trained_in_given_designs_alone_and_can_be_saved_and_scored(page: dict[str, Any]) -> None:
    trained: envgen_exp.LoadedRun = page["trained"]
    assert [row["settings"] for row in trained.designs[:2]] == page["settings"]
    assert (trained.designs[2]["settings"]["target_biome"], len(trained.designs)) == ("mountain", 3)
    assert (trained.record.total_steps, trained.curves["steps/designed"].values[-1]) == (1024, 1024)
    assert set(trained.episodes["design"]) <= {row["design"] for row in trained.designs}
    assert set(trained.episodes["phase"]) == {"cycle1-train-designed"}
    assert {path.name for path in Path("my-agent").iterdir()} >= {"weights.safetensors", "agent.py", "README.md"}
    scored = envgen_exp.compose(f"resume={trained.folder}").run()
    assert (scored.finished, scored.record.total_steps) == (True, 1024)


def test_training_in_the_original_alone(page: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    run = envgen_exp.compose(*SMOKE, "cycles=3", "designer=fixed").train([None], steps=800)
    assert set(run.episodes["design"]) == {"original"}
    assert (run.config.arm, run.config.cycles, run.config.designer.name) == ("original", 1, "original")
    assert f"resume={run.folder}" in capfd.readouterr().out


def test_a_loaded_run_is_what_the_record_says(page: dict[str, Any]) -> None:
    run: envgen_exp.LoadedRun = page["run"]
    summary = run.record.summary
    assert summary is not None
    assert run.score == summary.score
    assert summary.command.startswith("python run.py debug=smoke seed=3")
    curve = run.curves["return/report"]
    assert (curve.steps[-1], curve.values[-1]) == (run.record.total_steps, summary.reward)
    assert {name for row in (*run.record.rows, *run.record.timings) for name in row} == run.curves.keys() | LABELS
    assert [len(proposal.designs) for proposal in run.record.proposals.values()] == [
        sum(row["cycle"] == cycle for row in run.designs) for cycle in (1, 2)
    ]
    episodes = run.episodes
    assert {len(column) for column in episodes.values()} == {sum(map(len, run.record.episodes.values()))}
    assert episodes["return"][episodes["phase"] == "report-evaluation"].mean() == pytest.approx(summary.reward)
    assert set(episodes["design"]) <= {"original", *(row["design"] for row in run.designs)}
    assert list(run.skills) == list(run.record.skills)


def test_a_run_that_is_not_finished_says_so(page: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    (folder / "config.yaml").write_bytes((page["run"].folder / "config.yaml").read_bytes())
    begun = envgen_exp.load(folder)
    assert (begun.finished, dict(begun.curves), begun.designs, len(begun.episodes["return"])) == (False, {}, [], 0)
    with pytest.raises(RunFolderError, match=r"not finished; to go on: .*resume="):
        _ = begun.score
    with pytest.raises(RunFolderError, match=r"is no run|config.yaml"):
        envgen_exp.load(tmp_path)


def test_what_is_wrong_is_one_line(page: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean heist"):
        envgen_exp.compose("env=hiest")
    with pytest.raises(ConfigError, match="dry_run=true"):
        envgen_exp.compose("dry_run=true").run()
    with pytest.raises(ConfigError, match="episodes: 0, allowed are whole numbers from 1"):
        page["run"].evaluate(episodes=0)
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "mine.yaml").write_text("defaults: [offline, _self_]\nname: mine\n")
    assert envgen_exp.compose("llm=mine", config_dir=tmp_path).config.llm.name == "mine"
    composed = page["composed"]
    with pytest.raises(DesignError, match="needs designs, or the original alone"):
        composed.train([None, {}], steps=400)
    with pytest.raises(DesignError, match="did you mean target_biome"):
        composed.train([{"target_biom": "mountain"}], steps=400)
    with pytest.raises(ConfigError, match="nearest allowed: 400 or 404"):
        composed.train([{}], steps=401)
    with monkeypatch.context() as patch:
        patch.setattr(CrafterFamily, "check", lambda *_: DesignCheck(playable=False, findings=("lava",), impossible=()))
        with pytest.raises(ConfigError, match=r"designer\.sets: cycle 1, design 1: can't be played: lava"):
            composed.train([{}], steps=400)
    with pytest.raises(ConfigError, match="train: agent=direct trains nothing"):
        envgen_exp.compose("agent=direct", "llm=gpt4").train([{}], steps=400)
    with pytest.raises(ConfigError, match="has its designs"):
        envgen_exp.compose(f"resume={page['run'].folder}").train([{}], steps=400)
    monkeypatch.setattr(sweep, "run_once", lambda config, argv, part: 130)
    with pytest.raises(KeyboardInterrupt, match=f"resume={tmp_path}/run"):
        envgen_exp.compose(*SMOKE, f"folder={tmp_path}/run").run()


def test_the_notebook_runs_and_shows_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code cells one after the other, with what each shows: Jupyter itself is not installed."""
    monkeypatch.chdir(tmp_path)
    cells = [
        "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
    ]
    names: dict[str, Any] = {}
    shown = []
    with quick():
        for number, cell in enumerate(cells):
            *body, last = ast.parse(cell).body
            assert isinstance(last, ast.Expr), "a cell ends with what it shows"
            exec(compile(ast.Module(body, []), f"cell {number}", "exec"), names)
            shown.append(eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names))
    pictures = [one for one in shown if isinstance(one, Image)]
    assert [np.asarray(one).shape[2] for one in pictures] == [3]
    assert len(np.unique(np.asarray(pictures[0]).reshape(-1, 3), axis=0)) > 20  # a world, and not a blank
    (axes,) = [one for one in shown if isinstance(one, Axes)]
    assert len(axes.lines[0].get_xdata()) > 1
    pyplot.close("all")
