"""Commands as they work when pasted: with the interpreter that runs, and run.py where it lies, or by `envgen`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "run.py"
"""run.py of the clone that this file lies in; an installed package has none."""


def typed(text: str) -> str:
    """A text in which commands stand as they do in the docs, 'python run.py' and 'python -m envgen_exp', as people here
    type them: 'envgen run' and 'envgen' for those who began with `envgen`, and where there is no run.py."""
    if not _by_envgen():
        return text
    return text.replace("python run.py", "envgen run").replace("python -m envgen_exp", "envgen")


def pasted(command: str) -> str:
    """'python run.py ...' or 'python -m envgen_exp ...' as it is to be typed in this shell and folder."""
    python, *words = shlex.split(command)
    if python != "python":
        return command
    if _by_envgen() and "wandb" not in words[:2]:
        words = ["run", *words[1:]] if words[0] == SCRIPT.name else words[2:]
        script = Path(sys.executable).with_name("envgen")
        program = [_found("envgen", script)] if script.exists() else [_interpreter(), "-m", "envgen_exp"]
        return shlex.join([*program, *words])
    if words[0] == SCRIPT.name:
        words[0] = _from_here(SCRIPT)
    return shlex.join([_interpreter(), *words])


def _by_envgen() -> bool:
    return Path(sys.argv[0]).name == "envgen" or not SCRIPT.exists()


def _interpreter() -> str:
    return _found("python", Path(sys.executable))


def _found(name: str, path: Path) -> str:
    """A program by its name where the shell finds this one, else by its path."""
    found = shutil.which(name)
    same = found is not None and os.path.dirname(os.path.abspath(found)) == os.path.dirname(path)
    return name if same else _from_here(path)


def _from_here(path: Path) -> str:
    """A path in this folder by its name from here, another as it is."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
