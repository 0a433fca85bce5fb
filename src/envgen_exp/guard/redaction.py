"""Keeps keys out of everything that is written or shown.

Whatever comes back from a server, an error's text included, passes through `redact` before anyone else sees it, and
what is read from a reply does once more: an escape or a character that is dropped may have broken a key in two.
"""

from __future__ import annotations

import os

from envgen_exp.guard.secrets import ISSUED, secret_forms


def redact(text: str) -> str:
    """The text without secrets, however a server quoted them.

    One of this process's environment is replaced by its variable's name in brackets; what only looks like a key, say a
    proxy's, by '[hidden]'.
    """
    for name, form in secret_forms(os.environ):
        text = form.sub(f"[{name}]", text)
    return ISSUED.sub("[hidden]", text)
