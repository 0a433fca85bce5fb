"""A training phase of PPO: rollouts and updates for exactly so many environment steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envgen_exp.errors import CheckpointError, ConfigError
from envgen_exp.families.vector import EpisodeRecord, VectorEnv
from envgen_exp.learners import games
from envgen_exp.learners.curriculum import Curriculum, set_next_worlds
from envgen_exp.learners.learner import Game
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.ppo import PPO, check_version, update
from envgen_exp.learners.ppo.rollout import RolloutBuffer, collect, finish

STATE_VERSION = 2


@dataclass(frozen=True)
class RolloutReport:
    """What one rollout and its update gave."""

    steps: int
    """Environment steps of this rollout, all environments together."""
    steps_done: int
    """Environment steps of the phase so far."""
    metrics: dict[str, float]
    """Losses and the like, as `update` returns them."""
    episodes: list[EpisodeRecord]
    """Episodes that ended in this rollout, in the order of their ends."""
    timings: dict[str, float]
    """Seconds by what they went to: env_seconds, inference_seconds, update_seconds, aux_seconds if any; and steps."""


class TrainingPhase:
    """Training on one vector environment for exactly `steps` environment steps; iterating it trains.

    The last rollout is cut to the exact count. Episodes in flight at the end enter no report; `leave` gives their games
    to a phase that goes on with them. Between two rollouts `state_dict` holds all that, with the learner's, is needed
    to go on exactly.
    """

    def __init__(
        self,
        learner: PPO,
        env: VectorEnv,
        steps: int,
        config: PPOConfig,
        total_train_steps: int,
        curriculum: Curriculum | None = None,
    ) -> None:
        if env.num_envs != config.num_envs:
            raise ConfigError(f"ppo.num_envs is {config.num_envs}, but the environment has {env.num_envs} slots")
        check_steps(steps, config)
        self.learner, self.env, self.config = learner, env, config
        self.curriculum = curriculum
        """Chooses worlds; its state is its owner's to keep."""
        self.steps, self.total_train_steps = steps, total_train_steps
        self.steps_done = 0
        spec, agent = env.observation_spec, learner.agent
        recalled = agent.encoder.num_features if agent.recalls else 0
        self.buffer = RolloutBuffer(config.num_steps, config.num_envs, spec, learner.device, agent.remembers, recalled)
        self._started = False
        self._games: Sequence[Game | None] = [None] * config.num_envs
        """What the slots begin with."""

    def __iter__(self) -> Iterator[RolloutReport]:
        while self.steps_done < self.steps:
            yield self._train_once()

    def _train_once(self) -> RolloutReport:
        learner, config, buffer = self.learner, self.config, self.buffer
        begins = not self._started
        if begins:
            self._begin()
        num_steps = min(config.num_steps, (self.steps - self.steps_done) // config.num_envs)
        collected = collect(
            learner.agent,
            learner.value_norm,
            self.env,
            buffer,
            num_steps,
            learner.action_generator,
            bootstrap_timeouts=config.bootstrap_timeouts,
            curriculum=self.curriculum,
        )
        started = time.perf_counter()
        rollout = finish(buffer, num_steps, config.gamma, config.gae_lambda)
        if self.curriculum is not None:
            dones = buffer.terminations[:num_steps] | buffer.truncations[:num_steps]
            self.curriculum.learn(rollout.advantages.cpu().numpy(), dones.numpy())
        metrics = update(learner, rollout, config, self.total_train_steps)
        updated = time.perf_counter()
        if learner.distillation is not None:
            learner.distillation.remember(buffer, rollout, begins=begins)
            if learner.distillation.due:
                rate = metrics["learning_rate"]
                metrics |= learner.distillation.learn(learner.team, learner.value_norm, rate)
        buffer.carry_over(num_steps)
        steps = num_steps * config.num_envs
        self.steps_done += steps
        timings = {
            "env_seconds": collected.env_seconds,
            "inference_seconds": collected.inference_seconds,
            "update_seconds": updated - started,
            "steps": float(steps),
        }
        if learner.distillation is not None:
            timings["aux_seconds"] = time.perf_counter() - updated
        return RolloutReport(steps, self.steps_done, metrics, collected.episodes, timings)

    def _begin(self) -> None:
        """Start the first episodes, or go on; of a curriculum's slots that start, the second is then chosen too."""
        new = [slot for slot, game in enumerate(self._games) if game is None]
        if self.curriculum is not None:
            self.curriculum.begin(new)
            set_next_worlds(self.curriculum, self.env, new)
        if new:
            self.env.reset(self.buffer.obs_at[0])
        games.go_on(self.env, self.buffer.carried(), self._games)
        if self.curriculum is not None:
            set_next_worlds(self.curriculum, self.env, new)
        self._started = True

    def take_up(self, waiting: Sequence[Game | None]) -> None:
        """Begin with these games, one a slot; a slot without one begins an episode."""
        self._games = list(waiting)

    def leave(self) -> list[Game]:
        """Each slot's running game."""
        return games.running(self.env, self.buffer.carried())

    def state_dict(self) -> dict[str, Any]:
        """Steps done and every slot's game, of types that `torch.load(weights_only=True)` accepts."""
        return {
            "version": STATE_VERSION,
            "steps": self.steps,
            "steps_done": self.steps_done,
            "started": self._started,
            "games": self.leave() if self._started else list(self._games),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of a phase with the same steps on a new environment.

        Raises CheckpointError where it is of another phase.
        """
        check_version("phase", state, STATE_VERSION)
        if state["steps"] != self.steps or len(state["games"]) != self.env.num_envs:
            raise CheckpointError(f"checkpoint: holds another phase than this one of {self.steps} steps")
        self.take_up(state["games"])
        self.steps_done, self._started = int(state["steps_done"]), bool(state["started"])
        if self._started:
            games.go_on(self.env, self.buffer.carried(), self._games)


def check_steps(steps: int, config: PPOConfig) -> None:
    """Raise ConfigError where a phase can't have exactly `steps` environment steps."""
    if steps <= 0 or steps % config.num_envs:
        below = steps // config.num_envs * config.num_envs
        nearest = [n for n in (below, below + config.num_envs) if n > 0] or [config.num_envs]
        raise ConfigError(
            f"a phase of {steps} steps can't be shared by ppo.num_envs={config.num_envs}; "
            f"nearest allowed: {' or '.join(str(n) for n in nearest)}"
        )
