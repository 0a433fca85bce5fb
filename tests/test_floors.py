"""The house stands: a file imports from its own floor or from below, rooms that must not know each other don't."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

PACKAGE = "envgen_exp"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE

FLOORS = (
    # What everything else is built on.
    "__init__ redaction config errors reading lock run_folder seeding stopping secrets validation explain inputs "
    "composition usage",
    # The games.
    "envs",
    # Learning and asking.
    "rl llm",
    # Who designs, what is written down.
    "designers agents tracking checkpoint plan session trial preparation recording export",
    # The loop, and what is made of its results.
    "pipeline agent_loop reporting",
    # The commands.
    "failure cli sweep studies report play preview dashboard reference model",
)

STRANGERS = (
    ("rl", "llm"),
    ("designers", "tracking"),
    ("envs.crafter", "envs.heist"),
)
"""Rooms of one floor that never import each other."""


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
    """The floor of a module, e.g. 'rl.ppo'; None where it has none."""
    room = module.split(".")[0]
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms.split()), None)


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def violations(sources: Mapping[str, str], packages: frozenset[str] = frozenset()) -> list[str]:
    """A line for each import that goes up, between strangers or from a module without a floor.

    `sources` maps modules, e.g. 'rl.ppo', to their text; those in `packages` are a folder's __init__.
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
    """Modules that import each other when they are loaded, as 'a -> b -> a'."""
    edges = {}
    for module, source in sources.items():
        tree = ast.parse(source)
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
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


def test_no_import_cycles(sources: dict[str, str]) -> None:
    assert cycles(sources) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("config", "from envgen_exp.families.family import Design"),
        ("config", "from envgen_exp import pipeline"),
        ("envs.family", "import envgen_exp.learners.ppo.ppo"),
        ("envs.family", "if True:\n    from envgen_exp.learners.ppo import ppo"),
        ("envs.family", "def late():\n    from envgen_exp.learners.ppo import ppo"),
        ("envs.family", "from ..rl import ppo"),
        ("rl.ppo", "from envgen_exp.llm.client import Client"),
        ("llm.client", "from envgen_exp.learners.ppo import ppo"),
        ("llm.client", "from ..rl import ppo"),
        ("envs.heist.engine", "from envgen_exp.families.crafter.design import VOCABULARY"),
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
        ("rl.ppo", "from envgen_exp.families.family import Design"),
        ("rl.ppo", "from envgen_exp.learners.ppo.rollout import collect"),
        ("pipeline", "from envgen_exp import seeding"),
        ("envs.crafter.engine", "from . import design"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, line: str) -> None:
    assert violations({module: line}) == []


def test_a_planted_cycle_is_found() -> None:
    assert cycles({"a": "from envgen_exp import b", "b": "import envgen_exp.c", "c": "from envgen_exp.a import x"}) == [
        "a -> b -> c -> a"
    ]
    assert cycles({"a": "from envgen_exp import b", "b": "def f():\n    from envgen_exp import a"}) == []
