"""What the runs at hand say of the paper's claims: `python -m envgen_exp report --claims multirun`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envgen_exp.config import LLMKind
from envgen_exp.errors import RunFolderError
from envgen_exp.guard.writing import write_over
from envgen_exp.reporting.statistics import holm
from envgen_exp.reporting.study.claims import CLAIMS, MARGIN, Claim, named
from envgen_exp.reporting.study.collect import Arm, comparable, find_runs, make_arms
from envgen_exp.reporting.study.contrasts import Difference, against, difference
from envgen_exp.reporting.study.table_files import MARK


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim."""

    claim: Claim
    word: str
    """replicated, smaller, not replicated, underpowered, or why there is no verdict."""
    detail: str


@dataclass(frozen=True)
class _Evidence:
    """The runs that come nearest to a claim."""

    claim: Claim
    ours: Arm
    theirs: Arm | None
    is_llm: bool
    departures: tuple[str, ...]
    """What is not as at the paper's scale."""
    difference: Difference

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        """Which evidence counts first."""
        runs = len(self.ours.runs) + (len(self.theirs.runs) if self.theirs else 0)
        return self.is_llm, not self.departures, runs, -len(self.departures)

    @property
    def decides(self) -> bool:
        """Whether a verdict can be given."""
        asked = self.is_llm or not self.claim.asks
        tested = self.difference.test is not None
        return asked and tested and not self.departures and not self.claim.impossible

    @property
    def p_values(self) -> tuple[float, float]:
        """p of what would have to be true if the claim were false, and if it were shown not to hold."""
        test = self.difference.test
        assert test is not None
        if self.claim.kind in ("same", "number"):
            away = 2 * min(test.above(MARGIN), test.below(-MARGIN))
            return max(test.below(MARGIN), test.above(-MARGIN)), min(1.0, away)
        return min(1.0, 2 * test.above(0.0)), test.below(self.claim.size / 2)

    def told(self) -> str:
        """Difference with interval and n."""
        n = ", ".join(f"n={len(arm.runs)}" for arm in (self.ours, self.theirs) if arm is not None)
        pairs = f"{self.difference.pairs} pairs; {n}" if self.theirs and self.difference.pairs else n
        c = self.difference.test
        if c is None:
            return f"no interval ({n})"
        return f"{c.difference:+.2f} [{c.low:+.2f}, {c.high:+.2f}] points ({pairs})"


def judge(arms: Sequence[Arm]) -> list[Verdict]:
    """A verdict for every claim, in order; both sides of all that are decided are one family of tests."""
    found = [_evidence(claim, arms) for claim in CLAIMS]
    tested = [number for number, evidence in enumerate(found) if evidence is not None and evidence.decides]
    corrected = iter(holm([p for number in tested if (one := found[number]) is not None for p in one.p_values]))
    p_values = {number: (next(corrected), next(corrected)) for number in tested}
    return [_verdict(claim, found[number], p_values.get(number)) for number, claim in enumerate(CLAIMS)]


def _verdict(claim: Claim, evidence: _Evidence | None, p: tuple[float, float] | None) -> Verdict:
    if evidence is None:
        return Verdict(claim, "not run", claim.impossible)
    told = evidence.told()
    steps = f"{evidence.ours.runs[0].training_steps:,} steps, ppo={evidence.ours.runs[0].flat['ppo.name']}"
    if claim.impossible:
        return Verdict(claim, "no verdict possible", f"{claim.impossible}; ours: {told}")
    if claim.asks and not evidence.is_llm:
        return Verdict(claim, "not run with a language model", f"with a stand-in, {steps}: {told}; decides nothing")
    if evidence.departures:
        if claim.theirs is None:  # a number of the paper says nothing at another scale
            told = f"n={len(evidence.ours.runs)}"
        where = f"{steps}: {told}; decides nothing, since {named(evidence.departures)}"
        return Verdict(claim, "not run at the paper's scale", where)
    if p is None:
        return Verdict(
            claim, "underpowered", f"{told}: at least 2 independent runs an arm are needed, with some spread"
        )
    told = f"{told}; p={p[0]:.2g} for, {p[1]:.2g} against, after Holm"
    for_it, against_it = (one < 0.05 for one in p)
    if for_it and against_it:
        return Verdict(claim, "smaller", f"{told}; above zero and below half of {claim.size:g}")
    if for_it or against_it:
        return Verdict(claim, "replicated" if for_it else "not replicated", told)
    if claim.kind in ("same", "number"):
        needed = evidence.difference.needed_for_equality(MARGIN)
    else:
        needed = evidence.difference.needed(claim.size / 2)
    sets = any(len(arm.sets) > 1 for arm in (evidence.ours, evidence.theirs) if arm is not None)
    unit = "design sets" if sets else "runs"
    would = f"{needed:,} {unit} an arm would do" if needed else "no reasonable number of runs would do"
    return Verdict(claim, "underpowered", f"{told}; {would}")


