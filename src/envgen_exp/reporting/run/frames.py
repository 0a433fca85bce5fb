"""What a run that was taught by labels found in the labels' own units: tables, and the worst frames as a gallery."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from rich.table import Table
from rich.text import Text

from envgen_exp.families.family import Labelled
from envgen_exp.families.frames import draw
from envgen_exp.learners.supervised.measures import PAPER_RMSE
from envgen_exp.reporting.page import Markup, data_uri, element, fold, joined, number, table
from envgen_exp.run import plan
from envgen_exp.run.record import RunRecord
from envgen_exp.seeding import WorldSet

WIDTH = 280
"""Pixels to which small frames are shown larger."""

PAPER_NOTE = (
    "The paper's: validation error of the 28.3 M weights of Martinez et al. 2017 on 350,000 frames of its own "
    "simulator, 21 times each, frames of the same roads that it was trained on. Ours: on roads that look otherwise "
    "than all that was trained on, over a battery of which a good third are rare events. Both count a wrong 'there or "
    "not' as a jump beyond the range."
)


def found(data: RunRecord) -> Mapping[str, Any] | None:
    """What the report evaluation found of frames; None for a learner that looks at none, or before it has ended."""
    return data.result(plan.REPORT).get("frames") if plan.REPORT in data.phases else None


def error_rows(of: Mapping[str, Any]) -> list[list[str]]:
    """By label and distance: frames, mean absolute error, root mean square, 95th percentile, misses, phantoms."""
    rows = []
    for row in of["errors"]:
        if not (row["there"] or row["whole"]):
            continue
        absent = row["frames"] - row["there"]
        rows.append(
            [
                named(row),
                band(row),
                f"{row['there']:,}",
                *(number(row[name]) for name in ("mae", "rmse", "p95")),
                _share(row["misses"], row["there"]),
                _share(row["phantoms"], absent),
            ]
        )
    return rows


def named(row: Mapping[str, Any]) -> str:
    """Its label and unit."""
    return f"{row['label']}, {row['unit']}"


def band(row: Mapping[str, Any]) -> str:
    """Its part of the label's range."""
    return "all" if row["whole"] else f"{row['low']:.3g} to {row['high']:.3g}"


HEADERS = ("label", "range", "frames", "mean", "RMSE", "95 %", "miss %", "phantom %")
"""Of the errors by distance: their mean, root mean square and 95th percentile, in the label's unit."""


def print_errors(data: RunRecord) -> Table | None:
    """The first table for the terminal; None where there is nothing to tell."""
    of = found(data)
    if of is None:
        return None
    made = Table(
        title="errors of the report evaluation, by distance",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, header in enumerate(HEADERS):
        made.add_column(header, justify="left" if place < 2 else "right", no_wrap=True)
    for row in error_rows(of):
        made.add_row(*map(Text, row))
    return made


def frames(data: RunRecord) -> Markup:
    """The section of a run's page."""
    of = found(data)
    if of is None:
        return Markup("")
    caption = (
        f"Errors of the report evaluation, {of['number']:,} frames: mean, root mean square, 95th percentile of labels "
        "that are there and were said to be; missed: said not to be there; phantoms: said to be where they are not"
    )
    paper = [
        [row["label"], number(row["paper_rmse"]), f"{PAPER_RMSE[row['label']]:g}", row["unit"]]
        for row in of["errors"]
        if row["whole"] and row["label"] in PAPER_RMSE
    ]
    labels = [row["label"] for row in of["errors"] if row["whole"]]
    strata = [
        [part["stratum"], f"{part['frames']:,}", *(_of_stratum(part[label]) for label in labels)]
        for part in of["strata"]
    ]
    parts: list[object] = [table(caption, HEADERS, error_rows(of), numbers=1)]
    if paper:
        headers = ["label", "RMSE here", "the paper's", "unit"]
        parts += [table("Beside the paper, as it counts", headers, paper), element("p", PAPER_NOTE, class_="note")]
    title = "By stratum: mean error, and of labels that are there the percentage missed"
    parts += [table(title, ["stratum", "frames", *labels], strata), gallery(data, of)]
    return joined(parts)


def gallery(data: RunRecord, of: Mapping[str, Any]) -> Markup:
    """The worst frames of each stratum, drawn again from their designs and seeds."""
    family = data.family
    if not isinstance(family, Labelled):
        return Markup("")
    by_stratum: dict[str, list[Markup]] = {}
    for one in of["worst"]:
        design = one["design"]
        design = None if design is None else family.design_model.model_validate_json(json.dumps(design))
        pixels = draw(family, [design], [one["seed"]], WorldSet[of["worlds"]]).images[0]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=85)
        times = max(1, WIDTH // pixels.shape[1])
        wrong = _in_words(family, one["answers"], one["labels"])
        alt = f"{one['stratum']}, world {one['seed']}: {wrong}"
        shown = element(
            "img",
            src=data_uri("image/jpeg", buffer.getvalue()),
            alt=alt,
            width=times * pixels.shape[1],
            height=times * pixels.shape[0],
        )
        by_stratum.setdefault(one["stratum"], []).append(element("figure", shown, element("p", wrong, class_="note")))
    folds = [
        fold(f"Worst frames: {stratum}", element("div", *figures, class_="charts small"), is_open=place == 0)
        for place, (stratum, figures) in enumerate(by_stratum.items())
    ]
    return joined(folds)


def _in_words(family: Labelled, answers: Sequence[float | None], labels: Sequence[float | None]) -> str:
    """The three labels that are furthest off: what was said, and what is."""

    def off(place: int) -> float:
        said, true = answers[place], labels[place]
        if said is None or true is None:
            return 0.0 if said is true else 1.0
        return abs(said - true) / (family.labels[place].high - family.labels[place].low)

    def told(value: float | None, unit: str) -> str:
        return "none" if value is None else f"{value:.1f} {unit}"

    order = sorted(range(len(labels)), key=off, reverse=True)
    return "; ".join(
        f"{label.name}: said {told(answers[place], label.unit)}, is {told(labels[place], label.unit)}"
        for place in order[:3]
        if off(place)
        for label in (family.labels[place],)
    )


def _of_stratum(part: Mapping[str, Any]) -> str:
    missed = f", {_share(part['misses'], part['there'])} %" if part["misses"] else ""
    return f"{number(part['mae'])}{missed}"


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f}" if of else "-"
