"""Heist's skills and its design space: the one vocabulary, and what each word of it means to the level builder."""

from __future__ import annotations

from dataclasses import dataclass

from envgen_exp.families.design import Design, Setting, design_model

MAZE_SIZES: tuple[int, ...] = (3, 5, 7, 9, 11, 13, 15)
"""Cells that a maze may be wide: rooms are two cells apart, so the number is odd."""

LOCKS: tuple[str, ...] = ("none", "one", "two", "three")
"""How many locks a level has, in words: the index is the number."""

MAX_LOCKS = len(LOCKS) - 1

SKILLS: tuple[str, ...] = (
    *(f"collect_key_{number}" for number in range(1, MAX_LOCKS + 1)),
    *(f"open_lock_{number}" for number in range(1, MAX_LOCKS + 1)),
    "take_gem",
)
"""Each can be shown once in an episode; the first key and lock are blue, the second green, the third red."""

LONGEST_WAY = 126
"""Steps from cell to cell that no shortest way in a maze of 15 x 15 exceeds: its 64 rooms in one row."""

_LEVEL = ("environment_settings", "world_settings", "level_settings", "maze_settings")
_INVENTORY = ("inventory_settings", "inventory", "starting_items", "starting_inventory")
"""Groups of settings; those of the paper's prompt come first."""

VOCABULARY: tuple[Setting, ...] = (
    Setting(
        "maze_size",
        "Width and height of the maze in cells; in the original it differs from level to level.",
        "9x9",
        choices=tuple(f"{size}x{size}" for size in MAZE_SIZES),
        groups=_LEVEL,
        short="size",
    ),
    Setting(
        "world_size",
        "The world around the maze is at least so many cells wide: the maze lies anywhere in it, and the larger the "
        "world, the smaller everything looks.",
        9,
        low=5,
        high=15,
        groups=_LEVEL,
    ),
    Setting("locks", "How many locks lie between the start and the gem.", "one", choices=LOCKS, groups=_LEVEL),
    Setting(
        "locks_open",
        "How many of the locks, counted from the first, are gone from the start, and their keys with them.",
        0,
        low=0,
        high=MAX_LOCKS,
        groups=(*_LEVEL, *_INVENTORY),
    ),
    Setting(
        "keys_held",
        "How many of the other locks' keys, counted from the first of these locks, the player holds from the start.",
        0,
        low=0,
        high=MAX_LOCKS,
        groups=_INVENTORY,
        short="keys",
    ),
    Setting(
        "walls_removed",
        "Percent of the maze's inner walls that are taken away where that lets nobody past a lock; 0 leaves one way "
        "to every place, 100 makes open rooms.",
        0,
        low=0,
        high=100,
        groups=_LEVEL,
    ),
    Setting(
        "gem_distance_least",
        "The gem is at least so many cells of walking from the start, locks aside.",
        1,
        low=1,
        high=LONGEST_WAY,
        groups=_LEVEL,
    ),
    Setting(
        "gem_distance_most",
        "The gem is at most so many cells of walking from the start, locks aside.",
        LONGEST_WAY,
        low=1,
        high=LONGEST_WAY,
        groups=_LEVEL,
    ),
    Setting("timeout", "Steps after which an episode ends without the gem.", 1000, low=20, high=1000, groups=_LEVEL),
    Setting(
        "view",
        "Whether the agent sees the whole world, as in the original, or only the 8 x 8 cells around it.",
        "whole",
        choices=("whole", "partial"),
        groups=_LEVEL,
    ),
)
"""Every word that a Heist design may use, with what it takes and its default."""


HeistDesign = design_model(
    "HeistDesign", __name__, "One kind of Heist level: the vocabulary as a frozen, strict model.", VOCABULARY
)


@dataclass(frozen=True)
class Plan:
    """A design as the level builder's numbers; cells are counted, locks and keys from 0."""

    maze_size: int
    world_size: int
    num_locks: int
    locks_open: int
    keys_held: int
    walls_removed: float
    """Share, in [0, 1]."""
    gem_distance: tuple[int, int]
    timeout: int
    partial_view: bool

    @property
    def shut(self) -> range:
        """The locks that are shut when an episode begins."""
        return range(self.locks_open, self.num_locks)

    @property
    def to_fetch(self) -> range:
        """The keys that lie in the maze."""
        return range(self.locks_open + self.keys_held, self.num_locks)


def plan(design: Design) -> Plan:
    """The builder's numbers for a design."""
    settings = design.settings()
    maze_size = int(settings["maze_size"].partition("x")[0])
    return Plan(
        maze_size=maze_size,
        world_size=max(maze_size, settings["world_size"]),
        num_locks=LOCKS.index(settings["locks"]),
        locks_open=settings["locks_open"],
        keys_held=settings["keys_held"],
        walls_removed=settings["walls_removed"] / 100,
        gem_distance=(settings["gem_distance_least"], settings["gem_distance_most"]),
        timeout=settings["timeout"],
        partial_view=settings["view"] == "partial",
    )


def contradiction(plan: Plan) -> str | None:
    """Why no level at all can be as the plan says, where its numbers alone tell; None where they don't."""
    if plan.locks_open > plan.num_locks:
        return f"locks_open={plan.locks_open}, but locks={LOCKS[plan.num_locks]}"
    if plan.keys_held > len(plan.shut):
        return f"keys_held={plan.keys_held}, but {_locks(len(plan.shut))} shut"
    least, most = plan.gem_distance
    if least > most:
        return f"gem_distance_least={least} is more than gem_distance_most={most}"
    return None


def _locks(number: int) -> str:
    return f"{number} lock is" if number == 1 else f"{number or 'no'} locks are"
