"""VL-FAU: what it computes, what it writes, and that words cost nothing until they are asked for."""

import copy
import itertools
import math
import re

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoTokenizer,
    Dinov2Model,
    FocalNetConfig,
    GenerationConfig,
    MobileNetV2Config,
    Trainer,
    TrainingArguments,
)

from hiva_hf import HiVAForAUDetection, VLFAUForAUDetection, VLFAUTextConfig, VLFAUTextForCausalLM
from hiva_hf.facs_states import face_sentence, state_sentences
from hiva_hf.modeling_hiva import MISSING_LABEL
from hiva_hf.modeling_vl_fau import VLFAURefinement, sentence_loss


LABELS = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]])


@pytest.fixture
def model(make_vl_fau_config) -> VLFAUForAUDetection:
    return VLFAUForAUDetection(make_vl_fau_config()).eval()


def sentences_about(labels, aus) -> tuple[list[str], list[str]]:
    """The canonical local sentences, image by image, and the global ones."""
    local = [state_sentences(au, bool(state))[0] for row in labels for au, state in zip(aus, row, strict=True)]
    return local, [face_sentence([au for au, state in zip(aus, row, strict=True) if state]) for row in labels]


def tokenize(tokenizer, texts) -> torch.Tensor:
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)


@pytest.fixture
def sentence_labels(state_tokenizer, model) -> dict[str, torch.Tensor]:
    local, of_face = sentences_about(LABELS, model.config.au_labels)
    return {
        "local_labels": tokenize(state_tokenizer, local).unflatten(0, LABELS.shape),
        "global_labels": tokenize(state_tokenizer, of_face),
    }


def count_calls(module: nn.Module) -> list:
    """A list that grows by an entry with each call."""
    calls = []
    module.register_forward_hook(lambda *call: calls.append(1))
    return calls


# What it computes


def test_no_word_about_attentions_stands_for_the_configuration(model, faces):
    model.set_attn_implementation("eager")
    model.config.output_attentions = True
    assert model(faces, output_attentions=None).spatial_attentions is not None
    assert model(faces, output_attentions=False).spatial_attentions is None


def test_shapes(model, faces, sentence_labels):
    outputs = model(faces, labels=LABELS, **sentence_labels, output_attentions=True)
    num_words = sentence_labels["local_labels"].shape[-1]
    vocab_size = model.config.text_config.vocab_size
    assert outputs.logits.shape == (3, 4)
    assert outputs.local_logits.shape == (3, 4, num_words, vocab_size)
    assert outputs.global_logits.shape == (3, sentence_labels["global_labels"].shape[-1], vocab_size)
    assert outputs.au_features.shape == (3, 4, 48)
    assert outputs.au_maps.shape == (3, 4, 16, 48)
    assert outputs.face_map.shape == (3, 16, 48)
    assert outputs.spatial_attentions.shape == (3, 4, 16)
    assert 0 < outputs.spatial_attentions.min() < outputs.spatial_attentions.max() < 1
    assert model(faces).spatial_attentions is None


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("timm Swin", [28, 14, 7]),
        ("timm ViT", [14, 14, 14]),
        ("Swin", [14, 7, 7]),
        ("ConvNeXt", [28, 14, 7]),
        ("SegFormer", [28, 14, 7]),
    ],
)
def test_any_backbone_gives_three_scales(make_vl_fau_config, vl_fau_backbones, name, sides):
    config = make_vl_fau_config(backbone_config=vl_fau_backbones[name], image_size=224)
    model = VLFAUForAUDetection(config).eval()
    with torch.no_grad():
        maps = model.vision_model.feature_maps(model.vision_model.backbone, torch.randn(1, 3, 224, 224))
        outputs = model(torch.randn(1, 3, 224, 224))
    assert [feature_map.shape[-1] for feature_map in maps] == sides
    assert outputs.face_map.shape == (1, sides[-1] ** 2, 48)
    assert outputs.logits.isfinite().all()


