"""Hand-made folders of runs, for what reads sweeps: whole, with numbers as a test wants them, and nothing trained."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.guard.frozen import plain
from envgen_exp.guard.reading import load_yaml
from envgen_exp.run import plan
from envgen_exp.run.folder import FORMAT
from envgen_exp.run.identity import identity_of
from envgen_exp.run.schemas import preset
from envgen_exp.run.summary import RunSummary, Successes

SUMMARY = RunSummary(
    folder="runs/one",
    command="python run.py experiment=demo seed=3",
    family="crafter",
    designer="adaptive",
    llm="offline",
    seed=3,
    trains=True,
    asks=True,
    uses_llm=False,
    skills=("collect_coal", "collect_diamond", "wake_up"),
    feedback=(
        Successes(100, {"collect_coal": 10, "collect_diamond": 0, "wake_up": 50}),
        Successes(100, {"collect_coal": 20, "collect_diamond": 0, "wake_up": 60}),
    ),
    feedback_scores=(3.25, 4.5),
    report=Successes(1000, {"collect_coal": 307, "collect_diamond": 1, "wake_up": 495}),
    score=5.125,
    score_low=4.75,
    score_high=5.5,
    reward=3.21,
    training_score=4.0,
    training_reward=2.5,
    training_episodes=1234,
    llm_calls=0,
    prompt_tokens=0,
    completion_tokens=0,
    cost=None,
    steps={"designed": 240_000, "original": 1_240_000, "feedback": 12_345, "report": 200_000},
    seconds=345.0,
)


@functools.cache
def composed(overrides: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A config as plain values, and the names of its phases."""
    config = preset(("scale=smoke", "ppo=laptop", *overrides), {})
    return plain(config), tuple(phase.name for phase in plan.phases(config))


def make_run(
    folder: Path,
    *overrides: str,
    finished: bool = True,
    versions: str = "1",
    command: str = "python run.py",
    changes: Mapping[str, Any] | None = None,
    **numbers: Any,
) -> Path:
    """A run's folder. `changes` are keys of the composed config, e.g. {"schedule.final_steps": 9}; `numbers` are fields
    of `RunSummary`, which stand in the files that it is read from.
    """
    values, phases = composed(overrides)
    values = copy.deepcopy(values)
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        functools.reduce(dict.__getitem__, parents, values)[last] = value
    document = {
        "format": FORMAT,
        "identity": identity_of(values),
        "command": command,
        "versions": {"torch": versions},
        "chosen": {"device": "cpu"},
        "config": values,
    }
    (folder / "phases").mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps(document))
    schedule, cycles = values["schedule"], values["cycles"]
    steps = {
        "designed": cycles * schedule["designed_steps"],
        "original": cycles * schedule["original_steps"] + schedule["final_steps"],
        "feedback": 50,
        "report": 100,
    }
    found = dataclasses.replace(SUMMARY, **{"steps": steps, **numbers})
    for index, name in enumerate(phases if finished else phases[:1]):
        (folder / "phases" / f"{index:03d}-{name}.json").write_text(json.dumps(phase(name, found)))
    if found.llm_calls:
        (folder / "llm").mkdir()
        (folder / "llm" / "ledger.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in asked(found)))
    if finished:
        kept = {"steps": found.steps, "seconds": found.seconds, "updates": found.updates}
        (folder / "summary.json").write_text(json.dumps(kept))
    return folder


def phase(name: str, found: RunSummary) -> dict[str, Any]:
    """What a phase of a run that came to this left, as far as it is read."""
    if name == "final":
        return {"kind": "original", "steps": 1, "episodes": found.training_episodes}
    if name == "report-evaluation":
        values = {
            "score/report": found.score,
            "score/report_low": found.score_low,
            "score/report_high": found.score_high,
            "return/report": found.reward,
            "score/training_last_phase": found.training_score,
            "return/training_last_phase": found.training_reward,
        }
        return {"skills": skills(found.report), "values": values}
    if name.endswith("-evaluate"):
        cycle = int(name.removeprefix("cycle").removesuffix("-evaluate"))
        which = (cycle - 1) % len(found.feedback)
        return {
            "skills": skills(found.feedback[which]),
            "values": {"score/feedback": found.feedback_scores[which]},
        }
    return {}


def skills(counts: Successes) -> dict[str, Any]:
    """An evaluation over one seed."""
    successes = [list(counts.successes.values())]
    return {"skills": list(counts.successes), "seeds": [0], "successes": successes, "episodes": [counts.episodes]}


def asked(found: RunSummary) -> Iterator[dict[str, Any]]:
    """The ledger of so many calls; the first has all the tokens and what they cost."""
    for call in range(1, found.llm_calls + 1):
        first = call == 1
        yield {"event": "sent", "call": call, "attempt": 1, "cycle": 1, "client": "litellm"}
        yield {
            "event": "answered",
            "call": call,
            "attempt": 1,
            "cost": found.cost if first else 0.0,
            "prompt_tokens": found.prompt_tokens if first else 0,
            "completion_tokens": found.completion_tokens if first else 0,
        }


def make_arm(folder: Path, name: str, scores: Sequence[float], *overrides: str, **numbers: Any) -> None:
    """An arm of finished runs, seeds from 0 on, with these scores in the report and as training episodes read."""
    changes = numbers.pop("changes", {})
    for seed, score in enumerate(scores):
        make_run(
            folder / f"{name}-{seed}",
            *overrides,
            changes={**changes, "seed": seed},
            score=score,
            training_score=score,
            score_low=score - 1,
            score_high=score + 1,
            **numbers,
        )


def crafter_report(rng: np.random.Generator, episodes: int = 1000) -> dict[str, Any]:
    """Counts for all of Crafter's skills as fields of a summary."""
    names = make_family(CrafterConfig()).skills
    counts = rng.binomial(episodes, rng.beta(0.6, 0.6, len(names))).tolist()
    return {"report": Successes(episodes, dict(zip(names, counts, strict=True)))}


def edit(file: Path, change: Any) -> None:
    """Change a YAML or JSON file in place; `change` gets its values."""
    values = load_yaml(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
