"""PPO against independent derivations; phases: exact steps, what carries on, exact resumption; learning."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from omegaconf import OmegaConf
from tiny_env import BEST_RETURN, SPECS, TinyDesign, TinyVectorEnv
from torch.utils._python_dispatch import TorchDispatchMode

from envgen_exp.config import Precision
from envgen_exp.errors import CheckpointError, ConfigError, NumericsError
from envgen_exp.families.design import design_key
from envgen_exp.families.vector import Buffers, EpisodeRecord
from envgen_exp.learners.ppo import networks, ppo, training
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.evaluate import evaluate
from envgen_exp.learners.ppo.ppo import PPO
from envgen_exp.learners.ppo.rollout import Rollout, RolloutBuffer, collect, compute_gae, finish
from envgen_exp.learners.ppo.training import RolloutReport, TrainingPhase
from envgen_exp.learners.ppo.value_norm import ValueNorm

CPU = torch.device("cpu")
CONFIG = PPOConfig(name="test", network="tiny", num_envs=4, num_steps=8, num_minibatches=4, learning_rate=3e-3)


def tiny_env(num_envs: int = 4, **options: Any) -> TinyVectorEnv:
    return TinyVectorEnv([None] * num_envs, range(num_envs), **options)


def new_learner(config: PPOConfig = CONFIG, seed: int = 0, observation: str = "vector", threads: int = 1) -> PPO:
    return PPO.create(config, SPECS[observation], TinyVectorEnv.num_actions, seed, CPU, threads)


def weights(learner: PPO) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.agent.state_dict().items()}


def assert_same(first: Any, second: Any) -> None:
    """Equal bit for bit, tensors within dicts and lists included."""
    assert type(first) is type(second)
    if isinstance(first, Mapping):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def test_the_papers_hyper_parameters() -> None:
    file = OmegaConf.load(Path(__file__).parents[1] / "conf" / "ppo" / "paper.yaml")
    written = OmegaConf.to_container(file)
    assert isinstance(written, dict)
    written.pop("defaults")
    config = dataclasses.replace(PPOConfig(), **(written))
    assert config == PPOConfig(
        name="paper",
        network="moon",
        num_envs=8,
        num_steps=512,
        learning_rate=3e-4,
        gamma=0.95,
        gae_lambda=0.65,
        update_epochs=3,
        num_minibatches=8,
        clip_coef=0.2,
        ent_coef=0.01,
        vf_coef=0.5,
        max_grad_norm=0.5,
        value_norm_decay=0.99,
        bootstrap_timeouts=False,
        anneal_lr=False,
        clip_vloss=False,
        precision=Precision.float32,
    )


# Advantages and losses


def advantages_by_definition(
    rewards: NDArray[np.float64],
    values: NDArray[np.float64],
    dones: NDArray[np.bool_],
    next_value: NDArray[np.float64],
    gamma: float,
    lam: float,
) -> NDArray[np.float64]:
    """A_t as the lambda-weighted mean of the k-step advantages, each summed by itself: O(T^2) or worse."""
    steps, envs = rewards.shape
    result = np.zeros((steps, envs))
    for env in range(envs):
        for t in range(steps):
            k_step = []
            for k in range(1, steps - t + 1):
                total = sum(gamma**i * rewards[t + i, env] for i in range(k))
                ended = bool(dones[t + k - 1, env])
                if not ended:
                    total += gamma**k * (values[t + k, env] if t + k < steps else next_value[env])
                k_step.append(total - values[t, env])
                if ended:
                    break
            # (1 - lambda) sum lambda^(k-1) A^(k); all the weight beyond the last k falls on the last one.
            last = len(k_step)
            result[t, env] = (1 - lam) * sum(lam ** (k - 1) * a for k, a in enumerate(k_step[:-1], start=1))
            result[t, env] += lam ** (last - 1) * k_step[-1]
    return result


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 9),
    gamma=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    lam=st.sampled_from([0.0, 0.65, 1.0]),
)
def test_gae_is_its_definition(seed: int, steps: int, gamma: float, lam: float) -> None:
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=(2, steps, 3))
    dones = rng.random((steps, 3)) < 0.3
    next_value = rng.normal(size=3)
    got = compute_gae(*map(torch.from_numpy, (rewards, values, dones, next_value)), gamma, lam)
    expected = advantages_by_definition(rewards, values, dones, next_value, gamma, lam)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_losses_by_hand() -> None:
    rng = np.random.default_rng(0)
    old, new, advantages, values, targets, old_values = rng.normal(size=(6, 50))
    expected = 0.0
    for o, n, a in zip(old, new, advantages, strict=True):
        ratio = math.exp(n - o)
        expected -= min(ratio * a, min(max(ratio, 0.8), 1.2) * a) / 50
    got = ppo.policy_loss(torch.from_numpy(new - old), torch.from_numpy(advantages), 0.2)
    assert float(got) == pytest.approx(expected, rel=1e-12)

    squared = sum((v - t) ** 2 for v, t in zip(values, targets, strict=True)) / 50
    assert float(ppo.value_loss(torch.from_numpy(values), torch.from_numpy(targets))) == pytest.approx(squared)

    clipped = 0.0
    for v, t, o in zip(values, targets, old_values, strict=True):
        near = min(max(v, o - 0.2), o + 0.2)
        clipped += max((v - t) ** 2, (near - t) ** 2) / 50
    got = ppo.clipped_value_loss(*map(torch.from_numpy, (values, targets, old_values)), 0.2)
    assert float(got) == pytest.approx(clipped, rel=1e-12)
    assert clipped > squared


def test_clipping_stops_the_gradient_only_where_the_ratio_has_gone_far_enough() -> None:
    logratio = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1], dtype=torch.float64)).requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    ppo.policy_loss(logratio, advantages, 0.2).backward()
    assert logratio.grad is not None
    np.testing.assert_allclose(logratio.grad.numpy() * 5, [0, 1.5, -0.5, 0, -1.1], atol=1e-12)


def test_value_norm_by_hand() -> None:
    rng = np.random.default_rng(0)
    norm = ValueNorm(0.99)
    mean, std = norm.mean_and_std()
    assert (float(mean), float(std)) == (0, pytest.approx(0.1))
    batches = [rng.normal(3, 2, size=40) for _ in range(7)]
    for count, batch in enumerate(batches, start=1):
        norm.update(torch.from_numpy(batch).float())
        # The weight of a batch that came k updates ago is 0.99^k, over the sum of those weights.
        ages = np.arange(count)[::-1]
        by_age = 0.99**ages / (0.99**ages).sum()
        first = sum(w * b.mean() for w, b in zip(by_age, batches[:count], strict=True))
        second = sum(w * (b**2).mean() for w, b in zip(by_age, batches[:count], strict=True))
        mean, std = norm.mean_and_std()
        assert float(mean) == pytest.approx(first, rel=1e-4)
        assert float(std) == pytest.approx(math.sqrt(second - first**2), rel=1e-4)
    values = torch.linspace(-3, 3, 5)
    torch.testing.assert_close(norm.denormalize(norm.normalize(values)), values)
    torch.testing.assert_close(norm.denormalize(values), values * std + mean)


def test_value_norm_of_equal_targets_keeps_a_variance_of_a_hundredth() -> None:
    norm = ValueNorm(0.99)
    norm.update(torch.full((10,), 5.0))
    mean, std = norm.mean_and_std()
    assert float(mean) == pytest.approx(5)
    assert float(std) == pytest.approx(0.1, rel=1e-3)


def test_normalized_advantages() -> None:
    raw = np.random.default_rng(0).normal(2, 3, size=100)
    got = ppo.normalize_advantages(torch.from_numpy(raw))
    np.testing.assert_allclose(got.numpy(), (raw - raw.mean()) / (raw.std(ddof=1) + 1e-8), rtol=1e-12)
    assert ppo.normalize_advantages(torch.tensor([7.0])).tolist() == [0.0]


@given(batch=st.integers(1, 300), size=st.integers(1, 64))
def test_minibatches_are_a_partition(batch: int, size: int) -> None:
    parts = list(ppo.minibatches(batch, size, torch.Generator().manual_seed(0)))
    assert sorted(torch.cat(parts).tolist()) == list(range(batch))
    lengths = [len(part) for part in parts]
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


# One update


def filled(learner: PPO, config: PPOConfig = CONFIG, **options: Any) -> Rollout:
    env = tiny_env(config.num_envs, **options)
    buffer = RolloutBuffer(config.num_steps, config.num_envs, env.observation_spec, CPU)
    env.reset(buffer.obs_at[0])
    collect(learner.agent, learner.value_norm, env, buffer, config.num_steps, learner.action_generator)
    return finish(buffer, config.num_steps, config.gamma, config.gae_lambda)


def update_by_hand(learner: PPO, rollout: Rollout, config: PPOConfig) -> dict[str, NDArray[np.float64]]:
    """The weights after an update, derived apart: float64, the tiny network written out, gradients and Adam by hand."""
    w = {name: p.detach().double().numpy().copy() for name, p in learner.agent.named_parameters()}
    x = rollout.obs["cells"].numpy().reshape(config.num_envs * config.num_steps, -1).astype(np.float64)
    actions = rollout.actions.numpy().ravel()
    old_logprobs, returns = (t.double().numpy().ravel() for t in (rollout.logprobs, rollout.returns))
    advantages = rollout.advantages.double().numpy().ravel()
    advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    generator = learner.minibatch_generator.clone_state()
    first = {name: np.zeros_like(p) for name, p in w.items()}
    second = {name: np.zeros_like(p) for name, p in w.items()}
    norm_mean = norm_square = norm_weight = 0.0
    batch, step = len(x), 0
    for _ in range(config.update_epochs):
        order = torch.randperm(batch, generator=generator).numpy()
        for index in np.split(order, config.num_minibatches):
            n = len(index)
            hidden = np.tanh(x[index] @ w["encoder.linear.weight"].T + w["encoder.linear.bias"])
            logits = hidden @ w["actor.weight"].T + w["actor.bias"]
            values = (hidden @ w["critic.weight"].T + w["critic.bias"])[:, 0]
            probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            logs = np.log(probs)
            entropy = -(probs * logs).sum(axis=1)
            chosen = np.eye(logits.shape[1])[actions[index]]
            ratio = np.exp((chosen * logs).sum(axis=1) - old_logprobs[index])

            norm_mean = 0.99 * norm_mean + 0.01 * returns[index].mean()
            norm_square = 0.99 * norm_square + 0.01 * (returns[index] ** 2).mean()
            norm_weight = 0.99 * norm_weight + 0.01
            mean = norm_mean / norm_weight
            targets = (returns[index] - mean) / np.sqrt(max(norm_square / norm_weight - mean**2, 0.01))

            # d loss / d logits and d loss / d values, from the definitions.
            a = advantages[index]
            free = ~(((a > 0) & (ratio > 1 + config.clip_coef)) | ((a < 0) & (ratio < 1 - config.clip_coef)))
            d_logprob = -(free * a * ratio) / n
            d_logits = d_logprob[:, None] * (chosen - probs)
            d_logits -= config.ent_coef / n * (-probs * (logs + entropy[:, None]))
            d_logits += config.uniform_coef / n * (probs - 1 / probs.shape[1])
            d_values = config.vf_coef * 2 * (values - targets) / n
            d_hidden = d_logits @ w["actor.weight"] + d_values[:, None] * w["critic.weight"]
            d_inner = d_hidden * (1 - hidden**2)
            gradients = {
                "encoder.linear.weight": d_inner.T @ x[index],
                "encoder.linear.bias": d_inner.sum(axis=0),
                "actor.weight": d_logits.T @ hidden,
                "actor.bias": d_logits.sum(axis=0),
                "critic.weight": d_values[None] @ hidden,
                "critic.bias": d_values.sum(keepdims=True),
            }
            norm = math.sqrt(sum((g**2).sum() for g in gradients.values()))
            scale = min(1.0, config.max_grad_norm / (norm + 1e-6))
            step += 1
            for name, gradient in gradients.items():
                g = gradient * scale
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g**2
                debiased = second[name] / (1 - 0.999**step)
                w[name] -= config.learning_rate * first[name] / (1 - 0.9**step) / (np.sqrt(debiased) + 1e-8)
    return w


@pytest.mark.parametrize(
    ("num_envs", "threads", "members", "uniform_coef", "left"),
    [(4, 1, 1, 0.0, 1), (4, 3, 1, 0.3, 1), (26, 3, 3, 0.3, 1), (4, 1, 1, 0.6, 0.25)],
)
def test_an_update_is_what_the_formulas_say(
    num_envs: int, threads: int, members: int, uniform_coef: float, left: float
) -> None:
    # Large coefficients, so that every term leaves its mark; a large step, so that ratios reach the clip range. Of 26
    # environments a minibatch is 208 samples: parts of 70, 69 and 69.
    config = dataclasses.replace(
        CONFIG, ent_coef=0.1, vf_coef=0.7, max_grad_norm=0.2, learning_rate=0.03, num_minibatches=2, num_steps=16
    )
    config = dataclasses.replace(config, num_envs=num_envs, uniform_coef=uniform_coef, anneal_uniform=left < 1)
    learner = new_learner(config, threads=threads)
    learner.train_steps = round(1000 * (1 - left))
    assert learner.team.size == members
    rollout = filled(learner, config, length=6)
    expected = update_by_hand(learner, rollout, dataclasses.replace(config, uniform_coef=uniform_coef * left))
    before = weights(learner)
    metrics = ppo.update(learner, rollout, config, total_train_steps=1000)
    assert metrics["clip_fraction"] > 0.05
    assert metrics["grad_norm"] > config.max_grad_norm
    for name, tensor in learner.agent.state_dict().items():
        moved = np.abs(expected[name] - before[name].numpy()).max()
        assert moved > 0.005
        np.testing.assert_allclose(tensor.numpy(), expected[name], atol=2e-3 * moved)


def test_the_divergence_from_the_uniform_policy_is_its_sum() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probs = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    expected = (0.25 * np.log(0.25 / probs)).sum(1).mean()
    assert float(ppo.uniform_divergence(logits)) == pytest.approx(expected, rel=1e-12)
    assert float(ppo.uniform_divergence(torch.zeros(2, 4))) == pytest.approx(0, abs=1e-6)


def test_advantages_are_normalised_once_over_the_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = new_learner()
    rollout = filled(learner, length=6)
    seen: list[torch.Tensor] = []
    original = ppo.policy_loss

    def spy(logratio: torch.Tensor, advantages: torch.Tensor, clip_coef: float) -> torch.Tensor:
        seen.append(advantages)
        return original(logratio, advantages, clip_coef)

    monkeypatch.setattr(ppo, "policy_loss", spy)
    ppo.update(learner, rollout, CONFIG, 1000)
    assert len(seen) == CONFIG.update_epochs * CONFIG.num_minibatches
    raw = rollout.advantages.flatten()
    expected = ((raw - raw.mean()) / (raw.std() + 1e-8)).sort().values
    for epoch in range(CONFIG.update_epochs):
        parts = seen[epoch * 4 : epoch * 4 + 4]
        torch.testing.assert_close(torch.cat(parts).sort().values, expected)
        assert max(abs(float(part.mean())) for part in parts) > 0.05


def test_metrics_of_an_update() -> None:
    learner = new_learner()
    rollout = filled(learner, length=6)
    metrics = ppo.update(learner, rollout, CONFIG, 1000)
    returns, values = rollout.returns.double().numpy(), rollout.values.double().numpy()
    assert metrics["explained_variance"] == pytest.approx(1 - (returns - values).var() / returns.var(), rel=1e-4)
    assert metrics["advantage_mean"] == pytest.approx(rollout.advantages.double().mean().item(), rel=1e-4)
    assert 0 < metrics["entropy"] <= math.log(3) + 1e-6
    assert metrics["learning_rate"] == CONFIG.learning_rate
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("num_minibatches", [1, 4])
def test_the_device_is_read_once_an_update(num_minibatches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reads(TorchDispatchMode):
        """Counts what waits for a device: item, float, int, bool, and tolist."""

        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    config = dataclasses.replace(CONFIG, num_minibatches=num_minibatches)
    learner = new_learner(config)
    rollout = filled(learner, config)
    tolist = torch.Tensor.tolist
    with Reads() as reads:

        def counted_tolist(tensor: torch.Tensor) -> Any:
            reads.count += 1
            return tolist(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", counted_tolist)
        ppo.update(learner, rollout, config, 1000)
    assert reads.count == 1


def test_learning_rate_annealing_counts_the_runs_steps() -> None:
    config = dataclasses.replace(CONFIG, anneal_lr=True)
    learner = new_learner(config)
    rates = [r.metrics["learning_rate"] for r in TrainingPhase(learner, tiny_env(), 96, config, 192)]
    rates += [r.metrics["learning_rate"] for r in TrainingPhase(learner, tiny_env(), 96, config, 192)]
    np.testing.assert_allclose(rates, 3e-3 * (1 - np.arange(6) * 32 / 192))


def test_the_clipped_value_loss_is_an_option() -> None:
    clipped = dataclasses.replace(CONFIG, clip_vloss=True, learning_rate=0.05)
    plain = dataclasses.replace(clipped, clip_vloss=False)
    learners = [new_learner(config) for config in (clipped, plain)]
    for learner in learners:
        ppo.update(learner, filled(learner, length=6), learner.config, 1000)
    assert not torch.equal(learners[0].agent.critic.weight, learners[1].agent.critic.weight)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_leaves_the_weights_alone(bad: float) -> None:
    learner = new_learner()
    rollout = filled(learner)
    rollout.returns[3, 1] = bad
    before = weights(learner)
    # A single minibatch, so that the bad entry is in the first.
    config = dataclasses.replace(CONFIG, num_minibatches=1)
    with pytest.raises(NumericsError, match=r"update 1 is not finite: policy loss .*value loss nan") as caught:
        ppo.update(learner, rollout, config, 1000)
    assert "\n" not in str(caught.value)
    assert_same(weights(learner), before)
    assert learner.updates == 0


def test_after_a_loss_that_is_no_number_no_step_is_taken() -> None:
    config = dataclasses.replace(CONFIG, update_epochs=1)
    learner, rollout = new_learner(config), filled(new_learner(config))
    until = new_learner(config)
    steps = until.optimizer.step
    until.optimizer.step = lambda: steps() if until.updates < 2 else None  # type: ignore[method-assign,assignment]
    ppo.update(until, rollout, config, 1000)
    backward = itertools.count(1)
    learner.agent.critic.weight.register_hook(lambda g: g * math.nan if next(backward) == 3 else g)
    with pytest.raises(NumericsError, match="update 3 is not finite"):
        ppo.update(learner, rollout, config, 1000)
    assert next(backward) == 5
    assert learner.updates == 2
    assert_same(weights(learner), weights(until))


def test_a_gradient_that_is_no_number_leaves_the_weights_alone() -> None:
    learner = new_learner()
    rollout = filled(learner)
    learner.agent.critic.weight.register_hook(lambda gradient: gradient * math.inf)
    before = weights(learner)
    with pytest.raises(NumericsError, match="gradient norm"):
        ppo.update(learner, rollout, CONFIG, 1000)
    assert_same(weights(learner), before)


# Rollouts


def test_a_rollout_holds_what_was_seen_done_and_thought() -> None:
    learner = new_learner()
    learner.value_norm.update(torch.randn(50) * 3 + 1)
    rollout = filled(learner, length=6)
    mean, std = learner.value_norm.mean_and_std()
    replay = tiny_env(length=6)
    out = Buffers.zeros(replay.observation_spec, 4)
    obs = out.obs
    replay.reset(obs)
    deltas, decays = [], []
    for t in range(CONFIG.num_steps):
        np.testing.assert_array_equal(rollout.obs["cells"][t].numpy(), obs["cells"])
        with torch.no_grad():
            logits, values = learner.agent({"cells": torch.from_numpy(obs["cells"])})
        chosen = logits.log_softmax(dim=1)[torch.arange(4), rollout.actions[t]]
        torch.testing.assert_close(rollout.logprobs[t], chosen)
        torch.testing.assert_close(rollout.values[t], values * std + mean)
        replay.step(rollout.actions[t].numpy(), out)
        deltas.append(out.rewards - rollout.values[t].numpy())
        decays.append(0.95 * ~(out.terminations | out.truncations))
    with torch.no_grad():
        _, values = learner.agent({"cells": torch.from_numpy(obs["cells"])})
    values_after = [*(v.numpy() for v in rollout.values[1:]), (values * std + mean).numpy()]
    advantage = np.zeros(4)
    for t in reversed(range(CONFIG.num_steps)):
        advantage = deltas[t] + decays[t] * values_after[t] + 0.65 * decays[t] * advantage
        np.testing.assert_allclose(rollout.advantages[t].numpy(), advantage, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rollout.returns, rollout.advantages + rollout.values)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_time_outs_are_bootstrapped_only_on_request(bootstrap: bool) -> None:
    learner = new_learner()
    with torch.no_grad():
        learner.agent.critic.weight.zero_()
        learner.agent.critic.bias.fill_(2.0)
        learner.agent.actor.bias.copy_(
            torch.tensor([50.0, 0.0, 0.0])
        )  # it stands still: every episode runs out of time
    mean, std = learner.value_norm.mean_and_std()
    value = float(2 * std + mean)
    env = tiny_env(length=3)
    buffer = RolloutBuffer(8, 4, env.observation_spec, CPU)
    env.reset(buffer.obs_at[0])
    generator = learner.action_generator
    collect(learner.agent, learner.value_norm, env, buffer, 8, generator, bootstrap_timeouts=bootstrap)
    assert buffer.truncations[2].all()
    rollout = finish(buffer, 8, 0.95, 0.65)
    expected = -0.01 + 0.95 * value * bootstrap - value
    np.testing.assert_allclose(rollout.advantages[2].numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(rollout.advantages[5].numpy(), expected, rtol=1e-5)


def test_the_last_observation_of_a_timed_out_episode_is_what_is_bootstrapped() -> None:
    learner = new_learner()
    with torch.no_grad():
        learner.agent.actor.bias.copy_(torch.tensor([0.0, 50.0, 0.0]))  # always left
    env = TinyVectorEnv([None], [0], length=3)
    buffer = RolloutBuffer(3, 1, env.observation_spec, CPU)
    env.reset(buffer.obs_at[0])
    generator = learner.action_generator
    collect(learner.agent, learner.value_norm, env, buffer, 3, generator, bootstrap_timeouts=True)
    last = buffer.obs["cells"][2].clone()  # one step before the end, the player at cell 2
    assert last[0, 0, 2] == 1
    last[0, 0] = 0
    last[0, 0, 1] = 1
    with torch.no_grad():
        _, value = learner.agent({"cells": last})
    torch.testing.assert_close(buffer.timeout_values[2], learner.value_norm.denormalize(value))
    assert not buffer.timeout_values[:2].any()


# Phases


def counted(env: TinyVectorEnv) -> list[int]:
    """A list that grows by the number of slots stepped at each step of an environment."""
    steps: list[int] = []
    original = env.step

    def step(actions: Any, *args: Any, **kwargs: Any) -> list[EpisodeRecord]:
        steps.append(len(actions))
        return original(actions, *args, **kwargs)

    env.step = step  # type: ignore[method-assign]
    return steps


@pytest.mark.parametrize("steps", [4, 8, 32, 36, 100, 128])
def test_a_phase_takes_exactly_its_steps(steps: int) -> None:
    learner, env = new_learner(), tiny_env()
    stepped = counted(env)
    reports = list(TrainingPhase(learner, env, steps, CONFIG, 1000))
    assert sum(stepped) == steps == learner.train_steps
    assert [r.steps for r in reports] == [32] * (steps // 32) + [steps % 32] * (steps % 32 > 0)
    assert [r.steps_done for r in reports] == np.cumsum([r.steps for r in reports]).tolist()
    minibatches = sum(math.ceil(r.steps / 8) for r in reports)  # of 8 samples at most, also in a cut rollout
    assert learner.updates == CONFIG.update_epochs * minibatches
    for report in reports:
        assert set(report.timings) == {"env_seconds", "inference_seconds", "update_seconds", "steps"}
        assert all(value > 0 for value in report.timings.values())
        assert all(math.isfinite(value) for value in report.metrics.values())


def test_rollouts_join_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    rollouts: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = ppo.update

    def spy(learner: PPO, rollout: Rollout, *args: Any) -> dict[str, float]:
        rollouts.append((rollout.obs["cells"].clone(), rollout.actions.clone()))
        return original(learner, rollout, *args)

    monkeypatch.setattr(training, "update", spy)
    list(TrainingPhase(new_learner(), tiny_env(length=6), 100, CONFIG, 1000))
    seen, done = (torch.cat(parts).numpy() for parts in zip(*rollouts, strict=True))
    replay = tiny_env(length=6)
    out = Buffers.zeros(replay.observation_spec, 4)
    replay.reset(out.obs)
    assert len(seen) == 25
    for before, actions in zip(seen, done, strict=True):
        np.testing.assert_array_equal(before, out.obs["cells"])
        replay.step(actions, out)


def test_a_cut_rollout_has_fewer_minibatches_of_the_usual_size() -> None:
    learner = new_learner()
    list(TrainingPhase(learner, tiny_env(), 32 + 12, CONFIG, 1000))
    steps = {int(state["step"]) for state in learner.optimizer.state_dict()["state"].values()}
    # 4 minibatches of 8 in the whole rollout; 12 steps are 2 minibatches of 6.
    assert steps == {3 * (4 + 2)}


@pytest.mark.parametrize(("steps", "allowed"), [(0, "4"), (-4, "4"), (3, "4"), (10, "8 or 12"), (121, "120 or 124")])
def test_steps_that_cannot_be_shared_are_refused(steps: int, allowed: str) -> None:
    with pytest.raises(ConfigError, match=rf"{steps} steps.*ppo\.num_envs=4; nearest allowed: {allowed}$"):
        TrainingPhase(new_learner(), tiny_env(), steps, CONFIG, 1000)


def test_an_environment_with_other_slots_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ppo\.num_envs is 4.*5 slots"):
        TrainingPhase(new_learner(), tiny_env(5), 40, CONFIG, 1000)


def test_a_single_environment_with_a_single_step_works() -> None:
    config = dataclasses.replace(CONFIG, num_envs=1)
    reports = list(TrainingPhase(new_learner(config), tiny_env(1), 9, config, 1000))
    assert [r.steps for r in reports] == [8, 1]
    assert all(math.isfinite(value) for report in reports for value in report.metrics.values())


def test_optimiser_and_normaliser_carry_on_and_episodes_in_flight_do_not() -> None:
    learner = new_learner()
    first = list(TrainingPhase(learner, tiny_env(length=10), 64, CONFIG, 1000))
    debiasing = float(learner.value_norm.debiasing)
    second = list(TrainingPhase(learner, TinyVectorEnv([TinyDesign()] * 4, range(4)), 64, CONFIG, 1000))
    steps = {int(state["step"]) for state in learner.optimizer.state_dict()["state"].values()}
    assert steps == {4 * 3 * 4}
    assert debiasing == pytest.approx(1 - 0.99**24, rel=1e-4)
    assert float(learner.value_norm.debiasing) == pytest.approx(1 - 0.99**48, rel=1e-4)
    assert learner.train_steps == 128
    for reports in (first, second):
        episodes = [e for r in reports for e in r.episodes]
        for slot in range(4):
            mine = [e for e in episodes if e.slot == slot]
            assert [e.episode for e in mine] == list(range(1, len(mine) + 1))
            assert sum(e.length for e in mine) <= 16
    assert {e.design for r in second for e in r.episodes} == {design_key(TinyDesign())}


def reports_equal(first: RolloutReport, second: RolloutReport) -> bool:
    return dataclasses.replace(first, timings={}) == dataclasses.replace(second, timings={})


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize(
    ("network", "observation", "options"),
    [
        ("tiny", "vector", {}),
        ("tiny", "vector", {"bootstrap_timeouts": True, "clip_vloss": True, "anneal_lr": True}),
        ("symbolic", "symbolic", {}),
        ("nature", "pixels", {}),
    ],
)
@pytest.mark.parametrize("split", [0, 1, 3])
def test_a_resumed_phase_goes_on_bit_for_bit(
    network: str, observation: str, options: dict[str, bool], split: int
) -> None:
    config = dataclasses.replace(CONFIG, network=network, **options)
    whole = new_learner(config, observation=observation)
    expected = list(TrainingPhase(whole, tiny_env(observation=observation, length=9), 132, config, 1000))
    assert sum(len(r.episodes) for r in expected) > 4

    before = new_learner(config, observation=observation)
    phase = TrainingPhase(before, tiny_env(observation=observation, length=9), 132, config, 1000)
    reports = []
    iterator = iter(phase)
    for _ in range(split):
        reports.append(next(iterator))
    saved = through_a_file({"learner": before.state_dict(), "phase": phase.state_dict()})

    # Other seeds everywhere: all that counts must come from the file.
    after = new_learner(config, seed=99, observation=observation)
    after.load_state_dict(saved["learner"])
    env = TinyVectorEnv([None] * 4, range(4) if split == 0 else range(50, 54), observation=observation, length=9)
    resumed = TrainingPhase(after, env, 132, config, 1000)
    resumed.load_state_dict(saved["phase"])
    reports += list(resumed)

    assert len(reports) == len(expected)
    assert all(map(reports_equal, reports, expected))
    assert_same(after.state_dict(), whole.state_dict())


@pytest.mark.parametrize(
    ("network", "observation", "precision"),
    [
        ("tiny", "vector", Precision.float32),
        ("symbolic", "symbolic", Precision.float32),
        ("nature", "pixels", Precision.bfloat16),
    ],
)
def test_a_team_of_threads_trains_the_same_each_time(network: str, observation: str, precision: Precision) -> None:
    # A processor without bfloat16 is slow at it.
    epochs = 1 if precision is Precision.bfloat16 else CONFIG.update_epochs
    config = dataclasses.replace(
        CONFIG,
        network=network,
        precision=precision,
        num_envs=16,
        num_steps=16,
        num_minibatches=2,
        update_epochs=epochs,
    )

    def phase(learner: PPO) -> TrainingPhase:
        return TrainingPhase(learner, tiny_env(16, observation=observation, length=9), 512, config, 1000)

    states = []
    for _ in range(2):
        learner = new_learner(config, observation=observation, threads=2)
        assert learner.team.size == 2
        list(phase(learner))
        states.append(learner.state_dict())
    assert_same(states[0], states[1])

    before = new_learner(config, observation=observation, threads=2)
    begun = phase(before)
    next(iter(begun))
    after = new_learner(config, seed=99, observation=observation, threads=2)
    after.load_state_dict(before.state_dict())
    resumed = phase(after)
    resumed.load_state_dict(begun.state_dict())
    list(resumed)
    assert_same(after.state_dict(), states[0])


@pytest.mark.parametrize(
    ("network", "observation"), [("tiny", "vector"), ("symbolic", "symbolic"), ("nature", "pixels")]
)
def test_a_team_learns_what_a_thread_alone_learns(
    network: str, observation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In float64, where the order of sums is all that differs and no processor's kernels show.
    config = dataclasses.replace(CONFIG, network=network, num_envs=16, num_steps=16, num_minibatches=2, update_epochs=1)
    rollout = filled(new_learner(config, observation=observation), config, observation=observation, length=6)
    arrays = {name: getattr(rollout, name).double() for name in ("logprobs", "values", "advantages", "returns")}
    rollout = dataclasses.replace(rollout, **arrays)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(networks, "channels_first", lambda image: image.permute(0, 3, 1, 2).double() / 255)
    metrics, states = [], []
    for threads in (1, 2):
        learner = new_learner(config, observation=observation, threads=threads)
        assert learner.team.size == threads
        learner.agent.double()
        learner.value_norm.double()
        metrics.append(ppo.update(learner, rollout, config, 1000))
        states.append(weights(learner))
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-9, abs=1e-12)
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-7, atol=1e-9)


def test_a_saved_state_is_a_copy() -> None:
    learner = new_learner()
    phase = TrainingPhase(learner, tiny_env(), 128, CONFIG, 1000)
    iterator = iter(phase)
    next(iterator)
    state = {"learner": learner.state_dict(), "phase": phase.state_dict()}
    kept = through_a_file(state)
    next(iterator)
    assert_same(state, kept)
    # Loading is no alias either.
    other = new_learner()
    other.load_state_dict(state["learner"])
    again = TrainingPhase(other, tiny_env(), 128, CONFIG, 1000)
    again.load_state_dict(state["phase"])
    list(again)
    assert_same(state, kept)


def test_training_is_deterministic_and_seeded() -> None:
    runs = []
    for seed in (0, 0, 1):
        learner = new_learner(seed=seed)
        list(TrainingPhase(learner, tiny_env(), 96, CONFIG, 1000))
        runs.append(learner.state_dict())
    assert_same(runs[0], runs[1])
    assert not torch.equal(runs[0]["agent"]["actor.weight"], runs[2]["agent"]["actor.weight"])


def test_foreign_checkpoints_are_refused() -> None:
    learner = new_learner()
    phase = TrainingPhase(learner, tiny_env(), 64, CONFIG, 1000)
    next(iter(phase))
    state, phase_state = learner.state_dict(), phase.state_dict()
    with pytest.raises(CheckpointError, match=r"version 7.*reads version 1"):
        new_learner().load_state_dict(state | {"version": 7})
    symbolic = dataclasses.replace(CONFIG, network="symbolic")
    with pytest.raises(CheckpointError, match=r"network tiny.*symbolic"):
        new_learner(symbolic, observation="symbolic").load_state_dict(state)
    with pytest.raises(CheckpointError, match="does not fit this agent"):
        new_learner(observation="symbolic").load_state_dict(state)
    with pytest.raises(CheckpointError, match="another phase"):
        TrainingPhase(new_learner(), tiny_env(), 128, CONFIG, 1000).load_state_dict(phase_state)
    damaged = phase_state | {"games": [{**phase_state["games"][0], "state": torch.zeros(5, dtype=torch.uint8)}] * 4}
    with pytest.raises(CheckpointError, match="slot 0"):
        TrainingPhase(new_learner(), tiny_env(), 64, CONFIG, 1000).load_state_dict(damaged)


def test_describe_is_plain() -> None:
    described = new_learner().describe()
    assert described["network"] == "tiny"
    assert described["precision"] == "float32"
    assert all(isinstance(value, str | int) for value in described.values())


# Learning


@pytest.mark.parametrize(("network", "observation"), [("tiny", "vector"), ("symbolic", "symbolic")])
def test_ppo_learns_the_corridor(network: str, observation: str) -> None:
    config = dataclasses.replace(CONFIG, network=network, num_envs=8, num_steps=32)

    def mean_return(learner: PPO) -> float:
        env = TinyVectorEnv([None] * 20, range(1000, 1020), observation=observation)
        records = evaluate(learner.agent, env, [5] * 20, torch.Generator().manual_seed(0), CPU)
        return float(np.mean([record.episode_return for record in records]))

    learner = new_learner(config, observation=observation)
    untrained = mean_return(learner)
    list(TrainingPhase(learner, tiny_env(8, observation=observation), 12_288, config, 12_288))
    trained = mean_return(learner)
    assert untrained < 0.3
    assert trained > 0.95 * BEST_RETURN
