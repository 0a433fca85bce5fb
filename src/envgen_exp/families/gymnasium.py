"""The engines as Gymnasium environments; importing envgen_exp registers them, and their vectors.

    import gymnasium
    import envgen_exp

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

and others nothing. In a vector with SAME_STEP autoreset they lie in `infos["final_info"]`, beside `infos["final_obs"]`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.errors import EngineError
from envgen_exp.families import make_playable
from envgen_exp.families.design import Design
from envgen_exp.families.keywords import (
    RENDER_MODES,
    DesignLike,
    Size,
    check_options,
    check_render_mode,
    check_seed,
    check_size,
    configure,
    to_design,
)
from envgen_exp.families.vector import Buffers, EpisodeRecord, Observation, VectorEnv, zero_observation
from envgen_exp.families.views import action_names, as_actions, draw, enlarge, observation_space, pixels, view
from envgen_exp.seeding import WORLD_SEED_MODULUS

SIZE = 576
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
        size: Size = SIZE,
        **settings: Any,
    ) -> None:
        self._config = configure(family, {"num_threads": 1, **settings})
        self.family = make_playable(self._config)
        self.skills = self.family.skills
        """Their names, in the order of the infos."""
        self.render_mode = check_render_mode(render_mode)
        self._size = check_size(size)
        self._design = to_design(self.family, design)
        self._redesigned = False
        """The next episode is one of another design than the engine knows."""
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
            self.design = chosen["design"]
        super().reset(seed=seed)
        if self._vector is None or seed is not None:
            self._release()
            first = int(self.np_random.integers(WORLD_SEED_MODULUS)) if seed is None else seed
            self._vector = self.family.vector([self._design], [first])
            self._vector.reset(self._out.obs)
        elif self._redesigned:
            if self._ended:
                # The engine has begun the next episode in the old design: back, to begin the same one in the new.
                self._vector.set_state(0, self._begin_state)
            self._vector.set_design(0, self._design)
            self._vector.reset(self._out.obs)
        elif not self._ended:
            self._vector.reset(self._out.obs)
        self._ended = self._redesigned = False
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
        return seen, float(out.rewards[0]), terminated, truncated, episode_info(ended[0]) if ended else {}

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

    @property
    def design(self) -> Design | None:
        """What is played from the next reset on; can be set, to all that the argument can be."""
        return self._design

    @design.setter
    def design(self, design: DesignLike) -> None:
        self._design, self._redesigned = to_design(self.family, design), True

    def get_action_meanings(self) -> list[str]:
        """The actions' names, in the order of their numbers."""
        return action_names(self.family)

    def get_keys_to_action(self) -> dict[tuple[str, ...], int]:
        """Keys, of which several may be held at once, and their actions, for `gymnasium.utils.play`."""
        return {tuple(held): action for held, action in getattr(self.family, "keys", {}).items()}

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


def episode_info(record: EpisodeRecord) -> dict[str, Any]:
    """What the last step of an episode says of it."""
    return {
        "skills": np.array(record.skills, np.int64),
        "world_seed": record.world_seed,
        "design": record.design,
    }
