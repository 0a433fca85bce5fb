"""What makes two runs the same experiment: a hash over everything in a config that can change a result."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from envgen_exp.config import AgentConfig, RunConfig
from envgen_exp.guard.frozen import plain
from envgen_exp.learners import traits

NOT_IDENTITY = (
    "tracker",
    # A label: two arms that differ in nothing else are the same experiment.
    "arm",
    "contrasts",
    "main_contrast",
    "preregistered",
    # Their content is copied into the config and counts.
    "designer.placebo_from",
    "designer.file",
    "checkpoint",
    "evaluation.report_at",  # what is played then is played besides
    "runs_dir",
    "folder",
    "resume",
    "num_threads",
    "dry_run",
    "verbosity",
    "env.num_threads",
    "schedule.scale",  # the steps have been multiplied by it
    # How a model is reached and what may be spent on it, but not which model or what it is asked.
    "llm.key_variable",
    "llm.api_base",
    "llm.timeout",
    "llm.total_timeout",
    "llm.weights",  # llm.model bears its hash
    "llm.context",
    "llm.max_attempts",
    "llm.max_wait",
    "llm.max_calls",
    "llm.max_dollars",
    "llm.input_price",
    "llm.output_price",
    "llm.check_key",
)
"""Keys that may differ between a run and its resume: they change no result."""

ON_RESUME = tuple(
    key
    for key in NOT_IDENTITY
    if key.partition(".")[0] in ("tracker", "checkpoint", "evaluation", "num_threads", "env", "verbosity", "llm")
)
"""Of these, what a resume leaves in the folder's config, for the next one."""

LATER = {"designer.evidence": False}
"""Keys that came later, with what earlier runs did: there they don't count, so that those go on, and in their arms."""


def identity(config: RunConfig) -> str:
    """What makes two runs the same experiment: a hash over everything that can change a result."""
    return identity_of(plain(config))


def identity_of(values: Mapping[str, Any], *, all_of_asked: bool = False) -> str:
    """The identity of a config as plain values, e.g. as a run's folder keeps it; `all_of_asked` as earlier versions
    counted, which took what is another agent's for the asked one's too. ConfigError for a learner that is not there."""
    text = json.dumps(counted(values, all_of_asked=all_of_asked), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def counted(values: Mapping[str, Any], *, all_of_asked: bool = False) -> dict[str, Any]:
    """Those of a config's values that can change a result."""
    found = copy.deepcopy(dict(values))
    for key in NOT_IDENTITY:
        *parents, last = key.split(".")
        node = found
        for parent in parents:
            node = node.get(parent, {})
        node.pop(last, None)
    for key, usual in LATER.items():
        section, name = key.split(".")
        if found.get(section, {}).get(name) == usual:
            del found[section][name]
    learner = traits(found.get("agent", {}).get("name", AgentConfig.name))  # older configs have no such choice
    if learner.trains or not all_of_asked:
        for key in learner.without_effect:
            found.pop(key, None)
    return found
