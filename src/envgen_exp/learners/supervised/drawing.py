"""Frames drawn by a thread ahead of who looks at them, which changes nothing in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from envgen_exp.families.design import Design
from envgen_exp.families.family import FrameBuffers, Labelled
from envgen_exp.families.frames import draw
from envgen_exp.seeding import WorldSet

AHEAD = 3
"""Batches that are drawn before they are asked for."""


@dataclass(frozen=True)
class Batch:
    """What a batch shows: a design and a world's seed for each frame."""

    designs: Sequence[Design | None]
    seeds: Sequence[int]


class Ahead:
    """The drawn batches, in order."""

    def __init__(self, family: Labelled, worlds: WorldSet, batches: Iterable[Batch]) -> None:
        self._family, self._worlds = family, worlds
        self._batches = iter(batches)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="frames")
        self._drawn: deque[Future[FrameBuffers]] = deque()

    def __iter__(self) -> Iterator[FrameBuffers]:
        while self._fill():
            yield self._drawn.popleft().result()

    def _fill(self) -> bool:
        while len(self._drawn) <= AHEAD and (batch := next(self._batches, None)) is not None:
            self._drawn.append(self._pool.submit(draw, self._family, batch.designs, batch.seeds, self._worlds))
        return bool(self._drawn)

    def close(self) -> None:
        """Draw no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
