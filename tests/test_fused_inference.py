"""A fused detector is the same detector, and nothing of it goes stale."""

import copy
import io
import pickle
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn
from transformers import SwinConfig, TimmWrapperConfig, pipeline

import hiva_hf
from hiva_hf import HiVAConfig, HiVAForAUDetection
from hiva_hf.configuration_hiva import Variant
from hiva_hf.packaged_checkpoint import starter_checkpoint
from hiva_hf.profiling import stand_in_text_memory


TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@torch.no_grad()
def make_detector(config: HiVAConfig) -> HiVAForAUDetection:
    """A detector whose every weight, statistic and description matters to what it returns."""
    config.use_text_encoder = False
    if config.uses_text:
        config.text_memory_length = 6 if config.text_level == "token" else 1
    model = HiVAForAUDetection(config).eval()
    for name, parameter in model.named_parameters():
        if not name.startswith("vision_model.backbone."):
            parameter += 0.3 * torch.randn_like(parameter)
        elif parameter.ndim < 4:
            parameter += 0.1 * torch.randn_like(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.2, 2)
    if model.text_memory is not None:
        model.text_memory.normal_()
        # Descriptions of different lengths.
        lengths = torch.arange(config.num_labels) % config.text_memory_length + 1
        model.text_memory_mask.copy_(torch.arange(config.text_memory_length) < lengths[:, None])
    return model


@pytest.fixture
def detector(make_config, swin_config):
    return make_detector(make_config(backbone_config=swin_config))


@torch.no_grad()
def detect(model, faces):
    return model(faces, output_attentions=True)


def assert_outputs_equal(actual, expected, **tolerance):
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], **(tolerance or TOLERANCE))


@pytest.mark.parametrize("text_level", ["token", "sentence"])
@pytest.mark.parametrize("variant", get_args(Variant))
def test_every_variant_gives_the_same_outputs(make_config, faces, variant, text_level):
    model = make_detector(make_config(variant=variant, text_level=text_level))
    expected = [detect(model, batch) for batch in (faces, faces[:1])]
    assert model.fuse() is model
    assert model.is_fused
    for batch, outputs in zip((faces, faces[:1]), expected, strict=True):
        assert_outputs_equal(detect(model, batch), outputs)
    # The comparison is worth something: maps are far from even, and faces differ.
    for name in {"ddca_attentions", "cdca_attentions"} & expected[0].keys():
        assert expected[0][name].max() > 2 / expected[0][name].shape[-1]
    assert expected[0].logits.std(dim=0).min() > 0.01


def test_timm_swin_gives_the_same_outputs(detector, faces):
    expected = detect(detector, faces)
    assert_outputs_equal(detect(detector.fuse(), faces), expected)
    assert detector.fused_detector.swin is not None


@pytest.mark.parametrize(
    "backbone",
    [
        TimmWrapperConfig(architecture="resnet18", do_pooling=False),
        SwinConfig(image_size=56, embed_dim=8, depths=[1, 1], num_heads=[1, 2]),
    ],
    ids=["timm ResNet", "transformers Swin"],
)
def test_other_backbones_give_the_same_outputs(make_config, faces, backbone):
    model = make_detector(make_config(backbone_config=backbone))
    expected = detect(model, faces)
    assert_outputs_equal(detect(model.fuse(), faces), expected)
    assert model.fused_detector.swin is None


def test_one_au_and_twenty_aus(make_config, faces):
    for count in (1, 20):
        labels = dict(enumerate(f"AU{number}" for number in range(1, count + 1)))
        model = make_detector(make_config(id2label=labels, num_neighbors=1))
        expected = detect(model, faces)
        assert_outputs_equal(detect(model.fuse(), faces), expected)


def test_maps_are_returned_on_demand_and_the_loss_as_ever(detector, faces):
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, -100], [1, 1, 1, 1]])
    with torch.no_grad():
        expected = detector(faces, labels=labels)
        outputs = detector.fuse()(faces, labels=labels)
        assert_outputs_equal(outputs, expected)
        assert "ddca_attentions" not in outputs
        torch.testing.assert_close(detector(faces, return_dict=False)[0], expected.logits, **TOLERANCE)


