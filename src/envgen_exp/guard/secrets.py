"""Recognises a secret before it is written anywhere: on the command line and in a composed config.

Hydra, W&B and a run's own folder all write down what was typed. So a run is refused while nothing is written yet, and
the message names the place, never the text.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from envgen_exp.errors import SecretError

SECRET_NAME = re.compile(r"(?:^|_)(?:API)?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?(?:_ID)?$", re.IGNORECASE)
"""Environment variables that hold secrets, e.g. OPENAI_API_KEY."""

_in_use = {"WANDB_API_KEY"}
"""Variables whose values are sent as keys, whatever they are called."""

_SHORTEST = 8
"""A shorter value of such a variable is a word such as EMPTY, which local servers use in place of a key."""

_SHORTEST_IN_USE = 4
"""A shorter key that is in use can't be hidden: it would stand in any text."""

_NAMED = {'"': '"', "'": "'", "/": "/", "\n": "n", "\r": "r", "\t": "t"}
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
"""Characters that have an escape of their own in JSON, and in HTML."""

# Below, whatever can fail has a bound or can't begin again inside itself: the time grows with the text, not its square.

ISSUED = re.compile(
    r"""
    (?<![A-Za-z0-9]) (?:
        (?: sk-|sk_|gsk_|csk-|hf_|r8_|xai-|pplx-|nvapi-|glpat-|fw_|tgp_v1_|wandb_v1_ )
        (?= [A-Za-z_-]{0,63}+ \d ) [A-Za-z0-9_-]{16,}+
      | gh[pousr]_[A-Za-z0-9]{20,}+ | github_pat_[A-Za-z0-9_]{20,}+
      | AIza[A-Za-z0-9_-]{30,}+                                     # Google
      | (?:AKIA|ASIA)[A-Z0-9]{16}                                   # AWS
      | eyJ[A-Za-z0-9_-]{8,512}+ \. [A-Za-z0-9_-]{8} [A-Za-z0-9_.-]*+  # JSON web token
    )
    | (?<! [^=\s'",\[] ) [0-9a-f]{40} (?! [^\s'",\]] )               # W&B's older keys
    | (?i: bearer ) \s++ [A-Za-z0-9._-]{8,}+
    | :// [^/\s@]++ @                                               # a user or password in an address
    """,
    re.VERBOSE,
)
"""Keys by the form in which providers issue them."""

_ASSIGNED = re.compile(
    r"""(?ix)
    (?<![a-z0-9])                                                      # e.g. the KEY of OPENAI_API_KEY
    (?: api_?key | key | token | secret | password | passwd | credentials? | authorization )
    ['"]? \s*+ [=:] \s*+ ['"]? (?! (?:true|false|yes|no|on|off|null|none|0|1)? (?: $ | [\s,}'"] ) ) \S
    """
)
"""Something named like a secret is given a value other than yes, no and nothing (llm.check_key=true is harmless)."""


def use(*names: str) -> None:
    """The values of these variables are sent as keys from now on: they are secrets whatever the variables' names."""
    _in_use.update(name for name in names if name)


def secret_values(environ: Mapping[str, str]) -> dict[str, str]:
    """The secrets of an environment, by the variable that holds each; the path of a file is none."""
    return {name: value for name, value in environ.items() if _holds_secret(name, value)}


def _holds_secret(name: str, value: str) -> bool:
    if name in _in_use:
        return len(value) >= (_SHORTEST if value.isalpha() else _SHORTEST_IN_USE)
    named = SECRET_NAME.search(name) and len(value) >= _SHORTEST
    return bool(named) and not (value.startswith("/") and os.path.exists(value))


