"""The networks against independent derivations: sizes, first weights, forward passes, sampling, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from envgen_exp.config import Precision
from envgen_exp.errors import ConfigError
from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.devices import choose_dtype
from envgen_exp.learners.ppo.agent import Agent, log_prob_and_entropy, sample_actions
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.ppo import make_agent

PIXELS = {"pixels": ArraySpec((64, 64, 3), np.dtype(np.uint8), 0, 255)}
SYMBOLS = {
    "view": ArraySpec((2, 9, 7), np.dtype(np.uint8), 0, 14),
    "inventory": ArraySpec((16,), np.dtype(np.uint8), 0, 9),
    "daylight": ArraySpec((1,), np.dtype(np.float32), 0, 1),
}
NUM_ACTIONS = 17
BESIDE = ((3, 3), (5, 3), (4, 2), (4, 4))
"""The cells left, right, above and below the middle of a 9 x 7 view."""


def made(network: str, spec: Mapping[str, ArraySpec] = PIXELS, seed: int = 0) -> Agent:
    return make_agent(PPOConfig(network=network), spec, NUM_ACTIONS, torch.Generator().manual_seed(seed))


def observations(spec: Mapping[str, ArraySpec], batch: int, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(
            rng.integers(0, int(part.high), (batch, *part.shape), endpoint=True).astype(part.dtype)
            if part.dtype == np.uint8
            else rng.random((batch, *part.shape)).astype(part.dtype)
        )
        for name, part in spec.items()
    }


def shake(agent: nn.Module, seed: int = 1) -> None:
    """Move every parameter off its first value, so that no norm's weight is 1 and no bias is 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [("moon", 3_948_306), ("envgen", 3_949_842), ("nature", 609_970)],
)
def test_parameter_counts(network: str, parameters: int) -> None:
    assert sum(p.numel() for p in made(network).parameters()) == parameters


def test_first_weights_of_the_papers_network() -> None:
    agent = made("moon")
    # Residual layers: sqrt(1 / sqrt(3 stacks) / sqrt(2 blocks)); other convolutions 1; linear layers 1.4 and 1.
    residual = (1 / 3**0.5 / 2**0.5) ** 0.5
    norms = []
    for name, module in agent.encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            norms.append((module.weight, residual if "blocks" in name else 1.0))
        elif isinstance(module, nn.Linear):
            norms.append((module.weight, 1.4 if name == "linear1" else 1.0))
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))
    assert len(norms) == 3 * 5 + 2
    for weight, norm in norms:
        fan_in = weight.detach().double().flatten(1).square().sum(dim=1).sqrt()
        np.testing.assert_allclose(fan_in.numpy(), norm, rtol=1e-5)
    for name, parameter in agent.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name


@pytest.mark.parametrize("network", ["moon", "nature"])
def test_heads_are_orthogonal_with_the_papers_gains(network: str) -> None:
    agent = made(network)
    actor = agent.actor.weight.detach().double().numpy()
    critic = agent.critic.weight.detach().double().numpy()
    np.testing.assert_allclose(actor @ actor.T, 0.01**2 * np.eye(NUM_ACTIONS), atol=1e-9)
    np.testing.assert_allclose(critic @ critic.T, [[0.1**2]], atol=1e-8)
    assert not agent.actor.bias.any()
    assert not agent.critic.bias.any()


