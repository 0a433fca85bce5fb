"""Writes the locks beside it: `make lock` keeps their versions, `make lock ARGS=--upgrade` takes the newest allowed.

install.txt is what `make` installs. optional.txt is what only some installations take: the libraries that torch's CUDA
build brings, and the extras examples, ray and slurm. Both hold a hash of every file of a version: of every wheel for
every processor, Python and system.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
LOCKS = FOLDER / "install.txt", FOLDER / "optional.txt"
HEAD = "# Made by `make lock`, which locks/lock.py describes.\n"
INSTALLER = "pip\n"
ALONE = "hydra-ray-launcher"  # without what it asks for, which Makefile tells of
CUDA = re.compile(r"cuda-|nvidia-|triton==")
# Torch's CPU builds, which its makers' own index has: for Python 3.11 and 3.12, on x86-64 and on ARM. The first is of the
# file itself, the others as several published locks, which agree on the first, have them.
TORCH_CPU = """\
6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2
84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7
6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604
""".split()
TORCH = "torch==2.13.0 \\\n"


def resolve(known: str, requirements: str, *options: str) -> dict[str, str]:
    """The lines of each package that an installation needs, by its first line; versions are `known`'s where they fit."""
    work = FOLDER / ".work"
    work.mkdir(exist_ok=True)
    out, more = work / "out.txt", work / "more.in"
    out.write_text(re.sub(r" \\\n    --hash=\S+", "", known))  # versions alone: uv would keep the hashes too
    more.write_text(requirements)
    try:
        subprocess.run(
            ["uv", "pip", "compile", "pyproject.toml", more, "--output-file", out]
            + ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
            + list(options),
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
    every[TORCH.strip()] = every[TORCH.strip()].replace(
        TORCH, TORCH + "".join(f"    --hash=sha256:{digest} \\\n" for digest in TORCH_CPU)
    )
    always = resolve("".join(every.values()), INSTALLER, "--extra", "dev")
    names = {line.split("==")[0] for line in always if not CUDA.match(line)}
    parts: tuple[list[str], list[str]] = ([], [])
    for line, block in every.items():
        parts[line.split("==")[0] not in names].append(block)
    for path, part in zip(LOCKS, parts, strict=True):
        path.write_text(HEAD + "".join(part))


if __name__ == "__main__":
    main(sys.argv[1:])
