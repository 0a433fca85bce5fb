"""The command `python -m envgen_exp model`: brings the embedded model's weights into the user's cache."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from envgen_exp.commands.failure import tell
from envgen_exp.config import LLMConfig, LLMKind
from envgen_exp.errors import EnvGenError, UnavailableError
from envgen_exp.llm.embedded import weights
from envgen_exp.llm.embedded.fetch import fetch, wanted
from envgen_exp.llm.embedded.machine import check_processor
from envgen_exp.llm.embedded.source import check_ready
from envgen_exp.run.pasted import pasted, typed


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch what is missing and return the exit status."""
    program, what = typed("python -m envgen_exp model"), f"Fetch {weights.LABEL} once."
    parser = argparse.ArgumentParser(prog=program, description=what)
    parser.add_argument("--check", action="store_true", help="compare the file's hash too, where it is there already")
    asked = parser.parse_args(argv)
    try:
        check_processor()
        target = wanted()
        file = fetch(target, lambda line: print(line, flush=True))
        if asked.check and weights.sha256(file) != target.sha256:
            raise UnavailableError(f"{file} has another hash than {weights.LABEL}: delete it and run this again")
        check_ready(LLMConfig(name="embedded", kind=LLMKind.embedded, model=weights.LABEL))
    except EnvGenError as error:
        tell(error)
        return error.exit_status
    print(f"{weights.LABEL} is ready: {pasted('python run.py llm=embedded')}")
    return 0
