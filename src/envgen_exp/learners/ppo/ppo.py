"""PPO as in the paper: what learns (`PPO`), and one update.

The hyper-parameters' sources are in docs/ppo.md.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from envgen_exp import seeding
from envgen_exp.errors import CheckpointError
from envgen_exp.families.symmetry import Symmetry
from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.devices import choose_dtype
from envgen_exp.learners.ppo.agent import Agent, log_prob_and_entropy
from envgen_exp.learners.ppo.config import NETWORKS, PPOConfig
from envgen_exp.learners.ppo.descent import Adam, Descent, steps_taken
from envgen_exp.learners.ppo.distillation import Distillation
from envgen_exp.learners.ppo.rollout import Rollout
from envgen_exp.learners.ppo.team import Team
from envgen_exp.learners.ppo.value_norm import DeviationNorm, ValueNorm

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


def minibatches(batch_size: int, minibatch_size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Disjoint index sets (<= minibatch_size,) that together are all of a batch; sizes differ by one at most.

    They are random, or without a `generator` in order.
    """
    order = torch.arange(batch_size) if generator is None else torch.randperm(batch_size, generator=generator)
    yield from order.tensor_split(math.ceil(batch_size / minibatch_size))


def make_agent(
    config: PPOConfig,
    observation_spec: Mapping[str, ArraySpec],
    num_actions: int,
    generator: torch.Generator,
    symmetry: Symmetry | None = None,
) -> Agent:
    """A new agent on the CPU, its weights drawn from `generator` alone.

    Settings of a network's own stand at their defaults where the preset has none. ConfigError where the network can't
    read such observations.
    """
    network = NETWORKS.find(config.network).fitting(observation_spec, symmetry)
    own = NETWORKS.config(config.network, PPOConfig)
    if not isinstance(config, own):
        own_names = {field.name for field in dataclasses.fields(own)}
        config = own(**{field: value for field, value in vars(config).items() if field in own_names})
    own_parts = {"symmetry": symmetry} if network.symmetric else {}
    encoder = network(config, observation_spec, generator, **own_parts)
    return Agent(encoder, num_actions, generator, config.memory, recalls=config.aux_freq > 0)


