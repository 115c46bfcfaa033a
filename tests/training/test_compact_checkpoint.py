"""Half the bytes, the same detector up to the rounding of its weights."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, pipeline

from hiva_hf.training.compact_checkpoint import save_compact_checkpoint


@pytest.fixture(scope="module")
def original(tiny_model_dir):
    return AutoModel.from_pretrained(tiny_model_dir)


@pytest.fixture(scope="module")
def compact(original, image_processor, tmp_path_factory):
    return save_compact_checkpoint(original, image_processor, tmp_path_factory.mktemp("compact"))


def test_weights_are_stored_in_half_precision(compact, tiny_model_dir):
    stored = load_file(compact / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float16}
    assert stored.keys() == load_file(tiny_model_dir / "model.safetensors").keys()
    assert json.loads((compact / "config.json").read_text())["dtype"] == "float32"
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (compact, tiny_model_dir)]
    assert sizes[0] < 0.6 * sizes[1]


def test_it_is_computed_in_float32_with_weights_that_are_equal_up_to_rounding(compact, original):
    loaded = AutoModel.from_pretrained(compact)
    expected = original.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == expected[name].dtype, name
        torch.testing.assert_close(tensor, expected[name], rtol=2**-11, atol=2**-24)
        # And no closer: it is the stored number, not the original.
        assert torch.equal(tensor, expected[name].half().to(tensor.dtype)), name


def test_the_pipeline_computes_it_in_float32_unless_told_otherwise(compact, tiny_model_dir, astronaut):
    detector = pipeline("au-detection", model=str(compact))
    assert {tensor.dtype for tensor in detector.model.parameters()} == {torch.float32}
    scores = [
        [au["score"] for au in each(astronaut)[0]["aus"]]
        for each in (detector, pipeline("au-detection", model=str(tiny_model_dir)))
    ]
    np.testing.assert_allclose(*scores, atol=0.005)
    half = pipeline("au-detection", model=str(compact), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16


def test_the_model_stays_in_float32(compact, original):
    assert {tensor.dtype for tensor in original.parameters()} == {torch.float32}


def test_other_files_of_the_folder_stay(original, image_processor, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    save_compact_checkpoint(original, image_processor, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_weights_beyond_half_precision_are_refused(tiny_model_dir, image_processor, tmp_path):
    model = AutoModel.from_pretrained(tiny_model_dir)
    model.classifier.bias.data.fill_(1e6)
    with pytest.raises(ValueError, match=r"classifier\.bias.*65504"):
        save_compact_checkpoint(model, image_processor, tmp_path / "compact")
    assert not (tmp_path / "compact").exists()


def test_a_model_that_is_rounded_already_is_refused(tiny_model_dir, image_processor, tmp_path):
    model = AutoModel.from_pretrained(tiny_model_dir, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="in torch.bfloat16"):
        save_compact_checkpoint(model, image_processor, tmp_path)
