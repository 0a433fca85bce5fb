"""The engines as Gymnasium's vector environments; `families.gymnasium` tells of seeds and infos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envgen_exp.errors import ConfigError, DesignError, EngineError
from envgen_exp.families import make_playable
from envgen_exp.families.design import Design
from envgen_exp.families.gymnasium import SIZE, FamilyEnv, episode_info
from envgen_exp.families.keywords import (
    DesignLike,
    Size,
    bound,
    check_autoreset,
    check_count,
    check_options,
    check_render_mode,
    check_seed,
    check_size,
    configure,
    to_design,
)
from envgen_exp.families.vector import Buffers, VectorEnv, zero_observation
from envgen_exp.families.views import action_names, as_actions, draw, observation_space, view
from envgen_exp.seeding import WORLD_SEED_MODULUS


class FamilyVectorEnv(gymnasium.vector.VectorEnv[Any, NDArray[np.int64], NDArray[Any]]):
    """`num_envs` environments of a family, stepped at once by the engine's threads.

    Args:
        num_envs: number of slots.
        family: the family's name.
        design: what all slots play.
        designs: instead of `design`, what slots play in turn: slot i has designs[i % len(designs)].
        max_episode_steps: bounds the limits of the config, which the engine keeps.
        autoreset_mode: when a slot whose episode ends shows its next one, see below; Gymnasium's enum or its value.
        render_mode: as in `FamilyEnv`; pictures are of the running episodes.
        size: of the pictures.
        settings: fields of the family's config.

    A slot whose episode ends begins the next one in the same step. With `SAME_STEP` its observation is the first of the
    next episode, and the last one and the episode's infos are in `final_obs` and `final_info`. With `NEXT_STEP` it is
    the last of the old one, with the infos beside it; the slot's next step takes no action and returns the first of the
    new one. Every call returns arrays of its own; rewards are float32.
    """

    metadata: ClassVar[dict[str, Any]] = FamilyEnv.metadata  # type: ignore[misc]

    def __init__(
        self,
        num_envs: int,
        family: str,
        *,
        design: DesignLike = None,
        designs: Sequence[DesignLike] | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        size: Size = SIZE,
        **settings: Any,
    ) -> None:
        config = configure(family, settings)
        if max_episode_steps is not None:
            config = bound(config, max_episode_steps)
        self.family = make_playable(config)
        self.skills = self.family.skills
        """Their names, in the order of the infos."""
        self.num_envs = check_count("num_envs", num_envs)
        self.autoreset_mode = check_autoreset(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.render_mode = check_render_mode(render_mode)
        self._size = check_size(size)
        if design is not None and designs is not None:
            raise ConfigError("design and designs: give one design for all slots or several that they take in turn")
        self._designs = self._in_turn([design] if designs is None else designs)
        self.single_observation_space = observation_space(self.family.observation_spec)
        self.single_action_space = spaces.Discrete(self.family.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._vector: VectorEnv | None = None
        self._seeds: list[int] = []
        self._final_obs = zero_observation(self.family.observation_spec, num_envs)
        self._coming = zero_observation(self.family.observation_spec, num_envs)
        """With NEXT_STEP, the first observations of the episodes that wait to be shown."""
        self._waiting = np.zeros(num_envs, np.bool_)
        self._out = self._new_buffers()

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin each slot's first episode of its seed (seed + slot, or one for each slot), or without a seed its next.

        Options: `designs`, which slots take in turn from their next episode on; `reset_mask`, (num_envs,) bool, the
        slots to reset, while the others play on and keep their seeds.
        """
        self._check_open()
        chosen = check_options(options, ("designs", "reset_mask"))
        mask = self._check_mask(chosen.get("reset_mask"))
        seeds = self._per_slot(seed)
        designs = self._in_turn(chosen["designs"]) if "designs" in chosen else self._designs
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        vector = self._seeded([seed if reset else None for seed, reset in zip(seeds, mask, strict=True)])
        # A slot that waits has begun its next episode already, which a reset shows.
        shown = self._waiting & mask & [seed is None for seed in seeds] & (designs is self._designs)
        if designs is not self._designs:
            self._designs = designs
            for slot, design in enumerate(designs):
                vector.set_design(slot, design)
        out = self._new_buffers()
        others = [(int(slot), vector.get_state(int(slot))) for slot in np.flatnonzero(~mask | shown)]
        vector.reset(out.obs)
        for slot, state in others:
            vector.set_state(slot, state)
            for name, array in out.obs.items():
                array[slot] = (self._coming if shown[slot] else self._out.obs)[name][slot]
        self._out = out
        self._waiting &= ~mask
        return view(out.obs), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        self._check_open()
        if self._vector is None:
            raise ResetNeeded("call reset before step")
        out = self._new_buffers()
        waiting = self._waiting
        ended = self._vector.step(as_actions(actions, self.num_envs), out, active=~waiting if waiting.any() else None)
        self._out = out
        for name, array in out.obs.items():
            array[waiting] = self._coming[name][waiting]
        self._waiting = np.zeros(self.num_envs, np.bool_)
        infos: dict[str, Any] = {}
        for record in ended:
            info, slot = episode_info(record), record.slot
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                final_obs = view({name: array[slot].copy() for name, array in self._final_obs.items()})
                info = {"final_obs": final_obs, "final_info": info}
            else:
                self._waiting[slot] = True
                for name, array in out.obs.items():
                    self._coming[name][slot], array[slot] = array[slot], self._final_obs[name][slot]
            infos = self._add_info(infos, info, slot)
        return view(out.obs), out.rewards, out.terminations, out.truncations, infos

    def set_design(self, slot: int, design: DesignLike) -> None:
        """Use `design` from the slot's next episode on."""
        self._check_open()
        if isinstance(slot, bool) or not isinstance(slot, int | np.integer) or not 0 <= slot < self.num_envs:
            raise EngineError(f"slot: {slot!r} is not a slot, allowed are 0 to {self.num_envs - 1}")
        read = to_design(self.family, design)
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
        return tuple(draw(self._vector, slot, self._out.obs, self._size) for slot in range(self.num_envs))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each slot's environment, as `FamilyEnv` has it."""
        if name == "design":
            return tuple(self._designs)
        of_one = {"observation_space": "single_observation_space", "action_space": "single_action_space"}
        return (getattr(self, of_one.get(name, name)),) * self.num_envs

    def set_attr(self, name: str, values: Any) -> None:
        """Set each slot's `design`, all that can be set, to its own of a list or to the same."""
        if name != "design":
            raise AttributeError(f"{name}: can't be set for each environment, allowed: design")
        each = values if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(each) != self.num_envs:
            raise DesignError(f"design: {len(each)} for {self.num_envs} environments")
        for slot, design in enumerate(self._in_turn(each)):
            self.set_design(slot, design)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What a method of each slot's environment returns, or an attribute of it."""
        if name == "render":
            return self.render() or (None,) * self.num_envs
        if name in ("reset", "step", "close"):
            raise AttributeError(f"{name}: is called once for all environments")
        return tuple(one(*args, **kwargs) if callable(one) else one for one in self.get_attr(name))

    def get_action_meanings(self) -> list[str]:
        """The actions' names, in the order of their numbers."""
        return action_names(self.family)

    def close_extras(self, **_: Any) -> None:
        if self._vector is not None:
            self._vector.close()
            self._vector = None

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

    def _new_buffers(self) -> Buffers:
        """Arrays that the caller may keep; final observations are copied from the same ones."""
        return Buffers.zeros(self.family.observation_spec, self.num_envs, final_obs=self._final_obs)

    def _per_slot(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [check_seed(seed) + slot for slot in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ConfigError(f"seed: {len(seed)} seeds for {self.num_envs} environments")
        return [None if one is None else check_seed(one) for one in seed]

    def _in_turn(self, designs: Sequence[DesignLike]) -> list[Design | None]:
        if isinstance(designs, str | Mapping) or not isinstance(designs, Sequence):
            raise DesignError(f"designs: needs a list of designs, got {type(designs).__name__}")
        if not 1 <= len(designs) <= self.num_envs:
            raise DesignError(f"designs: {len(designs)} for {self.num_envs} environments, allowed are 1 to that many")
        read = [to_design(self.family, design) for design in designs]
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
