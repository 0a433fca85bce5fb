"""What the runs at hand say of the paper's claims: `python -m envgen_exp report --claims multirun`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from envgen_exp.errors import RunFolderError
from envgen_exp.guard.writing import write_over
from envgen_exp.reporting.statistics import (
    Comparison,
    Groups,
    against_number,
    difference_power,
    equivalence_power,
    holm,
    smallest,
    units,
    welch,
)
from envgen_exp.reporting.study.claims import CLAIMS, MARGIN, Claim
from envgen_exp.reporting.study.collect import Arm, comparable, find_runs, make_arms
from envgen_exp.reporting.study.table_files import MARK


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim."""

    claim: Claim
    word: str
    """replicated, not replicated, underpowered, or why there is no verdict."""
    detail: str


@dataclass(frozen=True)
class _Evidence:
    """The runs that come nearest to a claim."""

    ours: Arm
    theirs: Arm | None
    is_llm: bool
    at_scale: bool
    comparison: Comparison | None
    sd: float
    """Of one run, over both sides."""
    unit: str

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Which evidence counts first."""
        return self.is_llm, self.at_scale, len(self.ours.runs) + (len(self.theirs.runs) if self.theirs else 0)

    def told(self) -> str:
        """Difference with interval and n."""
        sides = [arm for arm in (self.ours, self.theirs) if arm is not None]
        n = ", ".join(f"n={len(arm.runs)}" for arm in sides)
        c = self.comparison
        if c is None:
            return f"no interval ({n})"
        return f"{c.difference:+.2f} [{c.low:+.2f}, {c.high:+.2f}] points ({n})"


def judge(arms: Sequence[Arm]) -> list[Verdict]:
    """A verdict for every claim, in order."""
    found = [_evidence(claim, arms) for claim in CLAIMS]
    tested: dict[str, list[int]] = defaultdict(list)
    for number, (claim, evidence) in enumerate(zip(CLAIMS, found, strict=True)):
        if evidence is not None and evidence.comparison is not None and _can_decide(claim, evidence):
            tested[claim.experiment].append(number)
    corrected: dict[int, float] = {}
    for numbers in tested.values():
        p_values = [_p_of(CLAIMS[number], found[number]) for number in numbers]
        corrected |= dict(zip(numbers, holm(p_values), strict=True))
    return [_verdict(claim, found[number], corrected.get(number)) for number, claim in enumerate(CLAIMS)]


def _can_decide(claim: Claim, evidence: _Evidence) -> bool:
    return evidence.at_scale and (evidence.is_llm or not claim.asks) and not claim.impossible


def _p_of(claim: Claim, evidence: _Evidence | None) -> float:
    """p of what would have to be true if the claim were false."""
    assert evidence is not None
    assert evidence.comparison is not None
    c = evidence.comparison
    return max(c.below(MARGIN), c.above(-MARGIN)) if claim.kind in ("same", "number") else c.p


def _verdict(claim: Claim, evidence: _Evidence | None, p: float | None) -> Verdict:
    if evidence is None:
        return Verdict(claim, "not run", claim.impossible)
    told = evidence.told()
    steps = f"{evidence.ours.runs[0].training_steps:,} steps, ppo={evidence.ours.runs[0].flat['ppo.name']}"
    if claim.impossible:
        return Verdict(claim, "no verdict possible", f"{claim.impossible}; ours: {told}")
    if claim.asks and not evidence.is_llm:
        return Verdict(claim, "not run with a language model", f"with a stand-in, {steps}: {told}; decides nothing")
    if not evidence.at_scale:
        return Verdict(claim, "not run at the paper's scale", f"{steps}: {told}; decides nothing")
    c = evidence.comparison
    if c is None or p is None:
        return Verdict(
            claim, "underpowered", f"{told}: at least 2 independent runs an arm are needed, with some spread"
        )
    told = f"{told}, p={p:.2g} after Holm"
    if claim.kind in ("same", "number"):
        yes, no = p < 0.05, c.low > MARGIN or c.high < -MARGIN
        spread = evidence.sd * (math.sqrt(2) if claim.theirs else 1)
        needed = smallest(lambda n: equivalence_power(n, spread, MARGIN) >= 0.8)
    else:
        half = claim.size / 2
        yes, no = p < 0.05 and c.low > 0, c.below(half) < 0.05
        spread = evidence.sd / (1 if claim.theirs else math.sqrt(2))
        needed = smallest(lambda n: difference_power(n, spread, half) >= 0.8)
    if yes:
        return Verdict(claim, "replicated", told)
    if no:
        return Verdict(claim, "not replicated", told)
    would = f"{needed:,} {evidence.unit} an arm would do" if needed else "no reasonable number of runs would do"
    return Verdict(claim, "underpowered", f"{told}; {would}")


def _evidence(claim: Claim, arms: Sequence[Arm]) -> _Evidence | None:
    """The best pair of arms for a claim: real models first, then the paper's scale, then most runs."""
    found = []
    for ours in arms if claim.experiment else ():
        if not claim.ours.matches(ours.runs[0]):
            continue
        if claim.theirs is None:
            if claim.ours.at_scale(ours.runs[0]):  # a number of the paper says nothing at another scale
                found.append(_pair(claim, ours, None))
            continue
        for theirs in arms:
            if (
                theirs is not ours
                and claim.theirs.matches(theirs.runs[0])
                and comparable(ours.runs[0], theirs.runs[0], any_model=bool(claim.ours.model))
            ):
                found.append(_pair(claim, ours, theirs))
    return max(found, key=lambda evidence: evidence.rank, default=None)


