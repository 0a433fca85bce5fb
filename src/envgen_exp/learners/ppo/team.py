"""Threads that share the work of a minibatch, each with a part of it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

PART = 64
"""Samples that are worth a thread of their own."""

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


class Team:
    """Up to `threads` threads; a team of one is the caller alone.

    Torch's own threads share each single operation and wait for one another at its end, which in small networks costs
    as much as it brings. A member of a team does a whole forward and backward pass instead.
    """

    def __init__(self, threads: int, minibatch_size: int) -> None:
        self.size = max(1, min(threads, minibatch_size // PART))
        self._share = max(1, threads // self.size)
        """Torch's threads of each member."""
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    def split(self, index: Tensor, samples: int = 1) -> tuple[Tensor, ...]:
        """A minibatch's index (B,), each entry of it some samples, in as many like parts as are worth a thread."""
        return index.tensor_split(max(1, min(self.size, len(index), len(index) * samples // PART)))

    def map(self, work: Callable[[_Part], _Result], parts: Sequence[_Part]) -> list[_Result]:
        """The result of each part, in their order; where several fail, the first one's error is raised, after all."""
        if len(parts) == 1:
            return [work(parts[0])]
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(self.size, "team", self._enter)
        futures = [self._pool.submit(work, part) for part in parts]
        concurrent.futures.wait(futures)
        return [future.result() for future in futures]

    def _enter(self) -> None:
        torch.set_num_threads(self._share)  # the calling thread's alone
