"""What a row of training statistics is about: the episodes that ended since the last one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envgen_exp.families.vector import EpisodeRecord


class Window:
    """Training episodes that ended since the last row of their statistics, and the steps since then."""

    def __init__(self) -> None:
        self.steps = 0
        self._records: list[EpisodeRecord] = []

    def add(self, records: Sequence[EpisodeRecord], steps: int) -> None:
        """Count the episodes that ended within `steps` more steps."""
        self._records += records
        self.steps += steps

    def take(self) -> list[EpisodeRecord]:
        """The episodes, and begin anew."""
        taken, self._records, self.steps = self._records, [], 0
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"steps": self.steps, "records": [{**vars(r), "skills": list(r.skills)} for r in self._records]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.steps = state["steps"]
        self._records = [EpisodeRecord(**{**r, "skills": tuple(r["skills"])}) for r in state["records"]]