def test_depths_of_a_vit_are_thirds_unless_chosen(make_vl_fau_config, faces):
    model = VLFAUForAUDetection(make_vl_fau_config()).eval()
    assert model.vision_model.out_indices == [0, 1, 2]
    with torch.no_grad():
        maps = model.vision_model.feature_maps(model.vision_model.backbone, faces)
        backbone = model.vision_model.backbone(faces, output_hidden_states=True)
    # Two raw depths and the end with its norm, without the class token.
    for feature_map, states in zip(maps, [*backbone.hidden_states[1:3], backbone.last_hidden_state], strict=True):
        torch.testing.assert_close(feature_map.flatten(2).transpose(1, 2), states[:, 1:])
    with pytest.raises(ValueError, match="`backbone_out_indices` holds 3, but the backbone has 3 feature maps"):
        VLFAUForAUDetection(make_vl_fau_config(backbone_out_indices=[0, 1, 3]))


def test_refinement_by_hand(make_vl_fau_config):
    """One AU after the other, in a loop and with torch's own layers."""
    config = make_vl_fau_config(spatial_kernel_size=3)
    refinement = VLFAURefinement(config)
    for parameter in refinement.parameters():
        nn.init.normal_(parameter, std=0.3)
    maps = torch.randn(2, 4, 16, 48)
    refined, attentions = refinement(maps, torch.Size((4, 4)))
    for au in range(4):
        x = maps[:, au]

        def network(pooled, au=au):
            hidden = pooled @ refinement.channel_down.weight[au] + refinement.channel_down.bias[au]
            return hidden.relu() @ refinement.channel_up.weight[au] + refinement.channel_up.bias[au]

        x = x * torch.sigmoid(network(x.mean(dim=1)) + network(x.amax(dim=1)))[:, None]
        planes = torch.stack([x.mean(dim=-1), x.amax(dim=-1)], dim=1).view(2, 2, 4, 4)
        weight, bias = refinement.spatial.weight[au : au + 1], refinement.spatial.bias[au : au + 1]
        places = torch.sigmoid(nn.functional.conv2d(planes, weight, bias, padding=1)).view(2, 16)
        torch.testing.assert_close(attentions[:, au], places)
        torch.testing.assert_close(refined[:, au], x * places[..., None])


def test_losses_by_hand(make_vl_fau_config, faces, sentence_labels):
    config = make_vl_fau_config(local_loss_weight=0.5, global_loss_weight=0.25, label_weights=[1.0, 2.0, 3.0, 4.0])
    model = VLFAUForAUDetection(config).eval()
    outputs = model(faces, labels=LABELS, **sentence_labels)
    weights = torch.tensor(config.label_weights)
    au_loss = nn.functional.binary_cross_entropy_with_logits(outputs.logits, LABELS, reduction="none") * weights
    expected = au_loss.sum(dim=1).mean()
    for name, weight in (("local", 0.5), ("global", 0.25)):
        logits, labels = outputs[f"{name}_logits"], sentence_labels[f"{name}_labels"]
        # Each word is told from those before it.
        log_p = logits.log_softmax(dim=-1)[..., :-1, :].flatten(0, -2)
        words = labels[..., 1:].flatten()
        losses = [-row[word] for row, word in zip(log_p, words, strict=True) if word != -100]
        expected = expected + weight * torch.stack(losses).mean()
    torch.testing.assert_close(outputs.loss, expected)


def test_missing_labels_leave_the_loss_as_if_the_au_were_not_asked(model, faces, sentence_labels):
    labels = LABELS.clone()
    labels[:, 2] = MISSING_LABEL
    local = sentence_labels["local_labels"]
    loss = model(faces, labels=labels, local_labels=local).loss
    other = local.clone()
    other[:, 2] = local[:, 2].clamp(min=3).flip(-1)
    assert torch.equal(loss, model(faces, labels=labels, local_labels=other).loss)
    assert not torch.equal(loss, model(faces, labels=LABELS, local_labels=local).loss)
    # Also when nothing at all is known.
    nothing = model(faces, labels=torch.full_like(LABELS, MISSING_LABEL), local_labels=local)
    assert nothing.loss == 0


