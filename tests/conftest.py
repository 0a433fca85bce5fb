"""Every test runs without keys, without a network, without a display, away from home and on one thread."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llm_server import LLMServer

# Before anything imports torch, wandb, litellm or matplotlib: they read these once.
for name in [name for name in os.environ if name.endswith(("_KEY", "_TOKEN", "_SECRET", "_PASSWORD"))]:
    del os.environ[name]
for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "WANDB_DIR", "WANDB_CONFIG_DIR", "FORCE_COLOR"):
    os.environ.pop(name, None)
os.environ |= {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "MPLBACKEND": "Agg",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "120",
}

flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
if not all(flag in flags.split() for flag in ("avx2", "fma", "f16c")):
    # The embedded model's library can't run here; that a user is told so is tested by test_llm_embedded.py.
    collect_ignore = ["test_llm_embedded_runtime.py"]

LOCAL = ("127.0.0.1", "::1", "localhost", "")


# nohup would have one ignored, a shell's `&` the other, and runs keep to that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def hermetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home of its own (a developer's ~/.netrc holds W&B's key), and no connection that leaves this machine.

    Nor is anything synced to the disk: no test ends the machine, and a run waits for its disk 200 times.
    """
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOCAL:
            raise OSError(f"a test tried to reach {address[0]}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def server(served: LLMServer) -> Iterator[LLMServer]:
    """A module's server, well again before each test."""
    served.script()
    yield served
    served.on_stage = lambda stage: None


def pytest_collection_finish() -> None:
    """What has been imported is garbage at no time: without it, collections are a tenth of some tests."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first, so that at the end no process waits for the one that has it."""
    items.sort(key=lambda item: item.path.name != "test_tutorial.py")
