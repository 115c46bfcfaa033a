"""Small real models: a few thousand parameters, the real classes, the real tokenizer."""

import os


# Before torch and huggingface_hub are imported: no spinning threads, no waiting for a Hub that is not there.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, BertConfig, Dinov2Config

from hiva_hf import HiVAConfig, HiVAForAUDetection, HiVAImageProcessor
from hiva_hf.training.towers import packaged_text_tower


IMAGE_SIZE = 56
AU_LABELS = ("AU1", "AU4", "AU12", "AU25")


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer():
    return AutoTokenizer.from_pretrained(packaged_text_tower())


def make_tiny_config(**overrides) -> HiVAConfig:
    """A HiVA over 4 AUs on a 2-layer DINOv2 at 56 px (16 tokens) and a 4-layer BERT."""
    settings = {
        "backbone_config": Dinov2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE_SIZE, use_mask_token=False
        ),
        "text_config": BertConfig(
            hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, vocab_size=30522
        ),
        "image_size": IMAGE_SIZE,
        "hidden_size": 24,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "num_neighbors": 2,
        "id2label": dict(enumerate(AU_LABELS)),
    }
    return HiVAConfig(**(settings | overrides))


@pytest.fixture
def make_config():
    """[`make_tiny_config`] for tests, which can't import from here."""
    return make_tiny_config


@pytest.fixture
def tiny_config() -> HiVAConfig:
    return make_tiny_config()


@pytest.fixture
def tiny_detector(tiny_config, tokenizer) -> HiVAForAUDetection:
    """A detector in evaluation mode with text encoder and filled text memory."""
    model = HiVAForAUDetection(tiny_config).eval()
    model.encode_descriptions(tokenizer)
    return model


@pytest.fixture
def faces() -> torch.Tensor:
    """Three random pictures `[3, 3, 56, 56]`."""
    return torch.randn(3, 3, IMAGE_SIZE, IMAGE_SIZE)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory, tokenizer) -> Path:
    """A saved inference checkpoint: model without text side, and image processor."""
    folder = tmp_path_factory.mktemp("tiny-hiva")
    torch.manual_seed(0)
    model = HiVAForAUDetection(make_tiny_config())
    model.encode_descriptions(tokenizer)
    model.drop_text_encoder()
    model.save_pretrained(folder)
    processor = HiVAImageProcessor(
        size={"height": 64, "width": 64}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A real photo with one face, at about (182, 59, 270, 177)."""
    from skimage import data

    return Image.fromarray(data.astronaut())
