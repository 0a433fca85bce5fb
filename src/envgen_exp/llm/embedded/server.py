"""The model's process as its parent sees it: started, asked whether it lives, ended."""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from envgen_exp.llm.embedded import child, machine
from envgen_exp.llm.source import RequestFailed

LOADING = 600.0
"""Seconds that loading may take: a disk may be slow, and other runs may be at work."""

_HINTS: dict[int, str] = {
    signal.SIGKILL: ": memory may have run out",
    signal.SIGILL: ": the processor lacks an instruction",
}


class Server:
    """A model that is loaded and listens on this machine alone, for whoever has its key."""

    def __init__(self, weights: Path, *, context: int, threads: int, cache: Path) -> None:
        """Wait for this machine's turn and load. Raises RequestFailed, or UnavailableError where memory is short."""
        self.key = secrets.token_urlsafe(32)
        turn = machine.take_turn(cache)
        try:
            machine.check_memory(weights, context)
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has ended
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", child.__name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                pass_fds=(turn,),
                start_new_session=True,  # a Ctrl-C is for the run, which ends the model itself
            )
        finally:
            os.close(turn)
        orders = {
            "weights": str(weights),
            "context": context,
            "threads": threads,
            "key": self.key,
            "parent": os.getpid(),
        }
        try:
            self.address = self._load(json.dumps(orders) + "\n")
        except BaseException:
            self.stop()
            raise

    def _load(self, orders: str) -> str:
        """The address at which the model answers once it is loaded."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(orders.encode())
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RequestFailed("the model's process did not start", self.epitaph(), again=True) from error
        deadline = time.monotonic() + LOADING
        while not select.select([self._process.stdout], [], [], 0.5)[0]:
            if time.monotonic() > deadline:
                raise RequestFailed("timed out", f"the weights were not loaded within {LOADING:g} s")
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {}
        if "address" in answer:
            return str(answer["address"])
        killed = self._process.wait() < 0  # what was refused is refused again
        raise RequestFailed("the model could not be loaded", self.epitaph(answer.get("error", "")), again=killed)

    def epitaph(self, said: str = "") -> str:
        """How the process ended, in the library's words where it has some."""
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        told = [line.split("error loading model: ", 1)[1] for line in lines if "error loading model: " in line]
        if status < 0:
            return f"ended by {signal.Signals(-status).name}{_HINTS.get(-status, '')}"
        return next(iter([*told, said, *lines[-1:]]), "") or f"ended with status {status}"

    def lost(self, why: str) -> str:
        """What became of the process after its connection broke: how it ended, or `why` where it is still there."""
        deadline = time.monotonic() + 1.0
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        return why if self.alive else self.epitaph()

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process; its memory and threads are free, and the next model's turn has come, when this returns."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            stream.close()
