"""The Gymnasium environments: Gymnasium's own checks, and what they leave open: seeds, designs, pictures."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from numpy.typing import NDArray

from envgen_exp.config import Engine, Observe
from envgen_exp.errors import ConfigError, DesignError, EngineError, EnvGenError
from envgen_exp.families.crafter import upstream
from envgen_exp.families.crafter.design import CrafterDesign
from envgen_exp.families.crafter.observation import NIGHT_BELOW
from envgen_exp.families.design import design_key
from envgen_exp.families.gymnasium import FamilyEnv
from envgen_exp.families.gymnasium_vector import FamilyVectorEnv
from envgen_exp.seeding import world_seed

ID = "EnvGen/Crafter-v0"
ROOT = Path(__file__).parents[1]
DESIGN = {"target_biome": "grassland", "starting_wood": 5, "purpose": "wood", "targets": ["collect_wood"]}
SHORT = {"designed_length": 25, "original_length": 40}
NOOP = 0


def make(**kwargs: Any) -> gymnasium.Env:
    return gymnasium.make(ID, **kwargs)


def make_vec(num_envs: int, **kwargs: Any) -> gymnasium.vector.VectorEnv:
    return gymnasium.make_vec(ID, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


def moves(*shape: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, len(upstream.ACTIONS), shape)


def equal(one: Any, other: Any) -> bool:
    return data_equivalence(one, other, exact=True)


def play(env: gymnasium.Env, actions: Sequence[int], seed: int | None = None) -> list[Any]:
    """Everything that an environment returns, resets included."""
    seen: list[Any] = [env.reset(seed=seed)]
    for action in actions:
        seen.append(env.step(action))
        if seen[-1][2] or seen[-1][3]:
            seen.append(env.reset())
    return seen


def test_registered_with_its_conventions() -> None:
    spec = gymnasium.spec(ID)
    assert not spec.nondeterministic
    assert spec.max_episode_steps is None
    env, envs = make(), make_vec(3)
    assert isinstance(env.unwrapped, FamilyEnv)
    assert isinstance(envs, FamilyVectorEnv)
    assert env.metadata["render_modes"] == envs.metadata["render_modes"] == ["rgb_array"]
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.unwrapped.skills == envs.skills == upstream.SKILLS
    assert (envs.num_envs, envs.spec.id) == (3, ID)


@pytest.mark.parametrize("observation", [observe.name for observe in Observe])
@pytest.mark.parametrize("engine", [engine.name for engine in Engine])
def test_check_env(engine: str, observation: str) -> None:
    env = make(engine=engine, observation=observation, design=DESIGN, render_mode="rgb_array", size=27)
    check_env(env.unwrapped)


def test_spaces() -> None:
    pixels, symbolic = make(), make(observation=Observe.symbolic)
    assert pixels.observation_space == gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert isinstance(symbolic.observation_space, gymnasium.spaces.Dict)
    assert set(symbolic.observation_space) == {"view", "inventory", "daylight"}
    assert pixels.action_space == gymnasium.spaces.Discrete(17)
    assert make_vec(3).action_space == gymnasium.spaces.MultiDiscrete([17, 17, 17])


def test_a_spec_makes_the_same_environment() -> None:
    env = make(observation="symbolic", design=DESIGN, **SHORT)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert equal(play(env, moves(60), seed=3), play(again, moves(60), seed=3))


def test_a_seed_plays_the_episodes_of_crafter_in_order() -> None:
    theirs, env = upstream.env.Env(seed=7), make(original_length=3)
    first, _ = env.reset(seed=7)
    np.testing.assert_array_equal(first, theirs.reset())
    env.step(NOOP)
    second, _ = env.reset()  # in the midst of an episode
    np.testing.assert_array_equal(second, theirs.reset())
    for _ in range(3):
        *_, truncated, info = env.step(NOOP)
    assert truncated
    assert info["world_seed"] == world_seed(7, 2)
    third, _ = env.reset()  # at an episode's end
    np.testing.assert_array_equal(third, theirs.reset())
    np.testing.assert_array_equal(env.reset(seed=7)[0], first)


def test_the_same_seed_and_actions_are_the_same_game() -> None:
    actions = moves(400)
    one, other, third = (play(make(**SHORT), actions, seed) for seed in (11, 11, 12))
    assert equal(one, other)
    assert not equal(one[0], third[0])


def test_without_a_seed_each_environment_draws_its_own() -> None:
    worlds = []
    for env in (make(original_length=1), make(original_length=1)):
        env.reset()
        worlds.append(env.step(NOOP)[-1]["world_seed"])
    for envs in (make_vec(2, original_length=1), make_vec(2, original_length=1)):
        envs.reset()
        worlds += envs.step([NOOP, NOOP])[-1]["final_info"]["world_seed"].tolist()
    assert len(set(worlds)) == 6


def test_np_random_decides_what_is_drawn_without_a_seed() -> None:
    one, other = make(), make()
    for env in (one, other):
        env.unwrapped.np_random = np.random.default_rng(5)
    assert equal(play(one, moves(50)), play(other, moves(50)))


@pytest.mark.parametrize("observation", [observe.name for observe in Observe])
def test_a_vector_is_its_environments_side_by_side(observation: str) -> None:
    settings = dict(observation=observation, **SHORT)
    designs = [None, DESIGN, CrafterDesign(target_biome="mountain")]
    envs = make_vec(4, designs=designs, **settings)
    singles = [functools.partial(make, design=designs[slot % 3], **settings) for slot in range(4)]
    sync = SyncVectorEnv(singles, autoreset_mode=AutoresetMode.SAME_STEP)
    assert envs.observation_space == sync.observation_space
    assert envs.action_space == sync.action_space
    assert equal(envs.reset(seed=3), sync.reset(seed=3))
    ended = 0
    for actions in moves(90, 4):
        obs, rewards, *rest = envs.step(actions)
        their_obs, their_rewards, *their_rest = sync.step(actions)
        assert rewards.dtype == np.float32
        assert equal([obs, rewards.astype(np.float64), *rest], [their_obs, their_rewards, *their_rest])
        ended += int(rest[2].get("_final_info", np.zeros(4)).sum())
    assert ended >= 10


def test_the_end_of_an_episode_tells_of_it() -> None:
    envs = RecordEpisodeStatistics(make_vec(2, designs=[DESIGN, None], **SHORT))
    envs.reset(seed=1)
    returns = np.zeros(2)
    for step, actions in enumerate(moves(25, 2), start=1):
        obs, rewards, _, truncations, infos = envs.step(actions)
        returns += rewards
        if step < 25:
            assert infos == {}
    assert truncations.tolist() == [True, False]
    assert infos["_final_info"].tolist() == infos["_final_obs"].tolist() == [True, False]
    final = infos["final_info"]
    assert final["skills"].shape == (2, 22)
    assert final["skills"].dtype == np.int64
    # Crafter pays 1 for the first time that a skill is shown, and takes or gives 0.1 for health.
    assert int((final["skills"][0] > 0).sum()) == round(returns[0])
    assert final["world_seed"][0] == world_seed(1, 1)
    read = CrafterDesign(target_biome="grassland", starting_wood=5)
    assert final["design"].tolist() == [design_key(read), None]
    assert infos["episode"]["l"].tolist() == [25, 0]
    assert infos["episode"]["r"][0] == pytest.approx(returns[0])
    assert infos["final_obs"][1] is None
    assert infos["final_obs"][0] in envs.single_observation_space
    assert not equal(infos["final_obs"][0], obs[0])


def test_infos_as_a_list() -> None:
    envs = DictInfoToList(make_vec(2, designs=[DESIGN, None], **SHORT))
    envs.reset(seed=1)
    for actions in moves(25, 2):
        *_, infos = envs.step(actions)
    assert infos[1] == {}
    assert set(infos[0]["final_info"]) == {"skills", "world_seed", "design"}


def test_every_call_returns_arrays_of_its_own() -> None:
    envs = make_vec(2, **SHORT)
    kept = [envs.reset(seed=1)[0], *(envs.step(actions)[0] for actions in moves(45, 2))]
    copies = [array.copy() for array in kept]
    for actions in moves(45, 2):
        envs.step(actions)
    assert all(np.array_equal(array, copy) for array, copy in zip(kept, copies, strict=True))


@pytest.mark.parametrize("finished", [False, True])
def test_a_design_for_the_next_episode_leaves_the_order_of_worlds(finished: bool) -> None:
    designed = make(design=DESIGN)
    designed.reset(seed=5)
    expected, _ = designed.reset()
    env = make(**SHORT)
    env.reset(seed=5)
    for action in [NOOP] * (40 if finished else 7):
        *_, truncated, _ = env.step(action)
    assert truncated == finished
    np.testing.assert_array_equal(env.reset(options={"design": DESIGN})[0], expected)
    for _ in range(25):
        *_, info = env.step(NOOP)
    assert info["world_seed"] == world_seed(5, 2)
    assert info["design"] != "original"
    env.reset()
    assert env.unwrapped.reset(seed=5, options={"design": None})[0].tobytes() == make().reset(seed=5)[0].tobytes()


def test_designs_of_a_vector_change_from_the_next_episode_on() -> None:
    envs = make_vec(2, **SHORT)
    envs.reset(seed=5)
    envs.unwrapped.set_design(1, DESIGN)
    found = []
    for _ in range(66):
        *_, infos = envs.step(np.zeros(2, np.int64))
        found += [(slot, infos["final_info"]["design"][slot]) for slot in np.flatnonzero(infos.get("_final_info", []))]
    key = design_key(CrafterDesign(target_biome="grassland", starting_wood=5))
    assert found == [(0, "original"), (1, "original"), (1, key)]
    obs, _ = envs.reset(options={"designs": [DESIGN, None]})
    fresh = make_vec(2, designs=[DESIGN, None])
    for _ in range(3):
        expected, _ = fresh.reset(seed=5 if _ == 0 else None)
    np.testing.assert_array_equal(obs[0], expected[0])


def test_a_masked_reset_leaves_the_others_alone() -> None:
    envs, undisturbed = (make_vec(3, observation="symbolic", **SHORT) for _ in range(2))
    for both in (envs, undisturbed):
        both.reset(seed=[1, 2, 3])
    before = moves(10, 3)
    for actions in before:
        last, *_ = envs.step(actions)
        undisturbed.step(actions)
    obs, _ = envs.reset(seed=[None, 8, 9], options={"reset_mask": np.array([True, True, False])})
    assert equal({name: array[2] for name, array in obs.items()}, {name: array[2] for name, array in last.items()})
    single = make(observation="symbolic", **SHORT)
    single.reset(seed=1)
    assert equal({name: array[0] for name, array in obs.items()}, single.reset()[0])
    assert equal({name: array[1] for name, array in obs.items()}, single.reset(seed=8)[0])
    for actions in moves(60, 3, seed=1):
        results, expected = envs.step(actions), undisturbed.step(actions)
        for one, other in zip(results[0].values(), expected[0].values(), strict=True):
            np.testing.assert_array_equal(one[2], other[2])
        assert [part[2] for part in results[1:4]] == [part[2] for part in expected[1:4]]


@pytest.mark.parametrize(("asked", "steps"), [(7, 7), (1000, 25)])
def test_max_episode_steps_bounds_the_engine_s_limit(asked: int, steps: int) -> None:
    env, envs = (
        make(max_episode_steps=asked, design=DESIGN, **SHORT),
        make_vec(1, max_episode_steps=asked, design=DESIGN, **SHORT),
    )
    env.reset(seed=2)
    envs.reset(seed=2)
    for step in range(1, steps + 1):
        obs, _, terminated, truncated, _ = env.step(NOOP)
        their_obs, _, terminations, truncations, infos = envs.step(np.array([NOOP]))
        assert (terminated, truncated) == (terminations[0], truncations[0]) == (False, step == steps)
    np.testing.assert_array_equal(infos["final_obs"][0], obs)
    np.testing.assert_array_equal(their_obs[0], env.reset()[0])  # both go on with the seed's second episode


@pytest.mark.parametrize("engine", [engine.name for engine in Engine])
def test_pictures_change_nothing_in_the_game_day_or_night(engine: str) -> None:
    steps = 180 if engine == "native" else 12
    watched, env = (make(engine=engine, render_mode=mode, size=(30, 45)) for mode in ("rgb_array", None))
    assert equal(watched.reset(seed=3), env.reset(seed=3))
    nights = 0
    for action in moves(steps, seed=3):
        assert equal(watched.step(action), env.step(action))
        picture = watched.render()
        assert (picture.shape, picture.dtype) == ((30, 45, 3), np.uint8)
        nights += env.unwrapped._vector.daylight()[0] < NIGHT_BELOW
    assert engine == "reference" or nights > 20


def test_a_picture_at_the_observation_s_size_is_the_observation() -> None:
    env = make(render_mode="rgb_array", size=64)
    obs, _ = env.reset(seed=4)
    np.testing.assert_array_equal(env.render(), obs)
    obs, *_ = env.step(NOOP)
    np.testing.assert_array_equal(env.render(), obs)
    envs = make_vec(2, render_mode="rgb_array", size=64)
    obs, _ = envs.reset(seed=4)
    np.testing.assert_array_equal(np.stack(envs.render()), obs)


def test_the_last_picture_of_an_episode_is_its_last_observation() -> None:
    env, symbolic = (make(observation=o, render_mode="rgb_array", size=128, **SHORT) for o in ("pixels", "symbolic"))
    for seed in (3, None):  # also in an episode that is not the seed's first
        env.reset(seed=seed)
        symbolic.reset(seed=seed)
        for action in moves(40):
            obs, _, _, truncated, _ = env.step(action)
            symbolic.step(action)
        assert truncated
        np.testing.assert_array_equal(env.render(), obs.repeat(2, 0).repeat(2, 1))
        np.testing.assert_array_equal(symbolic.render(), env.render())


def test_pictures_take_a_render_mode() -> None:
    env = make()
    env.reset(seed=1)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.unwrapped.render() is None


DESIGN_ERRORS: list[tuple[Any, str]] = [
    ({"target_bioome": "mountain"}, "no setting 'target_bioome'.*did you mean target_biome"),
    ({"target_biome": "desert"}, r"target_biome='desert', allowed: grassland \| mountain"),
    ({"starting_wood": 10}, "starting_wood=10, allowed: whole number from 0 to 9"),
    ({"starting_wood": "five"}, "starting_wood='five', allowed"),
    ({"starting_wood": np.int64(5)}, "starting_wood=.*5.*, allowed"),
    ({"starting_wood": float("nan")}, "starting_wood=nan, allowed"),
    ({"targets": "fly"}, "'fly' is not a skill"),
    ({"purpose": 3}, "purpose='3', allowed: a text"),
    ({3: 4}, "no setting '3'"),
    ("grassland", "got str"),
]


@pytest.mark.parametrize(("design", "message"), DESIGN_ERRORS)
def test_what_is_no_design_is_refused(design: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        make(design=design)
    with pytest.raises(DesignError, match=message):
        make_vec(2, designs=[None, design])
    env = make()
    first = env.reset(seed=1)
    with pytest.raises(DesignError, match=message):
        env.reset(options={"design": design})
    assert equal(env.reset(seed=1), first)


ARGUMENT_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"engine": "natvie"}, "engine: 'natvie', allowed: native, reference; did you mean native"),
    ({"observation": None}, "observation: None, allowed: pixels, symbolic"),
    ({"typical_episode": 9}, "unexpected keyword argument 'typical_episode'"),
    ({"originl_length": 9}, "unexpected keyword argument 'originl_length'.*did you mean original_length"),
    ({"original_length": 0}, "original_length: 0, allowed are whole numbers from 1"),
    ({"designed_length": 2.5}, "designed_length: 2.5"),
    ({"num_threads": -1}, "num_threads: -1"),
    ({"size": 0}, "size: 0"),
    ({"size": (1, 2, 3)}, "size"),
    ({"family": "pong"}, r"env.name=pong: there is none of this name; allowed: crafter \| driving \| heist"),
]


@pytest.mark.parametrize(("arguments", "message"), ARGUMENT_ERRORS)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    for made in (make, functools.partial(make_vec, 2)):
        with pytest.raises(ConfigError, match=message):
            made(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"design": DESIGN, "designs": [None]}, "one design for all slots or several"),
        ({"designs": []}, "designs: 0 for 2"),
        ({"designs": [None] * 3}, "designs: 3 for 2"),
        ({"designs": DESIGN}, "needs a list of designs, got dict"),
        ({"max_episode_steps": 0}, "max_episode_steps: 0"),
        ({"num_envs": 0}, "num_envs: 0"),
        ({"render_mode": "human"}, "render_mode: 'human', allowed are None and 'rgb_array'"),
    ],
)
def test_wrong_arguments_of_a_vector_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvGenError, match=message):
        FamilyVectorEnv(**{"num_envs": 2, "family": "crafter", **arguments})


def test_wrong_resets_are_refused() -> None:
    envs = make_vec(2)
    bad_masks = [[True, False], np.array([True]), np.array([1, 0]), np.array([False, False])]
    wrong: list[dict[str, Any]] = [
        *({"options": {"reset_mask": mask}} for mask in bad_masks),
        {"options": {"desings": []}},
        {"seed": -1},
        {"seed": [1]},
        {"seed": [1, "2"]},
    ]
    for arguments in wrong:
        with pytest.raises(EnvGenError):
            envs.reset(**arguments)
    with pytest.raises(EngineError, match="slot: 2 is not a slot"):
        envs.set_design(2, None)
    with pytest.raises(ConfigError, match=r"no option 'desing'.*did you mean design"):
        make().reset(options={"desing": None})


@pytest.mark.parametrize("action", [17, -1, 0.0, True, "noop", [1], None])
def test_a_wrong_action_changes_nothing(action: Any) -> None:
    env, undisturbed = make().unwrapped, make().unwrapped
    env.reset(seed=1)
    undisturbed.reset(seed=1)
    with pytest.raises(EngineError, match="action"):
        env.step(action)
    assert equal(env.step(5), undisturbed.step(5))
    envs = make_vec(2)
    envs.reset(seed=1)
    with pytest.raises(EngineError, match="action"):
        envs.step(np.array([action, action]))


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.int32])
def test_actions_and_seeds_are_whole_numbers_of_any_width(kind: Callable[[int], Any]) -> None:
    env, envs = make(), make_vec(1)
    env.reset(seed=kind(1))
    envs.reset(seed=kind(1))
    np.testing.assert_array_equal(env.step(kind(3))[0], envs.step(np.array([kind(3)]))[0][0])


def test_steps_need_a_running_episode_and_an_open_environment() -> None:
    env, envs = make(original_length=1, render_mode="rgb_array").unwrapped, make_vec(2, render_mode="rgb_array")
    for call in (lambda: env.step(0), env.render, lambda: envs.step([0, 0]), envs.render):
        with pytest.raises(ResetNeeded):
            call()
    env.reset(seed=1)
    env.step(0)
    with pytest.raises(ResetNeeded, match="over"):
        env.step(0)
    envs.reset(seed=1)
    for both in (env, envs):
        both.close()
        both.close()
    calls = (env.reset, lambda: env.step(0), env.render, envs.reset, lambda: envs.step([0, 0]), envs.render)
    for call in calls:
        with pytest.raises(EngineError, match="closed"):
            call()


def test_heist_is_one_more_family() -> None:
    """Heist's games are tested with its engine; this is the way to them."""
    heist = "EnvGen/Heist-v0"
    env = gymnasium.make(heist, mode="easy", original_length=30, render_mode="rgb_array", size=90)
    check_env(env.unwrapped)
    designs = [None, {"maze_size": "5x5", "locks": "none"}]
    envs = gymnasium.make_vec(heist, num_envs=2, designs=designs, max_episode_steps=30)
    assert (envs.observation_space.shape, envs.single_action_space.n) == ((2, 64, 64, 3), 15)
    expected, _ = envs.reset(seed=5)
    np.testing.assert_array_equal(env.reset(seed=5)[0], expected[0])
    np.testing.assert_array_equal(env.reset(seed=6, options={"design": designs[1]})[0], expected[1])
    for _ in range(30):
        *_, truncations, infos = envs.step(np.full(2, 4))  # stay
    assert truncations.tolist() == [True, True]
    assert infos["final_info"]["skills"].shape == (2, len(envs.skills))
    assert infos["final_info"]["design"][0] == "original" != infos["final_info"]["design"][1]
    with pytest.raises(ConfigError, match="Heist shows pixels alone"):
        gymnasium.make(heist, observation="symbolic")


PROBE = """
import hashlib, gymnasium, numpy as np
settings = dict(design={"target_biome": "beaches"}, designed_length=60)
env = gymnasium.make("envgen_exp.families.gymnasium:EnvGen/Crafter-v0", **settings)
digest = hashlib.sha256(env.reset(seed=21)[0])
for action in np.random.default_rng(0).integers(0, 17, 150):
    obs, reward, terminated, truncated, info = env.step(action)
    digest.update(obs.tobytes() + repr((reward, terminated, truncated, info)).encode())
    if terminated or truncated:
        digest.update(env.reset()[0].tobytes())
print(digest.hexdigest())
"""


def test_serves_away_from_the_checkout_with_the_same_games_in_every_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "error", "-c", PROBE]
    theirs = subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True, text=True)
    exec(PROBE, {})
    assert theirs.stdout == capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_page_s_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/gymnasium.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, "docs/gymnasium.md", "exec"), {})


def test_the_cleanrl_example_trains() -> None:
    example = load(ROOT / "examples/cleanrl_ppo.py")
    returns = example.train(example.Args(total_timesteps=800, num_envs=4, num_steps=100))
    assert set(returns) == {"designed", "original"}
    assert all(-1 < value < 22 for values in returns.values() for value in values)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