def test_sentence_loss_without_a_word_is_zero():
    logits = torch.randn(2, 5, 7, requires_grad=True)
    loss = sentence_loss(logits, torch.full((2, 5), -100))
    loss.backward()
    assert loss == 0
    assert torch.count_nonzero(logits.grad) == 0


def test_every_parameter_learns(model, faces, sentence_labels):
    model.train()(faces, labels=LABELS, **sentence_labels).loss.backward()
    # A key's bias moves all scores of a query alike, which a softmax does not see.
    still = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12]
    assert [name for name in still if not name.endswith((".k_proj.bias", "key.bias"))] == []


def test_words_reach_the_features_of_the_face(model, faces, sentence_labels):
    """The sentences are to make the AU features better, not only to be made from them."""
    outputs = model(faces, labels=torch.full_like(LABELS, MISSING_LABEL), **sentence_labels)
    outputs.loss.backward()
    assert model.vision_model.branches.weight.grad.abs().sum() > 0
    assert model.vision_model.backbone.embeddings.patch_embeddings.projection.weight.grad.abs().sum() > 0


def test_logits_of_a_face_do_not_depend_on_its_batch_mates(model, faces):
    with torch.no_grad():
        together = model(faces).logits
        alone = torch.cat([model(face[None]).logits for face in faces])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", ["no_local", "no_global", "no_refinement"])
def test_variants_lack_their_part_and_nothing_else(make_vl_fau_config, faces, sentence_labels, tmp_path, variant):
    model = VLFAUForAUDetection(make_vl_fau_config(variant=variant)).eval()
    full = VLFAUForAUDetection(make_vl_fau_config())
    part = {"no_local": "local_decoder", "no_global": "global_decoder", "no_refinement": "refinement"}[variant]
    missing = full.state_dict().keys() - model.state_dict().keys()
    assert missing == {name for name in full.state_dict() if name.startswith(f"{part}.")}
    assert getattr(model, part) is None
    model.save_pretrained(tmp_path)
    loaded = VLFAUForAUDetection.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(faces).logits, model(faces).logits)
    if variant == "no_refinement":
        assert model(faces, output_attentions=True).spatial_attentions is None
        return
    level, other = ("local", "global") if variant == "no_local" else ("global", "local")
    with pytest.raises(ValueError, match=f"`{level}_labels` were passed to a model without a {level} decoder"):
        model(faces, labels=LABELS, **sentence_labels)
    with pytest.raises(ValueError, match=f"`level` is '{level}'.*'{variant}'.*writes sentences of level '{other}'"):
        model.generate(faces, level=level)
    assert len(model.generate(faces, level=other, max_new_tokens=3)) in (3, 12)
    labels = {f"{other}_labels": sentence_labels[f"{other}_labels"]}
    assert model(faces, labels=LABELS, **labels).loss.isfinite()