@pytest.mark.parametrize(
    ("network", "spec"),
    [("moon", PIXELS), ("nature", PIXELS), ("symbolic", SYMBOLS), ("tiny", SYMBOLS)],
)
def test_weights_come_from_the_generator_alone(network: str, spec: Mapping[str, ArraySpec]) -> None:
    before = torch.get_rng_state()
    first, again, other = made(network, spec, 3), made(network, spec, 3), made(network, spec, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    matrices = [(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True) if a.dim() > 1]
    assert all(not torch.equal(a, b) for a, b in matrices)


# The paper's network once more, in float64 NumPy and from its weights alone.


def conv3x3(
    x: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((x.shape[0], weight.shape[0], height, width))
    for dy, dx in itertools.product(range(3), range(3)):
        shifted = padded[:, :, dy : dy + height, dx : dx + width]
        out += np.einsum("bchw,oc->bohw", shifted, weight[:, :, dy, dx], optimize=True)
    return out if bias is None else out + bias[None, :, None, None]


def max_pool(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """3x3, stride 2, padding 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
    windows = [
        padded[:, :, dy : dy + 2 * height : 2, dx : dx + 2 * width : 2][:, :, :height, :width]
        for dy, dx in itertools.product(range(3), range(3))
    ]
    return np.max(windows, axis=0)


def normed(x: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """GroupNorm with one group and LayerNorm alike: over all but the batch, then by channel or by feature."""
    axes = tuple(range(1, x.ndim))
    x = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + 1e-5)
    by_channel = (1, -1, *[1] * (x.ndim - 2))
    return x * weight.reshape(by_channel) + bias.reshape(by_channel)


def paper_forward(
    w: Mapping[str, NDArray[np.float64]], frames: NDArray[np.uint8], *, norm_after: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    def layer(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        if f"{name}.norm.weight" in w:
            x = normed(x, w[f"{name}.norm.weight"], w[f"{name}.norm.bias"])
        return np.maximum(conv3x3(x, w[f"{name}.conv.weight"], w.get(f"{name}.conv.bias")), 0)

    x = frames.astype(np.float64).transpose(0, 3, 1, 2) / 255
    for stack in ("encoder.stacks.0", "encoder.stacks.1", "encoder.stacks.2"):
        x = max_pool(layer(x, f"{stack}.conv"))
        x = normed(x, w[f"{stack}.norm.weight"], w[f"{stack}.norm.bias"])
        for block in (f"{stack}.blocks.0", f"{stack}.blocks.1"):
            x = x + layer(layer(x, f"{block}.0"), f"{block}.1")
    x = x.reshape(len(x), -1)
    x = np.maximum(normed(x, w["encoder.norm1.weight"], w["encoder.norm1.bias"]) @ w["encoder.linear1.weight"].T, 0)
    if norm_after:
        x = normed(x @ w["encoder.linear2.weight"].T, w["encoder.norm2.weight"], w["encoder.norm2.bias"])
    else:
        x = normed(x, w["encoder.norm2.weight"], w["encoder.norm2.bias"]) @ w["encoder.linear2.weight"].T
    x = np.maximum(x, 0)
    logits = x @ w["actor.weight"].T + w["actor.bias"]
    return logits, (x @ w["critic.weight"].T + w["critic.bias"])[:, 0]


@pytest.mark.parametrize("network", ["moon", "envgen"])
def test_forward_pass_of_the_papers_network(network: str) -> None:
    agent = made(network)
    shake(agent)
    obs = observations(PIXELS, 2)
    with torch.inference_mode():
        logits, values = agent(obs)
    weights = {name: tensor.double().numpy() for name, tensor in agent.state_dict().items()}
    expected_logits, expected_values = paper_forward(weights, obs["pixels"].numpy(), norm_after=network == "envgen")
    assert np.ptp(expected_logits) > 0.1
    np.testing.assert_allclose(logits.numpy(), expected_logits, rtol=1e-3, atol=1e-4 * np.ptp(expected_logits))
    np.testing.assert_allclose(values.numpy(), expected_values, rtol=1e-3, atol=1e-4 * np.ptp(expected_logits))


def test_forward_pass_of_the_nature_network() -> None:
    agent = made("nature")
    shake(agent)
    obs = observations(PIXELS, 3)
    w = agent.state_dict()
    x = obs["pixels"].double().permute(0, 3, 1, 2).contiguous() / 255
    for index, stride in ((0, 4), (2, 2), (4, 1)):
        weight, bias = w[f"encoder.convs.{index}.weight"], w[f"encoder.convs.{index}.bias"]
        x = F.conv2d(x, weight.double().contiguous(), bias.double(), stride).relu()
    x = F.linear(x.flatten(1), w["encoder.linear.weight"].double(), w["encoder.linear.bias"].double()).relu()
    expected = F.linear(x, w["actor.weight"].double(), w["actor.bias"].double())
    with torch.inference_mode():
        np.testing.assert_allclose(agent(obs)[0].numpy(), expected.numpy(), rtol=1e-3, atol=1e-4)


def test_forward_pass_of_the_symbolic_network() -> None:
    agent = made("symbolic", SYMBOLS)
    shake(agent)
    obs = observations(SYMBOLS, 5)
    w = {name: tensor.double().numpy() for name, tensor in agent.state_dict().items()}
    view, inventory = obs["view"].numpy(), obs["inventory"].numpy()
    one_hot = np.eye(15)[view]  # (B, 2, 9, 7, 15)
    cells = np.einsum("bmxyi,mie->bxye", one_hot, w["encoder.cells.view"]).reshape(5, -1)
    # The player's id is the object in the middle; left, right, up, down in the materials, then in the objects.
    table = w["encoder.pairs.view"].reshape(2, 4, 15, 15, -1)
    pairs = [
        [table[m, side, view[b, 1, 4, 3], view[b, m, x, y]] for m in (0, 1) for side, (x, y) in enumerate(BESIDE)]
        for b in range(5)
    ]
    thermometer = np.array([[[count >= k for k in range(1, 10)] for count in row] for row in inventory])
    x = np.concatenate([cells, np.reshape(pairs, (5, -1)), thermometer.reshape(5, -1), obs["daylight"].numpy()], axis=1)
    x = x @ w["encoder.linear1.weight"].T + w["encoder.linear1.bias"]
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    x = np.maximum(x * w["encoder.norm.weight"] + w["encoder.norm.bias"], 0)
    x = np.maximum(x @ w["encoder.linear2.weight"].T + w["encoder.linear2.bias"], 0)
    with torch.inference_mode():
        logits, values = agent(obs)
    np.testing.assert_allclose(logits.numpy(), x @ w["actor.weight"].T + w["actor.bias"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        values.numpy(), (x @ w["critic.weight"].T + w["critic.bias"])[:, 0], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("network", "spec"), [("nature", PIXELS), ("symbolic", SYMBOLS), ("tiny", PIXELS)])
def test_a_slots_answer_does_not_depend_on_its_neighbours(network: str, spec: Mapping[str, ArraySpec]) -> None:
    agent = made(network, spec)
    shake(agent)
    obs = observations(spec, 6)
    with torch.inference_mode():
        together, _ = agent(obs)
        alone = torch.cat([agent({name: x[i : i + 1] for name, x in obs.items()})[0] for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_near_float32_and_heads_stay_float32() -> None:
    agent = made("nature")
    shake(agent)
    obs = observations(PIXELS, 4)
    with torch.inference_mode():
        exact, _ = agent(obs)
        agent.autocast_dtype = torch.bfloat16
        logits, values = agent(obs)
    assert logits.dtype == values.dtype == torch.float32
    assert not torch.equal(logits, exact)
    assert (logits - exact).abs().max() < 0.05 * exact.abs().max()


def test_precision_by_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert choose_dtype(Precision.float32, cpu) is None
    assert choose_dtype(Precision.bfloat16, cpu) is torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": False})
    assert choose_dtype(Precision.auto, cpu) is torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert choose_dtype(Precision.auto, cpu) is None


@pytest.mark.parametrize("network", ["moon", "envgen", "nature"])
def test_a_pixel_network_refuses_symbols(network: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"ppo\.network={network}.*view \(2, 9, 7\).*what fits: ppo\.network=symbolic"
    ):
        made(network, SYMBOLS)


def test_the_symbolic_network_refuses_pixels() -> None:
    with pytest.raises(ConfigError, match=r"pixels \(64, 64, 3\).*what fits: .*env\.observation=symbolic"):
        made("symbolic", PIXELS)


def test_an_image_too_small_is_refused() -> None:
    small = {"pixels": ArraySpec((32, 32, 3), np.dtype(np.uint8), 0, 255)}
    with pytest.raises(ConfigError, match="36x36"):
        made("nature", small)


def test_an_unbounded_scalar_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'speed'.*finite"):
        made("tiny", {"speed": ArraySpec((1,), np.dtype(np.float32), -np.inf, np.inf)})


def test_sampled_actions_have_the_softmax_distribution() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0])
    number = 40_000
    actions, log_probs = sample_actions(logits.expand(number, 4), torch.Generator().manual_seed(0))
    expected = np.exp([2.0, 0.0, -1.0, 1.0]) / np.exp([2.0, 0.0, -1.0, 1.0]).sum()
    counts = np.bincount(actions.numpy(), minlength=4)
    chi_square = ((counts - number * expected) ** 2 / (number * expected)).sum()
    assert chi_square < 16.27  # 0.999 quantile for 3 degrees of freedom
    np.testing.assert_allclose(log_probs.numpy(), np.log(expected)[actions.numpy()], rtol=1e-5)
    again, _ = sample_actions(logits.expand(number, 4), torch.Generator().manual_seed(0))
    assert torch.equal(actions, again)


def test_log_probability_and_entropy() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 5)) * 3
    actions = rng.integers(0, 5, 6)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    log_probs, entropy = log_prob_and_entropy(torch.from_numpy(logits), torch.from_numpy(actions))
    np.testing.assert_allclose(log_probs.numpy(), np.log(probabilities[np.arange(6), actions]), rtol=1e-12)
    np.testing.assert_allclose(entropy.numpy(), [-sum(p * np.log(p) for p in row) for row in probabilities], rtol=1e-12)
