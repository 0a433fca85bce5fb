"""Curves, bars and dots as SVG inside a page: coloured by its style sheet, named for those who don't see them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from envgen_exp.reporting.page import Markup, element, joined

POINTS = 240
"""A line is drawn with so many points at most; each is then the mean of its neighbours."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 10.0, 8.0, 30.0


@dataclass(frozen=True)
class Series:
    """One curve: points (x, y), where y may be None, in colour 1 to 8."""

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: int = 1
    dots: bool = False
    """Dots without a line between them."""
    ends: Sequence[tuple[float, float]] = ()
    """An interval for each point: whiskers for dots, a band for a line."""
    faint: bool = False
    """One of many behind the one that counts."""


def line_chart(
    caption: object,
    series: Sequence[Series],
    *,
    alt: str,
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    shades: Iterable[tuple[float, float]] = (),
    marks: Iterable[float] = (),
    x_name: str = "training steps",
    unit: str = "",
    size: tuple[int, int] = (380, 200),
    whole: bool = False,
    levels: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Curves over an axis; `shades` are spans of x, `marks` single places, `levels` values of y with their names.

    `alt` says what there is to see. The axis of `whole` numbers, such as cycles, names no others.
    """
    drawn = [_thinned(one) for one in series]
    xs = [x for one in drawn for x, y in one.points if y is not None]
    ys = [y for one in drawn for _, y in one.points if y is not None]
    ys += [end for one in drawn for ends in one.ends for end in ends]
    ys += [1.1 * value for value, _ in levels]  # with room for the name
    if not xs:
        return _figure(caption, element("p", "no data yet", class_="note"))
    x_low, x_high = x_range or (min(xs), max(xs))
    y_low, y_high = y_range or _roomy(min(ys), max(ys))
    frame = _Frame(size, (x_low, x_high if x_high > x_low else x_low + 1), (y_low, y_high))
    parts: list[Markup] = []
    for start, end in shades:
        left, right = frame.x(max(start, x_low)), frame.x(min(end, frame.xs[1]))
        if right > left:
            parts.append(
                element("rect", x=_n(left), y=_TOP, width=_n(right - left), height=_n(frame.height), class_="shade")
            )
    parts += frame.axes(x_name, unit, whole)
    for place in marks:
        if x_low <= place <= frame.xs[1]:
            x = _n(frame.x(place))
            parts.append(element("line", x1=x, x2=x, y1=_TOP, y2=_n(_TOP + frame.height), class_="mark"))
    for value, _ in levels:
        across, right_end = _n(frame.y(value)), _n(_LEFT + frame.width)
        parts.append(element("line", x1=_LEFT, x2=right_end, y1=across, y2=across, class_="level"))
    for one in drawn:
        parts += frame.curve(one, unit)
    for value, name in levels:  # last, so that nothing lies over a name
        parts.append(element("text", name, x=_LEFT + 4, y=_n(frame.y(value) - 3), class_="name"))
    return _figure(caption, _svg(size, alt, parts))


def bars(
    caption: object,
    names: Sequence[str],
    groups: Sequence[tuple[str, int, Sequence[tuple[float, float, float]]]],
    *,
    alt: str,
) -> Markup:
    """Horizontal bars in percent: for each name one of each group, (label, colour, [(value, low, high), ...])."""
    thick, gap = 9, 9
    step = thick * len(groups) + gap
    left = max(128.0, 6.4 * max(map(len, names), default=0) + 10)  # room for the longest name
    width = left + 302
    height = int(step * len(names) + 26)
    scale = (width - left - 20) / 100
    parts: list[Markup] = []
    for tick in (0, 25, 50, 75, 100):
        x = _n(left + tick * scale)
        parts.append(element("line", x1=x, x2=x, y1=4, y2=height - 20, class_="grid"))
        parts.append(element("text", f"{tick} %", x=x, y=height - 5, text_anchor="middle"))
    for row, name in enumerate(names):
        top = 6.0 + row * step
        parts.append(element("text", name, x=left - 8, y=_n(top + thick * len(groups) / 2 + 4), text_anchor="end"))
        for number, (label, colour, values) in enumerate(groups):
            value, low, high = values[row]
            y, css = top + number * thick, f"bar f{colour}"
            bar = element("title", f"{label}, {name}: {value:.1f} % [{low:.1f}, {high:.1f}]")
            parts.append(element("rect", bar, x=left, y=_n(y), width=_n(value * scale), height=thick - 2, class_=css))
            middle = _n(y + (thick - 2) / 2)
            x1, x2 = _n(left + low * scale), _n(left + high * scale)
            parts.append(element("line", x1=x1, x2=x2, y1=middle, y2=middle, class_="ends"))
    return _figure(caption, _svg((int(width), height), alt, parts))


def legend(items: Sequence[tuple[str, int, bool]], shaded: str = "") -> Markup:
    """What the colours of several charts mean: (name, colour, whether it is dots)."""
    made = []
    for name, colour, dots in items:
        sign = (
            element("circle", cx=12, cy=6, r=4, class_=f"f{colour}")
            if dots
            else element("line", x1=1, x2=23, y1=6, y2=6, class_=f"line s{colour}")
        )
        made.append(element("li", element("svg", sign, viewBox="0 0 24 12", aria_hidden="true"), name))
    if shaded:
        made.append(element("li", element("span", class_="shaded", aria_hidden="true"), shaded))
    return element("ul", *made, class_="legend", aria_label="Legend")


class _Frame:
    """The rectangle of a chart's data, and where a value lies in it."""

    def __init__(self, size: tuple[int, int], xs: tuple[float, float], ys: tuple[float, float]) -> None:
        self.xs, self.ys = xs, ys
        self.width = size[0] - _LEFT - _RIGHT
        self.height = size[1] - _TOP - _BOTTOM

    def x(self, value: float) -> float:
        return _LEFT + (value - self.xs[0]) / (self.xs[1] - self.xs[0]) * self.width

    def y(self, value: float) -> float:
        share = (value - self.ys[0]) / (self.ys[1] - self.ys[0])
        return _TOP + (1 - min(max(share, 0.0), 1.0)) * self.height

    def axes(self, x_name: str, unit: str, whole: bool) -> list[Markup]:
        """Grid lines, their numbers and the name of the x-axis."""
        parts = []
        for tick in ticks(*self.ys, 4):
            y = self.y(tick)
            parts.append(element("line", x1=_LEFT, x2=_n(_LEFT + self.width), y1=_n(y), y2=_n(y), class_="grid"))
            parts.append(element("text", f"{short(tick)}{unit}", x=_LEFT - 5, y=_n(y + 4), text_anchor="end"))
        base = _TOP + self.height
        shown = [tick for tick in ticks(*self.xs, 4) if not whole or tick == round(tick)]
        for tick in shown:
            x = self.x(tick)
            anchor = "start" if x < _LEFT + 8 else "end" if x > _LEFT + self.width - 12 else "middle"
            parts.append(element("text", short(tick), x=_n(x), y=_n(base + 13), text_anchor=anchor))
        middle = _n(_LEFT + self.width / 2)
        parts.append(element("text", x_name, x=middle, y=_n(base + 26), text_anchor="middle"))
        return parts

    def curve(self, one: Series, unit: str) -> list[Markup]:
        """A series as lines, dots, band and whiskers."""
        parts: list[Markup] = []
        if one.ends and not one.dots:
            there = [(x, ends) for (x, y), ends in zip(one.points, one.ends, strict=True) if y is not None]
            if len(there) > 1:
                edge = [(x, low) for x, (low, _) in there] + [(x, high) for x, (_, high) in reversed(there)]
                corners = " ".join(f"{_n(self.x(x))},{_n(self.y(y))}" for x, y in edge)
                parts.append(element("polygon", points=corners, class_=f"band f{one.colour}"))
        if not one.dots:
            css = f"{'faint' if one.faint else 'line'} s{one.colour}"
            runs = _runs(one.points)
            for run in runs:
                if len(run) > 1:
                    corners = " ".join(f"{_n(self.x(x))},{_n(self.y(y))}" for x, y in run)
                    parts.append(element("polyline", points=corners, class_=css))
            lonely = [run[0] for run in runs if len(run) == 1]
        else:
            lonely = [(x, y) for x, y in one.points if y is not None]
            there = [(x, ends) for (x, y), ends in zip(one.points, one.ends, strict=False) if y is not None]
            for x, (low, high) in there:
                at = _n(self.x(x))
                parts.append(
                    element(
                        "line", x1=at, x2=at, y1=_n(self.y(low)), y2=_n(self.y(high)), class_=f"whisker s{one.colour}"
                    )
                )
        for x, y in lonely:
            word = element("title", f"{one.name}: {short(y)}{unit} at {short(x)}")
            parts.append(
                element(
                    "circle",
                    word,
                    cx=_n(self.x(x)),
                    cy=_n(self.y(y)),
                    r=2 if one.faint else 3.4,
                    class_=f"f{one.colour}",
                )
            )
        return parts


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers inside [low, high], about `count` of them."""
    rough = (high - low) / max(count, 1)
    if rough <= 0 or not math.isfinite(rough):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number for an axis: 1.96M, 240k, 12.5, 3e-4."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    if abs(value) < 1e-12:
        return "0"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}".replace("e-0", "e-").replace(".0e", "e")


def _thinned(one: Series) -> Series:
    """About POINTS points, each the mean of a stretch without a gap; series with intervals are left whole."""
    if len(one.points) <= POINTS or one.ends:
        return one
    points: list[tuple[float, float | None]] = []
    for run in _runs(one.points):
        for part in np.array_split(np.array(run), max(1, len(run) * POINTS // len(one.points))):
            x, y = part.mean(axis=0).tolist()
            points.append((x, y))
        points.append((run[-1][0], None))
    return Series(one.name, points, one.colour, one.dots, (), one.faint)


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """The stretches without a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _roomy(low: float, high: float) -> tuple[float, float]:
    """An axis around values; from zero where they are not far from it."""
    if 0 < low < 0.5 * high:
        low = 0.0
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if low == 0 else low - room), high + room


def _figure(caption: object, content: Markup) -> Markup:
    return element("figure", element("figcaption", caption), content)


def _svg(size: tuple[int, int], alt: str, parts: Sequence[Markup]) -> Markup:
    title = element("title", alt)
    return element("svg", title, joined(parts), viewBox=f"0 0 {size[0]} {size[1]}", role="img", aria_label=alt)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
