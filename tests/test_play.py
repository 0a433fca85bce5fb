"""Playing with a run's agent: what is found is found again, films show what happened, exports play without us."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import runs
import torch
import yaml
from batch import Batch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_env import TinyVectorEnv

from envgen_exp.commands import play
from envgen_exp.commands.play import Player, main
from envgen_exp.config import Device, Observe, Precision
from envgen_exp.errors import ConfigError, DesignError
from envgen_exp.families import make_family
from envgen_exp.families.typed import parse_design
from envgen_exp.families.vector import VectorEnv
from envgen_exp.learners.ppo import export
from envgen_exp.learners.ppo.config import NETWORKS
from envgen_exp.learners.ppo.ppo import PPO
from envgen_exp.run import films as recording
from envgen_exp.run.films import BAR, FRAMES_PER_SECOND, SHOWN_FRAMES, SIZE, FilmedEnv
from envgen_exp.run.record import RunRecord
from envgen_exp.seeding import WorldSet, world_seed

FAMILY = make_family(runs.composed().env)

LENGTH = 40
"""Steps after which the original is truncated in the run of these tests."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    words = (
        *("designer=original", "cycles=1", "schedule.final_steps=100", "checkpoint.every_steps=100"),
        *(f"env.original_length={LENGTH}", f"env.designed_length={LENGTH}"),
        *("evaluation.report_episodes=1", "evaluation.feedback_seeds=2"),
    )
    return runs.once(tmp_path_factory, "play", lambda folder: runs.run(folder, *words))


@pytest.fixture(scope="module")
def player(folder: Path) -> Player:
    return Player.open(folder, Device.cpu)


@pytest.fixture(scope="module")
def watched(player: Player) -> tuple[Any, Any]:
    """Five episodes, two of them filmed."""
    return play.watch(player, None, num_episodes=5, seed=3, num_videos=2)


def test_the_same_seed_plays_the_same_episodes_filmed_or_not(player: Player, watched: tuple[Any, Any]) -> None:
    records, films = watched
    again, none = play.watch(player, None, num_episodes=5, seed=3, num_videos=0)
    assert again == records
    assert none == []
    one_more, same = play.watch(player, None, num_episodes=5, seed=3, num_videos=2)
    assert one_more == records
    for film, twin in zip(films, same, strict=True):
        assert (twin.title, twin.record, twin.unlocked) == (film.title, film.record, film.unlocked)
        assert alike(twin.data, film.data)
    other, _ = play.watch(player, None, num_episodes=5, seed=4, num_videos=0)
    assert {record.world_seed for record in other}.isdisjoint(record.world_seed for record in records)


def test_only_validation_worlds_are_played(watched: tuple[Any, Any]) -> None:
    assert {record.world_seed % 4 for record in watched[0]} == {int(WorldSet.VALIDATION)}


def test_films_show_the_evaluated_episodes(watched: tuple[Any, Any]) -> None:
    records, films = watched
    for slot, film in enumerate(films):
        record = next(record for record in records if (record.slot, record.episode) == (slot, 1))
        assert film.record == record
        assert set(film.unlocked) == {s for s, n in zip(FAMILY.skills, record.skills, strict=True) if n}
        frames, title = decoded(film.data)
        assert title == f"original, world {record.world_seed}"
        assert len(frames) == record.length + SHOWN_FRAMES
        assert frames[0].shape == (SIZE + BAR, SIZE, 3)
    assert not alike(films[0].data, films[1].data)


