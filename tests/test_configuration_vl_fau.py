"""The configuration of VL-FAU: its defaults, every field explained, contradictions and absurd sizes refused."""

import dataclasses
import json
import re

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, BertConfig, PreTrainedConfig, SwinConfig, TimmWrapperConfig

from hiva_hf import HiVAConfig, VLFAUConfig, VLFAUTextConfig


def test_defaults_are_swin_b_twelve_aus_and_light_decoders():
    config = VLFAUConfig()
    assert config.au_labels == "AU1 AU2 AU4 AU6 AU7 AU10 AU12 AU14 AU15 AU17 AU23 AU24".split()
    assert (config.hidden_size, config.image_size) == (512, 224)
    assert isinstance(config.backbone_config, TimmWrapperConfig)
    assert config.backbone_config.architecture == "swin_base_patch4_window7_224"
    assert (config.local_loss_weight, config.global_loss_weight) == (1, 1)
    assert (config.text_config.num_hidden_layers, config.text_config.hidden_size) == (2, 256)
    assert config.problem_type == "multi_label_classification"


@pytest.mark.parametrize("config_class", [VLFAUConfig, VLFAUTextConfig])
def test_help_explains_every_field(config_class):
    inherited = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    own = {field.name for field in dataclasses.fields(config_class)} - inherited
    entries = re.split(r"\n {4}(?=\w+ \()", config_class.__doc__)
    documented = {entry.split(" ", 1)[0]: " ".join(entry.split()) for entry in entries[1:]}
    # transformers explains these itself.
    own -= {"pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings"}
    assert own <= documented.keys()
    assert all(len(documented[field].split()) > 8 for field in own)


def test_config_survives_saving(make_vl_fau_config, tmp_path):
    config = make_vl_fau_config(
        variant="no_local", local_loss_weight=0.5, label_thresholds=[0.3, 0.5, 0.25, 1], backbone_out_indices=[0, 1, 2]
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is VLFAUConfig
    assert loaded.au_labels == ["AU1", "AU4", "AU12", "AU25"]
    assert loaded.au_thresholds == [0.3, 0.5, 0.25, 1]
    assert (loaded.variant, loaded.local_loss_weight, loaded.backbone_out_indices) == ("no_local", 0.5, [0, 1, 2])
    assert type(loaded.text_config) is VLFAUTextConfig
    assert loaded.text_config.to_dict() == config.text_config.to_dict()


def test_decoders_read_features_of_the_networks_width(make_vl_fau_config):
    assert make_vl_fau_config(hidden_size=32).text_config.encoder_hidden_size == 32


def test_networks_of_two_widths_can_share_the_configuration_of_their_decoders(make_vl_fau_config):
    text_config = VLFAUTextConfig(vocab_size=50, hidden_size=16, num_attention_heads=2)
    narrow = make_vl_fau_config(text_config=text_config, hidden_size=24)
    wide = make_vl_fau_config(text_config=text_config, hidden_size=48)
    assert (narrow.text_config.encoder_hidden_size, wide.text_config.encoder_hidden_size) == (24, 48)
    assert text_config.encoder_hidden_size == VLFAUTextConfig().encoder_hidden_size


def test_backbone_is_chosen_by_configuration_or_dictionary():
    assert VLFAUConfig(backbone_config=SwinConfig(embed_dim=8)).backbone_config.embed_dim == 8
    timm = VLFAUConfig(backbone_config={"model_type": "timm_wrapper", "architecture": "convnext_base"})
    assert timm.backbone_config.architecture == "convnext_base"


def test_a_checkpoint_of_another_model_is_refused(tiny_model_dir, tiny_vl_fau_dir):
    with pytest.raises(ValueError, match="of type 'hiva', but a VLFAU is needed.*from_vision_pretrained"):
        VLFAUConfig.from_pretrained(tiny_model_dir)
    with pytest.raises(ValueError, match="holds a model of type 'vl_fau', but a HiVA is needed"):
        HiVAConfig.from_pretrained(tiny_vl_fau_dir)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id2label": {}}, "VLFAU needs at least one AU"),
        ({"label_weights": [1.0]}, "`label_weights` has 1 entries.*12 AUs"),
        ({"label_thresholds": [0.5] * 11 + [1.5]}, "`label_thresholds` is 1.5 for AU24.*between 0 and 1"),
        ({"experimental_labels": ["AU99"]}, "`experimental_labels` holds 'AU99'.*AU1, AU2"),
        ({"problem_type": "single_label_classification"}, "AUs occur together"),
        ({"variant": "no_text"}, "variant"),
        ({"backbone_out_indices": [1, 2]}, r"`backbone_out_indices` is \[1, 2\].*three feature maps"),
        ({"backbone_out_indices": [2, 1, 3]}, "in the order of the backbone"),
        ({"channel_reduction": 0}, "`channel_reduction` is 0.*between 1 and `hidden_size`"),
        ({"spatial_kernel_size": 4}, "`spatial_kernel_size` is 4.*odd"),
        ({"local_loss_weight": -1.0}, "`local_loss_weight` is -1.0.*at least 0"),
        ({"global_loss_weight": float("nan")}, "`global_loss_weight` is nan"),
        ({"global_loss_weight": float("inf")}, "`global_loss_weight` is inf"),
        ({"text_config": BertConfig()}, "`text_config` is a 'bert'.*VLFAUTextConfig"),
        ({"text_config": {"hidden_size": 100, "num_attention_heads": 3}}, r"`hidden_size` \(100\).*\(3\)"),
        ({"text_config": {"vocab_size": 2}}, "`eos_token_id` is 2.*2 words"),
        ({"text_config": {"eos_token_id": [3, 512]}}, "`eos_token_id` is 512.*512 words"),
        ({"text_config": {"pad_token_id": None}}, "`pad_token_id` is None"),
        ({"text_config": {"bos_token_id": None}}, "`bos_token_id` is None"),
        ({"text_config": {"num_attention_heads": 0}}, "`num_attention_heads` is 0, but must be at least 1"),
        ({"text_config": {"tie_word_embeddings": True}}, "`tie_word_embeddings` is True"),
        # A checkpoint from a stranger must not take the machine down.
        ({"hidden_size": 10**6}, "`hidden_size` is 1000000, but at most"),
        ({"text_config": {"vocab_size": 10**9}}, "vocab_size` is 1000000000, but at most"),
        ({"text_config": {"num_hidden_layers": 10**4}}, "num_hidden_layers` is 10000, but at most"),
    ],
)
def test_contradictions_and_absurd_sizes_are_refused(settings, message):
    with pytest.raises((StrictDataclassError, ValueError)) as error:
        VLFAUConfig(**settings)
    assert re.search(message, str(error.value), flags=re.DOTALL)


def test_variants_say_what_they_use(make_vl_fau_config):
    full = make_vl_fau_config()
    assert (full.writes_local_sentences, full.writes_global_sentence, full.refines) == (True, True, True)
    assert not make_vl_fau_config(variant="no_local").writes_local_sentences
    assert not make_vl_fau_config(variant="no_global").writes_global_sentence
    assert not make_vl_fau_config(variant="no_refinement").refines


def test_published_entries_of_pipelines_are_not_kept(make_vl_fau_config, tmp_path):
    make_vl_fau_config().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"custom_pipelines": {"au-detection": {}}}))
    assert not hasattr(AutoConfig.from_pretrained(tmp_path), "custom_pipelines")