class PPO:
    """Everything that learns and carries on from phase to phase."""

    def __init__(
        self,
        config: PPOConfig,
        agent: Agent,
        action_generator: torch.Generator,
        minibatch_generator: torch.Generator,
        device: torch.device,
        threads: int = 1,
        distillation: Distillation | None = None,
    ) -> None:
        self.config = config
        self.device = device
        self.threads = threads
        self.team = Team(threads if device.type == "cpu" else 1, minibatch_size(config))
        self.agent = agent.to(device)
        self.agent.autocast_dtype = choose_dtype(config.precision, device)
        self.optimizer = Adam(self.agent.parameters(), lr=config.learning_rate, eps=config.adam_eps, fused=True)
        self.value_norm = (DeviationNorm if config.value_norm_std else ValueNorm)(config.value_norm_decay).to(device)
        self.distillation = distillation
        self.action_generator = action_generator
        self.minibatch_generator = minibatch_generator
        self.train_steps = 0
        """Environment steps learned from."""

    @property
    def network(self) -> str:
        """The network's name; where it was left to choose (auto), the chosen one's."""
        return self.agent.encoder.network if self.config.network == "auto" else self.config.network

    @property
    def updates(self) -> int:
        """Steps of the optimizer so far, one a minibatch."""
        return steps_taken(self.optimizer)

    @classmethod
    def create(
        cls,
        config: PPOConfig,
        observation_spec: Mapping[str, ArraySpec],
        num_actions: int,
        seed: int,
        device: torch.device,
        threads: int = 1,
        symmetry: Symmetry | None = None,
    ) -> PPO:
        """A new learner, its weights equal on every device. Raises ConfigError where the network does not fit.

        On a CPU so many `threads` share each minibatch.
        """
        weights = seeding.torch_generator(seed, "agent", "weights")
        agent = make_agent(config, observation_spec, num_actions, weights, symmetry).to(device)
        distillation = None
        if config.aux_freq:
            drawn = seeding.torch_generator(seed, "agent", "auxiliary")
            distillation = Distillation(config, agent, observation_spec, drawn)
        return cls(
            config,
            agent,
            seeding.torch_generator(seed, "agent", "actions", device=device),
            seeding.torch_generator(seed, "agent", "minibatches"),
            device,
            threads,
            distillation,
        )

    def describe(self) -> dict[str, Any]:
        """What was chosen, in plain values for a run's config.yaml."""
        dtype = self.agent.autocast_dtype or torch.float32
        return {
            "network": self.network,
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
            "network": self.network,
            "agent": copy.deepcopy(self.agent.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "value_norm": copy.deepcopy(self.value_norm.state_dict()),
            "action_generator": self.action_generator.get_state(),
            "minibatch_generator": self.minibatch_generator.get_state(),
            "train_steps": self.train_steps,
            **({} if self.distillation is None else {"distillation": self.distillation.state_dict()}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, which is copied. Raises CheckpointError where it is of another kind."""
        check_version("learner", state, STATE_VERSION)
        if state["network"] != self.network:
            raise CheckpointError(f"checkpoint: holds the network {state['network']}, but this run has {self.network}")
        try:
            self.agent.load_state_dict(state["agent"])
            self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
            self.value_norm.load_state_dict(state["value_norm"])
            self.action_generator.set_state(state["action_generator"].cpu())
            self.minibatch_generator.set_state(state["minibatch_generator"].cpu())
            if self.distillation is not None:
                self.distillation.load_state_dict(state["distillation"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"checkpoint: does not fit this agent: {_first_line(error)}") from error
        self.train_steps = int(state["train_steps"])


def uniform_divergence(logits: Tensor) -> Tensor:
    """KL divergence of softmax(logits) (B, A) from the uniform policy's side, sum of 1/A * log((1/A) / p), mean over B.

    An action's share of its gradient is p - 1/A: unlike the entropy's it does not fade as an action becomes rare.
    """
    return (logits.logsumexp(-1) - logits.mean(-1)).mean() - math.log(logits.shape[-1])


def minibatch_size(config: PPOConfig) -> int:
    """Samples of a minibatch of a whole rollout, at most."""
    return math.ceil(config.num_envs * config.num_steps / config.num_minibatches)


def update(learner: PPO, rollout: Rollout, config: PPOConfig, total_train_steps: int) -> dict[str, float]:
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
    steps, num_envs = rollout.actions.shape
    recalled = rollout.recalled.flatten(0, 1)
    # Without recurrence a sample is drawn by itself; with it all steps of an environment are, one after the other.
    length, size = (steps, num_envs) if agent.recurrent else (1, batch_size)
    minibatch = math.ceil(size / math.ceil(batch_size / minibatch_size(config)))
    firsts = torch.arange(length, device=learner.device).unsqueeze(1) * num_envs

    def samples(drawn: Tensor) -> Tensor:
        return (firsts + drawn).flatten() if agent.recurrent else drawn

    left = max(0.0, 1 - learner.train_steps / total_train_steps)
    learning_rate = config.learning_rate * (left if config.anneal_lr else 1.0)
    uniform_coef = config.uniform_coef * (left if config.anneal_uniform else 1.0)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate

    def learn(minibatch: int, drawn: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """What these samples of a minibatch of that size add to its gradients and to its metrics."""
        share = len(drawn) / minibatch
        index, memory, starts = samples(drawn), rollout.memory, rollout.starts
        if agent.recalls:
            memory = recalled[index]
        elif agent.recurrent:
            memory, starts = memory[drawn], starts[:, drawn]
        seen = {name: x.index_select(0, index) for name, x in obs.items()}
        logits, new_values, _ = agent.follow(seen, memory, starts)
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
        if uniform_coef:
            loss = loss + uniform_coef * uniform_divergence(logits)
        gradients = torch.autograd.grad(share * loss, parameters, materialize_grads=True)
        with torch.no_grad():
            ratio = logratio.exp()
            approx_kl = (ratio - 1 - logratio).mean()  # the k3 estimator, http://joschu.net/blog/kl-approx.html
            clip_fraction = ((ratio - 1).abs() > config.clip_coef).float().mean()
            return gradients, share * torch.stack([loss, pg_loss, v_loss, entropy_mean, approx_kl, clip_fraction])

    names = ["policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"]
    descent = Descent("update", optimizer, config.max_grad_norm, names)
    for _ in range(config.update_epochs):
        for drawn in minibatches(size, minibatch, learner.minibatch_generator if config.shuffle else None):
            drawn = drawn.to(learner.device, non_blocking=True)
            value_norm.update(returns[samples(drawn)])
            part = functools.partial(learn, len(drawn))
            descent.step(learner.team.map(part, learner.team.split(drawn, length)))

    residual = (returns - values).var(correction=0) / returns.var(correction=0).clamp(min=1e-12)
    advantage = rollout.advantages.mean(), rollout.advantages.std(correction=0)
    read = descent.read(residual, *value_norm.mean_and_std(), *advantage)
    learner.train_steps += batch_size
    names += ["grad_norm", "explained_variance", "value_mean", "value_std", "advantage_mean", "advantage_std"]
    metrics = dict(zip(names, read, strict=True)) | {"learning_rate": learning_rate}
    metrics["explained_variance"] = 1 - metrics["explained_variance"]
    return metrics


def check_version(what: str, state: Mapping[str, Any], ours: int) -> None:
    version = state.get("version")
    if version != ours:
        raise CheckpointError(f"checkpoint: {what} state of version {version}, this program reads version {ours}")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
