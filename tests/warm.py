"""Python commands in processes that begin with everything imported: a start takes milliseconds in place of seconds.

    done = warm.run(["-c", SCRIPT, "word"], cwd=tmp_path)      # as subprocess.run([sys.executable, ...], text=True)
    done = warm.run([str(ROOT / "run.py"), "seed=1"])          # a file
    done = warm.run(["-m", "envgen_exp", "report", str(folder)])  # a module, its function main
    command = warm.start([...], env={**os.environ, "X": "1"}); os.kill(command.pid, SIGINT); done = command.wait()

Each is a process, group and session of its own, with arguments, folder, environment, output, signals, exit handlers and
exit status as after a real start. They are forked from a server, one for each pytest process, that has imported all
below and started no thread. Not for what a start itself does: what is imported, -W, variables that are read on import.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from envgen_exp.commands.compose import compose_run

IMPORTED = (
    *("envgen_exp.commands." + name for name in ("cli", "run", "report", "play", "preview", "dashboard")),
    *("envgen_exp." + name for name in ("families.crafter.engine", "families.crafter.reference", "tracking.wandb")),
    *("av", "imageio.plugins.pillow", "matplotlib.figure", "numba", "scipy.stats", "wandb"),
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher",
)
"""What runs import, most of it late: five seconds of each process that begins without."""

Message = dict[str, Any]


def import_all() -> None:
    """Import what runs import, in this process."""
    for module in IMPORTED:
        importlib.import_module(module)


class Command:
    """A command that runs."""

    def __init__(self, args: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None) -> None:
        self.args = args
        self._folder = tempfile.TemporaryDirectory()
        self._server = _server()
        out, err = (str(Path(self._folder.name) / name) for name in ("out", "err"))
        environment = dict(os.environ if env is None else env)
        ask = {"args": list(args), "cwd": str(cwd or Path.cwd()), "env": environment, "out": out, "err": err}
        self.pid: int = _asked(self._server, ask, None)["pid"]

    def wait(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Its end; what exceeds the time is killed and raises."""
        with self._folder as folder:
            try:
                status = _asked(self._server, {"wait": self.pid}, timeout)["status"]
            except TimeoutError:
                os.killpg(self.pid, signal.SIGKILL)
                _received(self._server)
                raise
            out, err = (Path(folder, name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(self.args, os.waitstatus_to_exitcode(status), out, err)


def start(args: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Command:
    """Start what `python *args` would."""
    return Command(args, cwd, env)


def run(
    args: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Do what `python *args` would."""
    return start(args, cwd=cwd, env=env).wait(timeout)


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop() -> None:
        ours.close()
        server.terminate()
        server.wait()

    atexit.register(stop)
    return ours


def _asked(server: socket.socket, message: Message, timeout: float | None) -> Message:
    server.settimeout(timeout)
    server.sendall(json.dumps(message).encode() + b"\n")
    try:
        return _received(server)
    finally:
        server.settimeout(None)


def _received(connection: socket.socket) -> Message:
    """The next line, or nothing at the end."""
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(1 << 16)
        if not part:
            raise EOFError("the server of tests/warm.py has ended")
        line += part
    message: Message = json.loads(line)
    return message


def _serve(connection: socket.socket) -> Message | None:
    """Answer until the other side ends; returns in each forked child, with what it has to do."""
    while True:
        try:
            asked = _received(connection)
        except EOFError:
            return None
        if "wait" in asked:
            answer = {"status": os.waitpid(asked["wait"], 0)[1]}
        else:
            child = os.fork()
            if child == 0:
                connection.close()
                os.setsid()
                return asked
            answer = {"pid": child}
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _do(asked: Message) -> None:
    """Be the command, to its end."""
    for number, path in ((1, asked["out"]), (2, asked["err"])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    first, *words = asked["args"]
    if first == "-c":
        sys.path[0], sys.argv = "", ["-c", *words[1:]]
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.path[0], sys.argv = asked["cwd"], words
        sys.exit(importlib.import_module(f"{words[0]}.__main__").main(words[1:]))
    else:
        sys.path[0], sys.argv = str(Path(first).parent), [first, *words]
        runpy.run_path(first, run_name="__main__")


def _end(work: Callable[[], None]) -> NoReturn:
    """End as the interpreter does, but that memory is not freed bit by bit: that takes as long as a start."""
    status = 0
    try:
        work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    import_all()
    compose_run([])  # Hydra looks for plugins once
    assert threading.active_count() == len(os.listdir("/proc/self/task")) == 1, "forking needs a process of one thread"
    gc.freeze()  # a collection in a child would copy all pages
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if asked:
        _end(functools.partial(_do, asked))
