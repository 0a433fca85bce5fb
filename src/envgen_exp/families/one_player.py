"""Families from games written for one player: slots, buffers, episodes, states and pictures are taken care of here.

A family of one's own is then a `Game`, which plays a single episode, and a `GameFamily`, which says what it is about;
examples/corridor is a whole one. Speed is Python's: some ten thousand steps a second.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envgen_exp.config import Engine, EnvConfig, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError, StateError
from envgen_exp.families.design import Design, Setting, check_design, design_key, design_model
from envgen_exp.families.family import Brief, DesignCheck, SkillRule
from envgen_exp.families.sealed import seal, unseal
from envgen_exp.families.slots import Slot, Slots, is_sound
from envgen_exp.families.vector import ArraySpec, Buffers, EpisodeRecord, Observation, VectorEnv, check_observation
from envgen_exp.seeding import WorldSet, world_seed

IMAGE = 64
"""Rows and columns of what the agent sees."""

_SPEC: Mapping[str, ArraySpec] = {"pixels": ArraySpec((IMAGE, IMAGE, 3), np.dtype(np.uint8), 0, 255)}
_MAGIC, _VERSION = b"EGOP", 1
_SEED = 0
"""Of the worlds that `check` samples."""


class Game(ABC):
    """One episode of a game for one player.

    Its attributes are its whole state: numbers, texts, None, and lists and dicts of these. So no generator of random
    numbers is kept; one that is made of attributes, `np.random.default_rng([self.seed, self.steps])`, does as well.
    """

    @abstractmethod
    def __init__(self, settings: Mapping[str, Any] | None, seed: int) -> None:
        """Begin an episode in the world of this seed, from 0 to 2**31 - 2, by a design's settings (None: the original).

        A DesignError for settings that can't stand together makes the design unplayable: it never trains.
        """

    @abstractmethod
    def step(self, action: int) -> tuple[float, bool, Sequence[str]]:
        """Play one action, and say the reward, whether the game is over, and the skills that were shown by it."""

    @abstractmethod
    def draw(self) -> NDArray[np.uint8]:
        """The picture, (rows, columns, 3) with a pixel for each cell, at most 64 x 64: the agent sees it enlarged."""


class GameFamily:
    """The protocol of `families.family.Family` for a `Game`; a subclass names what stands here without a value."""

    name: ClassVar[str]
    game: ClassVar[type[Game]]
    brief: ClassVar[Brief]
    vocabulary: ClassVar[tuple[Setting, ...]]
    gifts: ClassVar[frozenset[str]] = frozenset()
    """The settings that give the player something at the start; all others are terrain."""
    skill_rules: ClassVar[tuple[SkillRule, ...]]
    num_actions: ClassVar[int]
    max_steps: ClassVar[int]
    """Steps after which an episode is truncated."""
    engine: ClassVar[str] = "python"
    observation_spec: ClassVar[Mapping[str, ArraySpec]] = _SPEC

    skills: ClassVar[tuple[str, ...]]
    """The brief's, in its order."""
    design_model: ClassVar[type[Design]]
    """The vocabulary as a model; one for each class, so that designs of two objects of it are of one kind."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.skills = tuple(cls.brief.skills)
        cls.design_model = design_model(
            f"{cls.name.title()}Design", cls.__module__, f"A design of {cls.name}.", cls.vocabulary
        )

    def __init__(self, config: EnvConfig) -> None:
        if config.observation is not Observe.pixels:
            raise ConfigError(f"env.observation={config.observation.name}: {self.name} shows pixels alone")
        if config.engine is not Engine.native:
            raise ConfigError(f"env.engine={config.engine.name}: {self.name} has one engine; leave it at native")

    def vector(
        self, designs: Sequence[Design | None], seeds: Sequence[int], worlds: WorldSet | None = None
    ) -> VectorEnv:
        return _GameVector(self, designs, seeds, worlds)

    def default_designs(self, count: int) -> list[Design]:
        """A design for each skill rule with settings, then each setting at its ends; all different while there are."""
        values: list[dict[str, Any]] = [
            {"purpose": f"Practise {rule.skill}", "targets": (rule.skill,), **rule.settings}
            for rule in self.skill_rules
            if rule.settings
        ]
        for setting in self.vocabulary:
            ends = setting.choices or (setting.low, setting.high)
            values += [{"purpose": f"{setting.name}: {value}", setting.name: value} for value in ends]
        made = [self.design_model(**each) for each in values]
        different = list({design_key(design): design for design in reversed(made)}.values())[::-1]
        return [different[index % len(different)] for index in range(count)]

    def check(self, design: Design, *, num_worlds: int = 64) -> DesignCheck:
        """What a player who acts at random shows in worlds of the design; that shows no skill to be impossible."""
        if check_design(design, self.design_model) is None:
            raise DesignError("design: the original needs no check")
        if num_worlds < 1:
            raise EngineError(f"num_worlds: {num_worlds} worlds can't be sampled, at least 1")
        try:
            found = [self._stroll(design, world_seed(_SEED, n, WorldSet.VALIDATION)) for n in range(1, num_worlds + 1)]
        except DesignError as error:
            return DesignCheck(playable=False, findings=(str(error),), impossible=self.skills)
        shown = ", ".join(f"{skill} in {sum(skill in skills for skills in found)}" for skill in self.skills)
        return DesignCheck(
            playable=True, findings=(f"of {num_worlds} worlds, a player who acts at random shows {shown}",)
        )

    def picture(self, design: Design | None, world_seed: int, *, unit: int = 8) -> NDArray[np.uint8]:
        checked = check_design(design, self.design_model)
        cells = _cells(self.begin(None if checked is None else checked.settings(), world_seed))
        return cells.repeat(unit, axis=0).repeat(unit, axis=1)

    def score(self, success_rates: Mapping[str, float]) -> float:
        """The mean success rate in percent."""
        if set(success_rates) != set(self.skills) or not all(0 <= rate <= 1 for rate in success_rates.values()):
            raise EngineError(f"score: needs a success rate from 0 to 1 for each of the {len(self.skills)} skills")
        return 100 * float(np.mean([success_rates[skill] for skill in self.skills]))

    def begin(self, settings: Mapping[str, Any] | None, seed: int) -> Game:
        """An episode's game at its beginning."""
        return self.game(settings, seed)

    def _stroll(self, design: Design, seed: int) -> set[str]:
        """The skills that random actions show in a world."""
        game, shown = self.begin(design.settings(), seed), set[str]()
        for action in np.random.default_rng(seed).integers(self.num_actions, size=self.max_steps):
            _, over, skills = game.step(int(action))
            shown.update(skills)
            if over:
                break
        return shown


