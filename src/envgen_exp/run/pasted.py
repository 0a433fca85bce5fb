"""Commands as they work when pasted: with the interpreter that runs, and run.py where it lies."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "run.py"
"""run.py of the clone that this file lies in."""


def pasted(command: str) -> str:
    """'python run.py ...' or 'python -m envgen_exp ...' as it is to be typed in this shell and folder."""
    python, what, *words = shlex.split(command)
    if python != "python":
        return command
    if what == SCRIPT.name:
        what = _from_here(SCRIPT)
    return shlex.join([_interpreter(), what, *words])


def _interpreter() -> str:
    """`python` where that is the one that runs, else its path."""
    found = shutil.which("python")
    same = found is not None and os.path.dirname(os.path.abspath(found)) == os.path.dirname(sys.executable)
    return "python" if same else _from_here(Path(sys.executable))


def _from_here(path: Path) -> str:
    """A path in this folder by its name from here, another as it is."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