def secret_forms(environ: Mapping[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The secrets of an environment as patterns, with the variables' names, longest first.

    A pattern finds its secret plain, with any of its characters escaped as in JSON, Python, HTML or a URL, in base64
    (also as a part of what was encoded) and in hexadecimal digits.
    """
    values = secret_values(environ)
    return _patterns(tuple(sorted(values.items(), key=lambda item: (-len(item[1]), item))))


@functools.lru_cache(maxsize=4)
def _patterns(secrets: tuple[tuple[str, str], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile(form)) for name, value in secrets for form in _forms(value))


def _forms(value: str) -> Iterator[str]:
    if len(value) < _SHORTEST:  # a word of its own, since it may be a part of others
        yield rf"(?<![A-Za-z0-9]){_escapable(value)}(?![A-Za-z0-9])"
        return
    for form in {value, json.dumps(value)[1:-1], urllib.parse.quote(value, safe=""), html.escape(value)}:
        yield re.escape(form)
    yield _escapable(value)
    data = value.encode(errors="surrogateescape")
    yield f"(?i:{data.hex()})"
    for shift, lost in enumerate((0, 2, 3)):
        # What of the encoded text depends on the secret alone, wherever it stands in what was encoded.
        core = base64.b64encode(bytes(shift) + data).decode()[lost : (shift + len(data)) * 8 // 6]
        for alphabet in {core, core.translate({ord("+"): "-", ord("/"): "_"})}:
            yield re.sub(r"[+/]", lambda sign: _escapable(sign[0]), alphabet)


def _escapable(text: str) -> str:
    """A pattern for a text of which any characters may be escaped; each way begins with a character of its own."""
    parts = []
    for run in re.findall(r"\\+|[^\\]", text, re.DOTALL):
        if run[0] == "\\":
            most, escapes = 8 * len(run), "|".join(_escapes("\\", r"\\\\{0,7}+"))
            parts.append(rf"(?:\\{{{len(run)},{most}}}+|(?:{escapes}){{{len(run)}}})")
        else:
            # Backslashes of an escape behind one of the secret's own have been read with it.
            lead = r"\\{0,8}" if parts and parts[-1].startswith(r"(?:\\{") else r"\\\\{0,7}"
            parts.append(f"(?:{'|'.join([re.escape(run), *_escapes(run, lead)])})")
    return "".join(parts)


def _escapes(character: str, lead: str) -> Iterator[str]:
    code, units = ord(character), character.encode("utf-16-be", "surrogatepass").hex()
    points = [units[at : at + 4].lstrip("0") for at in range(0, len(units), 4)]
    yield "".join(rf"{lead}(?i:[ux]\{{?0{{0,6}}{point}\}}?)" for point in points)
    if len(points) > 1:
        yield rf"{lead}(?i:u\{{?0{{0,6}}{code:x}\}}?)"
    if character in _NAMED:
        yield rf"\\{{1,8}}{_NAMED[character]}"
    yield "".join(f"(?i:%{byte:02x})" for byte in character.encode(errors="surrogateescape"))
    yield rf"&(?:#0{{0,6}}{code}|(?i:#x0{{0,6}}{code:x})|{_ENTITIES.get(character, 'none')});"
    if character == " ":
        yield r"\+"


def is_secret(text: str, environ: Mapping[str, str]) -> bool:
    """Whether `text` holds something that looks like a key, or one of the environment's secrets."""
    return _finds(environ)(text)


def _finds(environ: Mapping[str, str]) -> Callable[[str], bool]:
    # A key in use that is shorter is hidden in what comes back, but what is typed may be that number by chance.
    known = {name: value for name, value in environ.items() if len(value) >= _SHORTEST}
    forms = [form for _, form in secret_forms(known)]
    return lambda text: bool(ISSUED.search(text)) or any(form.search(text) for form in forms)


def refuse_address(address: str) -> None:
    """Raise SecretError, which does not repeat it, if a server's address has a place where a key could stand."""
    if re.search(r"[@?#\\]", address):
        raise SecretError(
            "llm.api_base takes an address alone, e.g. http://127.0.0.1:8000/v1, without @, ? and #; a key belongs "
            "into the environment variable of llm.key_variable"
        )


def refuse_secrets(argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raise SecretError, which does not repeat it, if an argument holds a secret."""
    use(*re.findall(r"[A-Za-z_]\w*", " ".join(word.partition("=")[2] for word in argv if "llm.key_variable=" in word)))
    for position, argument in enumerate(argv, start=1):
        if "api_base=" in argument:
            refuse_address(argument)
        if is_secret(argument, environ) or _ASSIGNED.search(argument):
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
    finds = _finds(environ)
    for key, text in _texts("", values):
        if finds(text):
            raise SecretError(
                f"{key} holds a key, token or password, which would be written to files; keys are read from "
                "environment variables alone (llm.key_variable names which)"
            )


def _texts(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield prefix, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield prefix or "the config", str(key)
            yield from _texts(f"{prefix}.{key}" if prefix else str(key), item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(prefix, item)


def check_key_variable(name: str) -> None:
    """Refuse what can't be the name of an environment variable, in whichever case; the text itself is not shown."""
    if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise SecretError(
            "llm.key_variable takes the name of an environment variable, e.g. MY_KEY (letters, digits and _), never the"
            " key itself"
        )
