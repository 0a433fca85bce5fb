"""Writes the locks beside it: `make lock` keeps their versions, `make lock ARGS=--upgrade` takes the newest allowed.

install.txt is what `make` installs, with torch from cpu.txt, which is written by hand, or from cuda.txt, which has what
that build brings. optional.txt is what the extras examples, ray and slurm bring. Each holds a hash of every file of a
version that the index has: for every processor, Python and system.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
LOCKS = tuple(FOLDER / f"{name}.txt" for name in ("install", "cuda", "optional"))
HEAD = "# Made by `make lock`, which locks/lock.py describes.\n"
INSTALLER = "pip\n"
ALONE = "hydra-ray-launcher"  # without what it asks for, which Makefile tells of
CUDA = re.compile(r"torch==|cuda-|nvidia-|triton==")
OPTIONS = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header", "--quiet"]


def resolve(known: str, requirements: str, *options: str) -> dict[str, str]:
    """Each package's lines of a lock, by the first of them; its version is that in `known` where that fits."""
    work = FOLDER / ".work"
    work.mkdir(exist_ok=True)
    out, more = work / "out.txt", work / "more.in"
    out.write_text(re.sub(r" \\\n    --hash=\S+", "", known))  # versions alone: uv would keep the hashes too
    more.write_text(requirements)
    try:
        subprocess.run(
            ["uv", "pip", "compile", "pyproject.toml", more, "--output-file", out, *OPTIONS, *options],
            cwd=FOLDER.parent,
            check=True,
        )
        blocks = re.findall(r"^\S.*\n(?:    .*\n)*", out.read_text(), re.MULTILINE)
    finally:
        for path in (out, more):
            path.unlink(missing_ok=True)
        work.rmdir()
    return {block.splitlines()[0]: block for block in blocks}


def main(arguments: list[str]) -> None:
    known = "".join(path.read_text() for path in LOCKS if path.exists())
    every = resolve(known, INSTALLER, "--all-extras", *arguments)
    alone = resolve(known, ALONE, "--no-deps", *arguments)
    every |= {line: block for line, block in alone.items() if line.startswith(f"{ALONE}==")}
    always = resolve("".join(every.values()), INSTALLER, "--extra", "dev")
    names = {line.split("==")[0] for line in always}
    parts: tuple[list[str], ...] = tuple([] for _ in LOCKS)
    for line, block in every.items():
        parts[1 if CUDA.match(line) else 0 if line.split("==")[0] in names else 2].append(block)
    for path, part in zip(LOCKS, parts, strict=True):
        path.write_text(HEAD + "".join(part))


if __name__ == "__main__":
    main(sys.argv[1:])
