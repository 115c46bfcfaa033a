"""The AU graph shows the connections that the model chose and which AUs are active."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch
from transformers import pipeline

import hiva_hf  # noqa: F401  (registers the task)
from hiva_hf.facs import ACTION_UNITS
from hiva_hf.modeling_hiva import adjacency
from hiva_hf.viz import draw_au_graph
from hiva_hf.viz.style import THEMES


LABELS = ["AU1", "AU4", "AU12", "AU25"]


def arrows(figure) -> list[FancyArrowPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]


def test_a_connection_is_drawn_once_and_the_diagonal_never():
    graph = np.eye(4)
    graph[0, 1] = graph[1, 0] = graph[2, 0] = 1
    figure = draw_au_graph(graph, LABELS)
    heads = sorted(type(arrow.get_arrowstyle()).__name__ for arrow in arrows(figure))
    assert heads == ["Curve", "CurveFilledB"]


def test_features_give_the_graph_of_the_model():
    features = torch.randn(20, 16)
    labels = [unit.label for unit in list(ACTION_UNITS.values())[:20]]
    graph = adjacency(features[None], 4)[0]
    from_features = draw_au_graph(features, labels, num_neighbors=4)
    from_graph = draw_au_graph(graph[None], labels)
    assert len(arrows(from_features)) == len(arrows(from_graph)) > 30
    mutual = ((graph * graph.T).sum() - 20) / 2
    assert len(arrows(from_graph)) == 20 * 3 - mutual


def test_active_aus_are_filled_and_bold_and_so_are_their_connections():
    graph = np.zeros((4, 4))
    graph[0, 1] = graph[1, 2] = 1
    axes = draw_au_graph(graph, LABELS, active=["AU1", "AU4"], experimental=["AU4"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["AU1", "AU4\N{DAGGER}", "AU12", "AU25"]
    assert [text.get_fontweight() for text in axes.texts] == ["bold", "bold", "normal", "normal"]
    fills = [to_hex(color, keep_alpha=False) for color in axes.collections[0].get_facecolors()]
    assert fills == [THEMES["light"].active.lower()] * 2 + ["#ffffff"] * 2
    between, other = (arrow.get_linewidth() for arrow in arrows(axes.figure))
    assert between > other


def test_a_node_grows_with_those_that_listen_to_it():
    graph = np.zeros((4, 4))
    graph[1:, 0] = graph[0, 1] = 1
    sizes = draw_au_graph(graph, LABELS).axes[0].collections[0].get_sizes()
    assert sizes[0] > sizes[1] > sizes[2] == sizes[3]


def test_a_face_of_the_pipeline_brings_labels_and_activity_along(many_aus):
    face = {"aus": many_aus, "visual_features": np.random.default_rng(0).normal(size=(20, 8))}
    axes = draw_au_graph(face, num_neighbors=3).axes[0]
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["AU6", "AU10\N{DAGGER}", "AU12", "AU25"]
    with pytest.raises(ValueError, match="num_neighbors"):
        draw_au_graph(face)
    with pytest.raises(ValueError, match="return_features=True"):
        draw_au_graph({"aus": many_aus}, num_neighbors=3)


@pytest.mark.parametrize(("theme", "number"), [("light", 8), ("print", 12), ("dark", 20), ("light", 26)])
def test_the_graph_is_legible_from_8_to_26_aus(theme, number, check_texts):
    labels = [f"AU{index}" for index in range(1, number + 1)]
    features = np.random.default_rng(0).normal(size=(number, 16))
    figure = draw_au_graph(
        features, labels, labels[3:7], num_neighbors=4, experimental=labels[:2], theme=theme, title="T"
    )
    check_texts(figure, theme)
    (nodes,) = figure.axes[0].collections
    places = figure.axes[0].transData.transform(nodes.get_offsets())
    radii = np.sqrt(nodes.get_sizes()) / 2 * figure.dpi / 72
    distances = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(number)
    assert (distances > radii[:, None] + radii).all()
    for place, radius, text in zip(places, radii, figure.axes[0].texts, strict=True):
        box = text.get_window_extent()
        nearest = np.clip(place, (box.x0, box.y0), (box.x1, box.y1))
        assert np.linalg.norm(nearest - place) > radius


def test_wrong_graphs_are_refused():
    with pytest.raises(ValueError, match="pass `num_neighbors`"):
        draw_au_graph(np.full((4, 4), 0.5), LABELS)
    with pytest.raises(ValueError, match=r"4 AUs, got the shape \[3, 3\]"):
        draw_au_graph(np.eye(3), LABELS)
    with pytest.raises(ValueError, match=r"\['AU7'\]"):
        draw_au_graph(np.eye(4), LABELS, active=["AU7"])
    with pytest.raises(ValueError, match="between 1 and 4"):
        draw_au_graph(np.ones((4, 2)), LABELS, num_neighbors=5)


def test_the_graph_of_a_photo(tiny_model_dir, astronaut):
    detector = pipeline("au-detection", model=str(tiny_model_dir), return_features=True)
    (face,) = detector(astronaut)
    assert not np.array_equal(face["visual_features"], face["features"])
    figure = draw_au_graph(face, num_neighbors=detector.model.config.num_neighbors)
    assert [text.get_text() for text in figure.axes[0].texts] == LABELS
    assert len(arrows(figure)) >= 2
