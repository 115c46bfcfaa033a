"""What every picture must be: all texts inside it, none over another, all in a colour that can be read."""

from collections.abc import Callable

import pytest
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from hiva_hf.viz.style import THEMES


def shown_texts(figure: Figure) -> list[Text]:
    """Titles, labels and notes of a figure and its axes, without those within a photo or a matrix."""
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [axes.title, axes._left_title]
        if axes.axison:
            texts += [axes.xaxis.label, axes.yaxis.label, *_tick_labels(axes.xaxis), *_tick_labels(axes.yaxis)]
        if not axes.get_images():
            texts += axes.texts
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def _tick_labels(axis: Axis) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    return [
        label for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True) if low <= place <= high
    ]


@pytest.fixture(scope="session")
def check_texts() -> Callable[[Figure, str], None]:
    """Fails if a text leaves the figure, covers another one, or does not stand out from the background."""

    def check(figure: Figure, theme: str = "light"):
        figure.draw_without_rendering()
        texts = shown_texts(figure)
        assert texts
        boxes = [text.get_window_extent() for text in texts]
        for index, (text, box) in enumerate(zip(texts, boxes, strict=True)):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
            assert inside, f"{text.get_text()!r} leaves the figure: {box}"
            for other, other_box in zip(texts[index + 1 :], boxes[index + 1 :], strict=True):
                common = box.intersection(box, other_box)
                covers = common is not None and min(common.width, common.height) > 1
                assert not covers, f"{text.get_text()!r} and {other.get_text()!r} overlap"
            contrast = contrast_ratio(text.get_color(), THEMES[theme].background)
            assert contrast >= 3.9, f"{text.get_text()!r} has a contrast of {contrast:.1f}"

    return check


def contrast_ratio(first: str, second: str) -> float:
    """As WCAG 2 defines it; 4.5 is asked for of text, 3 of large text and graphics."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.fixture(scope="session", name="contrast_ratio")
def contrast_ratio_fixture() -> Callable[[str, str], float]:
    return contrast_ratio


@pytest.fixture(scope="session")
def many_aus() -> list[dict]:
    """Twenty AUs as the pipeline returns them: four active, of which AU10 is experimental, as is AU26, not active."""
    from hiva_hf.facs import get_action_unit

    scores = dict(
        zip(
            "1 2 4 5 6 7 9 10 12 14 15 17 18 20 22 23 24 25 26 43".split(),
            [0.12, 0.08, 0.05, 0.22, 0.83, 0.47]
            + [0.1, 0.55, 1.0, 0.31, 0.02, 0.04, 0.02, 0.09, 0.06, 0.03, 0.02, 0.91, 0.49, 0.0],
            strict=True,
        )
    )
    return [
        {
            "label": f"AU{number}",
            "name": get_action_unit(int(number)).name,
            "score": score,
            "active": score >= 0.5,
            "experimental": number in ("10", "26"),
        }
        for number, score in scores.items()
    ]


@pytest.fixture(scope="session")
def read_face(many_aus) -> dict:
    """The astronaut's face with twenty AUs and attention maps on a 4 x 4 grid, AU i's focused on cell i % 16."""
    import numpy as np

    maps = np.full((20, 16), 0.02, dtype=np.float32)
    maps[np.arange(20), np.arange(20) % 16] = 0.7
    maps = maps.reshape(20, 4, 4)
    # From the photo's face to the unit square.
    view_matrix = np.array([[1 / 120, 0, -166 / 120], [0, 1 / 120, -58 / 120]])
    landmarks = [[208.0, 106.0], [247.0, 108.0], [226.0, 130.0], [208.0, 146.0], [242.0, 147.0]]
    box = {"xmin": 182, "ymin": 59, "xmax": 270, "ymax": 177}
    attention = {"ddca_attention": maps, "cdca_attention": maps[::-1], "view_matrix": view_matrix}
    return {"box": box, "score": 0.9, "landmarks": landmarks, "aus": many_aus, **attention}