def test_the_first_episode_that_shows_a_skill_is_filmed(
    folder: Path, player: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    slots = player.config.evaluation.num_envs
    skill = FAMILY.skills.index("collect_wood")

    def first(records: Sequence[Any]) -> int:
        """The slot that shows it; weights differ in their last bits from machine to machine, and so what is shown."""
        return min((record.slot for record in records if record.skills[skill]), default=0)

    tried = ((seed, play.watch(player, None, slots, seed, 0)[0]) for seed in range(5, 50))
    seed, records = next((seed, records) for seed, records in tried if first(records))
    shown = first(records)
    command = [str(folder), "--seed", str(seed), "--device", "cpu", "--skill"]
    assert main([*command, "collect_wood"]) == 0
    printed = capsys.readouterr().out
    assert f"collect_wood: episode {shown + 1} of those played" in printed
    assert "score" not in printed
    told = json.loads((folder / "videos" / f"play-original-collect_wood-s{seed}-1.json").read_text())
    record = next(record for record in records if record.slot == shown)
    assert told["title"] == f"original, world {record.world_seed}"
    assert told["steps"] == record.length
    assert "collect_wood" in told["unlocked"]
    assert main([*command, "collect_wod"]) == 2
    assert "--skill collect_wod: no such skill; allowed: collect_coal |" in capsys.readouterr().err


def test_what_is_printed(folder: Path, player: Player, capsys: pytest.CaptureFixture[str]) -> None:
    design = "target_biome: mountain, starting_wood: 9"
    command = [str(folder), "--episodes", "4", "--seed", "5", "--videos", "1", "--design", design, "--device", "cpu"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    found = parse_design(design, FAMILY)
    records, _ = play.watch(player, found, num_episodes=4, seed=5, num_videos=0)
    shares = [sum(record.skills[i] > 0 for record in records) for i in range(len(FAMILY.skills))]
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    for skill, count in zip(FAMILY.skills, shares, strict=True):
        low, high = proportion_interval(count, 4)
        numbers = [float(number) for number in re.findall(r"[\d.]+", lines[skill])]
        assert numbers == pytest.approx([25 * count, 100 * low, 100 * high], abs=0.06)
    score = FAMILY.score({skill: n / 4 for skill, n in zip(FAMILY.skills, shares, strict=True)})
    assert f"score {score:.2f} % [" in printed
    assert "the run is finished" in printed
    assert "not a score of the original" in printed
    assert "starting_wood: 9" in printed
    (path,) = (Path(line.split()[1]) for line in printed.splitlines() if line.startswith("video: "))
    assert path.parent == folder / "videos"
    assert len(decoded(path.read_bytes())[0]) == records[0].length + SHOWN_FRAMES
    told = json.loads(path.with_suffix(".json").read_text())
    assert told["steps"] == records[0].length
    assert told["episode_return"] == pytest.approx(records[0].episode_return, abs=1e-3)
    assert told["whole"]
    assert set(told["unlocked"]) == {s for s, n in zip(FAMILY.skills, records[0].skills, strict=True) if n}


def proportion_interval(successes: int, episodes: int) -> tuple[float, float]:
    """Wilson's interval from its definition: the rates that a two-sided test at 5 % does not reject, by bisection."""
    rate, z = successes / episodes, 1.959963984540054

    def rejected(p: float) -> bool:
        return abs(rate - p) > z * math.sqrt(p * (1 - p) / episodes)

    ends = []
    for outside in (0.0, 1.0):
        inside = rate
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
        ends.append(inside)
    return ends[0], ends[1]


# Films


def decoded(data: bytes) -> tuple[list[NDArray[np.uint8]], str]:
    """The frames of an mp4, and its title."""
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], container.metadata["title"]


def alike(one: bytes, two: bytes) -> bool:
    """Whether two films show the same; the encoder is lossy, and not quite the same each time."""
    (ours, title), (theirs, other) = decoded(one), decoded(two)
    near = (np.abs(a.astype(int) - b).mean() < 1 for a, b in zip(ours, theirs, strict=False))
    return title == other and len(ours) == len(theirs) and all(near)


class CountingEnv(TinyVectorEnv):
    """The corridor, which counts skills as it goes and draws frames of one brightness: ten times the step."""

    def achievements(self) -> NDArray[np.int32]:
        return np.array([slot["counts"] for slot in self.slots], np.int32)

    def frame(self, slot: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        return np.full((*size, 3), 10 * self.slots[slot]["steps"], np.uint8)


def walk(env: VectorEnv, actions: Sequence[int]) -> None:
    """Take the same actions in all slots."""
    count = env.num_envs
    batch = Batch(env).reset()
    for action in actions:
        batch.step(np.full(count, action))


def test_a_skill_is_marked_in_the_step_that_shows_it() -> None:
    env = FilmedEnv(CountingEnv([None], [1], length=25), ["a film"], max_steps=99)
    walk(env, [0, 0, 0, 1, 2, *[0] * 20])
    (film,) = env.films
    assert film.unlocked == {"move": 4}
    frames, _ = decoded(film.data)
    assert len(frames) == 25 + SHOWN_FRAMES
    marked = [bool(frame[BAR + 1, 1, 1] > frame[BAR + 1, 1, 0] + 60) for frame in frames]
    assert [index for index, mark in enumerate(marked) if mark] == list(range(4, 4 + SHOWN_FRAMES))
    steps = [round(float(frame[BAR:][100:200, 100:200].mean()) / 10) for frame in frames]
    assert steps == [*range(25), *[24] * SHOWN_FRAMES]  # the last step has no picture: the next episode has begun


def test_without_counts_and_frames_the_observation_is_filmed_and_skills_are_marked_at_the_end() -> None:
    env = FilmedEnv(TinyVectorEnv([None], [1], observation="pixels", length=9), ["a film"], max_steps=99)
    walk(env, [1, 2, *[0] * 7])
    (film,) = env.films
    assert film.unlocked == {"move": 9}
    frames, _ = decoded(film.data)
    assert len(frames) == 9 + SHOWN_FRAMES
    assert frames[0].shape == (4 * 64 + BAR, 4 * 64, 3)
    door = 0 if world_seed(1, 1) // 4 % 2 else 8
    yellow = [int(cell) for cell in np.flatnonzero(frames[0][BAR + 100, 14::28, :2].min(axis=1) > 150)[:9]]
    assert yellow == []  # player and door in different cells
    green = [int(cell) for cell in np.flatnonzero(frames[0][BAR + 100, 14 : 9 * 28 : 28, 1] > 150)]
    assert green == [door]


def test_what_shows_nothing_is_not_filmed() -> None:
    with pytest.raises(ConfigError, match="neither draws frames nor shows"):
        FilmedEnv(TinyVectorEnv([None], [1], observation="vector"), ["a film"], max_steps=9)


def test_a_slot_that_waits_is_not_filmed() -> None:
    env = FilmedEnv(CountingEnv([None, None], [1, 2], length=9), ["one", "two"], max_steps=99)
    batch = Batch(env).reset()
    for step in range(18):
        active = np.array([step % 2 == 0, step % 2 == 1])
        batch.step([0, 0], active)
    assert [len(decoded(film.data)[0]) for film in env.films] == [9 + SHOWN_FRAMES] * 2


def test_films_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    env = FilmedEnv(CountingEnv([None, None], [1, 2]), ["one", "two"], max_steps=3)
    walk(env, [0] * 10)
    assert [len(decoded(film.data)[0]) for film in env.films] == [4, 4]
    assert [film.record for film in env.films] == [None, None]
    late = FilmedEnv(CountingEnv([None], [1]), ["late"], max_steps=99, max_seconds=0.0)
    walk(late, [0] * 10)
    assert len(decoded(late.films[0].data)[0]) == 1
    assert 0 < late.seconds < 1
    monkeypatch.setattr(recording, "MAX_BYTES", 1)
    large = FilmedEnv(CountingEnv([None], [1], length=500), ["large"], max_steps=499)
    walk(large, [0] * 499)
    assert 1 < len(decoded(large.films[0].data)[0]) < 499


def test_a_film_that_has_used_half_of_its_time_draws_fewer_steps_each_at_its_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    class Slow(CountingEnv):
        def frame(self, slot: int, size: tuple[int, int]) -> NDArray[np.uint8]:
            nonlocal now
            now += 1.0
            return super().frame(slot, size)

    monkeypatch.setattr(recording, "time", SimpleNamespace(perf_counter=lambda: now))
    env = FilmedEnv(Slow([None], [1], length=40), ["a film"], max_steps=99, max_seconds=16.0)
    walk(env, [0] * 40)
    (film,) = env.films
    assert film.record is not None
    with av.open(io.BytesIO(film.data)) as container:
        stream = container.streams.video[0]
        moments = [round(frame.pts * stream.time_base * FRAMES_PER_SECOND) for frame in container.decode(stream)]
    assert moments == [*range(9), 33, *range(40, 40 + SHOWN_FRAMES)]


def test_a_film_shows_a_whole_episode_or_is_left_out(tmp_path: Path) -> None:
    short, cut = (FilmedEnv(CountingEnv([None], [1], length=length), [f"{length}"], max_steps=12) for length in (9, 25))
    late = FilmedEnv(CountingEnv([None], [1], length=9), ["late"], max_steps=12, max_seconds=0.0)
    for env in (short, cut, late):
        walk(env, [0] * 30)
    written = recording.write_films([*cut.films, *short.films, *late.films], tmp_path, "x")
    assert written == {tmp_path / "x-2.mp4": short.films[0]}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x-2.json", "x-2.mp4"]


class FailingEnv(CountingEnv):
    """Draws three frames."""

    def frame(self, slot: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        if self.slots[slot]["steps"] == 3:
            raise RuntimeError("no\nframe")
        return super().frame(slot, size)


def test_a_film_that_fails_is_one_warning_and_the_play_goes_on() -> None:
    told: list[str] = []
    env = FilmedEnv(FailingEnv([None, None], [1, 2]), ["one", "two"], max_steps=99, warn=told.append)
    walk(env, [0] * 10)
    assert told == ["no more films: RuntimeError: no frame"]
    assert env.films == []
    with pytest.raises(RuntimeError, match="no"):
        walk(FilmedEnv(FailingEnv([None], [1]), ["one"], max_steps=99), [0] * 10)


# Exports

LOADER = """
import sys
sys.modules["envgen_exp"] = None  # whoever imports it fails
import importlib, json, os, pathlib
import torch
torch.set_num_threads(1)
found = {}
for folder in sys.argv[2:]:
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.modules.pop("agent", None)
    importlib.invalidate_caches()
    agent = importlib.import_module("agent")
    assert pathlib.Path(agent.__file__).parent == pathlib.Path(folder)
    loaded = agent.load()
    obs = torch.load("obs.pt", weights_only=True)
    with torch.inference_mode():
        logits, values = loaded(obs)
    actions = agent.act(loaded, {name: x.numpy() for name, x in obs.items()}, torch.Generator().manual_seed(7))
    exec(pathlib.Path("README.md").read_text().split("```python\\n")[1].split("```")[0], {})
    found[folder] = {"logits": logits, "values": values, "actions": torch.from_numpy(actions)}
    sys.path.remove(folder)
torch.save(found, sys.argv[1])
foreign = {name.split(".")[0] for name in sys.modules} & {"crafter", "hydra", "omegaconf", "pydantic", "yaml", "wandb"}
assert not foreign, foreign
"""

CASES = [(network, Precision.float32) for network in NETWORKS.names if network != "dedieu"]
CASES += [("tiny", Precision.bfloat16)]
"""The large one takes seconds to make; test_gru.py exports a narrow one."""


def test_an_export_gives_the_same_logits_without_us(tmp_path: Path) -> None:
    expected = {}
    for network, precision in CASES:
        observe = Observe.symbolic if network in ("symbolic", "symmetric") else Observe.pixels
        family = make_family(dataclasses.replace(runs.composed().env, observation=observe))
        memory = 32 * (network == "symmetric")
        config = dataclasses.replace(runs.composed().ppo, network=network, precision=precision, memory=memory)
        spec = family.observation_spec
        cpu = torch.device("cpu")
        learner = PPO.create(config, spec, family.num_actions, seed=2, device=cpu, symmetry=family.symmetry)
        generator = torch.Generator().manual_seed(1)
        obs = {
            name: torch.from_numpy(
                (part.high * torch.rand(4, *part.shape, generator=generator).numpy()).astype(part.dtype)
            )
            for name, part in spec.items()
        }
        with torch.no_grad():
            for weight in learner.agent.parameters():  # biases are zero at first
                weight.add_(0.01 * torch.randn(weight.shape, generator=generator))
        folder = tmp_path / f"{network}-{precision.name}"
        export.export(learner, family, folder, origin="an agent of a test")
        torch.save(obs, folder / "obs.pt")
        with torch.inference_mode():
            logits, values = learner.agent(obs)
        arrays = {name: x.numpy() for name, x in obs.items()}
        actions = export.act(learner.agent, arrays, torch.Generator().manual_seed(7))
        expected[str(folder)] = {"logits": logits, "values": values, "actions": torch.from_numpy(actions)}
        assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "agent.py", "README.md", "obs.pt"}
    command = [sys.executable, "-c", LOADER, str(tmp_path / "found.pt"), *expected]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert runs.flat(found) == runs.flat(expected)
    different = {one["logits"].numpy().tobytes() for one in found.values()}
    assert len(different) == len(CASES) - 1  # what auto chooses is one of the others


def test_an_export_of_a_run(folder: Path, player: Player, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--episodes", "0", "--export", str(tmp_path / "out")]) == 0
    assert "exported" in capsys.readouterr().out
    loaded = export.load(tmp_path / "out" / "weights.safetensors")
    assert runs.flat(dict(loaded.state_dict())) == runs.flat(dict(player.learner.ppo.agent.state_dict()))
    readme = (tmp_path / "out" / "README.md").read_text()
    assert player.origin in readme
    document = yaml.safe_load((folder / "config.yaml").read_text())
    found = RunRecord(folder).summary
    assert found is not None
    assert f"Score {found.score:.2f} % (95 % interval {found.score_low:.2f} to {found.score_high:.2f})" in readme
    assert all(f"| {skill} |" in readme for skill in found.skills)
    assert f"- processor: {document['origin']['processor']}" in readme
    assert yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0]) == document["config"]
    assert main([str(folder), "--episodes", "0", "--export", str(tmp_path / "out")]) == 0  # over its own
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "README.md").write_text("mine")
    assert main([str(folder), "--episodes", "0", "--export", str(tmp_path / "clone")]) == 2
    assert "README.md is there, and no agent that was exported" in capsys.readouterr().err
    assert (tmp_path / "clone" / "README.md").read_text() == "mine"
    assert yaml.safe_load(readme.split("---")[1])["tags"] == ["reinforcement-learning", "crafter"]


