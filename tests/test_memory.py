"""Recurrent PPO: the memory against independent derivations, its way through a run, and a game that needs it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_rl_agent import NUM_ACTIONS, SYMBOLS, observations, shake
from test_rl_ppo import CPU, reports_equal, through_a_file
from test_symmetry import mirrored_view
from tiny_env import BEST_RETURN, SPECS, TinyVectorEnv
from torch import nn

from envgen_exp.errors import ConfigError
from envgen_exp.families.crafter.observation import SYMMETRY
from envgen_exp.families.symmetry import FLIPS, images
from envgen_exp.learners.ppo import export, ppo
from envgen_exp.learners.ppo.agent import Agent
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.evaluate import evaluate
from envgen_exp.learners.ppo.memory import Memory
from envgen_exp.learners.ppo.ppo import PPO, make_agent
from envgen_exp.learners.ppo.rollout import RolloutBuffer, collect, finish
from envgen_exp.learners.ppo.training import TrainingPhase

CONFIG = PPOConfig(
    name="test", network="tiny", memory=16, num_envs=16, num_steps=16, num_minibatches=4, learning_rate=3e-3, gamma=0.9
)


class ForgetfulCorridor(TinyVectorEnv):
    """A corridor whose door and player are in view in an episode's first observation alone."""

    def _draw(self, slot: dict[str, Any], obs: Any, index: int) -> None:
        super()._draw(slot, obs, index)
        obs["cells"][index] *= slot["steps"] == 0


def corridor(num_envs: int, first_seed: int = 0, length: int = 9) -> ForgetfulCorridor:
    return ForgetfulCorridor([None] * num_envs, range(first_seed, first_seed + num_envs), length=length)


def learner_of(config: PPOConfig, seed: int = 0) -> PPO:
    return PPO.create(config, SPECS["vector"], 3, seed, CPU)


def made(num_features: int = 5, size: int = 4, seed: int = 0) -> Memory:
    memory = Memory(((1,),), num_features, size, torch.Generator().manual_seed(seed))
    shake(memory)
    return memory


def test_the_memory_is_a_gated_recurrent_unit_with_a_skip_around_it() -> None:
    memory = made()
    reference = nn.GRU(4, 4)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(memory.seen[0].T)
        reference.weight_hh_l0.copy_(memory.kept[0].T)
        reference.bias_ih_l0.copy_(memory.seen_bias)
        reference.bias_hh_l0.copy_(torch.cat([torch.zeros(8), memory.kept_bias]))
    generator = torch.Generator().manual_seed(2)
    features, state = torch.randn(6, 3, 5, generator=generator), torch.randn(3, 4, generator=generator)
    seen = (memory.norm(features) @ memory.linear[0] + memory.linear_bias).relu()
    states, last = reference(seen, state.unsqueeze(0))
    with torch.inference_mode():
        joined, after = memory(features.flatten(0, 1), state, torch.zeros(6, 3, dtype=torch.bool))
    torch.testing.assert_close(joined, torch.cat([features, states.relu()], 2).flatten(0, 1))
    torch.testing.assert_close(after, last[0])


