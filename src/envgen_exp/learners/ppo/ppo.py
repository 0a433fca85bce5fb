"""PPO as in the paper: what learns (`Learner`), one update, and a phase of exactly so many steps (`TrainingPhase`).

The hyper-parameters' sources are in docs/ppo.md.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from envgen_exp import seeding
from envgen_exp.config import PPOConfig
from envgen_exp.errors import CheckpointError, ConfigError, NumericsError, StateError
from envgen_exp.families.vector import ArraySpec, EpisodeRecord, VectorEnv
from envgen_exp.learners.curriculum import Curriculum, set_next_worlds
from envgen_exp.learners.ppo.agent import Agent, choose_dtype, log_prob_and_entropy, make_agent
from envgen_exp.learners.ppo.rollout import Rollout, RolloutBuffer, collect, finish
from envgen_exp.learners.ppo.team import Team
from envgen_exp.learners.ppo.value_norm import ValueNorm

STATE_VERSION = 1


def policy_loss(logratio: Tensor, advantages: Tensor, clip_coef: float) -> Tensor:
    """The clipped surrogate (Schulman et al. 2017, equation 7), negated; logratio is log pi_new - log pi_old, (B,)."""
    ratio = logratio.exp()
    clipped = ratio.clamp(1 - clip_coef, 1 + clip_coef)
    return -torch.min(ratio * advantages, clipped * advantages).mean()


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error, without a factor of one half; values and targets (B,), both normalised."""
    return (values - targets).square().mean()


def clipped_value_loss(values: Tensor, targets: Tensor, old_values: Tensor, clip_coef: float) -> Tensor:
    """The larger of the errors with and without the change since the rollout clipped; all (B,), all normalised."""
    clipped = old_values + (values - old_values).clamp(-clip_coef, clip_coef)
    return torch.max((values - targets).square(), (clipped - targets).square()).mean()


def normalize_advantages(advantages: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over all entries; a single one becomes 0."""
    centred = advantages - advantages.mean()
    std = advantages.std() if advantages.numel() > 1 else torch.zeros_like(centred)
    return centred / (std + 1e-8)


def minibatches(batch_size: int, minibatch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Random disjoint index sets (<= minibatch_size,) that together are all of a batch; sizes differ by one at most."""
    permutation = torch.randperm(batch_size, generator=generator)
    yield from permutation.tensor_split(math.ceil(batch_size / minibatch_size))


class Learner:
    """Everything that learns and carries on from phase to phase."""

    def __init__(
        self,
        config: PPOConfig,
        agent: Agent,
        action_generator: torch.Generator,
        minibatch_generator: torch.Generator,
        device: torch.device,
        threads: int = 1,
    ) -> None:
        self.config = config
        self.device = device
        self.threads = threads
        self.team = Team(threads if device.type == "cpu" else 1, minibatch_size(config))
        self.agent = agent.to(device)
        self.agent.autocast_dtype = choose_dtype(config.precision, device)
        self.optimizer = torch.optim.Adam(self.agent.parameters(), lr=config.learning_rate, eps=1e-8, fused=True)
        self.value_norm = ValueNorm(config.value_norm_decay).to(device)
        self.action_generator = action_generator
        self.minibatch_generator = minibatch_generator
        self.train_steps = 0
        """Environment steps learned from."""

    @property
    def updates(self) -> int:
        """Steps of the optimizer so far, one a minibatch."""
        return next((int(state["step"]) for state in self.optimizer.state.values()), 0)

    @classmethod
    def create(
        cls,
        config: PPOConfig,
        observation_spec: Mapping[str, ArraySpec],
        num_actions: int,
        seed: int,
        device: torch.device,
        threads: int = 1,
    ) -> Learner:
        """A new learner, its weights equal on every device. Raises ConfigError where the network does not fit.

        On a CPU so many `threads` share each minibatch.
        """
        weights = seeding.torch_generator(seed, "agent", "weights")
        return cls(
            config,
            make_agent(config.network, observation_spec, num_actions, weights),
            seeding.torch_generator(seed, "agent", "actions", device=device),
            seeding.torch_generator(seed, "agent", "minibatches"),
            device,
            threads,
        )

    def describe(self) -> dict[str, Any]:
        """What was chosen, in plain values for a run's config.yaml."""
        dtype = self.agent.autocast_dtype or torch.float32
        return {
            "network": self.config.network.name,
            "parameters": sum(p.numel() for p in self.agent.parameters()),
            "device": str(self.device),
            "device_name": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "precision": str(dtype).removeprefix("torch."),
            "threads": self.threads,
        }

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything, of types that `torch.load(weights_only=True)` accepts."""
        return {
            "version": STATE_VERSION,
            "network": self.config.network.name,
            "agent": copy.deepcopy(self.agent.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "value_norm": copy.deepcopy(self.value_norm.state_dict()),
            "action_generator": self.action_generator.get_state(),
            "minibatch_generator": self.minibatch_generator.get_state(),
            "train_steps": self.train_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, which is copied. Raises CheckpointError where it is of another kind."""
        _check_version("learner", state)
        if state["network"] != self.config.network.name:
            raise CheckpointError(
                f"checkpoint: holds the network {state['network']}, but this run has {self.config.network.name}"
            )
        try:
            self.agent.load_state_dict(state["agent"])
            self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
            self.value_norm.load_state_dict(state["value_norm"])
            self.action_generator.set_state(state["action_generator"].cpu())
            self.minibatch_generator.set_state(state["minibatch_generator"].cpu())
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"checkpoint: does not fit this agent: {_first_line(error)}") from error
        self.train_steps = int(state["train_steps"])


