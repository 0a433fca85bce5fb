"""`ppo=gru`: the published network and values, against independent derivations."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_rl_agent import NUM_ACTIONS, PIXELS, conv3x3, observations, shake
from test_rl_ppo import CPU
from tiny_env import SPECS, TinyVectorEnv
from torch import nn

from envgen_exp.commands.compose import compose_run
from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.ppo import export, gru
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.ppo import PPO, make_agent, minibatches
from envgen_exp.learners.ppo.training import TrainingPhase
from envgen_exp.learners.ppo.value_norm import DeviationNorm


def loaded(learner: PPO, spec: Mapping[str, ArraySpec], num_actions: int, folder: Path) -> Any:
    """The agent as an export's own code loads it, from text that holds nothing of this package."""
    family: Any = SimpleNamespace(name="tests", skills=(), num_actions=num_actions, observation_spec=spec)
    export.export(learner, family, folder, origin="tests")
    module = types.ModuleType("exported_agent")
    module.__file__ = str(folder / "agent.py")
    sys.modules[module.__name__] = module
    source = (folder / "agent.py").read_text().replace("WIDTH = 2048", f"WIDTH = {gru.ResidualHead.WIDTH}")
    exec(compile(source, module.__file__, "exec"), vars(module))
    return module.load()


def test_the_published_hyper_parameters() -> None:
    assert compose_run(["ppo=gru"]).ppo == PPOConfig(
        name="gru",
        network="dedieu",
        memory=256,
        num_envs=48,
        num_steps=96,
        learning_rate=4.5e-4,
        adam_eps=1e-5,
        gamma=0.925,
        gae_lambda=0.625,
        update_epochs=4,
        num_minibatches=8,
        shuffle=False,
        clip_coef=0.2,
        ent_coef=0.01,
        vf_coef=2.0,
        max_grad_norm=0.5,
        value_norm_decay=0.95,
        value_norm_std=True,
    )


