"""Config folders of one's own, searched after conf/: `--config-dir=FOLDER`, or hydra.searchpath=[FOLDER,...]."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override

from envgen_exp.errors import ConfigError
from envgen_exp.run.stored import quoted

KEY = "hydra.searchpath"
_PACKAGE = "pkg://"
"""Before the name of a package whose config files are searched."""


def override(names: Sequence[str]) -> str:
    """The override that names these folders and packages; ConfigError for a folder that is none.

    The paths are whole ones: a sweep's processes may start elsewhere.
    """
    found = []
    for name in names:
        if not name.startswith(_PACKAGE):
            path = Path(os.path.expanduser(name.removeprefix("file://"))).absolute()
            if not path.is_dir():
                raise ConfigError(f"{KEY}: {path} is no folder; allowed is one that holds folders such as llm/ or env/")
            name = str(path)
        found.append(quoted(name))
    return f"{KEY}=[{','.join(found)}]"


def whole(typed: Override) -> str:
    """As `override`, of what was typed."""
    value = typed.value()
    return override([str(name) for name in (value if isinstance(value, list) else [value])])


def chosen(parsed: Iterable[Override]) -> list[Override]:
    """The override that says so, if any."""
    return [override for override in parsed if override.key_or_group == KEY]


def folders(parsed: Iterable[Override]) -> list[Path]:
    """The folders; what lies in packages changes with them alone."""
    named = [str(name) for override in chosen(parsed) for name in override.value()]  # type: ignore[union-attr]
    return [Path(name) for name in named if not name.startswith(_PACKAGE)]
