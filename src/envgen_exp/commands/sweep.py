"""A sweep: many runs into one folder, by whichever of Hydra's launchers, ending with its tables and with what failed.

Launched again into its folder, a sweep leaves finished runs as they are, goes on with others and adds new ones. A run
works in whatever process the launcher starts for it; what it knows of the sweep stands in the sweep's folder:

sweep.json        what was launched
logs/             what the runs in other processes print
failed/           a file for each run that ended with an error, until it goes well
<identity>/       the runs' own folders
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import gc
import hashlib
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from envgen_exp.commands import searchpath
from envgen_exp.commands.compose import CONF, Sweep, SweptRun, compose_run, compose_sweep, register_plain, spelled_out
from envgen_exp.commands.failure import tell
from envgen_exp.config import RunConfig
from envgen_exp.errors import ConfigError, EnvGenError, MemoryFullError, RunFolderError
from envgen_exp.guard.frozen import plain
from envgen_exp.guard.reading import read_json
from envgen_exp.guard.writing import write_atomic, write_json
from envgen_exp.run import plan
from envgen_exp.run.folder import is_finished
from envgen_exp.run.identity import identity, identity_of
from envgen_exp.run.pasted import pasted
from envgen_exp.run.record import RunRecord
from envgen_exp.run.stored import quoted

_PR_SET_PDEATHSIG = 1

_launching = False
"""Whether this process launched the sweep, and no launcher made it for a run."""


class SweepError(Exception):
    """A run of a sweep ended with an error, which it has told and written down."""


def run_once(config: RunConfig, argv: Sequence[str], part: plan.Part = plan.Part.whole) -> int:
    """One run in this process, or the first part of it; its exit status."""
    return _pipeline()(config, argv, part)


@contextmanager
def _memory() -> Iterator[None]:
    """For the libraries that a run needs: tell what it means when installed ones can't be loaded."""
    # OpenMP's waiting threads spin, which on a machine with other work costs most of the speed. libgomp reads this
    # once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        yield
    except ModuleNotFoundError:
        raise
    except (MemoryError, ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MemoryFullError(f"no memory to load what a run needs (ulimit -v may be too low): {reason}") from error


@functools.cache
def _pipeline() -> Callable[[RunConfig, Sequence[str], plan.Part], int]:
    """What does a run, imported only now: it takes seconds, and help and errors should not."""
    # What is imported stays: looking for garbage in it, while it is imported and ever after, costs time for nothing.
    gc.disable()
    try:
        with _memory():
            from envgen_exp.commands.run import run
    finally:
        gc.freeze()
        gc.enable()
    return run


def run_sweep(overrides: Sequence[str]) -> int:
    """Launch the runs that `overrides` ask for, then print the tables and what failed; the first failure's exit status.

    All runs are composed before the first starts, so EnvGenError comes before anything is written.
    """
    overrides = spelled_out(overrides)
    sweep = compose_sweep(overrides)
    if any(run.config.dry_run for run in sweep.runs):
        return _tell_plans(sweep)
    check_folder(sweep)
    check_runs(sweep)
    shared = threads(sweep)
    sweep = dataclasses.replace(
        sweep, runs=tuple(dataclasses.replace(run, overrides=(*run.overrides, *shared)) for run in sweep.runs)
    )
    # Hydra would read the time of day, and so the folder's name, anew.
    words = [word for word in overrides if not word.startswith("hydra.sweep.dir=")]
    argv = [*words, f"hydra.sweep.dir={quoted(str(sweep.folder))}", *shared]
    if sweep.launcher == "joblib":
        argv.append("hydra.launcher.batch_size=1")  # else it takes runs that end at once for what all are like
    begin(sweep)
    fault = launch(sweep, argv)
    if any(_was_put_off(sweep, run) for run in sweep.runs):
        fault = launch(sweep, argv)
    try:
        tell_tables(sweep.folder)
    except EnvGenError as error:
        tell(error)
        fault = error.exit_status
    return tell_failures(sweep, argv) or fault


def _tell_plans(sweep: Sweep) -> int:
    """The plan of each run; nothing is run or written."""
    with _memory():
        from envgen_exp.run.preparation import prepare, tell_plan
    for run in sweep.runs:
        print(f"\n{run.name}", flush=True)
        if run.source is None:
            print(*tell_plan(prepare(dataclasses.replace(run.config, dry_run=True)), measured=False), flush=True)
        else:
            print(f"plan        as {run.source.name} in this sweep, whose rates its designer is told")
    return 0


def hydra_main(argv: Sequence[str]) -> None:
    """Hydra's own main function, for several runs and for what it can tell about itself."""
    register_plain()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors itself and exits
    sys.argv = [sys.argv[0], *argv]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(run_of_sweep)()


# Before the first run


def check_folder(sweep: Sweep) -> None:
    """Refuse a folder that is none of this sweep's: a run's, another sweep's, or one with other things in it."""
    folder = sweep.folder
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    where = f"hydra.sweep.dir={folder}"
    if (folder / "config.yaml").exists():
        raise RunFolderError(f"{where}: that is a run's folder; choose another name")
    runs = sorted(file.parent for file in folder.glob("*/config.yaml"))
    if not runs:
        if not (folder / "sweep.json").exists():
            raise RunFolderError(f"{where}: holds other things than a sweep; choose another name")
        return
    wanted = {_treatment(run.config) for run in sweep.runs}
    for run in runs:
        with contextlib.suppress(RunFolderError):  # another version's can't be gone on with, but do no harm
            if _treatment(RunRecord(run).config) in wanted:
                return
    raise RunFolderError(
        f"{where}: holds another sweep, none of its {len(runs)} runs has a config (but for the seed) of this one; "
        "choose another name"
    )


def check_runs(sweep: Sweep) -> None:
    """Refuse what a run could not start with here, and a study in which slots see how worlds begin and no more.

    Of runs that differ in the seed alone one is asked.
    """
    with _memory():
        from envgen_exp.run.preparation import prepare
    asked: dict[str, SweptRun] = {}
    for run in sweep.runs:
        if not _is_finished(sweep, run):
            asked.setdefault(_treatment(run.config), run)
    for run in asked.values():
        try:
            if sweep.study and (short := plan.short_phase(run.config)):
                raise ConfigError(short)
            if run.source is None and sweep.launcher not in ("ray", "submitit_slurm"):
                prepare(run.config)
        except EnvGenError as error:
            raise type(error)(f"{error} (in the run {run.name})") from error


def threads(sweep: Sweep) -> list[str]:
    """Overrides by which runs that a launcher starts side by side on this machine share its cores."""
    cores, settings = len(os.sched_getaffinity(0)), sweep.settings
    if sweep.launcher == "joblib":
        jobs = int(settings["n_jobs"])
        side_by_side = jobs if jobs > 0 else max(1, cores + 1 + jobs)
    elif sweep.launcher == "submitit_local":
        side_by_side = len(sweep.runs)
    elif sweep.launcher == "ray":
        side_by_side = cores // int((settings.get("ray") or {}).get("remote", {}).get("num_cpus") or 1)
    else:
        return []
    share = max(1, cores // max(1, side_by_side))
    config = sweep.runs[0].config
    keys = {"num_threads": config.num_threads, "env.num_threads": config.env.num_threads}
    return [f"{key}={share}" for key, chosen in keys.items() if not chosen]


def begin(sweep: Sweep) -> None:
    """Write down what is launched."""
    try:
        sweep.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"can't write the sweep's folder {sweep.folder}: {error.strerror}") from error
    runs = {_key(run.overrides): {"name": run.name, "source": run.source and str(run.source)} for run in sweep.runs}
    write_json(sweep.folder / "sweep.json", {"process": os.getpid(), "launcher": sweep.launcher, "runs": runs})


def launch(sweep: Sweep, argv: Sequence[str]) -> int:
    """Hand all runs to Hydra's launcher; 1 where the launcher itself failed."""
    global _launching
    _launching = True
    try:
        hydra_main(["--multirun", *argv])
    except SweepError:
        return 0  # told with the others at the end
    except EnvGenError:
        raise
    except Exception as error:  # noqa: BLE001 - a launcher's own: a worker that was killed, a queue that refuses
        log, name = sweep.folder / "logs" / "launcher.txt", type(error).__name__
        write_atomic(log, traceback.format_exc().encode())
        sys.stderr.write(f"envgen: error: hydra/launcher={sweep.launcher} ended early ({name}): {log}\n")
        return 1
    except BaseException:
        print(f"sweep stopped; to go on:\n{_again(argv)}", flush=True)
        raise
    finally:
        _launching = False
    return 0


# In whatever process a run works


def run_of_sweep(composed: DictConfig) -> None:
    """One run of a sweep. Raises SweepError after an error, SystemExit where a signal stopped the run."""
    overrides, searched = tuple(HydraConfig.get().overrides.task), HydraConfig.get().searchpath
    own = [searchpath.override(searched)] if searched else []
    folder = Path(HydraConfig.get().sweep.dir)
    launched, key = read_json(folder / "sweep.json"), _key(overrides)
    this, keys = launched["runs"][key], list(launched["runs"])
    where = f"run {keys.index(key) + 1} of {len(keys)}, {this['name']}"
    launcher = launched["process"]
    is_child = _die_with(launcher)
    failure = folder / "failed" / f"{key}.json"
    failure.unlink(missing_ok=True)
    with _output(folder / "logs" / f"{key}.txt") as say:
        try:
            # Composed anew, by the schema, which Hydra's launcher has done without.
            config = _told([*own, *overrides], this["source"])
            if config.resume is None:
                path = _place(folder, config)
                if is_finished(path):
                    say(f"{where}: finished before")
                    return
                if (path / "config.yaml").exists():
                    config = dataclasses.replace(config, resume=str(path))
                else:
                    config = dataclasses.replace(config, folder=str(path))
            say(f"{where}: {'goes on' if config.resume else 'starts'}")
            status = run_once(config, [*own, *overrides])
        except EnvGenError as error:
            tell(error, f" (in the run {this['name']})")
            write_json(failure, {"error": " ".join(str(error).split()), "status": error.exit_status})
            raise SweepError from error
        except Exception as error:
            traceback.print_exc()
            write_json(failure, {"error": f"{type(error).__name__}: {error}", "status": 1})
            raise SweepError from error
        say(f"{where}: {'finished' if status == 0 else 'stopped'}")
    if status:
        hand_on(status)
        if is_child and os.getppid() != launcher:
            os._exit(status)  # joblib's worker would wait for its next run for minutes
        raise SystemExit(status)  # stopped by a signal: start no further run


def hand_on(status: int) -> None:
    """Give the signal that stopped a run to whoever handled it before the run did: submitit, which requeues the job."""
    number = status - 128
    if number in (signal.SIGUSR1, signal.SIGUSR2) and callable(signal.getsignal(number)):
        signal.raise_signal(number)


@contextmanager
def _output(log: Path) -> Iterator[Callable[[str], object]]:
    """Send what a launcher's process prints to `log`; gives a function that still reaches the terminal."""
    if _launching:
        yield lambda line: print(line, flush=True)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    terminal = os.dup(1)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
    try:
        yield lambda line: os.write(terminal, f"{line}\n".encode())
    finally:
        sys.stdout.flush()
        os.dup2(terminal, 1)
        os.close(terminal)


def _die_with(launcher: int) -> bool:
    """Have the kernel stop this process by SIGTERM, so with a checkpoint, when `launcher`, its parent, dies."""
    if os.getppid() != launcher:
        return False
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return True


# After the last run


def tell_tables(folder: Path) -> None:
    """Print the sweep's tables and write its page, where a run has come so far."""
    from envgen_exp.commands.report import show

    if any(folder.glob("*/config.yaml")):
        show(folder)


def _again(argv: Sequence[str]) -> str:
    """The command that goes on with a sweep, in its folder: without one the same words begin another."""
    return pasted(f"python run.py -m {shlex.join(argv)}")


def tell_failures(sweep: Sweep, argv: Sequence[str]) -> int:
    """Name each run that is not finished, and what goes on with them.

    Returns the exit status of the first one that failed, 1 for one that has no error.
    """
    statuses = []
    for run in sweep.runs:
        failure = _failure(sweep, run)
        if _is_finished(sweep, run):
            continue
        if failure.exists():
            error = read_json(failure)
            statuses.append(int(error["status"]))
            sys.stderr.write(f"envgen: failed: {run.name}: {error['error']}\n")
        else:
            statuses.append(1)
            sys.stderr.write(f"envgen: not finished: {run.name}\n")
    if statuses:
        sys.stderr.write(f"envgen: {len(statuses)} of {len(sweep.runs)} runs; to go on:\n{_again(argv)}\n")
    return statuses[0] if statuses else 0


def _was_put_off(sweep: Sweep, run: SweptRun) -> bool:
    """Whether a run failed for want of another one's result, which is there by now."""
    return run.source is not None and _failure(sweep, run).exists() and is_finished(run.source)


def _is_finished(sweep: Sweep, run: SweptRun) -> bool:
    config = run.config
    if run.source is not None:
        try:
            config = _told([*sweep.own, *run.overrides], run.source)
        except EnvGenError:  # the source is not there
            return False
    return is_finished(Path(config.resume or _place(sweep.folder, config)))


def _place(folder: Path, config: RunConfig) -> Path:
    """A run's folder in its sweep's; an earlier version may have begun it under the name that it gave."""
    older = folder / identity_of(plain(config), all_of_asked=True)
    return older if older.exists() else folder / identity(config)


def _failure(sweep: Sweep, run: SweptRun) -> Path:
    return sweep.folder / "failed" / f"{_key(run.overrides)}.json"


def _told(overrides: Sequence[str], source: Path | str | None) -> RunConfig:
    """A run's config; `source` is the folder of the run whose rates it is told, where it is told another's."""
    return compose_run([*overrides, *([f"designer.placebo_from={quoted(str(source))}"] if source else [])])


def _key(overrides: Sequence[str]) -> str:
    """What the files of a sweep call a run: its folder's name can depend on another run's result."""
    return hashlib.sha256(json.dumps(list(overrides)).encode()).hexdigest()[:16]


def _treatment(config: RunConfig) -> str:
    """What a run and its repetitions with other seeds have in common."""
    return identity(dataclasses.replace(config, seed=0, design_set=None))