def test_safetensors_are_as_the_format_says() -> None:
    data = export.safetensors({"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3)}, {"agent": "{}"})
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    assert json.loads(data[8 : 8 + size]) == {
        "__metadata__": {"agent": "{}"},
        "a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        "b": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]},
    }
    assert data[8 + size :] == np.array([1, 2], np.float32).tobytes() + np.int64(3).tobytes()


# What can't be


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{missing}"], "is not a folder"),
        (["{empty}"], "is not a run's folder"),
        ([], "required: folder"),
        (["{run}", "--episodes", "-1"], "argument --episodes: '-1' is not a whole number from 0"),
        (["{run}", "--episodes", "many"], "'many' is not a whole number"),
        (["{run}", "--device", "tpu"], "invalid choice: 'tpu'"),
        (["{run}", "--desing", "x: y"], "unrecognized arguments"),
        (["{run}", "--design", "iron_rarity: none"], "iron_rarity='none', allowed: very common | common | rare"),
        (["{run}", "--design", "iron_rarit: rare"], "did you mean iron_rarity?"),
        (["{run}", "--design", "mountains"], "neither a file nor settings like 'target_biome: natural"),
        (["{run}", "--episodes", "0", "--export", "{empty}/file"], "can't write"),
    ],
)
def test_one_line_for_what_cannot_be(
    arguments: list[str], says: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "file").write_text("")
    places = {"run": folder, "missing": tmp_path / "missing", "empty": tmp_path / "empty"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("envgen: error: ")
    assert error.count("\n") == 1


def test_unfinished_runs_and_damaged_checkpoints(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    older, newer = sorted((copy / "checkpoints").glob("*.pt"))
    newer.write_bytes(newer.read_bytes()[:-1])
    assert main([str(copy), "--episodes", "0"]) == 0
    printed = capsys.readouterr().out
    assert f"checkpoint {int(older.stem)} of {copy}" in printed
    assert f"passed over: checkpoint {newer} is damaged" in printed
    assert "the run is not finished: 5 of 6 phases done, report-evaluation is next" in printed
    older.unlink()
    assert main([str(copy)]) == 2
    assert "no checkpoint in" in capsys.readouterr().err
    shutil.rmtree(copy / "checkpoints")
    assert main([str(copy)]) == 2
    assert "has no checkpoint any more, and so no agent" in capsys.readouterr().err
    for phase in sorted((copy / "phases").iterdir())[1:]:
        phase.unlink()
    assert main([str(copy)]) == 2
    assert "has no checkpoint yet; to go on: " in capsys.readouterr().err


# Designs as they are typed


def test_a_design_can_be_typed_or_in_a_file(tmp_path: Path) -> None:
    wanted = FAMILY.design_model(target_biome="mountain", coal_rarity="very common", starting_wood=9)  # type: ignore[call-arg]
    inline = "target_biome: mountain, coal_rarity: very common, starting_wood: 9"
    written = tmp_path / "design.json"
    written.write_text(json.dumps(wanted.settings()))
    lines = tmp_path / "design.yaml"
    lines.write_text(inline.replace(", ", "\n"))
    whole = written.read_text()  # longer than a file's name can be
    for text in (inline, f"{{{inline}}}", inline.replace(", ", "\n"), whole, str(written), str(lines)):
        assert parse_design(text, FAMILY).settings() == wanted.settings()
    (tmp_path / "image.png").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DesignError, match="can't be read"):
        parse_design(str(tmp_path / "image.png"), FAMILY)
    assert parse_design("targets: [collect_coal], purpose: coal", FAMILY).targets == ("collect_coal",)


@given(st.text(max_size=60) | st.from_regex(r"[a-z_]{1,12}: ?[a-z0-9.\[\]{}!&*,]{0,12}"))
@settings(max_examples=60, deadline=None)
def test_what_is_no_design_is_refused(text: str) -> None:
    with contextlib.suppress(DesignError):  # and nothing else
        assert isinstance(parse_design(text, FAMILY), FAMILY.design_model)
