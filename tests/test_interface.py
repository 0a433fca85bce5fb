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
from envgen_exp.errors import ConfigError, RunFolderError

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
    with pytest.raises(ModuleNotFoundError, match=r"envgen_exp.load needs hydra.*'envgen-exp\[run\]'"):
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
    monkeypatch.setattr(sweep, "run_once", lambda config, argv: 130)
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
