"""A fused VL-FAU sees and writes the same, and nothing of it goes stale."""

import copy
import pickle

import pytest
import torch

from hiva_hf import VLFAUForAUDetection
from hiva_hf.inference.loading import load_detector


TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@torch.no_grad()
def make_model(config) -> VLFAUForAUDetection:
    """A detector whose every weight and statistic matters to what it returns."""
    model = VLFAUForAUDetection(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim < 4 or not name.startswith("vision_model.backbone."):
            parameter += 0.1 * torch.randn_like(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.2, 2)
    return model


@pytest.fixture
def config(make_vl_fau_config, vl_fau_backbones):
    return make_vl_fau_config(backbone_config=vl_fau_backbones["timm Swin"], image_size=224)


@pytest.fixture
def model(config):
    return make_model(config)


@pytest.fixture
def faces():
    return torch.randn(2, 3, 224, 224)


@torch.no_grad()
def look(model, faces):
    return model(faces.to(model.dtype), output_attentions=True)


def assert_outputs_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", ["timm Swin", "timm ViT", "Swin", "ConvNeXt", "SegFormer"])
def test_every_backbone_gives_the_same_outputs(make_vl_fau_config, vl_fau_backbones, faces, name):
    model = make_model(make_vl_fau_config(backbone_config=vl_fau_backbones[name], image_size=224))
    expected = look(model, faces)
    assert model.fuse() is model and model.is_fused
    assert (model.fused_detector.swin is not None) == (name == "timm Swin")
    assert_outputs_equal(look(model, faces), expected)
    # The comparison is worth something: faces differ by far more than is tolerated.
    assert expected.au_maps.std(dim=0).mean() > 100 * TOLERANCE["atol"]
    assert expected.logits.std(dim=0).max() > 10 * TOLERANCE["atol"]


@pytest.mark.parametrize("indices", [[0, 1, 2], [0, 2, 3]])
def test_other_stages(config, faces, indices):
    config.backbone_out_indices, config.variant = indices, "no_refinement"
    model = make_model(config)
    expected = look(model, faces)
    assert_outputs_equal(look(model.fuse(), faces), expected)


def test_the_same_is_written(model, faces):
    plain = model.generate(faces, max_new_tokens=6)
    assert len(plain.unique(dim=0)) > 1
    assert torch.equal(model.fuse().generate(faces, max_new_tokens=6), plain)


def test_checkpoints_are_the_plain_ones(model, faces, tmp_path):
    expected, state = look(model, faces), set(model.state_dict())
    model.fuse().save_pretrained(tmp_path)
    assert set(model.state_dict()) == state
    assert not list(model.fused_detector.parameters())
    loaded = VLFAUForAUDetection.from_pretrained(tmp_path)
    assert not loaded.is_fused
    assert_outputs_equal(look(loaded.fuse(), faces), expected)


def test_training_and_new_weights_run_the_plain_network(model, config, faces):
    model.fuse().train()
    assert not model.is_fused
    with pytest.raises(ValueError, match=r"Call `eval\(\)`"):
        model.fuse()
    other = make_model(config)
    model.eval().fuse().load_state_dict(other.state_dict())
    assert not model.is_fused
    assert_outputs_equal(look(model, faces), look(other, faces))


@pytest.mark.parametrize("fused_in_inference_mode", [False, True])
def test_gradients_reach_the_image(model, faces, fused_in_inference_mode):
    faces.requires_grad_()
    (expected,) = torch.autograd.grad(model(faces).logits.sum(), faces)
    with torch.inference_mode(fused_in_inference_mode):
        model.fuse()
    (gradient,) = torch.autograd.grad(model(faces).logits.sum(), faces)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-3)


def test_copies_and_pickles_stay_fused(model, faces):
    expected = look(model.fuse(), faces)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.is_fused
        assert_outputs_equal(look(twin, faces), expected)


def test_half_precision_is_as_good_as_without_folding(model, faces):
    expected = look(model, faces).au_features
    plain, fused = copy.deepcopy(model).bfloat16(), model.fuse().bfloat16()
    plain_error, error = ((look(twin, faces).au_features - expected).abs().mean() for twin in (plain, fused))
    assert error < 1.5 * plain_error


def test_wrong_images_are_refused_as_ever(model):
    with pytest.raises(ValueError, match="image processor"):
        model.fuse()(torch.randn(1, 3, 48, 48))


def test_what_reads_tables_of_faces_runs_it_fused(tiny_vl_fau_dir):
    assert load_detector(tiny_vl_fau_dir).model.is_fused
