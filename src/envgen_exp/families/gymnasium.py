"""The engines as Gymnasium environments, single and vector; importing this module registers them.

    import gymnasium
    import envgen_exp.families.gymnasium

    env = gymnasium.make("EnvGen/Crafter-v0", design={"target_biome": "grassland"})
    envs = gymnasium.make_vec("EnvGen/Crafter-v0", num_envs=64, designs=[None, {"starting_wood": 5}])

Both are made from any family, by its name; further keyword arguments are the settings of its config, e.g. `engine`,
`observation`, `num_threads` and Crafter's `original_length` and `designed_length`.

Seeds: `reset(seed=s)` begins slot i of a vector, and a single environment (i = 0), with episode 1 of seed s + i, and
`reset()` goes on to the next episode. The n-th episode of a seed is one game, that of `seeding.world_seed(seed, n)`:
Crafter's original then plays the episodes of ``crafter.Env(seed=seed)`` in order.

Infos: the last step of an episode has

| key | type | meaning |
|---|---|---|
| skills | (number of skills,) int64 | how often each skill was shown in it, in the order of `FamilyEnv.skills` |
| world_seed | int | the seed of its world |
| design | str | `design_key` of its design, 'original' for the stock game |

and others nothing. In a vector they lie in `infos["final_info"]`, beside `infos["final_obs"]`.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envgen_exp.config import EnvConfig, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError
from envgen_exp.families import FAMILIES, make_playable
from envgen_exp.families.design import Design
from envgen_exp.families.family import Family
from envgen_exp.families.typed import read_design
from envgen_exp.families.vector import ArraySpec, EpisodeRecord, VectorEnv
from envgen_exp.seeding import WORLD_SEED_MODULUS

DesignLike = Design | Mapping[str, Any] | None
"""A family's design, its settings by name (those left out are the defaults), or None for the original."""
Size = int | tuple[int, int]
"""Rows and columns of a picture in pixels, or one number for both."""

_SIZE = 576
"""64 pixels for each of the nine cells of Crafter's frame, the textures' own resolution."""

_Buffers = dict[str, NDArray[Any]]


