"""Checks all that a model needs before it can be called, before anything is written or sent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping

from envgen_exp.config import LLMConfig
from envgen_exp.errors import ConfigError, MissingKeyError
from envgen_exp.guard.secrets import check_key_variable, refuse_address, use
from envgen_exp.llm import prices

KEY_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY",),
    "ollama": (),
    "ollama_chat": (),
    "hosted_vllm": (),
    "lm_studio": (),
}
"""The variables of which one must hold a provider's key, which then has all it needs. For others litellm is asked."""

use(*itertools.chain(*KEY_VARIABLES.values()))

_OTHER_WAYS = ("azure", "bedrock", "sagemaker", "vertex_ai")
"""Providers that also find keys or settings elsewhere, e.g. in a cloud's own files: only a rehearsal tells."""

_SERVERS_OF_ONES_OWN = "llm=offline needs none, llm=ollama and llm=local ask a server of your own"


def check_key(config: LLMConfig) -> None:
    """Whether the environment holds all that the model needs; MissingKeyError with one line where it does not.

    SecretError where a key stands in the config itself, ConfigError for a model that litellm does not know and for a
    variable of a proxy or of certificates that no request could get past.

    litellm is not imported for the providers of KEY_VARIABLES, and nothing is sent.
    """
    check_key_variable(config.key_variable)
    refuse_address(config.api_base or "")
    needed = key_variables(config)
    if needed and not any(os.environ.get(name) for name in needed):
        # A name in lower case is not shown: it may be the key itself.
        names = " or ".join(name if name.isupper() else "that llm.key_variable names" for name in needed)
        raise MissingKeyError(_no_key(config, names))
    from envgen_exp.llm.network import check_way

    check_way(config.api_base)
    if _provider(config) not in KEY_VARIABLES:
        _rehearse(config)


def key_variables(config: LLMConfig) -> tuple[str, ...] | None:
    """The variables of which one must hold the key; empty where none is needed, None where only litellm knows."""
    if config.key_variable:
        return (config.key_variable,)
    if config.api_base:
        return ()
    return KEY_VARIABLES.get(_provider(config))


def key(config: LLMConfig) -> str | None:
    """The key to send. A server at an address of one's own never gets a provider's key unless config names it."""
    names = key_variables(config)
    if names is None:
        return None
    found = next((os.environ[name] for name in names if os.environ.get(name)), None)
    return found or ("none" if config.api_base else None)


def _no_key(config: LLMConfig, names: str) -> str:
    return (
        f"llm={config.name}: no key for {config.model}; set the environment variable {names} ({_SERVERS_OF_ONES_OWN})"
    )


def _provider(config: LLMConfig) -> str:
    known = config.model.split("/")[0] if "/" in config.model else prices.known_model(config.model)
    return known if isinstance(known, str) else str(known.get("litellm_provider", ""))


def _rehearse(config: LLMConfig) -> None:
    """Let litellm prepare a request to one of its many other providers, and say what it misses."""
    from envgen_exp.llm import transport

    litellm = transport.load_litellm()
    try:
        provider = litellm.get_llm_provider(model=config.model)[1]
    except Exception:  # noqa: BLE001 - any of its errors means the same here
        known = ", ".join(KEY_VARIABLES)
        raise ConfigError(
            f"llm.model={config.model}: litellm knows no such provider; write provider/model, e.g. openai/gpt-4o"
            f" (providers: {known}, and litellm's others)"
        ) from None
    missing = litellm.validate_environment(model=config.model)["missing_keys"] if key_variables(config) is None else []
    if missing and provider not in _OTHER_WAYS:
        raise MissingKeyError(_no_key(config, " and ".join(missing)))
    why = transport.rehearse(
        {
            "model": config.model,
            "messages": [{"role": "user", "content": "ok"}],
            "max_tokens": 1,
            "api_key": key(config),
            "api_base": config.api_base,
            "max_retries": 0,
            "num_retries": 0,
            "drop_params": True,
        }
    )
    if why is not None:
        unset = f"; not set: {', '.join(missing)}" if missing else ""
        raise MissingKeyError(f"llm={config.name}: {config.model} can't be asked: {why}{unset}")
