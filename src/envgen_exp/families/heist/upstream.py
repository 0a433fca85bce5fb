"""The installed procgen package: loaded quietly, with its constants, and its games addressed one by one.

The game is procgen's own (Cobbe et al. 2020), unmodified; what is done to it goes through its `get_state` and
`set_state`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import re
import sys
import warnings
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import ConfigError
from envgen_exp.families.heist import procgen_state, settled
from envgen_exp.families.heist.config import HeistMode
from envgen_exp.families.heist.procgen_state import LONGEST
from envgen_exp.families.heist.settled import SafeState

PACKAGE = "procgen-mirror"
"""The distribution that brings `procgen` to Python 3.11 and 3.12."""

NUM_ACTIONS = 15
"""0 to 8 push the player: left, none, right (a // 3) by down, none, up (a % 3); 9 to 14 do nothing in Heist."""

ACTIONS: tuple[str, ...] = (
    *("left_down", "left", "left_up", "down", "stay", "up", "right_down", "right", "right_up"),
    *(f"nothing_{number}" for number in range(1, 7)),
)
"""The actions' names."""

KEYS = {"as": 0, "a": 1, "aw": 2, "s": 3, "w": 5, "ds": 6, "d": 7, "dw": 8}
"""Keys held at once, and the action they are."""

STAY = 4
"""The action that pushes nowhere."""

RESTART = -1
"""Not an action of the game: procgen steps with STAY and then begins its next level."""

STOCK_LENGTH = 1000
"""Steps after which stock procgen ends an episode."""

FRAME = (64, 64, 3)
"""Rows, columns and RGB of an observation."""


class Games:
    """Several Heist games of procgen, stepped together; each can be read and replaced alone.

    What level a game makes by itself is of no interest: it is always told, or replaced.

    `frames` (num, 64, 64, 3) uint8, `rewards` (num,) float32 and `first` (num,) bool are procgen's own buffers: they
    change with `act` and, for one game, with `put`. `first` says that a game has ended and begun its next level; the
    reward is that of the ended one.

    Args:
        num: how many.
        mode: which levels a game makes by itself.
        num_threads: procgen's own threads; 0 steps in the calling thread.
        large: also draw frames of 512 x 512 into `large_frames` with every `act`.
    """

    def __init__(
        self, num: int, mode: HeistMode = HeistMode.easy, *, num_threads: int = 0, large: bool = False
    ) -> None:
        env = load().ProcgenGym3Env(
            num=num,
            env_name="heist",
            distribution_mode=mode.value,
            num_threads=num_threads,
            rand_seed=0,
            **({"render_mode": "rgb_array"} if large else {}),
        )
        # cffi looks a function up under a lock; an environment that is collected while the lock is held (making the
        # next one takes it) would wait for it for ever, had its `close` not been looked up before.
        env._c_lib.libenv_close  # noqa: B018
        self.num = num
        self.frames: NDArray[np.uint8] = env._ob["rgb"]
        self.rewards: NDArray[np.float32] = env._rew
        self.first: NDArray[np.bool_] = env._first
        self.large_frames: NDArray[np.uint8] | None = env._info["rgb"] if large else None
        self._env = env
        self._actions: NDArray[np.int32] = env._ac["action"]
        self._buffer = env._ffi.new(f"char[{LONGEST}]")
        self.observe()
        for index in range(num):
            self.put(index, settled.quickly_written(procgen_state.read(self.get(index))))

    def act(self, actions: NDArray[np.int64] | int) -> None:
        """Step every game once, and wait for it."""
        self._actions[:] = actions
        self._env._c_lib.libenv_act(self._env._c_env)
        self.observe()

    def observe(self) -> None:
        """Wait for the games, and draw the large frames where there are some."""
        self._env._c_lib.libenv_observe(self._env._c_env)

    def get(self, index: int) -> bytes:
        """The state of one game, as procgen writes it."""
        length = self._env.call_c_func("get_state", index, self._buffer, LONGEST)
        return bytes(self._env._ffi.buffer(self._buffer, length))

    def put(self, index: int, state: SafeState) -> None:
        """Replace one game, and draw its frame."""
        self._env.call_c_func("set_state", index, state, len(state))

    def close(self) -> None:
        """Free the games and end their threads; the buffers must not be read any more."""
        self._env.close()


def check_loads() -> None:
    """Load procgen's library; ConfigError in one line where something is missing, with how to get it."""
    _library()


def version() -> str:
    """procgen's version."""
    return metadata.version(PACKAGE)


def threads(wanted: int, num: int) -> int:
    """procgen's number of threads for a config's and so many games: 0 takes what the machine has."""
    count = min(wanted or len(os.sched_getaffinity(0)), num)
    return count if count > 1 else 0


@functools.cache
def _library() -> Games:
    """One game that is never closed: procgen's library would be unloaded, and its images read again, with the last."""
    try:
        return Games(1)
    except OSError as error:
        missing = re.search(r"\S+: cannot open shared object file", str(error))
        raise ConfigError(
            f"env=heist: procgen's library can't be loaded ({missing[0] if missing else error}); it needs the system's "
            "libGL and glib (Debian, Ubuntu: apt install libgl1 libglib2.0-0)"
        ) from None


@functools.cache
def load() -> Any:
    """The module `procgen.env`; ConfigError where it can't be imported."""
    # Importing procgen imports gym, which prints a notice and warns, and it adds a stranger's folder to sys.path.
    path = list(sys.path)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return importlib.import_module("procgen.env")
    except ImportError as error:
        raise ConfigError(
            f"env=heist: procgen can't be imported ({error}); pip install {PACKAGE} brings it to Python 3.11 and 3.12"
        ) from None
    finally:
        sys.path[:] = path
