from io import BytesIO

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from PIL import Image as PILImage
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional

from hiva_hf import HiVAImageProcessor
from hiva_hf.data import au_features, load_au_dataset
from hiva_hf.training.augmentation import (
    COLOR_JITTER,
    AugmentationParameters,
    AugmentedFaces,
    EvaluationFaces,
    FaceAugmentation,
    change_colors,
)
from hiva_hf.training.randomness import seed_of


SIZE, CROP_SIZE = 64, 56
UNCHANGED = (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0))


@pytest.fixture(scope="module")
def augmentation(image_processor):
    return FaceAugmentation(image_processor)


@pytest.fixture(scope="module")
def rows():
    return load_au_dataset("synthfacs", split="validation").select(range(0, 60, 5))


def augment(augmentation: FaceAugmentation, image: PILImage.Image, seed: int) -> torch.Tensor:
    return augmentation.apply([image], [augmentation.draw(seed)])[0]


def to_grey_levels(pixel_values: torch.Tensor, image_processor: HiVAImageProcessor) -> torch.Tensor:
    """Takes the normalization back: 0 to 255."""
    mean, std = torch.tensor(image_processor.image_mean), torch.tensor(image_processor.image_std)
    return 255 * (pixel_values * std.view(3, 1, 1) + mean.view(3, 1, 1))


def transform_with_torchvision(image: PILImage.Image, drawn: AugmentationParameters) -> torch.Tensor:
    """What was drawn, done by torchvision to PIL images; 0 to 255."""
    image = functional.resize(image, [SIZE, SIZE])
    image = functional.crop(image, drawn.top, drawn.left, CROP_SIZE, CROP_SIZE)
    if drawn.is_mirrored:
        image = functional.horizontal_flip(image)
    for name, factor in drawn.color_steps:
        image = getattr(functional, f"adjust_{name}")(image, factor)
    return functional.pil_to_tensor(image).float()


def load_all(faces: torch.utils.data.Dataset, **settings) -> dict[str, torch.Tensor]:
    batches = list(DataLoader(faces, **settings))
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_pictures_are_those_of_torchvision_on_pil_images(augmentation, image_processor, rows):
    differences = []
    for index, image in enumerate(rows["image"]):
        for seed in range(10 * index, 10 * index + 10):
            found = to_grey_levels(augment(augmentation, image, seed), image_processor)
            expected = transform_with_torchvision(image, augmentation.draw(seed))
            differences.append((found - expected).abs())
    differences = torch.stack(differences)
    assert differences.mean() < 0.1
    assert differences.mean(dim=(1, 2, 3)).max() < 1
    # A level in an early step is at most 1.4 * 1.4 levels in the end.
    assert differences.max() < 4


@pytest.mark.parametrize("factor", [0.6, 0.85, 1.0, 1.15, 1.4])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_colour_step_is_that_of_pil(name, factor):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = getattr(functional, f"adjust_{name}")(PILImage.fromarray(noise), factor)
    found = change_colors(torch.from_numpy(noise).permute(2, 0, 1).float().contiguous(), ((name, factor),))
    difference = (found - functional.pil_to_tensor(expected)).abs()
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_colour_steps_are_done_in_their_order():
    face = torch.randint(0, 256, (3, 30, 30)).float()
    steps = (("brightness", 1.4), ("contrast", 0.6))
    forward, backward = change_colors(face.clone(), steps), change_colors(face.clone(), steps[::-1])
    assert forward.max() < 255
    assert backward.max() == 255


def test_saturation_leaves_a_grey_picture_alone():
    grey = torch.arange(256.0).view(1, 16, 16).expand(3, -1, -1)
    for factor in (0.6, 0.77, 1.13, 1.4):
        assert torch.equal(change_colors(grey.clone(), (("saturation", factor),)), grey)


def test_an_unknown_colour_step_is_named():
    with pytest.raises(ValueError, match="'hue'.*expected 'brightness'"):
        change_colors(torch.zeros(3, 4, 4), (("hue", 0.1),))


