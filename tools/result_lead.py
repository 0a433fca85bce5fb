"""What docs/results.md leads with: the verdict's figure and five sentences, each number from the study's pack."""

from __future__ import annotations

from envgen_exp.reporting.study.analysis import Analysis, ContrastResult
from envgen_exp.reporting.study.answers import MINUTES, answers
from envgen_exp.reporting.study.claims import MARGIN
from envgen_exp.reporting.study.collect import Arm
from envgen_exp.reporting.study.preregistered import decided, mains, reasons
from envgen_exp.reporting.study.tables import p_value, points, spread

STUDY = "verdict"
"""Its pack's name."""

FIRST_LINE = (
    "<!-- from here to the next mark: python tools/make_results.py docs/packs/verdict.json (what was found) -->"
)

LEAD = """\
![Score over training steps, and the differences with their intervals](pictures/verdict.svg)

**Does EnvGen with this model help this agent? {said}.**

1. **Asked**, and fixed before the first run ([verdict.md](verdict.md)): do the worlds that a language model designs
   make a small agent better? {model} designs, told before each later cycle how often the agent shows each skill; the
   agent (`ppo=symbolic`, {weights:,} weights) sees symbols; {arms} arms have {steps:,} steps a run and {n} runs each.
2. **Found**: `{ours}` scores {ours_score}, and `{theirs}`, which sees no design, {theirs_score}, which is
   {difference} points, p {p} by {n} pairs of runs with one seed; and in the model's time, {minutes} a run, a run could
   have trained for {more_steps} steps more.
3. **How sure**: the 95 % interval leaves room for a benefit of at most {benefit} points{and_harm}; the others, one
   family, are {others}{why}.
4. **It does not say** what a larger model, an agent that sees pixels, more steps or other worlds would give, and
   nothing of the paper's own numbers, which are GPT-4's with another agent ([claims.md](claims.md)).
5. **Again**: `make model` and `make sweep STUDY=verdict`, {hours} hours of two cores; `python -m envgen_exp report
   docs/packs/verdict.json` reads these runs.

Left: training episodes in the original, by twentieths of the training steps, mean over seeds and a band of one standard
deviation; points are missing where training was in designed worlds. Right: differences of the report's score:
a dot for each pair of runs, and their mean with its 95 % interval; the grey band is ±{margin:g} points.
"""


def lead(analysis: Analysis) -> list[str]:
    """The figure and the sentences of a study whose pack is that of docs/verdict.md."""
    (main,) = mains(analysis)
    assert main.comparison is not None, "two runs an arm are needed"
    arms, said = analysis.study.arms, decided(main)
    run = main.ours.runs[0]
    others = [one for one in analysis.contrasts if one is not main]
    times = next(sheet.rows for sheet in answers(analysis) if sheet.title == MINUTES)
    _, minutes, _, more_steps, *_ = next(row for row in times if row[0] == main.ours.label)
    low, high = main.comparison.low, main.comparison.high
    text = LEAD.format(
        said=said[0].upper() + said[1:],
        model=run.flat["llm.model"],
        weights=run.machine["parameters"],
        arms=len(arms),
        steps=run.training_steps,
        n=main.difference.pairs,
        ours=main.ours.name,
        theirs=main.theirs.name,
        ours_score=_score(main.ours),
        theirs_score=_score(main.theirs),
        difference=points(main.difference),
        p=p_value(main.comparison.p),
        minutes=minutes,
        more_steps=more_steps,
        benefit=f"{max(high, 0):.2f}",
        and_harm=f" and a harm of at most {-low:.2f}" if low < 0 else "",
        others=", ".join(map(_told, others)),
        why="".join(f"; {words}" for _, words in reasons(analysis, main)),
        margin=MARGIN,
        hours=f"{sum(s.seconds for arm in arms for s in arm.summaries) / 2 / 3600:.1f}",
    )
    return text.splitlines()


def _score(arm: Arm) -> str:
    return f"{spread(arm.values(lambda s: s.score))} %"


def _told(one: ContrastResult) -> str:
    return f"{points(one.difference)} to `{one.theirs.name}` (corrected p {p_value(one.corrected)})"
