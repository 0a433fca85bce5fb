"""Turns a model's text into an action: looks for the name leniently, and never guesses where two could be meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_TEXT = 20_000
"""Characters at an answer's end in which the action is looked for."""

_MARKS = r"[\s\"'`*_:=(\[{<>-]{0,20}"
"""What may stand between the word 'action' and a name, and before a name that stands alone; bounded, as is the work."""


def read_action(text: str, actions: Sequence[str]) -> str | None:
    """The one action that an answer names; None where it names none or several.

    What stands behind the last "Action:" counts first, then a line or quotation that is a name and nothing else (the
    last one), then the only name in the text. 'Move-Left' and 'move left' are move_left. A name of one word, such as
    'do', is an English word too: inside a sentence it counts for nothing.
    """
    tail = text[-MAX_TEXT:]
    names = {re.sub(r"[\s-]", "_", name).lower(): name for name in actions}
    name = "|".join(sorted((re.escape(key).replace("_", r"[\s_-]") for key in names), key=len, reverse=True))

    def found(pattern: str) -> list[str]:
        matches = re.finditer(pattern, tail, re.IGNORECASE | re.MULTILINE)
        return [names[re.sub(r"[\s-]", "_", match[1]).lower()] for match in matches]

    # "Action: do not sleep" is a sentence: behind a name of one word none other may follow.
    alone = r"(?![\w-])(?!\s+[a-z])"
    for pattern in (
        rf"\baction{_MARKS}[:=]{_MARKS}({name}){alone}",
        rf"^{_MARKS}({name})[ \t\"'`*_.)\]}}>]{{0,20}}$",
        rf"[\"'`*]({name})[\"'`*]",
    ):
        if matches := found(pattern):
            return matches[-1]
    told = {action for action in found(rf"(?<![\w-])({name})(?![\w-])") if "_" in action}
    return told.pop() if len(told) == 1 else None
