"""Achievement Distillation against independent derivations, its way through a run, and what it learns."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_gru import loaded
from test_rl_agent import NUM_ACTIONS, PIXELS, SYMBOLS, observations, shake
from test_rl_ppo import CPU, assert_same, reports_equal, through_a_file
from test_symmetry import mirrored_view
from torch.nn import functional as F

from envgen_exp.commands.compose import compose_run
from envgen_exp.errors import CheckpointError, ConfigError
from envgen_exp.families.crafter.observation import SYMMETRY
from envgen_exp.families.design import Design
from envgen_exp.families.symmetry import FLIPS, images
from envgen_exp.families.vector import ArraySpec, Buffers, EpisodeRecord, Observation
from envgen_exp.learners.ppo import export, ppo
from envgen_exp.learners.ppo.agent import Agent
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.distillation import Distillation, _Phase, matched
from envgen_exp.learners.ppo.evaluate import evaluate
from envgen_exp.learners.ppo.ppo import PPO, make_agent
from envgen_exp.learners.ppo.recall import Recall, contrast
from envgen_exp.learners.ppo.rollout import RolloutBuffer, collect, finish
from envgen_exp.learners.ppo.training import TrainingPhase
from envgen_exp.learners.ppo.transport import partial_transport

CHORES = 5
SPEC = {"seen": ArraySpec((2 * CHORES + 3,), np.dtype(np.float32), 0, 1)}


class Chores:
    """A `VectorEnv`: five chores, each rewarded with 1 the first time it is done, the last two after the one before.

    What is seen is which are done and how often something was tried, with noise beside. Action k does chore k.
    """

    num_actions, skills, observation_spec = CHORES + 1, tuple(f"chore_{k}" for k in range(CHORES)), SPEC

    def __init__(self, seeds: Sequence[int], length: int = 24) -> None:
        self.num_envs, self.length = len(seeds), length
        self.slots: list[dict[str, Any]] = [{"draw": seed, "episode": 0} for seed in seeds]

    def reset(self, obs: Observation) -> None:
        for index in range(self.num_envs):
            self._start(index, obs)

    def step(
        self, actions: NDArray[np.int64], out: Buffers, *, active: NDArray[np.bool_] | None = None
    ) -> list[EpisodeRecord]:
        records = []
        for index in range(self.num_envs):
            if active is not None and not active[index]:
                continue
            slot, chore = self.slots[index], int(actions[index])
            out.rewards[index] = 0.1 if slot["steps"] % 3 else -0.1
            allowed = chore < 3 or (chore < CHORES and slot["done"][chore - 1])
            if chore < CHORES and allowed and not slot["done"][chore]:
                slot["done"][chore] = 1
                out.rewards[index] += 1
            slot["steps"] += 1
            out.terminations[index], out.truncations[index] = False, slot["steps"] >= self.length
            if slot["steps"] >= self.length:
                done = tuple(slot["done"])
                records.append(EpisodeRecord(index, slot["episode"], 0, "x", self.length, sum(done), True, done))
                if out.final_obs is not None:
                    self._show(index, out.final_obs)
                self._start(index, out.obs)
            else:
                self._show(index, out.obs)
        return records

    def set_design(self, slot: int, design: Design | None, *, world: int | None = None) -> None: ...

    def get_state(self, slot: int) -> bytes:
        return json.dumps(self.slots[slot]).encode()

    def set_state(self, slot: int, state: bytes) -> None:
        self.slots[slot] = json.loads(state)

    def close(self) -> None: ...

    def _start(self, index: int, obs: Observation) -> None:
        slot = self.slots[index]
        slot.update(done=[0] * CHORES, steps=0, episode=slot["episode"] + 1)
        self._show(index, obs)

    def _show(self, index: int, obs: Observation) -> None:
        slot = self.slots[index]
        slot["draw"] = (slot["draw"] * 1103515245 + 12345) % 2**31
        noise = np.random.default_rng(slot["draw"]).random(CHORES + 2)
        obs["seen"][index] = [*slot["done"], slot["steps"] / self.length, *noise]


CONFIG = PPOConfig(
    name="test",
    network="tiny",
    num_envs=6,
    num_steps=20,
    num_minibatches=4,
    learning_rate=2e-3,
    aux_freq=4,
    aux_epochs=3,
)


def learner_of(config: PPOConfig = CONFIG, seed: int = 0, threads: int = 1) -> PPO:
    return PPO.create(config, SPEC, Chores.num_actions, seed, CPU, threads)


def chores(first_seed: int = 0, count: int = 6) -> Chores:
    return Chores(range(first_seed, first_seed + count))


def distillation_of(learner: PPO) -> Distillation:
    assert learner.distillation is not None
    return learner.distillation


# Optimal transport


def bregman(cost: NDArray[np.float64], iterations: int) -> NDArray[np.float64]:
    """The algorithm as Benamou et al. write it: three projections of a whole matrix, each with Dykstra's correction."""
    mass = float(min(cost.shape))
    plan = np.exp(-cost / 0.05)
    plan *= mass / plan.sum()
    corrections = [np.ones_like(plan) for _ in range(3)]

    def projected(number: int, plan: NDArray[np.float64]) -> NDArray[np.float64]:
        if number == 0:
            return np.diag(np.minimum(1 / plan.sum(1), 1)) @ plan
        if number == 1:
            return plan @ np.diag(np.minimum(1 / plan.sum(0), 1))
        return plan * mass / plan.sum()

    for _, number in itertools.product(range(iterations), range(3)):
        corrected = plan * corrections[number]
        after = projected(number, corrected)
        corrections[number] = corrected / after
        plan = after
    return plan


