"""Pieces of HTML: bars, attention maps, pictures, notices. External text is escaped."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from ..facs import ActionUnit, find_action_unit
from ..viz.attention import attention_peak
from ..viz.style import EXPERIMENTAL_MARK, get_theme
from .photos import ReadFace


MAP_NAMES = {
    "ddca": "On this AU's own features (DDCA)",
    "cdca": "On the whole face's features (CDCA)",
    "spatial": "In this AU's spatial attention (VL-FAU)",
}
MAP_SIZE = 320
HALVES = {"upper": "Upper face", "lower": "Lower face", "": "Other"}


def notice(text: str, kind: str = "info") -> str:
    """A message; `kind` is "info" or "error". Screen readers read it when it appears."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="hiva-notice hiva-{kind}" role="{role}">{escape(text)}</p>'


def picture(image: Image.Image, alt: str, caption: str = "", image_class: str = "") -> str:
    """A picture, embedded in the page."""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    source = f"data:image/jpeg;base64,{_jpeg(image)}"
    size = f'width="{image.width}" height="{image.height}"'
    return f'<figure class="hiva-figure {image_class}"><img src="{source}" {size} alt="{escape(alt)}">{text}</figure>'


def face_summary(face: ReadFace) -> str:
    """The summary of a face in words, and its warnings."""
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in face.warnings)
    listed = f'<ul class="hiva-warnings">{warnings}</ul>' if warnings else ""
    return f'<div class="hiva-summary"><p>{escape(face.summary)}</p>{listed}</div>' if face.summary else ""


def au_bars(aus: Sequence[dict[str, Any]], thresholds: Sequence[float], chosen: str) -> str:
    """A button with a bar for each AU: its name, probability, movement, and whether it counts as active.

    Args:
        aus: As in the pipeline's result.
        thresholds: Threshold of each AU in their order, shown as a line in the bar.
        chosen: Label of the AU whose maps are shown.
    """
    rows: dict[str, list[str]] = {half: [] for half in HALVES}
    for au, threshold in zip(aus, thresholds, strict=True):
        unit = find_action_unit(au["label"])
        rows[unit.face_half if unit else ""].append(_row(au, unit, threshold, au["label"] == chosen))
    groups = [f"<h3>{HALVES[half]}</h3><ul>{''.join(items)}</ul>" for half, items in rows.items() if items]
    return f'<div class="hiva-bars">{"".join(groups)}{_legend(aus)}</div>'


def au_card(face: ReadFace, label: str) -> str:
    """The meaning of an AU, the explanation of its result, and its attention maps."""
    au = face.aus[face.index_of(label)]
    unit = find_action_unit(label)
    heading = f'<h3 class="hiva-au-title">{escape(_title(au))}</h3>'
    return f'<div class="hiva-card">{heading}{_meaning(unit)}{_evidence(au)}{_maps(face, au)}</div>'


def _row(au: dict[str, Any], unit: ActionUnit | None, threshold: float, is_chosen: bool) -> str:
    states = ["active"] * au["active"] + ["experimental"] * au["experimental"]
    percent = round(100 * au["score"])
    mark = f'<abbr title="experimental">{EXPERIMENTAL_MARK}</abbr>' if au["experimental"] else ""
    name = "" if au["name"] == au["label"] else f" {escape(au['name'])}"
    badge = '<span class="hiva-badge">active</span>' if au["active"] else ""
    return (
        f'<li><button type="button" class="{" ".join(["hiva-au", *(f"hiva-{state}" for state in states)])}" '
        f'data-au="{escape(au["label"])}" aria-pressed="{str(is_chosen).lower()}">'
        f'<span class="hiva-name"><b>{escape(au["label"])}</b>{mark}{name}</span>{badge}'
        f'<span class="hiva-percent">{percent} %</span>'
        f'<span class="hiva-bar" aria-hidden="true"><span class="hiva-fill" style="width:{percent}%"></span>'
        f'<span class="hiva-threshold" style="left:{100 * threshold:.0f}%"></span></span>'
        f'<span class="hiva-action">{escape(unit.action) if unit else ""}</span></button></li>'
    )


def _legend(aus: Sequence[dict[str, Any]]) -> str:
    legend = "The line in a bar is the lowest probability at which the movement counts as active."
    if any(au["experimental"] for au in aus):
        legend += f" {EXPERIMENTAL_MARK} Experimental: unreliable on real photos."
    return f'<p class="hiva-legend">{legend}</p>'


def _title(au: dict[str, Any]) -> str:
    return au["label"] if au["name"] == au["label"] else f"{au['label']} {au['name']}"


def _meaning(unit: ActionUnit | None) -> str:
    if unit is None:
        return ""
    items = {"Movement": unit.action, "What one sees": unit.appearance, "Muscles": ", ".join(unit.muscles)}
    terms = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in items.items())
    return f"<dl>{terms}</dl>"


def _evidence(au: dict[str, Any]) -> str:
    if "explanation" not in au:
        return ""
    return f"<h4>What the result rests on</h4><p>{escape(au['explanation']['sentence'])}</p>"


def _maps(face: ReadFace, au: dict[str, Any]) -> str:
    if not face.maps:
        return '<p class="hiva-legend">This model has no attention maps.</p>'
    index = face.index_of(au["label"])
    figures = [
        picture(
            attention_picture(face.view, values[index]),
            f"The face in grey; colour shows where the network looked for {_title(au)}. {_where(values[index])}",
            f"{MAP_NAMES[kind]}: up to {values[index].max() * values[index].size:.3g} times the even spread",
        )
        for kind, values in face.maps.items()
    ]
    ramp = ", ".join(_css_color(step) for step in np.linspace(0, 1, 6))
    scale = (
        '<div class="hiva-scale"><span>none</span>'
        f'<span class="hiva-ramp" style="background-image:linear-gradient(to right, {ramp})"></span>'
        "<span>most</span></div>"
    )
    return f'<h4>Where the network looked</h4><div class="hiva-maps">{"".join(figures)}</div>{scale}'


def attention_picture(view: np.ndarray, values: np.ndarray) -> Image.Image:
    """Overlays a map `[height, width]`, which sums to 1, on the face `[side, side, 3]` in grey.

    The scale ends at the map's own maximum: in some networks, the peaks of single maps are a hundred times higher.
    """
    size = (MAP_SIZE, MAP_SIZE)
    strength = (values * values.size / attention_peak([values])).astype(np.float32)
    strength = Image.fromarray(strength).resize(size, Image.Resampling.BICUBIC)
    heat = get_theme("light").heat(np.asarray(strength).clip(0, 1), bytes=True)
    face = Image.fromarray(view).convert("L").convert("RGBA").resize(size, Image.Resampling.BICUBIC)
    return Image.alpha_composite(face, Image.fromarray(heat)).convert("RGB")


def _where(values: np.ndarray) -> str:
    """Describes in words where a map has its maximum."""
    row, column = np.unravel_index(np.argmax(values), values.shape)
    height, width = values.shape
    across = ("left", "middle", "right")[min(2, 3 * column // width)]
    down = ("upper", "middle", "lower")[min(2, 3 * row // height)]
    place = "middle" if across == down == "middle" else f"{down} {across}"
    return f"Strongest in the {place} of the picture."


def _css_color(step: float) -> str:
    red, green, blue, alpha = get_theme("light").heat(step)
    return f"rgb({255 * red:.0f} {255 * green:.0f} {255 * blue:.0f} / {alpha:.2f})"


def _jpeg(image: Image.Image) -> str:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=88)
    return base64.b64encode(data.getvalue()).decode()
