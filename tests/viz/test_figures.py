"""Figures 4 to 7 show the numbers that they are given, without relying on colour, as PNG and SVG."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from hiva_hf.viz.figures import (
    AttentionExample,
    GraphExample,
    draw_attention_examples,
    draw_description_similarities,
    draw_gains,
    draw_graph_examples,
    save_figure,
)


AU_LABELS = ("AU1", "AU4", "AU12", "AU25")


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.fixture
def gains():
    values = np.array([1.0, -2.0, 3.0, 0.5])
    return draw_gains(
        AU_LABELS,
        values,
        np.stack([values - 1, values + 1], axis=1),
        np.array([0.3, 0.1, 0.2, 0.4]),
        "BP4D: HiVA over baseline, ours",
        -0.4,
        published_gains=np.array([5.0, 6.0, 7.0, 8.0]),
    )


@pytest.fixture
def graphs():
    graph = np.zeros((4, 4), dtype=bool)
    graph[0, 1] = graph[1, 0] = graph[2, 0] = graph[3, 0] = True
    example = GraphExample(graph, np.array([1, 0, 1, -100]), np.array([True, True, False, True]))
    faces = [Image.new("RGB", (56, 56), "gray")] * 2
    methods = {"Baseline": [example] * 2, "HiVA": [example] * 2}
    return draw_graph_examples(faces, methods, AU_LABELS, {"Baseline": "note 1", "HiVA": "note 2"}, "BP4D, ours")


def test_a_figure_is_saved_as_png_and_as_svg(gains, tmp_path):
    png, svg = save_figure(gains, tmp_path / "new" / "figure4")
    with Image.open(png) as picture:
        assert picture.width > 1200
        assert np.asarray(picture.convert("L")).std() > 20
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_gains_stand_in_the_order_of_rarity(gains):
    (axes,) = gains.axes
    assert [bar.get_height() for bar in axes.patches] == [-2.0, 3.0, 1.0, 0.5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["AU4\n10%", "AU12\n20%", "AU1\n30%", "AU25\n40%"]
    assert "Spearman's rho with the rate: -0.40" in axes.get_title(loc="left")


def test_losses_are_hatched_and_not_only_of_another_colour(gains):
    assert [bar.get_hatch() for bar in gains.axes[0].patches] == ["////", "", "", ""]


def test_published_gains_are_labelled_as_published(gains):
    (axes,) = gains.axes
    (points,) = (collection for collection in axes.collections if collection.get_label() == "published")
    assert points.get_offsets()[:, 1].tolist() == [6.0, 7.0, 5.0, 8.0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[0].startswith("published") or labels[1].startswith("published")
    assert any(label.startswith("ours") for label in labels)


def test_an_undefined_correlation_is_called_so():
    flat = draw_gains(AU_LABELS, np.zeros(4), np.zeros((4, 2)), np.full(4, 0.2), "T", float("nan"))
    assert flat.axes[0].get_title(loc="left").endswith("undefined")


def test_gains_without_intervals_are_drawn_and_called_so(tmp_path):
    figure = draw_gains(AU_LABELS, np.ones(4), np.full((4, 2), np.nan), np.full(4, 0.2), "T", 0.1)
    (legend,) = figure.axes[0].get_legend().get_texts()
    assert legend.get_text().endswith("no interval")
    assert all(path.stat().st_size for path in save_figure(figure, tmp_path / "gains"))


def test_similarities_are_shown_on_one_scale_with_their_mean_beside_them():
    near, far = np.full((4, 4), 0.9), np.full((4, 4), 0.2)
    for matrix in (near, far):
        np.fill_diagonal(matrix, 1)
    figure = draw_description_similarities(
        {"w/o L_diff": {"before training": near, "epoch 1": near}, "HiVA": {"epoch 1": far}}, AU_LABELS, "T"
    )
    shown = {axes.get_title(): axes.get_images()[0] for axes in figure.axes if axes.get_title()}
    assert list(shown) == ["before training\nmean 0.9000", "epoch 1\nmean 0.9000", "epoch 1\nmean 0.2000"]
    assert {image.get_clim() for image in shown.values()} == {(0.2, 1.0)}
    np.testing.assert_array_equal(shown["epoch 1\nmean 0.2000"].get_array(), far)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()][:2] == ["w/o L_diff", "HiVA"]


def test_attention_is_a_multiple_of_even_attention_on_one_scale():
    even = np.full((3, 4, 4), 1 / 16)
    focused = np.zeros((3, 4, 4))
    focused[:, 1, 2] = 1
    face = Image.new("RGB", (56, 56), "gray")
    examples = [
        AttentionExample(face, name, ("AU1", "AU4", "AU12"), maps, maps[0])
        for name, maps in (("S1", even), ("S2", focused))
    ]
    figure = draw_attention_examples(examples, "T")
    heats = [axes.get_images()[1] for axes in figure.axes if len(axes.get_images()) == 2]
    assert len(heats) == 8
    assert heats[0].get_array().max() == pytest.approx(1)
    assert {heat.get_clim() for heat in heats} == {(0.0, 16.0)}
    assert [axes.get_title() for axes in figure.axes][:5] == ["S1", "AU1", "AU4", "AU12", "CDCA, mean of these"]


def test_graphs_show_mutual_edges_present_aus_and_mistakes(graphs):
    drawn = [axes for axes in graphs.axes if axes.texts]
    assert len(drawn) == 4
    arrows = [patch for patch in drawn[0].patches if isinstance(patch, FancyArrowPatch)]
    # AUs 0 and 1 are joined once, by a thick line.
    assert len(arrows) == 3
    assert sum(arrow.get_linewidth() >= 1.4 for arrow in arrows) == 1
    # 1 is present and found, 4 found in vain, 12 missed, 25 unknown, which can't be wrong.
    assert texts(drawn[0]) == ["1", "4\N{MULTIPLICATION SIGN}", "12\N{MULTIPLICATION SIGN}", "25"]
    assert [text.get_fontweight() for text in drawn[0].texts] == ["bold", "normal", "bold", "normal"]
    (nodes,) = drawn[0].collections
    sizes = nodes.get_sizes()
    # Three AUs are connected to AU 0, one to AU 1, none to the others.
    assert sizes[0] > sizes[1] > sizes[2] == sizes[3]


def test_every_row_of_graphs_has_its_method_s_heading(graphs):
    headings = [figure.get_suptitle() for figure in graphs.subfigs]
    assert headings[1:3] == ["Baseline: note 1", "HiVA: note 2"]
    assert graphs.get_suptitle() == "BP4D, ours"
