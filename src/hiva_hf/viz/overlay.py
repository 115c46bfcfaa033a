# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Mark faces and their active AUs in video frames; without matplotlib, which is too slow for every frame."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..facs import au_name


# The colours of Okabe and Ito that stand out from black; without colours, the number distinguishes faces.
FACE_COLORS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))
WHITE, BLACK, TRACK = (255, 255, 255), (0, 0, 0), (96, 100, 106)
# Brightness that a panel leaves of the image below it, so that white text is always readable.
PANEL_LIGHT = 0.22
MIN_FONT, MAX_FONT = 11, 48
# Height of the text relative to that of the frame and of the face: small faces get small panels.
FONT_BY_FRAME, FONT_BY_FACE = 1 / 42, 1 / 7


class FaceLike(Protocol):
    """The attributes of a record of `hiva_hf.inference` that are used here."""

    face_id: int | None
    box: tuple[float, float, float, float] | None
    probabilities: dict[str, float]
    active: dict[str, bool]
    experimental: Collection[str]


@dataclass(frozen=True)
class _Row:
    """An active AU in a panel."""

    text: str
    probability: float
    is_experimental: bool


@dataclass(frozen=True)
class _Panel:
    """The panel beside a face: a heading and a bar for each of some AUs, with its size."""

    heading: str
    rows: tuple[_Row, ...]
    font_size: int
    color: tuple[int, int, int]
    width: int
    height: int


Rectangle = tuple[int, int, int, int]
"""(xmin, ymin, xmax, ymax) in whole pixels."""


