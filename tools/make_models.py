"""``python tools/make_models.py docs/models.md`` writes the page's tables anew from examples/transcripts/.

All that stands there is read from the transcripts; feasibility is what the family's check says of a design today.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marked import fill

from envgen_exp.commands.compose import CONF, compose_run
from envgen_exp.families import make_family
from envgen_exp.families.design import design_key
from envgen_exp.families.family import Family
from envgen_exp.llm.replay import open_recording

TRANSCRIPTS = CONF.parent / "examples" / "transcripts"
PAGE = CONF.parent / "docs" / "models.md"
FIRST_LINE = "<!-- from here to the next mark: python tools/make_models.py docs/models.md -->"

_RATE = re.compile(r"^- (\w[\w, ]*): (\d+(?:\.\d+)?)%(?: ± |$)", re.MULTILINE)
"""A line of a message that tells success rates, of the rich prompt or of the compact one."""


@dataclass(frozen=True)
class Transcript:
    """What the page tells of one transcript."""

    name: str
    content: Mapping[str, Any]

    @property
    def family(self) -> Family:
        return make_family(compose_run([f"env={self.content['run']['env']}"]).env)

    @property
    def model(self) -> str:
        return str(self.content["model"])

    def calls(self, purpose: str = "") -> list[Mapping[str, Any]]:
        return [call for call in self.content["calls"] if purpose in ("", call["purpose"])]

    @property
    def designed(self) -> list[Mapping[str, Any]]:
        """The cycles for which it was asked; others kept designs."""
        asked = {call["cycle"] for call in self.calls("design")}
        return [one for one in self.content["designs"] if one["cycle"] in asked]

    def rates(self, cycle: int) -> dict[str, float]:
        """Success rates in percent that the model was told when it was asked for a cycle's designs."""
        asked = [call for call in self.calls("design") if call["cycle"] == cycle]
        if not asked or cycle == 1:
            return {}
        told = self.content["texts"][asked[0]["messages"][-1]]["content"]
        return {skill: float(rate) for skills, rate in _RATE.findall(told) for skill in skills.split(", ")}


def main(argv: Sequence[str]) -> int:
    """Write the tables into the page, or print them where no file is named."""
    return fill(argv, FIRST_LINE, tables)


def transcripts() -> list[Transcript]:
    """All that are shipped, each checked as a replay checks it."""
    found = []
    for file in sorted(TRANSCRIPTS.glob("*.json")):
        open_recording(file)
        found.append(Transcript(file.stem, json.loads(file.read_text())))
    return found


def tables() -> list[str]:
    """The lines of all tables."""
    every = transcripts()
    lines = [
        "| model | family | transcripts | replies | designs | repeated | with a target that its worlds can't show "
        "| of the replies repairs | tokens of a reply | seconds a reply |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Transcript]] = {}
    for one in every:
        groups.setdefault((one.model, str(one.content["run"]["env"])), []).append(one)
    lines += [summary(model, env, group) for (model, env), group in groups.items()]
    for one in every:
        if len(one.designed) > 1:
            lines += ["", f"`{one.name}` ({one.model}, seed {one.content['run']['seed']}):", "", *designs(one)]
    return lines


def summary(model: str, env: str, group: Sequence[Transcript]) -> str:
    """A model's line in the first table."""
    replies = [call["answer"] for one in group for call in one.calls()]
    repairs = sum(len(one.calls()) - len(one.calls("design")) for one in group)
    count = repeated = hopeless = 0
    for one in group:
        family = one.family
        for cycle in one.designed:
            made = [
                family.design_model.model_validate_json(json.dumps(design)) for design in cycle["designs"] if design
            ]
            count += len(made)
            repeated += len(made) - len({design_key(design) for design in made})
            hopeless += sum(bool({*design.targets} & {*family.check(design).impossible}) for design in made)
    tokens = statistics.median(answer["completion_tokens"] for answer in replies)
    estimated = any(answer["estimated"] for answer in replies)
    seconds = "not known" if estimated else f"{statistics.median(answer['seconds'] for answer in replies):.0f}"
    cells = (
        f"{model} | {env} | {len(group)} | {len(replies)} | {count} | {repeated} | {hopeless} | {repairs}"
        f" | {'about ' * estimated}{tokens:.0f} | {seconds}"
    )
    return f"| {cells} |"


def designs(one: Transcript) -> list[str]:
    """A transcript's designs, and how the agent showed their targets before and after it had trained in them."""
    lines = ["| cycle | settings | targets: success before → after, % |", "|---|---|---|"]
    defaults = {setting.name: setting.default for setting in one.family.vocabulary}
    for cycle in one.designed:
        before, after = one.rates(cycle["cycle"]), one.rates(cycle["cycle"] + 1)
        for design in filter(None, cycle["designs"]):
            settings = [f"{name} {design[name]}" for name, usual in defaults.items() if design[name] != usual]
            told = [f"{skill} {before.get(skill, 0):g} → {shown(after, skill)}" for skill in design["targets"]]
            lines.append(f"| {cycle['cycle']} | {', '.join(settings) or 'all at default'} | {', '.join(told)} |")
    return lines


def shown(rates: Mapping[str, float], skill: str) -> str:
    return f"{rates[skill]:g}" if skill in rates else "?"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
