"""The Gymnasium environments in other people's hands: copied, pickled, probed, wrapped, played by a person."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics

import envgen_exp.families.gymnasium
from envgen_exp.errors import ConfigError, DesignError, EngineError
from envgen_exp.families import make_playable
from envgen_exp.families.keywords import configure
from envgen_exp.families.vector import Buffers

assert envgen_exp.families.gymnasium  # importing it registers the environments

ROOT = Path(__file__).parents[1]
DESIGN = {"target_biome": "grassland", "starting_wood": 5}
MAZE = {"maze_size": "5x5", "locks": "none"}
KINDS = {
    "crafter": ("EnvGen/Crafter-v0", {"original_length": 12, "designed_length": 9}, DESIGN),
    "reference": ("EnvGen/Crafter-v0", {"original_length": 12, "designed_length": 9, "engine": "reference"}, DESIGN),
    "heist": ("EnvGen/Heist-v0", {"original_length": 12, "designed_length": 9, "pool_size": 4}, MAZE),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
}


def equal(one: Any, other: Any) -> bool:
    return data_equivalence(one, other, exact=True)


def make_vec(name: str, num_envs: int, **kwargs: Any) -> gymnasium.vector.VectorEnv:
    return gymnasium.make_vec(name, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


def moves(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, shape)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_go_on_as_the_original_does(kind: str, way: str) -> None:
    name, settings, design = KINDS[kind]
    env, envs = gymnasium.make(name, **settings), make_vec(name, 2, designs=[None, design], **settings)
    env.reset(seed=4)
    envs.reset(seed=4)
    for action in moves(7):
        env.step(action)
        envs.step(np.array([action, action]))
    again, both = COPIES[way](env), COPIES[way](envs)
    for action in moves(5):
        assert equal(env.step(action), again.step(action))
    assert equal(env.reset(options={"design": design}), again.reset(options={"design": design}))
    for actions in moves(15, 2):
        assert equal(envs.step(actions), both.step(actions))
    env.close()
    envs.close()
    assert equal(again.reset()[0], again.unwrapped._seen(again.unwrapped._out.obs))  # it lives on by itself
    both.step(moves(2))


def test_copies_before_the_first_reset_and_after_the_end() -> None:
    env, envs = gymnasium.make("EnvGen/Crafter-v0"), make_vec("EnvGen/Crafter-v0", 2)
    assert equal(copy.deepcopy(env).reset(seed=1), env.reset(seed=1))
    assert equal(copy.deepcopy(envs).reset(seed=1), envs.reset(seed=1))
    env.close()
    envs.close()
    with pytest.raises(EngineError, match="closed"):
        copy.deepcopy(env).reset()
    with pytest.raises(EngineError, match="closed"):
        copy.deepcopy(envs).reset()


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_is_copied_and_closed_as_often_as_one_likes(kind: str) -> None:
    _, settings, _ = KINDS[kind]
    family = make_playable(configure("heist" if kind == "heist" else "crafter", settings))
    vector = family.vector([None, family.default_designs(1)[0]], [1, 2])
    vector.reset(Buffers.zeros(family.observation_spec, 2).obs)
    other = copy.deepcopy(vector)
    assert [other.get_state(slot) for slot in (0, 1)] == [vector.get_state(slot) for slot in (0, 1)]
    for _ in range(2):
        vector.close()
    with pytest.raises(EngineError, match="closed"):
        vector.get_state(0)
    other.get_state(0)
    with pytest.raises(EngineError, match="worlds: 99, allowed are None and TRAIN"):
        family.vector([None], [1], 99)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_buffers_that_a_step_would_overwrite_are_refused(kind: str) -> None:
    _, settings, _ = KINDS[kind]
    family = make_playable(configure("heist" if kind == "heist" else "crafter", settings))
    vector, out = family.vector([None, None], [1, 2]), Buffers.zeros(family.observation_spec, 2)
    vector.reset(out.obs)
    before, still = vector.get_state(0), np.zeros(2, np.int64)
    flags = np.ones(2, np.bool_)
    with pytest.raises(EngineError, match="truncations: shares memory with terminations"):
        Buffers(out.obs, out.rewards, flags, flags)
    with pytest.raises(EngineError, match="active: shares memory with truncations"):
        vector.step(still, Buffers(out.obs, out.rewards, np.zeros(2, np.bool_), flags), active=flags)
    one = np.lib.stride_tricks.as_strided(np.zeros(1, np.bool_), (2,), (0,))
    with pytest.raises(EngineError, match="terminations: rows overlap"):
        vector.step(still, Buffers(out.obs, out.rewards, one, flags))
    assert vector.get_state(0) == before


@pytest.mark.parametrize("many", [False, True], ids=["single", "vector"])
def test_an_argument_that_there_is_not_is_a_type_error(many: bool) -> None:
    """TorchRL probes `frameskip` and reads the message."""
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'") as error:
        make_vec("EnvGen/Crafter-v0", 2, frameskip=1) if many else gymnasium.make("EnvGen/Crafter-v0", frameskip=1)
    assert isinstance(error.value, ConfigError)


@pytest.mark.parametrize("kind", ["crafter", "heist"])
def test_next_step_autoreset_is_gymnasium_s(kind: str) -> None:
    name, settings, design = KINDS[kind]
    envs = make_vec(name, 3, designs=[None, design], autoreset_mode="NextStep", **settings)
    assert envs.autoreset_mode is envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    makes = [lambda design=design: gymnasium.make(name, design=design, **settings) for design in (None, design, None)]
    sync = SyncVectorEnv(makes, autoreset_mode=AutoresetMode.NEXT_STEP)
    assert equal(envs.reset(seed=3), sync.reset(seed=3))
    ended = 0
    for number, actions in enumerate(moves(60, 3)):
        obs, rewards, *rest = envs.step(actions)
        theirs = sync.step(actions)
        assert equal([obs, rewards.astype(np.float64), *rest], [*theirs])
        ended += int((rest[0] | rest[1]).sum())
        if number == 37:  # resets show what waits, where something does
            assert (rest[0] | rest[1]).any()
            assert equal(envs.reset()[0], sync.reset()[0])
    assert ended > 10


def test_a_masked_reset_while_others_wait() -> None:
    settings = KINDS["crafter"][1]
    envs = make_vec("EnvGen/Crafter-v0", 2, autoreset_mode=AutoresetMode.NEXT_STEP, **settings)
    sync = SyncVectorEnv(
        [lambda: gymnasium.make("EnvGen/Crafter-v0", **settings)] * 2, autoreset_mode=AutoresetMode.NEXT_STEP
    )
    for both in (envs, sync):
        both.reset(seed=[1, 2])
    for actions in moves(12, 2):
        envs.step(actions)
        *_, truncations, _ = sync.step(actions)
    assert truncations.all()
    for both in (envs, sync):
        both.reset(seed=[9, None], options={"reset_mask": np.array([True, False])})
    for actions in moves(30, 2):
        assert equal(envs.step(actions)[0], sync.step(actions)[0])


def test_gymnasium_s_vector_wrappers_work() -> None:
    envs = make_vec("EnvGen/Heist-v0", 2, autoreset_mode=AutoresetMode.NEXT_STEP, max_episode_steps=5)
    wrapped = NormalizeObservation(RecordEpisodeStatistics(envs))
    wrapped.reset(seed=1)
    for _ in range(5):
        *_, truncations, infos = wrapped.step(np.full(2, 4))
    assert truncations.all()
    assert infos["episode"]["l"].tolist() == [5, 5]
    assert infos["skills"].shape == (2, len(envs.skills))
    with pytest.raises(ConfigError, match=r"autoreset_mode: .*DISABLED.*, allowed: SameStep, NextStep"):
        make_vec("EnvGen/Crafter-v0", 2, autoreset_mode=AutoresetMode.DISABLED)


def test_attributes_of_each_environment() -> None:
    envs = make_vec("EnvGen/Crafter-v0", 2, render_mode="rgb_array", size=27, original_length=3)
    envs.reset(seed=1)
    assert envs.get_attr("render_mode") == ("rgb_array",) * 2
    assert envs.get_attr("action_space") == (gymnasium.spaces.Discrete(17),) * 2
    assert envs.call("get_action_meanings")[1][:2] == ["noop", "move_left"]
    assert [picture.shape for picture in envs.call("render")] == [(27, 27, 3)] * 2
    assert envs.call("num_envs") == (2, 2)
    envs.set_attr("design", [None, DESIGN])
    assert [design is None for design in envs.get_attr("design")] == [True, False]
    for _ in range(1027):
        *_, infos = envs.step(np.zeros(2, np.int64))
        if "final_info" in infos and infos["final_info"]["design"][1] not in (None, "original"):
            break
    else:
        raise AssertionError("the design was never played")
    for call in (lambda: envs.set_attr("desing", None), lambda: envs.get_attr("desing"), lambda: envs.call("reset")):
        with pytest.raises(AttributeError):
            call()
    with pytest.raises(DesignError, match="3 for 2"):
        envs.set_attr("design", [None] * 3)


def test_a_design_that_is_set_is_played_from_the_next_reset_on() -> None:
    env, expected = (gymnasium.make("EnvGen/Crafter-v0", original_length=3).unwrapped for _ in range(2))
    for one in (env, expected):
        one.reset(seed=1)
    env.design = DESIGN
    assert equal(env.reset(), expected.reset(options={"design": DESIGN}))
    assert equal(env.reset(), expected.reset())


@pytest.mark.parametrize("kind", ["crafter", "heist"])
def test_a_person_can_play(kind: str) -> None:
    """What `gymnasium.utils.play` asks for, up to its window, which needs pygame."""
    env = gymnasium.make(KINDS[kind][0], render_mode="rgb_array")
    keys, names = env.get_wrapper_attr("get_keys_to_action")(), env.get_wrapper_attr("get_action_meanings")()
    assert len(names) == len(set(names)) == env.action_space.n
    assert all(action in env.action_space for action in keys.values())
    assert all(len(key) == 1 for held in keys for key in held)
    assert {names[keys[(key,)]].removeprefix("move_") for key in "wasd"} == {"up", "left", "down", "right"}
    if kind == "heist":
        assert names[keys[("a", "w")]] == "left_up"
    else:
        assert names[keys[(" ",)]] == "do"
        assert sorted(keys.values()) == list(range(1, 17))


class StandInVecEnv:
    """What Stable-Baselines3's VecEnv gives a subclass, for where the package is not installed."""

    def __init__(self, num_envs: int, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.num_envs, self.observation_space, self.action_space = num_envs, observation_space, action_space
        self._reset_seeds()
        self.render_mode = self.get_attr("render_mode")[0]

    def seed(self, seed: int) -> None:
        self._seeds = [seed + slot for slot in range(self.num_envs)]

    def _reset_seeds(self) -> None:
        self._seeds = [None] * self.num_envs

    def _get_indices(self, indices: Any) -> Any:
        return range(self.num_envs) if indices is None else [indices] if isinstance(indices, int) else indices

    def step(self, actions: np.ndarray) -> Any:
        self.step_async(actions)
        return self.step_wait()


def test_the_vec_env_of_stable_baselines_is_the_vector_without_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        importlib.import_module("stable_baselines3.common.vec_env")
    except ImportError:
        stand_in = types.SimpleNamespace(VecEnv=StandInVecEnv)
        for name in ("stable_baselines3", "stable_baselines3.common", "stable_baselines3.common.vec_env"):
            monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    name, settings, design = KINDS["crafter"]
    envs = importlib.import_module("sb3_vec_env").EngineVecEnv(name, 2, designs=[None, design], **settings)
    singles = [gymnasium.make(name, design=one, **settings) for one in (None, design)]
    envs.seed(5)
    seen = envs.reset()
    assert [equal(seen[slot], singles[slot].reset(seed=5 + slot)[0]) for slot in (0, 1)] == [True, True]
    returns, ends = np.zeros(2), []
    for actions in moves(40, 2):
        obs, rewards, dones, infos = envs.step(actions)
        assert obs is envs.envs._out.obs["pixels"]
        for slot, env in enumerate(singles):
            theirs, reward, terminated, truncated, info = env.step(actions[slot])
            returns[slot] += reward
            assert (dones[slot], rewards[slot]) == (terminated or truncated, np.float32(reward))
            if not dones[slot]:
                assert infos[slot] == {}
                assert equal(obs[slot], theirs)
                continue
            episode = infos[slot].pop("episode")
            assert episode["r"] == pytest.approx(returns[slot])
            assert equal(infos[slot].pop("terminal_observation"), theirs)
            assert infos[slot].pop("TimeLimit.truncated") == truncated
            assert equal(infos[slot], info)
            ends.append((slot, episode["l"]))
            returns[slot] = 0
            assert equal(obs[slot], env.reset()[0])
    assert ends[:2] == [(1, 9), (0, 12)]
    envs.set_attr("design", None, indices=1)
    assert envs.get_attr("design") == [None, None]
    assert envs.env_method("get_action_meanings", indices=[1])[0][0] == "noop"
    assert envs.env_is_wrapped(gymnasium.Wrapper) == [False, False]
    envs.close()
