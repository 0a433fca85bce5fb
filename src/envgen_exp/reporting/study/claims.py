"""What the paper claims, and which arms each claim is about.

Numbers are those of Zala et al. 2024 (arXiv 2403.12014v2), Tables 1 to 7, Section 4 and the appendix on Heist.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envgen_exp.config import LLMKind
from envgen_exp.designers import asks
from envgen_exp.families.crafter import references as published
from envgen_exp.guard.frozen import plain
from envgen_exp.reporting.study.collect import NOT_OF_THE_ARM, FoundRun
from envgen_exp.run import schemas
from envgen_exp.run.record import flattened
from envgen_exp.run.summary import RunSummary

MARGIN = 2.0
"""Points of score within which two numbers count as the same; the smallest difference of the paper's Table 2 is 2.3."""

_FREE = (
    *NOT_OF_THE_ARM,
    *("device", "env.engine"),  # the games are the same
    # The paper's models are gone; how another one is spoken to is its own.
    *("llm.name", "llm.kind", "llm.model", "llm.seed", "llm.structured", "llm.max_tokens"),
)
"""What may differ from the paper's preset in a run at the paper's scale."""

_AT_LEAST = ("evaluation.report_episodes",)
"""What may be more than there."""

_NAMED = 4
"""Differences that a line names, at most."""


@dataclass(frozen=True)
class Side:
    """Which arms one side of a claim is about, and the paper's score of it."""

    name: str
    paper: float
    designer: str
    family: str = "crafter"
    cycles: int | None = None
    num_designs: int = 4
    designed_share: float = 0.5
    """Of a cycle's steps."""
    obfuscated: bool = False
    model: str = ""
    """Pattern that the language model's name fits; '' is any."""

    @property
    def asks(self) -> bool:
        """Whether a language model writes its designs."""
        return asks(self.designer)

    def matches(self, run: FoundRun) -> bool:
        """Whether a run is one of these, at whatever scale."""
        config = run.flat
        if config["env.name"] != self.family or config["designer.name"] != self.designer:
            return False
        if run.diagnostic or not run.trains:
            return False
        if self.designer == "original":
            return True
        designed, original = config["schedule.designed_steps"], config["schedule.original_steps"]
        return (
            (self.cycles is None or config["cycles"] == self.cycles)
            and config["designer.num_designs"] == self.num_designs
            and (
                self.family != "crafter"
                or math.isclose(designed, self.designed_share * (designed + original), rel_tol=0.02)
            )
            and (config["designer.prompt"] == "obfuscated") == self.obfuscated
            and config.get("schedule.mixture", "alternate") == "alternate"
            and re.search(self.model, f"{config['llm.name']} {config['llm.model']}") is not None
        )

    def departures(self, run: FoundRun, experiment: str) -> list[str]:
        """What of a run's config is not as the experiment's at the paper's scale, as 'key=ours (paper: theirs)'."""
        theirs, ours = self.preset(experiment), run.flat
        idle = (*run.learner.without_effect, *(() if self.asks else ("llm", "designer")))
        found = []
        for key, value in theirs.items():
            if any(key == name or key.startswith(f"{name}.") for name in (*_FREE, *idle)) or key not in ours:
                continue  # an older run's config lacks keys that came later
            enough = key in _AT_LEAST and isinstance(ours[key], int) and ours[key] >= value
            if ours[key] != value and not enough:
                found.append(f"{key}={ours[key]} (paper: {value})")
        return found

    def preset(self, experiment: str) -> Mapping[str, Any]:
        """The flat config of this arm at the paper's scale."""
        ratios = {2: "ratio_2_to_1", 5: "ratio_5_to_1"}
        arm = ratios.get(round(self.designed_share / (1 - self.designed_share)), self.designer)
        values: dict[str, Any] = {"designer.num_designs": self.num_designs}
        if self.obfuscated:
            values["designer.prompt"] = "obfuscated"
        if self.cycles is not None:
            values["cycles"] = self.cycles
        return _preset((f"experiment={experiment}", "scale=paper", f"arm={arm}", "llm=gpt4"), tuple(values.items()))


@functools.cache
def _preset(words: tuple[str, ...], values: tuple[tuple[str, Any], ...]) -> Mapping[str, Any]:
    return flattened(plain(schemas.preset(words, dict(values))))


