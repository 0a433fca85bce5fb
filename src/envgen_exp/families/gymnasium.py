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
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError
from envgen_exp.families import make_playable
from envgen_exp.families.design import Design
from envgen_exp.families.keywords import (
    RENDER_MODES,
    DesignLike,
    Size,
    bound,
    check_count,
    check_options,
    check_render_mode,
    check_seed,
    check_size,
    configure,
    to_design,
)
from envgen_exp.families.vector import Buffers, EpisodeRecord, Observation, VectorEnv, zero_observation
from envgen_exp.families.views import as_actions, draw, enlarge, observation_space, pixels, view
from envgen_exp.seeding import WORLD_SEED_MODULUS

_SIZE = 576
"""64 pixels for each of the nine cells of Crafter's frame, the textures' own resolution."""


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

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [*RENDER_MODES], "render_fps": 10}  # type: ignore[misc]

    def __init__(
        self,
        family: str,
        *,
        design: DesignLike = None,
        render_mode: str | None = None,
        size: Size = _SIZE,
        **settings: Any,
    ) -> None:
        self._config = configure(family, {"num_threads": 1, **settings})
        self.family = make_playable(self._config)
        self.skills = self.family.skills
        """Their names, in the order of the infos."""
        self.render_mode = check_render_mode(render_mode)
        self._size = check_size(size)
        self._design = to_design(self.family, design)
        self.observation_space = observation_space(self.family.observation_spec)
        self.action_space = spaces.Discrete(self.family.num_actions)
        self._vector: VectorEnv | None = None
        self._closed = False
        self._final_obs = zero_observation(self.family.observation_spec, 1)
        self._out = Buffers.zeros(self.family.observation_spec, 1, final_obs=self._final_obs)
        self._ended = False
        """The episode is over; the engine has begun the next one, whose first observation is in `_out`."""
        self._begin_state = b""
        """The state in which the last episode that `reset` returned began."""
        self._actions: list[int] = []
        """Its actions since."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the seed's first episode, or without a seed the next one.

        Options: `design`, the design from this episode on.
        """
        self._check_open()
        chosen = check_options(options, ("design",))
        seed = None if seed is None else check_seed(seed)
        if "design" in chosen:
            self._design = to_design(self.family, chosen["design"])
        super().reset(seed=seed)
        if self._vector is None or seed is not None:
            self._release()
            first = int(self.np_random.integers(WORLD_SEED_MODULUS)) if seed is None else seed
            self._vector = self.family.vector([self._design], [first])
            self._vector.reset(self._out.obs)
        elif "design" in chosen:
            if self._ended:
                # The engine has begun the next episode in the old design: back, to begin the same one in the new.
                self._vector.set_state(0, self._begin_state)
            self._vector.set_design(0, self._design)
            self._vector.reset(self._out.obs)
        elif not self._ended:
            self._vector.reset(self._out.obs)
        self._ended = False
        self._begin_state = self._vector.get_state(0)
        self._actions.clear()
        return self._seen(self._out.obs), {}

    def step(self, action: int | np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._check_open()
        if self._vector is None or self._ended:
            raise ResetNeeded("the episode is over, call reset" if self._ended else "call reset before step")
        actions = as_actions([action], 1)
        ended, out = self._vector.step(actions, self._out), self._out
        self._actions.append(int(actions[0]))
        self._ended = bool(ended)
        seen = self._seen(self._final_obs if ended else out.obs)
        terminated, truncated = bool(out.terminations[0]), bool(out.truncations[0])
        return seen, float(out.rewards[0]), terminated, truncated, _info(ended[0]) if ended else {}

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
            return draw(self._vector, 0, self._out.obs, self._size)
        return enlarge(self._final_pixels(), self._size)

    def close(self) -> None:
        self._release()
        self._closed = True

    def _final_pixels(self) -> NDArray[np.uint8]:
        """The ended episode's last frame: seeds and actions make one game, whatever is observed of it."""
        if self._config.observation is Observe.pixels:
            return pixels(self._final_obs, 0)
        family = make_playable(dataclasses.replace(self._config, observation=Observe.pixels))
        again = family.vector([None], [0])
        final_obs = zero_observation(family.observation_spec, 1)
        out = Buffers.zeros(family.observation_spec, 1, final_obs=final_obs)
        again.set_state(0, self._begin_state)
        for action in self._actions:
            again.step(as_actions([action], 1), out)
        again.close()
        return pixels(final_obs, 0)

    def _seen(self, obs: Observation) -> Any:
        return view({name: array[0].copy() for name, array in obs.items()})

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
        config = configure(family, settings)
        if max_episode_steps is not None:
            config = bound(config, max_episode_steps)
        self.family = make_playable(config)
        self.skills = self.family.skills
        """Their names, in the order of the infos."""
        self.num_envs = check_count("num_envs", num_envs)
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
        if designs is not self._designs:
            self._designs = designs
            for slot, design in enumerate(designs):
                vector.set_design(slot, design)
        out = self._new_buffers()
        others = [(int(slot), vector.get_state(int(slot))) for slot in np.flatnonzero(~mask)]
        vector.reset(out.obs)
        for slot, state in others:
            vector.set_state(slot, state)
            for name, array in out.obs.items():
                array[slot] = self._out.obs[name][slot]
        self._out = out
        return view(out.obs), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        self._check_open()
        if self._vector is None:
            raise ResetNeeded("call reset before step")
        out = self._new_buffers()
        ended = self._vector.step(as_actions(actions, self.num_envs), out)
        self._out = out
        infos: dict[str, Any] = {}
        for record in ended:
            final_obs = view({name: array[record.slot].copy() for name, array in self._final_obs.items()})
            infos = self._add_info(infos, {"final_obs": final_obs, "final_info": _info(record)}, record.slot)
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


def _info(record: EpisodeRecord) -> dict[str, Any]:
    """What the last step of an episode says of it."""
    return {
        "skills": np.array(record.skills, np.int64),
        "world_seed": record.world_seed,
        "design": record.design,
    }


def _register(env_id: str, family: str) -> None:
    gymnasium.register(
        id=env_id,
        entry_point=f"{__name__}:{FamilyEnv.__name__}",
        vector_entry_point=f"{__name__}:{FamilyVectorEnv.__name__}",
        kwargs={"family": family},
    )


_register("EnvGen/Crafter-v0", "crafter")
_register("EnvGen/Heist-v0", "heist")
