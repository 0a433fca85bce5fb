"""What docs/results.md leads with: the verdict's figure and what it says, each number from the study's pack."""

from __future__ import annotations

import re
import textwrap

from envgen_exp.reporting.statistics import mean_sd
from envgen_exp.reporting.study.analysis import Analysis, ContrastResult
from envgen_exp.reporting.study.answers import model_time
from envgen_exp.reporting.study.claims import MARGIN
from envgen_exp.reporting.study.collect import Arm
from envgen_exp.reporting.study.preregistered import OPEN, decided, mains, reasons
from envgen_exp.reporting.study.tables import p_value, points, spread

STUDY = "verdict"
"""Its pack's name."""

FIRST_LINE = "<!-- from here to the next mark: python tools/make_results.py docs/packs/verdict.json -->"

LEAD = """\
![Score over training steps, and the differences with their intervals](pictures/verdict.svg)

**Does EnvGen, with a language model of 1.5 billion weights, help a small agent in Crafter? {said}.**

1. **Asked**, and fixed before the first run ([verdict.md](verdict.md)): four times in a run {model} designs the
   worlds in which the agent trains next, told how often it shows each skill by then. Is the agent (`ppo=symbolic`,
   {weights:,} weights) in the end better in the unchanged game than one that trained there alone, for as many steps?
2. **Found**: after {steps:,} steps the one with the model's designs (`{ours}`) scores {ours_score}, the one without
   any (`{theirs}`) {theirs_score}: a difference of {difference} points ({n} pairs of runs with one seed, p {p}).
   The model's {minutes:.0f} minutes a run would do for some {more_steps:.1f} million more steps, by which `{theirs}`
   would rise by {rise} points if it went on as at its end: by the rule of that page {pays}.
3. **How sure**: the 95 % interval goes from {low:+.2f} to {high:+.2f} points{needed}. The other
   contrasts, p times 12 since there are 12 of them: {others}{why}.
4. **It does not say** what a larger model, an agent that sees pixels, more steps or other worlds would give, and
   nothing of the paper's own numbers, which are GPT-4's with another agent ([claims.md](claims.md)).
5. **To repeat it**: `make model` and `make sweep STUDY=verdict`; these {runs} runs took {hours:.1f} hours of two cores.
   `python -m envgen_exp report docs/packs/verdict.json` reads them.

Scores are Crafter's, a geometric mean of the success rates of its 22 skills, here in 1,000 episodes: mean ± SD over
runs. `placebo` is the same model, told rates of the wrong skills; `random` are random designs. {caption}
"""

CAPTION = f"""\
Left: training episodes in the original, by twentieths of the training steps, mean over seeds and, where arms are few, a
band of one standard deviation; points are missing where training was in designed worlds. Right: differences of the
report's score, a dot for each pair of runs, and their mean with its 95 % interval, the main one in black. The grey band
is ±{MARGIN:g} points: an interval that lies in it and holds 0 would count as no difference that matters.
"""


def lead(analysis: Analysis) -> list[str]:
    """The figure and the sentences of a study whose pack is that of docs/verdict.md."""
    (main,) = mains(analysis)
    test, said = main.comparison, decided(analysis, main)
    assert test is not None, "two runs an arm are needed"
    arms, run = analysis.study.arms, main.ours.runs[0]
    spent = model_time(main.ours, arms)
    better = mean_sd(spent.rises)[0] > test.difference
    text = LEAD.format(
        said=said[0].upper() + said[1:],
        model=run.flat["llm.model"],
        weights=run.machine["parameters"],
        steps=run.training_steps,
        n=main.difference.pairs,
        ours=main.ours.name,
        theirs=main.theirs.name,
        ours_score=_score(main.ours),
        theirs_score=_score(main.theirs),
        difference=points(main.difference),
        p=p_value(test.p),
        minutes=spent.seconds / 60,
        more_steps=spent.steps / 1e6,
        rise=spread(spent.rises),
        pays=f"training on is {'' if better else 'not '}the better use of the time",
        low=test.low,
        high=test.high,
        needed=f"; {main.needed} pairs would show {MARGIN:g} points with a power of 80 %" if said == OPEN else "",
        others="; ".join(_told(one) for one in analysis.contrasts if one is not main),
        why="".join(f"; {words}" for _, words in reasons(analysis, main)),
        runs=sum(len(arm.runs) for arm in arms),
        hours=sum(s.seconds for arm in arms for s in arm.summaries) / 2 / 3600,
        caption=CAPTION,
    )
    return _wrapped(text)


def _wrapped(text: str) -> list[str]:
    """Its paragraphs and its list, in lines of one width."""
    lines: list[str] = []
    for block in text.strip().split("\n\n"):
        for item in re.split(r"\n(?=\d\. )", block):
            indent = "   " if item[0].isdigit() else ""
            item = " ".join(item.split()).replace(" - ", "\0-\0")  # a line that begins with it would be a list's
            lines += textwrap.wrap(item, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        lines.append("")
    return [line.replace("\0", " ") for line in lines[:-1]]


def _score(arm: Arm) -> str:
    return f"{spread(arm.values(lambda s: s.score))} %"


def _told(one: ContrastResult) -> str:
    return f"`{one.ours.name}` - `{one.theirs.name}` is {points(one.difference)}, p {p_value(one.corrected)}"