def test_transport_is_benamous_algorithm_for_problems_of_any_size() -> None:
    rng = np.random.default_rng(0)
    sizes = [(4, 4), (4, 7), (4, 1), (4, 3)]
    costs, there = torch.ones(4, 4, 7), torch.zeros(4, 4, 7, dtype=torch.bool)
    alone = [rng.uniform(0, 2, size) for size in sizes]
    for number, cost in enumerate(alone):
        costs[number, : cost.shape[0], : cost.shape[1]] = torch.from_numpy(cost)
        there[number, : cost.shape[0], : cost.shape[1]] = True
    plans = partial_transport(costs, there)
    for plan, cost, size in zip(plans, alone, sizes, strict=True):
        np.testing.assert_allclose(plan[: size[0], : size[1]], bregman(cost, 100), rtol=1e-4, atol=1e-8)
    assert not plans[~there].any()


def test_a_transport_plan_can_not_be_bettered() -> None:
    """The optimum's conditions: a full column has a price, and over each row cost, entropy and price add up alike."""
    cost = np.random.default_rng(1).uniform(0, 2, (3, 6))
    plan = partial_transport(torch.from_numpy(cost)[None], torch.ones(1, 3, 6, dtype=torch.bool), iterations=3000)[0]
    np.testing.assert_allclose(plan.sum(1), 1, atol=1e-4)
    columns = plan.sum(0).numpy()
    assert (columns < 1 + 1e-4).all()
    marginal = cost + 0.05 * np.log(plan.numpy())
    relative = marginal - marginal[:, columns.argmin(), None]
    np.testing.assert_allclose(relative, relative[:1].repeat(3, 0), atol=1e-4)
    assert (relative < 1e-4).all()
    assert np.abs(relative[:, columns < 0.99]).max() < 1e-4


def test_planted_pairs_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    own = F.normalize(torch.randn(5, 8, generator=generator), dim=1)
    order = torch.tensor([3, 0, 4])
    near = F.normalize(own[order] + 0.1 * torch.randn(3, 8, generator=generator), dim=1)
    far = F.normalize(torch.randn(2, 8, generator=generator), dim=1)
    partner, row, column = matched(own, [far, near])
    planted = partner == 1
    assert [*zip(row[planted].tolist(), column[planted].tolist(), strict=True)] == [(0, 1), (3, 0), (4, 2)]


# What is recalled