# Writing


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory, make_vl_fau_config, state_tokenizer):
    """A network that learned six random pictures by heart, reloaded, with pictures and labels."""
    torch.manual_seed(0)
    model = VLFAUForAUDetection(make_vl_fau_config()).train()
    faces = torch.randn(6, 3, 56, 56)
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1]])
    local, of_face = sentences_about(labels, model.config.au_labels)
    targets = {
        "local_labels": tokenize(state_tokenizer, local).unflatten(0, labels.shape),
        "global_labels": tokenize(state_tokenizer, of_face),
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        model(faces, labels=labels, **targets).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    folder = tmp_path_factory.mktemp("overfitted")
    model.save_pretrained(folder)
    state_tokenizer.save_pretrained(folder)
    return folder, faces, labels


@pytest.mark.slow
@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_trained_network_writes_the_right_sentences_after_reloading(overfitted, num_beams):
    folder, faces, labels = overfitted
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    local, of_face = sentences_about(labels, model.config.au_labels)
    with torch.no_grad():
        outputs = model(faces)
    assert torch.equal(outputs.logits > 0, labels > 0)
    for level, expected in (("local", local), ("global", of_face)):
        ids = model.generate(encoder_outputs=outputs, level=level, num_beams=num_beams)
        assert tokenizer.batch_decode(ids, skip_special_tokens=True) == expected


@pytest.mark.slow
def test_written_words_are_those_that_reading_expects(overfitted, state_tokenizer):
    """Writing word by word with its cache and reading whole sentences are the same network."""
    folder, faces, _ = overfitted
    model = AutoModel.from_pretrained(folder)
    for level in ("local", "global"):
        written = model.generate(faces, level=level)
        labels = written.masked_fill(written == state_tokenizer.pad_token_id, -100)
        labels = labels.unflatten(0, (6, 4)) if level == "local" else labels
        logits = model(faces, **{f"{level}_labels": labels})[f"{level}_logits"].flatten(0, -3)
        is_word = written[:, 1:] != state_tokenizer.pad_token_id
        assert torch.equal(logits[:, :-1].argmax(dim=-1)[is_word], written[:, 1:][is_word])


@pytest.mark.parametrize("level", ["local", "global"])
def test_the_cache_does_not_change_what_is_written(model, faces, level):
    options = {"level": level, "max_new_tokens": 12, "min_new_tokens": 12}
    for num_beams in (1, 3):
        with_cache = model.generate(faces, num_beams=num_beams, **options)
        without = model.generate(faces, num_beams=num_beams, use_cache=False, **options)
        assert torch.equal(with_cache, without)


def test_the_face_is_projected_once_for_a_whole_sentence(model, faces):
    layer = model.local_decoder.layers[0]
    face = count_calls(layer.cross_attention.k_proj)
    words = count_calls(layer.self_attention.k_proj)
    model.generate(faces, max_new_tokens=6, min_new_tokens=6)
    assert (len(face), len(words)) == (1, 6)


def test_one_beam_is_greedy(model, faces):
    greedy = model.generate(faces, max_new_tokens=8, do_sample=False)
    assert torch.equal(greedy, model.generate(faces, max_new_tokens=8, num_beams=1))
    config = GenerationConfig(max_new_tokens=8, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    assert torch.equal(greedy, model.generate(faces, generation_config=config))


def test_beams_find_likelier_sentences(model, faces):
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "return_dict_in_generate": True, "output_scores": True}

    def log_likelihood(num_beams):
        written = model.generate(faces, level="global", num_beams=num_beams, **options).sequences
        log_p = model(faces, global_labels=written).global_logits.log_softmax(dim=-1)
        return log_p[:, :-1].gather(-1, written[:, 1:, None]).sum(dim=(1, 2))

    with torch.no_grad():
        assert (log_likelihood(20) >= log_likelihood(1) - 1e-4).all()


def test_rows_are_image_by_image_and_do_not_mix(model, faces):
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "num_beams": 2}
    together = model.generate(faces, **options)
    assert together.shape == (12, 9)
    assert torch.equal(together[4:8], model.generate(faces[1:2], **options))


def test_scores_and_sentences_need_one_look_at_the_face(model, faces):
    looks = count_calls(model.vision_model)
    with torch.no_grad():
        outputs = model(faces)
    local = model.generate(encoder_outputs=outputs, max_new_tokens=4)
    of_face = model.generate(encoder_outputs=outputs, level="global", max_new_tokens=4)
    assert len(looks) == 1
    assert torch.equal(local, model.generate(faces, max_new_tokens=4))
    assert torch.equal(of_face, model.generate(faces, level="global", max_new_tokens=4))