class _Slot(Slot):
    """One environment with its game."""

    game: Game | None = None
    steps = 0
    episode_return = 0.0
    counts: list[int]
    """How often each skill was shown in the running episode."""


class _GameVector(Slots[_Slot]):
    """`VectorEnv` of games for one player."""

    def __init__(
        self, family: GameFamily, designs: Sequence[Design | None], seeds: Sequence[int], worlds: WorldSet | None
    ) -> None:
        super().__init__(_Slot, designs, seeds, worlds, family.design_model)
        self._family = family
        for slot in self._slots:
            slot.counts = [0] * len(family.skills)

    @property
    def num_actions(self) -> int:
        return self._family.num_actions

    @property
    def observation_spec(self) -> Mapping[str, ArraySpec]:
        return self._family.observation_spec

    @property
    def skills(self) -> tuple[str, ...]:
        return self._family.skills

    def reset(self, obs: Observation) -> None:
        self._check_open()
        check_observation("obs", obs, self.observation_spec, self.num_envs)
        for slot in range(self.num_envs):
            obs["pixels"][slot] = _image(self._begin(slot))

    def step(
        self, actions: NDArray[np.int64], out: Buffers, *, active: NDArray[np.bool_] | None = None
    ) -> list[EpisodeRecord]:
        records = []
        for index in self._check_step(actions, out, active):
            slot = self._slots[index]
            game = slot.game
            assert game is not None
            reward, over, shown = game.step(int(actions[index]))
            slot.steps += 1
            slot.episode_return += float(np.float32(reward))
            for skill in shown:
                slot.counts[self._number(skill)] += 1
            truncated = not over and slot.steps >= self._family.max_steps
            out.rewards[index], out.terminations[index], out.truncations[index] = reward, over, truncated
            if over or truncated:
                records.append(slot.record(index, slot.steps, slot.episode_return, truncated, tuple(slot.counts)))
                if out.final_obs is not None:
                    out.final_obs["pixels"][index] = _image(game)
                game = self._begin(index)
            out.obs["pixels"][index] = _image(game)
        return records

    def get_state(self, slot: int) -> bytes:
        this = self._slots[self._index(slot)]
        game = this.game
        values = None if game is None else vars(game)
        try:
            body = json.dumps({**self._values(this), "game": values}, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            raise EngineError(f"{_what(game)}: an attribute is no plain value: {error}") from None
        for name, value in (values or {}).items():
            if json.loads(json.dumps(value)) != value:  # a tuple comes back as a list
                raise EngineError(f"{_what(game)}.{name}: {value!r:.60} is no plain value; take lists and texts")
        return seal(_MAGIC, _VERSION, body)

    def set_state(self, slot: int, state: bytes) -> None:
        this = self._slots[self._index(slot)]
        body = unseal(self._family.name, _MAGIC, _VERSION, state)
        try:
            values = json.loads(body)
            attributes = values.pop("game")
            ours = values["family"] == self._family.name and set(values) == set(self._values(this)) and is_sound(values)
            designs = [self._design(values[name]) for name in ("design", "next_design")] if ours else []
        except (ValueError, KeyError, TypeError, AttributeError):
            designs = []
        if not designs:
            raise StateError(f"state: not one of {self._family.name}")
        this.game = None
        if attributes is not None:
            this.game = object.__new__(self._family.game)
            vars(this.game).update(attributes)
        this.restore(values, designs)
        this.steps, this.episode_return, this.counts = values["steps"], values["return"], values["counts"]

    def _made_of(self) -> dict[str, Any]:
        return {"family": self._family}

    def achievements(self) -> NDArray[np.int32]:
        """How often each skill was shown in the running episodes, (num_envs, num_skills)."""
        return np.array([slot.counts for slot in self._slots], np.int32)

    def _begin(self, index: int) -> Game:
        slot = self._slots[index]
        slot.begin()
        slot.steps, slot.episode_return, slot.counts = 0, 0.0, [0] * len(self.skills)
        game = slot.game = self._family.begin(_settings(slot.design), slot.world_seed)
        return game

    def _number(self, skill: str) -> int:
        try:
            return self.skills.index(skill)
        except ValueError:
            raise EngineError(f"{self._family.game.__name__}.step: {skill!r} is none of the brief's skills") from None

    def _values(self, slot: _Slot) -> dict[str, Any]:
        """What a state holds beside the game's attributes."""
        return {
            "family": self._family.name,
            **slot.row(),
            "design": _settings(slot.design) if slot.episode else None,
            "next_design": _settings(slot.next_design),
            "steps": slot.steps,
            "return": slot.episode_return,
            "counts": slot.counts,
        }

    def _design(self, settings: Mapping[str, Any] | None) -> Design | None:
        return None if settings is None else self._family.design_model(**settings)


def _settings(design: Design | None) -> dict[str, Any] | None:
    return None if design is None else design.settings()


def _cells(game: Game) -> NDArray[np.uint8]:
    cells = game.draw()
    if (
        not isinstance(cells, np.ndarray)
        or cells.dtype != np.uint8
        or cells.shape[2:] != (3,)
        or not 1 <= min(cells.shape[:2]) <= max(cells.shape[:2]) <= IMAGE
    ):
        raise EngineError(f"{_what(game)}.draw: needs uint8 of shape (rows, columns, 3), at most {IMAGE} x {IMAGE}")
    return cells


def _image(game: Game) -> NDArray[np.uint8]:
    """What the agent sees: the cells as large as they fit, in the middle of a black image."""
    cells = _cells(game)
    unit = IMAGE // max(cells.shape[:2])
    large = cells.repeat(unit, axis=0).repeat(unit, axis=1)
    image = np.zeros((IMAGE, IMAGE, 3), np.uint8)
    top, left = (IMAGE - large.shape[0]) // 2, (IMAGE - large.shape[1]) // 2
    image[top : top + large.shape[0], left : left + large.shape[1]] = large
    return image


def _what(game: Game | None) -> str:
    return type(game).__name__
