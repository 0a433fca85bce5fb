"""A language model plays: episodes of the original, one question or several for every action, and nothing trained.

The episodes are those that the report evaluation of the same seed plays first. An episode that was broken off is
played again from its start with the answers that are on disk, so that none is bought twice.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envgen_exp import seeding
from envgen_exp.config import LLMConfig, LLMKind, RunConfig, Verbosity, arm, design_set, diagnostics
from envgen_exp.errors import ConfigError
from envgen_exp.families import make_family
from envgen_exp.families.family import Scene, ToldFamily
from envgen_exp.families.vector import EpisodeRecord, Observation, VectorEnv
from envgen_exp.learners.asked import chain_of
from envgen_exp.learners.asked.asked import AskedAgent
from envgen_exp.learners.asked.prompt import Step
from envgen_exp.learners.skills import SkillReport, success_counts
from envgen_exp.llm.client import Client, check_ready, make_client
from envgen_exp.llm.prices import count_tokens, prices
from envgen_exp.reporting.run.played import make_played_report
from envgen_exp.reporting.run.summary import RunSummary, Successes, print_summary
from envgen_exp.reporting.statistics import score_interval
from envgen_exp.run.folder import RunFolder, read_config, write_atomic, write_json
from envgen_exp.run.preparation import open_folder, resume_command
from envgen_exp.run.stopping import Stopped, stoppable
from envgen_exp.seeding import WorldSet
from envgen_exp.tracking.metrics import episode_row, episode_values, row
from envgen_exp.tracking.progress import Progress, make_console, make_progress

REPORT = "report-evaluation"
"""The phase whose name episodes and metrics bear: these episodes are what a report evaluation is."""

ANSWER_TOKENS = 100
"""Length of an answer that a plan assumes."""


@dataclass(frozen=True)
class Prepared:
    """A run that can start."""

    config: RunConfig
    llm: LLMConfig
    """The model, with the run's seed and the agent's bound on answers."""
    family: ToldFamily
    agent: AskedAgent


def run(config: RunConfig, argv: Sequence[str]) -> int:
    """Play the run's episodes, or what is left of them, and return the exit status. Raises EnvGenError."""
    prepared = prepare(config)
    if config.resume is None and (config.verbosity is not Verbosity.quiet or config.dry_run):
        print(tell_plan(prepared), flush=True)
    if config.dry_run:
        print(tell_messages(prepared))
        return 0
    chosen = {"engine": prepared.family.engine}
    with stoppable() as stop, open_folder(config, chosen, argv) as folder:

        def stopped(why: str) -> None:
            print(f"stopped by {why}; to go on:\n{resume_command(folder, config)}", flush=True)

        stop.emergency = stopped
        try:
            play(prepared, folder)
        except Stopped as caught:
            stopped(str(caught))
            return caught.exit_status
        except Exception:
            print(f"to go on:\n{resume_command(folder, config)}", flush=True)
            raise
    return 0


def prepare(config: RunConfig) -> Prepared:
    """Make what a run needs; EnvGenError for whatever would fail later."""
    name, family = config.agent.name, make_family(config.env)
    chain = chain_of(name)
    if not isinstance(family, ToldFamily):
        raise ConfigError(f"agent={name}: env={config.env.name} can't be told in words; allowed is env=crafter")
    if config.llm.kind is LLMKind.offline:
        raise ConfigError(
            f"agent={name}: llm={config.llm.name} writes designs by rules and can't play; allowed is a language model, "
            "e.g. llm=gpt4, or llm=local for a server of your own"
        )
    seed = config.seed if config.llm.seed is None else config.llm.seed
    llm = replace(config.llm, seed=seed, max_tokens=min(config.llm.max_tokens, config.agent.max_tokens))
    if not config.dry_run:  # which asks nobody
        check_ready(llm)
    agent = AskedAgent(name, chain, family.manual(config.agent.max_steps), config.agent.history)
    return Prepared(config, llm, family, agent)


