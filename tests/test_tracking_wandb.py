"""W&B's own files, and what a W&B server receives, against metrics.jsonl: row by row, also after kills and resumes."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import runs
import wandb
import warm
from wandb_server import Server, wandb_server

from envgen_exp.config import RunConfig, TrackerConfig, TrackerKind, TrackerMode
from envgen_exp.errors import ConfigError
from envgen_exp.families import make_family
from envgen_exp.learners.intervals import wilson
from envgen_exp.run import evaluations
from envgen_exp.run import loop as pipeline
from envgen_exp.run.films import SHOWN_FRAMES
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.identity import identity
from envgen_exp.run.record import RunRecord
from envgen_exp.run.schemas import preset
from envgen_exp.run.session import Session
from envgen_exp.tracking import media
from envgen_exp.tracking import wandb as tracking
from envgen_exp.tracking.metrics import Log, read

WANDB = str(Path(sys.executable).with_name("wandb"))
KEY = "0123456789abcdef" * 2 + "fedcba98"

# A run that logs rows up to a number and then closes or is killed.
RUN = """
import os, signal, sys
from pathlib import Path
from envgen_exp.run import plan
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.record import RunRecord
from envgen_exp.run.schemas import preset
from envgen_exp.tracking import metrics, wandb

folder, rows, end = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
wandb.INIT_SECONDS = 2.0
signal.signal(signal.SIGINT, lambda *_: None)
config = preset((f"folder={folder}", "tracker.tags=[mine]", "seed=7", *sys.argv[4:]), {})
if not folder.exists():
    RunFolder.create(config, command="python run.py", versions={"torch": "1"}, chosen={"device": "cpu"}).close()
logs = {name: metrics.Log(folder / f"{name}.jsonl") for name in ("metrics", "timings")}
tracker = wandb.make_tracker(
    config, folder, lambda line: print("WARNING", line), RunRecord, plan.training_steps(config)
)
before = list(metrics.read(folder / "metrics.jsonl"))
tracker.start(before, metrics.read(folder / "timings.jsonl"))
for step in range(len(before), rows):
    values = {"loss/policy": step / 3, "loss/value": float("nan"), "skill/report/collect_coal": 0.1 * step}
    row = metrics.row(10 * step, "final", 1, values)
    timing = metrics.row(10 * step, "final", 1, {"seconds/env": step + 0.5}, clock=True)
    logs["metrics"].append(row)
    logs["timings"].append(timing)
    tracker.publish(row, timing)
    if step == 3 and end == "interrupted":
        os.killpg(0, signal.SIGINT)  # as Ctrl-C does: to W&B's process too
for log in logs.values():
    log.flush()
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
tracker.close()
tracker.close()
"""


def run(folder: Path, rows: int, end: str, *overrides: str, real: bool = False, **environment: str) -> str:
    """Do RUN in a process group of its own, which really starts or is forked; returns what it printed."""
    words = ["-c", RUN, str(folder), str(rows), end, *overrides]
    # A service that another test left would keep the id of a run that is killed.
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} | environment
    if real:
        done = subprocess.run(
            [sys.executable, *words], env=env, capture_output=True, text=True, timeout=120, start_new_session=True
        )
    else:
        done = warm.run(words, env=env)
    assert done.returncode == (-9 if end == "killed" else 0), done.stderr
    assert not done.stderr
    return done.stdout


@functools.cache
def records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of the one offline run in a folder, by type, as W&B's own command reads them."""
    (offline,) = (folder / "wandb").glob("offline-run-*")
    done = warm.run([WANDB, "leet", "inspect", "--json", str(offline)])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    by_type: dict[str, list[dict[str, Any]]] = {}
    for record in map(json.loads, lines):
        by_type.setdefault(record["type"], []).append(record[record["type"]])
    return by_type


