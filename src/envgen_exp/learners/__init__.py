"""Who gets better, a folder each; `agent.name` says which."""

from __future__ import annotations

from typing import Any, cast

from envgen_exp.config import AgentConfig, RunConfig
from envgen_exp.learners.learner import Learner
from envgen_exp.learners.ppo.config import NETWORKS, PPOConfig
from envgen_exp.registry import Registry

LEARNERS: Registry[type[Learner]] = Registry(
    "agent.name",
    "learners",
    {
        "ppo": "envgen_exp.learners.ppo.learner:PPOLearner",
        "direct": "envgen_exp.learners.asked.learner:Asked",
        "spring": "envgen_exp.learners.asked.learner:Asked",
        "supervised": "envgen_exp.learners.supervised.learner:Supervised",
        "supervised_paper": "envgen_exp.learners.supervised.learner:Supervised",
    },
    {
        "ppo": "envgen_exp.learners.ppo.config:TrainedConfig",
        "direct": "envgen_exp.learners.asked.config:AskedConfig",
        "spring": "envgen_exp.learners.asked.config:AskedConfig",
        "supervised": "envgen_exp.learners.supervised.config:SupervisedConfig",
        "supervised_paper": "envgen_exp.learners.supervised.config:SupervisedConfig",
    },
)


GROUPS: tuple[tuple[str, Registry[Any], type], ...] = (("agent", LEARNERS, AgentConfig), ("ppo", NETWORKS, PPOConfig))
"""The groups of conf/ that learners have, each with the plug-ins that it names and what their settings extend."""


def traits(name: str) -> type[AgentConfig]:
    """What a learner says of itself in its config class, which loads fast; ConfigError for one that is not there."""
    return cast(type[AgentConfig], LEARNERS.config(name, AgentConfig))


def arm(config: RunConfig) -> str:
    """What tables call the run's treatment: what was typed, else the designer, or the learner that has none."""
    return config.arm or (config.designer.name if traits(config.agent.name).trains else config.agent.name)


def preset(config: RunConfig) -> tuple[str, str]:
    """The section and the name of the settings by which the run's learner learns, e.g. ('ppo', 'laptop')."""
    section = traits(config.agent.name).preset
    return section, str(getattr(config, section).name)