def test_checkpoints_are_the_plain_ones(detector, faces, tmp_path):
    expected, state = detect(detector, faces), set(detector.state_dict())
    num_parameters = detector.num_parameters()
    detector.fuse()
    assert set(detector.state_dict()) == state
    assert detector.num_parameters() == num_parameters
    detector.save_pretrained(tmp_path)
    loaded = HiVAForAUDetection.from_pretrained(tmp_path)
    assert not loaded.is_fused
    assert_outputs_equal(detect(loaded, faces), expected)
    assert_outputs_equal(detect(loaded.fuse(), faces), expected)


def test_training_runs_the_plain_network(detector, faces):
    detector.fuse().eval()
    assert detector.is_fused
    detector.train()
    assert not detector.is_fused
    with pytest.raises(ValueError, match=r"Call `eval\(\)`"):
        detector.fuse()
    detector(faces, labels=torch.ones(3, 4)).loss.backward()
    assert all(parameter.grad is not None for parameter in detector.interaction.parameters())


def test_training_that_begins_without_train_runs_the_plain_network(detector, faces):
    """Lightning sets the flag of each module after a validation."""
    detector.train()
    modes = {module: module.training for module in detector.modules()}
    detector.eval().fuse()
    for module, mode in modes.items():
        module.training = mode
    detector(faces, labels=torch.ones(3, 4)).loss.backward()
    assert not detector.is_fused
    assert all(parameter.grad is not None for parameter in detector.vision_model.parameters())


def test_weights_that_were_trained_meanwhile_are_not_hidden(detector):
    detector.fuse().training = True
    assert not detector.eval().is_fused


@pytest.mark.parametrize("wrap", [nn.Identity(), nn.Sequential, torch.compile])
def test_new_weights_are_never_hidden_by_old_ones(detector, make_config, swin_config, faces, wrap):
    torch.manual_seed(1)
    other = make_detector(make_config(backbone_config=swin_config))
    wrap(detector.fuse()).load_state_dict(wrap(other).state_dict())
    assert not detector.is_fused
    assert_outputs_equal(detect(detector, faces), detect(other, faces))


def test_new_descriptions_are_never_hidden_by_old_ones(tiny_detector, tokenizer, faces):
    before = detect(tiny_detector.fuse(), faces)
    tiny_detector.encode_descriptions(tokenizer, ["Lips.", "Brows are low.", "The chin.", "Nothing to see here."])
    assert not tiny_detector.is_fused
    after = detect(tiny_detector, faces)
    assert not torch.allclose(after.au_features, before.au_features)
    assert_outputs_equal(detect(tiny_detector.fuse(), faces), after)


def test_unfused_model_is_as_before(detector, faces):
    expected = detect(detector, faces)
    assert detector.fuse().unfuse() is detector
    assert not detector.is_fused
    assert_outputs_equal(detect(detector, faces), expected, atol=0, rtol=0)


def test_text_inputs_run_the_plain_network(tiny_detector, faces, text_inputs):
    with torch.no_grad():
        expected = tiny_detector(faces, **text_inputs)
        assert_outputs_equal(tiny_detector.fuse()(faces, **text_inputs), expected, atol=0, rtol=0)
    assert not torch.allclose(expected.au_features, detect(tiny_detector, faces).au_features)


def test_model_without_text_memory_is_refused(tiny_config):
    with pytest.raises(ValueError, match="encode_descriptions"):
        HiVAForAUDetection(tiny_config).eval().fuse()


def test_wrong_images_are_refused_as_ever(detector):
    with pytest.raises(ValueError, match="image processor"):
        detector.fuse()(torch.randn(1, 3, 48, 48))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cast_first", [True, False])
def test_half_precision_is_as_good_as_without_folding(detector, faces, dtype, cast_first):
    expected = detect(detector, faces)
    plain = detect(copy.deepcopy(detector).to(dtype), faces.to(dtype))
    fused = detector.to(dtype).fuse() if cast_first else detector.fuse().to(dtype)
    outputs = detect(fused, faces.to(dtype))
    for name in expected:
        assert outputs[name].dtype == dtype
        error, plain_error = ((value[name].float() - expected[name]).abs().mean() for value in (outputs, plain))
        assert error < 1.5 * plain_error