def tell_plan(prepared: Prepared) -> str:
    """The plan in words."""
    config, agent = prepared.config, prepared.config.agent
    scene = first_scene(prepared)
    # A step in the middle of an episode, with a history as long as it gets.
    steps = [Step(scene, prepared.family.manual(agent.max_steps).idle)] * agent.history
    chats = [chat for _, chat in prepared.agent.chats(steps, scene, " word" * ANSWER_TOKENS)]
    calls = len(chats) * agent.max_steps
    price = prices(prepared.llm)
    if not config.llm.kind.is_model:
        llm = f"0 (llm={config.llm.name} is not a language model)"
    else:
        cost = "price not known"
        if price is not None:
            a_step = price.cost(sum(count_tokens(chat) for chat in chats), len(chats) * ANSWER_TOKENS)
            an_episode = a_step * agent.max_steps
            cost = f"about ${an_episode:.2f} for one of that length, ${an_episode * agent.episodes:.2f} in all"
        llm = (
            f"{len(chats)} to {config.llm.model} for each step, at most {calls:,} in an episode "
            f"(more where an answer needs repair); {cost}"
        )
    return "\n".join(
        (
            f"plan        env={config.env.name} arm={arm(config)} agent={agent.name} llm={config.llm.name} "
            f"seed={config.seed}",
            f"playing     {agent.episodes:,} episodes of the original in worlds of the report evaluation, each cut "
            f"after {agent.max_steps:,} steps; nothing is trained",
            f"LLM calls   {llm}",
        )
    )


def tell_messages(prepared: Prepared) -> str:
    """What is asked in the first step of an episode."""
    lines: list[str] = []
    for number, (question, chat) in enumerate(prepared.agent.chats([], first_scene(prepared), "..."), start=1):
        for message in chat if number == 1 else chat[1:]:
            title = f"question {number}, {question.name}, {message['role']}, about {count_tokens([message]):,} tokens"
            lines += ["", f"--- {title}", message["content"].rstrip()]
    return "\n".join(lines)


def first_scene(prepared: Prepared) -> Scene:
    """What an episode begins with, in a world that nothing is scored in."""
    with contextlib.closing(prepared.family.told_vector([0], WorldSet.VALIDATION, 1)) as env:
        obs = buffers(env)
        env.reset(obs)
        return prepared.family.tell(obs, 0)


def buffers(env: VectorEnv) -> Observation:
    """Arrays for an observation of every slot."""
    return {name: np.zeros((env.num_envs, *spec.shape), spec.dtype) for name, spec in env.observation_spec.items()}


def play(prepared: Prepared, folder: RunFolder) -> None:
    """Play every episode that is not finished yet, then write and print what was found."""
    config = prepared.config
    client = make_client(prepared.llm, folder.llm, prepared.family, run=folder.path.name, threads=config.num_threads)
    # As the report evaluation: its slots' first episodes, in order.
    seeds = seeding.integers(config.seed, "worlds", "report", count=config.agent.episodes)
    progress = make_progress(make_console(), verbosity=config.verbosity)
    try:
        for episode, seed in enumerate(seeds, start=1):
            name = f"episode{episode}"
            if not folder.has_phase(episode - 1, name):
                progress.phase(name, config.agent.max_steps, episode, unit="actions")
                folder.finish_phase(episode - 1, name, play_episode(prepared, client, episode, seed, progress))
    finally:
        client.rest()
        progress.close()
    print_summary(finish(prepared, folder, client), make_console())