def _evidence(claim: Claim, arms: Sequence[Arm]) -> _Evidence | None:
    """The best pair of arms for a claim: real models first, then the paper's scale, then most runs."""
    found = []
    for ours in arms if claim.experiment else ():
        if not claim.ours.matches(ours.runs[0]):
            continue
        if claim.theirs is None:
            found.append(_pair(claim, ours, None))
            continue
        for theirs in arms:
            if (
                theirs is not ours
                and claim.theirs.matches(theirs.runs[0])
                and comparable(ours.runs[0], theirs.runs[0], any_model=bool(claim.ours.model))
            ):
                found.append(_pair(claim, ours, theirs))
    return max((one for one in found if one), key=lambda evidence: evidence.rank, default=None)


def _pair(claim: Claim, ours: Arm, theirs: Arm | None) -> _Evidence | None:
    sides = [(claim.ours, ours)]
    if theirs is None:
        found = against(ours, claim.value, claim.number)
    else:
        assert claim.theirs is not None
        sides.append((claim.theirs, theirs))
        found = difference(ours, theirs, claim.value)
    if not found.ours or (theirs is not None and not found.theirs):
        return None
    departures = [line for side, arm in sides for line in side.departures(arm.runs[0], claim.experiment)]
    return _Evidence(
        claim=claim,
        ours=ours,
        theirs=theirs,
        is_llm=all(LLMKind[arm.runs[0].flat["llm.kind"]].is_model for side, arm in sides if side.asks),
        departures=tuple(dict.fromkeys(departures)),
        difference=found,
    )


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
Each claim is tested by a difference of two arms on the same number of training steps, or against a number of the
paper. The test is a t test over pairs of runs with the same seed, which share first weights and report worlds, or
Welch's where runs have no partner. **One family**: both sides of every claim that is decided on this page are corrected
together, after Holm, and a side is shown where its corrected p is below 0.05. The verdicts exclude each other:

- **replicated**: the difference is shown to be above zero, and is not shown to be below half the paper's. For "as
  good as" and for the paper's own scores: two one-sided tests put it within {MARGIN:g} points.
- **smaller**: both are shown: above zero, and below half the paper's.
- **not replicated**: the difference is shown to be below half the paper's, and not to be above zero. For "as good as"
  and for scores: it is shown to be more than {MARGIN:g} points away.
- **underpowered**: nothing is shown. The number of runs an arm that would do has 80 % power at the spread seen, for
  half the paper's difference or for equivalence.
- **no verdict possible**: no run can decide it; the reason stands beside it.
- **not run**: no sweep has the arms. **Not run with a language model**: only a stand-in designed. **Not run at the
  paper's scale**: the whole config of finished runs is compared with that of the command at `scale=paper`, from the
  network and its hyper-parameters to prompt, temperature and report episodes; what differs is named, and such runs
  decide nothing. Free are seed and design set, device and engine, which language model it is and how it is spoken to,
  and more report episodes. `llm=offline` is not a language model and decides no claim about one.

Differences are of the report evaluation's score, in the rows of Section 4 of the skill's success rate, in worlds that
no training and no feedback saw; the paper's own scores are compared with the training-episode score, which is how the
paper reads its runs. Runs that share designs are not independent: tests then go over design sets. "Its argument" rows
are what the explanation needs without a number; {MARGIN:g} points stand in for one. How the tests work:
[statistics.md](statistics.md).
"""


def document(verdicts: Sequence[Verdict]) -> str:
    """docs/claims.md."""
    counts = Counter(verdict.word for verdict in verdicts)
    summary = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    lines = [
        MARK,
        "# The paper's claims",
        "",
        "What EnvGen's paper (arXiv 2403.12014v2) says, the command that tests it, and what our runs say; written",
        "by `python -m envgen_exp report --claims multirun` from the sweeps in `multirun/`. Whether EnvGen helps",
        "another agent with another model is a study of its own: [verdict.md](verdict.md).",
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
