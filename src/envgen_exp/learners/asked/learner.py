"""`agent=direct`, `agent=spring`: a language model plays, one question or several for every action, and learns nothing.

Its episodes are those that the report evaluation of the same seed plays first. One that was broken off is played again
from its start with the answers that are on disk, so that none is bought twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from envgen_exp.config import LLMConfig, LLMKind, RunConfig
from envgen_exp.errors import CheckpointError, ConfigError
from envgen_exp.families.design import Design
from envgen_exp.families.family import Scene, Told
from envgen_exp.families.vector import Buffers, EpisodeRecord, VectorEnv, zero_observation
from envgen_exp.learners.asked import CHAINS
from envgen_exp.learners.asked.asked import AskedAgent
from envgen_exp.learners.asked.prompt import Step
from envgen_exp.learners.learner import NOBODY, Defaults, Onlooker, Played, seeded
from envgen_exp.llm.client import Client
from envgen_exp.llm.ledger import Totals
from envgen_exp.llm.prices import count_tokens, prices
from envgen_exp.llm.source import Message
from envgen_exp.seeding import WorldSet

ANSWER_TOKENS = 100
"""Length of an answer that a plan assumes."""


class Asked(Defaults):
    """A language model as the learner that learns nothing."""

    needs: ClassVar[type] = Told

    def __init__(self, config: RunConfig, family: Told, client: Client) -> None:
        """Raises ConfigError for an unknown chain, and for a stand-in that can't play."""
        settings = config.agent
        chain = CHAINS[settings.name]
        if config.llm.kind is LLMKind.offline:
            raise ConfigError(
                f"agent={settings.name}: llm={config.llm.name} writes designs by rules and can't play; allowed is a "
                "language model, e.g. llm=gpt4, or llm=local for a server of your own"
            )
        self._config = settings
        self._llm = self.llm(config)
        self._family = family
        self._client = client
        self._agent = AskedAgent(settings.name, chain, family.manual(settings.max_steps), settings.history)

    @classmethod
    def create(cls, config: RunConfig, family: Told, client: Client, total_steps: int) -> Asked:
        """Nothing is drawn."""
        return cls(config, family, client)

    @classmethod
    def slots(cls, config: RunConfig) -> int:
        """It trains in no design."""
        return 0

    @classmethod
    def llm(cls, config: RunConfig) -> LLMConfig:
        """Sampled by the run's seed, with the agent's bound on answers."""
        most = min(config.llm.max_tokens, config.agent.max_tokens)
        return dataclasses.replace(seeded(config.llm, config.seed), max_tokens=most)

    def plan(self) -> list[str]:
        """Episodes, calls and their price."""
        settings, scene = self._config, self._first_scene()
        # A step in the middle of an episode, with a history as long as it gets.
        steps = [Step(scene, self._family.manual(settings.max_steps).idle)] * settings.history
        chats = [chat for _, chat in self._agent.chats(steps, scene, " word" * ANSWER_TOKENS)]
        calls = len(chats) * settings.max_steps
        price = prices(self._llm)
        if not self._llm.kind.is_model:
            llm = f"0 (llm={self._llm.name} is not a language model)"
        else:
            cost = "price not known"
            if price is not None:
                a_step = price.cost(sum(count_tokens(chat) for chat in chats), len(chats) * ANSWER_TOKENS)
                an_episode = a_step * settings.max_steps
                cost = f"about ${an_episode:.2f} for one of that length, ${an_episode * settings.episodes:.2f} in all"
            llm = (
                f"{len(chats)} to {self._llm.model} for each step, at most {calls:,} in an episode "
                f"(more where an answer needs repair); {cost}"
            )
        return [
            f"playing     {settings.episodes:,} episodes of the original in worlds of the report evaluation, each cut "
            f"after {settings.max_steps:,} steps; nothing is trained",
            f"LLM calls   {llm}",
        ]

    def preview(self) -> list[tuple[str, list[Message]]]:
        """What is asked in the first step of an episode; the context once."""
        chats = self._agent.chats([], self._first_scene(), "...")
        return [
            (f"question {number}, {question.name}", chat if number == 1 else chat[1:])
            for number, (question, chat) in enumerate(chats, start=1)
        ]

    def pupil(self, seed: int) -> NoReturn:
        """Nobody asks for one in a run that designs nothing."""
        raise NotImplementedError

    def train(self, *_: object, **__: object) -> NoReturn:
        """Its runs have no training phase."""
        raise NotImplementedError

    def evaluate(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        quota: Sequence[int],
        stream: tuple[int | str, ...],
        onlooker: Onlooker = NOBODY,
    ) -> Played:
        """Episodes of the original one after the other, each numbered for the ledger; nothing is drawn."""
        records: list[EpisodeRecord] = []
        told: list[dict[str, Any]] = []
        for slot, (seed, episodes) in enumerate(zip(seeds, quota, strict=True)):
            with contextlib.closing(self._family.told_vector([seed], worlds, self._config.max_steps)) as env:
                out = Buffers.zeros(env.observation_spec, env.num_envs)
                env.reset(out.obs)
                for _ in range(episodes):
                    record, details = self._play(env, out, len(records) + 1, onlooker)
                    records.append(dataclasses.replace(record, slot=slot))
                    told.append(details)
                    onlooker.on_episode(records[-1])
        return Played(records, {"episodes": told})

    def _play(
        self, env: VectorEnv, out: Buffers, episode: int, onlooker: Onlooker
    ) -> tuple[EpisodeRecord, dict[str, Any]]:
        """One whole episode: its record, its actions by name, and how often an answer could not be used."""
        names = list(self._family.manual(self._config.max_steps).actions)
        steps: list[Step] = []
        repairs = idle = 0
        ended: list[EpisodeRecord] = []
        while not ended:
            scene = self._family.tell(out.obs, 0)
            decision = self._agent.act(self._client, episode, steps, scene)
            steps.append(Step(scene, decision.action))
            repairs += decision.repairs
            idle += decision.idle
            ended = env.step(np.array([names.index(decision.action)], dtype=np.int64), out)
            onlooker.on_step(actions=len(steps), dollars=self._client.totals().cost or None, repairs=repairs or None)
        actions = [step.action for step in steps]
        return ended[0], {"actions": actions, "repairs": repairs, "idle": idle}

    @classmethod
    def takings(
        cls,
        config: RunConfig,
        details: Mapping[str, Any],
        records: Sequence[EpisodeRecord],
        totals: Callable[[int], Totals],
    ) -> dict[str, list[float | None]]:
        """Calls, dollars, seconds, steps, repairs, idle steps, and 1 where agent.max_steps cut it."""
        told = details["episodes"]
        asked = [totals(episode) for episode in range(1, len(told) + 1)]
        cut: list[float | None] = [
            int(record.truncated and record.length == config.agent.max_steps) for record in records
        ]
        return {
            "calls": [one.calls for one in asked],
            "dollars": [one.cost if one.cost_known else None for one in asked],
            "seconds": [one.seconds for one in asked],
            "steps": [record.length for record in records],
            "repairs": [one["repairs"] for one in told],
            "idle": [one["idle"] for one in told],
            "cut": cut,
        }

    def export(self, folder: Path, *, origin: str) -> NoReturn:
        """There are no weights of ours."""
        raise ConfigError(f"agent={self._config.name}: a language model played there, nothing of it can be exported")

    def state_dict(self) -> dict[str, Any]:
        """Its answers are on disk, and that is all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up; CheckpointError for a state of an agent that learns."""
        if state:
            raise CheckpointError(f"checkpoint: holds an agent that learns, this run has agent={self._config.name}")

    def _first_scene(self) -> Scene:
        """What an episode begins with, in a world that nothing is scored in."""
        with contextlib.closing(self._family.told_vector([0], WorldSet.VALIDATION, 1)) as env:
            obs = zero_observation(env.observation_spec, env.num_envs)
            env.reset(obs)
            return self._family.tell(obs, 0)
