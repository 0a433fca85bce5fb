"""The tutorial's commands, run as they stand there, in order, in a copy of the project with an environment of its own.

Fences are `sh` (run here), `sh long` (run where tests marked long are), and `sh setup` (what made this environment).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml
from runs import summary

from envgen_exp.families.crafter import engine

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
PARTS = ("run.py", "Makefile", "conf", "src", "native", "locks", "examples", "tests/llm_server.py", "pyproject.toml")


def blocks(fence: str) -> list[str]:
    """The blocks with this info string, in order."""
    return re.findall(rf"^```{fence}\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project as `make install` leaves it, but that the libraries are this environment's."""
    copy = tmp_path / "clone"
    for part in PARTS:
        source, target = ROOT / part, copy / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copy(engine._crafter.__file__, copy / "src" / "envgen_exp" / "families" / "crafter")
    venv.create(copy / ".venv", with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # The copy's own source is the package; nothing that the tutorial installs reaches this environment.
    paths = f"{copy / 'src'}\n{sysconfig.get_path('purelib')}\n"
    (copy / ".venv" / "lib" / version / "site-packages" / "copy.pth").write_text(paths)
    (copy / ".venv" / ".installed").touch()
    return copy


def follow(clone: Path, commands: list[str], seconds: float) -> str:
    """Type the commands into one shell, as a reader would; it ends with the first that fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    # Building in isolation would download setuptools.
    environment |= {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    shell = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=clone,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert shell.returncode == 0, shell.stdout[-3000:]
    return shell.stdout


def test_the_tutorial_runs_as_written(clone: Path) -> None:
    output = follow(clone, blocks("sh"), 600)
    runs = clone / "runs"
    for name in ("smoke", "own-llm", "own-designs", "corridor"):
        assert (runs / name / "report.html").exists(), name
    for name in ("mountain", "my-designs", "corridor"):
        assert "Preview of designs" in (runs / f"{name}.html").read_text()
    assert "2 to openai/gpt-4.1" in output  # the dry run's plan
    assert "runs/smoke/videos" in output
    assert (runs / "smoke" / "beside-own-designs.html").exists()

    assert summary(runs / "own-llm").llm_calls == 2

    mine = yaml.safe_load((clone / "my-designs.yaml").read_text())
    (phase,) = (runs / "own-designs" / "phases").glob("*-cycle2-design.json")
    designed = json.loads(phase.read_text())
    assert [design["purpose"] for design in designed["proposal"]["designs"]] == [design["purpose"] for design in mine]

    corridor = summary(runs / "corridor")
    assert corridor.family == "corridor"
    assert corridor.skills == ("take_key", "open_door")
    assert not (ROOT / "conf" / "env" / "corridor.yaml").exists()


@pytest.mark.long
def test_the_long_commands_run_as_written(clone: Path) -> None:
    follow(clone, blocks("sh long"), 3000)
    assert (clone / "runs" / "first" / "report.html").exists()
    assert "Easy and hard worlds" in (clone / "runs" / "heist" / "report.html").read_text()


def test_what_is_shown_is_what_the_files_hold() -> None:
    (code,) = blocks("python")
    assert code == (ROOT / "examples" / "corridor" / "corridor.py").read_text()
    (entry,) = blocks("toml")
    assert entry in (ROOT / "examples" / "corridor" / "pyproject.toml").read_text()
    (option,) = blocks("yaml")
    assert (ROOT / "examples" / "corridor" / "corridor.yaml").read_text().endswith(option)


def test_what_sets_up_is_a_target() -> None:
    for target in re.findall(r"make (\w+)", "".join(blocks("sh setup") + blocks("sh long"))):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
