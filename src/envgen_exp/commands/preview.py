"""``python -m envgen_exp preview DESIGN`` shows a design's worlds: pictures, resource counts, and what they allow.

DESIGN is settings such as "target_biome: mountain, iron_rarity: common", a YAML or JSON file of one design or several,
or a run's folder, whose latest designs are taken. No step is trained and no language model is asked.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from envgen_exp.commands.failure import told
from envgen_exp.config import EnvConfig
from envgen_exp.errors import ConfigError, RunFolderError
from envgen_exp.families import FAMILIES, make_family
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import DesignCheck, Family
from envgen_exp.families.typed import parse_designs
from envgen_exp.guard.reading import understood
from envgen_exp.guard.secrets import refuse_secrets_in
from envgen_exp.guard.writing import write_atomic
from envgen_exp.registry import nearest
from envgen_exp.reporting.designs import (
    Gallery,
    amount,
    claims,
    counts_list,
    default_counts,
    findings_list,
    settings_list,
)
from envgen_exp.reporting.page import Cell, Markup, Section, element, joined, page, table
from envgen_exp.run.pasted import typed
from envgen_exp.run.pictures import slot_seed
from envgen_exp.run.record import RunRecord
from envgen_exp.seeding import world_seed
from envgen_exp.tracking.progress import make_console

MAX_WORLDS = 16
"""Pictures of a design, at most."""

_COLUMNS = 64
"""Characters that a picture takes in the terminal."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """A design to look at, and what sampling its worlds found."""

    name: str
    design: Design
    check: DesignCheck


@told
def main(argv: Sequence[str]) -> int:
    """Show the designs; exit status 0, 1 where one can't be played, 2 with one line for what is no design."""
    refuse_secrets_in({f"argument {number}": word for number, word in enumerate(argv, start=1)}, os.environ)
    asked = _parse(argv)
    env, designs = _find(asked.design, asked.family)
    family = make_family(env)
    refuse_secrets_in({name: design.purpose for name, design in designs}, os.environ)
    shown = [Shown(name, design, family.check(design)) for name, design in designs]
    console = make_console()
    for one in shown:
        print_design(one, family, default_counts(env), console)
    write_atomic(asked.out, render(shown, family, env, asked.worlds).encode())
    console.print(Text(f"page: {shlex.quote(str(asked.out))}"), soft_wrap=True)
    return 0 if all(one.check.playable for one in shown) else 1


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=typed("python -m envgen_exp preview"), description=__doc__)
    parser.add_argument("design", help="settings in quotes, a YAML or JSON file, or a run's folder")
    parser.add_argument("--family", default=None, help="crafter (the default), driving, heist or a package's")
    parser.add_argument("--worlds", type=int, default=3, help=f"pictures of each design, 1 to {MAX_WORLDS}")
    parser.add_argument("--out", type=Path, default=Path("preview.html"), help="the page to write")
    asked = parser.parse_args(argv)
    if not 1 <= asked.worlds <= MAX_WORLDS:
        raise ConfigError(f"--worlds {asked.worlds}: allowed are 1 to {MAX_WORLDS}")
    return asked


def _find(text: str, family_name: str | None) -> tuple[EnvConfig, list[tuple[str, Design]]]:
    """What is meant: the family's settings, and the designs with their names."""
    if os.path.isdir(text):  # which raises nothing, however long a design is
        with understood(text):
            return _of_run(Path(text), family_name)
    env = _env(family_name or "crafter")
    designs = parse_designs(text, make_family(env))
    if len(designs) == 1:
        return env, [("Design", designs[0])]
    return env, [(f"Design {number}", design) for number, design in enumerate(designs, start=1)]


def _env(name: str) -> EnvConfig:
    names = FAMILIES.names
    if name not in names:
        close = nearest(name, names)
        raise ConfigError(f"--family {name}: there is no such family, allowed: {', '.join(names)}{close}")
    made: EnvConfig = FAMILIES.config(name, EnvConfig)(name=name)
    return made


