"""`agent=ppo`: the small agent that PPO trains, as a learner of a run."""

from __future__ import annotations

import contextlib
import copy
import os
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from envgen_exp import seeding
from envgen_exp.config import RunConfig
from envgen_exp.errors import ConfigError
from envgen_exp.families.design import Design
from envgen_exp.families.family import Mirrored, Playable
from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.curriculum import Curriculum
from envgen_exp.learners.devices import choose_device
from envgen_exp.learners.learner import NOBODY, Defaults, Game, Onlooker, Played, Progress, Speed
from envgen_exp.learners.ppo.allocator import keep_large_buffers
from envgen_exp.learners.ppo.config import NETWORKS, PPOConfig
from envgen_exp.learners.ppo.evaluate import evaluate
from envgen_exp.learners.ppo.export import export
from envgen_exp.learners.ppo.ppo import PPO
from envgen_exp.learners.ppo.rollout import rollout_bytes
from envgen_exp.learners.ppo.training import TrainingPhase, check_steps
from envgen_exp.llm.client import Client
from envgen_exp.seeding import WorldSet


class PPOLearner(Defaults):
    """PPO and the games that it plays."""

    sparing: ClassVar[str] = "smaller ppo.num_envs or ppo.num_steps need less"

    def __init__(self, config: PPOConfig, family: Playable, ppo: PPO, total_steps: int) -> None:
        self._config = config
        self._family = family
        self.ppo = ppo
        self._total_steps = total_steps

    @classmethod
    def create(cls, config: RunConfig, family: Playable, client: Client, total_steps: int) -> PPOLearner:
        """Weights that follow from the seed. ConfigError for a device or network that can't be had."""
        keep_large_buffers()
        device, threads = choose_device(config.device), use_threads(config)
        settings = _settings(config)
        check_memory(settings, family.observation_spec)
        return cls(settings, family, _made(settings, family, config.seed, device, threads), total_steps)

    @classmethod
    def slots(cls, config: RunConfig) -> int:
        """ppo.num_envs."""
        return _settings(config).num_envs

    @classmethod
    def check_steps(cls, steps: int, config: RunConfig) -> None:
        """Environments share them evenly."""
        check_steps(steps, _settings(config))

    @property
    def updates(self) -> int:
        """Steps of Adam."""
        return self.ppo.updates

    def describe(self) -> dict[str, Any]:
        """Network, device, precision, threads."""
        return self.ppo.describe()

    def speed(self) -> Speed:
        """Time a short rollout and its update; draws from no stream."""
        config, learner = self._config, copy.deepcopy(self.ppo)
        seeds = seeding.integers(0, "measure", count=config.num_envs)
        # Half of the usual minibatch: a CPU takes as long for a step in a smaller one, a GPU does not.
        batch_size = 256 if learner.device.type == "cpu" else 512
        with contextlib.closing(self._family.vector([None] * config.num_envs, seeds, WorldSet.VALIDATION)) as env:
            for num_steps in (2, max(8, batch_size // config.num_envs)):  # the first pays for warming up
                steps = config.num_envs * min(num_steps, config.num_steps)
                training = TrainingPhase(learner, env, steps, config, total_train_steps=steps)
                start = time.perf_counter()
                update = sum(rollout.timings["update_seconds"] for rollout in training)
                seconds = time.perf_counter() - start
        return Speed(training=steps / seconds, playing=steps / max(seconds - update, 1e-9))

    def pupil(self, seed: int) -> PPOLearner:
        """A new agent with the same settings."""
        made = _made(self._config, self._family, seed, self.ppo.device, self.ppo.threads)
        return PPOLearner(self._config, self._family, made, self._total_steps)

    def train(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        steps: int,
        *,
        total_steps: int | None = None,
        curriculum: Curriculum | None = None,
    ) -> Phase:
        """Rollouts and updates in one environment a slot."""
        env = self._family.vector(designs, seeds, worlds)
        total = total_steps or self._total_steps
        return Phase(TrainingPhase(self.ppo, env, steps, self._config, total, curriculum))

    def evaluate(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        quota: Sequence[int],
        stream: tuple[int | str, ...],
        onlooker: Onlooker = NOBODY,
    ) -> Played:
        """Actions are sampled from the policy."""
        root, *names = stream
        actions = seeding.torch_generator(int(root), *names, device=self.ppo.device)
        with contextlib.closing(self._family.vector(designs, seeds, worlds)) as env:
            seen = onlooker.camera(env)
            return Played(evaluate(self.ppo.agent, seen, quota, actions, self.ppo.device, onlooker.on_episode))

    def export(self, folder: Path, *, origin: str) -> None:
        """Weights, the code that they need, and a page about them."""
        export(self.ppo, self._family, folder, origin=origin)

    def state_dict(self) -> dict[str, Any]:
        """PPO's."""
        return self.ppo.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """PPO's."""
        self.ppo.load_state_dict(state)


class Phase:
    """A training phase, under the names of a run's metrics."""

    def __init__(self, training: TrainingPhase) -> None:
        self._training = training

    @property
    def steps_done(self) -> int:
        return self._training.steps_done

    def __iter__(self) -> Iterator[Progress]:
        for rollout in self._training:
            seconds = {name: value for name, value in rollout.timings.items() if name != "steps"}
            metrics = {
                name if "/" in name else f"loss/{name.removesuffix('_loss')}": value
                for name, value in rollout.metrics.items()
            }
            yield Progress(
                steps=rollout.steps,
                steps_done=rollout.steps_done,
                metrics=metrics,
                episodes=rollout.episodes,
                readings={f"seconds/{name.removesuffix('_seconds')}": value for name, value in seconds.items()}
                | {"speed/steps_per_second": rollout.steps / sum(seconds.values())},
            )

    def take_up(self, games: Sequence[Game | None]) -> None:
        self._training.take_up(games)

    def leave(self) -> list[Game]:
        return self._training.leave()

    def state_dict(self) -> dict[str, Any]:
        return self._training.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._training.load_state_dict(state)

    def close(self) -> None:
        self._training.env.close()


def _made(config: PPOConfig, family: Playable, seed: int, device: torch.device, threads: int) -> PPO:
    symmetry = family.symmetry if isinstance(family, Mirrored) else None
    return PPO.create(config, family.observation_spec, family.num_actions, seed, device, threads, symmetry)


def _settings(config: RunConfig) -> PPOConfig:
    assert isinstance(config.ppo, PPOConfig)
    return config.ppo


def check_memory(ppo: PPOConfig, spec: Mapping[str, ArraySpec]) -> None:
    """Refuse a rollout that this machine can't hold."""
    needed, there = (1 + ppo.aux_freq) * rollout_bytes(ppo.num_steps, ppo.num_envs, spec), memory_bytes()
    if needed > there:
        kept, what = (
            (f", ppo.aux_freq={ppo.aux_freq}", "its rollouts take") if ppo.aux_freq else ("", "a rollout takes")
        )
        raise ConfigError(
            f"ppo.num_steps={ppo.num_steps}, ppo.num_envs={ppo.num_envs}{kept}: "
            f"{what} {needed / 2**30:,.1f} GiB, this machine has {there / 2**30:,.1f} GiB"
        )


def memory_bytes() -> int:
    """Memory that this process could have at most."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return there if limit == resource.RLIM_INFINITY else min(there, limit)


def use_threads(config: RunConfig) -> int:
    """Set how many threads torch takes for one operation; returns how many the network may have in all."""
    threads = config.num_threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads if NETWORKS.find(_settings(config).network).deep else 1)
    return threads
