"""Who gets better, a folder each; `agent.name` says which."""

from __future__ import annotations

from envgen_exp.learners.learner import Learner
from envgen_exp.registry import Registry

LEARNERS: Registry[type[Learner]] = Registry(
    "agent.name",
    "learners",
    {
        "ppo": "envgen_exp.learners.ppo.learner:PPOLearner",
        "direct": "envgen_exp.learners.asked.learner:Asked",
        "spring": "envgen_exp.learners.asked.learner:Asked",
    },
)