def test_drawn_parameters_cover_their_ranges_evenly(augmentation):
    drawn = [augmentation.draw(seed) for seed in range(3000)]
    for name in ("brightness", "contrast", "saturation"):
        factors = np.array([dict(parameters.color_steps)[name] for parameters in drawn])
        shares, _ = np.histogram(factors, bins=8, range=(1 - COLOR_JITTER, 1 + COLOR_JITTER))
        assert shares.sum() == 3000
        assert shares.min() > 300
    for name in ("top", "left"):
        counts = np.bincount([getattr(parameters, name) for parameters in drawn])
        assert len(counts) == SIZE - CROP_SIZE + 1
        assert counts.min() > 250
    assert 0.45 < np.mean([parameters.is_mirrored for parameters in drawn]) < 0.55
    orders = {tuple(name for name, _ in parameters.color_steps) for parameters in drawn}
    assert len(orders) == 6


def test_what_is_drawn_for_one_sample_says_nothing_about_another(augmentation):
    drawn = [augmentation.draw(seed_of(42, 0, index)) for index in range(2000)]
    values = np.array([[p.top, p.left, p.is_mirrored, *(factor for _, factor in p.color_steps)] for p in drawn])
    correlations = np.corrcoef(np.hstack([values[:-1], values[1:]]), rowvar=False)
    assert np.abs(correlations - np.eye(12)).max() < 0.1


def test_the_crop_is_cut_out_where_it_was_drawn(augmentation, image_processor):
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    for top, left, is_mirrored in [(0, 0, False), (8, 3, False), (2, 8, True)]:
        drawn = AugmentationParameters(top, left, is_mirrored, UNCHANGED)
        found = augmentation.apply([PILImage.fromarray(pixels)], [drawn])[0]
        expected = pixels[top : top + CROP_SIZE, left : left + CROP_SIZE]
        expected = expected[:, ::-1] if is_mirrored else expected
        levels = to_grey_levels(found, image_processor).permute(1, 2, 0)
        assert np.allclose(levels, expected, atol=1e-2)


def test_training_resizes_as_inference_does(image_processor, augmentation, rows):
    centre = (SIZE - CROP_SIZE) // 2
    drawn = AugmentationParameters(centre, centre, False, UNCHANGED)
    found = augmentation.apply(rows["image"][:4], [drawn] * 4)
    expected = image_processor(rows["image"][:4], return_tensors="pt")["pixel_values"]
    assert torch.allclose(torch.stack(found), expected, atol=1e-5)


def test_training_resizes_by_the_filter_of_the_image_processor(rows):
    size, crop_size = {"height": SIZE, "width": SIZE}, {"height": SIZE, "width": SIZE}
    image_processor = HiVAImageProcessor(size=size, crop_size=crop_size, resample=PILImage.Resampling.BICUBIC)
    drawn = AugmentationParameters(0, 0, False, UNCHANGED)
    found = FaceAugmentation(image_processor).apply(rows["image"][:2], [drawn] * 2)
    expected = image_processor(rows["image"][:2], return_tensors="pt")["pixel_values"]
    assert torch.allclose(torch.stack(found), expected, atol=1e-5)


def test_a_crop_larger_than_the_picture_is_refused():
    image_processor = HiVAImageProcessor(size={"height": 64, "width": 56}, crop_size={"height": 56, "width": 60})
    with pytest.raises(ValueError, match=r"`crop_size` \(56, 60\) is larger than its `size` \(64, 56\)"):
        FaceAugmentation(image_processor)


def test_a_seed_gives_the_same_picture_whatever_ran_before(augmentation, rows):
    first = augment(augmentation, rows[0]["image"], 7)
    torch.rand(5)
    assert torch.equal(first, augment(augmentation, rows[0]["image"], 7))
    assert not torch.equal(first, augment(augmentation, rows[0]["image"], 8))


def test_augmentation_leaves_the_global_random_states_alone(augmentation, rows):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    augment(augmentation, rows[0]["image"], 7)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])


def test_the_picture_itself_is_left_alone(augmentation, rows):
    image = rows[0]["image"].resize((SIZE, SIZE))
    before = image.tobytes()
    augment(augmentation, image, 7)
    assert image.tobytes() == before


def test_epochs_differ_and_can_be_repeated(augmentation, rows):
    faces = AugmentedFaces(rows, augmentation, seed=0)
    first = faces[1]["pixel_values"]
    faces.set_epoch(1)
    second = faces[1]["pixel_values"]
    faces.set_epoch(0)
    assert not torch.equal(first, second)
    assert torch.equal(first, faces[1]["pixel_values"])


