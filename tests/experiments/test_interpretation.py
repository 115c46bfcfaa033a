"""What the figures show is what the network computes."""

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel

from hiva_hf.data import load_au_dataset
from hiva_hf.experiments.interpretation import (
    FaceReadings,
    choose_example_faces,
    graph_statistics,
    pictures_of,
    read_description_similarities,
    read_faces,
)
from hiva_hf.modeling_hiva import adjacency
from hiva_hf.viz.similarity import off_diagonal


@pytest.fixture(scope="module")
def faces():
    """Ten faces with labels of the tiny model's AUs."""
    return load_au_dataset("synthfacs", fold=1, split="test", aus=[1, 4, 12, 25]).select(range(0, 400, 40))


@pytest.fixture(scope="module")
def readings(tiny_model_dir, faces) -> FaceReadings:
    return read_faces(tiny_model_dir, faces)


def readings_of(graphs, labels) -> FaceReadings:
    """Readings with nothing but graphs and labels."""
    labels = np.array(labels)
    names = tuple(f"AU{index}" for index in range(labels.shape[1]))
    return FaceReadings(names, labels, np.zeros(labels.shape), np.array(graphs, dtype=bool), None, None)


def test_readings_are_the_network_s(readings, tiny_model_dir, faces):
    model = AutoModel.from_pretrained(tiny_model_dir)
    pixels = AutoImageProcessor.from_pretrained(tiny_model_dir)(faces["image"][:], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        output = model(pixels, output_attentions=True)
        graphs = adjacency(model.vision_model(pixels)[1].mean(dim=2), model.config.num_neighbors)
    np.testing.assert_allclose(readings.probabilities, output.logits.sigmoid().numpy(), atol=1e-6)
    np.testing.assert_allclose(readings.ddca_maps.reshape(10, 4, 16), output.ddca_attentions.numpy(), atol=1e-6)
    np.testing.assert_allclose(readings.cdca_maps.reshape(10, 4, 16), output.cdca_attentions.numpy(), atol=1e-6)
    assert (readings.graphs == (graphs.bool() & ~torch.eye(4, dtype=torch.bool)).numpy()).all()
    assert readings.labels.tolist() == faces["labels"][:]


def test_maps_are_square_and_sum_to_one(readings):
    assert readings.ddca_maps.shape == (10, 4, 4, 4)
    np.testing.assert_allclose(readings.ddca_maps.sum(axis=(2, 3)), 1, atol=1e-5)


def test_out_degree_is_k_without_the_au_itself(readings):
    assert (readings.graphs.sum(axis=2) == 2 - 1).all()


def test_graph_statistics_of_a_graph_by_hand():
    """0 <-> 1, 2 -> 0: AU 0 is present with two incoming connections, AUs 1 and 2 are absent with one and none."""
    graph = [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    statistics = graph_statistics(readings_of([graph], [[1, 0, 0]]))
    assert (statistics.active_in_degree, statistics.inactive_in_degree) == (2.0, 0.5)
    assert statistics.reciprocity == pytest.approx(2 / 3)
    unknown = graph_statistics(readings_of([graph], [[1, 0, -100]]))
    assert unknown.inactive_in_degree == 1.0


def test_similarities_are_read_in_the_order_of_training(tmp_path):
    folder = tmp_path / "description_embeddings"
    folder.mkdir()
    for epoch, angle in ((2, 0.0), (10, np.pi / 2), (0, np.pi / 3)):
        rows = [[3.0, 0.0], [2 * np.cos(angle), 2 * np.sin(angle)]]
        np.save(folder / f"epoch-{epoch:03d}.npy", np.array(rows, dtype=np.float32))
    similarities = read_description_similarities(tmp_path)
    assert list(similarities) == ["before training", "epoch 2", "epoch 10"]
    np.testing.assert_allclose(similarities["before training"], [[1, 0.5], [0.5, 1]], atol=1e-6)
    assert [off_diagonal(matrix).mean() for matrix in similarities.values()] == pytest.approx([0.5, 1, 0], abs=1e-6)
    with pytest.raises(FileNotFoundError, match="holds no description embeddings"):
        read_description_similarities(tmp_path / "none")


def test_example_faces_are_of_different_subjects_and_chosen_by_labels_alone():
    faces = load_au_dataset("synthfacs", fold=1, split="test")
    rows = choose_example_faces(faces, 5)
    chosen = faces.select(rows)
    assert len(set(chosen["subject"])) == 5
    active = np.array(faces["labels"]).sum(axis=1)
    for row, subject in zip(rows, chosen["subject"], strict=True):
        assert active[row] == max(active[[index for index, name in enumerate(faces["subject"]) if name == subject]])
    assert rows == choose_example_faces(faces, 5)
    with pytest.raises(ValueError, match="at least 19 active AUs are needed, but there are 0 among 1280 faces"):
        choose_example_faces(faces, 1, min_active=19)


def test_pictures_show_the_crop_that_the_network_reads(tiny_model_dir, faces):
    pictures = pictures_of(tiny_model_dir, faces.select([0]))
    processor = AutoImageProcessor.from_pretrained(tiny_model_dir)
    pixels = processor(faces[0]["image"], return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    shown = np.asarray(pictures[0]) / 255
    expected = pixels * np.array(processor.image_std) + np.array(processor.image_mean)
    assert shown.shape == (56, 56, 3)
    assert np.abs(shown - expected).max() < 0.01
