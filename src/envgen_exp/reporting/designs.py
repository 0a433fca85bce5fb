"""Designs on a page: what they set and claim, sampled worlds as pictures, what those hold and allow."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from envgen_exp.config import EnvConfig
from envgen_exp.families import make_family
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import DesignCheck, Family
from envgen_exp.reporting.page import Markup, element, facts, fold, joined, picture
from envgen_exp.run.pictures import first_view, seen_in_pixels, world_map


class Gallery:
    """Draws the same few worlds for every design, until `budget` pictures of whole worlds are used up."""

    def __init__(self, family: Family, env: EnvConfig, budget: int) -> None:
        self.family = family
        self._env = env
        self._left = budget
        self._drawn: dict[tuple[str, int], Markup] = {}

    def worlds(self, design: Design | None, name: str, count: int) -> Markup:
        """`count` whole worlds of a design, and what the agent sees at the start of the first; less without budget."""
        count = min(count, self._left)
        self._left -= count
        if count < 1:
            return Markup("")
        maps = [self._map(design, name, number) for number in range(1, count + 1)]
        eye = self._eye(design, name)
        return element("div", *maps, *([eye] if eye else []), class_="worlds")

    def _map(self, design: Design | None, name: str, number: int) -> Markup:
        key = design_key(design), number
        if key not in self._drawn:
            pixels = world_map(self.family, design, number)
            alt = f"Map of sampled world {number} of {name}"
            self._drawn[key] = element("figure", picture(pixels, alt), element("figcaption", f"world {number}"))
        return self._drawn[key]

    def _eye(self, design: Design | None, name: str) -> Markup | None:
        key = design_key(design), 0
        if key not in self._drawn:
            pixels = first_view(self._pixels, design)
            if pixels is None:
                return None
            alt = f"What the agent sees at the start of world 1 of {name}"
            caption = element("figcaption", "seen in world 1")
            self._drawn[key] = element("figure", picture(pixels, alt), caption, class_="eye")
        return self._drawn[key]

    @functools.cached_property
    def _pixels(self) -> Family:
        return seen_in_pixels(self._env)


@functools.lru_cache(maxsize=8)
def default_counts(env: EnvConfig) -> Mapping[str, float]:
    """What a world holds with every setting at its default, to compare a design's counts with."""
    family = make_family(env)
    return family.check(family.design_model()).counts


def settings_list(design: Design, family: Family, last: Design | None = None) -> Markup:
    """The settings that are not the default; those that differ from `last` are marked."""
    mine = design.settings()
    before = last.settings() if last else {}
    items = []
    for setting in family.vocabulary:
        value = mine[setting.name]
        changed = bool(before) and before[setting.name] != value
        if value != setting.default or changed:
            items.append(element("li", f"{setting.name}: {value}", class_="new" if changed else None))
    return element("ul", *(items or [element("li", "all settings at their default")]), class_="chips")


def differences(design: Design, last: Sequence[Design | None]) -> tuple[int, list[str]] | None:
    """The most similar of the last cycle's designs, counted from 1, and a line for each setting that differs."""
    mine = design.settings()
    candidates = []
    for number, other in enumerate(last, start=1):
        if other is not None:
            theirs = other.settings()
            lines = [f"{name}: {theirs[name]} → {value}" for name, value in mine.items() if theirs[name] != value]
            candidates.append((len(lines), number, lines))
    if not candidates:
        return None
    _, number, lines = min(candidates)
    return number, lines


def counts_list(counts: Mapping[str, float], default: Mapping[str, float]) -> Markup:
    """Mean number of each resource a world, in brackets that of worlds with every setting at its default."""
    return facts(
        (name, f"{amount(mean)} ({amount(default[name])})" if name in default else amount(mean))
        for name, mean in counts.items()
    )


def findings_list(check: DesignCheck, *, is_open: bool = False) -> Markup:
    """What sampling a design's worlds found, to fold: whether it is playable and what it does not allow."""
    few = "1 skill is" if len(check.impossible) == 1 else f"{len(check.impossible)} skills are"
    impossible = f"{few} impossible" if check.impossible else "every skill is possible"
    word = "playable" if check.playable else "not playable"
    listed = element("ul", *(element("li", line) for line in check.findings))
    return fold(f"Feasibility: {word}; {impossible}", listed, is_open=is_open)


def claims(design: Design, check: DesignCheck | None) -> Markup:
    """The skills that a design says it trains."""
    if not design.targets:
        return element("p", "It names no skill that it should train.", class_="note")
    lost = check.impossible if check else ()
    items = [element("li", target, " (impossible in it)" if target in lost else "") for target in design.targets]
    return joined([element("div", "Should train:", class_="note"), element("ul", *items, class_="chips")])


def amount(mean: float) -> str:
    """A mean number of things a world."""
    return f"{mean:,.0f}" if mean >= 9.95 or mean == round(mean) else f"{mean:.1f}"