def test_the_published_weights() -> None:
    config = compose_run(["ppo=ad"]).ppo
    assert isinstance(config, PPOConfig)
    paper = compose_run(["ppo=paper"]).ppo
    assert dataclasses.replace(config, name="paper", aux_freq=0) == paper
    assert (config.aux_freq, config.aux_epochs, config.policy_dist_coef, config.value_dist_coef) == (8, 6, 1.0, 1.0)
    agent = make_agent(config, PIXELS, NUM_ACTIONS, torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in agent.parameters()) == 9_234_228
    assert agent.actor.weight.shape == (17, 2048)
    for name, parameter in agent.memory.named_parameters():
        if parameter.dim() == 2:
            scale = 1.4 if ".1." in name else 1.0
            torch.testing.assert_close(parameter.norm(dim=1), torch.full((len(parameter),), scale))


def test_prediction_and_contrast_by_hand() -> None:
    recall = Recall(((1,),), 4, 3, torch.Generator().manual_seed(0)).double()
    shake(recall)
    rng = np.random.default_rng(0)
    features, recalled, actions = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), np.array([0, 2, 1, 1, 0])
    w = {name: parameter.detach().numpy() for name, parameter in recall.named_parameters()}

    def layers(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        x = x * w[f"{name}.0.weight"] + w[f"{name}.0.bias"]
        return np.maximum(x @ w[f"{name}.1.weight"].T, 0) @ w[f"{name}.3.weight"].T + w[f"{name}.3.bias"]

    effect = layers("effect", np.eye(3)[actions])
    expected = layers("next", np.concatenate([(1 + effect[:, :4]) * features + effect[:, 4:], recalled], 1))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = recall.foretell(*map(torch.from_numpy, (features, actions, recalled)))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9)

    anchors, positives, negatives = F.normalize(torch.from_numpy(rng.normal(size=(3, 5, 4))), dim=2)
    logits = torch.stack([(anchors * x).sum(1) for x in (positives, negatives)], 1) / 0.1
    reference = F.cross_entropy(logits, torch.zeros(5, dtype=torch.long), reduction="none")
    torch.testing.assert_close(contrast(anchors, positives, negatives), reference)


def test_what_is_recalled_is_what_the_last_skill_changed() -> None:
    learner = learner_of()
    shake(learner.agent)
    env, buffer = chores(), RolloutBuffer(20, 6, SPEC, CPU, 64, 32)
    env.reset(buffer.obs_at[0])
    expected = torch.zeros(6, 32)
    shown = 0
    for _ in range(4):
        collect(learner.agent, learner.value_norm, env, buffer, 20, learner.action_generator)
        with torch.no_grad():
            features = learner.agent.encoder({"seen": buffer.obs["seen"].flatten(0, 1)}).view(21, 6, 32)
        for t in range(20):
            torch.testing.assert_close(buffer.recalled[t], expected)
            for slot in (buffer.rewards[t] > 0.5).nonzero().flatten():
                change = features[t + 1, slot] - features[t, slot]
                expected[slot] = change / change.norm()
                shown += 1
            expected[buffer.truncations[t]] = 0
        rollout = finish(buffer, 20, 0.95, 0.65)
        metrics = ppo.update(learner, rollout, dataclasses.replace(CONFIG, learning_rate=1e-12), 1000)
        assert abs(metrics["approx_kl"]) < 1e-9
        buffer.carry_over(20)
        torch.testing.assert_close(buffer.memory[:, :32], expected)
    assert shown > 40
    swapped = dataclasses.replace(rollout, recalled=rollout.recalled.roll(1, 1))
    assert ppo.update(learner, swapped, CONFIG, 1000)["approx_kl"] > 1e-7


