"""Weights & Biases as a published view of a run's files: history row i is line i of metrics.jsonl, whatever was killed.

A phase's first row has its tables, pictures and films (`tracking.media`) beside it. Online, a resumed run goes on under
its id and skips the rows that the server has. Offline, where W&B can't resume, the folder is made anew from the files.
W&B never ends a run: what fails there is one warning, and the log goes on.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from envgen_exp.config import RunConfig, TrackerConfig, TrackerKind, TrackerMode, design_set
from envgen_exp.errors import ConfigError
from envgen_exp.guard.reading import read_text
from envgen_exp.guard.redaction import redact
from envgen_exp.guard.writing import write_atomic
from envgen_exp.learners import arm, preset
from envgen_exp.tracking import media
from envgen_exp.tracking.tensorboard import TensorBoardTracker

if TYPE_CHECKING:
    import wandb

INIT_SECONDS = 20.0
"""How long a run waits for W&B's server at its start before it goes on offline."""

FINISH_SECONDS = 120.0
"""How long it waits at its end for what is still to be uploaded."""

MEDIA_BYTES = 64 * 2**20
"""Pictures and films of a run that go to W&B, at most; those of later phases stay in the run's folder."""

AGENTS = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
"""By what W&B's agent tells a process which run of its sweep it is."""

_WANDB = (TrackerKind.wandb, TrackerKind.both)

_agent_served = False
"""Whether a run of this process has taken the agent's id."""


Read = Callable[[Path], media.Record]
"""What reads a run's folder as it is now."""