def test_scores_cost_no_words(model, faces):
    calls = [count_calls(decoder) for decoder in (model.local_decoder, model.global_decoder)]
    model(faces, labels=LABELS)
    assert list(itertools.chain(*calls)) == []
    model.generate(faces, max_new_tokens=2)
    assert (len(calls[0]), len(calls[1])) == (2, 0)


def test_sentences_end_where_the_decoder_has_no_more_positions(make_vl_fau_config, faces, state_tokenizer):
    text_config = {"vocab_size": len(state_tokenizer), "num_attention_heads": 2, "max_position_embeddings": 10}
    model = VLFAUForAUDetection(make_vl_fau_config(text_config=text_config)).eval()
    assert model.generate(faces, min_new_tokens=9).shape == (12, 10)
    with pytest.raises(ValueError, match="11 tokens is longer than the 10.*lower `max_new_tokens`"):
        model.generate(faces, max_new_tokens=30, min_new_tokens=30)
    with pytest.raises(ValueError, match="12 tokens is longer than the 10.*shorten the labels"):
        model(faces, labels=LABELS, global_labels=torch.full((3, 12), 5))


def test_generation_settings_of_a_checkpoint_are_kept_and_left_alone(model, faces, tmp_path):
    model.generation_config.max_new_tokens = 5
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.generate(faces, min_new_tokens=5).shape == (12, 6)
    assert loaded.generate(faces, max_new_tokens=3, min_new_tokens=3).shape == (12, 4)
    assert loaded.generation_config.max_new_tokens == 5
    assert loaded.can_generate()


def test_wrong_requests_are_refused(model, faces):
    with pytest.raises(ValueError, match="`level` is 'face'.*'local' and 'global'"):
        model.generate(faces, level="face")
    with pytest.raises(ValueError, match="either `pixel_values` or `encoder_outputs`"):
        model.generate()
    with pytest.raises(ValueError, match="either `pixel_values` or `encoder_outputs`"):
        model.generate(faces, encoder_outputs=model(faces))
    with pytest.raises(ValueError, match=r"max_new_tokenz"):
        model.generate(faces, max_new_tokenz=3)


# At home in transformers


def test_checkpoint_loads_through_the_auto_classes(tiny_vl_fau_dir, faces):
    model = VLFAUForAUDetection.from_pretrained(tiny_vl_fau_dir)
    for auto_class in (AutoModel, AutoModelForImageClassification):
        loaded, info = auto_class.from_pretrained(tiny_vl_fau_dir, output_loading_info=True)
        assert type(loaded) is VLFAUForAUDetection
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        with torch.no_grad():
            assert torch.equal(loaded(faces).logits, model(faces).logits)
        assert torch.equal(loaded.generate(faces, max_new_tokens=5), model.generate(faces, max_new_tokens=5))


def test_timm_backbone_survives_reloading(make_vl_fau_config, vl_fau_backbones, tmp_path):
    """It has buffers that no checkpoint holds."""
    faces = torch.randn(1, 3, 224, 224)
    config = make_vl_fau_config(backbone_config=vl_fau_backbones["timm Swin"], image_size=224)
    model = VLFAUForAUDetection(config).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(VLFAUForAUDetection.from_pretrained(tmp_path)(faces).logits, model(faces).logits)


def test_checkpoints_of_other_models_and_pickles_are_refused(tiny_model_dir, tiny_vl_fau_dir, tmp_path):
    with pytest.raises(ValueError, match="a VLFAU is needed"):
        VLFAUForAUDetection.from_pretrained(tiny_model_dir)
    with pytest.raises(ValueError, match="a HiVA is needed"):
        HiVAForAUDetection.from_pretrained(tiny_vl_fau_dir)
    model = VLFAUForAUDetection.from_pretrained(tiny_vl_fau_dir)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors only"):
        VLFAUForAUDetection.from_pretrained(tmp_path)


