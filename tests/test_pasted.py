"""What a run prints to be typed next: collected from many runs, and typed."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import runs
import warm
from studies import SUMMARY

from envgen_exp.commands import cli, run
from envgen_exp.commands.compose import compose_run
from envgen_exp.commands.report import _composes as composes
from envgen_exp.reporting.run.terminal import next_commands
from envgen_exp.run import pasted as pasting
from envgen_exp.run.pasted import SCRIPT, pasted
from envgen_exp.run.pasted import typed as typed_here
from envgen_exp.run.stored import quoted
from envgen_exp.run.summary import RunSummary

ROOT = Path(__file__).parents[1]
AWKWARD = "rün ü a=b (1)"


def of(words: str, **changes: object) -> RunSummary:
    config = compose_run(shlex.split(words))
    known = {"designer": config.designer.name, "llm": config.llm.name, "command": f"python run.py {words}"}
    return dataclasses.replace(SUMMARY, **{**known, "folder": AWKWARD, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, words = tmp_path_factory.mktemp("of runs") / AWKWARD, [*runs.SMOKE, "tracker=none"]
    with runs.quick():
        assert run.run(compose_run([*words, f"folder={quoted(str(folder))}"]), words) == 0
    return folder


def typed(command: str, cwd: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A printed command as a shell takes it, but that the interpreter is warm."""
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout.split("\0")[:-1]
    assert Path(cwd, words[0]).resolve() == Path(sys.executable).resolve() or words[0] == "python"
    return warm.run([*words[1:], *more], cwd=cwd)


def test_each_command_that_a_run_names_can_be_run(whole: Path, tmp_path: Path) -> None:
    designs = tmp_path / "my designs.yaml"
    designs.write_text("- tree_rarity: very common\n- starting_wood: 5\n")
    source, file = quoted(str(whole)), quoted(str(designs))
    cases = [
        of("experiment=demo"),
        of("arm=adaptive experiment=demo"),
        of("arm=original"),
        of("arm=plr scale=smoke", asks=False),
        of(shlex.join(["designer=human", f"designer.file={file}", "designer.num_designs=2"]), asks=False),
        of(shlex.join(["arm=human", f"designer.file={file}", "designer.num_designs=2"]), asks=False),
        of(shlex.join(["arm=placebo_another", f"designer.placebo_from={source}", "seed=3", *runs.SMOKE])),
        of(shlex.join(["llm=replay", f"llm.from={source}", *runs.SMOKE])),
        of("llm=gpt4 llm.max_dollars=5", uses_llm=True),
        of("llm=local llm.api_base=http://127.0.0.1:8000/v1 llm.model=openai/x", uses_llm=True),
        of("arm=direct llm=gpt4 experiment=agents", trains=False, uses_llm=True),
        of("agent=spring llm=gpt4 agent.max_steps=50", trains=False, uses_llm=True),
    ]
    for summary in cases:
        commands = [command for command in next_commands(summary) if composes(command)]
        assert len(commands) >= 2, summary.command
        for command in commands:
            _, what, *words = shlex.split(command)
            assert what != "run.py" or compose_run(words)
        assert commands[-1] == f"python -m envgen_exp report '{AWKWARD}'"
    assert "python run.py experiment=demo arm=original" in next_commands(cases[1])
    assert not any("seed=" in command for command in next_commands(cases[7]))
    assert all("llm.max_dollars=5" in command for command in next_commands(cases[8])[:-1])


def test_what_a_run_prints_is_typed_as_it_stands(whole: Path) -> None:
    cwd = whole.parent
    done = warm.run(["-m", "envgen_exp", "report", AWKWARD], cwd=cwd)
    assert done.returncode == 0
    lines = [line.strip() for line in done.stdout.splitlines()]
    ((folder,), (page,)) = (shlex.split(lines[lines.index(title) + 1]) for title in ("folder", "report"))
    assert (cwd / folder).resolve() == whole
    assert (cwd / page).exists()
    commands = lines[lines.index("next") + 1 : lines.index("report")]
    assert len(commands) == 4
    for command in (commands[0], commands[-1]):
        more = ["--cfg", "job"] if "run.py" in command else []
        again = typed(command, cwd, *more)
        assert (again.returncode, again.stderr) == (0, ""), command


def test_a_run_that_was_stopped_says_how_it_goes_on(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([f"folder={quoted(str(whole))}"]) == 2
    advice = capsys.readouterr().err.rstrip().rpartition(" by ")[2]
    assert compose_run(shlex.split(advice)).resume == str(whole)


@pytest.mark.parametrize("active", [True, False])
def test_the_interpreter_that_ran_runs_again(active: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", here if active else str(tmp_path))
    monkeypatch.chdir(tmp_path)
    python = "python" if active else sys.executable
    assert pasted("python run.py a=1") == shlex.join([python, str(SCRIPT), "a=1"])
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "executable", f"{ROOT}/.venv/bin/python")
    monkeypatch.setattr(pasting.shutil, "which", lambda name: f"{ROOT}/.venv/bin/{name}" if active else None)
    assert pasted("python run.py 'a= b'") == ("python" if active else ".venv/bin/python") + " run.py 'a= b'"
    assert pasted("python -m envgen_exp report x").endswith("python -m envgen_exp report x")
    assert os.fspath(SCRIPT) == f"{ROOT}/run.py"


def test_who_began_with_envgen_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, report = "python run.py 'a= b'", "python -m envgen_exp report x"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.setattr(pasting, "SCRIPT", tmp_path / "site" / "run.py")  # of an installed package, which has none
    assert [pasted(run), typed_here(report)] == ["bin/python -m envgen_exp run 'a= b'", "envgen report x"]
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "envgen"
    script.write_text("#!/bin/sh\n")
    assert [pasted(run), pasted(report)] == ["bin/envgen run 'a= b'", "bin/envgen report x"]
    assert pasted("python -m wandb sync x").endswith("python -m wandb sync x")  # no command of ours
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    assert [pasted(run), pasted(report)] == ["envgen run 'a= b'", "envgen report x"]
    monkeypatch.setattr(pasting, "SCRIPT", SCRIPT)
    assert pasted(run).endswith(f"{SCRIPT} 'a= b'")
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert [pasted(run), typed_here(run)] == ["envgen run 'a= b'", "envgen run 'a= b'"]
