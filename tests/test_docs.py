"""What the docs say is so: the reference is the schema's and a real run's, links lead somewhere, pictures are named."""

from __future__ import annotations

import re
import runpy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import make_reference as reference
import pytest
from runs import composed, once, rows, run
from test_floors import FLOORS

import envgen_exp
from envgen_exp.__main__ import COMMANDS
from envgen_exp.commands.compose import CONF
from envgen_exp.guard.frozen import plain
from envgen_exp.learners import traits
from envgen_exp.learners.ppo.config import NETWORKS
from envgen_exp.run import plan
from envgen_exp.tracking.metrics import METRICS, describe

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "envgen_exp"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "multirun" / "README.md"])
ARCHITECTURE = ROOT / "docs" / "architecture.md"
FOLDERS = ("conf", "native", "tools", "tests", "benchmarks", "examples", "locks", "docs", "multirun")
"""At the top of the repository, beside src/."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which episodes end in every phase, checkpoints are written and all is learned that PPO can learn."""
    short = ("env.designed_length=15", "env.original_length=12", "evaluation.report_at=[300]")
    learned = ("ppo.aux_freq=4", "ppo.aux_epochs=1")
    return once(tmp_path_factory, "docs", lambda folder: run(folder, *short, *learned))


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference.md").read_text()
    assert written == reference.reference(), "make reference writes it anew"


