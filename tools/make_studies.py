"""``python tools/make_studies.py docs/studies.md`` writes the page's tables of every experiment anew.

Arms, runs, steps, calls and dollars come from the files of conf/experiment and conf/scale; times from them and from the
rates measured below.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from marked import fill

from envgen_exp.commands.compose import CONF, compose_run, sweep_choices
from envgen_exp.commands.help import gloss
from envgen_exp.config import LLMKind, RunConfig
from envgen_exp.designers import Means, make_designer
from envgen_exp.families import make_family
from envgen_exp.run.plan import phases, report_episodes, training_steps
from envgen_exp.run.preparation import expected_calls
from envgen_exp.tracking.progress import duration

MODEL = "gpt4"
"""The option of llm= whose prices stand in the tables, but for an experiment that sweeps over models."""


@dataclass(frozen=True)
class Rates:
    """Steps a second of one core, other cores being as busy."""

    training: float
    playing: float
    """In evaluations, without updates."""


RATES = {
    "symbolic": Rates(training=6_000, playing=35_000),
    "symbolic_long": Rates(training=3_500, playing=35_000),
    "laptop": Rates(training=3_500, playing=14_000),
    "paper": Rates(training=5, playing=30),
}
"""By ppo.name, on the machine with two cores that docs/studies.md tells of; symbolic's and laptop's are of a quiet
machine (docs/performance.md), symbolic_long's are a guess."""

EPISODE_STEPS = 180
"""Length of an evaluation episode assumed for times."""

OVERHEAD = 15.0
"""Seconds of a run besides training and playing: imports, films, report."""

EMBEDDED = 62.0
"""Seconds of llm=embedded for a set of designs, with its repairs, another run beside it: docs/packs/verdict.json."""

CORES = 2

FIRST_LINE = "<!-- from here to the next mark: python tools/make_studies.py docs/studies.md -->"

EXTRA = {
    ("heist", "laptop"): ["ppo=laptop"],
    ("table3", "laptop"): ["ppo=symbolic_long"],
    ("episode_length", "laptop"): ["ppo=symbolic_long"],
}
"""What a study wants typed besides its name and scale."""


def main(argv: Sequence[str]) -> int:
    """Write the tables into the page, or print them where no file is named."""
    return fill(argv, FIRST_LINE, tables)


def experiments(scale: str) -> list[str]:
    """The files of conf/experiment that are sweeps at this scale: most at any, the verdict's at their own."""
    files = sorted((CONF / "experiment").glob("*.yaml"))
    if scale == "verdict":
        return [file.stem for file in files if file.stem.startswith("verdict")]
    return [file.stem for file in files if "hydra.runtime.choices.scale" in file.read_text()]


def tables() -> list[str]:
    """The lines of all tables."""
    lines = ["| experiment | is |", "|---|---|"]
    scales = {scale: experiments(scale) for scale in ("laptop", "verdict", "paper")}
    for name in sorted({name for names in scales.values() for name in names}):
        lines.append(f"| `{name}` | {gloss(CONF / 'experiment' / f'{name}.yaml')} |")
    for scale, names in scales.items():
        lines += [
            "",
            f"At `scale={scale}`:",
            "",
            "| experiment | varied | runs | training steps a run | in all | LLM calls | dollars | time |",
            "|---|---|---|---|---|---|---|---|",
            *(row(name, scale) for name in names),
        ]
    return lines


def row(name: str, scale: str) -> str:
    """An experiment's line in the table of a scale."""
    typed = [f"experiment={name}", f"scale={scale}", *EXTRA.get((name, scale), [])]
    choices = sweep_choices(typed)
    if scale != "verdict" and len(choices.get("llm", [])) < 2:  # its arms have models of their own
        choices["llm"] = [f"llm={MODEL}"]
    seeds = len(choices["seed"])
    choices["seed"] = choices["seed"][:1]
    configs = [compose_run(job, in_sweep=True) for job in itertools.product(*choices.values())]
    varied = [
        f"`{key}=` {', '.join(item.partition('=')[2] for item in items)}"
        for key, items in choices.items()
        if len(items) > 1
    ]
    steps = [training_steps(config) for config in configs]
    calls, dollars = zip(*(asked(config) for config in configs), strict=True)
    cost = "?" if None in dollars else f"{seeds * sum(cost or 0.0 for cost in dollars):,.2f}"
    seconds = seeds * sum(map(run_seconds, configs)) / CORES
    cells = (
        f"`{name}`",
        "; ".join(varied),
        f"{len(configs)} × {seeds}",
        ", ".join(f"{number:,}" for number in sorted(set(steps))),
        f"{seeds * sum(steps) / 1e6:,.1f} M",
        f"{seeds * sum(calls):,}",
        cost,
        duration(seconds) if seconds < 2 * 86_400 else f"{seconds / 86_400:,.0f} days",
    )
    return f"| {' | '.join(cells)} |"


def asked(config: RunConfig) -> tuple[int, float | None]:
    """LLM calls of a run and their expected dollars; None where the price is not known."""
    designer = make_designer(config.designer, Means(make_family(config.env), cycles=config.cycles))
    expected = expected_calls(config, designer)
    return (expected.calls, expected.cost) if expected else (0, 0.0)


def run_seconds(config: RunConfig) -> float:
    """Expected seconds of a run on one core, without validation; of language models the embedded one's alone."""
    rates = RATES[config.ppo.name]
    episodes = sum(phase.episodes for phase in phases(config))
    episodes += len(config.evaluation.report_at) * report_episodes(config)
    designing = EMBEDDED * asked(config)[0] if config.llm.kind is LLMKind.embedded else 0.0
    return OVERHEAD + designing + training_steps(config) / rates.training + episodes * EPISODE_STEPS / rates.playing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
