"""The strong training transform: repeatable, and never blind."""

import pytest
import torch
from PIL import Image

from hiva_hf.data import load_au_dataset
from hiva_hf.training.augmentation import AugmentedFaces
from hiva_hf.training.strong_augmentation import StrongFaceAugmentation


@pytest.fixture(scope="module")
def augmentation(image_processor) -> StrongFaceAugmentation:
    return StrongFaceAugmentation(image_processor)


@pytest.fixture(scope="module")
def faces():
    return load_au_dataset("synthfacs", fold=1, split="validation").select(range(12))


def augment(augmentation: StrongFaceAugmentation, image: Image.Image, seed: int) -> torch.Tensor:
    return augmentation.apply([image], [augmentation.draw(seed)])[0]


def test_the_same_seed_gives_the_same_face_whatever_ran_before(augmentation, faces):
    image = faces[0]["image"]
    first = augment(augmentation, image, 7)
    torch.rand(5)
    assert torch.equal(augment(augmentation, image, 7), first)
    assert not torch.equal(augment(augmentation, image, 8), first)
    # Python's hashes, which seeds are, may be negative.
    assert torch.equal(augment(augmentation, image, -3), augment(augmentation, image, -3))


def test_the_networks_own_random_numbers_are_left_alone(augmentation, faces):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    augment(augmentation, faces[0]["image"], 1)
    assert torch.equal(torch.rand(4), expected)


def test_faces_are_changed_but_stay_the_networks_input(augmentation, image_processor, faces):
    plain = image_processor(faces[0]["image"], return_tensors="pt")["pixel_values"][0]
    drawn = torch.stack([augment(augmentation, faces[0]["image"], seed) for seed in range(40)])
    assert drawn.shape == (40, *plain.shape)
    assert drawn.isfinite().all()
    assert (drawn - plain).abs().mean(dim=(1, 2, 3)).min() > 0.01
    # Each still resembles the face, up to colours and a covered part: more often than not, strongly.
    grey, own = drawn.mean(dim=1).flatten(1), plain.mean(dim=0).flatten()
    mirrored = plain.flip(-1).mean(dim=0).flatten()
    likeness = torch.stack(
        [max(torch.corrcoef(torch.stack([face, other]))[0, 1] for other in (own, mirrored)) for face in grey]
    )
    assert likeness.median() > 0.5


@pytest.mark.parametrize("mode", ["L", "RGBA", "RGB"])
def test_pictures_of_any_size_and_mode_are_read(augmentation, mode):
    assert augment(augmentation, Image.new(mode, (90, 70)), 0).shape == (3, 56, 56)


def test_a_data_set_draws_anew_in_every_epoch(augmentation, faces):
    dataset = AugmentedFaces(faces, augmentation, seed=0)
    first = dataset[3]["pixel_values"]
    assert torch.equal(dataset.__getitems__([0, 3])[1]["pixel_values"], first)
    dataset.set_epoch(1)
    assert not torch.equal(dataset[3]["pixel_values"], first)
