"""Faces become the tensors that the paper's networks see, by either backend."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from transformers import AutoImageProcessor

from hiva_hf import HiVAImageProcessor, HiVAImageProcessorPil


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BACKENDS = [HiVAImageProcessor, HiVAImageProcessorPil]


def make_face(size: tuple[int, int] = (256, 256)) -> Image.Image:
    """Noise of low frequency: resizing and rounding leave it nearly alone."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("backend", BACKENDS)
def test_face_is_resized_cropped_and_normalized_as_the_paper_evaluates(backend):
    face = make_face((300, 200))
    pixel_values = backend()(face, return_tensors="pt")["pixel_values"]
    assert pixel_values.shape == (1, 3, 224, 224)
    assert pixel_values.dtype == torch.float32
    expected = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize((256, 256), interpolation=InterpolationMode.BILINEAR, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )(face)
    # Backends may round a grey level differently: 1/255 over the smallest standard deviation.
    torch.testing.assert_close(pixel_values[0], expected, atol=1.1 / 255 / min(IMAGENET_STD), rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_face_of_the_trained_size_is_only_cropped(backend):
    face = make_face((256, 256))
    pixel_values = backend()(face, return_tensors="pt")["pixel_values"][0]
    crop = np.asarray(face, dtype=np.float32)[16:240, 16:240] / 255
    expected = (torch.from_numpy(crop) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(pixel_values, expected.permute(2, 0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("image_size, resized", [(14, 16), (112, 128), (384, 439)])
def test_networks_of_any_image_size_see_the_same_part_of_a_face(image_size, resized):
    processor = HiVAImageProcessor.for_image_size(image_size)
    assert (processor.size["height"], processor.size["width"]) == (resized, resized)
    pixel_values = processor(make_face((300, 200)), return_tensors="pt")["pixel_values"]
    assert pixel_values.shape == (1, 3, image_size, image_size)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_of_any_colour_mode_become_rgb(backend, mode):
    face = make_face().convert(mode)
    pixel_values = backend()(face, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixel_values, backend()(face.convert("RGB"), return_tensors="pt")["pixel_values"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_of_different_sizes_equals_single_pictures(backend):
    faces = [make_face(size) for size in ((256, 256), (97, 301), (640, 480))]
    processor = backend()
    batch = processor(faces, return_tensors="pt")["pixel_values"]
    alone = torch.cat([processor(face, return_tensors="pt")["pixel_values"] for face in faces])
    assert torch.equal(batch, alone)


def test_saved_processor_loads_with_either_backend(tiny_model_dir):
    for backend, expected in (("torchvision", HiVAImageProcessor), ("pil", HiVAImageProcessorPil)):
        processor = AutoImageProcessor.from_pretrained(tiny_model_dir, backend=backend)
        assert type(processor) is expected
        assert processor.crop_size["height"] == 56
        assert processor(make_face(), return_tensors="pt")["pixel_values"].shape == (1, 3, 56, 56)


@pytest.mark.slow
def test_pil_backend_gives_the_same_without_torchvision(tiny_model_dir, tmp_path):
    """As transformers tests it for its own models: in a process where torchvision cannot be imported."""
    script = """
import json, sys
sys.modules["torchvision"] = None
from PIL import Image
from transformers import AutoImageProcessor
import hiva_hf
processor = AutoImageProcessor.from_pretrained(sys.argv[1], backend="pil")
pixel_values = processor(Image.open(sys.argv[2]), return_tensors="pt")["pixel_values"]
json.dump([type(processor).__name__, pixel_values.tolist()], sys.stdout)
"""
    make_face().save(tmp_path / "face.png")
    finished = subprocess.run(
        [sys.executable, "-c", script, tiny_model_dir, tmp_path / "face.png"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    name, pixel_values = json.loads(finished.stdout.splitlines()[-1])
    assert name == "HiVAImageProcessorPil"
    expected = HiVAImageProcessorPil.from_pretrained(tiny_model_dir)(make_face(), return_tensors="pt")["pixel_values"]
    assert pixel_values == expected.tolist()