def test_each_arm_has_a_row_and_each_command_is_named() -> None:
    cells = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "designers.md").read_text(), re.MULTILINE)
    assert {file.stem for file in (CONF / "arm").glob("*.yaml")} == set(re.findall(r"`(\w+)`", " ".join(cells)))
    (row,) = (line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `__main__.py` |"))
    assert [*COMMANDS] == row.partition(" COMMAND`: ")[2].rstrip(" |").split(", ")


@pytest.mark.parametrize("family", ["crafter", "driving", "heist"])
def test_the_reference_has_every_key_and_option(family: str) -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    for key in keys(plain(composed(f"env={family}"))):
        assert f"| `{key}` |" in text
    for file in CONF.glob("[!h]*/*.yaml"):  # conf/hydra/ is Hydra's
        assert f"`{file.parent.name}={file.stem}`" in text


def keys(section: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_a_run_logs_what_the_reference_says_and_where(folder: Path) -> None:
    """Each name of the table is in a real run's rows, in phases of the kinds that the reference names, and no other."""
    kinds = {phase.name: phase.kind for phase in plan.phases(composed())} | {plan.MIDWAY.format(300): "midway"}
    found = defaultdict(set)
    for log in ("metrics.jsonl", "timings.jsonl"):
        for row in rows(folder / log):
            for name in row.keys() - {"step", "phase", "cycle"}:
                metric = describe(name)
                assert metric is not None, name
                assert metric.clock == (log == "timings.jsonl")
                found[metric.name].add(kinds[row["phase"]])
    # What another learner's training logs is in its own runs.
    others = {*traits("supervised").metrics} - {*traits("ppo").metrics}
    assert dict(found) == {metric.name: set(reference.when(metric)[0]) for metric in METRICS if metric not in others}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(file: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_picture_is_shown_small_and_made_by_a_command() -> None:
    """`make pictures` makes them all, or a page names the command of a picture in a block of code."""
    shown = {name for page in PAGES for name in re.findall(r"\]\((?:docs/|\.\./)?pictures/([^)]+)\)", page.read_text())}
    pictures = {path.name: path for path in (ROOT / "docs" / "pictures").iterdir()}
    assert set(pictures) == shown
    code = [block for page in PAGES for block in re.findall(r"^```.*?^```$", page.read_text(), re.M | re.S)]
    makers = "\n".join([(ROOT / "tools" / "make_pictures.py").read_text(), *code])
    for name, path in pictures.items():
        assert name in makers, name
        assert path.stat().st_size < 300_000, name


@pytest.mark.parametrize("tool", sorted(path.name for path in (ROOT / "tools").glob("*.py")))
def test_a_tool_can_be_called(tool: str) -> None:
    """Its imports are there, and it knows where it stands."""
    try:
        made = runpy.run_path(str(ROOT / "tools" / tool), run_name="a tool")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("envgen_exp"):
            raise
        pytest.skip(f"not run: {error.name} is not installed")
    assert made.get("ROOT", ROOT) == ROOT
    assert made.get("DOCS", ROOT / "docs") == ROOT / "docs"


FILES = [path for top in ("src", *FOLDERS) for path in (ROOT / top).rglob("*") if path.is_file()]
FILE = re.compile(r"(?<![\w./:{-])(?:[\w.-]+/)*[\w-]+\.(?:py|cc|h|sh|toml)\b")
FOLDER = re.compile(rf"(?<![\w./-])(?:src|{'|'.join(FOLDERS)})/[\w./-]*\w/?")
TESTS = {name for path in FILES if path.match("tests/*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
NAMES = {path.name for path in FILES}
MODULE = re.compile(r"\benvgen_exp((?:\.[a-zA-Z_]\w*)+)")


def missing(text: str, page: Path = ROOT / "docs" / "page.md") -> set[str]:
    """The files, modules, commands and tests that a page names and that do not exist."""
    text = re.sub(r"\bC (?:`[^`]+`(?:, )?)+", "", text)  # files of the paper's code
    places = (ROOT, PACKAGE, page.parent)
    wrong = {name for name in FILE.findall(text) if not ("/" not in name and name in NAMES) and not there(name, places)}
    wrong |= {
        name for name in FOLDER.findall(text) if not re.match(r"multirun/(?!README)", name) and not there(name, places)
    }
    wrong |= {
        f"envgen_exp{name}"
        for name in MODULE.findall(text)
        if f"envgen_exp{name}" != NETWORKS.group and not is_module(name.split(".")[1:])
    }
    wrong |= {
        f"-m envgen_exp {word}"
        for word in re.findall(r"-m envgen_exp (\w+)", text)
        if word not in {*COMMANDS, "COMMAND"}
    }
    for name, rest in re.findall(r"\b(test_\w+)(\.\.\.|\.py)?", text):
        if rest != ".py" and not any(test.startswith(name) if rest else test == name for test in TESTS):
            wrong.add(name)
    return wrong


def there(name: str, places: tuple[Path, ...]) -> bool:
    return any((place / name).exists() for place in places)


def is_module(parts: list[str]) -> bool:
    """Whether dots lead to a module, to what stands in one, or to a group of entry points."""
    if parts[0] in envgen_exp._OFFERED:
        return True
    for number, part in enumerate(parts, start=1):
        here = PACKAGE.joinpath(*parts[: number - 1])
        if (here / f"{part}.pyi").exists():
            return True
        if (here / f"{part}.py").exists():
            return all(re.search(rf"\b{name}\b", (here / f"{part}.py").read_text()) for name in parts[number:])
        if not (here / part).is_dir():
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path) -> None:
    assert missing(page.read_text(), page) == set()


@pytest.mark.parametrize(
    "text",
    [
        "`envs/vector.py`",
        "`no_such_file.py`",
        "src/envgen_exp/rl/",
        "conf/nothing/",
        "envgen_exp.envs.gymnasium",
        "envgen_exp.run.films.NoSuchClass",
        "python -m envgen_exp reprot",
        "`test_no_such_promise`",
        "`test_no_such...`",
    ],
)
def test_what_does_not_exist_is_found(text: str) -> None:
    assert missing(text)


SUFFIXES = (".py", ".pyi", ".json", ".typed")
"""Of the package's files that a map names one by one; a folder of others is named as a whole."""


def mapped(page: Path) -> list[str]:
    """The names of a page's map, in the first column of its tables."""
    text = page.read_text().partition("\n## Map\n")[2]
    return [
        name
        for line in text.splitlines()
        if line.startswith("|")
        for name in re.findall("`([^`]+)`", line.split("|")[1])
    ]


def glossed(page: Path) -> bool:
    """Whether each line of a page's map says something."""
    text = page.read_text().partition("\n## Map\n")[2]
    return all(line.split("|")[2].strip() for line in text.splitlines() if line.startswith("|"))


def test_the_map_has_every_file_of_the_package_and_no_other() -> None:
    files = {
        path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    named = {
        str(file) for file in files if file.suffix in SUFFIXES and (file.name != "__init__.py" or len(file.parts) == 1)
    }
    named |= {f"{folder}/" for file in files for folder in file.parents if folder.name and file.suffix != ".so"}
    assert sorted(mapped(ARCHITECTURE)) == sorted(named)
    assert glossed(ARCHITECTURE)


def test_the_readmes_map_has_all_that_lies_at_the_top() -> None:
    package = {f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir()} - {"__pycache__/"}
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text().splitlines()}
    top = {
        f"{path.name}/"
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and not any(path.match(line) for line in ignored if line)
    }
    top |= {"run.py", "Makefile", "pyproject.toml", "CHANGELOG.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in top)
    assert sorted(mapped(ROOT / "README.md")) == sorted([*package, *top])
    assert glossed(ROOT / "README.md")


def test_the_drawing_is_of_the_floors() -> None:
    drawing = re.findall(r"^```mermaid\n(.*?)^```$", ARCHITECTURE.read_text(), re.MULTILINE | re.DOTALL)[0]
    boxes = re.findall(r'^ *f(\d+)\["([^<"]+)<br/>', drawing, re.MULTILINE)
    assert {int(number): rooms for number, rooms in boxes} == dict(enumerate(FLOORS))
    arrows = [(int(upper), int(lower)) for upper, lower in re.findall(r"f(\d+) --> f(\d+)", drawing)]
    assert arrows == [(floor, floor - 1) for floor in range(len(FLOORS) - 1, 0, -1)]