def annotate_frame(
    frame: NDArray[np.uint8],
    records: Sequence[FaceLike],
    *,
    max_aus: int = 6,
) -> NDArray[np.uint8]:
    """Draw the faces of a frame, their numbers and their active AUs.

    Beside each face is a panel with its number and its most probable active AUs, each with a bar whose full width is
    the probability 1 (hollow for experimental AUs). Panels are scaled to frame and face, stay inside the frame and
    avoid faces and each other: where space is short they omit the AUs' names, then AUs, and in a crowd only the number
    in the corner of the box remains. A face without active AUs has only its number.

    Args:
        frame: RGB `[height, width, 3]`; it is not changed.
        records: The faces of this frame, as in `hiva_hf.inference`: `face_id`, `box` in pixels, `probabilities` and
            `active` by AU label, and which of them are `experimental`. Records without a box are skipped.
        max_aus: Largest number of active AUs in a panel; it also says how many more there are.

    Returns:
        A new frame of the same shape.

    Raises:
        ValueError: The frame is no RGB array, or `max_aus` is below 1.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"Expected an RGB uint8 frame [height, width, 3], got {frame.dtype} {list(frame.shape)}.")
    if max_aus < 1:
        raise ValueError(f"max_aus must be at least 1, got {max_aus}.")
    annotated = frame.copy()
    height, width = frame.shape[:2]
    faces = [(record, _whole_box(record.box, height, width)) for record in records if record.box is not None]
    faces = [(record, box) for record, box in faces if box is not None]
    # Panels of the largest faces are placed first.
    faces.sort(key=lambda face: -_area(face[1]))
    for record, box in faces:
        _draw_box(annotated, box, _color(record), max(1, round(min(height, width) / 360)))
    taken = [box for _, box in faces]
    for record, box in faces:
        panel, place = _fit(record, box, taken, (height, width), max_aus)
        taken.append(place)
        _draw_panel(annotated, panel, place)
    return annotated


def _whole_box(box: tuple[float, float, float, float], height: int, width: int) -> Rectangle | None:
    """The part of the box inside the frame; `None` if there is none."""
    xmin, ymin, xmax, ymax = (round(float(value)) for value in box)
    xmin, ymin, xmax, ymax = max(xmin, 0), max(ymin, 0), min(xmax, width), min(ymax, height)
    return (xmin, ymin, xmax, ymax) if xmin < xmax and ymin < ymax else None


def _color(record: FaceLike) -> tuple[int, int, int]:
    return FACE_COLORS[(record.face_id or 0) % len(FACE_COLORS)]


def _draw_box(frame: NDArray[np.uint8], box: Rectangle, color: tuple[int, int, int], thickness: int):
    """Draws a coloured line between two black ones: one of them stands out from any image."""
    for inset, line, value in ((0, 3 * thickness, BLACK), (thickness, thickness, color)):
        xmin, ymin, xmax, ymax = box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset
        frame[ymin : min(ymin + line, ymax), xmin:xmax] = value
        frame[max(ymax - line, ymin) : ymax, xmin:xmax] = value
        frame[ymin:ymax, xmin : min(xmin + line, xmax)] = value
        frame[ymin:ymax, max(xmax - line, xmin) : xmax] = value


def _fit(
    record: FaceLike,
    box: Rectangle,
    taken: list[Rectangle],
    frame_size: tuple[int, int],
    max_aus: int,
) -> tuple[_Panel, Rectangle]:
    """The most detailed panel that fits into a free place, and this place."""
    others = [place for place in taken if place is not box]
    for panel in _panels(record, box, frame_size[0], max_aus):
        for place in _places(panel, box, frame_size):
            if not any(_overlap(place, other) for other in [*others, box]):
                return panel, place
    # Only the number, in the corner of the box.
    panel = _make_panel(record, (), _font_size(box, frame_size[0]))
    return panel, _inside(box[0], box[1], panel, frame_size)


def _panels(record: FaceLike, box: Rectangle, frame_height: int, max_aus: int) -> list[_Panel]:
    """Panels from the most to the least detailed."""
    active = sorted(
        (label for label, on in record.active.items() if on), key=lambda label: -record.probabilities[label]
    )
    if not active:
        return []
    size = _font_size(box, frame_height)
    short = [_Row(label, record.probabilities[label], label in record.experimental) for label in active]
    long = [_Row(_title(row.text), row.probability, row.is_experimental) for row in short]
    panels = [
        _make_panel(record, tuple(rows[:max_aus]), size, more=max(0, len(rows) - max_aus)) for rows in (long, short)
    ]
    if len(active) > 3:
        panels.append(_make_panel(record, tuple(short[:3]), size, more=len(active) - 3))
    return panels


def _title(label: str) -> str:
    name = au_name(label)
    return label if name == label else f"{label} {name}"


def _font_size(box: Rectangle, frame_height: int) -> int:
    by_face = FONT_BY_FACE * min(box[2] - box[0], box[3] - box[1])
    return int(min(MAX_FONT, max(MIN_FONT, min(FONT_BY_FRAME * frame_height, by_face))))


def _make_panel(record: FaceLike, rows: tuple[_Row, ...], font_size: int, more: int = 0) -> _Panel:
    heading = "face" if record.face_id is None else f"#{record.face_id}"
    heading += f"  +{more}" if more else ""
    padding = _padding(font_size)
    width = _text_length(heading, font_size) + padding + font_size // 2
    if rows:
        text_width = max(_text_length(row.text, font_size) for row in rows)
        width = max(width, text_width + padding + _bar_length(font_size))
    height = (1 + len(rows)) * _line_height(font_size)
    return _Panel(heading, rows, font_size, _color(record), width + 2 * padding, height + padding)


def _places(panel: _Panel, box: Rectangle, frame_size: tuple[int, int]) -> list[Rectangle]:
    """Candidate places: right of the face, left of it, below, above; each moved into the frame."""
    gap = max(2, panel.font_size // 4)
    xmin, ymin, xmax, ymax = box
    corners = [
        (xmax + gap, ymin),
        (xmin - gap - panel.width, ymin),
        (xmin, ymax + gap),
        (xmin, ymin - gap - panel.height),
    ]
    return [_inside(*corner, panel, frame_size) for corner in corners]


def _inside(left: int, top: int, panel: _Panel, frame_size: tuple[int, int]) -> Rectangle:
    height, width = frame_size
    left = max(0, min(left, width - panel.width))
    top = max(0, min(top, height - panel.height))
    return left, top, min(left + panel.width, width), min(top + panel.height, height)


def _draw_panel(frame: NDArray[np.uint8], panel: _Panel, place: Rectangle):
    left, top, right, bottom = place
    region = frame[top:bottom, left:right]
    picture = Image.fromarray((region * np.float32(PANEL_LIGHT)).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    padding, line = _padding(panel.font_size), _line_height(panel.font_size)
    middle = padding // 2 + line // 2
    swatch = panel.font_size // 2
    draw.rectangle((padding, middle - swatch // 2, padding + swatch, middle + swatch // 2), fill=panel.color)
    draw.bitmap((2 * padding + swatch, middle - line // 2), _text(panel.heading, panel.font_size), fill=WHITE)
    length = _bar_length(panel.font_size)
    for number, row in enumerate(panel.rows, start=1):
        y = middle + number * line
        draw.bitmap((padding, y - line // 2), _text(row.text, panel.font_size), fill=WHITE)
        start = panel.width - padding - length
        half = max(1, panel.font_size // 4)
        filled = start + round(length * min(max(row.probability, 0.0), 1.0))
        draw.rectangle((start, y - half, start + length, y + half), fill=TRACK)
        draw.rectangle(
            (start, y - half, filled, y + half),
            fill=BLACK if row.is_experimental else panel.color,
            outline=panel.color,
        )
    region[:] = np.asarray(picture)


def _overlap(first: Rectangle, second: Rectangle) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _area(box: Rectangle) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _padding(font_size: int) -> int:
    return max(3, font_size // 3)


def _line_height(font_size: int) -> int:
    return round(1.3 * font_size)


def _bar_length(font_size: int) -> int:
    return 3 * font_size


@lru_cache(maxsize=MAX_FONT)
def _font(size: int) -> Any:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=1024)
def _text(text: str, font_size: int) -> Image.Image:
    """A line of text as a mask; cached since rendering is slow and most texts recur in the next frame."""
    line = _line_height(font_size)
    mask = Image.new("L", (_text_length(text, font_size) + 2, line))
    ImageDraw.Draw(mask).text((0, line // 2), text, font=_font(font_size), fill=255, anchor="lm")
    return mask


@lru_cache(maxsize=4096)
def _text_length(text: str, font_size: int) -> int:
    return round(_font(font_size).getlength(text))