def test_a_mirrored_game_is_recalled_mirrored() -> None:
    config = PPOConfig(network="symmetric", aux_freq=8)
    agent: Agent = make_agent(config, SYMBOLS, NUM_ACTIONS, torch.Generator().manual_seed(0), SYMMETRY)
    shake(agent)
    steps = [observations(SYMBOLS, 8, seed) for seed in range(2)]
    starts, rewards = torch.zeros(1, 8, dtype=torch.bool), torch.tensor([1.0, 0.1] * 4)

    def played(flip: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        seen = [obs | {"view": torch.from_numpy(mirrored_view(obs["view"].numpy(), flip).copy())} for obs in steps]
        with torch.inference_mode():
            _, _, state = agent.follow(seen[0], agent.nothing(8), starts, torch.zeros(8))
            logits, values, state = agent.follow(seen[1], state, starts, rewards)
        assert (state[:, : agent.encoder.num_features].norm(dim=1) > 0.9).tolist() == [True, False] * 4
        return logits, values

    logits, values = played(FLIPS[0])
    for flip in FLIPS[1:]:
        other_logits, other_values = played(flip)
        torch.testing.assert_close(other_logits[:, images(SYMMETRY.actions, flip)], logits, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(other_values, values, rtol=1e-4, atol=2e-5)
    with torch.inference_mode():
        assert (agent(steps[1])[1] - values)[::2].abs().min() > 1e-4


# The auxiliary phase


def filled(config: PPOConfig = CONFIG, rollouts: int = 4) -> PPO:
    """A learner that has played so many rollouts and learned nothing."""
    learner = learner_of(dataclasses.replace(config, learning_rate=1e-12))
    shake(learner.agent)
    steps = rollouts * config.num_envs * config.num_steps
    phase = TrainingPhase(learner, chores(count=config.num_envs), steps, learner.config, steps)
    distillation = distillation_of(learner)
    distillation.learn = lambda *_: {}  # type: ignore[method-assign,assignment]
    list(phase)
    del distillation.learn
    return learner


def test_whole_episodes_are_found_across_rollouts_but_not_across_phases() -> None:
    learner = filled(rollouts=6)
    distillation = distillation_of(learner)
    # Steps 40 to 119 are kept; of episodes of 24 steps those that began at 48, 72 and 96 are whole.
    found = distillation.episodes()
    assert len(found) == 3 * 6
    for episode in found:
        seen = distillation.kept("obs seen", episode.steps)
        torch.testing.assert_close(seen[:, CHORES] * 24, torch.arange(24.0))
        done = seen[:, :CHORES].sum(1)
        assert episode.skills.tolist() == ((done[1:] - done[:-1]).nonzero().flatten() + 1).tolist()
    # Another phase begins in the next rollout: what was in flight is never whole, what began later is.
    phase = TrainingPhase(learner, chores(50), 3 * 120, learner.config, 360)
    distillation.learn = lambda *_: {}  # type: ignore[method-assign,assignment]
    list(phase)
    lengths = [len(episode.steps) for episode in distillation.episodes()]
    assert lengths == [24] * 6  # 24 to 47 of the second phase; the first phase's last rollout holds no whole one


def test_a_prediction_step_is_what_the_formulas_say() -> None:
    learner = filled()
    distillation, norm = distillation_of(learner), learner.value_norm
    config = dataclasses.replace(CONFIG, policy_dist_coef=0.5, value_dist_coef=2.0)
    distillation.config = config
    phase = _Phase(distillation, learner.team, norm)
    shake(learner.agent, seed=7)  # away from the policy before
    index = 1
    episode, recall, agent = phase.episodes[index], distillation.recall, learner.agent
    seen = distillation.kept("obs seen", episode.steps)
    actions, recalled = (distillation.kept(name, episode.steps) for name in ("actions", "recalled"))
    returns = distillation.kept("returns", episode.steps)
    other = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    steps = episode.steps
    following = torch.searchsorted(episode.skills, torch.arange(24), right=True)
    with torch.no_grad():
        ends = F.pad(phase._features(steps[episode.skills]), (0, 0, 0, 1))
        changes = recall.change(phase._features(torch.cat([steps[episode.skills - 1], steps[-1:]])), ends)
    gradients, terms = phase._predict(index, changes[following], other, 24, torch.arange(24))

    # The same, step by step.
    encode = agent.encoder
    goals = [*episode.skills.tolist()]
    total = torch.zeros(())
    found = []
    for t in range(24):
        later = [goal for goal in goals if goal > t]
        with torch.no_grad():
            if later:
                anchor = encode({"seen": seen[later[0]][None]}) - encode({"seen": seen[later[0] - 1][None]})
            else:
                anchor = -encode({"seen": seen[-1:]})
            anchor = anchor / anchor.norm()
        logit, kls, errors = [], [], []
        for s in (t, int(other[t])):
            features = encode({"seen": seen[s][None]})
            said = recall.foretell(features, actions[s][None], recalled[s][None])
            logit.append((anchor * said).sum() / 0.1)
            joined = torch.cat([features, recalled[s][None]], 1)
            policy = torch.distributions.Categorical(logits=agent.actor(joined)[0])
            before = torch.distributions.Categorical(logits=phase.before[phase.firsts[index] + s])
            kls.append(torch.distributions.kl_divergence(policy, before))
            errors.append((agent.critic(joined)[0, 0] - norm.normalize(returns[s])) ** 2)
        parts = [torch.logsumexp(torch.stack(logit), 0) - logit[0], sum(kls) / 2, sum(errors) / 2]
        total = total + (parts[0] + 0.5 * parts[1] + 2.0 * parts[2]) / 24
        found.append(torch.stack([torch.as_tensor(part) for part in parts]))
    torch.testing.assert_close(terms[1:], torch.stack(found).mean(0).detach())
    assert float(terms[2]) > 1e-4
    expected = torch.autograd.grad(total, distillation.parameters, materialize_grads=True)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_matching_step_is_what_the_formulas_say() -> None:
    learner = filled()
    distillation = distillation_of(learner)
    phase = _Phase(distillation, learner.team, learner.value_norm)
    shake(learner.agent, seed=7)
    source, target = phase.episodes[2], phase.episodes[5]
    encode = learner.agent.encoder

    def change(episode: Any, skill: int) -> torch.Tensor:
        seen = distillation.kept("obs seen", episode.steps)
        step = int(episode.skills[skill])
        return F.normalize(encode({"seen": seen[step][None]}) - encode({"seen": seen[step - 1][None]}), dim=1)

    with torch.no_grad():
        positives, negatives = (torch.cat([change(target, k) for k in ks]) for ks in ((0, 1), (1, 1)))
    row, held = torch.tensor([1, 0]), torch.tensor([4, 9])
    gradients, terms = phase._match(2, (row, positives, negatives, held), 2, torch.arange(2))
    anchors = torch.cat([change(source, 1), change(source, 0)])
    logits = torch.stack([(anchors * positives).sum(1), (anchors * negatives).sum(1)], 1) / 0.1
    loss = F.cross_entropy(logits, torch.zeros(2).long())
    torch.testing.assert_close(terms[1], loss.detach())
    seen, recalled, returns = (distillation.kept(n, source.steps[held]) for n in ("obs seen", "recalled", "returns"))
    joined = torch.cat([encode({"seen": seen}), recalled], 1)
    policy, before = F.log_softmax(learner.agent.actor(joined), 1), phase.before[phase.firsts[2] + held]
    kl = F.kl_div(before, policy, reduction="batchmean", log_target=True)
    error = F.mse_loss(learner.agent.critic(joined)[:, 0], learner.value_norm.normalize(returns))
    expected = torch.autograd.grad(loss + kl + error, distillation.parameters, materialize_grads=True)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert not any(
        gradient.any()
        for name, gradient in zip(dict(learner.agent.named_parameters()), gradients, strict=True)
        if name.startswith("memory")
    )


@pytest.fixture(scope="module")
def trained() -> tuple[PPO, list[dict[str, float]]]:
    learner = learner_of()
    steps = 20 * 120
    reports = list(TrainingPhase(learner, chores(), steps, CONFIG, steps))
    return learner, [report.metrics for report in reports if "aux/phases" in report.metrics]


def test_the_same_skills_are_told_and_the_next_one_foretold(trained: tuple[PPO, list[dict[str, float]]]) -> None:
    learner, phases = trained
    assert [phase["aux/phases"] for phase in phases] == [1, 2, 3, 4, 5]
    assert phases[-1]["prediction"] < 0.8 * phases[0]["prediction"]
    # Of the five skills that a wrong one is drawn from one is the right one.
    assert phases[-1]["matching"] < 0.02 + math.log(2) / 5 < phases[0]["matching"]
    distillation = distillation_of(learner)
    skills = [distillation.kept("obs seen", e.steps)[:, :CHORES].diff(dim=0) for e in distillation.episodes()]
    named = [part[e.skills - 1].argmax(1) for part, e in zip(skills, distillation.episodes(), strict=True)]
    with torch.no_grad():
        changes = [
            distillation.recall.change(
                learner.agent.features(distillation.seen(e.steps[e.skills - 1])),
                learner.agent.features(distillation.seen(e.steps[e.skills])),
            )
            for e in distillation.episodes()
        ]
    partner, row, column = matched(changes[0], changes[1:])
    right = [named[0][r] == named[p + 1][c] for p, r, c in zip(partner, row, column, strict=True)]
    assert len(right) > 30
    assert np.mean(right) > 0.95


def test_a_resumed_phase_goes_on_bit_for_bit() -> None:
    steps, config = 6 * 120, dataclasses.replace(CONFIG, aux_freq=3, aux_epochs=1)

    def phase(learner: PPO, first_seed: int = 0) -> TrainingPhase:
        return TrainingPhase(learner, chores(first_seed), steps, config, steps)

    whole, before, after = (learner_of(config, seed) for seed in (0, 0, 9))
    expected = list(phase(whole))
    running = phase(before)
    iterator = iter(running)
    reports = [next(iterator) for _ in range(4)]
    saved = through_a_file({"learner": before.state_dict(), "phase": running.state_dict()})
    assert saved["learner"]["distillation"]["packed"].keys() == {0, 1, 2}
    after.load_state_dict(saved["learner"])
    resumed = phase(after, 50)
    resumed.load_state_dict(saved["phase"])
    reports += list(resumed)
    assert whole.distillation is not None
    assert whole.distillation.phases == 2
    assert all(map(reports_equal, reports, expected))
    assert_same(after.state_dict(), whole.state_dict())


def test_a_checkpoint_of_another_kind_is_refused() -> None:
    learner = learner_of()
    list(TrainingPhase(learner, chores(), 120, CONFIG, 120))
    saved = through_a_file(learner.state_dict())
    saved["distillation"]["packed"][0] = saved["distillation"]["packed"][0][:40]
    with pytest.raises(CheckpointError, match="does not fit this agent"):
        learner_of().load_state_dict(saved)
    without = learner_of(dataclasses.replace(CONFIG, aux_freq=0))
    with pytest.raises(CheckpointError, match="does not fit this agent"):
        learner_of().load_state_dict(without.state_dict())


def test_an_exported_agent_is_given_its_rewards(trained: tuple[PPO, list[dict[str, float]]], tmp_path: Path) -> None:
    learner, generator = trained[0], torch.Generator().manual_seed(4)
    agent, env, rewards = loaded(learner, SPEC, Chores.num_actions, tmp_path), chores(70, 3), np.zeros(3, np.float32)
    assert "act(agent, obs, generator, memory, rewards)" in (tmp_path / "README.md").read_text()
    out = Buffers.zeros(SPEC, 3)
    env.reset(out.obs)
    expected = evaluate(learner.agent, chores(70, 3), [1, 1, 1], torch.Generator().manual_seed(4), CPU)
    memory, records = agent.nothing(3), []
    while not records:
        records = env.step(export.act(agent, out.obs, generator, memory, rewards), out)
        rewards = out.rewards.copy()
    assert records == expected


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ppo\.aux_freq=8: allowed with ppo\.memory is 0") as caught:
        compose_run(["ppo=ad", "ppo.memory=16"])
    assert "\n" not in str(caught.value)