def test_vision_tower_enters_with_its_weights(make_vl_fau_config, state_tokenizer, tmp_path):
    tower = Dinov2Model(make_vl_fau_config().backbone_config)
    tower.save_pretrained(tmp_path)
    model = VLFAUForAUDetection.from_vision_pretrained(
        str(tmp_path), state_tokenizer, image_size=56, hidden_size=32, text_config={"hidden_size": 16}
    )
    for name, value in tower.state_dict().items():
        assert torch.equal(model.vision_model.backbone.state_dict()[name], value)
    assert model.config.text_config.vocab_size == len(state_tokenizer)
    assert model.config.text_config.hidden_size == 16


def test_decoders_are_configured_by_an_object_as_by_a_dictionary(make_vl_fau_config, state_tokenizer, tmp_path):
    Dinov2Model(make_vl_fau_config().backbone_config).half().save_pretrained(tmp_path)
    text_config = VLFAUTextConfig(hidden_size=16, num_attention_heads=2)
    model = VLFAUForAUDetection.from_vision_pretrained(
        str(tmp_path), state_tokenizer, image_size=56, hidden_size=32, text_config=text_config
    )
    assert model.config.text_config.hidden_size == 16
    assert model.config.text_config.vocab_size == len(state_tokenizer)
    # The tower was saved in half precision.
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_tokenizer_without_a_token_of_sentences_is_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="tokenizer has no `bos_token` and no `eos_token`"):
        VLFAUForAUDetection.from_vision_pretrained(str(tmp_path), tokenizer)


def test_backbone_that_does_not_tell_its_width_is_refused(make_vl_fau_config):
    with pytest.raises(ValueError, match="'mobilenet_v2' does not give the width.*timm_wrapper"):
        VLFAUForAUDetection(make_vl_fau_config(backbone_config=MobileNetV2Config(image_size=56)))


def test_backbone_whose_hidden_states_begin_with_its_first_stage(make_vl_fau_config, vl_fau_backbones):
    config = make_vl_fau_config(backbone_config=vl_fau_backbones["SegFormer"], image_size=64)
    model = VLFAUForAUDetection(config).eval()
    with torch.no_grad():
        maps = model.vision_model.feature_maps(model.vision_model.backbone, torch.randn(1, 3, 64, 64))
    assert [tuple(feature_map.shape[1:]) for feature_map in maps] == [(8, 8, 8), (16, 4, 4), (16, 2, 2)]


def test_backbone_with_other_maps_than_it_tells_is_refused(make_vl_fau_config):
    backbone = FocalNetConfig(image_size=64, embed_dim=8, hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1])
    model = VLFAUForAUDetection(make_vl_fau_config(backbone_config=backbone, image_size=64)).eval()
    with pytest.raises(ValueError, match="'focalnet' does not give the width.*timm_wrapper"):
        model(torch.randn(1, 3, 64, 64))


def test_parts_may_be_offloaded(tiny_vl_fau_dir, tmp_path, faces):
    parts = ("refinement", "classifier", "au_embeddings", "local_decoder", "global_decoder")
    model = VLFAUForAUDetection.from_pretrained(
        tiny_vl_fau_dir,
        device_map={"vision_model": "cpu"} | dict.fromkeys(parts, "disk"),
        offload_folder=tmp_path,
    )
    expected = VLFAUForAUDetection.from_pretrained(tiny_vl_fau_dir).generate(faces, max_new_tokens=3)
    assert torch.equal(model.generate(faces, max_new_tokens=3), expected)


