"""Plays, and trains step by step, for any learner that chooses actions from arrays."""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from envgen_exp import seeding
from envgen_exp.config import RunConfig
from envgen_exp.errors import CheckpointError, ConfigError
from envgen_exp.families.design import Design
from envgen_exp.families.family import Playable
from envgen_exp.families.vector import Buffers, EpisodeRecord, Observation, VectorEnv, zero_observation
from envgen_exp.learners import games
from envgen_exp.learners.curriculum import Curriculum
from envgen_exp.learners.learner import NOBODY, Defaults, Game, Onlooker, Played, Progress
from envgen_exp.llm.client import Client
from envgen_exp.seeding import WorldSet

Choose = Callable[[Observation], NDArray[np.int64]]
"""Actions (n,) for observations (n, *shape) each."""


def play(
    env: VectorEnv,
    quota: Sequence[int],
    choose: Choose,
    on_episode: Callable[[EpisodeRecord], None] | None = None,
    on_step: Callable[[Buffers], None] | None = None,
) -> list[EpisodeRecord]:
    """Play a new environment until each slot has its quota of whole episodes, and return them by slot and episode.

    A slot that has its quota stops and leaves the batch: counting whichever episodes end first would favour short ones.
    `on_episode` sees each episode as it ends, `on_step` before that what each step gave.
    """
    remaining = np.array(quota, dtype=np.int64)
    if remaining.shape != (env.num_envs,) or (remaining < 0).any():
        raise ConfigError(
            f"evaluation: needs a number of episodes for each of {env.num_envs} slots, not {list(remaining)}"
        )
    out, actions = Buffers.zeros(env.observation_spec, env.num_envs), np.zeros(env.num_envs, np.int64)
    episodes: list[EpisodeRecord] = []
    env.reset(out.obs)
    active = remaining > 0
    while active.any():
        whole = bool(active.all())
        actions[active] = choose(out.obs if whole else {name: x[active] for name, x in out.obs.items()})
        ended = env.step(actions, out, active=None if whole else active)
        if on_step is not None:
            on_step(out)
        for record in ended:
            episodes.append(record)
            remaining[record.slot] -= 1
            if on_episode is not None:
                on_episode(record)
        if ended:
            active = remaining > 0
    return sorted(episodes, key=lambda record: (record.slot, record.episode))


class StepLearner(Defaults, ABC):
    """A learner that learns from each step of its slots as it comes: a subclass says how, with NumPy alone.

    All that it has learned stands in `memory`, as plain values or tensors; `config` is the whole run's.
    """

    def __init__(self, config: RunConfig, family: Playable) -> None:
        self.config, self.family = config, family
        self.memory: dict[str, Any] = {}
        self.learned = 0
        """Steps of all slots that it has learned from."""

    @classmethod
    def create(cls, config: RunConfig, family: Any, client: Client, total_steps: int) -> Self:
        """One that has learned nothing."""
        return cls(config, family)

    @abstractmethod
    def act(self, obs: Observation, draw: np.random.Generator, *, learning: bool) -> NDArray[np.int64]:
        """Actions (n,); whatever is drawn comes from `draw`, and nothing is learned."""

    @abstractmethod
    def learn(
        self,
        obs: Observation,
        actions: NDArray[np.int64],
        rewards: NDArray[np.float32],
        ended: NDArray[np.bool_],
        after: Observation,
    ) -> Mapping[str, float]:
        """Learn from one step of each slot, and say what was learned under the names of metrics.jsonl.

        Where an episode `ended`, `after` is already the next one's.
        """

    def explore(self, obs: Observation) -> NDArray[np.int64]:
        """Actions to learn from."""
        self.learned += 1
        return self.act(obs, seeding.generator(self.config.seed, "agent", "actions", self.learned), learning=True)

    def pupil(self, seed: int) -> Self:
        """A new one with the same settings."""
        return type(self)(dataclasses.replace(self.config, seed=seed), self.family)

    def train(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        steps: int,
        *,
        total_steps: int | None = None,
        curriculum: Curriculum | None = None,
    ) -> Stepwise:
        """Step by step."""
        return Stepwise(self, self.family.vector(designs, seeds, worlds), steps, curriculum)

    def evaluate(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        quota: Sequence[int],
        stream: tuple[int | str, ...],
        onlooker: Onlooker = NOBODY,
    ) -> Played:
        """Whole episodes, without exploring."""
        root, *names = stream
        draw = seeding.generator(int(root), *names)
        with contextlib.closing(self.family.vector(designs, seeds, worlds)) as env:
            seen = onlooker.camera(env)
            return Played(play(seen, quota, lambda obs: self.act(obs, draw, learning=False), onlooker.on_episode))

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""
        return {"memory": self.memory, "learned": self.learned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.memory, self.learned = state["memory"], state["learned"]


class Stepwise:
    """`Training` of such a learner: exactly `steps` steps, shared by the slots. ConfigError for a `curriculum`."""

    STRIDE = 32
    """Steps of each slot in a stretch."""

    def __init__(self, learner: StepLearner, env: VectorEnv, steps: int, curriculum: Curriculum | None = None) -> None:
        if curriculum is not None:
            raise ConfigError("the designer chooses worlds by advantages, and this learner has none")
        self._learner, self._env = learner, env
        self._steps, self.steps_done = steps, 0
        self._obs = zero_observation(env.observation_spec, env.num_envs)
        self._games: Sequence[Game | None] = [None] * env.num_envs
        """What the slots begin with."""

    def __iter__(self) -> Iterator[Progress]:
        env, obs = self._env, self._obs
        if None in self._games:
            env.reset(obs)
        games.go_on(env, obs, self._games)
        after = Buffers.zeros(env.observation_spec, env.num_envs)
        while self.steps_done < self._steps:
            episodes: list[EpisodeRecord] = []
            strides = min(self.STRIDE, (self._steps - self.steps_done) // env.num_envs)
            for _ in range(strides):
                actions = self._learner.explore(obs)
                episodes += env.step(actions, after)
                ended = after.terminations | after.truncations
                metrics = self._learner.learn(obs, actions, after.rewards, ended, after.obs)
                for name, x in after.obs.items():
                    obs[name][:] = x
            steps = strides * env.num_envs
            self.steps_done += steps
            yield Progress(steps, self.steps_done, metrics, episodes, {})

    def take_up(self, waiting: Sequence[Game | None]) -> None:
        """Begin with these games, one a slot; a slot without one begins an episode."""
        self._games = list(waiting)

    def leave(self) -> list[Game]:
        """Each slot's running game."""
        return games.running(self._env, self._obs)

    def state_dict(self) -> dict[str, Any]:
        """Steps done and every slot's game."""
        return {"steps": (self._steps, self.steps_done), "games": self.leave() if self.steps_done else self._games}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same phase."""
        steps, self.steps_done = state["steps"]
        if steps != self._steps or len(state["games"]) != self._env.num_envs:
            raise CheckpointError(f"checkpoint: holds another phase than this one of {self._steps} steps")
        self.take_up(state["games"])

    def close(self) -> None:
        """Give the environments back."""
        self._env.close()
