"""Recognises a secret before it is written anywhere: on the command line and in a composed config.

Hydra, W&B and a run's own folder all write down what was typed. So a run is refused while nothing is written yet, and
the message names the place, never the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from envgen_exp.errors import SecretError

SECRET_NAME = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
"""Environment variables that hold secrets, e.g. OPENAI_API_KEY."""

_SHORTEST = 8
"""A shorter value of such a variable is a word such as EMPTY, which local servers use in place of a key."""

ISSUED = re.compile(
    r"""
    (?<![A-Za-z0-9]) (?:
        (?: sk-|sk_|gsk_|csk-|hf_|r8_|xai-|pplx-|nvapi-|glpat-|fw_|tgp_v1_|wandb_v1_ )
        (?= [A-Za-z_-]* \d ) [A-Za-z0-9_-]{16,}
      | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,}
      | AIza[A-Za-z0-9_-]{30,}                                      # Google
      | (?:AKIA|ASIA)[A-Z0-9]{16}                                   # AWS
      | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+     # JSON web token
    )
    | (?: ^ | [=\s'",\[] ) [0-9a-f]{40} (?: $ | [\s'",\]] )         # W&B's older keys
    | (?i: bearer ) \s+ [A-Za-z0-9._-]{8,}
    | ://[^/\s:@]+:[^/\s@]+@                                        # a password in an address
    """,
    re.VERBOSE,
)
"""Keys by the form in which providers issue them."""

_ASSIGNED = re.compile(
    r"""(?ix)
    (?<![a-z0-9]) (?: [a-z0-9]+ [_-] )*                                # e.g. OPENAI_API_
    (?: api_?key | key | token | secret | password | passwd | credentials? | authorization )
    ['"]? \s* [=:] \s* ['"]? (?! (?:true|false|yes|no|on|off|null|none|0|1)? (?: $ | [\s,}'"] ) ) \S
    """
)
"""Something named like a secret is given a value other than yes, no and nothing (llm.check_key=true is harmless)."""

_READ = re.compile(r"\$\{\s*oc\.env\s*:\s*([A-Za-z0-9_]+)")
"""OmegaConf's way to read an environment variable; what it reads would be written to config.yaml."""


def secret_values(environ: Mapping[str, str]) -> dict[str, str]:
    """The secrets of an environment, by the variable that holds each; a path names a file and is none."""
    return {
        name: value
        for name, value in environ.items()
        if SECRET_NAME.search(name) and len(value) >= _SHORTEST and not value.startswith("/")
    }


def is_secret(text: str, environ: Mapping[str, str]) -> bool:
    """Whether `text` holds something that looks like a key, or one of the environment's secrets."""
    return bool(ISSUED.search(text)) or any(value in text for value in secret_values(environ).values())


def refuse_secrets(argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raise SecretError, which does not repeat it, if an argument holds a secret or would read one."""
    for position, argument in enumerate(argv, start=1):
        reads = _READ.search(argument)
        if is_secret(argument, environ) or _ASSIGNED.search(argument) or (reads and SECRET_NAME.search(reads[1])):
            key, equals, _ = argument.partition("=")
            # The key may be shown only if it is no secret itself, nor a part of one: base64 ends in "=".
            harmless = (
                equals
                and re.fullmatch(r"[\w.@/+~-]{1,40}", key)
                and not is_secret(key, environ)
                and not any(key in value for value in secret_values(environ).values())
            )
            shown = f" ({key}=...)" if harmless else ""
            raise SecretError(
                f"argument {position}{shown} holds a key, token or password; what is typed here is written to files. "
                "Keys are read from environment variables alone (llm.key_variable names which): export it and leave "
                "the argument out"
            )


def refuse_secrets_in(values: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Raise SecretError if a value of a composed config holds a secret, e.g. from a file of conf/."""
    for key, text in _texts("", values):
        if is_secret(text, environ):
            raise SecretError(
                f"{key} holds a key, token or password, which would be written to files; keys are read from "
                "environment variables alone (llm.key_variable names which)"
            )


def _texts(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield prefix, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(f"{prefix}.{key}" if prefix else str(key), item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(prefix, item)
