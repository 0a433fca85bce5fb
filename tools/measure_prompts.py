"""What a model makes of a prompt: asks it the same questions with several seeds, and tells in a table what came.

``python tools/measure_prompts.py ask LABEL PROMPT COUNT QUESTION...`` asks llm=embedded at temperature 0.7 until
examples/prompts.json has so many replies to each question under the label; what is there is kept. A question is `first`
or a name of WEAK.
``python tools/measure_prompts.py docs/llm.md`` writes the page's table anew: each reply is read and checked by the code
of today, as the compact prompt's designer does.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import httpx
from marked import fill

from envgen_exp.commands.compose import CONF, compose_run
from envgen_exp.config import Prompt
from envgen_exp.families import make_family
from envgen_exp.families.family import Family
from envgen_exp.guard.writing import write_atomic
from envgen_exp.llm.compact import make_prompter
from envgen_exp.llm.embedded import machine
from envgen_exp.llm.embedded.source import Embedded, order
from envgen_exp.llm.embedded.weights import cache_folder, weights_of
from envgen_exp.llm.prompt import Feedback, Wording
from envgen_exp.llm.reply import parse_reply
from envgen_exp.llm.source import Message

ANSWERS = CONF.parent / "examples" / "prompts.json"
FIRST_LINE = "<!-- from here to the next mark: python tools/measure_prompts.py docs/llm.md -->"
DESIGNS = 4
THREADS = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))

IRON = ("collect_coal", "collect_diamond", "collect_iron", "make_iron_pickaxe", "make_iron_sword", "place_furnace")
WEAK: dict[str, tuple[str, ...]] = {
    "survival": (
        *("collect_drink", "collect_sapling", "defeat_skeleton", "defeat_zombie", "eat_cow", "eat_plant"),
        *("place_plant", "wake_up"),
    ),
    "iron": IRON,
    "tools": (
        *("collect_stone", "collect_wood", "make_stone_pickaxe", "make_stone_sword", "make_wood_pickaxe"),
        *("make_wood_sword", "place_stone", "place_table"),
    ),
    "all but the easiest": (
        *("collect_stone", "defeat_skeleton", "defeat_zombie", "eat_cow", "eat_plant", "make_stone_pickaxe"),
        *("make_stone_sword", "make_wood_pickaxe", "make_wood_sword", "place_stone", *IRON),
    ),
}
"""Feedback that is made up: the skills that the agent is said to lack (3 %); it is said to have all others (85 %)."""

Question = tuple[list[Message], dict[str, Any]]


def main(argv: Sequence[str]) -> int:
    """Ask, or write the table."""
    if argv[:1] == ["ask"]:
        ask(argv[1], Prompt(argv[2]), int(argv[3]), [weak.replace("first", "") for weak in argv[4:]])
        return 0
    return fill(argv, FIRST_LINE, table)


def family() -> Family:
    return make_family(compose_run(["env=crafter"]).env)


def rates(weak: str) -> dict[str, float]:
    return {skill: 0.03 if skill in WEAK[weak] else 0.85 for skill in family().skills}


def question(game: Family, kind: Prompt, weak: str) -> Question:
    """A first question, or one after feedback that says what is weak."""
    prompter = make_prompter(game, kind, DESIGNS)
    chat: list[Message] = [
        {"role": "system", "content": prompter.system()},
        {"role": "user", "content": prompter.first()},
    ]
    if not weak:
        return chat, prompter.schema()
    mean, trained = rates(weak), game.default_designs(DESIGNS)
    feedback = Feedback(1, tuple(trained), mean, dict.fromkeys(mean, 0.06), 120, 1_480_000, (dict.fromkeys(mean, 0.0),))
    told: Message = {"role": "user", "content": prompter.feedback(feedback, [game.check(each) for each in trained])}
    if prompter.remembers:
        chat += [{"role": "assistant", "content": prompter.example_reply()}, told]
    else:
        chat = [chat[0], told]
    return chat, prompter.schema()


def ask(label: str, kind: Prompt, count: int, asked: Sequence[str]) -> None:
    """Ask what is not there yet, all at once: a question is read once for all its seeds. Each one is kept at once."""
    game, config = family(), compose_run(["env=crafter", "llm=embedded", "llm.temperature=0.7"]).llm
    there = stored().get(label, {}).get("answers", [])
    missing = {weak: range(sum(one["weak"] == weak for one in there), count) for weak in asked}
    questions = {weak: question(game, kind, weak) for weak, seeds in missing.items() if seeds}
    source = Embedded(config, Path(os.devnull))

    def answers(weak: str) -> list[dict[str, Any]]:
        (messages, schema), seeds = questions[weak], missing[weak]
        prompt = client.post("/apply-template", json={"messages": messages}).json()["prompt"]
        body = order({**source.request(messages, schema), "seed": seeds.start}, prompt)
        reply = (
            client.post("/completion", json={**body, "stream": False, "n_cmpl": len(seeds)}).raise_for_status().json()
        )
        return [
            {
                "weak": weak,
                "seed": seed,
                "text": one["content"],
                "finish": "length" if one["stop_type"] == "limit" else "stop",
                "prompt_tokens": one["tokens_evaluated"],
                "completion_tokens": one["tokens_predicted"],
            }
            for seed, one in zip(seeds, reply if isinstance(reply, list) else [reply], strict=True)
        ]

    turn = machine.take_turn(cache_folder())
    with served(weights_of(config), sum(map(len, missing.values()))) as client, ThreadPoolExecutor() as pool:
        for done in as_completed({pool.submit(answers, weak) for weak in questions}):
            content = stored()
            told = content.setdefault(
                label, {"prompt": kind.value, "model": config.model, "messages": {}, "answers": []}
            )
            told["answers"] += done.result()
            weak = told["answers"][-1]["weak"]
            told["messages"][weak] = questions[weak][0]
            write_atomic(ANSWERS, (json.dumps(content, indent=1) + "\n").encode())
            print(f"{label}, {weak or 'first'}: {len(done.result())} answers", flush=True)
    os.close(turn)


@contextlib.contextmanager
def served(weights: Path, parallel: int) -> Iterator[httpx.Client]:
    """The model, ready to write so many answers at once."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.n_ctx, params.n_parallel, params.kv_unified = 32768, parallel, True
    for each in (params.cpuparams, params.cpuparams_batch):
        each.n_threads, each.poll = THREADS, 0
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [secrets.token_urlsafe(32)]
    params.verbosity = 1
    params.ui = params.endpoint_slots = params.warmup = params.fit_params = False
    server = xllamacpp.Server(params)
    headers = {"Authorization": f"Bearer {params.api_keys[0]}"}
    with httpx.Client(base_url=server.listening_address, headers=headers, timeout=None, trust_env=False) as client:
        yield client


