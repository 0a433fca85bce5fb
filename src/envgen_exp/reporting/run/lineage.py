"""The lineage of each cycle: what the designer saw, what it meant, what it designed, and what changed afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envgen_exp.designers import Proposal
from envgen_exp.designers.proposal import DESIGNER
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import DesignCheck, Labelled
from envgen_exp.reporting.designs import (
    Gallery,
    claims,
    counts_list,
    default_counts,
    differences,
    findings_list,
    settings_list,
)
from envgen_exp.reporting.page import Cell, Markup, element, fold, joined, table
from envgen_exp.reporting.run.terminal import percent
from envgen_exp.reporting.statistics import Change, changed
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import Evaluation

PICTURES = 80
"""Pictures of whole worlds in a page, at most."""


def lineage(data: RunRecord) -> Markup:
    """All cycles so far, in order."""
    designed = [design for p in data.proposals.values() for design in p.designs if design is not None]
    if not any(phase.kind == "design" for phase in data.planned):
        return Markup("")
    if not data.proposals:
        return element("p", "Nothing is designed yet.", class_="note")
    if not designed:
        name = data.config.designer.name
        return element("p", f"designer={name} designs nothing: all training is in the original.", class_="note")
    gallery = Gallery(data.family, data.config.env, PICTURES)
    each = 2 if 2 * len(designed) + 2 <= PICTURES else 1
    default = default_counts(data.config.env)
    intro = (
        "For each cycle: what the designer saw, what it said, what it designed, and what changed in the original. "
        "Pictures show the same sampled worlds for every design. Counts are means over the worlds sampled when the "
        "design was checked, in brackets those of worlds with every setting at its default. Settings that differ from "
        "the most similar design of the cycle before are outlined."
    )
    original = fold("The original's worlds, to compare with", gallery.worlds(None, "the original", each))
    cycles = [_cycle(data, cycle, gallery, each, default) for cycle in data.proposals]
    return joined([element("p", intro, class_="note"), original, *cycles])


def _cycle(data: RunRecord, cycle: int, gallery: Gallery, each: int, default: Mapping[str, float]) -> Markup:
    proposal = data.proposals[cycle]
    last = data.proposals[cycle - 1].designs if cycle - 1 in data.proposals else ()
    checks = [*proposal.checks, *([None] * (len(proposal.designs) - len(proposal.checks)))]
    cards = [
        _card(data, cycle, number, design, check, last, gallery, each, default)
        for number, (design, check) in enumerate(zip(proposal.designs, checks, strict=True), start=1)
    ]
    return element(
        "article",
        element("h3", f"Cycle {cycle}", id=f"cycle-{cycle}"),
        _seen(data, cycle),
        _said(proposal),
        element("div", *cards, class_="designs"),
        _afterwards(data, cycle, proposal),
        class_="cycle",
        aria_labelledby=f"cycle-{cycle}",
    )


def _seen(data: RunRecord, cycle: int) -> Markup:
    """The feedback that the designer had, as numbers and as it was sent."""
    head = element("h4", "1. What the designer saw")
    before = data.feedback.get(cycle - 1)
    if before is None:
        return joined(
            [head, element("p", "No feedback yet: the game's rules and the settings alone."), _sent(data, cycle)]
        )
    rates = {skill: before.counts.rate(skill) for skill in data.skills}
    never = [skill for skill, rate in rates.items() if rate == 0]
    words = f"Success in {before.counts.episodes:,} episodes of the original after cycle {cycle - 1}"
    line = f"{words}: {len(never)} of {len(rates)} skills were never shown ({', '.join(never) or 'none'})."
    rows = [[skill, f"{percent(rate)} ± {100 * before.sd[skill]:.1f}"] for skill, rate in rates.items()]
    numbers = fold("All rates", table("Mean success and SD over seeds, percent", ["skill", "success %"], rows))
    return joined([head, element("p", line), numbers, _sent(data, cycle)])


def _sent(data: RunRecord, cycle: int) -> Markup:
    """The message of this cycle as it went to the model."""
    for sent, outcome in data.calls:
        if sent["cycle"] == cycle and sent["purpose"] == "design" and (exchange := data.exchange(outcome)):
            text = str(exchange["request"]["messages"][-1]["content"])
            return fold("The message as it was sent", element("pre", text[:20_000], tabindex="0"))
    return Markup("")


def _said(proposal: Proposal) -> Markup:
    """Where the designs came from, and what had to be done with them."""
    words = []
    if proposal.source != DESIGNER:
        words.append(f"No reply could be used: the {proposal.source} serve.")
    elif proposal.filled:
        words.append(f"Not the designer's own: design {', '.join(map(str, proposal.filled))}.")
    if proposal.repairs:
        words.append(f"Replies that went back to be repaired: {proposal.repairs}.")
    notes = element("ul", *(element("li", note) for note in proposal.notes)) if proposal.notes else ""
    return joined([element("h4", "2. What it designed"), element("p", " ".join(words)) if words else "", notes])


def _card(
    data: RunRecord,
    cycle: int,
    number: int,
    design: Design | None,
    check: DesignCheck | None,
    last: Sequence[Design | None],
    gallery: Gallery,
    each: int,
    default: Mapping[str, float],
) -> Markup:
    title = element("h4", f"Design {number} ", element("code", design_key(design)))
    if design is None:
        return element("div", title, element("p", "The original in a design's place."), class_="design")
    nearest = differences(design, last)
    base = last[nearest[0] - 1] if nearest else None
    changed: object = ""
    if nearest and nearest[1]:
        listed = element("ul", *(element("li", line) for line in nearest[1]))
        changed = fold(f"Differs from the last cycle's design {nearest[0]} in {len(nearest[1])}", listed)
    elif nearest:
        changed = element("p", f"The same as the last cycle's design {nearest[0]}.", class_="note")
    return element(
        "div",
        title,
        element("p", f"“{design.purpose}”" if design.purpose else "No purpose was given.", class_="purpose"),
        claims(design, check),
        element("div", "Settings:", class_="note"),
        settings_list(design, data.family, base),
        changed,
        gallery.worlds(design, f"cycle {cycle}, design {number}", each),
        counts_list(check.counts, default) if check else "",
        findings_list(check) if check else "",
        _played(data, cycle, design),
        class_="design",
    )


def _played(data: RunRecord, cycle: int, design: Design) -> Markup:
    """What the agent did in the design."""
    episodes = data.training_episodes(cycle, "designed", design_key(design))
    if not len(episodes):
        return element("p", "No training episode in it has ended.", class_="note")
    counts = episodes.successes(data.skills)
    rates = ", ".join(f"{t} {percent(counts.rate(t))}\u00a0%" for t in design.targets if t in data.skills)
    words = f"Played: {len(episodes):,} whole episodes, mean length {episodes.mean_length:,.0f} steps"
    if isinstance(data.family, Labelled):
        words = f"Looked at: {len(episodes):,} frames"
    return element("p", f"{words}, mean return {episodes.mean_return:.2f}. {rates}", class_="note")


def _afterwards(data: RunRecord, cycle: int, proposal: Proposal) -> Markup:
    """Claimed against real: how each skill changed in the original over the cycle."""
    head = element("h4", "3. What changed in the original afterwards")
    after = data.feedback.get(cycle)
    if after is None:
        return joined([head, element("p", "The cycle's evaluation has not ended yet.", class_="note")])
    claimed: dict[str, list[str]] = {}
    for number, design in enumerate(proposal.designs, start=1):
        for target in design.targets if design else ():
            claimed.setdefault(target, []).append(str(number))
    before = data.feedback.get(cycle - 1)
    if before is None:
        words = "There is no evaluation before it to compare with; success after it:"
        rates = ", ".join(f"{s} {percent(after.counts.rate(s))}\u00a0%" for s in data.skills if s in claimed)
        return joined([head, element("p", f"{words} {rates or 'no skill was claimed'}.")])
    changes = {skill: changed(skill, before.counts, after.counts) for skill in data.skills}
    verdicts = {skill: change.word for skill, change in changes.items()}
    rows = {skill: _change_row(skill, claimed, before, after, changes[skill]) for skill in data.skills}
    first = [rows[s] for s in data.skills if s in claimed or verdicts[s] != "within noise"]
    rest = [rows[s] for s in data.skills if not (s in claimed or verdicts[s] != "within noise")]
    headers = ["skill", "claimed by design", "before %", "after %", "change, points [95 % interval]", "reading"]
    caption = f"Claimed skills and those that moved: after cycle {cycle - 1} against after cycle {cycle}"
    tables = [table(caption, headers, first)] if first else []
    if rest:
        more = table(f"After cycle {cycle - 1} against after cycle {cycle}", headers, rest)
        tables.append(fold(f"The other {len(rest)} skills: neither claimed nor moved beyond noise", more))
    return joined([head, element("p", _tally(verdicts, claimed)), *tables])


def _tally(verdicts: Mapping[str, str], claimed: Mapping[str, object]) -> str:
    def count(skills: Sequence[str]) -> str:
        found = [verdicts[skill] for skill in skills]
        return ", ".join(f"{found.count(word)} {word}" for word in ("rose", "fell", "within noise"))

    ours = [skill for skill in verdicts if skill in claimed]
    others = [skill for skill in verdicts if skill not in claimed]
    return (
        f"Of {len(ours)} claimed skills: {count(ours)}. Of {len(others)} others: {count(others)}. "
        "The cycle also trained in the original, so a change is not the designs' alone."
    )


def _change_row(
    skill: str, claimed: Mapping[str, Sequence[str]], before: Evaluation, after: Evaluation, change: Change
) -> list[object]:
    sign, css = {"rose": ("▲ rose", "up"), "fell": ("▼ fell", "down")}.get(change.word, ("≈ within noise", "noise"))
    return [
        skill,
        ", ".join(claimed.get(skill, ())) or "-",
        percent(before.counts.rate(skill)),
        percent(after.counts.rate(skill)),
        Cell(f"{change.points:+.1f} [{change.low:+.1f}, {change.high:+.1f}]", css=css),
        Cell(sign, css=css),
    ]