def test_the_published_weights_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthogonal ones take seconds to draw, and their values are not counted."""
    gains: list[tuple[tuple[int, ...], float]] = []
    monkeypatch.setattr(
        nn.init, "orthogonal_", lambda x, gain=1.0, generator=None: gains.append((tuple(x.shape), gain)) or x
    )
    agent = make_agent(PPOConfig(network="dedieu", memory=256), PIXELS, NUM_ACTIONS, torch.Generator())
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in agent.named_children()}
    assert parts == {"encoder": 556_742, "memory": 2_507_776, "actor": 25_752_081, "critic": 25_719_297}
    assert sum(parts.values()) == 54_535_896
    # Where orthogonal weights stand, and how large they are: the memory, then each head.
    hidden = [((2048, 8448), math.sqrt(2)), ((2048, 2048), 0.01), ((2048, 2048), 0.01)]
    memory = [((256, 8192), math.sqrt(2)), ((768, 256), 1.0), ((768, 256), 1.0)]
    assert gains == [*memory, *hidden, ((17, 2048), 0.01), *hidden, ((1, 2048), 1.0)]
    for weight, variance in ((agent.memory.seen, 1 / 256), (agent.encoder.stacks[2][1].conv.weight, 1 / (9 * 128))):
        assert weight.var().item() == pytest.approx(variance, rel=0.03)
        assert weight.abs().max() < 2 * math.sqrt(variance) / 0.879
    assert "kept_bias" not in dict(agent.memory.named_parameters())


def test_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy, float64, from the weights alone, on frames with odd and even sides."""
    monkeypatch.setattr(gru.ResidualHead, "WIDTH", 16)
    spec = {"pixels": ArraySpec((11, 16, 3), np.dtype(np.uint8), 0, 255)}
    agent = make_agent(PPOConfig(network="dedieu", memory=8), spec, 5, torch.Generator().manual_seed(0)).double()
    shake(agent)
    obs = observations(spec, 6)
    starts = torch.zeros(3, 2, dtype=torch.bool)
    with torch.inference_mode():
        agent.encoder.double()
        x = gru.channels_first(obs["pixels"]).double()
        monkeypatch.setattr(gru, "channels_first", lambda _: x)
        logits, values, state = agent.follow(obs, torch.zeros(2, 8).double(), starts)
    w = {name: value.numpy() for name, value in agent.state_dict().items()}

    def normed(x: np.ndarray, name: str, axes: tuple[int, ...]) -> np.ndarray:
        shape = (-1, 1, 1) if len(axes) == 2 else (-1,)
        x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-6)
        return x * w[f"{name}.weight"].reshape(shape) + w[f"{name}.bias"].reshape(shape)

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        return conv3x3(normed(x, f"{name}.norm", (2, 3)), w[f"{name}.conv.weight"], w[f"{name}.conv.bias"])

    def pooled(x: np.ndarray) -> np.ndarray:
        """TensorFlow's SAME: the padding that is needed in all, less of it before than after."""
        before = [max((math.ceil(side / 2) - 1) * 2 + 3 - side, 0) // 2 for side in x.shape[2:]]
        out = np.empty((*x.shape[:2], *(math.ceil(side / 2) for side in x.shape[2:])))
        for i, j in np.ndindex(out.shape[2:]):
            top, left = 2 * i - before[0], 2 * j - before[1]
            out[:, :, i, j] = x[:, :, max(top, 0) : top + 3, max(left, 0) : left + 3].max((2, 3))
        return out

    y = obs["pixels"].numpy().transpose(0, 3, 1, 2).astype(np.float32) * np.float32(1 / 255)
    y = y.astype(np.float64)
    for stack in range(3):
        y = pooled(conv(y, f"encoder.stacks.{stack}.0"))
        for block in (1, 2):
            y = y + conv(np.maximum(y, 0), f"encoder.stacks.{stack}.{block}")
    flat = np.maximum(y, 0).reshape(6, -1)
    inner = normed(flat, "memory.norm", (1,)) @ w["memory.linear"][0] + w["memory.linear_bias"]
    inner = np.maximum(inner, 0) @ w["memory.seen"][0] + w["memory.seen_bias"]
    now, remembered = np.zeros((2, 8)), []
    for t in range(3):
        a, b = inner[2 * t : 2 * t + 2], now @ w["memory.kept"][0]
        r, z = 1 / (1 + np.exp(-a[:, :8] - b[:, :8])), 1 / (1 + np.exp(-a[:, 8:16] - b[:, 8:16]))
        now = (1 - z) * np.tanh(a[:, 16:] + r * b[:, 16:]) + z * now
        remembered.append(np.maximum(now, 0))
    joined = np.concatenate([flat, np.concatenate(remembered)], 1)

    def head(name: str) -> np.ndarray:
        h = normed(joined, f"{name}.norm1", (1,)) @ w[f"{name}.linear.weight"].T + w[f"{name}.linear.bias"]
        h = np.maximum(h, 0)
        for block in (0, 1):
            h = h + np.maximum(h @ w[f"{name}.blocks.{block}.weight"].T + w[f"{name}.blocks.{block}.bias"], 0)
        return normed(h, f"{name}.norm2", (1,)) @ w[f"{name}.outputs.weight"].T + w[f"{name}.outputs.bias"]

    np.testing.assert_allclose(logits.numpy(), head("actor"), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(values.numpy(), head("critic")[:, 0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(state.numpy(), now, rtol=1e-6, atol=1e-9)


def test_the_normaliser_averages_deviations() -> None:
    norm = DeviationNorm(0.95)
    batches = torch.tensor([[1.0, 5.0, 3.0], [0.0, 2.0, 4.0], [7.0, 7.0, 7.0]])
    mean = std = weight = 0.0
    for batch in batches:
        norm.update(batch)
        mean, weight = 0.95 * mean + 0.05 * float(batch.mean()), 0.95 * weight + 0.05
        std = 0.95 * std + 0.05 * float(np.std(batch.numpy()))
        expected = mean / weight, max(std / max(weight, 0.1), 0.1)
        np.testing.assert_allclose([float(x) for x in norm.mean_and_std()], expected, rtol=1e-5)
    torch.testing.assert_close(norm.denormalize(norm.normalize(batches)), batches)
    assert float(DeviationNorm(0.95).mean_and_std()[1]) == pytest.approx(0.1)


def test_a_narrow_one_learns_and_is_exported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gru.ResidualHead, "WIDTH", 8)
    preset = compose_run(["ppo=gru"]).ppo
    config = dataclasses.replace(preset, num_envs=4, num_steps=4, num_minibatches=2, memory=8)
    assert isinstance(config, PPOConfig)
    spec = SPECS["pixels"]
    learner = PPO.create(config, spec, 3, 0, CPU)
    before = learner.agent.memory.kept.clone()
    env = TinyVectorEnv([None] * 4, range(4), observation="pixels")
    list(TrainingPhase(learner, env, 16, config, 16))
    assert not torch.equal(learner.agent.memory.kept, before)
    assert not learner.agent.memory.kept_bias.any()
    obs, state = observations(spec, 2), torch.rand(2, 8)
    starts = torch.zeros(1, 2, dtype=torch.bool)
    with torch.inference_mode():
        found = loaded(learner, spec, 3, tmp_path).follow(obs, state, starts)
        for one, other in zip(found, learner.agent.follow(obs, state, starts), strict=True):
            assert torch.equal(one, other)


def test_minibatches_in_order() -> None:
    found = [part.tolist() for part in minibatches(48, 6, None)]
    assert found == [[*range(first, first + 6)] for first in range(0, 48, 6)]
    config = compose_run(["ppo=gru", "ppo.shuffle=true"]).ppo
    assert config == dataclasses.replace(config, shuffle=True)
