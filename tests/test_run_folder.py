"""A run folder: identity, lock, atomic writes, refusals; and the checkpoints in it."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import stat
from pathlib import Path

import pytest
import torch
import yaml
from runs import fork, wait

from envgen_exp.config import RunConfig
from envgen_exp.errors import CheckpointError, EnvGenError, IdentityError, LockError, RunFolderError
from envgen_exp.guard.writing import write_atomic
from envgen_exp.run import checkpoint
from envgen_exp.run.folder import RunFolder, read_config
from envgen_exp.run.identity import identity
from envgen_exp.run.record import RunRecord
from envgen_exp.run.schemas import preset
from envgen_exp.tracking.metrics import Log


def composed(*overrides: str) -> RunConfig:
    return preset(overrides, {})


def make(path: Path, *overrides: str) -> RunFolder:
    return RunFolder.create(
        composed(f"folder={path}", *overrides),
        command="python run.py",
        versions={"torch": "x"},
        chosen={"device": "cpu"},
    )


def test_create_writes_config_and_reopen_reads_it(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", "cycles=3")
    folder.finish_phase(0, "cycle1-design", {"designs": [1, 2]})
    folder.close()
    document = read_config(tmp_path / "run")
    assert document["config"]["cycles"] == 3
    assert document["identity"] == identity(composed("cycles=3"))
    again = RunFolder.reopen(composed("cycles=3", f"resume={tmp_path / 'run'}", "tracker.project=other"))
    assert again.finished_phase(0, "cycle1-design")["designs"] == [1, 2]
    again.close()


def test_new_folders_have_names_of_their_own(tmp_path: Path) -> None:
    paths = set()
    for _ in range(3):
        folder = RunFolder.create(composed(f"runs_dir={tmp_path}"), command="", versions={}, chosen={})
        paths.add(folder.path)
        folder.close()
    assert len(paths) == 3


@pytest.mark.parametrize(
    "change", ["seed=1", "cycles=2", "ppo.gamma=0.9", "schedule.final_steps=7", "llm.temperature=1"]
)
def test_another_identity_is_refused_and_named(tmp_path: Path, change: str) -> None:
    make(tmp_path / "run").close()
    with pytest.raises(IdentityError, match=change.split("=")[0]):
        RunFolder.reopen(composed(f"resume={tmp_path / 'run'}", change))


@pytest.mark.parametrize(
    "change",
    [
        *("tracker.project=p", "num_threads=1", "env.num_threads=1", "checkpoint.every_steps=9", "llm.max_dollars=9"),
        "evaluation.report_at=[900]",
    ],
)
def test_what_changes_no_result_may_change(tmp_path: Path, change: str) -> None:
    make(tmp_path / "run").close()
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace("python run.py", f"python run.py {change}0 seed=0"))  # as typed at first
    config = composed(f"resume={tmp_path / 'run'}", change)
    with RunFolder.reopen(config) as folder:
        folder.keep(config)
    key, _, value = change.partition("=")
    record = RunRecord(tmp_path / "run")
    assert str(record.flat[key]) in (value, f"{value}.0")  # from then on
    assert record.document["command"].replace(".0", "") == shlex.join(["python", "run.py", change, "seed=0"])


def test_a_key_that_an_earlier_version_lacked_is_kept_too(tmp_path: Path) -> None:
    make(tmp_path / "run").close()
    document = read_config(tmp_path / "run")
    del document["config"]["evaluation"]["report_at"], document["config"]["checkpoint"]
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(document))
    for words in ([], ["evaluation.report_at=[900]"]):
        config = composed(f"resume={tmp_path / 'run'}", *words)
        with RunFolder.reopen(config) as folder:
            folder.keep(config)
        found = read_config(tmp_path / "run")["config"]
        assert found["evaluation"].get("report_at") == ([900] if words else None)


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(RunFolderError) as caught:
            RunFolder.reopen(composed(f"resume={folder}"))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "not a folder" in refused(tmp_path / "none")
    assert "no config.yaml" in refused(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    assert "can't read" in refused(tmp_path)
    (tmp_path / "config.yaml").write_text("a: 1")
    assert "no format" in refused(tmp_path)
    (tmp_path / "config.yaml").write_text("format: 1")
    assert "lacks identity" in refused(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"format": 99, "identity": "", "config": {}}))
    assert "format 99" in refused(tmp_path)


def test_a_used_or_unwritable_folder_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "run").close()
    with pytest.raises(RunFolderError, match="resume="):
        make(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match="not an empty folder"):
        make(tmp_path / "other")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match="can't write"):
        make(tmp_path / "file" / "run")


def test_lock_keeps_a_second_process_out_and_dies_with_its_owner(tmp_path: Path) -> None:
    make(tmp_path / "run").close()
    config = composed(f"resume={tmp_path / 'run'}")
    reading, writing = os.pipe()
    owner = os.fork()
    if owner == 0:  # the other process: takes the lock and holds it until it is killed
        held = RunFolder.reopen(config)
        os.write(writing, held.path.name.encode())
        signal.pause()
    try:
        assert os.read(reading, 10) == b"run"
        with pytest.raises(LockError, match=str(owner)):
            RunFolder.reopen(config)
    finally:
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        os.close(reading)
        os.close(writing)
    RunFolder.reopen(config).close()


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    import resource

    file = tmp_path / "a.json"
    write_atomic(file, b"old")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RunFolderError, match="no disk space left"):
            write_atomic(file, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    folder.close()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # dies between writing the file and giving it its name
        os.replace = lambda *_: (os.write(writing, b"x"), signal.pause())  # type: ignore[assignment]
        folder.finish_phase(0, "cycle1-design", {})
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert len(list((tmp_path / "run" / "phases").iterdir())) == 1
    RunFolder.reopen(composed(f"resume={tmp_path / 'run'}")).close()
    assert not list((tmp_path / "run" / "phases").iterdir())


def test_checkpoints_keep_two_and_pass_over_damaged_ones(tmp_path: Path) -> None:
    assert checkpoint.load_latest(tmp_path) == (0, None, [])
    for number in (1, 2, 3):
        checkpoint.save(tmp_path, number, {"n": number, "w": torch.full((3,), float(number))})
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == ["000002.pt", "000003.pt"]
    number, state, notes = checkpoint.load_latest(tmp_path)
    assert (number, state["n"] if state else None, notes) == (3, 3, [])

    whole = (tmp_path / "000003.pt").read_bytes()
    for damaged in (whole[:-1], b"", bytes([whole[0]]) + bytes([whole[1] ^ 1]) + whole[2:]):
        (tmp_path / "000003.pt").write_bytes(damaged)
        number, state, notes = checkpoint.load_latest(tmp_path)
        assert state is not None
        assert (number, state["n"], len(notes)) == (2, 2, 1)
    (tmp_path / "000003.pt").unlink()
    assert checkpoint.load_latest(tmp_path)[0] == 2
    (tmp_path / "000002.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.load_latest(tmp_path)


def test_every_error_is_one_of_the_tree() -> None:
    from envgen_exp import errors

    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    assert all(issubclass(c, EnvGenError) and c.exit_status in (1, 2) for c in classes)
    assert errors.__doc__ is not None
    assert all(c.__name__ in errors.__doc__ for c in classes)


def no_locks(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("envgen_exp.guard.lock.fcntl.flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_one_of_many_takes_a_dead_owners_folder(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(number, monkeypatch)
    folder, config = tmp_path / "run", composed(f"resume={tmp_path / 'run'}")
    dead = fork(lambda: (make(folder), os._exit(7)))
    assert wait(dead) == 7
    assert (folder / "lock-1").exists()
    reading, writing = os.pipe()  # closed when all have tried

    def try_it() -> None:
        os.close(writing)
        try:
            RunFolder.reopen(config)
        except LockError:
            os._exit(3)
        os.read(reading, 1)
        os._exit(4)

    children = [fork(try_it) for _ in range(6)]
    statuses = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(5)]
    assert statuses == [3] * 5, children
    with pytest.raises(LockError, match="is in use by process"):
        RunFolder.reopen(config)
    os.close(writing)
    os.close(reading)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 4
    RunFolder.reopen(config).close()
    assert not list(folder.glob("lock-*"))


def test_without_locks_another_machines_owner_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "run").close()
    no_locks(errno.ENOLCK, monkeypatch)
    (tmp_path / "run" / "lock-3").write_text("elsewhere none 17 5")
    with pytest.raises(
        LockError, match=r"process 17 of elsewhere.*if that process has ended, remove .*lock-3"
    ) as caught:
        RunFolder.reopen(composed(f"resume={tmp_path / 'run'}"))
    assert "\n" not in str(caught.value)
    (tmp_path / "run" / "lock-3").unlink()
    RunFolder.reopen(composed(f"resume={tmp_path / 'run'}")).close()


def test_files_have_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a.json", b"1")
        Log(tmp_path / "a.jsonl").close()
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


def test_a_file_system_that_syncs_no_folders_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def files_alone(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", files_alone)
    write_atomic(tmp_path / "a.json", b"1")
    assert (tmp_path / "a.json").read_bytes() == b"1"


def test_a_log_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("no end of a line")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl"):
        Log(tmp_path / "metrics.jsonl")
    assert (tmp_path / "thesis.txt").read_text() == "no end of a line"
