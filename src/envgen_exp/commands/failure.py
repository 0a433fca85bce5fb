"""Ends a failed command with one line, without secrets, and an exit status."""

from __future__ import annotations

import errno
import functools
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence

from envgen_exp.errors import ConfigError, EnvGenError
from envgen_exp.guard.redaction import redact


def tell(error: EnvGenError, where: str = "") -> None:
    """An error's one line."""
    # In one piece: runs of a sweep may write at the same time.
    sys.stderr.write(redact(f"envgen: error: {' '.join(str(error).split())}{where}\n"))


def told(main: Callable[[Sequence[str]], int]) -> Callable[[Sequence[str]], int]:
    """A command that ends with one line and a status for errors, and quietly where nobody reads its output any more."""

    @functools.wraps(main)
    def command(argv: Sequence[str]) -> int:
        try:
            try:
                return main(argv)
            except EnvGenError as error:
                tell(error)
                return error.exit_status
            except OSError as error:  # pathlib raises it for what is typed in place of a folder or a file
                if error.errno != errno.ENAMETOOLONG:
                    raise
                tell(ConfigError(f"{error.filename}: no name of a file or folder is so long"))
                return ConfigError.exit_status
            except KeyboardInterrupt:
                print("envgen: stopped", file=sys.stderr)
                return 128 + signal.SIGINT
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            if not _unread(sys.stdout.fileno()):
                raise
            # Python would complain of it once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE

    return command


def _unread(pipe: int) -> bool:
    """Whether a pipe has no reader any more."""
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
