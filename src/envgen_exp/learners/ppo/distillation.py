"""Achievement Distillation (Moon et al. 2023, arXiv 2307.03486): after every few rollouts an auxiliary phase.

From the whole episodes of these rollouts the features learn what skill comes next in an episode (contrastive
prediction), and which skills of two episodes are the same (optimal transport matches them, a contrastive loss brings
them together), while policy and values are held where they are. Values and their sources are in docs/ppo.md.
"""

from __future__ import annotations

import copy
import functools
import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.ppo.agent import Agent
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.descent import Adam, Descent
from envgen_exp.learners.ppo.recall import SHOWN, Recall, contrast
from envgen_exp.learners.ppo.rollout import Rollout, RolloutBuffer, torch_dtype
from envgen_exp.learners.ppo.team import Team
from envgen_exp.learners.ppo.transport import partial_transport
from envgen_exp.learners.ppo.value_norm import ValueNorm

BATCH = 512
"""Samples of a minibatch, at most."""
PARTNERS = 16
"""Episodes that an episode's skills are matched with, at most."""
MATCHED = 0.5
"""Two skills are the same where more than this of a skill's mass is moved."""


Part: TypeAlias = tuple[tuple[Tensor, ...], Tensor]
"""Gradients and terms, both weighted with the part's share of its minibatch."""


@dataclass(frozen=True)
class Episode:
    """A whole episode among the steps that are kept."""

    steps: Tensor
    """(L,), where each stands."""
    skills: Tensor
    """(K,), the steps of it whose observation came with a skill's reward."""


