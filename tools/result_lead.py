"""What docs/results.md leads with: the verdict's figure and what it says, each number from the study's pack."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from result_charts import FEW

from envgen_exp.reporting.statistics import mean_sd
from envgen_exp.reporting.study.analysis import Analysis, ContrastResult
from envgen_exp.reporting.study.answers import ModelTime, model_time
from envgen_exp.reporting.study.claims import MARGIN
from envgen_exp.reporting.study.collect import RIVALS, Arm
from envgen_exp.reporting.study.preregistered import OPEN, core, decided, mains, reasons
from envgen_exp.reporting.study.tables import one_less, p_value, points, spread

STUDY = "verdict"
"""Its pack's name."""

FIRST_LINE = "<!-- from here to the next mark: python tools/make_results.py docs/packs/verdict.json -->"

MORE = "verdict_more"
"""Its arms beside the core, in a pack of their own."""

LEAD = """\
![Score over training steps, and the differences with their intervals](pictures/verdict.svg)

**Does EnvGen, with a language model of 1.5 billion weights, help a small agent in Crafter? {said}: {difference}
points of {theirs_mean:.1f}.**

1. **Asked**, and fixed before the first run ([verdict.md](verdict.md)): {cycles} times in a run {model} designs the
   worlds in which the agent trains next; from the second time on it is told how often the agent shows each skill. Is
   the agent (`ppo=symbolic`, {weights:,} weights) in the end better in the unchanged game than one that trained there
   alone, for as many steps?
2. **Found**: after {steps:,} steps the one with the model's designs (`{ours}`) scores {ours_score}, the one without
   any (`{theirs}`) {theirs_score}: a difference of {difference} points ({n} pairs, the two runs of a pair with the
   same seed; p {p}). The model's {minutes:.0f} minutes a run are the time of some {more_steps:.1f} million more
   training steps: {pays}.
3. **How sure**: a pair's difference has an SD of {sd:.2f} points{needed}. With one pair less p is {one_less}. The
   other contrasts, p times {family}, the size of their family in every study: {others}{why}.
4. **It does not say** what a larger model, an agent that sees pixels, more steps or other worlds would give, and
   nothing of the paper's own numbers, which are GPT-4's with another agent ([claims.md](claims.md)).
5. **To repeat it**: `make model` and `make sweep STUDY=verdict`; these {runs} runs took {hours:.1f} hours of two cores.
   `python -m envgen_exp report docs/packs/verdict.json` reads them.

Scores are Crafter's, a geometric mean of the success rates of its 22 skills, here in 1,000 episodes: mean ± SD over
runs. `placebo` is the same model, told rates of the wrong skills; `random` are random designs. {caption}
"""

CAPTION = f"""\
Left: training episodes in the original, by twentieths of the training steps, mean over seeds{{band}}; points are
missing where training was in designed worlds. Right: differences of the report's score, a dot for each pair of runs,
and their mean with its 95 % interval, the main one in black. The grey band is ±{MARGIN:g} points{{rule}}.
"""
RULE = """: an interval that lies
in it and holds 0 would count as no difference that matters"""


def caption(arms: Sequence[Arm], *, decides: bool = True) -> str:
    """Of the figure of a study that `decides` by the rule of docs/verdict.md, or is beside it."""
    band = " with a band of one standard deviation" if len(arms) <= FEW else ""
    return CAPTION.format(band=band, rule=RULE if decides else "")


def lead(analysis: Analysis) -> list[str]:
    """The figure and the sentences of a study whose pack is that of docs/verdict.md, with MORE's arms or without."""
    (main,) = mains(analysis)
    test, said = main.difference.test, decided(analysis, main)
    assert test is not None, "two runs an arm are needed"
    run, arms = main.ours.runs[0], core(analysis, main)
    spent = model_time(main.ours, arms)
    others = [one for one in analysis.contrasts if one is not main]
    return _wrapped(
        LEAD.format(
            said=said[0].upper() + said[1:],
            cycles=run.flat["cycles"],
            model=run.flat["llm.model"],
            weights=run.machine["parameters"],
            steps=run.training_steps,
            n=main.difference.pairs,
            ours=main.ours.name,
            theirs=main.theirs.name,
            ours_score=_score(main.ours),
            theirs_score=_score(main.theirs),
            theirs_mean=mean_sd(main.theirs.values(lambda s: s.score))[0],
            difference=points(main.difference),
            p=p_value(test.p),
            minutes=spent.seconds / 60,
            more_steps=spent.steps / 1e6,
            pays=_pays(test.difference, spent),
            sd=main.difference.sd,
            needed=f"; {main.needed} pairs would show {MARGIN:g} points with a power of 80 %" if said == OPEN else "",
            one_less=one_less(main.difference),
            family=len(RIVALS),
            others="; ".join(_told(one, main) for one in others),
            why="".join(f"; {words}" for _, words in reasons(analysis, main)),
            runs=sum(len(arm.runs) for arm in arms),
            hours=sum(s.seconds for arm in arms for s in arm.summaries) / 2 / 3600,
            caption=caption(arms),
        )
    )


def _pays(gain: float, spent: ModelTime) -> str:
    """What the rule of docs/verdict.md says of the model's time."""
    if gain <= 0:
        return "training on is the better use of that time, where designs do not help"
    better = "" if mean_sd(spent.rises)[0] > gain else "not "
    return (
        f"by them `original` would rise by {spread(spent.rises)} points, did it go on in a straight line, and training "
        f"on is {better}the better use of the time"
    )


def _wrapped(text: str) -> list[str]:
    """Its paragraphs and its list, in lines of one width."""
    lines: list[str] = []
    for block in text.strip().split("\n\n"):
        for item in re.split(r"\n(?=\d\. )", block):
            indent = "   " if item[0].isdigit() else ""
            item = " ".join(item.split())
            for kept in (" - ", " ± ", " p "):  # a line that begins with the first would be a list's
                item = item.replace(kept, kept.replace(" ", "\0"))
            item = re.sub(r"(\[\S+,) (\S+\])", "\\1\0\\2", item)
            lines += textwrap.wrap(item, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        lines.append("")
    return [line.replace("\0", " ") for line in lines[:-1]]


def _score(arm: Arm) -> str:
    return f"{spread(arm.values(lambda s: s.score))} %"


def _told(one: ContrastResult, main: ContrastResult) -> str:
    pairs = "" if one.difference.pairs == main.difference.pairs else f" ({one.difference.pairs} pairs)"
    return f"`{one.ours.name}` - `{one.theirs.name}` is {points(one.difference)}{pairs}, p {p_value(one.corrected)}"