def test_copies_and_pickles_stay_fused(detector, faces):
    expected = detect(detector.fuse(), faces)
    for twin in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        assert twin.is_fused
        assert_outputs_equal(detect(twin, faces), expected, atol=0, rtol=0)
        # A twin of its own: it reads its own weights.
        twin.unfuse()
        nn.init.zeros_(twin.classifier.weight)
    assert_outputs_equal(detect(detector, faces), expected, atol=0, rtol=0)


def test_a_fused_model_is_as_large_as_its_parts_tell(detector):
    """Nothing but what was folded is copied: the backbone's weights and the text memory are not."""
    folded = {name: buffer.numel() for name, buffer in detector.fuse().fused_detector.named_buffers()}
    num_head_parameters = sum(
        parameter.numel()
        for name, parameter in detector.named_parameters()
        if not name.startswith("vision_model.backbone")
    )
    assert sum(count for name, count in folded.items() if not name.startswith("swin.")) < num_head_parameters
    assert not list(detector.fused_detector.parameters())


def test_models_of_one_process_are_apart(detector, make_config, faces):
    other = make_detector(make_config(variant="no_ddca"))
    expected = detect(other, faces)
    detector.fuse()
    assert not other.is_fused
    assert_outputs_equal(detect(other, faces), expected, atol=0, rtol=0)


@pytest.mark.parametrize("fused_in_inference_mode", [False, True])
def test_gradients_reach_the_image(detector, faces, fused_in_inference_mode):
    faces.requires_grad_()
    (expected,) = torch.autograd.grad(detector(faces).logits.sum(), faces)
    with torch.inference_mode(fused_in_inference_mode):
        detector.fuse()
    (gradient,) = torch.autograd.grad(detector(faces).logits.sum(), faces)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("backbone", ["DINOv2", "timm Swin"])
@pytest.mark.parametrize("text_level", ["token", "sentence"])
def test_compiled_and_exported_as_one_graph(make_config, swin_config, faces, backbone, text_level):
    overrides = {"backbone_config": swin_config} if backbone == "timm Swin" else {}
    model = make_detector(make_config(text_level=text_level, **overrides)).fuse()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_outputs_equal(detect(compiled, faces), detect(model, faces))

    shapes = {"pixel_values": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (), {"pixel_values": faces}, dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    exported = torch.export.load(file).module()
    with torch.no_grad():
        for batch in (faces[:1], torch.randn(7, 3, 56, 56)):
            torch.testing.assert_close(exported(pixel_values=batch).logits, model(batch).logits, **TOLERANCE)


def test_compiler_notices_that_a_model_was_unfused(detector, faces):
    torch.compiler.reset()
    compiled = torch.compile(detector.fuse(), fullgraph=True, backend="aot_eager")
    detect(compiled, faces)
    detector.unfuse()
    nn.init.zeros_(detector.classifier.weight)
    assert_outputs_equal(detect(compiled, faces), detect(detector, faces))


def test_papers_network_takes_two_percent_more_than_its_backbone():
    with torch.device("meta"):
        model = HiVAForAUDetection(HiVAConfig()).eval()
        with stand_in_text_memory(model):
            plain = hiva_hf.profile(model, verbose=False)
            fused = hiva_hf.profile(model.fuse(), verbose=False)
        assert model.is_fused
    assert plain.macs_per_image == pytest.approx(16.31e9, rel=1e-3)
    assert fused.macs_per_image == pytest.approx(15.64e9, rel=1e-3)
    assert fused.inference_parameters == plain.inference_parameters


@pytest.mark.slow
def test_starter_checkpoint_finds_the_same_on_a_real_face(astronaut):
    detector = pipeline("au-detection", model=starter_checkpoint())
    expected = detector(astronaut, return_attention=True)[0]
    detector.model.fuse()
    found = detector(astronaut, return_attention=True)[0]
    assert [unit["label"] for unit in found["aus"]] == [unit["label"] for unit in expected["aus"]]
    for unit, reference in zip(found["aus"], expected["aus"], strict=True):
        assert unit["score"] == pytest.approx(reference["score"], abs=1e-4)
    for name in ("ddca_attention", "cdca_attention"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