def minibatch_size(config: PPOConfig) -> int:
    """Samples of a minibatch of a whole rollout, at most."""
    return math.ceil(config.num_envs * config.num_steps / config.num_minibatches)


def update(learner: Learner, rollout: Rollout, config: PPOConfig, total_train_steps: int) -> dict[str, float]:
    """Learn from a rollout and return the metrics, means over all minibatches where not said otherwise.

    A cut rollout is learned in fewer minibatches of the usual size, so that every step weighs about the same.
    Raises NumericsError for a loss or gradient that is not finite, which gets into no weight. The device is read once,
    at the end, since a read waits for all that a GPU still has to do.
    """
    agent, optimizer, value_norm = learner.agent, learner.optimizer, learner.value_norm
    parameters = list(agent.parameters())
    obs = {name: x.flatten(0, 1) for name, x in rollout.obs.items()}
    actions, logprobs, values, returns = (
        x.flatten() for x in (rollout.actions, rollout.logprobs, rollout.values, rollout.returns)
    )
    advantages = normalize_advantages(rollout.advantages.flatten())
    batch_size = len(actions)

    learning_rate = config.learning_rate
    if config.anneal_lr:
        learning_rate *= max(0.0, 1 - learner.train_steps / total_train_steps)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate

    def learn(minibatch: int, index: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """What these samples of a minibatch of that size add to its gradients and to its metrics."""
        share = len(index) / minibatch
        logits, new_values = agent({name: x.index_select(0, index) for name, x in obs.items()})
        new_logprobs, entropy = log_prob_and_entropy(logits, actions[index])
        logratio = new_logprobs - logprobs[index]
        pg_loss = policy_loss(logratio, advantages[index], config.clip_coef)

        targets = value_norm.normalize(returns[index])
        if config.clip_vloss:
            old_values = value_norm.normalize(values[index])
            v_loss = clipped_value_loss(new_values, targets, old_values, config.clip_coef)
        else:
            v_loss = value_loss(new_values, targets)

        entropy_mean = entropy.mean()
        loss = pg_loss - config.ent_coef * entropy_mean + config.vf_coef * v_loss
        gradients = torch.autograd.grad(share * loss, parameters, materialize_grads=True)
        with torch.no_grad():
            ratio = logratio.exp()
            approx_kl = (ratio - 1 - logratio).mean()  # the k3 estimator, http://joschu.net/blog/kl-approx.html
            clip_fraction = ((ratio - 1).abs() > config.clip_coef).float().mean()
            return gradients, share * torch.stack([loss, pg_loss, v_loss, entropy_mean, approx_kl, clip_fraction])

    rows: list[Tensor] = []
    failed = [torch.zeros((), device=learner.device)]
    for _ in range(config.update_epochs):
        for index in minibatches(batch_size, minibatch_size(config), learner.minibatch_generator):
            index = index.to(learner.device, non_blocking=True)
            value_norm.update(returns[index])
            learned = learner.team.map(functools.partial(learn, len(index)), learner.team.split(index))
            set_gradients(parameters, [gradients for gradients, _ in learned])
            row = torch.stack([terms for _, terms in learned]).sum(dim=0)
            grad_norm = nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            failed.append(failed[-1].maximum((~torch.isfinite(row[0] + grad_norm)).to(failed[0])))
            optimizer.found_inf = failed[-1]  # type: ignore[attr-defined]  # from the first failure on, no step
            optimizer.step()
            rows.append(torch.cat([row[1:], grad_norm.unsqueeze(0)]))

    residual = (returns - values).var(correction=0) / returns.var(correction=0).clamp(min=1e-12)
    advantage = rollout.advantages.mean(), rollout.advantages.std(correction=0)
    means = torch.stack(rows).mean(dim=0)
    read = torch.stack([failed[-1], *means, residual, *value_norm.mean_and_std(), *advantage]).tolist()
    if read.pop(0):
        pg, v, entropy, *_, norm = rows[[bool(flag) for flag in failed].index(True) - 1].tolist()
        raise NumericsError(
            f"update {learner.updates + 1} is not finite: policy loss {pg}, value loss {v}, entropy {entropy}, "
            f"gradient norm {norm}; the step is not taken"
        )
    learner.train_steps += batch_size
    names = ["policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm", "explained_variance"]
    names += ["value_mean", "value_std", "advantage_mean", "advantage_std"]
    metrics = dict(zip(names, read, strict=True)) | {"learning_rate": learning_rate}
    metrics["explained_variance"] = 1 - metrics["explained_variance"]
    return metrics


def set_gradients(parameters: Sequence[nn.Parameter], parts: Sequence[tuple[Tensor, ...]]) -> None:
    """Make the sum of the parts' gradients, in their order, the parameters' own."""
    own: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter)  # laid out as the parameter, which Adam's fused step expects
        own.append(parameter.grad)
    torch._foreach_copy_(own, parts[0])
    for part in parts[1:]:
        torch._foreach_add_(own, part)


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
    """Seconds by what they went to: env_seconds, inference_seconds, update_seconds; and steps."""


