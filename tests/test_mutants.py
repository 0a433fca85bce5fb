"""tools/mutants.py: what a fault is, and what is never one."""

from __future__ import annotations

import ast
from pathlib import Path

import mutants
import pytest
from mutants import SUBJECTS, nodes, variants

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b", ["a <= b"]),
        ("a + b * c", ["a - b * c", "b / c"]),
        ("a and not b", ["a or not b", "b"]),
        ("y = f(a, b)", ["f(b, a)"]),
        ("y = min(a, b)", []),
        ("x[i:]", ["i + 1"]),
        ("x[2]", ["3"]),
        ("x += 0.5", ["pass", "x -= 0.5", "0.75"]),
        ("f(x)", ["pass"]),
        ("if a: b", ["not a"]),
        ("if a == 1: b", ["a != 1", "2"]),
        ("def f(x: Literal[1]) -> Literal[2]:\n    '3'\n    raise E(4)", []),
        ("y = zip(a, b, strict=True)", ["zip(b, a, strict=True)"]),
        ("f'{1}'", []),
    ],
)
def test_faults(text: str, expected: list[str]) -> None:
    found = [ast.unparse(new) for _, node in nodes(ast.parse(text)) for _, new in variants(node)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_mutant_is_one_change_of_a_file_that_still_is_python(subject: str) -> None:
    for mutant in mutants.mutants(ROOT, subject)[::20]:
        source = (ROOT / mutant.file).read_bytes()
        assert source[mutant.start : mutant.end].decode() == mutant.before
        broken = source[: mutant.start] + mutant.after.encode() + source[mutant.end :]
        assert broken.count(b"\n") == source.count(b"\n")
        assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(source))
