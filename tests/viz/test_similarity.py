"""The similarity matrix is the one given, or that of a model's descriptions."""

import numpy as np
import pytest
import torch

from hiva_hf.viz import draw_similarity


LABELS = ["AU1", "AU4", "AU12", "AU25"]


def shown(figure) -> np.ndarray:
    return np.asarray(figure.axes[0].get_images()[0].get_array())


def test_a_matrix_is_drawn_as_it_is_with_its_mean():
    matrix = np.full((4, 4), 0.25)
    np.fill_diagonal(matrix, 1)
    figure = draw_similarity(matrix, LABELS, title="HiVA")
    np.testing.assert_array_equal(shown(figure), matrix)
    assert [text.get_text() for text in figure.texts] == ["HiVA: mean 0.25 without the diagonal"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == LABELS
    assert sorted({text.get_text() for text in figure.axes[0].texts}) == ["0.25", "1.00"]


def test_a_model_shows_how_alike_its_text_encoder_finds_descriptions(tiny_detector, tokenizer):
    before = tiny_detector.text_memory.clone()
    matrix = shown(draw_similarity(tiny_detector, tokenizer=tokenizer))
    np.testing.assert_allclose(np.diag(matrix), 1, rtol=1e-6)
    same = shown(draw_similarity(tiny_detector, tokenizer=tokenizer, descriptions=["raises the brows"] * 4))
    np.testing.assert_allclose(same, 1, rtol=1e-5)
    assert matrix.min() < 1 - 1e-4
    assert torch.equal(tiny_detector.text_memory, before)


def test_an_inference_checkpoint_shows_its_text_memory(tiny_detector, tokenizer):
    tiny_detector.drop_text_encoder()
    memory = torch.nn.functional.normalize(tiny_detector.text_memory[:, 0], dim=-1)
    np.testing.assert_allclose(shown(draw_similarity(tiny_detector)), (memory @ memory.T).numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="omit `tokenizer`"):
        draw_similarity(tiny_detector, tokenizer=tokenizer)


@pytest.mark.parametrize(("theme", "number", "width"), [("light", 4, 3.5), ("print", 12, 7.2), ("dark", 26, 3.5)])
def test_labels_are_legible(theme, number, width, check_texts):
    rows = np.random.default_rng(0).normal(size=(number, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = [f"AU{index}" for index in range(1, number + 1)]
    figure = draw_similarity(rows @ rows.T, labels, theme=theme, width=width)
    check_texts(figure, theme)
    assert len(figure.axes[0].texts) == (number**2 if number < 20 else 0)


def test_numbers_stand_out_from_their_cells(contrast_ratio):
    matrix = np.linspace(-1, 1, 16).reshape(4, 4)
    for theme in ("light", "dark", "print"):
        axes = draw_similarity(matrix, LABELS, theme=theme).axes[0]
        (image,) = axes.get_images()
        for text in axes.texts:
            column, row = text.get_position()
            assert contrast_ratio(text.get_color(), image.cmap(image.norm(matrix[row, column]))[:3]) >= 4


def test_wrong_matrices_are_refused():
    with pytest.raises(ValueError, match="`labels` is needed"):
        draw_similarity(np.eye(4))
    with pytest.raises(ValueError, match=r"4 x 4 AUs, at least 2, got \[3, 3\]"):
        draw_similarity(np.eye(3), LABELS)
    with pytest.raises(ValueError, match="between -1 and 1"):
        draw_similarity(3 * np.eye(4), LABELS)
    with pytest.raises(ValueError, match="for a model"):
        draw_similarity(np.eye(4), LABELS, descriptions=["a"] * 4)


def test_a_model_without_text_memory_is_refused():
    with pytest.raises(ValueError, match="A Linear has no descriptions"):
        draw_similarity(torch.nn.Linear(2, 2))
