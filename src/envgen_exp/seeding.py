"""One root seed gives every random stream of a run by name; the worlds of training and tests never meet.

Nothing in this package draws from a global generator. A stream is named by what it is for, so that adding
one never shifts another.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

WORLD_SEED_MODULUS = 2**31 - 1
"""crafter.Env seeds an episode with hash((seed, episode)) modulo this number."""

_SETS = 4


class WorldSet(IntEnum):
    """Which quarter of all world seeds an environment may draw from.

    A world's seed leaves its set's number when divided by four, so that no world of one set is in another, whatever
    the root seeds of the runs are.
    """

    TRAIN = 0
    FEEDBACK = 1
    REPORT = 2
    VALIDATION = 3


def world_seed(seed: int, episode: int, worlds: WorldSet | None = None) -> int:
    """The seed of the world that a slot plays in its `episode`-th episode (counted from 1).

    With `worlds=None` it is crafter's own: an environment made with `seed` plays the episodes of
    ``crafter.Env(seed=seed)`` in order. With a set, it is a seed of that set alone.
    """
    mixed = hash((seed, episode))
    if worlds is None:
        return mixed % WORLD_SEED_MODULUS
    return mixed % (WORLD_SEED_MODULUS // _SETS) * _SETS + int(worlds)


def _sequence(root: int, names: tuple[str | int, ...]) -> np.random.SeedSequence:
    text = "\x1f".join(str(name) for name in (root, *names))
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.SeedSequence(np.frombuffer(digest, dtype="<u4").tolist())


def integers(root: int, *names: str | int, count: int) -> list[int]:
    """`count` seeds in [0, 2**31 - 1) of the stream with these names, e.g. one for each slot of a vector env."""
    return [int(value) for value in _sequence(root, names).generate_state(count, np.uint64) % WORLD_SEED_MODULUS]


def generator(root: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream with these names."""
    return np.random.Generator(np.random.PCG64(_sequence(root, names)))


def torch_generator(root: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for the stream with these names; its state is a tensor that a checkpoint can hold."""
    import torch  # a command line that trains nothing does without

    made = torch.Generator(device=device)
    made.manual_seed(int(_sequence(root, names).generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return made