def _pair(claim: Claim, ours: Arm, theirs: Arm | None) -> _Evidence:
    groups = ours.groups(claim.value)
    sides = [(claim.ours, ours)]
    if theirs is None:
        samples = [groups]
        comparison = against_number(groups, claim.number) if groups else None
    else:
        assert claim.theirs is not None
        sides.append((claim.theirs, theirs))
        samples = [groups, theirs.groups(claim.value)]
        comparison = welch(*samples) if all(samples) else None
    return _Evidence(
        ours=ours,
        theirs=theirs,
        is_llm=all(arm.runs[0].flat["llm.kind"] == "litellm" for side, arm in sides if side.asks),
        at_scale=all(side.at_scale(arm.runs[0]) for side, arm in sides),
        comparison=comparison,
        sd=_pooled_sd(samples),
        unit="runs" if all(len(sample) <= 1 for sample in samples) else "design sets",
    )


def _pooled_sd(samples: Iterable[Groups]) -> float:
    variances = [float(units(sample).var(ddof=1)) for sample in samples if sample and len(units(sample)) > 1]
    return math.sqrt(sum(variances) / len(variances)) if variances else 0.0


def write_claims(folder: Path, out: Path) -> list[Verdict]:
    """Judge every claim by the sweeps below `folder` and write the document; RunFolderError where it can't be."""
    verdicts = judge(_all_arms(folder))
    write_over(out, document(verdicts), lambda text: text.startswith(MARK))
    return verdicts


def _all_arms(folder: Path) -> tuple[Arm, ...]:
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is not a folder of sweeps")
    runs = [run for sweep in (folder, *sorted(folder.iterdir())) if sweep.is_dir() for run in find_runs(sweep)[0]]
    arms, _ = make_arms([run for run in runs if run.summary is not None])
    return arms


RULE = f"""\
Each claim is tested by a difference of two arms on the same number of training steps, or against a number of the paper.

- **replicated**: the difference is above zero at 5 % (Welch's test, corrected after Holm over the claims of the same
  experiment). For "as good as" and for the paper's own scores: two one-sided tests put it within {MARGIN:g} points.
- **not replicated**: the difference is shown to be below half the paper's (one-sided, 5 %). For "as good as" and for
  scores: the 95 % interval lies more than {MARGIN:g} points away.
- **underpowered**: neither. The number of runs an arm that would do has 80 % power at the spread seen, for half the
  paper's difference or for equivalence.
- **not run**: no sweep has the arms. Only finished runs with the paper's game, network (`ppo=paper`) and steps
  decide; smaller ones are told and decide nothing. `llm=offline` is not a language model and decides no claim about
  one.

Differences are of the report evaluation's score, in worlds that no training and no feedback saw; the paper's own scores
are compared with the training-episode score, which is how the paper reads its runs. Runs that share designs are not
independent: tests then go over design sets. "Its argument" rows are what the explanation needs without a number;
{MARGIN:g} points stand in for one. How the tests work: [statistics.md](statistics.md).
"""


def document(verdicts: Sequence[Verdict]) -> str:
    """docs/claims.md."""
    counts: dict[str, int] = defaultdict(int)
    for verdict in verdicts:
        counts[verdict.word] += 1
    summary = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    lines = [
        MARK,
        "# The paper's claims",
        "",
        "What EnvGen's paper (arXiv 2403.12014v2) says, the command that tests it, and what our runs say; written",
        "by `python -m envgen_exp report --claims multirun` from the sweeps in `multirun/`.",
        "",
        f"**{len(verdicts)} claims: {summary}.**",
        "",
        "| where | claim | paper | verdict | our runs | command |",
        "|---|---|---|---|---|---|",
    ]
    for v in verdicts:
        command = f"`{v.claim.command}`"
        cells = (v.claim.table, v.claim.text, v.claim.printed, f"**{v.word}**", v.detail or "-", command)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, "", "## The rule", "", RULE])
