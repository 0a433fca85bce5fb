"""What git says of the clone that runs."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
from pathlib import Path

from envgen_exp.run.pasted import SCRIPT


def head() -> dict[str, str]:
    """Its commit and whether tracked files differ from that; nothing where what runs is no clone."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if SCRIPT.exists() and Path(_git("rev-parse", "--show-toplevel")).samefile(SCRIPT.parent):
            changed = _git("status", "--porcelain", "--untracked-files=no")
            return {"commit": _git("rev-parse", "HEAD"), "tree": "changed" if changed else "as committed"}
    return {}


@functools.cache
def has_file(commit: str, path: str) -> bool:
    """Whether a commit has a file: it added that, or descends from one that did. No for a commit that is not here."""
    if not re.fullmatch("[0-9a-f]{16,40}", commit):  # it may come from anybody
        return False
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        return _git("cat-file", "-t", f"{commit}:{path}") == "blob"
    return False


def _git(*words: str) -> str:
    # Without locks: a run that is killed just then would leave one behind.
    command = ["git", "--no-optional-locks", "-C", str(SCRIPT.parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