@pytest.mark.parametrize("label_names", [None, ["labels"]])
def test_evaluation_by_trainer_gathers_the_scores_alone(model, tmp_path, sentence_labels, label_names):
    samples = [{"pixel_values": torch.randn(3, 56, 56), "labels": row} for row in LABELS]
    if label_names is None:
        sentences = zip(*(sentence_labels[name] for name in ("local_labels", "global_labels")), strict=True)
        for sample, (local, whole) in zip(samples, sentences, strict=True):
            sample |= {"local_labels": local, "global_labels": whole}
    arguments = TrainingArguments(
        str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True, label_names=label_names
    )
    result = Trainer(model, arguments).predict(samples)
    assert result.predictions.shape == (3, 4)
    assert result.metrics["test_loss"] > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_full_and_writes(model, faces, sentence_labels, dtype):
    half = copy.deepcopy(model).to(dtype)
    with torch.no_grad():
        full = model(faces, labels=LABELS, **sentence_labels)
        outputs = half(faces.to(dtype), labels=LABELS, **sentence_labels)
    assert outputs.logits.dtype == outputs.local_logits.dtype == dtype
    torch.testing.assert_close(outputs.logits.float(), full.logits, atol=0.02, rtol=0.05)
    torch.testing.assert_close(outputs.loss.float(), full.loss, atol=0.05, rtol=0.05)
    assert half.generate(faces.to(dtype), max_new_tokens=3, min_new_tokens=3, num_beams=2).shape == (12, 4)


def test_sdpa_equals_eager(model, faces, sentence_labels):
    with torch.no_grad():
        fused = model(faces, labels=LABELS, **sentence_labels)
        model.set_attn_implementation("eager")
        eager = model(faces, labels=LABELS, **sentence_labels)
    assert model.local_decoder.config._attn_implementation == "eager"
    torch.testing.assert_close(fused.local_logits, eager.local_logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fused.global_logits, eager.global_logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_gives_equal_gradients(model, faces, sentence_labels, reentrant):
    model.train()

    def gradients():
        model.zero_grad()
        model(faces, labels=LABELS, **sentence_labels).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})
    torch.testing.assert_close(gradients(), plain, atol=1e-6, rtol=1e-4)


def test_a_sentence_is_read_without_looking_ahead(model, faces, sentence_labels):
    labels = sentence_labels["global_labels"].clamp(min=0)
    other = labels.clone()
    other[:, 4:] = 7
    with torch.no_grad():
        first = model(faces, global_labels=labels).global_logits
        second = model(faces, global_labels=other).global_logits
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert not torch.allclose(first[:, 4:], second[:, 4:])


def test_decoder_stands_alone(make_vl_fau_config, tmp_path):
    decoder = VLFAUTextForCausalLM(make_vl_fau_config().text_config).eval()
    decoder.save_pretrained(tmp_path)
    loaded = VLFAUTextForCausalLM.from_pretrained(tmp_path)
    memory, start = torch.randn(2, 5, 48), torch.ones(2, 1, dtype=torch.long)
    options = {"encoder_hidden_states": memory, "max_new_tokens": 4, "num_beams": 2}
    assert torch.equal(loaded.generate(start, **options), decoder.generate(start, **options))
    ids = torch.randint(3, 50, (2, 6))
    loss = decoder(ids, memory, labels=ids).loss
    assert math.isclose(loss.item(), math.log(decoder.config.vocab_size), rel_tol=0.2)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("local_labels", (3, 5, 7), r"`local_labels` has the shape (3, 5, 7), but (3, 4, sequence_length) is needed"),
        ("local_labels", (3, 7), r"`local_labels` has the shape (3, 7)"),
        ("global_labels", (2, 7), r"`global_labels` has the shape (2, 7), but (3, sequence_length) is needed"),
    ],
)
def test_sentences_of_another_shape_are_refused(model, faces, name, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        model(faces, labels=LABELS, **{name: torch.ones(shape, dtype=torch.long)})


def test_labels_and_pictures_of_another_shape_are_refused(model, faces):
    with pytest.raises(ValueError, match=r"\(3, 5\).*\(3, 4\) is needed.*4 AUs"):
        model(faces, labels=torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"`pixel_values` has the shape .*\(3, 56, 56\).*image processor"):
        model(torch.randn(1, 3, 64, 64))
