"""Keeps keys out of everything that is written or shown.

Whatever comes back from a server, an error's text included, passes through `redact` before anyone else sees it.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.parse

from envgen_exp.secrets import ISSUED, secret_values


def redact(text: str) -> str:
    """The text without secrets, however a server quoted them.

    One of this process's environment is replaced by its variable's name in brackets; what only looks like a key, say a
    proxy's, by '[hidden]'.
    """
    for name, value in sorted(secret_values(os.environ).items(), key=lambda item: -len(item[1])):
        for form in _forms(value):
            text = text.replace(form, f"[{name}]")
    return ISSUED.sub("[hidden]", text)


def _forms(value: str) -> set[str]:
    """A secret as it is, in a URL, inside JSON, and in base64."""
    encoded = base64.b64encode(value.encode()).decode()
    return {value, urllib.parse.quote(value, safe=""), json.dumps(value)[1:-1], encoded, encoded.rstrip("=")}
