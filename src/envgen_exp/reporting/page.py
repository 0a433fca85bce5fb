"""A self-contained HTML page: its style, its skeleton, tables and pictures. Nothing in it loads anything.

The one script that a browser runs in it is templates/page.js, whose hash the page names; where it has no control, none.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from envgen_exp.run import pictures

_TEMPLATES = Path(__file__).parent / "templates"


class Markup(str):
    """HTML that needs no escaping, because this package wrote it."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Any text as HTML, quotes included; markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """An element; children are escaped unless they are markup, attributes always are.

    `class_` and `for_` lose their underscore, other underscores become hyphens; None and False leave an attribute out.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        words.append(name if value is True else f'{name}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    if tag in ("img", "br", "meta"):
        return Markup(opening)
    return Markup(f"{opening}{''.join(map(escape, children))}</{tag}>")


def joined(parts: Iterable[object]) -> Markup:
    """Several pieces of HTML, one after the other."""
    return Markup("\n".join(map(escape, parts)))


@dataclass(frozen=True)
class Cell:
    """A table's cell with more than text."""

    content: object
    css: str = ""
    style: str = ""
    title: str = ""


def table(
    caption: object,
    headers: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    css: str = "",
    numbers: int = 1,
    words: int | None = None,
    changes: Sequence[float | None] = (),
) -> Markup:
    """A table whose first column names its rows, with a caption; columns from `numbers` on, before `words`, are aligned
    right. `changes` are those of the first rows, for `by_change`.

    It scrolls by itself where the page is too narrow, and can be reached by keyboard for that.
    """

    def side(column: int) -> str:
        return "num" if column >= numbers and (words is None or column < words) else ""

    head = [element("th", header, scope="col", class_=side(i) or None) for i, header in enumerate(headers)]
    body = []
    for row, change in itertools.zip_longest(rows, changes):
        cells = []
        for column, value in enumerate(row):
            cell = value if isinstance(value, Cell) else Cell(value)
            css_of = f"{side(column)} {cell.css}".strip() or None
            scope = "row" if column == 0 else None
            tag = "th" if column == 0 else "td"
            cells.append(
                element(
                    tag, cell.content, scope=scope, class_=css_of, style=cell.style or None, title=cell.title or None
                )
            )
        body.append(element("tr", *cells, data_change=None if change is None else f"{change:.4f}"))
    made = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_=css or None,
    )
    return element("div", made, class_="scroll", tabindex="0", role="region", aria_label=_plain(caption))


def facts(pairs: Iterable[tuple[object, object]]) -> Markup:
    """Names with their values, as a description list."""
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs), class_="facts"
    )


def by_change() -> Markup:
    """The control that orders its section's skills, those elements that have `data-change`."""
    options = element("option", "by what they need", value="tree"), element("option", "by change", value="change")
    label = element("label", "Order of skills ", element("select", *options))
    return element("p", label, class_="control", data_control="order", hidden=True)


def fold(summary: object, *content: object, css: str = "", is_open: bool = False) -> Markup:
    """What is shown when it is asked for."""
    return element("details", element("summary", summary), *content, class_=css or None, open=is_open)


def picture(pixels: NDArray[np.uint8], alt: str) -> Markup:
    """An (height, width, 3) picture inside the page."""
    return element("img", src=png(pixels), alt=alt, width=pixels.shape[1], height=pixels.shape[0])


def png(pixels: NDArray[np.uint8]) -> str:
    """An (height, width, 3) picture as an address that needs no file."""
    return data_uri("image/png", pictures.png(pixels))


def data_uri(kind: str, data: bytes) -> str:
    """A file's bytes as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Section:
    """One part of a page; `anchor` is its address in the page."""

    anchor: str
    title: str
    content: Markup


def page(title: str, subtitle: object, notice: object, sections: Sequence[Section]) -> str:
    """The whole document: header, contents, sections. `notice` stands above everything where it is not empty."""
    links = [element("li", element("a", part.title, href=f"#{part.anchor}")) for part in sections]
    body = [
        element(
            "section",
            element("h2", part.title, id=f"{part.anchor}-title"),
            part.content,
            id=part.anchor,
            aria_labelledby=f"{part.anchor}-title",
        )
        for part in sections
    ]
    content = joined(body)
    script, allowed = "", "'none'"
    if ' data-control="' in content:  # no text has such quotes
        code = (_TEMPLATES / "page.js").read_text()
        script = f"<script>{code}</script>"
        allowed = f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
    return Template((_TEMPLATES / "page.html").read_text()).substitute(
        script=script,
        allowed=allowed,
        title=escape(title),
        subtitle=escape(subtitle),
        notice=element("p", notice, class_="notice", role="status") if notice else "",
        contents=element("ul", *links),
        body=content,
        style=(_TEMPLATES / "style.css").read_text(),
    )


def percent_bar(share: float) -> str:
    """A cell's background for a rate in [0, 1], as style."""
    return f"--rate:{min(max(share, 0.0), 1.0):.3f}"


def number(value: float | None) -> str:
    """Two digits, or a dash where there is no number."""
    return "-" if value is None else f"{value:.2f}"


def _plain(value: object) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", value)) if isinstance(value, Markup) else str(value)