def play_episode(prepared: Prepared, client: Client, episode: int, seed: int, progress: Progress) -> dict[str, Any]:
    """One whole episode: its record, its actions by name, and how often an answer could not be used."""
    config, family, agent = prepared.config, prepared.family, prepared.agent
    names = list(family.manual(config.agent.max_steps).actions)
    steps: list[Step] = []
    repairs = idle = 0
    with contextlib.closing(family.told_vector([seed], WorldSet.REPORT, config.agent.max_steps)) as env:
        obs = buffers(env)
        rewards = np.zeros(1, np.float32)
        terminations, truncations = np.zeros(1, np.bool_), np.zeros(1, np.bool_)
        env.reset(obs)
        ended: list[EpisodeRecord] = []
        while not ended:
            scene = family.tell(obs, 0)
            decision = agent.act(client, episode, steps, scene)
            steps.append(Step(scene, decision.action))
            repairs += decision.repairs
            idle += decision.idle
            action = np.array([names.index(decision.action)], dtype=np.int64)
            ended = env.step(action, obs, rewards, terminations, truncations)
            progress.detail(f"episode {episode}, step {len(steps)}: {decision.action}")
            progress.update(len(steps), dollars=client.totals().cost or None, repairs=repairs or None)
    return {
        "cycle": episode,
        "record": vars(replace(ended[0], slot=episode - 1)),
        "actions": [step.action for step in steps],
        "repairs": repairs,
        "idle": idle,
    }


def finish(prepared: Prepared, folder: RunFolder, client: Client) -> RunSummary:
    """Write what the finished episodes come to, in the files and under the names of a report evaluation."""
    config, family = prepared.config, prepared.family
    found = [folder.finished_phase(index, f"episode{index + 1}") for index in range(config.agent.episodes)]
    records = [EpisodeRecord(**{**one["record"], "skills": tuple(one["record"]["skills"])}) for one in found]
    report = SkillReport.from_records(records, family.skills, range(len(records)))
    shown = np.array([record.skills for record in records]) > 0
    low, high = score_interval(shown, family.skills, family.score)
    values = episode_values("report", family.skills, records) | {
        "score/report": family.score(report.success_rates()),
        "score/report_low": low,
        "score/report_high": high,
        "steps/report": report.steps,
    }
    folder.finish_phase(len(records), REPORT, {"cycle": 0, "skills": report.to_json(), "values": values})
    write_rows(folder.metrics, [row(0, REPORT, 0, values)])
    write_rows(folder.episodes, [episode_row(0, REPORT, 0, record) for record in records])
    totals = client.totals()
    counts, _ = success_counts(records, len(family.skills))
    summary = RunSummary(
        folder=str(folder.path),
        command=read_config(folder.path)["command"],
        family=family.name,
        designer="none",
        llm=config.llm.name,
        ppo="none",
        seed=config.seed,
        uses_llm=config.llm.kind.is_model,
        skills=family.skills,
        feedback=(),
        feedback_scores=(),
        report=Successes(len(records), dict(zip(family.skills, counts.tolist(), strict=True))),
        score=values["score/report"],
        score_low=low,
        score_high=high,
        reward=values["return/report"],
        training_score=None,
        training_reward=None,
        training_episodes=0,
        llm_calls=totals.calls,
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        cost=totals.cost if totals.cost_known else None,
        known_cost=totals.cost,
        steps={"report": report.steps},
        seconds=totals.seconds,
        arm=arm(config),
        design_set=design_set(config),
        diagnostic=tuple(diagnostics(config)),
        agent=config.agent.name,
        by_episode=by_episode(found, records, client, config.agent.max_steps),
    )
    write_json(folder.summary_file, summary.to_json())
    make_played_report(folder.path)
    return summary


def by_episode(
    found: Sequence[Mapping[str, Any]], records: Sequence[EpisodeRecord], client: Client, max_steps: int
) -> dict[str, list[float | None]]:
    """What each episode took, under the names that `RunSummary.by_episode` explains."""
    asked = [client.totals(one["cycle"]) for one in found]
    return {
        "calls": [totals.calls for totals in asked],
        "dollars": [totals.cost if totals.cost_known else None for totals in asked],
        "seconds": [totals.seconds for totals in asked],
        "steps": [record.length for record in records],
        "repairs": [one["repairs"] for one in found],
        "idle": [one["idle"] for one in found],
        "cut": [int(record.truncated and record.length == max_steps) for record in records],
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A whole JSONL file."""
    write_atomic(path, "".join(f"{json.dumps(one)}\n" for one in rows).encode())
