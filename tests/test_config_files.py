"""Every file of conf/ composes, says what it is, and comes back from a run's folder as it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from envgen_exp.commands.compose import CONF, compose_run, compose_sweep
from envgen_exp.commands.explain import groups_of
from envgen_exp.commands.help import gloss
from envgen_exp.config import RunConfig
from envgen_exp.errors import ConfigError, RunFolderError, SecretError
from envgen_exp.guard.frozen import plain
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.identity import identity
from envgen_exp.run.record import RunRecord

FILE = Path(__file__).parents[1] / "examples" / "designs.yaml"


@pytest.fixture(scope="module")
def needs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What an option can't be composed without."""
    earlier = save(compose_run(["seed=7", f"folder={tmp_path_factory.mktemp('earlier') / 'run'}"]))
    (earlier / "phases").mkdir()
    for cycle in (1, 2, 3):
        (earlier / "phases" / f"{cycle - 1:03d}-cycle{cycle}-evaluate.json").write_text('{"skills": {"seeds": [0, 1]}}')
    placebo, human = ["designer.placebo=another", f"designer.placebo_from={earlier}"], [f"designer.file={FILE}"]
    return {
        "llm=replay": ["llm.replay_from=runs/earlier"],
        "designer=placebo": placebo,
        "arm=placebo_another": placebo,
        "designer=human": human,
        "arm=human": human,
    }


OPTIONS = [f"{group}={file.stem}" for group in groups_of(CONF) for file in sorted((CONF / group).glob("*.yaml"))]


def save(config: RunConfig) -> Path:
    """The folder of a run with this config, as a run would make it."""
    assert config.folder is not None
    RunFolder.create(config, command="python run.py", versions={}, chosen={}).close()
    return Path(config.folder)


@pytest.mark.parametrize("option", OPTIONS)
def test_composes_and_comes_back_from_a_folder(option: str, needs: dict[str, list[str]], tmp_path: Path) -> None:
    config = compose_run([option, f"folder={tmp_path / 'run'}", *needs.get(option, [])])
    loaded = RunRecord(save(config)).config
    assert loaded == config
    assert type(loaded.env) is type(config.env)
    assert type(loaded.designer) is type(config.designer)
    group, name = option.split("=")
    section = plain(config).get(group)
    if section is not None and "name" in section:
        assert section["name"] == name


@pytest.mark.parametrize("option", OPTIONS)
def test_begins_with_what_it_is(option: str) -> None:
    group, name = option.split("=")
    assert gloss(CONF / group / f"{name}.yaml")


@pytest.mark.parametrize("experiment", [option for option in OPTIONS if option.startswith("experiment=")])
def test_an_experiment_begins_with_a_command_that_composes(experiment: str) -> None:
    name = experiment.split("=")[1]
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    command = next(line for line in lines if line.startswith("# python run.py"))
    words = command.removeprefix("# python run.py").split()
    assert experiment in words
    assert lines.index(command) <= 1
    if "-m" in words:
        assert len(compose_sweep(["seed=0,1", *(word for word in words if word != "-m")]).runs) > 1
    else:
        compose_run(words)


def test_every_file_belongs_to_a_group() -> None:
    files = {path.relative_to(CONF) for path in CONF.rglob("*") if path.is_file()}
    assert {path for path in files if path.suffix != ".yaml"} == set()
    assert {path.parent.parts[0] for path in files if path != Path("config.yaml")} == {*groups_of(CONF), "hydra"}


def test_the_defaults() -> None:
    config = compose_run([])
    assert (config.env.name, config.designer.name, config.llm.name, config.ppo.name) == (
        "crafter",
        "adaptive",
        "offline",
        "laptop",
    )
    assert config.schedule == compose_run(["scale=paper"]).schedule
    steps = config.schedule
    assert config.cycles * (steps.designed_steps + steps.original_steps) + steps.final_steps == 1_960_000


def test_what_is_typed_wins_over_an_experiment_and_that_over_its_groups() -> None:
    demo, scale = compose_run(["experiment=demo"]), compose_run(["scale=demo"])
    assert demo.schedule == scale.schedule != compose_run([]).schedule
    assert compose_run(["experiment=demo", "schedule.final_steps=5"]).schedule.final_steps == 5
    assert compose_run(["schedule.final_steps=5", "experiment=demo"]).schedule.final_steps == 5
    assert compose_run(["experiment=paper"]).ppo == compose_run(["ppo=paper"]).ppo
    assert compose_run(["experiment=paper", "ppo=laptop"]).ppo == compose_run(["ppo=laptop"]).ppo


def test_a_frozen_config_cannot_be_changed() -> None:
    config = compose_run([])
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.ppo.gamma = 0.5  # type: ignore[misc]


