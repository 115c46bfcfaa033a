"""The timeline of a video, for light and dark pages."""

import base64
import io
from typing import TYPE_CHECKING

from ..configuration_au_detection import AUDetectionConfigMixin
from ..viz.timeline import draw_timeline


if TYPE_CHECKING:
    from pandas import DataFrame

# The figure's text has 7 points: at this many CSS pixels per inch it is as large as that of the page's notes.
PIXELS_PER_INCH = 120
MIN_WIDTH, MAX_WIDTH = 320, 1200


def timelines(table: "DataFrame", config: AUDetectionConfigMixin, width: int) -> str:
    """Draws the table of a video in both themes; the page's style sheet shows the one that matches its theme.

    Args:
        table: A table with faces.
        config: Configuration of the model that made it.
        width: Width of the figure in CSS pixels.
    """
    inches = min(max(width, MIN_WIDTH), MAX_WIDTH) / PIXELS_PER_INCH
    faces = table["face_id"].dropna().nunique()
    alt = (
        f"Timeline: the probability of each of {len(config.au_labels)} Action Units over the video, for "
        f"{faces} face{'s' * (faces != 1)}. The table below has the same numbers."
    )
    images = []
    for theme in ("light", "dark"):
        figure = draw_timeline(
            table,
            thresholds=config.au_thresholds,
            experimental=config.experimental_labels or (),
            width=inches,
            theme=theme,
        )
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", transparent=True)
        data = base64.b64encode(svg.getvalue()).decode()
        images.append(f'<img class="hiva-{theme}" src="data:image/svg+xml;base64,{data}" alt="{alt}">')
    return f'<h3>Timeline</h3><figure class="hiva-figure hiva-timeline">{"".join(images)}</figure>'
