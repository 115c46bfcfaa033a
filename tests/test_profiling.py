"""What `hiva_hf.profile` counts is what a reader would count."""

import copy

import pytest
import torch

import hiva_hf
from hiva_hf import HiVAConfig, HiVAForAUDetection, HiVAForPreTraining, VLFAUForAUDetection
from hiva_hf.facs import ACTION_UNITS
from hiva_hf.profiling import STAND_IN_TEXT_LENGTH


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_of_the_papers_network(capsys):
    with torch.device("meta"):
        model = HiVAForAUDetection(HiVAConfig())
        result = hiva_hf.profile(model)
    assert result.total_parameters == count(model)
    # All of the paper's table but the graph and the heads of stage 1.
    assert result.trainable_parameters == 156_102_376 - 525_336 - 6_156
    assert result.seconds_per_batch is None
    printed = capsys.readouterr().out
    assert f"{result.total_parameters:,}" in printed
    assert "latency" not in printed
    model.drop_text_encoder()
    assert result.inference_parameters == count(model)


def test_multiply_adds_of_the_papers_network():
    """Swin-B alone has 15.43 G; what HiVA puts on top is known layer by layer."""
    config = HiVAConfig(text_level="sentence")
    with torch.device("meta"):
        stage1, stage2 = HiVAForPreTraining(config), HiVAForAUDetection(config)
        stage1_macs = hiva_hf.profile(stage1, verbose=False).macs_per_image
        stage2_macs = hiva_hf.profile(stage2, verbose=False).macs_per_image
    n, t, d = 12, 49, 512
    vision = t * 1024 * d + n * t * d * d
    graph = 2 * n * d * d + n * n * d + n * n * d + n * d
    assert stage1_macs - vision - graph == pytest.approx(15.43e9, rel=0.005)
    # Projections, scores and sums; the text side is projected once for any batch.
    ddca = n * (3 * t * d * d + 3 * d * d + 4 * t * d)
    cdca = 3 * n * d * d + 3 * t * d * d + 4 * n * t * d
    fusion_and_heads = n * 3 * d * d + n * d
    assert stage2_macs - stage1_macs == ddca + cdca + fusion_and_heads - graph


def test_profile_times_batches_and_leaves_the_model_alone(tiny_config, capsys):
    model = HiVAForAUDetection(tiny_config).train()
    state = copy.deepcopy(model.state_dict())
    result = hiva_hf.profile(model, batch_size=4, num_batches=3)
    assert 0 < result.seconds_per_image < result.seconds_per_batch
    assert result.seconds_per_image == pytest.approx(result.seconds_per_batch / 4)
    printed = capsys.readouterr().out
    assert f"{result.total_parameters:,}" in printed
    assert "latency per batch of 4" in printed
    assert model.training
    assert model.text_memory is None
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_memory_of_another_model_is_not_taken_for_one(tiny_detector):
    model = HiVAForAUDetection(tiny_detector.config)
    assert not model.has_text_memory
    result = hiva_hf.profile(model, num_batches=1, verbose=False)
    assert result.macs_per_image > 0
    assert not model.has_text_memory


def test_writing_is_no_part_of_inference(make_vl_fau_config):
    model = VLFAUForAUDetection(make_vl_fau_config())
    result = hiva_hf.profile(model, num_batches=1, verbose=False)
    parts = (model.vision_model, model.refinement, model.classifier)
    assert result.inference_parameters == sum(p.numel() for part in parts for p in part.parameters())


def test_frozen_parts_stay_in_their_mode(tiny_config):
    model = HiVAForAUDetection(tiny_config).train()
    model.vision_model.eval()
    hiva_hf.profile(model, batch_size=1, num_batches=1)
    assert model.training
    assert not any(part.training for part in model.vision_model.modules())


def test_trainable_parameters_follow_what_is_frozen(tiny_config):
    model = HiVAForAUDetection(tiny_config)
    before = hiva_hf.profile(model, num_batches=1, verbose=False)
    model.freeze_text_encoder()
    assert hiva_hf.profile(model, num_batches=1, verbose=False).trainable_parameters == before.trainable_parameters
    model.vision_model.requires_grad_(False)
    after = hiva_hf.profile(model, num_batches=1, verbose=False)
    assert after.trainable_parameters == before.trainable_parameters - count(model.vision_model)


def test_multiply_adds_do_not_depend_on_the_attention_implementation(tiny_detector):
    fused = hiva_hf.profile(tiny_detector, num_batches=1, verbose=False)
    tiny_detector.set_attn_implementation("eager")
    assert hiva_hf.profile(tiny_detector, num_batches=1, verbose=False).macs_per_image == fused.macs_per_image


def test_stand_in_for_a_missing_text_memory_is_as_long_as_the_longest_description(tokenizer):
    lengths = [len(tokenizer(unit.description)["input_ids"]) for unit in ACTION_UNITS.values()]
    assert max(lengths) == STAND_IN_TEXT_LENGTH


def test_senseless_batches_are_refused(tiny_detector):
    with pytest.raises(ValueError, match="`batch_size`"):
        hiva_hf.profile(tiny_detector, batch_size=0)