# Files that a person got wrong


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cycels: 3", ["/experiment/mine.yaml: cycels", "did you mean cycles?"]),
        ("ppo:\n  gama: 0.9", ["/experiment/mine.yaml: ppo.gama", "did you mean ppo.gamma?"]),
        ("cycles: many", ["/experiment/mine.yaml: cycles=many", "a whole number"]),
        ("seed: null", ["/experiment/mine.yaml: seed=null", "a whole number"]),
        ("device: gpu", ["/experiment/mine.yaml: device=gpu", "auto | cpu | cuda"]),
        ("ppo: 3", ["/experiment/mine.yaml", "PPOConfig"]),
        ("- a", ["/experiment/mine.yaml"]),
        ("cycles: [1", ["mine.yaml line"]),
        ("cycles: 1\ncycles: 2", ["mine.yaml line 3", "duplicate key cycles"]),
        ("defaults:\n  - override /ppo: papr", ["ppo=papr", "did you mean paper?"]),
        ("defaults:\n  - override /pppo: paper", ["/experiment/mine.yaml: pppo", "did you mean ppo?"]),
        ("defaults:\n  - /ppo: smoke", ["override"]),
        ("cycles: 0", ["cycles=0", "1 or more"]),
        ("seed: ${oc.env:NOT_SET_ANYWHERE}", ["seed", "NOT_SET_ANYWHERE"]),
    ],
)
def test_a_wrong_file_gives_one_line(text: str, says: list[str], tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        compose_run([f"hydra.searchpath=[{tmp_path}]", "experiment=mine"])
    line = str(caught.value)
    assert "\n" not in line
    assert "conf/" not in line
    for words in says:
        assert words in line


def test_a_key_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ntracker:\n  tags: [a, sk-abcdefghijklmnop0123456789]\n"
    )
    with pytest.raises(SecretError, match=r"^tracker.tags holds a key") as caught:
        compose_run([f"hydra.searchpath=[{tmp_path}]", "experiment=mine"])
    assert "sk-" not in str(caught.value)


# Resume


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(compose_run(["ppo=paper", "ppo.gamma=0.9", "cycles=2", f"folder={tmp_path / 'run'}"]))


def test_resume_takes_the_folders_config(folder: Path) -> None:
    config = compose_run([f"resume={folder}"])
    assert (config.ppo.name, config.ppo.gamma, config.cycles) == ("paper", 0.9, 2)
    assert (config.resume, config.folder) == (str(folder), None)
    assert identity(config) == identity(RunRecord(folder).config)


def test_resume_changes_what_is_typed_alone(folder: Path) -> None:
    config = compose_run([f"resume={folder}", "tracker=none", "checkpoint.every_steps=7", "num_threads=3"])
    assert config.tracker.kind.name == "none"
    assert (config.checkpoint.every_steps, config.num_threads, config.ppo.gamma) == (7, 3, 0.9)
    assert identity(config) == identity(RunRecord(folder).config)


@pytest.mark.parametrize(
    ("typed", "key", "value"),
    [
        ("ppo.gamma=0.5", "gamma", 0.5),
        ("ppo=paper", "gamma", 0.95),
        ("ppo=laptop", "name", "laptop"),
        ("debug=smoke", "name", "smoke"),
    ],
)
def test_what_is_typed_on_resume_shows_in_the_identity(folder: Path, typed: str, key: str, value: object) -> None:
    config = compose_run([typed, f"resume={folder}"])
    assert getattr(config.ppo, key) == value
    assert identity(config) != identity(RunRecord(folder).config)


def test_typing_the_first_command_again_is_no_change(tmp_path: Path) -> None:
    command = ["experiment=demo", "ppo=paper", "ppo.gamma=0.9", "seed=3"]
    folder = save(compose_run([*command, f"folder={tmp_path / 'run'}"]))
    assert identity(compose_run([*command, f"resume={folder}"])) == identity(compose_run(command))


@pytest.mark.parametrize(
    ("typed", "says"),
    [("cycels=3", "did you mean cycles?"), ("cycles=0", "1 or more"), ("ppo=papr", "paper"), ("folder=x", "folder")],
)
def test_wrong_words_on_resume_are_refused(folder: Path, typed: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        compose_run([f"resume={folder}", typed])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cycles": "many"}, "cycles=many"),
        ({"cykles": 3}, "cykles"),
        ({"ppo": {"nme": "x"}}, "ppo"),
        ({"ppo": None}, "ppo"),
    ],
)
def test_a_damaged_config_yaml_is_refused(folder: Path, change: dict[str, object], says: str) -> None:
    document = yaml.safe_load((folder / "config.yaml").read_text())
    document["config"] |= change
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(RunFolderError, match=says) as caught:
        compose_run([f"resume={folder}"])
    assert "\n" not in str(caught.value)
