"""What PPO learns on the original Crafter: docs/results.md and its curves, from finished runs alone.

    python run.py -m experiment=learning_laptop hydra.sweep.dir=multirun/learning-laptop
    python run.py -m experiment=learning_symbolic hydra.sweep.dir=multirun/learning-symbolic
    python benchmarks/learning.py multirun/learning-laptop multirun/learning-symbolic

Each folder is a sweep of one arm over seeds. A random policy is played beside them, --random-episodes whole episodes in
worlds that no training sees. Unfinished runs are named and count in no number.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot
from numpy.typing import NDArray

from envgen_exp import seeding
from envgen_exp.config import CrafterConfig, Observe
from envgen_exp.envs import make_family
from envgen_exp.envs.family import Family
from envgen_exp.reporting.collect import Arm, FoundRun, collect
from envgen_exp.reporting.run_data import RunData
from envgen_exp.reporting.statistics import mean_sd, score_interval, wilson
from envgen_exp.rl.evaluate import evaluate
from envgen_exp.seeding import WorldSet

WINDOW = 50_000
"""A point of a curve is made of the training episodes that ended in the last so many steps."""
POINTS = 20
COLOURS = ("#1f6f8b", "#c8553d", "#5b7f3a", "#7a4f9a")


class Uniform(torch.nn.Module):
    """A policy that looks at nothing."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.num_actions = num_actions

    def forward(self, obs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(next(iter(obs.values())))
        return torch.zeros(count, self.num_actions), torch.zeros(count)


@dataclass(frozen=True)
class Random:
    """What a random policy reaches."""

    shown: NDArray[np.bool_]
    """(episodes, skills): whether each episode showed each skill."""
    mean_return: float
    score: float
    """Percent."""
    ends: tuple[float, float]
    """The score's 95 % interval over episodes."""

    @classmethod
    def play(cls, family: Family, episodes: int) -> Random:
        """Whole episodes of the original, in worlds that no training sees."""
        slots = min(50, episodes)
        quota = [episodes // slots + (slot < episodes % slots) for slot in range(slots)]
        env = family.vector([None] * slots, seeding.integers(0, "worlds", "random", count=slots), WorldSet.REPORT)
        actions = seeding.torch_generator(0, "random", "actions")
        records = evaluate(Uniform(env.num_actions), env, quota, actions, torch.device("cpu"))  # type: ignore[arg-type]
        env.close()
        shown = np.array([record.skills for record in records]) > 0
        score = family.score(dict(zip(family.skills, shown.mean(axis=0).tolist(), strict=True)))
        mean_return = float(np.mean([record.episode_return for record in records]))
        return cls(shown, mean_return, score, score_interval(shown, family.skills, family.score))


def curves(run: FoundRun) -> dict[str, list[float]]:
    """Score and mean return of the training episodes in windows up to each of POINTS equally spaced steps."""
    data, steps = RunData(run.folder), run.training_steps
    rows = [row for phase in data.planned if phase.steps for row in data.episodes.get(phase.name, [])]
    at = np.array([row["step"] for row in rows])
    shown = np.array([row["skills"] for row in rows]) > 0
    returns = np.array([row["episode_return"] for row in rows])
    found: dict[str, list[float]] = {"steps": [], "score": [], "return": []}
    for x in np.linspace(0, steps, POINTS + 1)[1:]:
        inside = (at > x - WINDOW) & (at <= x)
        if inside.any():
            found["steps"].append(float(x))
            found["score"].append(data.family.score(dict(zip(data.skills, shown[inside].mean(axis=0), strict=True))))
            found["return"].append(float(returns[inside].mean()))
    return found


def draw(arms: Sequence[Arm], random: Random, file: Path) -> None:
    """Both curves of all arms: a thin line a seed, their mean, and a band of one standard deviation."""
    matplotlib.rcParams["svg.hashsalt"] = "learning"  # the same file for the same numbers
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    names = (("score", "score, %", random.score), ("return", "mean return", random.mean_return))
    for axis, (name, label, level) in zip(axes, names, strict=True):
        for arm, colour in zip(arms, COLOURS, strict=False):
            lines = [curves(run) for run in arm.runs]
            points = min(len(line["steps"]) for line in lines)
            x = np.array(lines[0]["steps"][-points:]) / 1e6
            y = np.array([line[name][-points:] for line in lines])
            for line in y:
                axis.plot(x, line, color=colour, linewidth=0.6, alpha=0.5)
            axis.plot(x, y.mean(axis=0), color=colour, linewidth=2, label=f"{arm.label}, n={len(lines)}")
            if len(y) > 1:
                sd = y.std(axis=0, ddof=1)
                axis.fill_between(x, y.mean(axis=0) - sd, y.mean(axis=0) + sd, color=colour, alpha=0.2, linewidth=0)
        axis.axhline(level, color="#777777", linestyle="--", linewidth=1, label="random policy")
        axis.set(xlabel="million training steps", ylabel=label, ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def spread(values: Sequence[float], digits: int = 2) -> str:
    mean, sd = mean_sd(values)
    return f"{mean:.{digits}f} (n=1)" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def scores(arms: Sequence[Arm], random: Random) -> list[str]:
    """The table of all arms, and each seed's own interval."""
    rows = [["random policy", "0", "-", interval(random.score, *random.ends), "-", f"{random.mean_return:.2f}", "-"]]
    for arm in arms:
        rows.append(
            [
                arm.label,
                f"{arm.runs[0].training_steps:,}",
                str(len(arm.runs)),
                spread(arm.values(lambda s: s.score)),
                spread(arm.values(lambda s: s.training_score)),
                spread(arm.values(lambda s: s.reward)),
                spread(arm.values(lambda s: s.seconds / 60), 1),
            ]
        )
    header = ("arm", "steps", "n", "report score %", "training-episode score %", "return", "minutes")
    summaries = [(arm.label, s) for arm in arms for run in arm.runs if (s := run.summary) is not None]
    seeds = [
        [label, str(s.seed), interval(s.score, s.score_low, s.score_high), f"{s.report.episodes:,}"]
        for label, s in summaries
    ]
    lines = [*table(header, rows), "", SCORES.format(episodes=f"{len(random.shown):,}")]
    if seeds:
        above = sum(s.score_low > random.ends[1] for _, s in summaries)
        lines += [*table(("arm", "seed", "report score % [95 % interval]", "episodes"), seeds), ""]
        lines += [f"Seeds whose interval lies above the random policy's: {above} of {len(seeds)}.", ""]
    return lines


def skills_table(arms: Sequence[Arm], skills: Sequence[str], random: Random) -> list[str]:
    """Success by skill: the random policy with its interval, each arm with its spread over seeds."""
    rows = []
    for index, skill in enumerate(skills):
        successes, episodes = int(random.shown[:, index].sum()), len(random.shown)
        low, high = wilson(successes, episodes)
        cells = [f"{100 * successes / episodes:.1f} [{100 * low:.1f}, {100 * high:.1f}]"]
        for arm in arms:
            rates = [100 * run.summary.report.rate(skill) for run in arm.runs if run.summary is not None]
            cells.append(spread(rates, 1))
        rows.append([skill, *cells])
    return table(("skill", "random policy", *(arm.label for arm in arms)), rows)


def page(arms: Sequence[Arm], unfinished: Sequence[FoundRun], family: Family, random: Random, picture: Path) -> str:
    """docs/results.md."""
    lines = [INTRODUCTION]
    if not arms:
        lines += ["**None of these runs is finished yet: only the random policy has numbers.**", ""]
    for run in unfinished:
        lines += [f"Not finished, in no number: {run.label}, seed {run.config['seed']}.", ""]
    lines += ["## Scores", "", *scores(arms, random)]
    if arms:
        lines += ["## Curves", "", f"![Score and return over training steps]({picture})", "", CURVES]
    lines += ["## Success by skill", "", *skills_table(arms, family.skills, random), "", SKILLS]
    if arms:
        lines += ["## Machine", ""]
        for arm in arms:
            machine = arm.runs[0].machine
            chosen = ", ".join(f"{key} {machine[key]}" for key in ("device_name", "precision", "threads", "torch"))
            lines.append(f"- {arm.label}, first seed: {chosen}")
        lines += ["", "Minutes are wall time, the report evaluation included, beside whatever else the machine did."]
    return "\n".join(lines) + "\n"


INTRODUCTION = """\
# What PPO learns on the original Crafter

Written by `benchmarks/learning.py` from the folders of finished runs; nothing here is typed by hand. Every run is plain
PPO on the stock game, 1 M steps. How the hyper-parameters were chosen, on seeds that no run here has, stands in
[ppo.md](ppo.md). The commands:

```
python run.py -m experiment=learning_laptop hydra.sweep.dir=multirun/learning-laptop
python run.py -m experiment=learning_symbolic hydra.sweep.dir=multirun/learning-symbolic
python benchmarks/learning.py multirun/learning-laptop multirun/learning-symbolic
```
"""

SCORES = """\
Mean ± standard deviation over n seeds. The random policy played {episodes} episodes; in brackets the 95 % interval over
episodes. The report score is of the report evaluation, whose worlds no training saw; the training-episode score is of
the training episodes of a run's last phase, about half of its steps, the way the paper reads its score.

EnvGen's paper (arXiv 2403.12014) gives PPO after 1 M steps 15.5 ± 0.6 by that reading, with a network of 4 M weights on
the same frames: `ppo=laptop` may stand beside it as a smaller network. `ppo=symbolic` may not: it sees the game's
symbols, without night and noise.
"""

CURVES = f"""\
Training episodes that ended in the last {WINDOW:,} steps: thin lines are seeds, the thick line is their mean, the band
one standard deviation over seeds. A window holds a few hundred episodes, so rare skills can be missed and the score
reads a little lower than the report evaluation's.
"""

SKILLS = """\
Percent of the episodes of the report evaluation, mean ± standard deviation over seeds; the random policy's with the
95 % Wilson interval over its episodes.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="sweeps, e.g. multirun/learning-laptop")
    parser.add_argument("--random-episodes", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args(arguments)
    studies = [collect(folder) for folder in options.folders]
    arms = [arm for study in studies for arm in study.arms]
    unfinished = [run for study in studies for run in study.unfinished]
    family = make_family(CrafterConfig(observation=Observe.symbolic))  # the same games as in pixels
    random = Random.play(family, options.random_episodes)
    picture = Path("pictures") / "learning.svg"
    if arms:
        (options.out.parent / picture).parent.mkdir(parents=True, exist_ok=True)
        draw(arms, random, options.out.parent / picture)
    options.out.write_text(page(arms, unfinished, family, random, picture))
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