class Distillation:
    """The latest `aux_freq` rollouts, and what the auxiliary phases carry on: two optimizers and a stream."""

    def __init__(
        self, config: PPOConfig, agent: Agent, observation_spec: Mapping[str, ArraySpec], generator: torch.Generator
    ) -> None:
        assert isinstance(agent.memory, Recall)
        self.config, self.agent, self.recall, self.generator = config, agent, agent.memory, generator
        self.optimizers = [
            Adam(agent.parameters(), lr=config.learning_rate, eps=config.adam_eps, fused=True) for _ in range(2)
        ]
        """Of matching and of prediction."""
        self.parameters = list(agent.parameters())
        self.rollouts = self.phases = 0
        self._spec = observation_spec
        self._kept: dict[str, Tensor] = {}
        """By name (aux_freq, num_steps, num_envs, ...), on the host; a rollout's place is its number mod aux_freq."""
        self._lengths = [0] * config.aux_freq
        self._begin = [True] * config.aux_freq
        """Whether a phase of training begins with this rollout, so that its games are none that went before."""
        self._packed: dict[int, Tensor] = {}
        """Those rollouts, compressed, that a checkpoint has asked for."""

    def remember(self, buffer: RolloutBuffer, rollout: Rollout, *, begins: bool) -> None:
        """Keep a rollout in place of the oldest."""
        length = len(rollout.actions)
        parts = {f"obs {name}": x[:length] for name, x in buffer.obs.items()} | {
            "actions": buffer.actions[:length],
            "returns": rollout.returns,
            "recalled": rollout.recalled,
            "shown": buffer.rewards[:length] > SHOWN,
            "ended": buffer.terminations[:length] | buffer.truncations[:length],
        }
        place = self.rollouts % self.config.aux_freq
        self._allocate()
        for name, x in parts.items():
            self._kept[name][place, :length] = x
        self._lengths[place], self._begin[place] = length, begins
        self._packed.pop(place, None)
        self.rollouts += 1

    @property
    def due(self) -> bool:
        """Whether an auxiliary phase comes now."""
        return self.rollouts % self.config.aux_freq == 0

    def episodes(self) -> list[Episode]:
        """The whole episodes that are kept, by slot, but for those in which no skill was shown before the last step.

        An episode that began before the rollouts or before its phase of training isn't whole.
        """
        oldest = max(0, self.rollouts - self.config.aux_freq)
        places = [number % self.config.aux_freq for number in range(oldest, self.rollouts)]
        num_steps, num_envs = self._kept["ended"].shape[1:]
        line = torch.cat([torch.arange(self._lengths[place]) + place * num_steps for place in places])
        ended, shown = (self._kept[name].flatten(0, 1)[line] for name in ("ended", "shown"))
        lengths = itertools.accumulate([0, *(self._lengths[place] for place in places)])
        begins = [first for first, place in zip(lengths, places, strict=False) if self._begin[place]]
        found = []
        for slot in range(num_envs):
            for last, end in itertools.pairwise(ended[:, slot].nonzero().flatten().tolist()):
                skills = shown[last + 1 : end, slot].nonzero().flatten() + 1
                if len(skills) and not any(last < begin <= end for begin in begins):
                    found.append(Episode(line[last + 1 : end + 1] * num_envs + slot, skills))
        return found

    def learn(self, team: Team, value_norm: ValueNorm, learning_rate: float) -> dict[str, float]:
        """An auxiliary phase; its metrics, means over its minibatches. NumericsError as in `update`."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        phase = _Phase(self, team, value_norm)
        for _ in range(self.config.aux_epochs):
            phase.match()
            phase.predict()
        self.phases += 1
        return {"aux/phases": self.phases, "aux/episodes": len(phase.episodes), **phase.metrics()}

    def seen(self, steps: Tensor) -> dict[str, Tensor]:
        """The observations of these steps, on the agent's device."""
        return {name: self.kept(f"obs {name}", steps) for name in self._spec}

    def kept(self, name: str, steps: Tensor) -> Tensor:
        """What is kept under this name of these steps, on the agent's device."""
        return self._kept[name].flatten(0, 2).index_select(0, steps).to(self.parameters[0].device)

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything, the rollouts compressed."""
        for place in range(min(self.rollouts, self.config.aux_freq)):
            if place not in self._packed:
                # By slot, so that what repeats itself step by step lies together.
                parts = [x[place, : self._lengths[place]].transpose(0, 1).contiguous() for x in self._kept.values()]
                data = b"".join(part.numpy().tobytes() for part in parts)
                self._packed[place] = torch.frombuffer(bytearray(zlib.compress(data, 1)), dtype=torch.uint8)
        return {
            "rollouts": self.rollouts,
            "phases": self.phases,
            "lengths": list(self._lengths),
            "begin": list(self._begin),
            "packed": dict(self._packed),
            "optimizers": [copy.deepcopy(optimizer.state_dict()) for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; ValueError and the like where it doesn't fit."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(copy.deepcopy(saved))
        self.generator.set_state(state["generator"].cpu())
        self.rollouts, self.phases = int(state["rollouts"]), int(state["phases"])
        self._lengths, self._begin = list(state["lengths"]), list(state["begin"])
        if {len(self._lengths), len(self._begin)} != {self.config.aux_freq}:
            raise ValueError(f"it keeps {len(self._lengths)} rollouts, and ppo.aux_freq is {self.config.aux_freq}")
        self._packed = dict(state["packed"])
        self._allocate()
        for place, packed in self._packed.items():
            parts = [x[place, : self._lengths[place]] for x in self._kept.values()]
            size = sum(part.numel() * part.element_size() for part in parts)
            data = zlib.decompressobj().decompress(packed.numpy().tobytes(), size)
            first = 0
            for part in parts:
                flat = torch.frombuffer(bytearray(data), dtype=part.dtype, count=part.numel(), offset=first)
                part.copy_(flat.view(part.transpose(0, 1).shape).transpose(0, 1))
                first += part.numel() * part.element_size()

    def _allocate(self) -> None:
        config = self.config
        shape = config.aux_freq, config.num_steps, config.num_envs
        if not self._kept:
            kinds = {"actions": torch.int64, "returns": torch.float32, "shown": torch.bool, "ended": torch.bool}
            self._kept = {"recalled": torch.zeros(*shape, self.recall.num_features)} | {
                **{name: torch.zeros(shape, dtype=dtype) for name, dtype in kinds.items()},
                **{
                    f"obs {name}": torch.zeros(*shape, *spec.shape, dtype=torch_dtype(spec.dtype))
                    for name, spec in self._spec.items()
                },
            }


class _Phase:
    """One auxiliary phase."""

    def __init__(self, own: Distillation, team: Team, value_norm: ValueNorm) -> None:
        self.own, self.agent, self.recall, self.config = own, own.agent, own.recall, own.config
        self.team, self.value_norm = team, value_norm
        self.episodes = own.episodes()
        names = "contrast", "policy_distance", "value_distance"
        self.matching, self.predicting = (
            Descent(what, optimizer, own.config.max_grad_norm, names)
            for what, optimizer in zip(("matching step", "prediction step"), own.optimizers, strict=True)
        )
        self.pairs = 0
        """Skills that were matched, in all passes."""
        steps = [part for episode in self.episodes for part in torch.split(episode.steps, BATCH)]
        with torch.no_grad():
            before = [F.log_softmax(self._look(part)[1], dim=1) for part in steps]
        self.before = torch.cat(before) if before else torch.empty(0)
        """The policy's log-probabilities (steps, A) before the phase, episode by episode."""
        self.firsts = [0, *itertools.accumulate(len(episode.steps) for episode in self.episodes)]

    def match(self) -> None:
        """Of each episode, bring its skills together with the same ones of other episodes."""
        for index in self._shuffled(len(self.episodes)).tolist():
            others = self._shuffled(len(self.episodes) - 1)[:PARTNERS]
            if not len(others):
                return
            all_of_them = [self.episodes[index], *(self.episodes[i + (i >= index)] for i in others.tolist())]
            counts = [len(episode.skills) for episode in all_of_them]
            with torch.no_grad():
                changes = self.recall.change(
                    self._features(torch.cat([episode.steps[episode.skills - 1] for episode in all_of_them])),
                    self._features(torch.cat([episode.steps[episode.skills] for episode in all_of_them])),
                )
            own, *theirs = torch.split(changes, counts)
            partner, row, column = matched(own, theirs)
            self.pairs += len(row)
            firsts = torch.tensor([0, *itertools.accumulate(counts[1:])])[partner]
            wrong = (torch.rand(len(row), generator=self.own.generator) * torch.tensor(counts[1:])[partner]).long()
            held = torch.randint(len(all_of_them[0].steps), (len(row),), generator=self.own.generator)
            others_changes = torch.cat(theirs)
            for drawn in torch.split(self._shuffled(len(row)), BATCH) if len(row) else ():
                self._see_returns(all_of_them[0].steps[held[drawn]])
                pairs = row, others_changes[firsts + column], others_changes[firsts + wrong], held
                part = functools.partial(self._match, index, pairs, len(drawn))
                self.matching.step(self.team.map(part, self.team.split(drawn)))

    def predict(self) -> None:
        """At each step of each episode, say what change the next skill will make, or that none comes."""
        for index in self._shuffled(len(self.episodes)).tolist():
            steps, skills = self.episodes[index].steps, self.episodes[index].skills
            other = self._shuffled(len(steps))
            following = torch.searchsorted(skills, torch.arange(len(steps)), right=True)
            for drawn in torch.split(self._shuffled(len(steps)), BATCH):
                with torch.no_grad():
                    # After the last skill it is the change from the last observation to nothing.
                    before = self._features(torch.cat([steps[skills - 1], steps[-1:]]))
                    after = F.pad(self._features(steps[skills]), (0, 0, 0, 1))
                    changes = self.recall.change(before, after)
                self._see_returns(steps[torch.cat([drawn, other[drawn]])])
                part = functools.partial(self._predict, index, changes[following], other, len(drawn))
                self.predicting.step(self.team.map(part, self.team.split(drawn)))

    def metrics(self) -> dict[str, float]:
        """Means over minibatches, of those losses that there were."""
        found: dict[str, float] = {"aux/pairs": self.pairs / self.config.aux_epochs}
        distances: list[Tensor] = []
        for name, descent in (("matching", self.matching), ("prediction", self.predicting)):
            if descent.rows:
                found[name] = descent.read()[0]
                distances += [row[1:3] for row in descent.rows]
        if distances:
            policy, value = torch.stack(distances).mean(0).tolist()
            found |= {"policy_distance": policy, "value_distance": value}
        return found

    def _match(self, index: int, pairs: tuple[Tensor, ...], batch: int, drawn: Tensor) -> Part:
        """What these pairs of a minibatch of that size add to its gradients and to its terms."""
        steps, skills = self.episodes[index].steps, self.episodes[index].skills
        row, positives, negatives, held = (part[drawn] for part in pairs)
        made = self._features(torch.cat([steps[skills - 1], steps[skills]]))
        changes = self.recall.change(*made.chunk(2)).index_select(0, row.to(made.device))
        _, logits, values, _ = self._look(steps[held])
        loss = contrast(changes, positives, negatives).mean()
        returns, before = self.own.kept("returns", steps[held]), self.before[self.firsts[index] + held]
        return self._held(loss, logits, values, returns, before, len(drawn) / batch)

    def _predict(self, index: int, anchors: Tensor, other: Tensor, batch: int, drawn: Tensor) -> Part:
        """The same of these steps, each with another one of the episode as what it is not."""
        each, places = torch.unique(torch.cat([drawn, other[drawn]]), return_inverse=True)
        steps = self.episodes[index].steps[each]
        features, logits, values, recalled = self._look(steps)
        foretold = self.recall.foretell(features, self.own.kept("actions", steps), recalled)
        places = places.to(foretold.device)
        positives, negatives = foretold.index_select(0, places).chunk(2)
        loss = contrast(anchors[drawn], positives, negatives).mean()
        known = logits, values, self.own.kept("returns", steps), self.before[self.firsts[index] + each]
        logits, values, returns, before = (x.index_select(0, places) for x in known)
        return self._held(loss, logits, values, returns, before, len(drawn) / batch)

    def _held(
        self, loss: Tensor, logits: Tensor, values: Tensor, returns: Tensor, before: Tensor, share: float
    ) -> Part:
        """Gradients and terms of a part: a loss, and the distances from the policy before and from the returns."""
        policy = F.log_softmax(logits, dim=1)
        policy_distance = (policy.exp() * (policy - before)).sum(1).mean()
        value_distance = F.mse_loss(values, self.value_norm.normalize(returns))
        total = loss + self.config.policy_dist_coef * policy_distance + self.config.value_dist_coef * value_distance
        gradients = torch.autograd.grad(share * total, self.own.parameters, materialize_grads=True)
        return gradients, share * torch.stack([total, loss, policy_distance, value_distance]).detach()

    def _look(self, steps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features, logits, values, and what was recalled, of these steps."""
        features, recalled = self._features(steps), self.own.kept("recalled", steps)
        return features, *self.agent.judge(self.recall.beside(features, recalled)), recalled

    def _features(self, steps: Tensor) -> Tensor:
        return self.agent.features(self.own.seen(steps))

    def _see_returns(self, steps: Tensor) -> None:
        self.value_norm.update(self.own.kept("returns", steps))

    def _shuffled(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.own.generator)


def matched(own: Tensor, theirs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Which skills of an episode (K, n) and of others (each (L, n)) are the same: three indices (pairs,), the other
    episode, the skill of this one and the other's. Their changes have length 1; how far two are apart is 1 - cosine."""
    padded = torch.nn.utils.rnn.pad_sequence(list(theirs), batch_first=True)
    counts = torch.tensor([len(changes) for changes in theirs], device=own.device)
    there = torch.arange(padded.shape[1], device=own.device) < counts.view(-1, 1, 1)
    costs = 1 - torch.einsum("kn,pln->pkl", own, padded)
    plans = partial_transport(costs, there.expand_as(costs))
    return (plans > MATCHED).nonzero().cpu().unbind(1)
