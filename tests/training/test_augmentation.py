import numpy as np
import pytest
import torch
from PIL import Image

from hiva_hf import HiVAImageProcessor
from hiva_hf.data import load_au_dataset
from hiva_hf.training.augmentation import AugmentedFaces, EvaluationFaces, FaceAugmentation


@pytest.fixture(scope="module")
def image_processor():
    return HiVAImageProcessor(size={"height": 64, "width": 64}, crop_size={"height": 56, "width": 56})


@pytest.fixture(scope="module")
def rows():
    return load_au_dataset("synthfacs", split="validation").select(range(4))


def test_a_seed_gives_the_same_picture_whatever_ran_before(image_processor, rows):
    augmentation = FaceAugmentation(image_processor)
    first = augmentation(rows[0]["image"], seed=7)
    torch.rand(5)
    assert torch.equal(first, augmentation(rows[0]["image"], seed=7))
    assert not torch.equal(first, augmentation(rows[0]["image"], seed=8))


def test_augmentation_leaves_the_global_random_state_alone(image_processor, rows):
    state = torch.get_rng_state()
    FaceAugmentation(image_processor)(rows[0]["image"], seed=7)
    assert torch.equal(state, torch.get_rng_state())


def test_epochs_differ_and_can_be_repeated(image_processor, rows):
    faces = AugmentedFaces(rows, FaceAugmentation(image_processor), seed=0)
    first = faces[1]["pixel_values"]
    faces.set_epoch(1)
    second = faces[1]["pixel_values"]
    faces.set_epoch(0)
    assert not torch.equal(first, second)
    assert torch.equal(first, faces[1]["pixel_values"])


def test_items_have_the_size_that_the_network_reads(image_processor, rows):
    item = AugmentedFaces(rows, FaceAugmentation(image_processor), seed=0)[0]
    assert item["pixel_values"].shape == (3, 56, 56)
    assert item["labels"].tolist() == rows[0]["labels"]


def test_evaluation_prepares_faces_as_inference_does(image_processor, rows):
    item = EvaluationFaces(rows, image_processor)[2]
    expected = image_processor(rows[2]["image"], return_tensors="pt")["pixel_values"][0]
    assert torch.equal(item["pixel_values"], expected)


def test_training_sees_colours_on_the_scale_of_inference(image_processor):
    # A flat grey picture: the jitter moves it, the normalization must not differ.
    grey = Image.fromarray(np.full((160, 160, 3), 124, np.uint8))
    expected = image_processor(grey, return_tensors="pt")["pixel_values"][0].mean().item()
    seen = [FaceAugmentation(image_processor)(grey, seed=seed).mean().item() for seed in range(40)]
    assert np.mean(seen) == pytest.approx(expected, abs=0.25)
