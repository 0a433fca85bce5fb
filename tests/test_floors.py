"""The house stands: a file imports from its own floor or from below, rooms that must not know each other don't."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

PACKAGE = "envgen_exp"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE

FLOORS = (
    "__init__ errors",
    "guard",
    "seeding registry config",
    "families",
    "llm",
    "learners",
    "designers",
    "tracking",
    "run",
    "reporting",
    "commands",
    "__main__",
)
"""From the ground up; each is a folder, but for the files at the top of the package."""

STRANGERS = (
    ("learners.ppo", "learners.asked"),
    ("learners.ppo", "learners.supervised"),
    ("learners.asked", "learners.supervised"),
    ("families.crafter", "families.driving"),
    ("families.crafter", "families.heist"),
    ("families.driving", "families.heist"),
    ("designers", "tracking"),
)
"""Rooms that never import each other."""


def imports(source: str, package: str) -> dict[str, int]:
    """The modules of this package that a source imports, lazily or for types as well, with the line of each."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).rstrip(".")
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.startswith(f"{PACKAGE}."):
                found.setdefault(name.removeprefix(f"{PACKAGE}."), node.lineno)
    return found


def floor(module: str) -> int | None:
    """The floor of a module, e.g. 'run.loop'; None where it has none."""
    room = module.split(".")[0]
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms.split()), None)


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def violations(sources: Mapping[str, str], packages: frozenset[str] = frozenset()) -> list[str]:
    """A line for each import that goes up, between strangers or from a module without a floor.

    `sources` maps modules, e.g. 'run.loop', to their text; those in `packages` are a folder's __init__.
    """
    known = set(sources)
    lines = []
    for module, source in sources.items():
        here = floor(module)
        if here is None:
            lines.append(f"{module} has no floor: give it one in FLOORS")
            continue
        parent = module if module in packages else module.rpartition(".")[0]
        for target, line in imports(source, f"{PACKAGE}.{parent}".rstrip(".")).items():
            there = floor(target)
            if there is None:
                if target in known or target.rpartition(".")[0] not in ("", *known):
                    lines.append(f"{module}:{line} imports {target}, which has no floor")
            elif there > here:
                lines.append(f"{module}:{line} imports {target}: floor {here} from floor {there}")
            for one, other in STRANGERS:
                if (within(module, one) and within(target, other)) or (within(module, other) and within(target, one)):
                    lines.append(f"{module}:{line} imports {target}: {one} and {other} are strangers")
    return lines


def cycles(sources: Mapping[str, str]) -> list[str]:
    """Modules that import each other when they are loaded, or for their types, as 'a -> b -> a'."""
    edges = {}
    for module, source in sources.items():
        tree = ast.parse(source)
        # What is imported for types alone makes a circle in the reader's head.
        blocks = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.If))]
        tree.body = [node for body in blocks for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        edges[module] = [target for target in imports(ast.unparse(tree), PACKAGE) if target in sources]
    found = []

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            found.append(" -> ".join([*path[path.index(module) :], module]))
            return
        for target in edges.pop(module, []):
            walk(target, [*path, module])

    for module in list(edges):
        walk(module, [])
    return found


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {module_name(path): path.read_text() for path in SOURCE.rglob("*.py")}


@pytest.fixture(scope="module")
def packages() -> frozenset[str]:
    return frozenset(module_name(path) for path in SOURCE.rglob("__init__.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def test_imports_go_down(sources: dict[str, str], packages: frozenset[str]) -> None:
    assert len(sources) > 10
    assert violations(sources, packages) == []


def test_every_floor_is_there(sources: dict[str, str]) -> None:
    """Nothing lies at the top of the package but the floors, and no floor is empty."""
    there = {module.split(".")[0] for module in sources}
    assert there == {room for rooms in FLOORS for room in rooms.split()}


def test_no_import_cycles(sources: dict[str, str]) -> None:
    assert cycles(sources) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("config", "from envgen_exp.families.family import Design"),
        ("config", "from envgen_exp.run import loop"),
        ("families.family", "import envgen_exp.learners.ppo.ppo"),
        ("families.family", "if True:\n    from envgen_exp.learners.ppo import ppo"),
        ("families.family", "def late():\n    from envgen_exp.learners.ppo import ppo"),
        ("families.family", "from ..learners import ppo"),
        ("learners.ppo.ppo", "from envgen_exp.learners.asked.prompt import Step"),
        ("llm.client", "from envgen_exp.learners.ppo import ppo"),
        ("llm.client", "from ..learners import ppo"),
        ("families.heist.engine", "from envgen_exp.families.crafter.design import VOCABULARY"),
        ("attic", "import json"),
    ],
)
def test_a_planted_violation_is_found(
    module: str, line: str, sources: dict[str, str], packages: frozenset[str]
) -> None:
    assert violations({**sources, module: f"{sources.get(module, '')}\n{line}\n"}, packages) != []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("learners.ppo.ppo", "from envgen_exp.families.family import Design"),
        ("learners.ppo.ppo", "from envgen_exp.learners.ppo.rollout import collect"),
        ("run.loop", "from envgen_exp import seeding"),
        ("families.crafter.engine", "from . import design"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, line: str) -> None:
    assert violations({module: line}) == []


def test_a_planted_cycle_is_found() -> None:
    assert cycles({"a": "from envgen_exp import b", "b": "import envgen_exp.c", "c": "from envgen_exp.a import x"}) == [
        "a -> b -> c -> a"
    ]
    assert cycles({"a": "if TYPE_CHECKING:\n    import envgen_exp.b", "b": "import envgen_exp.a"}) == ["a -> b -> a"]
    assert cycles({"a": "from envgen_exp import b", "b": "def f():\n    from envgen_exp import a"}) == []


def named(word: str, sources: Mapping[str, str], beside: str) -> list[str]:
    """The modules outside a room that say a word."""
    said = re.compile(rf"\b{word}\b", re.IGNORECASE)
    return [module for module, text in sources.items() if not within(module, beside) and said.search(text)]


def kinds_asked_for(sources: Mapping[str, str]) -> list[str]:
    """A line for each isinstance(x, SomeConfig) outside the folder of that config class."""
    trees = {module: ast.parse(source) for module, source in sources.items()}
    home = {
        node.name: module.rpartition(".")[0] or module
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config")
    }
    return [
        f"{module}:{node.lineno} asks for {name.id}"
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
        for name in getattr(node.args[1], "elts", [node.args[1]])
        if isinstance(name, ast.Name) and name.id in home and not within(module, home[name.id])
    ]


def test_a_plug_in_is_known_in_its_room_alone(sources: dict[str, str]) -> None:
    outside = named("ppo", sources, "learners.ppo")
    assert len(outside) <= 9, outside
    assert named("ppo", {**sources, "run.late": "# PPO's"}, "learners.ppo") == [*outside, "run.late"]
    assert kinds_asked_for(sources) == []
    for line in ("isinstance(config.ppo, PPOConfig)", "isinstance(section, (int, PLRConfig))"):
        assert len(kinds_asked_for({**sources, "run.late": line})) == 1


def test_no_file_is_long() -> None:
    native = SOURCE.parents[1] / "native"
    files = [file for file in (*SOURCE.rglob("*.py"), *native.iterdir()) if file.is_file()]
    assert len(files) > 150
    assert {file.name for file in files if len(file.read_text().splitlines()) > 400} == set()
