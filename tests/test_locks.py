"""The locks in locks/: they hold what pyproject.toml asks for, and a hash of each."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
ASKED = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"] + EXTRAS["run"] + EXTRAS["dev"]


def locked(name: str) -> dict[str, Requirement]:
    """Each package of a lock; a line that is none, or that has no hash, fails."""
    text = (ROOT / "locks" / name).read_text()
    blocks = re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE)[1:]
    for block in blocks:
        assert re.fullmatch(r"[^\\]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", block), block
    found = [Requirement(block.partition("\\")[0]) for block in blocks]
    assert len({canonical(requirement.name) for requirement in found}) == len(found)
    return {canonical(requirement.name): requirement for requirement in found}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("locks", "wanted"),
    [
        (["install.txt", "cpu.txt"], ASKED),
        (["install.txt", "cuda.txt"], ASKED),
        (["install.txt", "cpu.txt", "optional.txt"], [line for extra in EXTRAS.values() for line in extra]),
        (["install.txt"], ["pip"]),  # takes the rest, and is itself taken from the lock
        (["optional.txt"], ["hydra-ray-launcher"]),
        (["cuda.txt"], ["nvidia-cublas", "triton"]),
    ],
)
def test_the_locks_hold_an_allowed_version_of_all_that_is_asked_for(locks: list[str], wanted: list[str]) -> None:
    held = {name: requirement for lock in locks for name, requirement in locked(lock).items()}
    for requirement in map(Requirement, wanted):
        if requirement.name == PROJECT["project"]["name"]:
            continue  # an extra of this project's
        (pin,) = held[canonical(requirement.name)].specifier
        assert pin.operator == "=="
        assert Version(pin.version) in requirement.specifier, f"{requirement}, locked is {pin}: make lock"


def test_no_package_is_in_two_locks_but_torch() -> None:
    names = [name for lock in ("install.txt", "cuda.txt", "optional.txt") for name in locked(lock)]
    assert len(set(names)) == len(names)
    assert list(locked("cpu.txt")) == ["torch"]
    assert not [name for name in locked("install.txt") if re.match(r"torch$|nvidia-|cuda-|triton$", name)]


def test_the_locks_hold_for_both_pythons() -> None:
    for requirement in [r for lock in ("install.txt", "cuda.txt", "optional.txt") for r in locked(lock).values()]:
        marker = requirement.marker or Marker("python_version > '3'")
        here = {"sys_platform": "linux", "platform_machine": "x86_64"}
        ours = [
            marker.evaluate(here | {"python_version": v, "python_full_version": f"{v}.1"}) for v in ("3.11", "3.12")
        ]
        assert ours[0] == ours[1]


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.104.5"])
def test_no_litellm_known_for_a_leak_is_allowed(version: str) -> None:
    (litellm,) = [line for line in map(Requirement, EXTRAS["run"]) if line.name == "litellm"]
    assert Version(version) not in litellm.specifier


def test_nothing_is_installed_without_the_locks() -> None:
    lines = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if re.search(r"PIP_INSTALL\)|pip install", line)
    ]
    own = "$(PIP_INSTALL) --no-deps --no-build-isolation --editable ."
    assert sum(own in line for line in lines) == 1
    for line in lines:
        assert "--require-hashes" in line or own in line or line.startswith("PIP_INSTALL "), line