class TrainingPhase:
    """Training on one vector environment for exactly `steps` environment steps; iterating it trains.

    The last rollout is cut to the exact count. Episodes in flight at the end enter no report. Between two rollouts
    `state_dict` holds all that, with the learner's, is needed to go on exactly.
    """

    def __init__(
        self,
        learner: Learner,
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
        self.buffer = RolloutBuffer(config.num_steps, config.num_envs, env.observation_spec, learner.device)
        self._started = False

    def __iter__(self) -> Iterator[RolloutReport]:
        while self.steps_done < self.steps:
            yield self._train_once()

    def _train_once(self) -> RolloutReport:
        learner, config, buffer = self.learner, self.config, self.buffer
        if not self._started:
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
        buffer.carry_over(num_steps)
        steps = num_steps * config.num_envs
        self.steps_done += steps
        timings = {
            "env_seconds": collected.env_seconds,
            "inference_seconds": collected.inference_seconds,
            "update_seconds": time.perf_counter() - started,
            "steps": float(steps),
        }
        return RolloutReport(steps, self.steps_done, metrics, collected.episodes, timings)

    def _begin(self) -> None:
        """Start the first episodes; of a curriculum's slots the second is then chosen too."""
        slots = range(self.env.num_envs)
        if self.curriculum is not None:
            self.curriculum.begin()
            set_next_worlds(self.curriculum, self.env, slots)
        self.env.reset(self.buffer.obs_at[0])
        if self.curriculum is not None:
            set_next_worlds(self.curriculum, self.env, slots)
        self._started = True

    def state_dict(self) -> dict[str, Any]:
        """Steps done, observations and every slot's state, of types that `torch.load(weights_only=True)` accepts."""
        slots = [self.env.get_state(slot) for slot in range(self.env.num_envs)] if self._started else []
        return {
            "version": STATE_VERSION,
            "steps": self.steps,
            "steps_done": self.steps_done,
            "obs": {name: x[0].clone() for name, x in self.buffer.obs.items()},
            "slots": [torch.frombuffer(bytearray(state), dtype=torch.uint8) for state in slots],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of a phase with the same steps on a new environment.

        Raises CheckpointError where it is of another phase.
        """
        _check_version("phase", state)
        slots, obs = state["slots"], state["obs"]
        shapes = {name: tuple(x[0].shape) for name, x in self.buffer.obs.items()}
        if (
            state["steps"] != self.steps
            or len(slots) not in (0, self.env.num_envs)
            or {name: tuple(x.shape) for name, x in obs.items()} != shapes
        ):
            raise CheckpointError(f"checkpoint: holds another phase than this one of {self.steps} steps")
        try:
            for slot, tensor in enumerate(slots):
                self.env.set_state(slot, tensor.numpy().tobytes())
        except StateError as error:
            raise CheckpointError(f"checkpoint: slot {slot}: {error}") from error
        for name, x in obs.items():
            self.buffer.obs[name][0].copy_(x)
        self.steps_done = int(state["steps_done"])
        self._started = bool(slots)


def check_steps(steps: int, config: PPOConfig) -> None:
    """Raise ConfigError where a phase can't have exactly `steps` environment steps."""
    if steps <= 0 or steps % config.num_envs:
        below = steps // config.num_envs * config.num_envs
        nearest = [n for n in (below, below + config.num_envs) if n > 0] or [config.num_envs]
        raise ConfigError(
            f"a phase of {steps} steps can't be shared by ppo.num_envs={config.num_envs}; "
            f"nearest allowed: {' or '.join(str(n) for n in nearest)}"
        )


def _check_version(what: str, state: Mapping[str, Any]) -> None:
    version = state.get("version")
    if version != STATE_VERSION:
        raise CheckpointError(
            f"checkpoint: {what} state of version {version}, this program reads version {STATE_VERSION}"
        )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