def test_gradients_go_back_through_time_but_not_past_a_reset() -> None:
    memory = made().double()
    rng = np.random.default_rng(0)
    features, before, weights = rng.normal(size=(3, 2, 5)), rng.normal(size=(2, 4)), rng.normal(size=(3, 2, 4))
    starts = np.array([[False, False], [True, False], [False, False]])  # the first row begins anew in the second step
    given = torch.from_numpy(features.reshape(6, 5)).requires_grad_()
    state = torch.from_numpy(before).requires_grad_()
    joined, _ = memory(given, state, torch.from_numpy(starts))
    (joined[:, 5:] * torch.from_numpy(weights.reshape(6, 4))).sum().backward()

    # The same by hand: forwards, then backwards step by step.
    w = {name: parameter.detach().numpy() for name, parameter in memory.named_parameters()}
    mean, std = features.mean(-1, keepdims=True), np.sqrt(features.var(-1, keepdims=True) + 1e-5)
    normed = (features - mean) / std
    inner = (normed * w["norm.weight"] + w["norm.bias"]) @ w["linear"][0] + w["linear_bias"]
    seen = np.maximum(inner, 0)
    steps, now = [], before
    for t in range(3):
        kept = now * ~starts[t][:, None]
        a, b = seen[t] @ w["seen"][0] + w["seen_bias"], kept @ w["kept"][0]
        r, z = 1 / (1 + np.exp(-a[:, :4] - b[:, :4])), 1 / (1 + np.exp(-a[:, 4:8] - b[:, 4:8]))
        m = b[:, 8:] + w["kept_bias"]
        n = np.tanh(a[:, 8:] + r * m)
        now = (1 - z) * n + z * kept
        steps.append((kept, r, z, m, n, now))
    d_kept_weights, d_kept_bias, d_seen = np.zeros((4, 12)), np.zeros(4), np.zeros((3, 2, 12))
    d_now: NDArray[np.float64] = np.zeros((2, 4))
    for t in (2, 1, 0):
        kept, r, z, m, n, now = steps[t]
        d_now = d_now + weights[t] * (now > 0)
        d_n = d_now * (1 - z) * (1 - n**2)
        d_z = d_now * (kept - n) * z * (1 - z)
        d_r = d_n * m * r * (1 - r)
        d_gates = np.concatenate([d_r, d_z, d_n * r], axis=1)
        d_seen[t] = np.concatenate([d_r, d_z, d_n], axis=1)
        d_kept_weights += kept.T @ d_gates
        d_kept_bias += (d_n * r).sum(0)
        d_now = (d_now * z + d_gates @ w["kept"][0].T) * ~starts[t][:, None]
    d_inner = (d_seen @ w["seen"][0].T) * (inner > 0)
    d_normed = (d_inner @ w["linear"][0].T) * w["norm.weight"]
    d_features = (
        d_normed - d_normed.mean(-1, keepdims=True) - normed * (d_normed * normed).mean(-1, keepdims=True)
    ) / std
    assert given.grad is not None
    assert state.grad is not None
    for found, expected in (
        (memory.kept.grad, d_kept_weights[None]),
        (memory.kept_bias.grad, d_kept_bias),
        (memory.seen.grad, np.einsum("tbi,tbo->io", seen, d_seen)[None]),
        (memory.seen_bias.grad, d_seen.sum((0, 1))),
        (state.grad, d_now),
        (given.grad.view(3, 2, 5), d_features),
    ):
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9, atol=1e-12)
    assert np.abs(d_now[1]).max() > 1e-3
    # What the first row saw before its reset counts for its own first output alone.
    weights[0] = 0
    given.grad = None
    joined, _ = memory(given, state, torch.from_numpy(starts))
    (joined[:, 5:] * torch.from_numpy(weights.reshape(6, 4))).sum().backward()
    assert given.grad is not None
    assert not given.grad[0].any()
    assert given.grad[1].any()


def test_an_update_sees_what_was_remembered_when_the_actions_were_chosen() -> None:
    config = dataclasses.replace(CONFIG, learning_rate=1e-12)
    learner = learner_of(config)
    shake(learner.agent)
    env, buffer = corridor(16), RolloutBuffer(16, 16, SPECS["vector"], CPU, 16)
    env.reset(buffer.obs_at[0])
    for rollout in range(3):
        collect(learner.agent, learner.value_norm, env, buffer, 16, learner.action_generator)
        found = finish(buffer, 16, 0.9, 0.65)
        assert found.starts.sum() > 16
        assert bool(found.memory.any()) == (rollout > 0)
        metrics = ppo.update(learner, found, config, 1000)
        assert abs(metrics["approx_kl"]) < 1e-9
        buffer.carry_over(16)
    # With memories mixed up it is another policy.
    swapped = dataclasses.replace(found, memory=found.memory.roll(1, 0))
    assert ppo.update(learner, swapped, config, 1000)["approx_kl"] > 1e-7


def test_minibatches_are_whole_sequences_and_cut_rollouts_have_fewer() -> None:
    learner = learner_of(CONFIG)
    sizes: list[tuple[int, ...]] = []
    memory = learner.agent.memory
    assert memory is not None
    memory.register_forward_pre_hook(lambda _, given: sizes.append(tuple(given[2].shape)))
    steps = 16 * (16 + 5)
    list(TrainingPhase(learner, corridor(16), steps, CONFIG, steps))
    assert [size for size in sizes if size[0] > 1] == [(16, 4)] * 12 + [(5, 8)] * 6