def named(departures: Sequence[str]) -> str:
    """The first of them in words, and how many there are."""
    more = len(departures) - _NAMED
    return ", ".join(departures[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _adaptive(name: str, paper: float, **changes: object) -> Side:
    return dataclasses.replace(Side(name, paper, "adaptive", cycles=4), **changes)  # type: ignore[arg-type]


def _plain(paper: float, cycles: int = 4) -> Side:
    return Side("PPO alone", paper, "original", cycles=cycles)


ENVGEN = _adaptive("EnvGen", published.ENVGEN.score)
PLAIN = _plain(published.PPO.score)
SPRING = published.SPRING.score
FIXED = Side("fixed designs", 29.9, "fixed", cycles=4)


@dataclass(frozen=True)
class Claim:
    """One thing that the paper says, or that its argument needs."""

    table: str
    """Where the paper says it."""
    text: str
    experiment: str
    """File in conf/experiment/ whose sweep tests it; '' where none can."""
    ours: Side
    theirs: Side | None = None
    """What `ours` is compared with; None where that is a number."""
    kind: str = "higher"
    """higher: ours is above theirs; same: within MARGIN of them; number: within MARGIN of `number`; above: above it."""
    number: float = 0.0
    skill: str | None = None
    """The success rate of this skill in percent is compared, in place of the score."""
    difference: float | None = None
    """Points by which ours is above in the paper; None takes them from the two sides."""
    figures: str = ""
    """The paper's numbers in words, where they are not the two sides'."""
    impossible: str = ""
    """Why no run can decide it."""

    @property
    def asks(self) -> bool:
        """Whether only runs with a language model can decide it."""
        return self.ours.asks or (self.theirs is not None and self.theirs.asks)

    @property
    def other(self) -> float:
        """The paper's number that ours is compared with."""
        return self.number if self.theirs is None else self.theirs.paper

    @property
    def size(self) -> float:
        """Points by which ours is above in the paper; MARGIN where it has no number."""
        return self.ours.paper - self.other if self.difference is None else self.difference

    @property
    def command(self) -> str:
        """What runs the sweep that tests it; Table 5 names its language models itself."""
        if not self.experiment:
            return "-"
        scale = " scale=paper" if self.ours.family == "crafter" else ""
        llm = " llm=gpt4" if self.asks and self.experiment != "table5" else ""
        return f"python run.py -m experiment={self.experiment}{scale}{llm}"

    @property
    def printed(self) -> str:
        """The paper's numbers."""
        return self.figures or f"{self.ours.paper:g}" + ("" if self.kind == "number" else f" against {self.other:g}")

    def value(self, summary: RunSummary) -> float | None:
        """The number of a run that counts: for the paper's own numbers the score as the paper reads it."""
        if self.skill is not None:
            return 100 * summary.report.rate(self.skill) if self.skill in summary.skills else None
        return summary.training_score if self.kind in ("number", "above") else summary.score


def _number(text: str, side: Side) -> Claim:
    return Claim("Table 1", text, "table1", side, kind="number", number=side.paper)


def _budget(cycles: int, ours: float, theirs: float) -> Claim:
    steps = 1_000_000 + cycles * 240_000
    side = _adaptive(f"EnvGen, {cycles} cycles", ours, cycles=cycles)
    text = f"At a total of {steps / 1e6:.2f} M steps EnvGen is above PPO alone"
    return Claim("Table 4", text, "table4", side, _plain(theirs, cycles))


def _designs(count: int, paper: float) -> Claim:
    side = _adaptive(f"{count} designs a cycle", paper, num_designs=count)
    return Claim("Table 6", f"4 designs a cycle are better than {count}", "table6", ENVGEN, side)


def _ratio(parts: int, paper: float) -> Claim:
    side = _adaptive(f"{parts}:1", paper, designed_share=parts / (parts + 1))
    return Claim("Table 7", f"Equal steps in designs and original are better than {parts}:1", "table7", ENVGEN, side)


def _feedback(text: str, kind: str, cycles: int, paper: float) -> Claim:
    return Claim("Table 3", text, "table3", ENVGEN, _adaptive(f"{cycles} cycles", paper, cycles=cycles), kind=kind)


def _skill(skill: str, before: float, after: float) -> Claim:
    text, figures = f"EnvGen raises the success of {skill}", f"{before:g} → {after:g}"
    return Claim("Section 4", text, "table1", ENVGEN, PLAIN, skill=skill, difference=after - before, figures=figures)


def _control(text: str, designer: str) -> Claim:
    side = Side(designer, 0, designer, cycles=4)
    return Claim("its argument", text, "controls", ENVGEN, side, difference=MARGIN, figures="no number")


EASY_TO_HARD = Side("easy to hard", 26.8, "easy_to_hard", cycles=4)
ADVERSARIAL = Side("adversarial", 26.8, "adversarial", cycles=4)
OBFUSCATED = _adaptive("obfuscated", 28.5, obfuscated=True)
BY_GPT4 = dataclasses.replace(FIXED, name="GPT-4", model="gpt-?4")
BY_GPT35 = dataclasses.replace(FIXED, name="GPT-3.5", paper=21.5, model="gpt-?3")
BY_DEEPSEEK = dataclasses.replace(FIXED, name="DeepSeek", paper=26.3, model="deepseek")
HEIST = Side("EnvGen", 37.7, "adaptive", family="heist", cycles=1)
PLAIN_HEIST = Side("PPO alone", 25.9, "original", family="heist", cycles=1)

CLAIMS = (
    _number(f"PPO alone on 1.96 M steps scores {PLAIN.paper:g}", PLAIN),
    _number(f"PPO with EnvGen scores {ENVGEN.paper:g}", ENVGEN),
    Claim("Table 1", "EnvGen is above PPO alone on the same number of steps", "table1", ENVGEN, PLAIN),
    Claim(
        "Table 1", f"EnvGen is above SPRING, a GPT-4 agent ({SPRING:g})", "table1", ENVGEN, kind="above", number=SPRING
    ),
    Claim(
        "Table 1",
        "Achievement Distillation gains from EnvGen too",
        "",
        ENVGEN,
        PLAIN,
        figures=f"{published.AD.score:g} → {published.AD_ENVGEN.score:g}",
        impossible="`ppo=ad` is that agent, and no study of ours trains it",
    ),
    _skill("collect_iron", 18, 55),
    _skill("make_stone_pickaxe", 32, 66),
    _skill("make_stone_sword", 14, 54),
    Claim("Table 2", "Adaptive designs are better than the first set kept", "table2", ENVGEN, FIXED),
    Claim("Table 2", "Adaptive is better than an easy-to-hard curriculum", "table2", ENVGEN, EASY_TO_HARD),
    Claim("Table 2", "Adaptive is better than an adversarial curriculum", "table2", ENVGEN, ADVERSARIAL),
    _feedback("Feedback every 0.12 M steps is better than every 0.012 M", "higher", 40, 30.8),
    _feedback("Feedback every 0.12 M steps is as good as every 0.06 M", "same", 8, 32.1),
    _budget(1, 22.3, 21.1),
    _budget(2, 27.9, 21.9),
    Claim(
        "Table 5",
        "GPT-4's fixed designs are better than GPT-3.5's",
        "",
        BY_GPT4,
        BY_GPT35,
        impossible="the paper's GPT-3.5 has been retired, and no study of ours asks one",
    ),
    Claim("Table 5", "GPT-4's fixed designs are better than DeepSeek-Coder's", "table5", BY_GPT4, BY_DEEPSEEK),
    _designs(1, 30.8),
    _designs(2, 29.1),
    _designs(8, 31.0),
    _ratio(2, 30.1),
    _ratio(5, 30.3),
    Claim("appendix", "Obfuscated names of the settings cost score", "obfuscated", ENVGEN, OBFUSCATED),
    Claim("appendix", "Even with obfuscated names EnvGen is above PPO alone", "obfuscated", OBFUSCATED, PLAIN),
    Claim(
        "Heist",
        "EnvGen takes the gem more often than PPO alone",
        "heist",
        HEIST,
        PLAIN_HEIST,
        impossible="the paper's settings, mode and level count are unpublished: our own comparison alone",
    ),
    _control("It is the feedback: adaptive is better than being told its rates for the wrong skills", "placebo"),
    _control("It is more than variety: adaptive is better than new designs without feedback", "resample"),
    _control("It is the designs: adaptive is better than the designed generator's defaults", "generator"),
    _control("It is more than the starting gifts", "gifts_only"),
    _control("It is more than the terrain", "terrain_only"),
)


def paper_score(run: FoundRun) -> float | None:
    """The paper's score of the arm of a run at the paper's scale; None where it has none."""
    if run.flat["ppo.name"] != "paper":
        return None  # known without composing anything
    sides: dict[Side, str] = {}
    for claim in CLAIMS:
        for side in (claim.ours, claim.theirs):
            if side is not None and side.paper and side.family == "crafter" and claim.experiment:
                sides.setdefault(side, claim.experiment)
    for side, experiment in sides.items():
        real = not side.asks or LLMKind[run.flat["llm.kind"]].is_model
        if real and side.matches(run) and not side.departures(run, experiment):
            return side.paper
    return None