class Tracker(Protocol):
    """Where a run publishes what it has logged."""

    def start(self, rows: Iterable[Mapping[str, Any]], timings: Iterable[Mapping[str, Any]] = ()) -> None:
        """Begin, with the rows that metrics.jsonl and timings.jsonl hold already: none for a new run, those up to its
        checkpoint for a resumed one. Comes before everything else."""

    def publish(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        """Show one row of metrics.jsonl, every row in order; `timing` are clock readings to show beside it.

        It goes out with the next row or at the end: by then all files of its phase are written.
        """

    def time(self, timing: Mapping[str, Any]) -> None:
        """Show a row of timings.jsonl that comes by itself: beside the last row of metrics, where that is its place."""

    def close(self) -> None:
        """Send what is left. May be called without `start`, and twice."""


def check_ready(config: TrackerConfig) -> None:
    """Raise ConfigError where a person asked for W&B online and there is no key for it."""
    if config.kind in _WANDB and config.mode is TrackerMode.online and not _has_key():
        raise ConfigError(
            "tracker.mode=online needs W&B's key: set WANDB_API_KEY, run `wandb login`, or choose tracker.mode=offline"
        )


def make_tracker(config: RunConfig, folder: Path, warn: Callable[[str], None], read: Read, total_steps: int) -> Tracker:
    """The tracker that `config.tracker` names for the run in `folder`.

    `read` reads the folder as it is at that moment, `total_steps` are the run's training steps.
    """
    kind, chosen = config.tracker.kind, list[Tracker]()
    if kind in _WANDB:
        chosen.append(WandbTracker(config, folder, warn, read, total_steps))
    if kind in (TrackerKind.tensorboard, TrackerKind.both):
        chosen.append(TensorBoardTracker(folder, warn))
    return chosen[0] if len(chosen) == 1 else Trackers(chosen)


class Trackers:
    """Several, or none."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def start(self, rows: Iterable[Mapping[str, Any]], timings: Iterable[Mapping[str, Any]] = ()) -> None:
        rows, timings = list(rows), list(timings)
        for tracker in self._trackers:
            tracker.start(rows, timings)

    def publish(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        for tracker in self._trackers:
            tracker.publish(row, timing)

    def time(self, timing: Mapping[str, Any]) -> None:
        for tracker in self._trackers:
            tracker.time(timing)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


class WandbTracker:
    """One W&B run in `<folder>/wandb`."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        warn: Callable[[str], None],
        read: Read,
        total_steps: int,
    ) -> None:
        self._config = config
        self._folder = folder
        self._warn = warn
        self._read = read
        self._total_steps = total_steps
        self._run: wandb.Run | None = None
        self._sent = 0
        """Rows that the W&B run has or that were handed to it."""
        self._seen = 0
        """Rows of the log that it has seen."""
        self._waiting: list[tuple[Mapping[str, Any], Mapping[str, Any] | None]] = []
        """Rows that go out with the next one."""
        self._phases: set[str] = set()
        """Phases that have shown a row."""
        self._media_bytes = 0

    def start(self, rows: Iterable[Mapping[str, Any]], timings: Iterable[Mapping[str, Any]] = ()) -> None:
        with self._survives("could not start"):
            mode = resolve_mode(self._config.tracker)
            if mode == "disabled":
                return
            try:
                self._run = self._init(mode)
            except Exception as error:
                if mode == "offline":
                    raise
                self._warn(f"W&B could not start online ({_line(error)}); it goes on offline: `wandb sync` later")
                _end_service()
                self._run = self._init("offline")
            for name in ("phase", "cycle"):
                self._run.define_metric(name, step_metric="step")
            self._run.define_metric("step", hidden=True)
            self._run.define_metric("*", step_metric="step")
            self._sent = self._run.starting_step  # not run.step, which is 0 until the first row
        beside: dict[tuple[Any, ...], dict[str, Any]] = {}
        for timing in timings:
            beside.setdefault(_place(timing), {}).update(timing)
        self._waiting = [(row, beside.get(_place(row))) for row in rows]

    def publish(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        self._send_waiting()
        self._waiting.append((row, timing))

    def time(self, timing: Mapping[str, Any]) -> None:
        if self._waiting and _place(self._waiting[-1][0]) == _place(timing):
            row, before = self._waiting[-1]
            self._waiting[-1] = row, {**(before or {}), **timing}

    def close(self) -> None:
        self._send_waiting()
        run, self._run = self._run, None
        if run is not None:
            with self._survives("could not finish"):
                run.finish()

    def _send_waiting(self) -> None:
        rows, self._waiting = self._waiting, []
        for row, timing in rows:
            self._send(row, timing)

    def _send(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None) -> None:
        self._seen += 1
        first = row["phase"] not in self._phases
        self._phases.add(row["phase"])
        if self._run is None or self._seen <= self._sent:
            return
        with self._survives("failed"):
            with self._data_here():
                self._run.log({**(timing or {}), **row, **(self._media(row["phase"]) if first else {})})
            self._sent += 1

    def _media(self, phase: str) -> dict[str, Any]:
        """A phase's tables, pictures and films as W&B's objects; one warning and nothing where they can't be made."""
        import wandb

        try:
            found = media.of_phase(self._read(self._folder), phase)
            shown: dict[str, Any] = {
                key: wandb.Table(columns=list(table.columns), data=table.rows, allow_mixed_types=True)
                for key, table in found.tables.items()
            }
            self._media_bytes += found.num_bytes
            if self._media_bytes <= MEDIA_BYTES:
                for key, files in found.files.items():
                    shown[key] = [_shown(file, found.captions.get(file)) for file in files]
        except Exception as error:  # noqa: BLE001 - the numbers are worth more
            self._warn(f"W&B gets no tables, pictures and films of {phase} ({_line(error)})")
            return {}
        return shown

    def _init(self, mode: Literal["online", "offline"]) -> wandb.Run:
        folder = self._folder / "wandb"
        folder.mkdir(exist_ok=True)
        run_id = self._run_id(folder)
        if mode == "offline":
            for old in (*folder.glob(f"offline-run-*-{run_id}"), *folder.glob("artifacts")):
                shutil.rmtree(old)
        with _agent_aside(run_id):
            return self._begin(mode, run_id, self._read(self._folder).document)

    def _begin(self, mode: Literal["online", "offline"], run_id: str, document: Mapping[str, Any]) -> wandb.Run:
        import wandb

        config = self._config
        wandb.setup(wandb.Settings(silent=True))  # else the login prints a line whatever init's settings say
        names = [config.env.name, arm(config), config.llm.name]
        group, sweep = "-".join(dict.fromkeys([*names, preset(config)[1]])), self._sweep(document["identity"])
        return wandb.init(
            mode=mode,
            dir=self._folder,
            id=run_id,
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            entity=config.tracker.entity,
            project=config.tracker.project,
            # Runs whose budgets differ don't stand in one group: its mean would mean nothing.
            group=config.tracker.group or (f"{sweep}/{group}" if sweep else f"{group}-{self._total_steps}"),
            job_type=arm(config),
            name=f"{group}-s{config.seed}",
            tags=list(dict.fromkeys([*names, *config.tracker.tags])),
            config={
                **document["config"],
                **{k: document[k] for k in ("identity", "versions", "chosen", "origin") if k in document},
                # To filter and group by.
                "family": config.env.name,
                "arm": arm(config),
                "design_set": design_set(config),
                "sweep": sweep,
            },
            settings=wandb.Settings(
                x_disable_meta=True,
                save_code=False,
                disable_git=True,
                console="off",
                silent=True,
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
            ),
        )

    def _run_id(self, folder: Path) -> str:
        """The W&B id of the run in this folder, made once: another folder is another run, wherever this one is moved.

        The first run of a process that W&B's agent started takes the agent's, every other one its own.
        """
        global _agent_served
        file = folder / "run-id"
        agents = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        if not os.path.lexists(file):
            taken = agents if agents and not _agent_served else secrets.token_hex(4)
            write_atomic(file, taken.encode())
        run_id = read_text(file, 1000).strip()
        if agents == run_id:
            _agent_served = True
        elif agents:
            self._warn(f"W&B's agent asked for one run, {agents}: this is another one, and gets its own id, {run_id}")
        return run_id

    def _sweep(self, identity: str) -> str | None:
        """The name of the sweep that the run is of; a sweep calls its runs' folders by their identity."""
        folder = self._folder.resolve()
        return folder.parent.name if folder.name == identity else None

    @contextmanager
    def _data_here(self) -> Iterator[None]:
        """Let W&B stage a table's files inside the run's folder: elsewhere is only where this variable says."""
        before = os.environ.get("WANDB_DATA_DIR")
        os.environ["WANDB_DATA_DIR"] = str(self._folder.resolve() / "wandb")
        try:
            yield
        finally:
            if before is None:
                del os.environ["WANDB_DATA_DIR"]
            else:
                os.environ["WANDB_DATA_DIR"] = before

    @contextmanager
    def _survives(self, what: str) -> Iterator[None]:
        """W&B's failure is one warning, and the end of publishing; the run goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  W&B raises what it likes
            self._run = None
            self._warn(f"W&B {what} ({_line(error)}); the run goes on without it, metrics.jsonl has everything")


def resolve_mode(config: TrackerConfig) -> Literal["online", "offline", "disabled"]:
    """What auto means here: WANDB_MODE where it is set, else online where there is a key."""
    if config.mode is TrackerMode.auto:
        wished = os.environ.get("WANDB_MODE")
        if wished == "disabled":
            return "disabled"
        online = wished == "online" or (wished is None and _has_key())
    else:
        online = config.mode is TrackerMode.online
    return "online" if online else "offline"


def _end_service() -> None:
    """Forget a run that failed to start, so that its id is free: an inherited service, which keeps it, is left."""
    import wandb

    wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


def _has_key() -> bool:
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        return (
            wbauth.authenticate_session(
                host=wandb.Settings().base_url, source="envgen_exp", prompt=False, update_session=False
            )
            is not None
        )
    except wandb.errors.AuthenticationError:
        return False


@contextmanager
def _agent_aside(run_id: str) -> Iterator[None]:
    """Hide from W&B that an agent started this process, for a run that is not the agent's: it would get that id."""
    before = {name: os.environ[name] for name in AGENTS if name in os.environ}
    if before.get("WANDB_RUN_ID") == run_id:
        yield
        return
    for name in before if "WANDB_SWEEP_ID" in before else ():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


def _line(error: Exception) -> str:
    return redact(f"{type(error).__name__}: {' '.join(str(error).split())}")[:300]


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["step"], row["phase"], row["cycle"]


def _shown(file: Path, caption: str | None) -> wandb.Image | wandb.Video:
    import wandb

    if caption is None:
        return wandb.Image(str(file), caption=file.stem)
    return wandb.Video(str(file), caption=caption, format="mp4")
