"""What every engine keeps of a slot beside its running game: which episodes it plays, where, and what they count as."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from envgen_exp.families.design import Design, design_key
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.seeding import WorldSet, world_seed


class Slot:
    """One environment: the running episode, and what the next one is."""

    def __init__(self, design: Design | None, seed: int, worlds: WorldSet | None) -> None:
        self.seed = seed
        self.worlds = worlds
        self.episode = 0
        """Episodes begun; 0 is before the first reset."""
        self.world_seed = 0
        self.design = design
        self.next_design = design
        self.next_world: int | None = None
        """The next episode's world, where one was set."""

    def coming_world(self, chosen: int | None) -> int:
        """The world's seed of the next episode: the one that is chosen, or else the slot's own."""
        return world_seed(self.seed, self.episode + 1, self.worlds) if chosen is None else chosen

    def begin(self) -> None:
        """Count on to the next episode."""
        self.world_seed, self.next_world = self.coming_world(self.next_world), None
        self.episode += 1
        self.design = self.next_design

    def record(
        self, index: int, length: int, episode_return: float, truncated: bool, skills: tuple[int, ...]
    ) -> EpisodeRecord:
        """The record of the running episode, which has just ended."""
        return EpisodeRecord(
            slot=index,
            episode=self.episode,
            world_seed=self.world_seed,
            design=_key(self.design),
            length=length,
            episode_return=episode_return,
            truncated=truncated,
            skills=skills,
        )

    def row(self) -> list[tuple[str, int]]:
        """Its numbers as state bytes have them; -1 is none."""
        return [
            ("seed", self.seed),
            ("worlds", -1 if self.worlds is None else self.worlds),
            ("episode", self.episode),
            ("world_seed", self.world_seed),
            ("next_world", -1 if self.next_world is None else self.next_world),
        ]

    def restore(self, row: Any, designs: Sequence[Design | None]) -> None:
        """Take over the numbers of `row`, and the designs of the running and of the next episode."""
        self.seed, self.episode, self.world_seed = (int(row[name]) for name in ("seed", "episode", "world_seed"))
        self.worlds = None if row["worlds"] < 0 else WorldSet(int(row["worlds"]))
        self.next_world = None if row["next_world"] < 0 else int(row["next_world"])
        self.design, self.next_design = designs


@functools.lru_cache(maxsize=256)
def _key(design: Design | None) -> str:
    return design_key(design)
