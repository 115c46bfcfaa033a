"""Ablations, controls, backbones and towers: each one configuration field or one call away."""

from typing import get_args

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    Dinov2Config,
    MobileNetV2Config,
    MobileViTConfig,
    PreTrainedConfig,
    RobertaConfig,
    RobertaModel,
    SwinConfig,
    TimmWrapperConfig,
)

from hiva_hf import HiVAForAUDetection, HiVAForPreTraining
from hiva_hf.configuration_hiva import Variant
from hiva_hf.facs import get_action_unit
from hiva_hf.modeling_hiva import au_detection_loss


VARIANTS = get_args(Variant)
LABELS = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, -100], [1, 1, 1, 1]])


@pytest.fixture
def make_detector(make_config, tokenizer):
    def make(**overrides) -> HiVAForAUDetection:
        model = HiVAForAUDetection(make_config(**overrides)).eval()
        model.encode_descriptions(tokenizer)
        return model

    return make


def train_step(model, *args, **kwargs) -> torch.Tensor:
    """One large step on a batch; returns the loss before it."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss = model(*args, **kwargs).loss
    loss.backward()
    optimizer.step()
    model.zero_grad()
    return loss.detach()


# Ablations and controls


@pytest.mark.parametrize("text_level", ["token", "sentence"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_trains_a_step_saves_and_reloads(
    make_detector, tokenizer, text_inputs, faces, tmp_path, variant, text_level
):
    model = make_detector(variant=variant, text_level=text_level)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    assert torch.isfinite(train_step(model, faces, labels=LABELS, **text_inputs))
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    parts = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert {name.split(".")[0] for name in moved} == parts

    model.encode_descriptions(tokenizer)
    has_words = text_level == "token" and model.config.reads_descriptions
    assert (model.config.description_pieces is not None) == has_words
    words = model.eval()(faces, output_attentions=True).word_attentions
    assert (words is not None) == (text_level == "token" and model.config.uses_ddca)
    logits = model(faces).logits
    for drop in (False, True):
        if drop:
            model.drop_text_encoder()
        model.save_pretrained(tmp_path)
        loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
        assert loaded.config.variant == variant
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert torch.equal(loaded(faces).logits, logits)


def test_shuffled_descriptions_name_the_words_of_the_neighbour(make_detector, tokenizer):
    shuffled, plain = make_detector(variant="shuffled_descriptions"), make_detector()
    pieces = plain.config.description_pieces
    assert shuffled.config.description_pieces == [pieces[3], pieces[0], pieces[1], pieces[2]]
    # As many pieces as real keys behind Z, for each AU.
    for model in (shuffled, plain):
        counts = [len(line.split()) for line in model.config.description_pieces]
        assert counts == (model.text_memory_mask.sum(dim=1) - 1).tolist()


def interaction_inputs(model, faces) -> tuple[torch.Tensor, ...]:
    """`U`, `mean(X_g)` and `Z` of a detector."""
    global_map, au_maps = model.vision_model(faces)
    context = None if model.text_memory is None else model.text_memory[:, 0]
    return au_maps.mean(dim=2), global_map.mean(dim=1), context


def fuse(model, *parts) -> torch.Tensor:
    fused = model.interaction.fusion(torch.cat(parts, dim=-1).unsqueeze(2))
    return model.classifier(fused).flatten(1)


def test_baseline_fuses_au_features_with_the_mean_of_the_face(make_detector, faces, text_inputs):
    model = make_detector(variant="baseline")
    assert not any("text" in name for name in model.state_dict())
    features, face, _ = interaction_inputs(model, faces)
    expected = fuse(model, features, face[:, None].expand_as(features))
    torch.testing.assert_close(model(faces).logits, expected)
    torch.testing.assert_close(model(faces, **text_inputs).logits, expected)


def test_no_attention_adds_the_text_instead(make_detector, faces):
    model = make_detector(variant="no_attention")
    features, face, context = interaction_inputs(model, faces)
    expected = fuse(model, features, features + context, face[:, None] + context)
    torch.testing.assert_close(model(faces).logits, expected)


def test_no_ddca_and_no_cdca_drop_one_part_each(make_detector, faces):
    without_ddca, without_cdca = make_detector(variant="no_ddca"), make_detector(variant="no_cdca")
    for model in (without_ddca, without_cdca):
        features, _, _ = interaction_inputs(model, faces)
        global_map, au_maps = model.vision_model(faces)
        text = model._get_text_memory(None, None, None)
        if model is without_ddca:
            other, _ = model.interaction.cdca(global_map, text)
        else:
            other, _, _ = model.interaction.ddca(au_maps, text)
        torch.testing.assert_close(model(faces).logits, fuse(model, features, other))
    outputs = without_ddca(faces, output_attentions=True)
    assert outputs.ddca_attentions is None
    assert outputs.cdca_attentions.shape == (3, 4, 16)
    outputs = without_cdca(faces, output_attentions=True)
    assert outputs.ddca_attentions.shape == (3, 4, 16)
    assert outputs.cdca_attentions is None


def test_shuffled_descriptions_are_the_neighbours(make_detector):
    torch.manual_seed(0)
    straight = make_detector().text_memory
    torch.manual_seed(0)
    shuffled = make_detector(variant="shuffled_descriptions").text_memory
    torch.testing.assert_close(shuffled, straight.roll(1, dims=0))


def test_names_only_reads_names(make_detector, tokenizer):
    torch.manual_seed(0)
    model = make_detector(variant="names_only")
    names = [get_action_unit(label).name for label in ("AU1", "AU4", "AU12", "AU25")]
    memory = model.text_memory
    model.encode_descriptions(tokenizer, names)
    assert torch.equal(model.text_memory, memory)
    assert not model.config.augments_descriptions


def test_random_vectors_read_no_text(make_detector, faces, text_inputs):
    model = make_detector(variant="random_vectors")
    assert model.text_model.encoder is None
    assert torch.equal(model(faces, **text_inputs).logits, model(faces).logits)
    # In training the memory follows the trained projection, without being encoded again.
    logits = model(faces).logits
    model.text_model.projection.weight.data.normal_()
    assert not torch.allclose(model(faces).logits, logits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_difference_loss_enters_only_where_the_ablation_says(make_detector, faces, text_inputs, variant):
    model = make_detector(variant=variant, difference_loss_weight=100.0)
    outputs = model(faces, labels=LABELS, **text_inputs)
    difference = (outputs.loss - au_detection_loss(outputs.logits, LABELS)).item()
    without = ("no_difference_loss", "no_augmentation_no_difference_loss", "random_vectors", "baseline")
    if variant in without:
        assert difference == pytest.approx(0, abs=1e-6)
    else:
        assert difference > 1


def test_only_the_variants_with_augmentation_draw_among_descriptions(make_config):
    augmenting = {variant for variant in VARIANTS if make_config(variant=variant).augments_descriptions}
    assert augmenting == {"full", "no_difference_loss", "no_ddca", "no_cdca", "no_attention", "shuffled_descriptions"}


def test_unknown_variant_is_refused(make_config):
    with pytest.raises(Exception, match="variant"):
        make_config(variant="no_text")


# Backbones


@pytest.fixture
def backbones(swin_config) -> dict[str, PreTrainedConfig]:
    """Configurations of small backbones for 56 pixels."""
    vit = {"img_size": 56, "patch_size": 14, "embed_dim": 16, "depth": 1, "num_heads": 2}
    return {
        "timm-swin": swin_config,
        "timm-convnext": TimmWrapperConfig(
            architecture="convnext_atto", model_args={"depths": (1, 1, 1, 1), "dims": (4, 8, 8, 16)}, do_pooling=False
        ),
        "timm-vit": TimmWrapperConfig(architecture="vit_tiny_patch16_224", model_args=vit, do_pooling=False),
        "transformers-swin": SwinConfig(image_size=56, embed_dim=8, depths=[1, 1], num_heads=[1, 2]),
        "transformers-dinov2": Dinov2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=56, use_mask_token=False
        ),
        "transformers-mobilevit": MobileViTConfig(
            image_size=56, hidden_sizes=[8, 12, 16], neck_hidden_sizes=[4, 4, 8, 8, 8, 8, 24], num_attention_heads=2
        ),
    }


# Side of the last map and its width.
GRIDS = {
    "timm-swin": (7, 16),
    "timm-convnext": (1, 16),
    "timm-vit": (4, 16),
    "transformers-swin": (7, 16),
    "transformers-dinov2": (4, 16),
    "transformers-mobilevit": (2, 24),
}


@pytest.mark.parametrize("backbone", GRIDS)
def test_backbone_is_one_line_of_configuration(make_config, backbones, tokenizer, tmp_path, faces, backbone):
    config = make_config(backbone_config=backbones[backbone])
    stage1 = HiVAForPreTraining(config)
    assert torch.isfinite(train_step(stage1, faces, labels=LABELS))
    stage1.save_pretrained(tmp_path)
    model = HiVAForAUDetection.from_pretrained(tmp_path)
    model.encode_descriptions(tokenizer)
    side, width = GRIDS[backbone]
    assert model.vision_model.num_channels == width
    outputs = model(faces, output_attentions=True)
    assert outputs.ddca_attentions.shape == (3, 4, side * side)
    model.save_pretrained(tmp_path)
    loaded = HiVAForAUDetection.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(faces, output_attentions=True).logits, outputs.logits)


@pytest.mark.parametrize("backbone", [name for name, (side, _) in GRIDS.items() if side > 2])
def test_tokens_keep_their_place_in_the_picture(make_config, backbones, faces, backbone):
    """Token (row, column) answers to the part of the picture there, whatever layout the backbone has."""
    model = HiVAForPreTraining(make_config(backbone_config=backbones[backbone])).eval()
    side, _ = GRIDS[backbone]
    picture = faces[:1].clone().requires_grad_()
    global_map, _ = model.vision_model(picture)
    row, column = 0, side - 1
    global_map[0, row * side + column].sum().backward()
    patch = 56 // side
    energy = picture.grad.square().sum(dim=(0, 1)).unfold(0, patch, patch).unfold(1, patch, patch).sum(dim=(2, 3))
    assert energy.flatten().argmax() == row * side + column


# Towers


def make_bert() -> BertModel:
    return BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, vocab_size=30522)
    )


def save_towers(folder, vision, text) -> tuple[str, str]:
    vision.save_pretrained(folder / "vision")
    text.save_pretrained(folder / "text")
    return str(folder / "vision"), str(folder / "text")


@pytest.mark.parametrize("tower", ["timm-swin", "transformers-swin", "transformers-dinov2"])
def test_detector_from_two_checkpoints(tmp_path, backbones, tower, tokenizer, faces):
    vision, text = AutoModel.from_config(backbones[tower]), make_bert()
    vision_folder, text_folder = save_towers(tmp_path, vision, text)
    model = HiVAForAUDetection.from_vision_text_pretrained(
        vision_folder,
        text_folder,
        image_size=56,
        hidden_size=16,
        num_attention_heads=2,
        id2label={0: "AU1", 1: "AU12"},
        num_neighbors=2,
    )
    assert model.config.au_labels == ["AU1", "AU12"]
    backbone, encoder = model.vision_model.backbone.state_dict(), model.text_model.encoder.state_dict()
    assert all(torch.equal(backbone[name], value) for name, value in vision.state_dict().items())
    for name, value in text.state_dict().items():
        # The pooler above [CLS] has no part in HiVA.
        assert name.startswith("pooler.") or torch.equal(encoder[name], value), name
    model.encode_descriptions(tokenizer)
    assert model.eval()(faces).logits.shape == (3, 2)
    model.save_pretrained(tmp_path / "hiva")
    loaded = AutoModel.from_pretrained(tmp_path / "hiva")
    assert torch.equal(loaded(faces).logits, model(faces).logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_towers_in_half_precision_enter_in_that_of_the_network(tmp_path, backbones, tokenizer, faces, dtype):
    vision = AutoModel.from_config(backbones["transformers-dinov2"])
    folders = save_towers(tmp_path, vision.to(dtype), make_bert().to(dtype))
    settings = {"image_size": 56, "hidden_size": 16, "num_attention_heads": 2}
    model = HiVAForAUDetection.from_vision_text_pretrained(*folders, **settings)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model.encode_descriptions(tokenizer)
    assert model.eval()(faces).logits.shape == (3, 12)


def test_backbone_that_does_not_tell_its_width_is_refused(make_config):
    with pytest.raises(ValueError, match="'mobilenet_v2' does not give the width.*timm_wrapper"):
        HiVAForPreTraining(make_config(backbone_config=MobileNetV2Config(image_size=56)))


def test_towers_keep_out_what_a_variant_does_not_need(tmp_path, backbones):
    folders = save_towers(tmp_path, AutoModel.from_config(backbones["transformers-dinov2"]), make_bert())
    settings = {"image_size": 56, "hidden_size": 16, "num_attention_heads": 2}
    baseline = HiVAForAUDetection.from_vision_text_pretrained(*folders, variant="baseline", **settings)
    assert baseline.text_model is None
    random_vectors = HiVAForAUDetection.from_vision_text_pretrained(*folders, variant="random_vectors", **settings)
    assert random_vectors.text_model.encoder is None


def test_roberta_is_read_as_roberta_reads(make_config):
    """Its positions are counted differently; running its layers in two parts must not change that."""
    config = RobertaConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, vocab_size=99
    )
    model = HiVAForAUDetection(make_config(text_config=config)).eval()
    assert isinstance(model.text_model.encoder, RobertaModel)
    input_ids = torch.randint(5, 99, (4, 6))
    mask = torch.ones_like(input_ids)
    input_ids[1, 4:], mask[1, 4:] = config.pad_token_id, 0
    with torch.no_grad():
        tokens = model.text_model.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        expected = torch.stack([tokens[row, : mask[row].sum()].mean(dim=0) for row in range(4)])
        text = model._encode_text(input_ids, mask)
    torch.testing.assert_close(text.description_embeddings, expected, atol=1e-5, rtol=1e-5)
