"""A picture of a drive: what the camera sees, and from above what is true and what was read."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH = 200
"""Columns of the panel."""
TRUE, READ = (235, 235, 235), (255, 150, 40)
_SCALE_X, _SCALE_Y = 9.0, 3.9
"""Pixels of a metre across and along."""


def with_panel(
    frame: NDArray[np.uint8], labels: NDArray[np.float32], answers: NDArray[np.float32], speed: float
) -> NDArray[np.uint8]:
    """A frame (height, width, 3) of at least 300 rows with the panel to its right; labels and answers are (8,)."""
    height = frame.shape[0]
    image = Image.new("RGB", (WIDTH, height), (40, 44, 48))
    draw = ImageDraw.Draw(image)
    draw.text((6, 2), "true", font=_font(), fill=TRUE)
    draw.text((40, 2), "read", font=_font(), fill=READ)
    draw.text((84, 2), f"{speed * 3.6:.0f} km/h", font=_font(), fill=TRUE)
    middle, foot = WIDTH / 2, height - 46
    for values, colour, wide in ((labels, TRUE, 4), (answers, READ, 2)):
        heading, ahead, lines = values[0], values[1:4], values[4:8]
        for distance, side in zip(lines.tolist(), (-1, -1, 1, 1), strict=True):
            if not math.isnan(distance):
                x = middle + side * distance * _SCALE_X
                draw.line((x, 22, x, foot), fill=colour, width=wide // 2)
        lane = 3.5 if np.isnan(lines[1:3]).any() else float(lines[1] + lines[2])
        centre = 0.0 if np.isnan(lines[1:3]).any() else float(lines[2] - lines[1]) / 2
        for place, distance in enumerate(ahead.tolist()):
            if not math.isnan(distance):
                x, y = middle + (centre + (place - 1) * lane) * _SCALE_X, foot - distance * _SCALE_Y
                half = (9 if colour == TRUE else 7) * _SCALE_X / 9
                draw.rectangle((x - half, y - 14, x + half, y), outline=colour, width=wide)
        angle = math.radians(float(heading))
        draw.line((middle, foot, middle + 60 * math.sin(angle), foot - 60 * math.cos(angle)), fill=colour, width=wide)
    for row, (name, place, unit) in enumerate((("ahead", 2, "m"), ("heading", 0, "°"))):
        y = foot + 8 + 17 * row
        draw.text((6, y), name, font=_font(), fill=(160, 160, 160))
        draw.text((66, y), _said(labels[place], unit), font=_font(), fill=TRUE)
        draw.text((130, y), _said(answers[place], unit), font=_font(), fill=READ)
    return np.concatenate([frame, np.asarray(image)], axis=1)


def _said(value: float, unit: str) -> str:
    return "none" if math.isnan(value) else f"{value:.1f} {unit}"


@functools.cache
def _font() -> Any:
    return ImageFont.load_default(size=12)
