"""The command: what it refuses and how it says so, what it hands to the pipeline, what it prints."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest
import runs
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envgen_exp.__main__ import main
from envgen_exp.commands import cli, sweep
from envgen_exp.commands.compose import CONF, compose_run
from envgen_exp.commands.explain import groups_of
from envgen_exp.config import LLMKind, RunConfig
from envgen_exp.errors import BudgetError, EnvGenError, MissingKeyError, NumericsError, RunFolderError
from envgen_exp.guard.frozen import plain
from envgen_exp.run import preparation
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.identity import identity

RUN = Path(__file__).parents[1] / "run.py"
KEY = "sk-abcdefghijklmnop0123456789"


class Pipeline:
    """Stands in for a run: keeps what it was handed, and does what a test asks of it."""

    def __init__(self) -> None:
        self.configs: list[RunConfig] = []
        self.argv: list[Sequence[str]] = []
        self.answers: dict[int, int | BaseException] = {}
        """By number of the run, counted from 0: an exit status or an exception."""

    def __call__(self, config: RunConfig, argv: Sequence[str]) -> int:
        answer = self.answers.get(len(self.configs), 0)
        self.configs.append(config)
        self.argv.append(argv)
        if isinstance(answer, BaseException):
            raise answer
        if config.folder:
            RunFolder.create(config, command="python run.py", versions={}, chosen={}).close()
        if config.folder or config.resume:
            for name in ("summary.json", "report.html"):
                (Path(config.folder or config.resume or "") / name).touch()
        return answer


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pipeline:
    stand_in = Pipeline()
    monkeypatch.setattr(sweep, "run_once", stand_in)
    monkeypatch.setattr(sweep, "tell_tables", lambda folder: None)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.chdir(tmp_path)
    return stand_in


def refused(argv: Sequence[str], capsys: pytest.CaptureFixture[str], pipeline: Pipeline) -> str:
    """The one line with which `argv` is refused, with status 2, before anything is run or written."""
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("envgen: error: ")
    assert err.count("\n") == 1
    assert pipeline.configs == []
    assert list(Path().iterdir()) == []
    return err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        # What is wrong, what is allowed, the nearest match.
        ("ppo=papr", ["ppo=papr", "laptop | paper", "did you mean paper?"]),
        ("lmm=gpt4", ["lmm=gpt4", "llm |", "did you mean llm?"]),
        ("experment=demo", ["experment=demo", "did you mean experiment?"]),
        ("cycels=3", ["cycels=3", "| cycles |", "did you mean cycles?"]),
        ("ppo.clip=.2", ["ppo.clip=.2", "| clip_coef |", "did you mean ppo.clip_coef?"]),
        ("gae_lamda=.9", ["gae_lamda=.9", "did you mean ppo.gae_lambda?"]),
        ("cycles=abc", ["cycles=abc", "a whole number"]),
        ("cycles=1.5", ["cycles=1.5", "a whole number"]),
        ("seed=true", ["seed=true", "a whole number"]),
        ("cycles=null", ["cycles=null", "a whole number"]),
        ("ppo.gamma=high", ["ppo.gamma=high", "a number"]),
        ("dry_run=perhaps", ["dry_run=perhaps", "true | false"]),
        ("device=CUDA", ["device=CUDA", "auto | cpu | cuda", "did you mean cuda?"]),
        ("tracker.tags=a", ["tracker.tags=a", "a list"]),
        ("llm.max_calls=few", ["llm.max_calls=few", "a whole number", "or null"]),
        ("schedule=5", ["schedule=5", "designed_steps | original_steps | final_steps"]),
        ("env.name=???", ["env.name"]),
        ("seed=${nope}", ["seed=${nope}", "nope"]),
        ("hydra.foo=3", ["hydra.foo=3", "sweeper"]),
        ("hydra/launcher=joblb", ["hydra/launcher=joblb", "did you mean joblib?"]),
        # Syntax.
        ("cycles", ["cycles", "KEY=VALUE"]),
        ("=3", ["=3", "KEY=VALUE"]),
        ("cycles==3", ["cycles==3", "KEY=VALUE"]),
        ("folder=a(b", ["folder=a(b", "KEY=VALUE"]),
        ("ppo@llm=laptop", ["ppo@llm=laptop", "KEY=VALUE"]),
        ("+foo=3", ["+foo=3", "without +"]),
        ("++cycles=3", ["++cycles=3", "without +"]),
        ("~cycles", ["~cycles", "cycles=VALUE"]),
        ("seed=0,1", ["seed=0,1", "-m"]),
        ("--halp", ["--halp", "did you mean --help?"]),
        ("--cfg everything", ["everything", "job"]),
        ("--help pppo", ["pppo", "did you mean ppo?"]),
        # Values that no run can have.
        ("cycles=0", ["cycles=0", "1 or more"]),
        ("seed=-1", ["seed=-1"]),
        ("seed=1 seed=abc", ["error: seed=abc: allowed"]),
        ("seed=abc seed=1", ["error: seed=abc: allowed"]),
        ("schedule.designed_steps=-1", ["schedule.designed_steps=-1", "1 or more"]),
        ("schedule.final_steps=-1", ["schedule.final_steps=-1", "0 or more"]),
        ("ppo.num_envs=0", ["ppo.num_envs=0", "from 1"]),
        ("ppo.gamma=1.5", ["ppo.gamma=1.5", "from 0 to 1"]),
        ("ppo.gamma=nan", ["ppo.gamma=nan", "finite"]),
        ("ppo.learning_rate=inf", ["ppo.learning_rate=inf", "finite"]),
        ("ppo.num_minibatches=1_000_000", ["ppo.num_minibatches=1000000", "rollout"]),
        ("evaluation.feedback_seeds=1", ["evaluation.feedback_seeds=1", "2 or more"]),
        ("llm.from=runs/x", ["llm.from=runs/x", "llm=replay"]),
        ("llm.kind=replay", ["llm.from=FOLDER"]),
        ("llm.kind=litellm", ["llm.model"]),
        ("llm.api_base=localhost", ["llm.api_base=localhost", "http://"]),
        ("llm.api_base=http://127.0.0.1:99999/v1", ["llm.api_base=http://127.0.0.1:99999/v1", "http://127"]),
        ("llm.api_base='http://[1:2]:80/v1'", ["llm.api_base: allowed", "http://127"]),
        ("llm.input_price=5", ["llm.output_price", "both"]),
        # Hydra's own that would do nothing.
        ("hydra.run.dir=x", ["hydra.run.dir=x", "folder=FOLDER"]),
        ("hydra.job.chdir=true", ["hydra.job.chdir=true", "started in"]),
        ("hydra.verbose=true", ["hydra.verbose=true", "verbosity=verbose"]),
        ("-m seed=range(0)", ["range(0)", "no value"]),
        # Resume.
        ("resume=nowhere", ["nowhere"]),
        ("resume=.", [". is not a run's folder"]),
        # Sweeps: one bad run among good ones.
        ("-m seed=0,1 cycles=2,0", ["cycles=0", "seed=0 cycles=0"]),
        ("-m ppo=laptop,lptop", ["ppo=lptop", "did you mean laptop?"]),
        ("-m num_threads=1,2", ["num_threads=1", "num_threads=2", "same experiment"]),
        ("-m seed=0,1 folder=x", ["folder=x", "share"]),
        ("-m seed=0,1 cycels=3", ["cycels=3", "did you mean cycles?"]),
        ("-m seed=range(2) hydra.sweep.dir=/dev/null/s", ["can't write the sweep's folder /dev/null/s"]),
    ],
)
def test_bad_input_gives_one_line(
    argv: str, says: list[str], capsys: pytest.CaptureFixture[str], pipeline: Pipeline
) -> None:
    line = refused(argv.split(), capsys, pipeline)
    for words in says:
        assert words in line


@pytest.mark.parametrize(
    ("argument", "secret"),
    [
        (f"llm.model={KEY}", KEY),
        (KEY, KEY),
        (f"--api-key={KEY}", KEY),
        (f"tracker.tags=[a,{KEY}]", KEY),
        ("llm.api_key=hunter22", "hunter22"),
        ("api-key=hunter22", "hunter22"),
        ("OPENAI_API_KEY=hunter22", "hunter22"),
        ("llm={api_key:hunter22}", "hunter22"),
        ("hydra.job.env_set.WANDB_API_KEY=hunter22", "hunter22"),
        ("password: hunter22", "hunter22"),
        ("folder=0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789abcdef01234567"),
        ("llm.api_base=https://me:hunter22@host/v1", "hunter22"),
        ("folder=${oc.env:OPENAI_API_KEY}", "its-value-2"),
        ("folder=${oc.env:HARMLESS}", "its-value-3"),
        ("tracker.tags=[a,'x${ oc.env : OPENAI_API_KEY }']", "its-value-2"),
        ("llm.api_base=http://hunter22@host/v1", "hunter22"),
        ("llm.api_base=http://host/v1#hunter22", "hunter22"),
        ("llm.api_base=ftp://host/v1#hunter22", "hunter22"),
        (["folder=x-its-value-4", "llm.key_variable=MY_MODEL_ACCESS"], "its-value-4"),
        ("folder=x-its-value-2-y", "its-value-2"),
        ("aXRzLXZhbHVl==", "aXRzLXZhbHVl"),
    ],
)
@pytest.mark.parametrize("before", [[], ["--help"], ["-m", "seed=0,1"], ["--cfg", "job"]])
def test_a_secret_is_refused_and_not_repeated(
    argument: str | list[str],
    secret: str,
    before: list[str],
    capsys: pytest.CaptureFixture[str],
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "its-value-2")
    monkeypatch.setenv("SOME_TOKEN", "aXRzLXZhbHVl==")
    monkeypatch.setenv("HARMLESS", "its-value-3")
    monkeypatch.setenv("MY_MODEL_ACCESS", "its-value-4")
    line = refused([*before, *([argument] if isinstance(argument, str) else argument)], capsys, pipeline)
    assert "environment variable" in line
    assert secret not in line


@pytest.mark.parametrize(
    "argument",
    [
        "llm.check_key=true",
        "llm.check_key='false'",
        "llm.key_variable=OPENAI_API_KEY",
        "llm.max_tokens=100",
        "tracker.project=sk-learn-and-its-many-friends",
        "folder='\\${oc.env:HOME}/runs'",
        "folder=four",
        "tracker.group=0123456789abcdef",
    ],
)
def test_what_only_looks_like_a_secret_passes(
    argument: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT_KEY", "four")
    assert cli.main([argument]) == 0
    assert len(pipeline.configs) == 1


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    secret=st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=8, max_size=60),
    before=st.sampled_from(["", "llm.model=", "folder=runs/", "+x=", "--flag=", "tracker.tags=[a,", "'"]),
    after=st.sampled_from(["", "/v1", "]", "=1", "'"]),
)
def test_no_line_holds_a_secret_of_the_environment(
    secret: str, before: str, after: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = f"s{secret}"  # a value that begins with a slash is a path
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    assert cli.main([before + secret + after]) == 2
    assert secret not in capsys.readouterr().err


def test_a_secret_in_a_file_of_conf_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "from-the-environment")
    with pytest.raises(EnvGenError, match=r"^tracker.entity=\S+: reads the environment variable") as caught:
        compose_run(["tracker.entity=${oc.env:WANDB_API_KEY}"])
    assert "from-the-environment" not in str(caught.value)


def test_the_pipeline_gets_the_frozen_config(pipeline: Pipeline) -> None:
    assert cli.main(["cycles=2", "env=crafter", "ppo.gamma=0.9"]) == 0
    (config,) = pipeline.configs
    assert (config.cycles, config.env.name, config.ppo.gamma) == (2, "crafter", 0.9)
    assert pipeline.argv == [["cycles=2", "env=crafter", "ppo.gamma=0.9"]]


def test_llm_from_is_short_for_replay_from(pipeline: Pipeline) -> None:
    assert cli.main(["llm.kind=replay", "llm.from=runs/earlier"]) == 0
    assert pipeline.configs[0].llm.kind is LLMKind.replay
    assert pipeline.configs[0].llm.replay_from == "runs/earlier"


@pytest.mark.parametrize(
    ("error", "status"), [(MissingKeyError("no key:\n set X"), 2), (BudgetError("cap"), 1), (NumericsError("nan"), 1)]
)
def test_an_error_of_the_pipeline_is_one_line(
    error: EnvGenError, status: int, pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answers[0] = error
    assert cli.main([]) == status
    assert capsys.readouterr().err == f"envgen: error: {' '.join(str(error).split())}\n"


def test_the_pipelines_status_is_the_commands(pipeline: Pipeline) -> None:
    pipeline.answers[0] = 143
    assert cli.main([]) == 143


def test_an_unexpected_exception_keeps_its_traceback(pipeline: Pipeline) -> None:
    pipeline.answers[0] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        cli.main([])


def test_ctrl_c_ends_quietly(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.answers[0] = KeyboardInterrupt()
    assert cli.main([]) == 130
    assert "Traceback" not in capsys.readouterr().err


# Sweeps


def test_a_sweep_runs_every_combination_in_its_own_folder(pipeline: Pipeline) -> None:
    assert cli.main(["-m", "seed=0,1", "cycles=1,2", "hydra.sweep.dir=multirun/s"]) == 0
    assert [(c.seed, c.cycles) for c in pipeline.configs] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [c.folder for c in pipeline.configs] == [f"multirun/s/{identity(c)}" for c in pipeline.configs]
    assert sorted(path.name for path in Path("multirun/s").iterdir()) == sorted(
        [*(identity(c) for c in pipeline.configs), "multirun.yaml", "sweep.json"]
    )


def test_flags_may_stand_anywhere(pipeline: Pipeline) -> None:
    assert cli.main(["seed=0,1", "--multirun", "cycles=1"]) == 0
    assert [(c.seed, c.cycles) for c in pipeline.configs] == [(0, 1), (1, 1)]


def test_the_same_sweep_again_goes_on(pipeline: Pipeline) -> None:
    argv = ["-m", "seed=0,1", "hydra.sweep.dir=s"]
    assert cli.main(argv) == 0
    assert cli.main([*argv[:1], "seed=0,1,2", *argv[2:]]) == 0
    (new,) = pipeline.configs[2:]  # the others were finished
    assert (new.seed, new.folder) == (2, f"s/{identity(new)}")


def test_a_sweep_goes_on_with_runs_that_are_not_finished(pipeline: Pipeline) -> None:
    argv = ["-m", "seed=0,1", "hydra.sweep.dir=s"]
    assert cli.main(argv) == 0
    first = pipeline.configs[0]
    (Path(first.folder or "") / "summary.json").unlink()
    assert cli.main(argv) == 0
    (again,) = pipeline.configs[2:]
    assert (again.resume, identity(again)) == (first.folder, identity(first))


def test_a_failed_run_lets_the_others_run(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.answers[0] = MissingKeyError("no key")
    assert cli.main(["-m", "seed=0,1,2"]) == 2
    assert [c.seed for c in pipeline.configs] == [0, 1, 2]
    err = capsys.readouterr().err
    assert "envgen: error: no key (in the run seed=0)\n" in err
    assert "envgen: failed: seed=0: no key\n" in err
    assert "envgen: 1 of 3 runs" in err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("llm=offline,gpt4",), "no key for .* (in the run llm=gpt4 seed=0)"),
        (
            ("scale=smoke", "ppo.num_envs=4,32"),
            "schedule.designed_steps: .* 192 or 224 (in the run seed=0 ppo.num_envs=32)",
        ),
        (("env=crafter,driving",), "agent=ppo: needs .*: agent=supervised .* (in the run env=driving seed=0)"),
        (("scale=smoke", "contrasts=[adaptive]"), "contrasts: 'adaptive': allowed is 'arm - arm'"),
    ],
)
def test_what_one_run_could_not_start_with_is_refused_before_any_starts(
    words: tuple[str, ...], error: str, pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["-m", *words, "seed=0,1", "hydra.sweep.dir=multirun/s"]) == 2
    assert pipeline.configs == []
    assert not Path("multirun").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(error.replace("(", r"\(").replace(")", r"\)"), line)


def test_a_bug_in_one_run_shows_its_traceback(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.answers[1] = ZeroDivisionError("a bug")
    assert cli.main(["-m", "seed=0,1"]) == 1
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_a_stopped_run_stops_the_sweep(pipeline: Pipeline) -> None:
    pipeline.answers[1] = 130
    with pytest.raises(SystemExit) as stopped:
        cli.main(["-m", "seed=0,1,2"])
    assert stopped.value.code == 130
    assert [c.seed for c in pipeline.configs] == [0, 1]


def test_a_file_of_conf_can_say_what_is_swept(pipeline: Pipeline) -> None:
    assert cli.main(["-m", "experiment=sweep_smoke", "seed=4,5"]) == 0
    assert [(c.seed, c.designer.name) for c in pipeline.configs] == [
        (4, "adaptive"),
        (4, "original"),
        (5, "adaptive"),
        (5, "original"),
    ]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A config folder of one's own with a model and an experiment."""
    folder = tmp_path / "my conf"
    for name, text in {
        "llm/mine.yaml": "# A model of my own\ndefaults: [offline, _self_]\nname: mine\n",
        "llm/gpt4.yaml": "name: never\n",
        "experiment/ours.yaml": "# @package _global_\ndefaults:\n  - override /llm: mine\ncycles: 3\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("flag", ["--config-dir={}", "hydra.searchpath=['{}']", "hydra.searchpath=['file://{}']"])
def test_options_may_lie_in_a_folder_of_ones_own(flag: str, mine: Path, pipeline: Pipeline) -> None:
    words = ["experiment=ours", flag.format(mine)]
    assert cli.main(words) == 0
    assert cli.main(["-m", *words, "llm=glob(m*)", "seed=1,2"]) == 0
    assert [(c.llm.name, c.cycles, c.seed) for c in pipeline.configs] == [("mine", 3, seed) for seed in (0, 1, 2)]
    assert compose_run([f"hydra.searchpath=['{mine}']", "llm=gpt4"]).llm.name == "gpt4"  # what conf/ has is taken
    (mine / "experiment" / "ours.yaml").write_text("# @package _global_\ncycles: 2\n")
    assert compose_run([f"hydra.searchpath=['{mine}']", "experiment=ours"]).cycles == 2


def test_a_folder_of_ones_own_is_listed_and_checked(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config-dir", str(mine), "--help"]) == 0
    assert "mine             A model of my own" in capsys.readouterr().out
    assert cli.main([f"--config-dir={mine}/nowhere", "llm=mine"]) == 2
    assert f"{mine}/nowhere is no folder" in capsys.readouterr().err
    assert cli.main([f"hydra.searchpath=['{mine}']", "llm=min"]) == 2
    assert "llm=min: no such option, did you mean mine?" in capsys.readouterr().err


def test_a_resumed_run_takes_an_option_of_ones_own(mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    RunFolder.create(runs.composed(f"folder={folder}"), command="python run.py", versions={}, chosen={}).close()
    config = compose_run([f"resume={folder}", f"hydra.searchpath=['{mine}']", "llm=mine"])
    assert config.llm.name == "mine"


def test_runs_of_a_sweep_go_to_other_processes(tmp_path: Path) -> None:
    # Without a server each run ends in the process that it was sent to, having got there whole.
    local = ["llm=local", "llm.api_base=http://127.0.0.1:9/v1", "llm.check_key=true", "llm.max_attempts=1"]
    argv = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *local, "env.engine=reference", "seed=0,1"]
    done = subprocess.run(
        [sys.executable, str(RUN), *argv], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 1, done.stderr
    for seed in (0, 1):
        assert "openai/default at http://127.0.0.1:9/v1: not connected" in done.stderr
        assert f"(in the run seed={seed})\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert "envgen: 2 of 2 runs" in done.stderr


# What it prints


def test_help_names_every_group_option_and_key(capsys: pytest.CaptureFixture[str], pipeline: Pipeline) -> None:
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for group in groups_of(CONF):
        start = lines.index(f"  {group}")
        for file in (CONF / group).glob("*.yaml"):
            line = next(line for line in lines[start:] if line[2:].lstrip("* ").split()[:1] == [file.stem])
            assert len(line.split()) > 3, f"{group}/{file.name} begins with no comment that says what it is"
    assert any("* laptop" in line for line in lines)
    config = compose_run([])
    for key, value in plain(config).items():
        if not (CONF / key).is_dir():
            keys = [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
            for name in keys:
                (line,) = [line for line in lines if line.strip().startswith(f"{name}=")]
                assert len(line.split()) > 3, f"{name} has no doc line in config.py"


@pytest.mark.parametrize(
    "section", ["env", "llm", "ppo", "designer", "schedule", "evaluation", "checkpoint", "tracker"]
)
def test_help_of_a_section_documents_each_key(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help", section, "ppo=paper"]) == 0
    lines = capsys.readouterr().out.splitlines()
    values = plain(compose_run(["ppo=paper"]))[section]
    assert [line.split("=")[0].strip() for line in lines] == [f"{section}.{name}" for name in values]
    assert all(len(line.split()) > 1 for line in lines)
    if section == "ppo":
        assert any(line.startswith("  ppo.network=moon ") for line in lines)


def test_cfg_job_prints_the_config(capsys: pytest.CaptureFixture[str], pipeline: Pipeline) -> None:
    assert cli.main(["--cfg", "job", "cycles=7"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == plain(compose_run(["cycles=7"]))
    assert pipeline.configs == []


@pytest.mark.parametrize("what", ["job", "hydra", "all"])
def test_cfg_of_a_sweep_prints_and_runs_nothing(
    what: str, capsys: pytest.CaptureFixture[str], pipeline: Pipeline
) -> None:
    assert cli.main(["-m", "seed=0,1", "arm=original", "--cfg", what]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [document["seed"] for document in documents if "seed" in document] == ([] if what == "hydra" else [0, 1])
    assert ("hydra" in documents[-1]) == (what != "job")
    assert pipeline.configs == []
    assert list(Path().iterdir()) == []


def test_a_dry_sweep_tells_each_plan_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["debug=smoke", "num_threads=1", "seed=0,1", "arm=adaptive,placebo_another", "dry_run=true"]
    assert cli.main(["-m", *words]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.count("LLM calls") == 2
    assert printed.out.count("whose rates its designer is told") == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", ["folder={}", "resume={}", "-m hydra.sweep.dir={}", "report {}", "report --claims {}", "play {}"]
)
def test_a_name_that_no_file_can_have_is_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.format("n" * 300).split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "n" * 300 in line


def test_the_version(capsys: pytest.CaptureFixture[str], pipeline: Pipeline) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"envgen_exp {metadata.version('envgen-exp')}\n"


def test_whatever_help_names_has_help(capsys: pytest.CaptureFixture[str], pipeline: Pipeline) -> None:
    assert cli.main(["--help"]) == 0
    footer = capsys.readouterr().out.splitlines()[-1]
    for section in [*footer.partition(": ")[2].partition(";")[0].split(", "), *groups_of(CONF)]:
        assert cli.main(["--help", section]) == 0
        assert section in capsys.readouterr().out


def test_completion_offers_options_alone(
    capsys: pytest.CaptureFixture[str], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", "python run.py designer=")
    assert cli.main(["-sc", "query=bash"]) == 0
    offered = capsys.readouterr().out.split()
    assert "designer=adaptive" in offered
    assert not [word for word in offered if "schema" in word]


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("cycles=1e1", "cycles", 10),
        ("seed=3.0", "seed", 3),
        ("folder=runs/ü", "folder", "runs/ü"),
        ("folder=größe 2/été", "folder", "größe 2/été"),
        ("folder=~/x y", "folder", "/home/me/x y"),
    ],
)
def test_what_one_types_is_what_one_means(
    word: str, key: str, value: object, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert getattr(compose_run([word]), key) == value


def test_the_advice_for_a_value_that_needs_quotes_helps(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["folder=a=b (1"]) == 2
    advice = capsys.readouterr().err.partition("in a shell: ")[2]
    assert compose_run(shlex.split(advice)).folder == "a=b (1"


def test_the_plan_comes_before_what_takes_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = preparation.tell_plan(made := preparation.prepare(runs.composed("dry_run=true", "tracker=none")))
    monkeypatch.setattr(type(made.learner), "speed", lambda self: pytest.fail("measured"))
    first = next(said)
    assert "LLM calls" in first
    assert "time " not in first
    monkeypatch.undo()
    assert next(said).startswith("time        about ")
    (tmp_path / "a").write_text("")
    monkeypatch.setattr(preparation, "make_family", lambda config: pytest.fail("made"))
    with pytest.raises(RunFolderError, match="not an empty folder"):
        preparation.prepare(runs.composed(f"folder={tmp_path}"))


def test_from_another_folder_and_without_torch(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{str(RUN)!r}, '--cfg', 'job', 'seed=5']\n"
        "try:\n"
        f"    runpy.run_path({str(RUN)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "heavy = {'torch', 'wandb', 'litellm', 'crafter', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    assert yaml.safe_load(done.stdout)["seed"] == 5
    assert list(tmp_path.iterdir()) == []


def test_a_python_without_the_package_is_told_how_to_get_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(RUN)], cwd=tmp_path, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "make install" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["schedule.scale=nan"], "schedule.scale=nan: allowed is a finite number"),
        (["ppo=null"], "ppo=null: allowed: ad | gru | laptop"),
        (["-m", "seed=interval(0,3)"], "an interval has no values"),
        (["-m", "ppo=glob(zz*)"], "fits no option; allowed: ad | gru | laptop"),
    ],
)
def test_what_no_run_can_mean_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
