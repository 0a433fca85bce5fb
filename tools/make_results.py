"""The pages in docs/results/ and their curves, from packs of finished runs: what plain PPO learns, and one for a study.

    python tools/make_results.py docs/packs/learning-laptop.json docs/packs/learning-symbolic.json
    python tools/make_results.py docs/packs/table2-laptop.json

The verdict's pack also writes what docs/results.md leads with. Packs named learning-... are plain PPO's and share a
page, in which a random policy is played beside it, whole episodes in worlds that no training sees.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import result_charts as charts
import result_lead
import result_played
import torch
from marked import fill
from numpy.typing import NDArray

from envgen_exp import seeding
from envgen_exp.config import Observe
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.family import CrafterFamily
from envgen_exp.families.family import Parted, Playable
from envgen_exp.families.vector import Observation
from envgen_exp.guard.writing import write_atomic
from envgen_exp.learners.intervals import score_interval, wilson
from envgen_exp.learners.playing import play
from envgen_exp.learners.ppo.agent import sample_actions
from envgen_exp.reporting.references import sees
from envgen_exp.reporting.study.analysis import Analysis
from envgen_exp.reporting.study.answers import answers
from envgen_exp.reporting.study.collect import Arm, Study
from envgen_exp.reporting.study.packs import open_study
from envgen_exp.reporting.study.parts import error_sheets, score_sheets
from envgen_exp.reporting.study.preregistered import mains
from envgen_exp.reporting.study.tables import Sheet, sheets, skill_sheets, spread
from envgen_exp.run.summary import Successes
from envgen_exp.seeding import WorldSet


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
    skills: tuple[str, ...]

    @classmethod
    def play(cls, family: Playable, episodes: int) -> Random:
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
        return cls(shown, mean_return, score, score_interval(shown, family.skills, family.score), family.skills)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def preset(arm: Arm) -> str:
    """What its agent is called."""
    return f"ppo={arm.runs[0].flat['ppo.name']}"


def evaluated(arm: Arm) -> list[tuple[int, list[Successes], list[float], list[float]]]:
    """Where it was evaluated: training steps, and by runs what was shown, the score and the return."""
    summaries = arm.summaries
    found = []
    for on_the_way in zip(*(summary.midway for summary in summaries), strict=True):
        values = [[e.values[f"{name}/midway"] for e in on_the_way] for name in ("score", "return")]
        found.append((on_the_way[0].step, [e.counts for e in on_the_way], *values))
    last = [s.report for s in summaries], [s.score for s in summaries], [s.reward for s in summaries]
    return [*found, (arm.runs[0].training_steps, *last)]


def scores(arms: Sequence[Arm], random: Random) -> list[str]:
    """The table of all arms, and each seed's own interval."""
    rows = [["random policy", "0", "-", interval(random.score, *random.ends), "-", f"{random.mean_return:.2f}", "-"]]
    for arm in arms:
        for steps, counts, score, returns in evaluated(arm):
            shown = [spread([100 * each.rate(skill) for each in counts], 1) for skill in DEEP]
            rows.append(
                [
                    preset(arm),
                    f"{steps:,}",
                    str(len(score)),
                    spread(score),
                    f"{min(score):.2f}",
                    spread(returns),
                    *shown,
                ]
            )
    rows[0][6:] = [f"{100 * random.shown[:, random.skills.index(skill)].mean():.1f}" for skill in DEEP]
    deep = [f"{skill} %" for skill in DEEP]
    lines = table(("agent", "steps", "n", "report score %", "lowest seed", "return", *deep), rows)
    lines += ["", SCORES.format(episodes=f"{len(random.shown):,}"), *table(PUBLISHED[0], PUBLISHED[1:]), "", BESIDE]
    header = ("agent", "seed", *(f"at {steps:,}" for steps, *_ in evaluated(arms[0])), "training episodes, last phase")
    seeds = []
    for arm in arms:
        for s in arm.summaries:
            ends = [(e.values["score/midway"], *(e.values[f"score/midway_{end}"] for end in ENDS)) for e in s.midway]
            cells = [interval(*each) for each in [*ends, (s.score, s.score_low, s.score_high)]]
            seeds.append(
                [preset(arm), str(s.seed), *cells, "-" if s.training_score is None else f"{s.training_score:.2f}"]
            )
    return [*lines, *table(header, seeds), "", SEEDS]