def expected(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, each with its clock readings."""
    rows = list(read(folder / "metrics.jsonl"))
    return [{**row, "seconds/env": i + 0.5} for i, row in enumerate(rows)]


def published(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """History rows without what W&B adds, after a check that their numbers count up from 0."""
    assert [item["_step"] for item in items] == list(range(len(items)))
    beside = ("_", "table_", "worlds/", "films")
    return [{k: v for k, v in item.items() if not k.startswith(beside)} for item in items]


def assert_no_key_in(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.fixture(autouse=True)
def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """wandb keeps what it was told, in the process, its service and a netrc file: each test begins without."""
    wandb.teardown()
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An offline run that was interrupted (and went on), killed after 6 of its 9 rows, and resumed."""

    def make(parent: Path) -> None:
        parent.mkdir()
        # Really started: nothing of a command line may reach W&B's files.
        run(parent / "run", 6, "killed", real=True)
        assert run(parent / "run", 9, "interrupted", real=True) == ""

    return runs.once(tmp_path_factory, "offline", make) / "run"


def test_the_offline_folder_is_metrics_jsonl_row_by_row(offline: Path) -> None:
    history = [record["item"] for record in records(offline)["history"]]
    assert len(history) == 9
    assert published(history) == expected(offline)


def test_the_offline_run_is_named_and_placed(offline: Path) -> None:
    by_type = records(offline)
    (begun,) = by_type["run"]
    config = begun["config"]["update"]
    assert begun["run_group"] == "crafter-adaptive-offline-laptop-1960000"
    assert begun["job_type"] == "adaptive"
    assert begun["tags"] == ["crafter", "adaptive", "offline", "mine"]
    assert begun["display_name"] == "crafter-adaptive-offline-laptop-s7"
    assert begun["run_id"] == (offline / "wandb" / "run-id").read_text()
    assert config["ppo"]["clip_coef"] == 0.2
    assert config["versions"] == {"torch": "1"}
    assert {"identity", "chosen"} <= config.keys()
    assert {key: config[key] for key in ("arm", "family", "seed", "sweep")} == {
        "arm": "adaptive",
        "family": "crafter",
        "seed": 7,
        "sweep": None,
    }
    (glob,) = (metric for metric in by_type["metric"] if metric.get("glob_name"))
    assert glob["step_metric"] == "step"
    assert [end["exit_code"] for end in by_type["exit"]] == [0]  # and, on a busy machine, a runtime
    # Nothing of the command line: it was `python -c <the text of RUN>`.
    assert "make_tracker" not in json.dumps(by_type)
    assert not list(offline.rglob("wandb-metadata.json"))


def test_everything_of_wandbs_is_inside_the_run_folder(offline: Path) -> None:
    home = Path(os.environ["HOME"])
    assert not (home / ".local" / "share" / "wandb").exists()
    assert not (offline.parent / "wandb").exists()
    assert {path.name for path in offline.iterdir()} == {
        "config.yaml",
        "lock",
        "metrics.jsonl",
        "timings.jsonl",
        "wandb",
    }


# A run of the whole pipeline, killed in its second cycle and resumed


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a sweep's folder."""
    # Episodes of 40 steps: each is filmed, a fiftieth of a second a frame.
    overrides = ("tracker=wandb", "tracker.mode=offline", "schedule.designed_steps=100", "env.original_length=40")
    name = identity(runs.composed(*overrides))

    def attempt(folder: Path, killed: bool) -> None:
        evaluations.VISUAL_SHARE = 1000.0  # enough for each frame of each film
        evaluate = pipeline.Run.evaluate
        if killed:
            pipeline.Run.evaluate = lambda self, cycle, p: runs.die() if cycle == 2 else evaluate(self, cycle, p)  # type: ignore[method-assign, assignment, return-value]
        with runs.quick():
            runs.run(folder, *overrides)

    def make(sweep: Path) -> None:
        assert runs.wait(runs.fork(lambda: attempt(sweep / name, True))) == -signal.SIGKILL
        assert runs.wait(runs.fork(lambda: attempt(sweep / name, False))) == 0

    return runs.once(tmp_path_factory, "study", make) / name


@pytest.fixture(scope="module")
def history(resumed: Path) -> list[dict[str, Any]]:
    return [record["item"] for record in records(resumed)["history"]]


def test_a_resumed_runs_history_is_metrics_jsonl_row_by_row(resumed: Path, history: list[dict[str, Any]]) -> None:
    clock = ("seconds/", "speed/", "checkpoint/")
    numbers = [{k: v for k, v in row.items() if not k.startswith(clock)} for row in published(history)]
    assert numbers == runs.rows(resumed / "metrics.jsonl")
    assert sum("seconds/update" in row for row in history) == sum("loss/policy" in row for row in history) > 5

    def places(rows: Iterable[dict[str, Any]], name: str = "step") -> set[tuple[int, str, int]]:
        return {(row["step"], row["phase"], row["cycle"]) for row in rows if name in row}

    timings = runs.rows(resumed / "timings.jsonl")
    for name in ("checkpoint/bytes", "seconds/visual"):  # which come by themselves, after their row
        assert places(history, name) == places(timings, name) & places(history) != set()


def test_a_sweeps_run_stands_in_its_group_with_filters(resumed: Path) -> None:
    (begun,) = records(resumed)["run"]
    assert begun["run_group"] == "study/crafter-adaptive-offline-smoke"
    config = begun["config"]["update"]
    assert (config["sweep"], config["arm"], config["family"], config["seed"]) == ("study", "adaptive", "crafter", 0)


def shown(resumed: Path, history: list[dict[str, Any]], key: str) -> dict[str, list[Path]]:
    """The files of a kind that W&B has for each phase."""
    (offline,) = (resumed / "wandb").glob("offline-run-*")
    found: dict[str, list[Path]] = {}
    for row in history:
        names = row.get(f"{key}.filenames") or [one["path"] for one in row.get(f"{key}.videos", ())]
        names = names or ([row[f"{key}.path"]] if f"{key}.path" in row else [])
        if names:
            assert row["phase"] not in found
            found[row["phase"]] = [offline / "files" / name for name in names]
    return found


@pytest.mark.parametrize(("key", "kind"), [(media.MAPS, "map"), (media.VIEWS, "view")])
def test_every_designs_world_is_there_once(resumed: Path, history: list[dict[str, Any]], key: str, kind: str) -> None:
    found = shown(resumed, history, key)
    assert list(found) == ["cycle1-design", "cycle2-design"]
    for phase, files in found.items():
        ours = sorted((resumed / "pictures").glob(f"{phase}-*-{kind}.png"))
        assert len(ours) == 4
        assert [file.read_bytes() for file in files] == [file.read_bytes() for file in ours]


def test_every_evaluations_film_is_there_once_and_shows_its_first_episodes(
    resumed: Path, history: list[dict[str, Any]]
) -> None:
    found = shown(resumed, history, media.FILMS)
    assert {phase: len(files) for phase, files in found.items()} == {
        "cycle1-evaluate": 1,
        "cycle2-evaluate": 1,
        "report-evaluation": 2,
    }
    skills = make_family(runs.composed().env).skills
    episodes = runs.rows(resumed / "episodes.jsonl")
    for phase, files in found.items():
        for slot, file in enumerate(files):
            (ours,) = (resumed / "videos").glob(f"{phase}-{slot + 1}.mp4")
            assert file.read_bytes() == ours.read_bytes()
            film = json.loads(ours.with_suffix(".json").read_text())
            played = next(e for e in episodes if (e["phase"], e["slot"], e["episode"]) == (phase, slot, 1))
            assert film["title"] == f"original, world {played['world_seed']}"
            with av.open(str(file)) as container:
                frames = sum(1 for _ in container.decode(video=0))
            if film["whole"]:
                assert film["steps"] == played["length"]
                assert set(film["unlocked"]) == {s for s, n in zip(skills, played["skills"], strict=True) if n}
                assert frames == film["steps"] + SHOWN_FRAMES
            else:
                assert frames == film["steps"] + 1


def last_table(resumed: Path, history: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    *_, (file,) = shown(resumed, history, key).values()
    table = json.loads(file.read_text())
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def test_the_last_tables_hold_every_design_skill_and_request(resumed: Path, history: list[dict[str, Any]]) -> None:
    designs = last_table(resumed, history, media.DESIGNS)
    proposals = [json.loads(next((resumed / "phases").glob(f"*-cycle{c}-design.json")).read_text()) for c in (1, 2)]
    wanted = [design for result in proposals for design in result["proposal"]["designs"]]
    assert [(row["cycle"], row["number"]) for row in designs] == [(c, n) for c in (1, 2) for n in (1, 2, 3, 4)]
    for row, design in zip(designs, wanted, strict=True):
        assert row["targets"] == ", ".join(design["targets"])
        assert all(row[name] == value for name, value in design.items() if name != "targets")
    trained = {e["design"] for e in runs.rows(resumed / "episodes.jsonl") if "train-designed" in e["phase"]}
    assert trained <= {row["design"] for row in designs}

    rates = last_table(resumed, history, media.SKILLS)
    metrics = runs.rows(resumed / "metrics.jsonl")
    for kind, phase in (("feedback", "cycle2-evaluate"), ("report", "report-evaluation")):
        (logged,) = (row for row in metrics if row["phase"] == phase)
        for row in (row for row in rates if row["evaluation"] == phase):
            assert row["success_rate"] == logged[f"skill/{kind}/{row['skill']}"]
            ends = wilson(row["successes"], row["episodes"])
            assert (row["low"], row["high"]) == pytest.approx(ends, abs=1e-9)
    assert len(rates) == 3 * 22

    calls = last_table(resumed, history, media.LLM_CALLS)
    sent = [event for event in runs.rows(resumed / "llm" / "ledger.jsonl") if event["event"] == "sent"]
    assert [row["at"] for row in calls] == [event["at"] for event in sent]
    assert {row["status"] for row in calls} == {"ok"}
    assert len(calls) == 2


def test_the_folder_synced_later_is_all_of_it_once(resumed: Path, history: list[dict[str, Any]]) -> None:
    (offline,) = (resumed / "wandb").glob("offline-run-*")
    with wandb_server() as server:
        done = warm.run([WANDB, "sync", str(offline)], env={**os.environ, **online(server)})
        assert done.returncode == 0, done.stderr
        (rows,) = server.history.values()
        assert [row["_step"] for row in rows] == list(range(len(history)))
        assert [(row["phase"], row["step"]) for row in rows] == [(row["phase"], row["step"]) for row in history]
        for key in (media.MAPS, media.VIEWS, media.FILMS, media.DESIGNS, media.SKILLS, media.LLM_CALLS):
            files = {file for files in shown(resumed, history, key).values() for file in files}
            assert {file.relative_to(offline / "files").as_posix() for file in files} <= server.files


def test_more_pictures_than_allowed_stay_in_the_folder(resumed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MEDIA_BYTES", 10_000)
    tracker = tracking.WandbTracker(composed(), resumed, pytest.fail, RunRecord, 0)
    shown = tracker._media("cycle1-design")
    assert set(shown) == {media.DESIGNS, media.LLM_CALLS}


def online(server: Server) -> dict[str, str]:
    return {"WANDB_MODE": "online", "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url}


def test_a_resumed_online_run_sends_each_row_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with wandb_server() as server:
        assert run(folder, 6, "closed", **online(server)) == ""
        (run_id,) = server.history
        assert len(server.history[run_id]) == 6
        # What a kill leaves: the server has rows from after the checkpoint to which the logs are cut back.
        for name in ("metrics", "timings"):
            path = folder / f"{name}.jsonl"
            Log.cut(path, sum(map(len, path.read_bytes().splitlines(keepends=True)[:4])))
        assert run(folder, 9, "closed", **online(server)) == ""
        assert list(server.history) == [run_id]
        assert published(server.history[run_id]) == expected(folder)
        assert server.config["seed"] == {"value": 7}
        assert not [body for body in server.received if KEY in body]
    assert_no_key_in(folder)


def test_an_online_run_killed_with_rows_in_flight_goes_on_under_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run, killed twice: what was on its way the first time arrives late, the second time never."""
    folder, reached = tmp_path / "run", tmp_path / "reached"

    def until_killed(steps: int) -> None:
        boundary = Session.boundary

        def boundary_(self: Session, *args: Any) -> None:
            boundary(self, *args)
            if self.trained >= steps:
                reached.touch()
                time.sleep(60)

        Session.boundary = boundary_  # type: ignore[assignment]
        with runs.quick():
            runs.run(folder, "tracker=wandb")

    with wandb_server() as server:
        # W&B sends the first thing that it has at once and waits 15 s for the next: let that be rows.
        for name, value in {**online(server), "WANDB__DISABLE_STATS": "true"}.items():
            monkeypatch.setenv(name, value)
        for steps, losing in ((450, False), (850, True)):
            server.in_flight.clear()
            server.losing = losing
            server.go_on.clear()
            child = runs.fork(lambda steps=steps: until_killed(steps))  # type: ignore[misc]
            assert server.in_flight.wait(30)
            while not reached.exists():
                time.sleep(0.02)
            reached.unlink()
            os.kill(child, signal.SIGKILL)
            assert runs.wait(child) == -signal.SIGKILL
            server.go_on.set()
        with runs.quick():
            runs.run(folder)
    (run_id,) = server.history
    assert run_id == (folder / "wandb" / "run-id").read_text()
    rows = list(read(folder / "metrics.jsonl"))
    history = published(server.history[run_id])
    assert [{name: item[name] for name in row} for item, row in zip(history, rows, strict=True)] == rows
    assert not [body for body in server.received if KEY in body]


@pytest.fixture
def service() -> Iterator[str]:
    """A W&B service that a run's parent keeps, as a launcher that uses W&B itself does."""
    command = [WANDB, "beta", "core"]
    told = subprocess.run([*command, "start"], capture_output=True, text=True, timeout=60, check=True).stdout
    yield told.strip()
    environment = {**os.environ, "WANDB_SERVICE": told.strip()}
    subprocess.run([*command, "stop"], env=environment, capture_output=True, timeout=60, check=True)


@pytest.mark.parametrize("inherited", [False, True])
def test_without_the_server_the_run_goes_on_offline(
    inherited: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "run"
    parents = {"WANDB_SERVICE": request.getfixturevalue("service")} if inherited else {}
    closed = {"WANDB_MODE": "online", "WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    told = run(folder, 4, "closed", **closed, **parents)
    assert told.count("WARNING") == 1
    assert told.count("\n") == 1
    assert "goes on offline" in told
    assert published([record["item"] for record in records(folder)["history"]]) == expected(folder)
    assert_no_key_in(folder)


class Broken:
    """A W&B run that fails at its third row, with a key in the error's text."""

    starting_step = 0

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def define_metric(self, *args: Any, **kwargs: Any) -> None: ...

    def log(self, row: dict[str, Any]) -> None:
        if len(self.rows) == 2:
            raise RuntimeError(f"no luck\nwith {KEY}")
        self.rows.append(row)


def composed(*overrides: str) -> RunConfig:
    return preset(overrides, {})


def test_a_failure_in_the_middle_is_one_warning_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    broken, told = Broken(), list[str]()
    monkeypatch.setattr(tracking.WandbTracker, "_init", lambda self, mode: broken)
    config = composed(f"folder={tmp_path / 'run'}")
    RunFolder.create(config, command="", versions={}, chosen={}).close()
    tracker = tracking.make_tracker(config, tmp_path / "run", told.append, RunRecord, 0)
    tracker.start([])
    for step in range(5):
        tracker.publish({"step": step, "phase": "final", "cycle": 1})
    tracker.close()
    assert [row["step"] for row in broken.rows] == [0, 1]
    assert len(told) == 1
    assert "RuntimeError: no luck with [WANDB_API_KEY]" in told[0]
    assert "the run goes on without it" in told[0]


def test_no_tracker_makes_no_folder(tmp_path: Path) -> None:
    tracker = tracking.make_tracker(composed("tracker=none"), tmp_path, pytest.fail, RunRecord, 0)
    tracker.start([{"step": 0, "phase": "final", "cycle": 1}])
    tracker.publish({"step": 0, "phase": "final", "cycle": 1})
    tracker.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "variable", "key", "wanted"),
    [
        (TrackerMode.auto, None, None, "offline"),
        (TrackerMode.auto, None, KEY, "online"),
        (TrackerMode.auto, None, "too-short", "offline"),
        (TrackerMode.auto, "offline", KEY, "offline"),
        (TrackerMode.auto, "disabled", KEY, "disabled"),
        (TrackerMode.offline, "online", KEY, "offline"),
        (TrackerMode.online, "offline", KEY, "online"),
    ],
)
def test_the_mode(
    monkeypatch: pytest.MonkeyPatch, mode: TrackerMode, variable: str | None, key: str | None, wanted: str
) -> None:
    for name, value in (("WANDB_MODE", variable), ("WANDB_API_KEY", key)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert tracking.resolve_mode(TrackerConfig(mode=mode)) == wanted


def test_online_without_a_key_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="set WANDB_API_KEY"):
        tracking.check_ready(TrackerConfig(mode=TrackerMode.online))
    tracking.check_ready(TrackerConfig())
    tracking.check_ready(TrackerConfig(kind=TrackerKind.none, mode=TrackerMode.online))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    tracking.check_ready(TrackerConfig(mode=TrackerMode.online))