def test_a_phase_with_memory_goes_on_bit_for_bit() -> None:
    def phase(learner: PPO, first_seed: int = 0) -> TrainingPhase:
        return TrainingPhase(learner, corridor(16, first_seed), 1024, CONFIG, 1024)

    whole, before, after = learner_of(CONFIG), learner_of(CONFIG), learner_of(CONFIG, seed=9)
    expected = list(phase(whole))
    running = phase(before)
    reports = [next(iter(running)), next(iter(running))]
    saved = through_a_file({"learner": before.state_dict(), "phase": running.state_dict()})
    after.load_state_dict(saved["learner"])
    resumed = phase(after, 50)
    resumed.load_state_dict(saved["phase"])
    reports += list(resumed)
    assert all(map(reports_equal, reports, expected))
    assert all(map(torch.equal, after.agent.state_dict().values(), whole.agent.state_dict().values()))


@pytest.fixture(scope="module")
def trained() -> PPO:
    learner = learner_of(CONFIG)
    list(TrainingPhase(learner, corridor(16), 8_192, CONFIG, 8_192))
    return learner


def test_a_game_that_needs_memory_is_learned_with_it_and_not_without(trained: PPO) -> None:
    config = dataclasses.replace(CONFIG, memory=0)
    blank = learner_of(config)
    list(TrainingPhase(blank, corridor(16), 8_192, config, 8_192))
    means = {}
    for name, learner in (("with", trained), ("without", blank)):
        records = evaluate(learner.agent, corridor(8, 900), [12] * 8, torch.Generator().manual_seed(1), CPU)
        means[name] = np.mean([record.episode_return for record in records])
    assert means["with"] > BEST_RETURN - 0.2
    assert means["without"] < 0.3


def test_an_exported_agent_takes_its_memory_in_and_gives_it_out(trained: PPO) -> None:
    agent, generator = trained.agent, torch.Generator().manual_seed(4)
    env = corridor(3, 70)
    obs = {"cells": np.zeros((3, 2, 9), np.uint8)}
    env.reset(obs)
    expected = evaluate(agent, corridor(3, 70), [1, 1, 1], torch.Generator().manual_seed(4), CPU)
    memory = agent.nothing(3)
    first = export.act(agent, obs, generator, memory)
    assert memory.any()
    assert [int(action) for action in first] == [1 if slot["door"] == 0 else 2 for slot in env.slots]
    assert all(record.skills[1] for record in expected)


def test_an_agent_that_remembers_is_equivariant_too() -> None:
    config = PPOConfig(network="symmetric", memory=32)
    agent: Agent = make_agent(config, SYMBOLS, NUM_ACTIONS, torch.Generator().manual_seed(0), SYMMETRY)
    shake(agent)
    obs = observations(SYMBOLS, 4 * 8)
    starts = torch.zeros(4, 8, dtype=torch.bool)
    starts[2, 3] = True
    for flip in FLIPS[1:]:
        other = obs | {"view": torch.from_numpy(mirrored_view(obs["view"].numpy(), flip).copy())}
        with torch.inference_mode():
            logits, values, state = agent.follow(obs, agent.nothing(8), starts)
            other_logits, other_values, other_state = agent.follow(other, agent.nothing(8), starts)
        torch.testing.assert_close(other_logits[:, images(SYMMETRY.actions, flip)], logits, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(other_values, values, rtol=1e-4, atol=2e-5)
        assert not torch.equal(state, other_state)
    alone = agent(obs)[1]
    assert (alone - values).abs().max() > 1e-3


def test_weights_come_from_the_generator_alone() -> None:
    before, config = torch.get_rng_state(), PPOConfig(network="symmetric", memory=32)
    first, again, other = (
        make_agent(config, SYMBOLS, NUM_ACTIONS, torch.Generator().manual_seed(seed), SYMMETRY) for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs if a.dim() > 1)


def test_memory_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ppo\.memory=30: this network has units by 4"):
        make_agent(PPOConfig(network="symmetric", memory=30), SYMBOLS, NUM_ACTIONS, torch.Generator(), SYMMETRY)
