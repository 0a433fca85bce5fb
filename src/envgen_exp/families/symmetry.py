"""How a game is mirrored: left-right, up-down, and both at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FLIPS: tuple[tuple[int, int], ...] = ((1, 1), (-1, 1), (1, -1), (-1, -1))
"""What becomes of x and of y in each of the four flips; the first leaves all as it is."""
_WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Symmetry:
    """The names of a game's actions and of the ids in its maps.

    A game that has one plays by the same rules when its maps are mirrored and what is named after a way (`move_left`,
    `arrow-up`) is mirrored with them; x is a map's last but one axis and grows to the right, y its last and grows
    downwards.
    """

    actions: tuple[str, ...]
    maps: Mapping[str, tuple[tuple[str, ...], ...]]
    """For each array that is a map or several: the name of each id from 0 on, map by map."""
    tiles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """For each picture that is made of tiles: the pixels of a tile's side, the map's columns and rows, which are the
    upper left, with the player in the middle, and the rows of all."""


def ways(names: Sequence[str]) -> list[tuple[int, int]]:
    """Where each thing of these names faces or leads, as x and y; (0, 0) is nowhere."""
    return [_WAYS.get(_split(name)[1], (0, 0)) for name in names]


def images(names: Sequence[str], flip: tuple[int, int]) -> list[int]:
    """The index of each thing's mirror image."""
    things = [(_split(name)[0], way) for name, way in zip(names, ways(names), strict=True)]
    return [things.index((stem, (x * flip[0], y * flip[1]))) for stem, (x, y) in things]


def _split(name: str) -> tuple[str, str]:
    """A name without its way, and the way, which is empty where it has none."""
    stem, _, way = name.replace("_", "-").rpartition("-")
    return (stem, way) if way in _WAYS else (name, "")
