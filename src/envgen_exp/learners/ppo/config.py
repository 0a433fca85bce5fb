"""The section `ppo`: a preset of `agent=ppo`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from envgen_exp.config import (
    NUM_ENVS,
    POSITIVE,
    AgentConfig,
    Precision,
    PresetConfig,
    Range,
    RunConfig,
    at_least,
    between,
    named,
    ranged,
)
from envgen_exp.errors import ConfigError
from envgen_exp.learners.learner import Metric
from envgen_exp.registry import Registry

_BELOW_ONE = Range(lambda value: bool(0 <= value < 1), "from 0 to below 1")


NETWORKS: Registry[Any] = Registry(
    "ppo.network",
    "networks",
    {
        "auto": "envgen_exp.learners.ppo.auto:AutoEncoder",
        "moon": "envgen_exp.learners.ppo.networks:ImpalaEncoder",
        "envgen": "envgen_exp.learners.ppo.networks:EnvGenEncoder",
        "nature": "envgen_exp.learners.ppo.networks:NatureEncoder",
        "dedieu": "envgen_exp.learners.ppo.gru:DedieuEncoder",
        "symbolic": "envgen_exp.learners.ppo.networks:SymbolicEncoder",
        "symmetric": "envgen_exp.learners.ppo.symmetric:SymmetricEncoder",
        "tiles": "envgen_exp.learners.ppo.tiles:TilesEncoder",
        "tiny": "envgen_exp.learners.ppo.networks:TinyEncoder",
    },
)
"""Each an `Encoder` (learners/ppo/agent.py). One of another package is also a preset, ppo=NAME, with its settings where
it names a `Config` that extends `PPOConfig`."""


@dataclass(frozen=True)
class TrainedConfig(AgentConfig):
    """The small agent: all settings of its own stand in the section `ppo`."""

    without_effect: ClassVar[tuple[str, ...]] = ("agent",)
    preset: ClassVar[str] = "ppo"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss/policy", "loss", "Clipped policy loss, mean over the minibatches of an update."),
        Metric("loss/value", "loss", "Value loss, before vf_coef."),
        Metric("loss/entropy", "nats", "Entropy of the policy."),
        Metric("loss/approx_kl", "nats", "Estimated KL divergence of the new policy from the one that collected."),
        Metric("loss/clip_fraction", "share", "Samples whose ratio was clipped."),
        Metric("loss/grad_norm", "norm", "Norm of the gradient before it is scaled down."),
        Metric("loss/explained_variance", "share", "Variance of the returns that the value function explains."),
        Metric("loss/learning_rate", "rate", "Adam's step size."),
        Metric("loss/value_mean", "reward", "Mean by which value targets are normalised."),
        Metric("loss/value_std", "reward", "Standard deviation by which value targets are normalised."),
        Metric("loss/advantage_mean", "reward", "Mean advantage of the rollout, before it is normalised."),
        Metric("loss/advantage_std", "reward", "Standard deviation of the advantages, before they are normalised."),
        Metric("loss/matching", "nats", "Contrastive loss of matched skills, mean over an auxiliary phase."),
        Metric("loss/prediction", "nats", "Contrastive loss of the next skill's prediction, the same."),
        Metric("loss/policy_distance", "nats", "KL divergence of the policy from that before the auxiliary phase."),
        Metric("loss/value_distance", "loss", "Value loss in the auxiliary phase."),
        Metric("aux/phases", "phases", "Auxiliary phases so far."),
        Metric("aux/episodes", "episodes", "Whole episodes with a skill in them that the auxiliary phase had."),
        Metric("aux/pairs", "pairs", "Skills that it matched, in a pass."),
        Metric("seconds/aux", "s", "Time of the auxiliary phase.", clock=True),
    )


@dataclass(frozen=True)
class PPOConfig(PresetConfig):
    """Proximal policy optimisation, with cleanrl's names; defaults are the paper's."""

    network: str = named("moon", NETWORKS)
    """The agent's network."""
    memory: int = ranged(0, at_least(0))
    """Units of a recurrent memory (GRU) beside the network's features; 0 is none."""
    num_envs: int = ranged(8, NUM_ENVS)
    """Environments side by side."""
    num_steps: int = ranged(512, at_least(1))
    """Steps of each environment in a rollout."""
    learning_rate: float = ranged(3e-4, POSITIVE)
    """Adam's step size."""
    gamma: float = ranged(0.95, between(0, 1))
    """Discount."""
    gae_lambda: float = ranged(0.65, between(0, 1))
    """Lambda of the generalised advantage estimate."""
    adam_eps: float = ranged(1e-8, POSITIVE)
    """Adam's epsilon."""
    update_epochs: int = ranged(3, at_least(1))
    """Passes over a rollout."""
    num_minibatches: int = ranged(8, at_least(1))
    """Minibatches of a pass, at most: with a memory as many as share the environments in parts of one size."""
    shuffle: bool = True
    """Draw the minibatches of each pass anew; else they are taken in order."""
    clip_coef: float = ranged(0.2, POSITIVE)
    """Clip range of the policy ratio."""
    ent_coef: float = ranged(0.01, at_least(0))
    """Weight of the entropy bonus."""
    uniform_coef: float = ranged(0.0, at_least(0))
    """Weight of the KL divergence of the uniform policy from the agent's: it keeps all actions tried; 0 is none."""
    anneal_uniform: bool = False
    """Bring uniform_coef down to zero over the run's training steps."""
    vf_coef: float = ranged(0.5, at_least(0))
    """Weight of the value loss."""
    max_grad_norm: float = ranged(0.5, POSITIVE)
    """Gradients are scaled down to this norm."""
    value_norm_decay: float = ranged(0.99, _BELOW_ONE)
    """Decay of the debiased moving average that normalises value targets."""
    value_norm_std: bool = False
    """Average the targets' standard deviations in place of their mean squares."""
    aux_freq: int = ranged(0, at_least(0))
    """Rollouts from one auxiliary phase of Achievement Distillation to the next; 0 is an agent without."""
    aux_epochs: int = ranged(6, at_least(1))
    """Passes of an auxiliary phase."""
    policy_dist_coef: float = ranged(1.0, at_least(0))
    """Weight of the policy's distance from before, in an auxiliary phase."""
    value_dist_coef: float = ranged(1.0, at_least(0))
    """Weight of the value loss, in an auxiliary phase."""
    bootstrap_timeouts: bool = False
    """Add the value of the last observation where an episode ran out of time."""
    anneal_lr: bool = False
    """Bring the learning rate down to zero over the run's training steps."""
    clip_vloss: bool = False
    """Clip the value loss as the policy's."""
    precision: Precision = Precision.float32
    """Number format of forward and backward pass; auto chooses by device and processor."""

    def check(self, run: RunConfig) -> None:
        """Every design needs an environment, every minibatch a step."""
        if run.designer.num_designs > self.num_envs:
            raise ConfigError(
                f"designer.num_designs={run.designer.num_designs}: allowed is at most ppo.num_envs, which is "
                f"{self.num_envs}, so that every design is played"
            )
        rollout = self.num_envs * self.num_steps
        if self.num_minibatches > rollout:
            raise ConfigError(
                f"ppo.num_minibatches={self.num_minibatches}: allowed is at most the {rollout} steps of a rollout "
                "(ppo.num_envs * ppo.num_steps)"
            )
        if self.memory and self.aux_freq:
            raise ConfigError(
                f"ppo.aux_freq={self.aux_freq}: allowed with ppo.memory is 0; Achievement Distillation remembers the "
                "skill that was shown last in place of it"
            )
        if self.memory and self.num_minibatches > self.num_envs:
            raise ConfigError(
                f"ppo.num_minibatches={self.num_minibatches}: allowed with ppo.memory is at most ppo.num_envs, which "
                f"is {self.num_envs}: a minibatch is made of whole sequences"
            )
