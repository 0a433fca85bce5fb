"""Crafter as a family: its words for designers, what its worlds allow, its score, and which engine plays it."""

from __future__ import annotations

import functools
import importlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Engine, EnvConfig, Observe
from envgen_exp.errors import ConfigError, EngineError
from envgen_exp.families.crafter import telling, upstream
from envgen_exp.families.crafter.brief import brief, skill_rules
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import VOCABULARY, CrafterDesign, generated, starting_items
from envgen_exp.families.crafter.observation import OBJECTS, SYMMETRY, observation_spec
from envgen_exp.families.crafter.picture import draw_map
from envgen_exp.families.crafter.reach import Explorer
from envgen_exp.families.crafter.references import REFERENCES
from envgen_exp.families.design import Design, Setting, check_design
from envgen_exp.families.family import Brief, DesignCheck, Manual, Reference, Scene, SkillRule
from envgen_exp.families.symmetry import Symmetry
from envgen_exp.families.vector import ArraySpec, Observation, VectorEnv
from envgen_exp.seeding import WORLD_SEED_MODULUS, WorldSet, world_seed

_RESOURCES = ("tree", "water", "stone", "coal", "iron", "diamond", "lava")
_CREATURES = ("cow", "zombie", "skeleton")
_KEYS = "adws \trtfp123456"
"""The keyboard of the package's own window: a key for each action but the first, which does nothing."""
_NOTABLE = 1.5
"""A resource is worth mentioning when its ratio to the original's is above this, or below its inverse."""

_DEFAULTS: tuple[Mapping[str, Any], ...] = (
    {
        "purpose": "Wood, a table and the first tools in open country",
        "targets": ("collect_wood", "place_table", "make_wood_pickaxe", "make_wood_sword"),
        "target_biome": "grassland",
        "tree_rarity": "very common",
    },
    {
        "purpose": "Stone and coal with a pickaxe at hand",
        "targets": ("collect_stone", "place_stone", "collect_coal", "make_stone_pickaxe", "make_stone_sword"),
        "target_biome": "mountain",
        "coal_rarity": "very common",
        "starting_wood": 5,
        "starting_wood_pickaxe": 1,
    },
    {
        "purpose": "Water, saplings and cows",
        "targets": ("collect_drink", "collect_sapling", "place_plant", "eat_cow"),
        "target_biome": "beaches",
        "starting_sapling": 1,
    },
    {
        "purpose": "The way to iron",
        "targets": ("place_furnace", "collect_iron", "make_iron_pickaxe", "make_iron_sword"),
        "target_biome": "natural",
        "coal_rarity": "very common",
        "iron_rarity": "very common",
        "starting_wood": 5,
        "starting_stone": 5,
        "starting_stone_pickaxe": 1,
    },
)


@dataclass(frozen=True)
class _Survey:
    """What the sampled worlds of one design hold and allow."""

    num_worlds: int
    counts: Mapping[str, float]
    """Mean number of each resource and creature a world."""
    lacking: Mapping[str, Counter[str]]
    """For each skill that some world does not allow, what how many of the worlds lack for it."""

    @property
    def impossible(self) -> tuple[str, ...]:
        """Skills that no sampled world allows."""
        return tuple(s for s in upstream.SKILLS if s in self.lacking and self.lacking[s].total() == self.num_worlds)


