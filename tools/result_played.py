"""The page of a language model that plays: what its steps take, beside the runs in which the same one designs."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from envgen_exp.reporting.study.collect import FoundRun, Study
from envgen_exp.reporting.study.packs import PackedRun
from envgen_exp.reporting.study.tables import Sheet, duration
from envgen_exp.run import plan

PAGE = """\
# A language model that plays, beside one that designs

```
{command}
```

{model} is asked for every action ([agents.md](../agents.md)). `{designs}` stands beside it, from
`docs/packs/{pack}.json`: the runs in which the same model designs, {steps:,} training steps each.
"""

WHOLE = """\
An episode of `original`'s agent takes {length:.0f} steps. At these {seconds:.1f} seconds a step one of that length
would take {calls:,.0f} calls and {minutes:.0f} minutes of the model; the run that designs takes {asked:.1f} calls
({cycles}, and repairs) and {designing:.1f} minutes, once for all episodes that its agent then plays. The model that
plays learns nothing meanwhile. The runs that design went two at a time, so that their seconds are rather too many.
"""

EPISODES = """\
{cut} of {all} were cut, and may return less than whole ones. Repairs are questions for an answer that named no
action, idle are steps for which none named one.
"""


def page(study: Study, beside: str) -> tuple[list[str], list[Sheet]]:
    """The words before the tables of a run that plays, and the tables; `beside` is the pack of the other arms."""
    arms = {arm.name: arm for arm in study.arms}
    (run,) = (run for arm in study.arms for run in arm.runs if not run.trains)
    designs, original = arms["adaptive"], arms["original"]
    head = PAGE.format(
        command=run.document["command"],
        model=run.flat["llm.model"],
        designs=designs.name,
        pack=beside,
        steps=designs.runs[0].training_steps,
    )
    took = _took(run)
    seconds = sum(took["seconds"]) / sum(took["steps"])
    length = statistics.fmean(steps for one in original.runs for steps in _packed(one).values["episodes"]["steps"])
    whole = WHOLE.format(
        length=length,
        seconds=seconds,
        calls=length * sum(took["calls"]) / sum(took["steps"]),
        minutes=length * seconds / 60,
        cycles=designs.runs[0].flat["cycles"],
        asked=statistics.fmean(one.spent.calls for one in designs.runs),
        designing=statistics.fmean(one.spent.seconds for one in designs.runs) / 60,
    )
    costs = Sheet(
        "What is asked of the model",
        f"Means of a run. {whole.strip()}",
        ("", "runs", "steps played", "calls", "tokens", "tokens a call", "time of the model", "seconds a call"),
        [_asked("plays: `direct`", [run], sum(took["steps"])), _asked(f"designs: `{designs.name}`", designs.runs, 0)],
    )
    return head.strip().splitlines(), [costs, _episodes(run)]


def _asked(called: str, runs: Sequence[FoundRun], steps: float) -> list[str]:
    calls, tokens, seconds = (
        statistics.fmean(values)
        for values in zip(
            *((r.spent.calls, r.spent.prompt_tokens + r.spent.completion_tokens, r.spent.seconds) for r in runs),
            strict=True,
        )
    )
    cells = f"{len(runs)}", f"{steps:,.0f}", f"{calls:,.1f}", f"{tokens:,.0f}", f"{tokens / calls:,.0f}"
    return [called, *cells, duration(seconds), f"{seconds / calls:.1f}"]


def _episodes(run: FoundRun) -> Sheet:
    took, kept = _took(run), _packed(run).values["episodes"]
    skills, told = run.family.skills, run.result(plan.REPORT)["episodes"]
    rows = []
    for number, shown in enumerate(kept["skills"]):
        there = [skill for place, skill in enumerate(skills) if int(shown, 16) >> place & 1]
        per_step = took["seconds"][number] / took["steps"][number]
        counts = [f"{took[name][number]:.0f}" for name in ("steps", "calls", "repairs", "idle")]
        chosen = Counter(told[number]["actions"]).most_common(3)
        often = ", ".join(f"{action} {count}" for action, count in chosen)
        cells = f"{per_step:.1f}", often, f"{kept['return'][number]:.1f}", ", ".join(there) or "-"
        rows.append([f"{number + 1}", *counts, *cells])
    return Sheet(
        "Its episodes",
        EPISODES.format(cut=round(sum(took["cut"])), all=len(rows)).strip(),
        ("episode", "steps", "calls", "repairs", "idle", "seconds a step", "most frequent", "return", "skills shown"),
        rows,
    )


def _took(run: FoundRun) -> dict[str, list[float]]:
    named = {name: values for name, values in _packed(run).takings.items() if name != "dollars"}
    return {name: [value for value in values if value is not None] for name, values in named.items()}


def _packed(run: FoundRun) -> PackedRun:
    assert isinstance(run, PackedRun)
    return run
