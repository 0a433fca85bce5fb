"""Refuses values that no run can have, before anything is written: one line with key, value and what is allowed.

What a family, a network or a machine can't do is said by them; here stands what the config alone decides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from envgen_exp.config import LLMKind, RunConfig, plain
from envgen_exp.errors import ConfigError
from envgen_exp.guard.secrets import check_key_variable, refuse_address

_Rule = tuple[Callable[[Any], bool], str]


def _at_least(low: int) -> _Rule:
    return lambda value: value >= low, f"{low} or more"


def _between(low: float, high: float) -> _Rule:
    return lambda value: low <= value <= high, f"from {low:g} to {high:g}"


_POSITIVE: _Rule = (lambda value: value > 0, "above 0")
_TEXT: _Rule = (lambda value: bool(value.strip()), "a text that is not empty")
_NUM_ENVS: _Rule = _between(1, 4096)

_RULES: dict[str, _Rule] = {
    "seed": (lambda value: 0 <= value < 2**63, "from 0 to 2**63 - 1"),
    "arm": _TEXT,
    "design_set": (lambda value: 0 <= value < 2**63, "from 0 to 2**63 - 1"),
    "cycles": _at_least(1),
    "num_threads": _at_least(0),
    "runs_dir": _TEXT,
    "env.num_threads": _at_least(0),
    "env.designed_length": _at_least(1),
    "env.original_length": _at_least(1),
    "llm.temperature": _between(0, 2),
    "llm.max_tokens": _at_least(1),
    "llm.timeout": _POSITIVE,
    "llm.total_timeout": _POSITIVE,
    "llm.context": _between(256, 2**20),
    "llm.max_attempts": _at_least(1),
    "llm.max_wait": _at_least(0),
    "llm.max_repairs": _at_least(0),
    "llm.max_calls": _at_least(0),
    "llm.max_dollars": _at_least(0),
    "llm.input_price": _at_least(0),
    "llm.output_price": _at_least(0),
    "ppo.num_envs": _NUM_ENVS,
    "ppo.num_steps": _at_least(1),
    "ppo.learning_rate": _POSITIVE,
    "ppo.gamma": _between(0, 1),
    "ppo.gae_lambda": _between(0, 1),
    "ppo.update_epochs": _at_least(1),
    "ppo.num_minibatches": _at_least(1),
    "ppo.clip_coef": _POSITIVE,
    "ppo.ent_coef": _at_least(0),
    "ppo.vf_coef": _at_least(0),
    "ppo.max_grad_norm": _POSITIVE,
    "ppo.value_norm_decay": (lambda value: 0 <= value < 1, "from 0 to below 1"),
    "designer.num_designs": _between(1, 64),
    "designer.num_candidates": _between(1, 64),
    "designer.validation_episodes": _at_least(1),
    "designer.validation_steps": _at_least(1),
    "designer.population": _between(1, 256),
    "designer.worlds_per_design": _between(1, 4096),
    "designer.temperature": _POSITIVE,
    "designer.staleness": _between(0, 1),
    "schedule.designed_steps": _at_least(1),
    "schedule.original_steps": _at_least(0),
    "schedule.final_steps": _at_least(0),
    "schedule.scale": _POSITIVE,
    "evaluation.feedback_seeds": (
        lambda value: value >= 2,
        "2 or more, since the designer is told the spread over seeds",
    ),
    "evaluation.feedback_episodes": _at_least(1),
    "evaluation.report_episodes": _at_least(1),
    "evaluation.num_envs": _NUM_ENVS,
    "agent.episodes": _between(1, 1000),
    "agent.max_steps": _at_least(1),
    "agent.history": _between(1, 50),
    "agent.max_tokens": _at_least(1),
    "checkpoint.every_steps": _at_least(0),
    "checkpoint.every_seconds": _at_least(0),
    "tracker.project": _TEXT,
}
"""What each number or text may be; null is allowed where the schema allows it."""


def allowed(key: str) -> str:
    """What a number or text may be, in words; empty where its type says all."""
    return _RULES[key][1] if key in _RULES else ""


def validate(config: RunConfig) -> None:
    """Raise ConfigError for the first value that is out of range or contradicts another."""
    for key, value in _flat("", plain(config)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value}: allowed is a finite number")
        accepts, words = _RULES.get(key, (lambda _: True, ""))
        if value is not None and not accepts(value):
            raise ConfigError(f"{key}={value}: allowed is {words}")
    _check_ppo(config)
    _check_llm(config)
    if config.resume is not None and config.folder is not None:
        raise ConfigError(f"folder={config.folder}: a resumed run stays in its folder; leave out folder or resume")


def _check_ppo(config: RunConfig) -> None:
    if config.designer.num_designs > config.ppo.num_envs:
        raise ConfigError(
            f"designer.num_designs={config.designer.num_designs}: allowed is at most ppo.num_envs, which is "
            f"{config.ppo.num_envs}, so that every design is played"
        )
    rollout = config.ppo.num_envs * config.ppo.num_steps
    if config.ppo.num_minibatches > rollout:
        raise ConfigError(
            f"ppo.num_minibatches={config.ppo.num_minibatches}: allowed is at most the {rollout} steps of a rollout "
            "(ppo.num_envs * ppo.num_steps)"
        )


def _check_llm(config: RunConfig) -> None:
    llm = config.llm
    if llm.kind is LLMKind.litellm and not llm.model:
        raise ConfigError("llm.model is empty: allowed is litellm's name of a model, e.g. openai/gpt-4o")
    if llm.kind is LLMKind.replay and llm.replay_from is None:
        raise ConfigError("llm=replay needs the run whose replies serve again: llm.from=FOLDER")
    if llm.kind is not LLMKind.replay and llm.replay_from is not None:
        raise ConfigError(f"llm.from={llm.replay_from}: only llm=replay takes recorded replies")
    if llm.kind is not LLMKind.embedded and llm.weights is not None:
        raise ConfigError(f"llm.weights={llm.weights}: only llm=embedded runs weights")
    check_key_variable(llm.key_variable)
    if llm.api_base is not None:
        refuse_address(llm.api_base)
        if not re.fullmatch(r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/[!-~]*)?", llm.api_base):
            shown = f"={llm.api_base}" if re.fullmatch(r"[\w./:-]{1,100}", llm.api_base) else ""
            raise ConfigError(f"llm.api_base{shown}: allowed is an address, e.g. http://127.0.0.1:8000/v1")


def _flat(prefix: str, section: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield prefix + name, value
