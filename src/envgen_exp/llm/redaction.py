"""Keeps keys out of everything that is written or shown.

Whatever comes back from a server, an error's text included, passes through `redact` before anyone else sees it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.parse

_SECRET_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_LEAST = 8
"""A shorter value is taken for a word such as EMPTY, which local servers use in place of a key."""

# What keys look like, for one that is not in this environment: a proxy's, or one that a server quotes.
_LOOKS_LIKE_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-|gsk_|xai-|hf_|AIza|pplx-|r8_)(?=[A-Za-z0-9_*-]*\d)[A-Za-z0-9_*-]{16,}"
)
_BEARER = re.compile(r"(bearer\s+)[^\s\"',;)}\]]{8,}", re.IGNORECASE)


def secrets() -> dict[str, str]:
    """The secret values in this process's environment, by the variable that holds each."""
    return {
        name: value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _LEAST and not value.startswith("/")
    }


def looks_like_key(text: str) -> bool:
    """Whether a text holds a secret of this environment or something that has the form of a provider's key."""
    return redact(text) != text


def redact(text: str) -> str:
    """The text with every secret replaced by the name of its variable in brackets, however a server quoted it."""
    for name, value in sorted(secrets().items(), key=lambda item: -len(item[1])):
        for form in _forms(value):
            text = text.replace(form, f"[{name}]")
    return _BEARER.sub(r"\1[hidden]", _LOOKS_LIKE_KEY.sub("[hidden]", text))


def _forms(value: str) -> set[str]:
    """A secret as it is, in a URL, inside JSON, and in base64."""
    encoded = base64.b64encode(value.encode()).decode()
    return {value, urllib.parse.quote(value, safe=""), json.dumps(value)[1:-1], encoded, encoded.rstrip("=")}