class CrafterFamily:
    """Crafter behind the protocols of families/family.py."""

    Config: ClassVar[type[EnvConfig]] = CrafterConfig

    def __init__(self, config: CrafterConfig) -> None:
        self._config = config
        self._vector, self._make_world = _load_engine(config.engine)

    @property
    def name(self) -> str:
        return "crafter"

    @property
    def engine(self) -> str:
        return self._config.engine.value

    @property
    def skills(self) -> tuple[str, ...]:
        return upstream.SKILLS

    @property
    def vocabulary(self) -> tuple[Setting, ...]:
        return VOCABULARY

    @property
    def gifts(self) -> frozenset[str]:
        return frozenset(setting.name for setting in VOCABULARY if setting.name.startswith("starting_"))

    @property
    def design_model(self) -> type[Design]:
        return CrafterDesign

    @property
    def symmetry(self) -> Symmetry:
        return SYMMETRY

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]:
        return observation_spec(self._config.observation)

    @property
    def num_actions(self) -> int:
        return len(upstream.ACTIONS)

    @property
    def action_names(self) -> tuple[str, ...]:
        return upstream.ACTIONS

    @property
    def keys(self) -> Mapping[str, int]:
        return {key: action for action, key in enumerate(_KEYS, start=1)}

    @property
    def brief(self) -> Brief:
        return brief(self._config.designed_length, self._config.original_length)

    @property
    def skill_rules(self) -> tuple[SkillRule, ...]:
        return skill_rules()

    @property
    def references(self) -> tuple[Reference, ...]:
        stock = not self._config.diagnostics() and self._config.original_length == CrafterConfig.original_length
        return REFERENCES if stock else ()

    def vector(
        self, designs: Sequence[Design | None], seeds: Sequence[int], worlds: WorldSet | None = None
    ) -> VectorEnv:
        return self._vector(self._config, designs, seeds, worlds)

    def default_designs(self, count: int) -> list[Design]:
        return [CrafterDesign(**_DEFAULTS[index % len(_DEFAULTS)]) for index in range(count)]

    def check(self, design: Design, *, num_worlds: int = 64) -> DesignCheck:
        """Sample the design's worlds: what they hold beside the original's, and which skills they allow.

        A design is playable if some sampled world allows a skill besides `wake_up`, which any world does.
        """
        check_design(design, CrafterDesign)
        if num_worlds < 1:
            raise EngineError(f"num_worlds: {num_worlds} worlds can't be sampled, at least 1")
        ours, original = self._survey(design, num_worlds), self._survey(None, num_worlds)
        findings = _lacks(ours)
        if contrast := _contrast(ours, original):
            findings.append(contrast)
        hopeless = [skill for skill in design.targets if skill in ours.impossible]
        if hopeless:
            findings.append(f"targets that no sampled world allows: {', '.join(hopeless)}")
        return DesignCheck(
            playable=len(ours.impossible) < len(upstream.SKILLS) - 1,
            findings=tuple(findings),
            impossible=ours.impossible,
            counts=ours.counts,
        )

    def picture(self, design: Design | None, world_seed: int, *, unit: int = 8) -> NDArray[np.uint8]:
        check_design(design, CrafterDesign)
        if not 0 <= world_seed < WORLD_SEED_MODULUS:
            raise EngineError(f"world_seed: {world_seed} is no world's seed, allowed are 0 to {WORLD_SEED_MODULUS - 1}")
        return draw_map(self._make_world(generated(design, self._config), world_seed), unit)

    def score(self, success_rates: Mapping[str, float]) -> float:
        """Crafter's score: exp(mean over skills of ln(1 + s)) - 1 with s in percent (Hafner 2021, section 4)."""
        if set(success_rates) != set(self.skills) or not all(0 <= rate <= 1 for rate in success_rates.values()):
            raise EngineError(f"score: needs a success rate from 0 to 1 for each of the {len(self.skills)} skills")
        logs = [math.log1p(100 * success_rates[skill]) for skill in self.skills]
        return math.expm1(math.fsum(logs) / len(logs))

    # In words, for language models that play

    def manual(self, max_steps: int) -> Manual:
        return telling.manual(min(max_steps, self._config.original_length))

    def told_vector(self, seeds: Sequence[int], worlds: WorldSet, max_steps: int) -> VectorEnv:
        length = min(max_steps, self._config.original_length)
        config = replace(self._config, observation=Observe.symbolic, original_length=length)
        return self._vector(config, [None] * len(seeds), seeds, worlds)

    def tell(self, obs: Observation, slot: int) -> Scene:
        return telling.tell(obs, slot)

    def _survey(self, design: Design | None, num_worlds: int) -> _Survey:
        items = () if design is None else tuple(starting_items(design).items())
        made = generated(design, self._config)
        if made is not None:
            made = made.model_copy(update={"purpose": "", "targets": ()})
        return _sample(self._make_world, made, items, num_worlds)


@functools.lru_cache(1024)
def _sample(
    make_world: Callable[[Design | None, int], NDArray[np.uint8]],
    made: Design | None,
    items: tuple[tuple[str, int], ...],
    num_worlds: int,
) -> _Survey:
    """Look at `num_worlds` worlds; kept for all runs of a process, since those of a sweep often share designs."""
    explorer = Explorer(dict(items))
    counts: Counter[str] = Counter()
    lacking: dict[str, Counter[str]] = {}
    for episode in range(1, num_worlds + 1):
        maps = make_world(made, world_seed(0, episode, WorldSet.VALIDATION))
        cells, things = (np.bincount(ids.ravel(), minlength=16) for ids in maps)
        counts.update({name: int(cells[upstream.MATERIALS.index(name) + 1]) for name in _RESOURCES})
        counts.update({name: int(things[OBJECTS.index(name) + 1]) for name in _CREATURES})
        for skill, what in explorer.explore(maps).lacking.items():
            lacking.setdefault(skill, Counter())[what] += 1
    return _Survey(num_worlds, {name: counts[name] / num_worlds for name in counts}, lacking)


def _lacks(survey: _Survey) -> list[str]:
    """One line for each thing that worlds lack, the most frequent first."""
    skills: dict[tuple[str, int], list[str]] = {}
    for skill in upstream.SKILLS:
        for what, worlds in survey.lacking.get(skill, Counter()).items():
            skills.setdefault((what, worlds), []).append(skill)
    total = survey.num_worlds
    return [
        f"{what} within reach in {worlds} of {total} worlds: {', '.join(names)} {'is' if len(names) == 1 else 'are'} "
        + ("impossible" if worlds == total else "impossible there")
        for (what, worlds), names in sorted(skills.items(), key=lambda item: (-item[0][1], item[0][0]))
    ]


def _contrast(ours: _Survey, original: _Survey) -> str:
    """The resources and creatures that are much rarer or more frequent than in the original; empty if none is."""
    pairs = ((name, mean, original.counts[name]) for name, mean in ours.counts.items())
    notable = [
        f"{name} {_short(mean)} ({_short(stock)})"
        for name, mean, stock in pairs
        if mean > _NOTABLE * stock or stock > _NOTABLE * mean
    ]
    return f"mean number a world (in the original): {', '.join(notable)}" if notable else ""


def _short(mean: float) -> str:
    return f"{mean:.0f}" if mean >= 100 else f"{mean:.2g}"


def _load_engine(engine: Engine) -> tuple[Callable[..., VectorEnv], Callable[[Design | None, int], NDArray[np.uint8]]]:
    """An engine's vector class and its `make_world`; ConfigError where it is not installed."""
    module, vector = {Engine.native: ("engine", "NativeVector"), Engine.reference: ("reference", "ReferenceVector")}[
        engine
    ]
    try:
        loaded = importlib.import_module(f"envgen_exp.families.crafter.{module}")
    except ImportError as error:
        raise ConfigError(
            f"env.engine={engine.value}: the engine can't be loaded ({error}); build it with `make install`, which "
            "takes a C++17 compiler, or take env.engine=reference, which plays the same game more slowly"
        ) from None
    return getattr(loaded, vector), loaded.make_world
