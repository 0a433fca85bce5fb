"""What the terminal shows while a language model reads a prompt and writes its answer."""

from __future__ import annotations

from envgen_exp.llm.source import Writing
from envgen_exp.tracking.progress import Progress


class AnswerProgress:
    """One answer after another, each as two countable phases: tokens read, tokens written."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last: Writing | None = None

    def __call__(self, name: str, cycle: int, now: Writing) -> None:
        """An answer in the phase `name` is so far."""
        last = self._last
        anew = last is None or now.prompt != last.prompt or now.read < last.read or now.written < last.written
        if anew and now.written == 0:  # a server does not say how much of the prompt it has read
            self._progress.phase(name, now.prompt, cycle, unit="tokens read")
        if now.written == 0:
            self._progress.update(now.read)
        else:
            if anew or (last is not None and last.written == 0):
                self._progress.phase(name, now.expected, cycle, unit="tokens")
            self._progress.update(now.written)
        self._last = now