class FamilyEnv(gymnasium.Env[Any, np.int64]):
    """One environment of a family.

    Args:
        family: the family's name.
        design: what every episode plays until `reset(options={"design": ...})` says otherwise.
        render_mode: None, or "rgb_array" for pictures by `render`, which change nothing in the game.
        size: of the pictures.
        settings: fields of the family's config.

    Episodes end at the config's limits. `gymnasium.make(..., max_episode_steps=...)` puts a wrapper around it that cuts
    them earlier; the engine does not know of such an end, which so has no infos.

    The observation is the array that the family observes (Box), or all of them by name where they are several (Dict).

    Errors: ConfigError, DesignError and EngineError with one clear line.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]

    def __init__(
        self,
        family: str,
        *,
        design: DesignLike = None,
        render_mode: str | None = None,
        size: Size = _SIZE,
        **settings: Any,
    ) -> None:
        self._config = _configure(family, {"num_threads": 1, **settings})
        self.family = make_playable(self._config)
        self.skills = self.family.skills
        """Their names, in the order of the infos."""
        self.render_mode = _check_render_mode(render_mode)
        self._size = _check_size(size)
        self._design = _read_design(self.family, design)
        self.observation_space = _observation_space(self.family.observation_spec)
        self.action_space = spaces.Discrete(self.family.num_actions)
        self._vector: VectorEnv | None = None
        self._closed = False
        self._obs, self._final_obs = (_make_buffers(self.family.observation_spec, 1) for _ in range(2))
        self._rewards = np.zeros(1, np.float32)
        self._flags = np.zeros((2, 1), np.bool_)
        self._ended = False
        """The episode is over; the engine has begun the next one, whose first observation is in `_obs`."""
        self._begin_state = b""
        """The state in which the last episode that `reset` returned began."""
        self._actions: list[int] = []
        """Its actions since."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the seed's first episode, or without a seed the next one.

        Options: `design`, the design from this episode on.
        """
        self._check_open()
        chosen = _check_options(options, ("design",))
        seed = None if seed is None else _check_seed(seed)
        if "design" in chosen:
            self._design = _read_design(self.family, chosen["design"])
        super().reset(seed=seed)
        if self._vector is None or seed is not None:
            self._release()
            first = int(self.np_random.integers(WORLD_SEED_MODULUS)) if seed is None else seed
            self._vector = self.family.vector([self._design], [first])
            self._vector.reset(self._obs)
        elif "design" in chosen:
            if self._ended:
                # The engine has begun the next episode in the old design: back, to begin the same one in the new.
                self._vector.set_state(0, self._begin_state)
            self._vector.set_design(0, self._design)
            self._vector.reset(self._obs)
        elif not self._ended:
            self._vector.reset(self._obs)
        self._ended = False
        self._begin_state = self._vector.get_state(0)
        self._actions.clear()
        return self._seen(self._obs), {}

    def step(self, action: int | np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._check_open()
        if self._vector is None or self._ended:
            raise ResetNeeded("the episode is over, call reset" if self._ended else "call reset before step")
        actions = _as_actions([action], 1)
        ended = self._vector.step(actions, self._obs, self._rewards, *self._flags, final_obs=self._final_obs)
        self._actions.append(int(actions[0]))
        self._ended = bool(ended)
        seen = self._seen(self._final_obs if ended else self._obs)
        terminated, truncated = (bool(flag[0]) for flag in self._flags)
        return seen, float(self._rewards[0]), terminated, truncated, _info(ended[0]) if ended else {}

    def render(self) -> NDArray[np.uint8] | None:
        """What the player sees, (rows, columns, 3) uint8; None without a render mode.

        The engine draws it at the size asked for. The last picture of an episode is the last observation, enlarged.
        """
        self._check_open()
        if self.render_mode is None:
            gymnasium.logger.warn('render needs a render mode: make the environment with render_mode="rgb_array"')
            return None
        if self._vector is None:
            raise ResetNeeded("call reset before render")
        if not self._ended:
            return _draw(self._vector, 0, self._obs, self._size)
        return _enlarge(self._final_pixels(), self._size)

    def close(self) -> None:
        self._release()
        self._closed = True

    def _final_pixels(self) -> NDArray[np.uint8]:
        """The ended episode's last frame: seeds and actions make one game, whatever is observed of it."""
        if self._config.observation is Observe.pixels:
            return _pixels(self._final_obs, 0)
        family = make_playable(dataclasses.replace(self._config, observation=Observe.pixels))
        again = family.vector([None], [0])
        obs, final_obs = (_make_buffers(family.observation_spec, 1) for _ in range(2))
        again.set_state(0, self._begin_state)
        for action in self._actions:
            again.step(_as_actions([action], 1), obs, self._rewards, *self._flags, final_obs=final_obs)
        again.close()
        return _pixels(final_obs, 0)

    def _seen(self, obs: _Buffers) -> Any:
        return _view({name: array[0].copy() for name, array in obs.items()})

    def _release(self) -> None:
        if self._vector is not None:
            self._vector.close()
            self._vector = None

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the environment is closed")


