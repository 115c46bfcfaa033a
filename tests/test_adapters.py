"""PEFT's adapters and torchao's quantization on both networks."""

import shutil

import pytest
import torch
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig
from transformers import AutoImageProcessor, AutoModel, TorchAoConfig, pipeline

import hiva_hf


peft = pytest.importorskip("peft")


@pytest.fixture(params=["hiva", "vl_fau"])
def detector_dir(request, tiny_model_dir, tiny_vl_fau_dir, tmp_path):
    """One of both networks, with weights that matter for its scores."""
    folder = shutil.copytree(tiny_model_dir if request.param == "hiva" else tiny_vl_fau_dir, tmp_path / "detector")
    model = load(folder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return folder


def load(folder):
    return AutoModel.from_pretrained(folder).eval()


def with_adapter(model, **settings) -> nn.Module:
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, **settings)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return adapted


TARGETS = [
    pytest.param({"target_modules": "all-linear"}, id="linear layers"),
    pytest.param({"target_modules": ["stem", "branches"]}, id="convolutions"),
    pytest.param({"target_modules": ["projection"]}, id="projections"),
]


@pytest.mark.parametrize("settings", TARGETS)
def test_an_adapter_is_saved_loaded_and_merged(detector_dir, faces, tmp_path, settings):
    plain = load(detector_dir)(faces).logits
    model = with_adapter(load(detector_dir), **settings)
    expected = model(pixel_values=faces).logits
    assert (expected - plain).abs().max() > 1e-3
    model.save_pretrained(tmp_path / "adapted")
    loaded = peft.PeftModel.from_pretrained(load(detector_dir), tmp_path / "adapted").eval()
    torch.testing.assert_close(loaded(pixel_values=faces).logits, expected)
    merged = loaded.merge_and_unload()
    torch.testing.assert_close(merged(pixel_values=faces).logits, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(merged.fuse()(pixel_values=faces).logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", TARGETS)
def test_a_model_with_an_adapter_is_fused_with_it_or_not_at_all(detector_dir, faces, settings):
    model = with_adapter(load(detector_dir), **settings)
    with torch.no_grad():
        expected = model(pixel_values=faces).logits
        if settings["target_modules"] == "all-linear":
            torch.testing.assert_close(model.base_model.model.fuse()(faces).logits, expected, atol=1e-4, rtol=1e-4)
            return
    with pytest.raises(ValueError, match="adapters on layers to be folded"):
        model.base_model.model.fuse()
    assert not model.base_model.model.is_fused


def test_detect_finds_what_an_adapted_pipeline_finds(detector_dir, astronaut, tmp_path, caplog):
    folder, photo = tmp_path / "adapted", tmp_path / "photo.png"
    with_adapter(load(detector_dir), target_modules=["stem", "branches"]).save_pretrained(folder)
    AutoImageProcessor.from_pretrained(detector_dir).save_pretrained(folder)
    astronaut.save(photo)
    ((face,),) = pipeline("au-detection", model=str(folder))([str(photo)])
    found = hiva_hf.detect([photo], folder, progress=False)
    assert "has adapters" in caplog.text
    for au in face["aus"]:
        assert found[f"AU{int(au['label'][2:]):02d}"].item() == pytest.approx(au["score"], abs=1e-4)


def test_int8_weights_of_torchao(detector_dir, faces):
    plain = load(detector_dir)
    quantized = (
        type(plain).from_pretrained(detector_dir, quantization_config=TorchAoConfig(Int8WeightOnlyConfig())).eval()
    )
    assert any(type(part.weight) is not nn.Parameter for part in quantized.modules() if isinstance(part, nn.Linear))
    with torch.no_grad():
        expected = plain(faces).logits
        torch.testing.assert_close(quantized(faces).logits, expected, atol=0.02, rtol=0.02)
        torch.testing.assert_close(quantized.fuse()(faces).logits, expected, atol=0.02, rtol=0.02)
