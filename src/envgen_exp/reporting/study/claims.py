"""What the paper claims, and which arms each claim is about.

Numbers are those of Zala et al. 2024 (arXiv 2403.12014v2), Tables 1 to 7, Section 4 and the appendix on Heist.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

from envgen_exp.designers import asks
from envgen_exp.reporting.study.collect import FoundRun
from envgen_exp.run.summary import RunSummary

MARGIN = 2.0
"""Points of score within which two numbers count as the same; the smallest difference of the paper's Table 2 is 2.3."""

PAPER_STEPS = 1_960_000
"""Training steps of a run in the paper's main study."""


@dataclass(frozen=True)
class Side:
    """Which arms one side of a claim is about, and the paper's score of it."""

    name: str
    paper: float
    designer: str
    family: str = "crafter"
    steps: int = PAPER_STEPS
    """Training steps at the paper's scale."""
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

    def at_scale(self, run: FoundRun) -> bool:
        """Whether the run also has the paper's game, network and number of steps."""
        config = run.flat
        crafter = ("env.observation", "pixels"), ("env.designed_length", 1024), ("env.original_length", 10_000)
        game = all(config.get(key) == value for key, value in (crafter if self.family == "crafter" else ()))
        return game and config["ppo.name"] == "paper" and run.training_steps == self.steps


def _adaptive(name: str, paper: float, **changes: object) -> Side:
    return dataclasses.replace(Side(name, paper, "adaptive", cycles=4), **changes)  # type: ignore[arg-type]


def _plain(paper: float, steps: int = PAPER_STEPS) -> Side:
    return Side("PPO alone", paper, "original", steps=steps)


ENVGEN = _adaptive("EnvGen", 32.2)
PLAIN = _plain(26.4)
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


def _budget(cycles: int, ours: float, theirs: float) -> Claim:
    steps = 1_000_000 + cycles * 240_000
    side = _adaptive(f"EnvGen, {cycles} cycles", ours, cycles=cycles, steps=steps)
    text = f"At a total of {steps / 1e6:.2f} M steps EnvGen is above PPO alone"
    return Claim("Table 4", text, "table4", side, _plain(theirs, steps))


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
HEIST = Side("EnvGen", 37.7, "adaptive", family="heist", steps=25_000_000, cycles=1)
PLAIN_HEIST = Side("PPO alone", 25.9, "original", family="heist", steps=25_000_000)

CLAIMS = (
    Claim("Table 1", "PPO alone on 1.96 M steps scores 26.4", "table1", PLAIN, kind="number", number=26.4),
    Claim("Table 1", "PPO with EnvGen scores 32.2", "table1", ENVGEN, kind="number", number=32.2),
    Claim("Table 1", "EnvGen is above PPO alone on the same number of steps", "table1", ENVGEN, PLAIN),
    Claim("Table 1", "EnvGen is above SPRING, a GPT-4 agent (27.3)", "table1", ENVGEN, kind="above", number=27.3),
    Claim(
        "Table 1",
        "Achievement Distillation gains from EnvGen too",
        "",
        ENVGEN,
        PLAIN,
        figures="31.8 → 35.3",
        impossible="no agent of that kind here",
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
    Claim("Table 5", "GPT-4's fixed designs are better than GPT-3.5's", "table5", BY_GPT4, BY_GPT35),
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
    _control("It is the feedback: adaptive is better than being fed another run's rates", "placebo"),
    _control("It is more than variety: adaptive is better than new designs without feedback", "resample"),
    _control("It is the designs: adaptive is better than the designed generator's defaults", "generator"),
    _control("It is more than the starting gifts", "gifts_only"),
    _control("It is more than the terrain", "terrain_only"),
)


def paper_score(run: FoundRun) -> float | None:
    """The paper's score of the arm of a run at the paper's scale; None where it has none."""
    sides = [side for claim in CLAIMS for side in (claim.ours, claim.theirs) if side is not None and side.paper]
    for side in sides:
        real = not side.asks or run.flat["llm.kind"] == "litellm"
        if side.family == "crafter" and real and side.matches(run) and side.at_scale(run):
            return side.paper
    return None