def test_runs_with_other_seeds_see_other_pictures(augmentation, rows):
    first, second = (AugmentedFaces(rows, augmentation, seed=seed)[1]["pixel_values"] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_the_same_picture_is_augmented_differently_in_each_row(augmentation, rows):
    faces = AugmentedFaces(rows.select([3, 3, 3]), augmentation, seed=0)
    pictures = [faces[index]["pixel_values"] for index in range(3)]
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[1], pictures[2])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_sample_is_the_same_in_any_batch_and_any_process(augmentation, rows, num_workers):
    faces = AugmentedFaces(rows, augmentation, seed=3)
    faces.set_epoch(2)
    alone = [faces[index] for index in range(len(rows))]
    loaded = load_all(faces, batch_size=5, num_workers=num_workers)
    assert torch.equal(loaded["pixel_values"], torch.stack([item["pixel_values"] for item in alone]))
    assert torch.equal(loaded["labels"], torch.stack([item["labels"] for item in alone]))


def test_a_sample_is_the_same_on_one_thread_and_on_two(rows):
    # Large enough that torch spreads it over threads.
    side = {"height": 250, "width": 250}
    faces = AugmentedFaces(rows, FaceAugmentation(HiVAImageProcessor(size=side, crop_size=side)), seed=0)
    num_threads, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(load_all(faces, batch_size=4)["pixel_values"])
    finally:
        torch.set_num_threads(num_threads)
    assert torch.equal(*results)


def test_items_have_the_size_that_the_network_reads(augmentation, rows):
    item = AugmentedFaces(rows, augmentation, seed=0)[0]
    assert item["pixel_values"].shape == (3, CROP_SIZE, CROP_SIZE)
    assert item["pixel_values"].dtype == torch.float32
    assert item["labels"].tolist() == rows[0]["labels"]


def encoded(image: PILImage.Image, file_format: str) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def test_pictures_of_any_kind_are_read(augmentation, image_processor, rows):
    face = rows[0]["image"]
    pictures = {
        "png": encoded(face, "PNG"),
        "grey jpeg": encoded(face.convert("L"), "JPEG"),
        "cmyk jpeg": encoded(face.convert("CMYK"), "JPEG"),
        "palette": encoded(face.quantize(64), "PNG"),
        "transparent": encoded(face.convert("RGBA"), "PNG"),
        "wide": encoded(face.resize((200, 90)), "JPEG"),
    }
    columns = {"image": [{"bytes": data, "path": None} for data in pictures.values()], "labels": [[1]] * 6}
    features = au_features(1)
    dataset = Dataset.from_dict(columns, features=Features({name: features[name] for name in columns}))
    drawn = load_all(AugmentedFaces(dataset, augmentation, seed=0), batch_size=6)["pixel_values"]
    seen = load_all(EvaluationFaces(dataset, image_processor), batch_size=6)["pixel_values"]
    assert drawn.shape == seen.shape == (6, 3, CROP_SIZE, CROP_SIZE)
    for index, image in enumerate(dataset["image"]):
        parameters = augmentation.draw(seed_of(0, 0, index))
        expected = transform_with_torchvision(image.convert("RGB"), parameters)
        assert (to_grey_levels(drawn[index], image_processor) - expected).abs().mean() < 1


def test_missing_labels_stay_marked(augmentation, rows):
    dataset = rows.select(range(1)).map(lambda row: {"labels": [-100, *row["labels"][1:]]})
    assert AugmentedFaces(dataset, augmentation, seed=0)[0]["labels"][0] == -100


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_prepares_faces_as_inference_does(image_processor, rows, num_workers):
    loaded = load_all(EvaluationFaces(rows, image_processor), batch_size=5, num_workers=num_workers)
    expected = [image_processor(image, return_tensors="pt")["pixel_values"][0] for image in rows["image"]]
    assert torch.equal(loaded["pixel_values"], torch.stack(expected))
    assert loaded["labels"].tolist() == [list(map(float, labels)) for labels in rows["labels"]]
    assert torch.equal(EvaluationFaces(rows, image_processor)[2]["pixel_values"], expected[2])


def test_training_sees_colours_on_the_scale_of_inference(image_processor, augmentation):
    # A flat grey picture: the jitter moves it, the normalization must not differ.
    grey = PILImage.fromarray(np.full((160, 160, 3), 124, np.uint8))
    expected = image_processor(grey, return_tensors="pt")["pixel_values"][0].mean().item()
    seen = [augment(augmentation, grey, seed).mean().item() for seed in range(40)]
    assert np.mean(seen) == pytest.approx(expected, abs=0.25)
