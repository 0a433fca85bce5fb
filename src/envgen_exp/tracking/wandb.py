"""Weights & Biases as a published view of metrics.jsonl: history row i is line i of the log, whatever was killed.

Online, a resumed run goes on under its id and skips the rows that the server has. Offline, where W&B can't resume, the
folder is made anew from the log. W&B never ends a run: what fails there is one warning, and the log goes on.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from envgen_exp.config import RunConfig, TrackerConfig, TrackerKind, TrackerMode, arm, design_set
from envgen_exp.errors import ConfigError
from envgen_exp.llm.redaction import redact
from envgen_exp.run_folder import read_config, write_atomic

if TYPE_CHECKING:
    import wandb

INIT_SECONDS = 20.0
"""How long a run waits for W&B's server at its start before it goes on offline."""

FINISH_SECONDS = 120.0
"""How long it waits at its end for what is still to be uploaded."""


class Tracker(Protocol):
    """Where a run publishes what it has logged."""

    def start(self, rows: Iterable[Mapping[str, Any]], timings: Iterable[Mapping[str, Any]] = ()) -> None:
        """Begin, with the rows that metrics.jsonl and timings.jsonl hold already: none for a new run, those up to its
        checkpoint for a resumed one. Comes before everything else."""

    def publish(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        """Show one row of metrics.jsonl, every row in order; `timing` are clock readings to show beside it."""

    def designs(self, cycle: int, designs: Sequence[Mapping[str, Any]]) -> None:
        """Add a cycle's designs (name -> value) to the table of designs, also those of cycles that a resumed run reads
        back; the table goes out with the next row."""

    def close(self) -> None:
        """Send what is left. May be called without `start`, and twice."""


def check_ready(config: TrackerConfig) -> None:
    """Raise ConfigError where a person asked for W&B online and there is no key for it."""
    if config.kind is TrackerKind.wandb and config.mode is TrackerMode.online and not _has_key():
        raise ConfigError(
            "tracker.mode=online needs W&B's key: set WANDB_API_KEY, run `wandb login`, or choose tracker.mode=offline"
        )


def make_tracker(config: RunConfig, folder: Path, warn: Callable[[str], None]) -> Tracker:
    """The tracker that `config.tracker` names for the run in `folder`, which has its config.yaml already."""
    if config.tracker.kind is TrackerKind.none:
        return NoTracker()
    return WandbTracker(config, folder, warn)


class NoTracker:
    """Publishes nothing."""

    def start(self, rows: Iterable[Mapping[str, Any]], timings: Iterable[Mapping[str, Any]] = ()) -> None: ...

    def publish(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None: ...

    def designs(self, cycle: int, designs: Sequence[Mapping[str, Any]]) -> None: ...

    def close(self) -> None: ...


class WandbTracker:
    """One W&B run in `<folder>/wandb`."""

    def __init__(self, config: RunConfig, folder: Path, warn: Callable[[str], None]) -> None:
        self._config = config
        self._folder = folder
        self._warn = warn
        self._run: wandb.Run | None = None
        self._sent = 0
        """Rows that the W&B run has or that were handed to it."""
        self._seen = 0
        """Rows of the log that it has seen."""
        self._logged: list[tuple[Mapping[str, Any], Mapping[str, Any] | None]] = []
        """Rows of before a resume."""
        self._designs: list[dict[str, Any]] = []
        self._designs_waiting = False

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
        # They go out with the next row or at the end: by then the designs of finished cycles are known.
        self._logged = [(row, beside.get(_place(row))) for row in rows]

    def publish(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        self._replay()
        self._publish(row, timing)

    def designs(self, cycle: int, designs: Sequence[Mapping[str, Any]]) -> None:
        for slot, design in enumerate(designs):
            self._designs.append({"cycle": cycle, "slot": slot, **design})
        self._designs_waiting = True

    def close(self) -> None:
        self._replay()
        run, self._run = self._run, None
        if run is not None:
            with self._survives("could not finish"):
                run.finish()

    def _replay(self) -> None:
        rows, self._logged = self._logged, []
        for row, timing in rows:
            self._publish(row, timing)

    def _publish(self, row: Mapping[str, Any], timing: Mapping[str, Any] | None) -> None:
        self._seen += 1
        if self._run is None or self._seen <= self._sent:
            return
        with self._survives("failed"):
            with self._data_here():
                self._run.log({**(timing or {}), **row, **self._waiting_table()})
            self._sent += 1

    def _init(self, mode: Literal["online", "offline"]) -> wandb.Run:
        import wandb

        config, folder = self._config, self._folder / "wandb"
        folder.mkdir(exist_ok=True)
        run_id = _run_id(folder)
        if mode == "offline":
            for old in (*folder.glob(f"offline-run-*-{run_id}"), *folder.glob("artifacts")):
                shutil.rmtree(old)
        document = read_config(self._folder)
        wandb.setup(wandb.Settings(silent=True))  # else the login prints a line whatever init's settings say
        words = [config.env.name, arm(config), config.llm.name]
        return wandb.init(
            mode=mode,
            dir=self._folder,
            id=run_id,
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            entity=config.tracker.entity,
            project=config.tracker.project,
            group=config.tracker.group or "-".join([*words, config.ppo.name]),
            job_type="train",
            name=f"{'-'.join([*words, config.ppo.name])}-s{config.seed}",
            tags=list(dict.fromkeys([*words, *config.tracker.tags])),
            config={
                **document["config"],
                "arm": arm(config),
                "design_set": design_set(config),
                **{k: document[k] for k in ("identity", "versions", "chosen") if k in document},
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

    def _waiting_table(self) -> dict[str, wandb.Table]:
        if not self._designs_waiting:
            return {}
        import wandb

        self._designs_waiting = False
        columns: list[str | int] = list(dict.fromkeys(name for design in self._designs for name in design))
        data = [[_cell(design.get(str(name))) for name in columns] for design in self._designs]
        return {"designs": wandb.Table(columns=columns, data=data, allow_mixed_types=True)}

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
    """Forget a run that failed to start, so that its id is free."""
    import wandb

    wandb.teardown()


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


def _run_id(folder: Path) -> str:
    """The W&B id of the run in this folder, made once: another folder is another run, wherever this one is moved."""
    file = folder / "run-id"
    if not file.exists():
        write_atomic(file, secrets.token_hex(4).encode())
    return file.read_text().strip()


def _line(error: Exception) -> str:
    return redact(f"{type(error).__name__}: {' '.join(str(error).split())}")[:300]


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["step"], row["phase"], row["cycle"]


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, Mapping | list | tuple) else value