def _of_run(folder: Path, family_name: str | None) -> tuple[EnvConfig, list[tuple[str, Design]]]:
    data = RunRecord(folder)
    if family_name not in (None, data.family.name):
        raise ConfigError(f"--family {family_name}: the run in {folder} plays {data.family.name}")
    latest = max(data.proposals, default=None)
    designs = data.proposals[latest].designs if latest is not None else ()
    found = [(f"Cycle {latest}, design {n}", one) for n, one in enumerate(designs, start=1) if one is not None]
    if not found:
        raise RunFolderError(f"{folder} has no designs to show: none is made yet, or its designer makes none")
    return data.config.env, found


# In the terminal


def print_design(shown: Shown, family: Family, default: Mapping[str, float], console: Console) -> None:
    """A design's settings, a picture where the terminal has colours, counts and findings."""

    def tell(line: str, style: str = "") -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    design, check = shown.design, shown.check
    tell(f"{shown.name} of {family.name}, {design_key(design)}", "bold")
    if design.purpose:
        tell(f"  {design.purpose}")
    for setting in family.vocabulary:
        value = design.settings()[setting.name]
        if value != setting.default:
            tell(f"  {setting.name}: {value}  (default: {setting.default})")
    if console.color_system is not None and console.width >= _COLUMNS:
        pixels = family.picture(design, world_seed(slot_seed(1), 1), unit=4)
        console.print(blocks(pixels, _COLUMNS))
    counts = Table(box=None)
    for header in ("mean number a world", "here", "default settings"):
        counts.add_column(header, justify="left" if header.startswith("mean") else "right")
    for name, mean in check.counts.items():
        counts.add_row(name, amount(mean), amount(default[name]) if name in default else "-")
    console.print(counts)
    for finding in check.findings:
        tell(f"- {finding}")
    possible = len(family.skills) - len(check.impossible)
    if check.playable:
        tell(f"playable: {possible} of {len(family.skills)} skills are possible in some sampled world", "green")
    else:
        tell("not playable: a run would refuse this design", "red")
    tell("")


def blocks(pixels: NDArray[np.uint8], columns: int) -> Text:
    """A picture as text: each character is two pixels, one above the other."""
    height = max(2, round(pixels.shape[0] * columns / pixels.shape[1] / 2) * 2)
    small = np.asarray(Image.fromarray(pixels).resize((columns, height), Image.Resampling.BOX))
    text = Text()
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            style = Style(color=Color.from_rgb(*map(int, above)), bgcolor=Color.from_rgb(*map(int, below)))
            text.append("▀", style)
        text.append("\n")
    return text


# As a page


def render(shown: Sequence[Shown], family: Family, env: EnvConfig, num_worlds: int) -> str:
    """The page: each design with its worlds, then the original's worlds and the whole vocabulary."""
    gallery = Gallery(family, env, MAX_WORLDS * (len(shown) + 1))
    sections = []
    for number, one in enumerate(shown, start=1):
        findings = findings_list(one.check, is_open=True)
        content = joined(
            [
                element("p", f"“{one.design.purpose}”", class_="purpose") if one.design.purpose else "",
                claims(one.design, one.check) if one.design.targets else "",
                settings_list(one.design, family),
                gallery.worlds(one.design, one.name, num_worlds),
                element("h3", "Mean number a world, in brackets with every setting at its default"),
                counts_list(one.check.counts, default_counts(env)),
                findings,
            ]
        )
        sections.append(Section(f"design-{number}", one.name, content))
    sections.append(Section("original", "The original", gallery.worlds(None, "the original", num_worlds)))
    sections.append(Section("settings", "All settings", _vocabulary(shown, family)))
    refused = [one.name for one in shown if not one.check.playable]
    notice = f"Not playable: {', '.join(refused)}." if refused else ""
    subtitle = f"{family.name}, engine {family.engine}; worlds of the validation set, in which nothing is trained"
    return page("Preview of designs", subtitle, notice, sections)


def _vocabulary(shown: Sequence[Shown], family: Family) -> Markup:
    headers = ["setting", *(one.name for one in shown), "default", "allowed", "what it does"]
    rows: list[list[object]] = []
    for setting in family.vocabulary:
        values = [one.design.settings()[setting.name] for one in shown]
        cells = [Cell(value, css="" if value == setting.default else "clear") for value in values]
        rows.append([setting.name, *cells, setting.default, setting.allowed(), Cell(setting.doc, css="wrap")])
    return table("The vocabulary of designs", headers, rows, numbers=len(headers))
