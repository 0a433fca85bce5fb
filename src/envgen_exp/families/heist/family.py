"""Heist as a family: its words for designers, what a design's levels hold, its score, and pictures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Engine, EnvConfig, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError
from envgen_exp.families.design import Design, Setting, check_design, design_key
from envgen_exp.families.family import Brief, DesignCheck, Reference, SkillRule
from envgen_exp.families.heist import stock, upstream
from envgen_exp.families.heist.brief import brief, skill_rules
from envgen_exp.families.heist.building import build, steps_needed
from envgen_exp.families.heist.config import HeistConfig
from envgen_exp.families.heist.design import LOCKS, SKILLS, VOCABULARY, HeistDesign
from envgen_exp.families.heist.engine import OBSERVATION, HeistVector
from envgen_exp.families.heist.levels import Level, solve
from envgen_exp.families.heist.picture import draw_world
from envgen_exp.families.heist.pool import Beginning, Pool, level_seeds
from envgen_exp.families.heist.references import RANDOM
from envgen_exp.families.vector import ArraySpec, VectorEnv
from envgen_exp.seeding import WorldSet, world_seed

_DEFAULTS: tuple[Mapping[str, Any], ...] = (
    {
        "purpose": "The gem alone, in a small maze",
        "targets": ("take_gem",),
        "maze_size": "5x5",
        "locks": "none",
    },
    {
        "purpose": "One key and its lock",
        "targets": ("collect_key_1", "open_lock_1", "take_gem"),
        "maze_size": "7x7",
        "locks": "one",
    },
    {
        "purpose": "The second key and lock at once, the first being open",
        "targets": ("collect_key_2", "open_lock_2", "take_gem"),
        "maze_size": "7x7",
        "locks": "two",
        "locks_open": 1,
    },
    {
        "purpose": "The whole chain, with fewer walls",
        "targets": ("collect_key_3", "open_lock_3", "take_gem"),
        "maze_size": "9x9",
        "locks": "three",
        "walls_removed": 30,
    },
)

_SAMPLE = 256
"""Stock levels from which a brief tells how many have how many locks."""

_POOLS = 32
"""Designs whose levels are kept."""


class HeistFamily:
    """Heist behind the protocols of families/family.py."""

    Config: ClassVar[type[EnvConfig]] = HeistConfig

    def __init__(self, config: HeistConfig) -> None:
        if config.engine is not Engine.native:
            raise ConfigError(f"env.engine={config.engine.value}: Heist has one engine, procgen; leave it at native")
        if config.observation is not Observe.pixels:
            raise ConfigError(f"env.observation={config.observation.value}: Heist shows pixels alone")
        for name in ("designed_length", "original_length", "pool_size"):
            if not 1 <= getattr(config, name) <= 1_000_000:
                raise ConfigError(f"env.{name}={getattr(config, name)}: allowed are 1 to 1000000")
        upstream.check_loads()
        self._config = config
        self._pools: dict[str, Pool] = {}
        self._brief: Brief | None = None

    @property
    def name(self) -> str:
        return "heist"

    @property
    def engine(self) -> str:
        """procgen with its version, and the mode that is the original."""
        return f"procgen {upstream.version()}, {self._config.mode.value} mode"

    @property
    def skills(self) -> tuple[str, ...]:
        return SKILLS

    @property
    def vocabulary(self) -> tuple[Setting, ...]:
        return VOCABULARY

    @property
    def gifts(self) -> frozenset[str]:
        return frozenset({"locks_open", "keys_held"})

    @property
    def design_model(self) -> type[Design]:
        return HeistDesign

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]:
        return OBSERVATION

    @property
    def num_actions(self) -> int:
        return upstream.NUM_ACTIONS

    @property
    def action_names(self) -> tuple[str, ...]:
        return upstream.ACTIONS

    @property
    def keys(self) -> Mapping[str, int]:
        return upstream.KEYS

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy builds the levels that it needs anew."""
        return type(self), (self._config,)

    @property
    def brief(self) -> Brief:
        if self._brief is None:
            numbers = [self.grade(world_seed(0, episode, WorldSet.VALIDATION)) for episode in range(1, _SAMPLE + 1)]
            shares = [numbers.count(number) / _SAMPLE for number in range(len(LOCKS))]
            self._brief = brief(self._config, shares)
        return self._brief

    @property
    def skill_rules(self) -> tuple[SkillRule, ...]:
        return skill_rules()

    @property
    def references(self) -> tuple[Reference, ...]:
        stock = self._config.original_length == HeistConfig.original_length
        return (RANDOM[self._config.mode],) if stock else ()

    @property
    def grade_name(self) -> str:
        return "locks"

    def vector(
        self, designs: Sequence[Design | None], seeds: Sequence[int], worlds: WorldSet | None = None
    ) -> VectorEnv:
        """Environments whose levels are all built, where `worlds` says of which set; else each is at its first use."""
        return HeistVector(self._config, designs, seeds, worlds, self._pool)

    def default_designs(self, count: int) -> list[Design]:
        return [HeistDesign(**_DEFAULTS[index % len(_DEFAULTS)]) for index in range(count)]

    def check(self, design: Design, *, num_worlds: int = 64) -> DesignCheck:
        """Build levels of the design: which skills they allow, how far the gem is and how long a solution takes.

        A design is playable if every sampled level can be built; the builder's reason is the finding where not.
        """
        checked = check_design(design, HeistDesign)
        if checked is None:
            raise DesignError("design: the original needs no check")
        if num_worlds < 1:
            raise EngineError(f"num_worlds: {num_worlds} worlds can't be sampled, at least 1")
        seeds = [level_seeds(checked, WorldSet.VALIDATION, index)[0] for index in range(num_worlds)]
        try:
            levels = [build(checked, seed) for seed in seeds]
        except DesignError as error:
            return DesignCheck(playable=False, findings=(str(error),), impossible=SKILLS)
        keys, locks = sorted(levels[0].keys), sorted(levels[0].locks)
        possible = {f"collect_key_{key + 1}" for key in keys} | {f"open_lock_{lock + 1}" for lock in locks}
        impossible = tuple(skill for skill in SKILLS if skill not in possible | {"take_gem"})
        findings = _course(levels, self._config.designed_length)
        if impossible:
            findings.append(f"{_things(keys, locks)} in its levels: impossible are {', '.join(impossible)}")
        if hopeless := [skill for skill in checked.targets if skill in impossible]:
            findings.append(f"targets that no level allows: {', '.join(hopeless)}")
        counts = {
            "keys": float(len(keys)),
            "locks": float(len(locks)),
            "free cells": statistics.fmean(len(level.free) for level in levels),
        }
        return DesignCheck(playable=True, findings=tuple(findings), impossible=impossible, counts=counts)

    def picture(self, design: Design | None, world_seed: int, *, unit: int = 8) -> NDArray[np.uint8]:
        """The level of a world, as an episode with this `world_seed` begins."""
        checked = check_design(design, HeistDesign)
        return draw_world(self._beginning(checked, world_seed).game, unit)

    def score(self, success_rates: Mapping[str, float]) -> float:
        """How often the gem is taken, in percent of episodes: what the paper reports for Heist."""
        if set(success_rates) != set(SKILLS) or not all(0 <= rate <= 1 for rate in success_rates.values()):
            raise EngineError(f"score: needs a success rate from 0 to 1 for each of the {len(SKILLS)} skills")
        return 100 * success_rates["take_gem"]

    def grade(self, world_seed: int) -> int:
        """How many locks the original's level has: without locks the gem is nearly free."""
        return len(self._beginning(None, world_seed).locks)

    def _beginning(self, design: Design | None, world_seed: int) -> Beginning:
        if design is None:
            return stock.generator(self._config.mode).level(world_seed)
        return self._pool(design, None).level(world_seed)

    def _pool(self, design: Design, worlds: WorldSet | None) -> Pool:
        key = design_key(design)
        pool = self._pools.pop(key, None) or Pool(design, self._config.pool_size)
        if worlds is not None:
            pool.fill(worlds)
        self._pools[key] = pool  # the latest used is the last
        if len(self._pools) > _POOLS:
            del self._pools[next(iter(self._pools))]
        return pool


def _course(levels: Sequence[Level], length: int) -> list[str]:
    walks = [solve(level) or [] for level in levels]  # every built level has a solution
    cells = [len(walk) - 1 for walk in walks]
    steps = max(steps_needed(walk) for walk in walks)
    course = (
        f"the gem is {min(cells)} to {max(cells)} cells of walking away, keys fetched on the way (mean "
        f"{statistics.fmean(cells):.0f}); a player who knows the way needs {steps} steps at most"
    )
    late = sum(steps_needed(walk) > length for walk in walks)
    too_long = f"{late} of {len(walks)} levels take more than the {length} steps of an episode"
    return [course, too_long] if late else [course]


def _things(keys: Sequence[int], locks: Sequence[int]) -> str:
    """What lies in the levels of a design, e.g. 'key 2, lock 2 and lock 3 are'."""
    names = [f"key {key + 1}" for key in keys] + [f"lock {lock + 1}" for lock in locks]
    if not names:
        return "neither keys nor locks are"
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"