class FamilyVectorEnv(gymnasium.vector.VectorEnv[Any, NDArray[np.int64], NDArray[Any]]):
    """`num_envs` environments of a family, stepped at once by the engine's threads.

    Args:
        num_envs: number of slots.
        family: the family's name.
        design: what all slots play.
        designs: instead of `design`, what slots play in turn: slot i has designs[i % len(designs)].
        max_episode_steps: bounds the limits of the config, which the engine keeps.
        render_mode: as in `FamilyEnv`; pictures are of the running episodes, as always with this autoreset.
        size: of the pictures.
        settings: fields of the family's config.

    A slot whose episode ends begins the next one in the same step (`AutoresetMode.SAME_STEP`): its observation is the
    first of the next episode, the last one and the episode's infos are in `final_obs` and `final_info`. Every call
    returns arrays of its own; rewards are float32.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        **FamilyEnv.metadata,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        family: str,
        *,
        design: DesignLike = None,
        designs: Sequence[DesignLike] | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        size: Size = _SIZE,
        **settings: Any,
    ) -> None:
        config = _configure(family, settings)
        if max_episode_steps is not None:
            config = _bound(config, max_episode_steps)
        self.family = make_playable(config)
        self.skills = self.family.skills
        """Their names, in the order of the infos."""
        self.num_envs = _check_count("num_envs", num_envs)
        self.render_mode = _check_render_mode(render_mode)
        self._size = _check_size(size)
        if design is not None and designs is not None:
            raise ConfigError("design and designs: give one design for all slots or several that they take in turn")
        self._designs = self._in_turn([design] if designs is None else designs)
        self.single_observation_space = _observation_space(self.family.observation_spec)
        self.single_action_space = spaces.Discrete(self.family.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._vector: VectorEnv | None = None
        self._seeds: list[int] = []
        self._obs, self._final_obs = (_make_buffers(self.family.observation_spec, num_envs) for _ in range(2))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin each slot's first episode of its seed (seed + slot, or one for each slot), or without a seed its next.

        Options: `designs`, which slots take in turn from their next episode on; `reset_mask`, (num_envs,) bool, the
        slots to reset, while the others play on and keep their seeds.
        """
        self._check_open()
        chosen = _check_options(options, ("designs", "reset_mask"))
        mask = self._check_mask(chosen.get("reset_mask"))
        seeds = self._per_slot(seed)
        designs = self._in_turn(chosen["designs"]) if "designs" in chosen else self._designs
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        vector = self._seeded([seed if reset else None for seed, reset in zip(seeds, mask, strict=True)])
        if designs is not self._designs:
            self._designs = designs
            for slot, design in enumerate(designs):
                vector.set_design(slot, design)
        obs = _make_buffers(self.family.observation_spec, self.num_envs)
        others = [(int(slot), vector.get_state(int(slot))) for slot in np.flatnonzero(~mask)]
        vector.reset(obs)
        for slot, state in others:
            vector.set_state(slot, state)
            for name, array in obs.items():
                array[slot] = self._obs[name][slot]
        self._obs = obs
        return _view(obs), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        self._check_open()
        if self._vector is None:
            raise ResetNeeded("call reset before step")
        obs = _make_buffers(self.family.observation_spec, self.num_envs)
        rewards = np.empty(self.num_envs, np.float32)
        terminations, truncations = np.empty((2, self.num_envs), np.bool_)
        ended = self._vector.step(
            _as_actions(actions, self.num_envs), obs, rewards, terminations, truncations, final_obs=self._final_obs
        )
        self._obs = obs
        infos: dict[str, Any] = {}
        for record in ended:
            final_obs = _view({name: array[record.slot].copy() for name, array in self._final_obs.items()})
            infos = self._add_info(infos, {"final_obs": final_obs, "final_info": _info(record)}, record.slot)
        return _view(obs), rewards, terminations, truncations, infos

    def set_design(self, slot: int, design: DesignLike) -> None:
        """Use `design` from the slot's next episode on."""
        self._check_open()
        if isinstance(slot, bool) or not isinstance(slot, int | np.integer) or not 0 <= slot < self.num_envs:
            raise EngineError(f"slot: {slot!r} is not a slot, allowed are 0 to {self.num_envs - 1}")
        read = _read_design(self.family, design)
        self._designs[slot] = read
        if self._vector is not None:
            self._vector.set_design(int(slot), read)

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """What each slot's player sees, (rows, columns, 3) uint8; None without a render mode."""
        self._check_open()
        if self.render_mode is None:
            gymnasium.logger.warn('render needs a render mode: make the environments with render_mode="rgb_array"')
            return None
        if self._vector is None:
            raise ResetNeeded("call reset before render")
        return tuple(_draw(self._vector, slot, self._obs, self._size) for slot in range(self.num_envs))

    def close_extras(self, **_: Any) -> None:
        if self._vector is not None:
            self._vector.close()

    def _seeded(self, seeds: Sequence[int | None]) -> VectorEnv:
        """The engine with these new seeds: slots without one play on, or have one drawn if they have never begun."""
        old = self._vector
        if old is not None and not any(seed is not None for seed in seeds):
            return old
        before = self._seeds if old is not None else self.np_random.integers(WORLD_SEED_MODULUS, size=self.num_envs)
        self._seeds = [int(kept if seed is None else seed) for seed, kept in zip(seeds, before, strict=True)]
        self._vector = self.family.vector(self._designs, self._seeds)
        if old is not None:
            for slot in (slot for slot, seed in enumerate(seeds) if seed is None):
                self._vector.set_state(slot, old.get_state(slot))
            old.close()
        return self._vector

    def _per_slot(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [_check_seed(seed) + slot for slot in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ConfigError(f"seed: {len(seed)} seeds for {self.num_envs} environments")
        return [None if one is None else _check_seed(one) for one in seed]

    def _in_turn(self, designs: Sequence[DesignLike]) -> list[Design | None]:
        if isinstance(designs, str | Mapping) or not isinstance(designs, Sequence):
            raise DesignError(f"designs: needs a list of designs, got {type(designs).__name__}")
        if not 1 <= len(designs) <= self.num_envs:
            raise DesignError(f"designs: {len(designs)} for {self.num_envs} environments, allowed are 1 to that many")
        read = [_read_design(self.family, design) for design in designs]
        return [read[slot % len(read)] for slot in range(self.num_envs)]

    def _check_mask(self, mask: object) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise EngineError(f"reset_mask: needs a numpy array of shape ({self.num_envs},) and dtype bool")
        if not mask.any():
            raise EngineError("reset_mask: names no slot")
        return mask

    def _check_open(self) -> None:
        if self.closed:
            raise EngineError("the environments are closed")


def _info(record: EpisodeRecord) -> dict[str, Any]:
    """What the last step of an episode says of it."""
    return {
        "skills": np.array(record.skills, np.int64),
        "world_seed": record.world_seed,
        "design": record.design,
    }


def _configure(family: str, settings: Mapping[str, Any]) -> EnvConfig:
    """The family's config from keyword arguments; enums by name. ConfigError for what it has not."""
    config = FAMILIES.config(family, EnvConfig) if family in FAMILIES.names else EnvConfig
    kinds = {name: kind for name, kind in typing.get_type_hints(config).items() if name != "name"}
    values: dict[str, Any] = {"name": family}
    for name, value in settings.items():
        if name not in kinds:
            raise ConfigError(f"{family}: there is no argument {name!r}{_instead(name, kinds)}")
        kind = kinds[name]
        if issubclass(kind, Enum):
            names = [member.name for member in kind]
            if not isinstance(value, kind) and value not in names:
                raise ConfigError(f"{name}: {value!r}{_instead(value, names)}")
            values[name] = value if isinstance(value, kind) else kind[value]
        else:
            # Every other setting is a number of something; 0 threads are as many as there are cores.
            values[name] = _check_count(name, value, least=0 if name == "num_threads" else 1)
    made: EnvConfig = config(**values)
    return made


def _bound(config: EnvConfig, max_episode_steps: int) -> EnvConfig:
    """The config with none of its episode lengths above `max_episode_steps`."""
    _check_count("max_episode_steps", max_episode_steps)
    lengths = [field.name for field in dataclasses.fields(config) if field.name.endswith("_length")]
    if not lengths:
        raise ConfigError(f"max_episode_steps: {config.name} has no setting for the length of an episode; leave it out")
    return dataclasses.replace(config, **{name: min(max_episode_steps, getattr(config, name)) for name in lengths})


def _read_design(family: Family, design: DesignLike) -> Design | None:
    """A design from what a caller gives; DesignError says which setting is wrong and what is allowed."""
    if design is None or isinstance(design, family.design_model):
        return design
    if not isinstance(design, Mapping):
        name = family.design_model.__name__
        raise DesignError(f"design: needs a {name}, a dict of settings or None, got {type(design).__name__}")
    return read_design(design, family)


def _instead(name: object, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f", allowed: {', '.join(allowed)}" + (f"; did you mean {near[0]}?" if near else "")


def _observation_space(spec: Mapping[str, ArraySpec]) -> spaces.Space[Any]:
    boxes: dict[str, spaces.Space[Any]] = {
        name: spaces.Box(part.low, part.high, part.shape, part.dtype.type) for name, part in spec.items()
    }
    return next(iter(boxes.values())) if len(boxes) == 1 else spaces.Dict(boxes)


def _view(obs: _Buffers) -> Any:
    """An observation as its space has it: one array alone, several by name."""
    return next(iter(obs.values())) if len(obs) == 1 else obs


def _make_buffers(spec: Mapping[str, ArraySpec], num_envs: int) -> _Buffers:
    return {name: np.zeros((num_envs, *part.shape), part.dtype) for name, part in spec.items()}


def _as_actions(actions: Any, num_envs: int) -> NDArray[np.int64]:
    """Whole numbers of any width as the engine's int64; the engine says which of them are actions."""
    array = np.ascontiguousarray(actions)
    if array.shape != (num_envs,) or array.dtype.kind not in "iu":
        raise EngineError(f"actions: needs {num_envs} whole numbers, got shape {array.shape} and dtype {array.dtype}")
    return array.astype(np.int64, copy=False)


def _draw(vector: VectorEnv, slot: int, obs: _Buffers, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A slot's frame by the engine where it draws off-screen, else the last observation, enlarged."""
    if hasattr(vector, "frame"):
        drawn: NDArray[np.uint8] = vector.frame(slot, size)
        return drawn
    return _enlarge(_pixels(obs, slot), size)


def _pixels(obs: _Buffers, slot: int) -> NDArray[np.uint8]:
    if "pixels" not in obs:
        raise EngineError("render: this engine draws no pictures of what is observed")
    picture: NDArray[np.uint8] = obs["pixels"][slot]
    return picture


def _enlarge(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture at another size, each pixel from its nearest."""
    rows, columns = (np.arange(to) * have // to for to, have in zip(size, picture.shape, strict=False))
    enlarged: NDArray[np.uint8] = picture[rows[:, None], columns]
    return enlarged


def _check_count(name: str, value: object, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"{name}: {value!r}, allowed are whole numbers from {least}")
    return int(value)


def _check_seed(seed: object) -> int:
    return _check_count("seed", seed, least=0)


def _check_size(size: object) -> tuple[int, int]:
    both = size if isinstance(size, tuple | list) else (size, size)
    if len(both) != 2:
        raise ConfigError(f"size: {size!r}, allowed are one number of pixels or rows and columns")
    rows, columns = (_check_count("size", pixels) for pixels in both)
    return rows, columns


def _check_render_mode(render_mode: str | None) -> str | None:
    modes = FamilyEnv.metadata["render_modes"]
    if render_mode is not None and render_mode not in modes:
        raise ConfigError(f"render_mode: {render_mode!r}, allowed are None and {', '.join(map(repr, modes))}")
    return render_mode


def _check_options(options: dict[str, Any] | None, allowed: tuple[str, ...]) -> dict[str, Any]:
    for name in options or {}:
        if name not in allowed:
            raise ConfigError(f"options: there is no option {name!r}{_instead(name, allowed)}")
    return options or {}


def _register(env_id: str, family: str) -> None:
    gymnasium.register(
        id=env_id,
        entry_point=f"{__name__}:{FamilyEnv.__name__}",
        vector_entry_point=f"{__name__}:{FamilyVectorEnv.__name__}",
        kwargs={"family": family},
    )


_register("EnvGen/Crafter-v0", "crafter")
_register("EnvGen/Heist-v0", "heist")