def stored() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
    return content


def table() -> list[str]:
    """The lines of the table."""
    game = family()
    lines = [
        "| prompt | replies | replies with a problem | designs | with a target that its worlds can't show | copies "
        "| settings a design | targets the agent lacks (by chance) | tokens read, written |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, told in stored().items():
        for name, answers in (
            ("first", [one for one in told["answers"] if not one["weak"]]),
            ("feedback", [one for one in told["answers"] if one["weak"]]),
        ):
            if answers:
                lines.append(f"| {label}, {name} | {' | '.join(row(game, answers))} |")
    return lines


def row(game: Family, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cells of some replies."""
    wording = Wording.plain(game.vocabulary)
    defaults = {setting.name: setting.default for setting in game.vocabulary}
    problems = made = hopeless = copies = changed = lacking = targets = 0
    chance = []
    for one in answers:
        reply = parse_reply(one["text"], wording, game.design_model, game.skills, DESIGNS, finish=one["finish"])
        designs = [design for design in reply.designs if design]
        lost = [bool({*design.targets} & {*game.check(design).impossible}) for design in designs]
        twins = len(designs) - len({json.dumps(design.settings()) for design in designs})
        same = len(designs) - len({frozenset(design.targets) for design in designs})
        problems += bool(reply.problems or any(lost) or twins or same)
        made, hopeless, copies = made + len(designs), hopeless + sum(lost), copies + twins
        changed += sum(value != defaults[name] for design in designs for name, value in design.settings().items())
        if one["weak"]:
            weak = WEAK[one["weak"]]
            aimed = [skill for design in designs for skill in design.targets]
            lacking, targets = lacking + sum(skill in weak for skill in aimed), targets + len(aimed)
            chance.append(len(weak) / len(game.skills))
    follows = f"{lacking} of {targets} ({statistics.mean(chance):.0%})" if chance else ""
    read, written = (statistics.median(one[name] for one in answers) for name in ("prompt_tokens", "completion_tokens"))
    return [
        str(len(answers)),
        str(problems),
        str(made),
        str(hopeless),
        str(copies),
        f"{changed / max(1, made):.1f}",
        follows,
        f"{read:.0f}, {written:.0f}",
    ]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