def skills_table(arms: Sequence[Arm], random: Random) -> list[str]:
    """Success by skill: the random policy with its interval, each arm with its spread over seeds."""
    rows = []
    for index, skill in enumerate(random.skills):
        successes, episodes = int(random.shown[:, index].sum()), len(random.shown)
        low, high = wilson(successes, episodes)
        cells = [f"{100 * successes / episodes:.1f} [{100 * low:.1f}, {100 * high:.1f}]"]
        for arm in arms:
            for _, counts, *_ in evaluated(arm):
                cells.append(spread([100 * each.rate(skill) for each in counts], 1))
        rows.append([skill, *cells])
    headers = [f"{preset(arm)}, {steps / 1e6:.2f} M" for arm in arms for steps, *_ in evaluated(arm)]
    return table(("skill", "random policy", *headers), rows)


def study_page(analysis: Analysis, picture: Path, beside: str) -> list[str]:
    """A study's tables as its sweep wrote them, and its curves."""
    study = analysis.study
    experiment, _, scale = study.folder.name.partition("-")
    runs = [run for arm in study.arms for run in arm.runs]
    typed_presets = {run.flat["ppo.name"] for run in runs if run.flat["agent.name"] == "ppo"} - {SCALES_OWN}
    words = [
        f"experiment={experiment}",
        *([f"scale={scale}"] if scale else []),
        *(f"ppo={name}" for name in sorted(typed_presets)),
    ]
    typed = f"make sweep STUDY={experiment}" + (f" SCALE={scale}" if scale else "")
    launcher = "hydra/launcher=joblib hydra.launcher.n_jobs=2"
    asked = [run for run in runs if run.asks and run.flat["llm.kind"] != "offline"]
    models = sorted({str(run.flat["llm.model"] or "recordings") for run in asked})
    machine = runs[0].machine
    lines = [
        f"# Study: {experiment}" + (f" at `scale={scale}`" if scale else ""),
        "",
        STUDY.format(
            typed=typed,
            command=f"python run.py -m {' '.join(words)} {launcher}",
            designer=f"{', '.join(models)}, and by rules or at random where an arm says so" if models else STAND_IN,
            steps=runs[0].training_steps,
            network=machine["network"],
            weights=machine.get("parameters") or machine["weights"],
            sees=SEES[sees(runs[0])],
        ),
        *([BESIDE_IT.format(pack=beside), ""] if beside else []),
    ]
    for run in study.unfinished:
        lines += [f"Not finished, in no number: {run.label}, seed {run.flat['seed']}.", ""]
    for sheet in [*sheets(analysis), *score_sheets(analysis)]:
        lines += told(sheet)
    lines += ["## Curves", "", chart(analysis)[1].format(picture=picture)]
    for title, some in (
        ("errors in the labels' own units", error_sheets(analysis)),
        (
            "what the designs did, name and set, and what the model's time would have trained",
            answers(analysis) if models else [],
        ),
        ("success by skill and arm", skill_sheets(analysis)),
    ):
        if some:
            lines += [
                f"<details><summary>{title}</summary>",
                "",
                *(line for one in some for line in told(one)),
                "</details>",
                "",
            ]
    if analysis.notes:
        lines += ["## Before comparing rows", "", *(f"- {note}" for note in analysis.notes), ""]
    return lines


def chart(analysis: Analysis) -> tuple[Callable[[Path], None], str]:
    """What draws its curves, and what stands there."""
    study = analysis.study
    family = study.arms[0].runs[0].family
    if isinstance(family, Parted):
        return functools.partial(charts.draw_parts, study.arms, family), PART_CURVES
    if study.arms[0].runs[0].flat.get("preregistered"):
        text = CURVES_OF_STUDY + result_lead.caption(study.arms, decides=bool(mains(analysis)))
        return functools.partial(charts.draw_verdict, analysis), text
    return functools.partial(charts.draw_study, study.arms), STUDY_CURVES


