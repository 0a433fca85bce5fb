"""The package as others install it: its wheel, in environments of its own, away from this clone; and `envgen`.

The wheel is built without compiling, and the engine that this environment has is put beside it; the test marked long
builds all of it. The packages of an environment are links to those installed here: nothing is fetched.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from runs import SMOKE, once

from envgen_exp import __version__
from envgen_exp.families.crafter import _crafter

ROOT = Path(__file__).parents[1]
OFFLINE = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
HEAVY = ("torch", "litellm", "wandb", "hydra", "matplotlib", "av", "rich")
ENGINES = f"""
import sys, time
import gymnasium
import envgen_exp
assert "site-packages" in envgen_exp.__file__, envgen_exp.__file__
for name in ("EnvGen/Crafter-v0", "EnvGen/Heist-v0"):
    env = gymnasium.make(name, render_mode="rgb_array")
    env.reset(seed=0)
    for _ in range(3):
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert env.render().shape == (576, 576, 3)
    env.close()
    envs = gymnasium.make_vec(name, num_envs=2, vectorization_mode="vector_entry_point")
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    envs.close()
for name in {HEAVY!r}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name + " is there")
"""
"""Uses both environments where nothing of a run's packages is installed."""


def built(to: Path, source: Path, *settings: str) -> Path:
    """The wheel of a clone or of a source distribution."""
    pip = (sys.executable, "-m", "pip", "wheel", "--no-build-isolation", *OFFLINE, *settings)
    subprocess.run([*pip, "--wheel-dir", to, source], check=True, timeout=600)
    (wheel,) = to.glob("*.whl")
    return wheel


def environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with nothing but the wheel; returns its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    pip = (sys.executable, "-m", "pip", "--python", folder, "install", *OFFLINE)
    subprocess.run([*pip, wheel], check=True, timeout=60)
    (site,) = folder.glob("lib/python*/site-packages")
    return site


def needed(name: str, extras: frozenset[str] = frozenset()) -> Iterator[str]:
    """The packages that a package asks for, and those that these ask for, by what is written in them."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(name, extras)]
    while todo:
        this = todo.pop()
        if this in seen:
            continue
        seen.add(this)
        yield this[0]
        for requirement in map(Requirement, metadata.requires(this[0]) or []):
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (*this[1], "")
            )
            if wanted:
                todo.append((requirement.name, frozenset(requirement.extras)))


def link(site: Path, packages: Sequence[str]) -> None:
    """Put packages that are installed here into an environment."""
    for package in packages:
        found = metadata.distribution(package)
        tops = {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(str(found.locate_file(top)))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = once(tmp_path_factory, "wheel", lambda to: built(to, ROOT, "--config-settings=wheel.cmake=false"))
    return next(made.glob("*.whl"))


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as `pip install` of the wheel alone makes it."""
    folder = tmp_path_factory.mktemp("light")
    site = environment(folder, wheel)
    shutil.copy(str(_crafter.__file__), site / "envgen_exp" / "families" / "crafter")
    (asked,) = site.glob("envgen_exp-*.dist-info/METADATA")
    lines = re.findall(r"^Requires-Dist: ([^;\n]+)$", asked.read_text(), re.MULTILINE)
    assert len(lines) > 5
    link(site, sorted({package for line in lines for package in needed(Requirement(line).name)}))
    return folder


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with all packages that there are here."""
    folder = tmp_path_factory.mktemp("full")
    site = environment(folder, wheel)
    shutil.copy(str(_crafter.__file__), site / "envgen_exp" / "families" / "crafter")
    here = metadata.distribution("torch").locate_file("")  # with this clone's .pth, which is not read there
    (site / "here.pth").write_text(str(here))
    return folder


def said(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_the_engines_alone_need_no_torch(light: Path, tmp_path: Path) -> None:
    done = said(light / "bin" / "python", "-W", "error", "-c", ENGINES, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_has_the_engines_alone_is_told_what_a_run_needs(light: Path, tmp_path: Path) -> None:
    envgen = light / "bin" / "envgen"
    assert said(envgen, "--version", cwd=tmp_path).stdout == f"envgen_exp {__version__}\n"
    assert "usage: envgen COMMAND" in said(envgen, cwd=tmp_path).stdout
    for words in (["llm=offline"], ["run"], ["report", "x"], ["--help", "env"]):
        done = said(envgen, *words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "which is not installed: pip install '.[run]'" in done.stderr


def test_the_wheel_runs_from_any_folder(full: Path, tmp_path: Path) -> None:
    mine, work = tmp_path / "my conf" / "llm", tmp_path / "work"
    mine.mkdir(parents=True)
    work.mkdir()
    (mine / "mine.yaml").write_text("# My model\ndefaults: [offline, _self_]\nname: mine\n")
    envgen = full / "bin" / "envgen"
    words = [*SMOKE, "tracker=none", f"--config-dir={mine.parent}", "llm=mine"]
    done = said(envgen, *words, cwd=work)
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = (work / "runs").iterdir()
    stored = yaml.safe_load((folder / "config.yaml").read_text())["config"]
    assert (stored["llm"]["name"], stored["seed"]) == ("mine", 0)
    lines = [line.strip() for line in done.stdout.splitlines()]
    commands = lines[lines.index("next") + 1 : lines.index("report")]
    assert len(commands) > 2
    for command, more in ((commands[0], "--cfg=job"), (commands[-1], "--help")):
        program, *rest = shlex.split(command)
        assert program == str(envgen)
        again = said(program, *rest, more, cwd=work)
        assert (again.returncode, again.stderr) == (0, ""), command


def test_the_extras_bring_all_that_the_source_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [project["optional-dependencies"][extra] for extra in ("run", "embedded", "dashboard")]
    asked = map(Requirement, [*project["dependencies"], *(line for extra in extras for line in extra)])
    there = {canonicalize_name(name) for one in asked for name in needed(one.name, frozenset(one.extras))}
    sources = metadata.packages_distributions()
    for top, file in imported():
        assert there & set(map(canonicalize_name, sources[top])), f"{file} imports {top}"


def imported() -> Iterator[tuple[str, Path]]:
    """The packages of others that a file of the source imports, wherever in it."""
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules.append(node.module or "")
            for top in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"envgen_exp"}:
                yield top, file


def test_an_editable_installation_adds_no_folder_but_src() -> None:
    files = metadata.distribution("envgen-exp").files or []
    lines = [line for file in files if file.suffix == ".pth" for line in file.read_text().splitlines()]
    assert [line for line in lines if not line.startswith("import ")] == [str(ROOT / "src")]


@pytest.mark.long
def test_a_source_distribution_has_all_that_a_wheel_needs(tmp_path: Path) -> None:
    """The engine is compiled from it, as where no wheel fits."""
    code = "import scikit_build_core.build, sys; scikit_build_core.build.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (archive,) = tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(built(tmp_path, archive)) as wheel:
        names = set(wheel.namelist())
    assert any(re.fullmatch(r"envgen_exp/families/crafter/_crafter\..*\.so", name) for name in names)
    ours = {f"envgen_exp/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(ours) > 50
    assert ours <= names
