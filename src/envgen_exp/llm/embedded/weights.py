"""The embedded model's weights: which file they are, and where they lie."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from envgen_exp.config import LLMConfig
from envgen_exp.errors import ConfigError, UnavailableError
from envgen_exp.guard.writing import disk_errors

LABEL = "Qwen2.5-Coder-1.5B-Instruct Q4_K_M"
"""What the model and its quantisation are called wherever a run names them."""

FILE = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
BYTES = 1_117_320_768


def cache_folder() -> Path:
    """Where the weights lie: a folder of the user's cache, which all clones share."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "envgen"


def weights_of(config: LLMConfig) -> Path:
    """The file that a config asks for, looked at from outside; one line where it is not there or not whole."""
    if config.weights is not None:
        return Path(config.weights).resolve()
    if config.model != LABEL:
        raise ConfigError(f"llm.model={config.model}: llm=embedded names its model; llm.weights=FILE takes another one")
    file = cache_folder() / FILE
    size = file.stat().st_size if file.is_file() else None
    if size is None:
        raise UnavailableError(
            f"llm={config.name}: the weights of {LABEL} are not in {file.parent}: `make model` fetches them once"
            f" ({BYTES / 1e9:.1f} GB), or llm.weights=FILE takes others"
        )
    if size != BYTES:
        raise UnavailableError(
            f"llm={config.name}: {file} has {size:,} bytes, not {BYTES:,}: delete it and `make model`"
        )
    return file


def sha256(file: Path) -> str:
    """A file's hash."""
    with disk_errors(file), file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