def told(sheet: Sheet) -> list[str]:
    """A table under its title."""
    return [f"## {sheet.title}", "", *table(sheet.headers, sheet.rows), "", sheet.caption, ""]


def learning_page(arms: Sequence[Arm], random: Random, packs: Sequence[Path]) -> list[str]:
    """What plain PPO learns."""
    commands = "\n".join(
        LEARNING_COMMAND.format(experiment=pack.stem.replace("-", "_"), folder=pack.stem) for pack in packs
    )
    lines = [*LEARNING.format(commands=commands).splitlines(), "", "## Scores", "", *scores(arms, random)]
    lines += ["## Curves", "", "![Score and return over training steps](../pictures/learning.svg)", "", CURVES]
    lines += ["## Success by skill", "", *skills_table(arms, random), "", SKILLS, "## Machine", ""]
    for arm in arms:
        machine = arm.runs[0].machine
        words = ", ".join(
            f"{key} {machine[key]}" for key in ("network", "device_name", "precision", "threads", "torch")
        )
        minutes = spread(arm.values(lambda s: s.seconds / 60), 1)
        lines.append(
            f"- {preset(arm)}: {machine['parameters']:,} weights, {words} (first seed); {minutes} minutes a run"
        )
    return [*lines, "", MACHINE]


RESULTS = Path("docs/results.md")

WITH = {result_lead.MORE: result_lead.STUDY, "direct": result_lead.STUDY}
"""Packs whose arms stand beside those of another."""

MADE = "What these numbers say: [results.md](../results.md). Made by `python tools/make_results.py {named}`."

SCALES_OWN = "symbolic"
"""The preset that scale=laptop and scale=verdict take by themselves."""

STAND_IN = "the offline stand-in, which is no language model: nothing here is about the paper's claims"
SEES = {"symbolic": "symbols", "pixels": "pixels"}

DEEP = ("make_stone_pickaxe", "collect_iron", "make_iron_pickaxe")
"""Skills that stand beside the score: how deep it came."""
ENDS = ("low", "high")

LEARNING = """\
# What plain PPO learns on the original Crafter

1.96 M steps of the stock game, the number that EnvGen's paper trains for, two runs at a time with one thread each, and
on the way an evaluation at 1 M steps. Settings were chosen on seeds that no run here has ([ppo.md](../ppo.md)).

```
{commands}
```
"""

LEARNING_COMMAND = """\
python run.py -m experiment={experiment} hydra.sweep.dir=multirun/{folder} hydra/launcher=joblib hydra.launcher.n_jobs=2
python -m envgen_exp pack multirun/{folder} docs/packs/{folder}.json"""

PUBLISHED = (
    ("published", "steps", "score %", "sees", "weights", "source"),
    ("PPO, Moon et al.", "1 M", "15.5 ± 0.6", "pixels", "4 M", "arXiv 2307.03486, 2403.12014"),
    ("Achievement Distillation", "1 M", "21.8 ± 1.4", "pixels", "9 M", "arXiv 2307.03486"),
    ("DreamerV3, 10 seeds", "1 M", "17.65 ± 2.29", "pixels", "201 M", "github.com/symoon11/dreamerv3-flax"),
    ("PPO, EnvGen's paper", "1.96 M", "26.4 ± 2.1", "pixels", "4 M", "arXiv 2403.12014"),
    ("PPO + EnvGen (GPT-4 designs)", "1.96 M", "32.2 ± 0.6", "pixels", "4 M", "arXiv 2403.12014"),
    ("human expert", "-", "50.5 ± 6.8", "pixels", "-", "arXiv 2109.06780"),
)
"""Facts of others, with where they stand."""

BESIDE = """\
What differs: the published agents see the picture as it is. `ppo=laptop` sees the same pictures, and its network is
told that they are made of tiles and that a mirrored game is the same game; `ppo=symbolic` sees the game's symbols,
without night and noise. Most published scores are of training episodes.
"""

