"""What both Crafter engines are beside their games: settings, states and pictures of their slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.errors import EngineError
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import CrafterDesign
from envgen_exp.families.crafter.observation import FRAME, GRID, observation_spec
from envgen_exp.families.crafter.picture import draw_map
from envgen_exp.families.crafter.state import SLOT, SlotState, decode, encode_slot
from envgen_exp.families.crafter.upstream import ACTIONS, SKILLS
from envgen_exp.families.design import Design
from envgen_exp.families.sealed import filled
from envgen_exp.families.slots import AnySlot, Slots, check_same
from envgen_exp.families.vector import ArraySpec
from envgen_exp.seeding import WorldSet

_LARGEST = 4096
"""Most rows or columns of a frame."""


class CrafterVector(Slots[AnySlot]):
    """The part of an engine that is the same for both; see `families.vector.VectorEnv`."""

    def __init__(
        self,
        config: CrafterConfig,
        make: Callable[[Design | None, int, WorldSet | None], AnySlot],
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet | None,
    ) -> None:
        super().__init__(make, designs, seeds, worlds, CrafterDesign)
        self._config = config
        self._lengths = {"designed_length": config.designed_length, "original_length": config.original_length}

    @property
    def num_actions(self) -> int:
        return len(ACTIONS)

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]:
        return observation_spec(self._config.observation)

    @property
    def skills(self) -> tuple[str, ...]:
        return SKILLS

    def get_state(self, slot: int) -> bytes:
        this = self._slots[index := self._index(slot)]
        game, episode_return = self._save(index) if this.episode else (b"", 0.0)
        row = filled(SLOT, {**this.row(), **self._lengths, "episode_return": episode_return})
        return encode_slot(row, this.design, this.next_design, game)

    def set_state(self, slot: int, state: bytes) -> None:
        this = self._slots[index := self._index(slot)]
        found = decode(state)
        check_same(found.slot, self._lengths)
        self._load(index, found)
        this.restore(found.slot, (found.design, found.next_design))
        self._plan(index, this.next_design, this.next_world)

    def maps(self) -> NDArray[np.uint8]:
        """Each slot's world in the ids of a symbolic view, (num_envs, 2, 64, 64): materials and objects, x before y."""
        raise NotImplementedError

    def picture(self, slot: int, unit: int = 8) -> NDArray[np.uint8]:
        """A slot's whole world, drawn off-screen without light or noise: (64 * unit, 64 * unit, 3) uint8."""
        index = self._index(slot)
        if not isinstance(unit, int):
            raise EngineError(f"unit: needs a whole number of pixels, got {unit!r}")
        return draw_map(self.maps()[index], unit)

    def frame(self, slot: int, size: tuple[int, int] = FRAME) -> NDArray[np.uint8]:
        """What the package would render of a slot now, at any size: (rows, columns, 3) uint8.

        It is drawn from a copy of the game, whose random stream stays as it is: a night's noise is not that of the
        observation.
        """
        if not isinstance(size, tuple) or [type(pixels) for pixels in size] != [int, int]:
            raise EngineError(f"size: needs a tuple of rows and columns, got {size!r:.80}")
        if not GRID[1] <= min(size) <= max(size) <= _LARGEST:
            raise EngineError(f"size: {size} pixels, allowed are {GRID[1]} to {_LARGEST} rows and columns")
        self._check_begun([self._index(slot)])
        found = decode(self.get_state(slot))
        # Only now: the package takes long to import and is not needed to play.
        from envgen_exp.families.crafter.ordered import OrderedEnv

        copy = OrderedEnv(Observe.pixels)
        copy.load(found, self._length(found.design))
        drawn: NDArray[np.uint8] = copy.render((size[1], size[0]))
        return drawn

    def _made_of(self) -> dict[str, Any]:
        return {"config": self._config}

    def _save(self, index: int) -> tuple[bytes, float]:
        """A slot's running game as `state.game_bytes`, and its return so far."""
        raise NotImplementedError

    def _load(self, index: int, found: SlotState) -> None:
        """Put the game of a state, or none, in place of a slot's; StateError changes nothing."""
        raise NotImplementedError

    def _length(self, design: Design | None) -> int:
        """Steps after which an episode of the design is truncated."""
        return self._config.original_length if design is None else self._config.designed_length
