"""docs/results.md and its curves, from finished runs alone: what plain PPO learns, then a section for each study.

    python tools/make_results.py --learning multirun/learning-laptop multirun/learning-symbolic \\
        --studies multirun/table2-laptop multirun/controls-laptop

Each folder is a sweep, or the pack of one. A random policy is played beside plain PPO, --random-episodes whole episodes
in worlds that no training sees. Unfinished runs are named and count in no number.

    python tools/make_results.py --pack docs/packs/table2-laptop.json

writes the section of one study, from its pack, between its two marks in the page, and its curves.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from marked import fill
from matplotlib import pyplot
from numpy.typing import NDArray

from envgen_exp import seeding
from envgen_exp.config import Observe
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.family import Family
from envgen_exp.families.vector import Observation
from envgen_exp.learners.intervals import score_interval, wilson
from envgen_exp.learners.playing import play
from envgen_exp.learners.ppo.agent import sample_actions
from envgen_exp.reporting.statistics import mean_sd
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.collect import Arm, FoundRun, Study
from envgen_exp.reporting.study.packs import open_study
from envgen_exp.reporting.study.tables import sheets, skill_sheets
from envgen_exp.run.summary import RunSummary
from envgen_exp.seeding import WorldSet

COLOURS = ("#1f6f8b", "#c8553d", "#5b7f3a", "#7a4f9a")


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
        draws = seeding.torch_generator(0, "random", "actions")

        def choose(obs: Observation) -> NDArray[np.int64]:
            alike = torch.zeros(len(next(iter(obs.values()))), env.num_actions)
            actions: NDArray[np.int64] = sample_actions(alike, draws)[0].numpy()
            return actions

        records = play(env, quota, choose)
        env.close()
        shown = np.array([record.skills for record in records]) > 0
        score = family.score(dict(zip(family.skills, shown.mean(axis=0).tolist(), strict=True)))
        mean_return = float(np.mean([record.episode_return for record in records]))
        return cls(shown, mean_return, score, score_interval(shown, family.skills, family.score))


def curves(run: FoundRun) -> dict[str, list[float]]:
    """Its windows, with NaN where there is no point."""
    return {name: [math.nan if value is None else value for value in line] for name, line in run.windows.items()}


def draw(arms: Sequence[Arm], random: Random, file: Path) -> None:
    """Both curves of all arms: a thin line a seed, their mean, and a band of one standard deviation."""
    matplotlib.rcParams["svg.hashsalt"] = "learning"  # the same file for the same numbers
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    names = (("score", "score, %", random.score), ("return", "mean return", random.mean_return))
    for axis, (name, label, level) in zip(axes, names, strict=True):
        for arm, colour in zip(arms, COLOURS, strict=False):
            lines = [curves(run) for run in arm.runs]
            x = np.array(lines[0]["steps"]) / 1e6
            y = np.array([line[name] for line in lines])
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


def draw_study(arms: Sequence[Arm], file: Path) -> None:
    """A small chart for each arm: its mean score over training, a band of one standard deviation, adaptive's grey."""
    matplotlib.rcParams["svg.hashsalt"] = "study"
    columns = min(5, len(arms))
    shape = -(-len(arms) // columns), columns
    figure, axes = pyplot.subplots(
        *shape,
        figsize=(1.9 * columns, 1.9 * shape[0]),
        constrained_layout=True,
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    lines = {arm.label: [curves(run) for run in arm.runs] for arm in arms}
    beside = next((arm for arm in arms if arm.name == "adaptive"), None)
    for axis, arm in zip(axes.flat, arms, strict=False):
        for other, colour in ((beside, "#999999"), (arm, COLOURS[0])):
            if other is None:
                continue
            x = np.array(lines[other.label][0]["steps"]) / 1e6
            y = np.array([line["score"] for line in lines[other.label]])
            mean = y.mean(axis=0)
            axis.plot(x, mean, color=colour, linewidth=1.5, marker="o", markersize=2)
            if other is arm and len(y) > 1:
                sd = y.std(axis=0, ddof=1)
                axis.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0)
        axis.set_title(f"{arm.name}, n={len(arm.runs)}", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes.flat[0].set_ylim(bottom=0)  # all share it
    for axis in axes.flat[len(arms) :]:
        axis.set_visible(False)
    figure.supxlabel("million training steps", fontsize=8)
    figure.supylabel("score in the original, %", fontsize=8)
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


def study_section(study: Study, picture: Path) -> list[str]:
    """A study's tables as its sweep wrote them, and its curves."""
    name = study.folder.name
    experiment, scale = name.rsplit("-", 1)
    analysis = Analysis(study)
    presets = {run.flat["ppo.name"] for arm in study.arms for run in arm.runs} - {"symbolic"}  # the scale's own
    own = "".join(f" ppo={name}" for name in sorted(presets))
    lines = [
        f"## Study: {experiment} at `scale={scale}`",
        "",
        STUDY.format(experiment=experiment, scale=scale, own=own),
    ]
    for run in study.unfinished:
        lines += [f"Not finished, in no number: {run.label}, seed {run.flat['seed']}.", ""]
    for sheet in sheets(analysis):
        lines += [f"### {sheet.title}", "", *table(sheet.headers, sheet.rows), "", sheet.caption, ""]
    lines += ["### Curves", "", f"![Score over training steps, arm by arm]({picture})", "", STUDY_CURVES]
    lines += ["### By skill", "", "<details><summary>success by skill and arm</summary>", ""]
    for sheet in skill_sheets(analysis):
        lines += [*table(sheet.headers, sheet.rows), "", sheet.caption, ""]
    lines += ["</details>", "", "### Before comparing rows", "", *(f"- {note}" for note in analysis.notes), ""]
    return lines


def repeated(studies: Sequence[Study]) -> list[str]:
    """How the runs came out that several studies have, each of which trained them for itself."""
    by_identity: dict[str, list[RunSummary]] = {}
    for study in studies:
        for arm in study.arms:
            for run in arm.runs:
                if run.summary is not None:
                    by_identity.setdefault(run.folder.name, []).append(run.summary)
    again = [found for found in by_identity.values() if len(found) > 1]
    if not again:
        return []
    same = sum(all(one.report == found[0].report and one.reward == found[0].reward for one in found) for found in again)
    return [REPEATED.format(count=len(again), same=same)]


def learning_section(
    arms: Sequence[Arm], unfinished: Sequence[FoundRun], family: Family, random: Random, picture: Path
) -> list[str]:
    """What plain PPO learns."""
    lines = [LEARNING]
    if not arms:
        lines += ["**None of these runs is finished yet: only the random policy has numbers.**", ""]
    for run in unfinished:
        lines += [f"Not finished, in no number: {run.label}, seed {run.flat['seed']}.", ""]
    lines += ["### Scores", "", *scores(arms, random)]
    if arms:
        lines += ["### Curves", "", f"![Score and return over training steps]({picture})", "", CURVES]
    lines += ["### Success by skill", "", *skills_table(arms, family.skills, random), "", SKILLS]
    if arms:
        lines += ["### Machine", ""]
        for arm in arms:
            machine = arm.runs[0].machine
            chosen = ", ".join(f"{key} {machine[key]}" for key in ("device_name", "precision", "threads", "torch"))
            lines.append(f"- {arm.label}, first seed: {chosen}")
        lines += [
            "",
            "Minutes are wall time, the report evaluation included, beside whatever else the machine did.",
            "",
        ]
    return lines


def typed(page: Path) -> list[str]:
    """What a person has written into the page on what was found: it is kept, marks and all."""
    text = page.read_text() if page.exists() else ""
    found = re.search(f"{TYPED[0]}.*?{TYPED[1]}", text, re.DOTALL)
    return [found[0] if found else "\n\n".join(TYPED), ""]


TYPED = ("<!-- typed by hand from here -->", "<!-- to here -->")

INTRODUCTION = """\
# Results

Written by `tools/make_results.py` from the folders of finished runs; what was found is typed by hand. **No
language model had a part in any of it**: where worlds are designed, `llm=offline` does it, a rule-based stand-in, so
that no number here is one of EnvGen. After the sweeps, whose commands stand in each section:

```
python tools/make_results.py --learning multirun/learning-laptop multirun/learning-symbolic \\
    --studies multirun/controls-laptop
# writes the page anew, and pictures/learning.svg, pictures/controls-laptop.svg
python tools/make_results.py --pack docs/packs/table2-laptop.json   # one section, and pictures/table2-laptop.svg
python tools/make_results.py --pack docs/packs/table3-laptop.json   # and pictures/table3-laptop.svg
```
"""

LEARNING = """\
## What plain PPO learns on the original Crafter

1 M steps of the stock game, two runs at a time with one thread each. How the hyper-parameters were chosen, on seeds
that no run here has, stands in [ppo.md](ppo.md). The commands:

```
python run.py -m experiment=learning_laptop hydra.sweep.dir=multirun/learning-laptop \\
    hydra/launcher=joblib hydra.launcher.n_jobs=2
python run.py -m experiment=learning_symbolic hydra.sweep.dir=multirun/learning-symbolic \\
    hydra/launcher=joblib hydra.launcher.n_jobs=2
```
"""

STUDY = """\
`make sweep STUDY={experiment} SCALE={scale}`, which is

```
python run.py -m experiment={experiment} scale={scale}{own} hydra/launcher=joblib hydra.launcher.n_jobs=2
```

What the arms are: [designers.md](designers.md). How the numbers are made: [statistics.md](statistics.md). The designer
is the offline stand-in, the network reads symbols, the steps are 16 % of the paper's: this says nothing about the
paper's claims.
"""

REPEATED = """\
## Runs that two studies have

{count} runs (arm, design set, seed) are in more than one of these studies, which trained each of them anew. {same} came
out the same, in every skill's count of episodes and in the reward to its last digit.
"""

STUDY_CURVES = """\
Training episodes in the original, by twentieths of the training steps: mean over seeds, band of one standard deviation;
grey is `adaptive`. Points are missing where training was in designed worlds.
"""

SCORES = """\
Mean ± standard deviation over n seeds. The random policy played {episodes} episodes; in brackets the 95 % interval over
episodes. The report score is of the report evaluation, whose worlds no training saw; the training-episode score is of
the training episodes of a run's last phase, about half of its steps, the way the paper reads its score.

EnvGen's paper (arXiv 2403.12014) gives PPO after 1 M steps 15.5 ± 0.6 by that reading, with a network of 4 M weights on
the same frames: `ppo=laptop` may stand beside it as a smaller network. `ppo=symbolic` may not: it sees the game's
symbols, without night and noise.
"""

CURVES = """\
Training episodes by twentieths of the training steps: thin lines are seeds, the thick line is their mean, the band
one standard deviation over seeds. A window holds a few hundred episodes, so rare skills can be missed and the score
reads a little lower than the report evaluation's.
"""

SKILLS = """\
Percent of the episodes of the report evaluation, mean ± standard deviation over seeds; the random policy's with the
95 % Wilson interval over its episodes.
"""


def first_line(pack: Path) -> str:
    """The mark before a pack's section; another ends it."""
    return f"<!-- from here to the next mark: python tools/make_results.py --pack docs/packs/{pack.name} -->"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learning", type=Path, nargs="*", default=[], help="sweeps of plain PPO over seeds")
    parser.add_argument("--studies", type=Path, nargs="*", default=[], help="sweeps, e.g. multirun/table2-laptop")
    parser.add_argument("--pack", type=Path, help="one study's pack: its section alone is written")
    parser.add_argument("--random-episodes", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args(arguments)
    pictures = Path("pictures")
    (options.out.parent / pictures).mkdir(parents=True, exist_ok=True)
    if options.pack is not None:
        study = open_study([options.pack])
        picture = pictures / f"{study.folder.name}.svg"
        draw_study(study.arms, options.out.parent / picture)
        fill([str(options.out)], first_line(options.pack), lambda: study_section(study, picture))
        return

    learning = [open_study([folder]) for folder in options.learning]
    arms = [arm for study in learning for arm in study.arms]
    unfinished = [run for study in learning for run in study.unfinished]
    family = make_family(CrafterConfig(observation=Observe.symbolic))  # the same games as in pixels
    random = Random.play(family, options.random_episodes)
    if arms:
        draw(arms, random, options.out.parent / pictures / "learning.svg")
    lines = [
        INTRODUCTION,
        *typed(options.out),
        *learning_section(arms, unfinished, family, random, pictures / "learning.svg"),
    ]
    studies = [open_study([folder]) for folder in options.studies]
    for study in studies:
        picture = pictures / f"{study.folder.name}.svg"
        draw_study(study.arms, options.out.parent / picture)
        lines += study_section(study, picture)
    lines += repeated(studies)
    options.out.write_text("\n".join(lines).rstrip() + "\n")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