SEEDS = """\
In brackets the 95 % interval over the 1,000 episodes of each evaluation, whose worlds no training saw; those of 1 M are
others than the last ones. The last column is the score over the training episodes of the last phase, about half of all
steps, the way the paper reads its score.
"""

MACHINE = "Minutes are wall time, both evaluations included, beside another run and whatever else the machine did.\n"

STUDY = """\
`{typed}`, which is

```
{command}
```

What the arms are: [designers.md](../designers.md). How the numbers are made: [statistics.md](../statistics.md).
Worlds are designed by {designer}.
A run trains for {steps:,} steps; its network ({network}, {weights:,} weights) reads {sees}. The runs' settings are
those of their time, in their pack.
"""

CURVES_OF_STUDY = "![Score over training steps, arm by arm]({picture})\n\n"

BESIDE_IT = "Beside its arms stand those of `docs/packs/{pack}.json`, whose page is [{pack}.md]({pack}.md)."

STUDY_CURVES = f"""\
{CURVES_OF_STUDY}\
Training episodes in the original, by twentieths of the training steps: mean over seeds, band of one standard deviation;
grey is `adaptive`. Points are missing where training was in designed worlds.
"""

PART_CURVES = """\
![Score over training steps, arm by arm]({picture})

Feedback evaluations, which look at fewer frames, of the original's look: mean over seeds, band of one SD. The
points on the right, side by side, are the report evaluation, of another look.
"""

SCORES = """\
Mean ± standard deviation over n seeds, of 1,000 episodes each. The random policy played {episodes} episodes; in
brackets the 95 % interval over episodes.
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


def page_of(packs: Sequence[Path]) -> Path:
    """The page of these packs."""
    name = packs[0].stem
    return RESULTS.with_suffix("") / f"{'learning' if name.startswith('learning') else name}.md"


def page(packs: Sequence[Path], pictures: Path | None = None) -> str:
    """The text of these packs' page; its curves go into `pictures`, if anywhere."""
    if packs[0].stem.startswith("learning"):
        arms = [arm for pack in packs for arm in open_study([pack]).arms]
        random = Random.play(CrafterFamily(CrafterConfig(observation=Observe.symbolic)), 1_000)
        if pictures is not None:
            lines = [(f"{preset(arm)}, n={len(arm.runs)}", arm) for arm in arms]
            levels = {"score": random.score, "return": random.mean_return}
            charts.draw_learning(lines, levels, pictures / "learning.svg")
        lines_of_page = learning_page(arms, random, packs)
    else:
        beside = WITH.get(packs[0].stem, "")
        study = open_study([*packs, *([packs[0].with_stem(beside)] if beside else [])], packs[0].with_suffix(""))
        if any(not arm.runs[0].trains for arm in study.arms):
            head, tables = result_played.page(study, beside)
            lines_of_page = [*head, "", *(line for table in tables for line in told(table))]
        else:
            analysis, picture = Analysis(study), f"{study.folder.name}.svg"
            if pictures is not None:
                chart(analysis)[0](pictures / picture)
            lines_of_page = study_page(analysis, Path("../pictures") / picture, beside)
    title, *rest = lines_of_page
    named = " ".join(f"docs/packs/{pack.name}" for pack in packs)
    return "\n".join([title, "", MADE.format(named=named), *rest]).strip() + "\n"


def verdict(folder: Path) -> Study:
    """What docs/results.md leads with: the core, and what is there of the other arms."""
    found = [folder / f"{name}.json" for name in (result_lead.STUDY, result_lead.MORE)]
    return open_study([pack for pack in found if pack.exists()])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", type=Path, nargs="+", help="of one study, or of plain PPO with several presets")
    packs: list[Path] = parser.parse_args(arguments).packs
    file = page_of(packs)
    write_atomic(file, page(packs, RESULTS.parent / "pictures").encode())
    print(f"written to {file}")
    if file.stem in (result_lead.STUDY, result_lead.MORE):
        fill([str(RESULTS)], result_lead.FIRST_LINE, lambda: result_lead.lead(Analysis(verdict(packs[0].parent))))


if __name__ == "__main__":
    main()
