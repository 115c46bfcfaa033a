"""The configuration: the paper's defaults, every field explained, contradictions refused."""

import dataclasses
import json
import re

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, BertConfig, DistilBertConfig, PreTrainedConfig, SwinConfig, TimmWrapperConfig
from transformers.utils import logging

from hiva_hf import HiVAConfig


# How the paper calls what a field sets.
SYMBOLS = {
    "id2label": "`N`",
    "backbone_config": "`X_g`",
    "text_config": "`H`",
    "image_size": "`T`",
    "hidden_size": "`d`",
    "num_attention_heads": "`H` into `Z`",
    "intermediate_size": "`H` to `Z`",
    "num_context_layers": "`H` to `Z`",
    "hidden_dropout_prob": "`H` to `Z`",
    "num_trainable_text_layers": "layers 23 and 24",
    "num_neighbors": "`K`",
    "text_level": "`M_i`",
    "variant": "Tables IV to VI",
    "difference_loss_weight": "`lambda`",
    "label_weights": "`w_i`",
    "label_thresholds": "order of the logits",
    "experimental_labels": "unreliable on real photos",
    "loss_reduction": "Eq. 4",
    "use_text_encoder": "text side",
    "text_memory_length": "`M`",
    "description_pieces": "after the first",
    "initializer_range": "Standard deviation",
    "layer_norm_eps": "`LN`",
    "problem_type": "at once",
}


def test_defaults_are_the_papers_network_for_bp4d():
    config = HiVAConfig()
    assert config.num_labels == 12
    assert config.au_labels == "AU1 AU2 AU4 AU6 AU7 AU10 AU12 AU14 AU15 AU17 AU23 AU24".split()
    assert config.label2id["AU12"] == config.au_labels.index("AU12")
    assert (config.hidden_size, config.image_size, config.num_neighbors) == (512, 224, 4)
    assert (config.num_attention_heads, config.intermediate_size, config.num_context_layers) == (8, 2048, 3)
    assert config.difference_loss_weight == 1e-5
    assert isinstance(config.backbone_config, TimmWrapperConfig)
    assert config.backbone_config.architecture == "swin_base_patch4_window7_224"
    assert isinstance(config.text_config, BertConfig)
    assert (config.text_config.num_hidden_layers, config.text_config.hidden_size) == (24, 1024)
    assert config.problem_type == "multi_label_classification"


def test_help_explains_every_field_with_its_paper_symbol():
    inherited = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    own = {field.name for field in dataclasses.fields(HiVAConfig)} - inherited
    assert own <= SYMBOLS.keys()
    entries = re.split(r"\n {4}(?=\w+ \()", HiVAConfig.__doc__)
    documented = {entry.split(" ", 1)[0]: " ".join(entry.split()) for entry in entries[1:]}
    for field, symbol in SYMBOLS.items():
        assert symbol in documented[field], field


def test_config_survives_saving(make_config, tmp_path):
    config = make_config(variant="no_ddca", text_level="sentence", label_weights=[0.5, 1.5, 1.0, 1.0])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is HiVAConfig
    assert loaded.au_labels == ["AU1", "AU4", "AU12", "AU25"]
    assert (loaded.variant, loaded.text_level, loaded.label_weights) == ("no_ddca", "sentence", [0.5, 1.5, 1.0, 1.0])
    assert loaded.backbone_config.to_dict() == config.backbone_config.to_dict()
    assert loaded.text_config.to_dict() == config.text_config.to_dict()


def test_thresholds_and_experimental_aus_survive_saving(make_config, tmp_path):
    make_config(label_thresholds=[0.3, 0.5, 0.25, 1], experimental_labels=["AU4"]).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.label_thresholds == loaded.au_thresholds == [0.3, 0.5, 0.25, 1]
    assert loaded.experimental_labels == ["AU4"]


def test_a_checkpoint_from_before_thresholds_has_half_for_all(make_config, tmp_path):
    make_config().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    settings = json.loads(file.read_text())
    for name in ("label_thresholds", "experimental_labels"):
        settings.pop(name, None)
    file.write_text(json.dumps(settings))
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.label_thresholds is None
    assert loaded.experimental_labels is None
    assert loaded.au_thresholds == [0.5, 0.5, 0.5, 0.5]


def test_backbone_is_chosen_by_configuration_or_dictionary():
    swin = SwinConfig(embed_dim=8)
    assert HiVAConfig(backbone_config=swin).backbone_config.embed_dim == 8
    from_dictionary = HiVAConfig(backbone_config={"model_type": "swin", "embed_dim": 8}).backbone_config
    assert isinstance(from_dictionary, SwinConfig)
    timm = HiVAConfig(backbone_config={"model_type": "timm_wrapper", "architecture": "convnext_base"}).backbone_config
    assert timm.architecture == "convnext_base"


def test_labels_saved_as_strings_come_back_in_order():
    """JSON has only strings for keys, and "10" stands before "2" among them."""
    labels = {str(index): f"AU{index + 1}" for index in reversed(range(12))}
    assert HiVAConfig(id2label=labels).au_labels == [f"AU{index + 1}" for index in range(12)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_neighbors": 0}, "`num_neighbors` is 0.*between 1 and 12"),
        ({"num_neighbors": 13}, "`num_neighbors` is 13.*12 AUs"),
        ({"id2label": {}}, "at least one AU"),
        ({"hidden_size": 100}, r"`hidden_size` \(100\).*`num_attention_heads` \(8\)"),
        ({"label_weights": [1.0]}, "`label_weights` has 1 entries.*12 AUs"),
        ({"label_weights": [1.0] * 11 + [float("nan")]}, "`label_weights` is nan for AU24.*at least 0"),
        ({"label_weights": [-1] * 12}, "`label_weights` is -1 for AU1"),
        ({"difference_loss_weight": -1.0}, "`difference_loss_weight` is -1.0.*at least 0"),
        ({"difference_loss_weight": float("nan")}, "`difference_loss_weight` is nan"),
        ({"num_attention_heads": 0}, "`num_attention_heads` is 0, but must be at least 1"),
        ({"hidden_size": 0}, "`hidden_size` is 0, but must be at least 1"),
        ({"num_context_layers": -1}, "`num_context_layers` is -1, but must be at least 0"),
        ({"label_thresholds": [0.5] * 11}, "`label_thresholds` has 11 entries.*12 AUs: AU1, AU2"),
        ({"label_thresholds": [0.5] * 11 + [1.5]}, "`label_thresholds` is 1.5 for AU24.*between 0 and 1"),
        ({"label_thresholds": [-0.1] + [0.5] * 11}, "`label_thresholds` is -0.1 for AU1.*between 0 and 1"),
        ({"label_thresholds": [float("nan")] * 12}, "`label_thresholds` is nan for AU1"),
        ({"label_thresholds": 0.4}, "label_thresholds"),
        ({"experimental_labels": ["AU12", "AU5", "AU99"]}, "`experimental_labels` holds 'AU5', 'AU99'.*AU1, AU2"),
        ({"num_trainable_text_layers": 25}, "`num_trainable_text_layers` is 25.*24 layers"),
        ({"num_trainable_text_layers": -1}, "`num_trainable_text_layers` is -1"),
        ({"text_memory_length": -1}, "`text_memory_length` is -1"),
        ({"text_level": "sentence", "text_memory_length": 2}, "one key per AU"),
        ({"description_pieces": ["a"], "text_memory_length": 9}, "`description_pieces` has 1 entries.*12 AUs"),
        ({"description_pieces": ["a b c"] * 12, "text_memory_length": 3}, "an entry of 3 word pieces.*has room for 2"),
        ({"description_pieces": ["a"] * 12}, "an entry of 1 word pieces.*has room for 0"),
        ({"problem_type": "single_label_classification"}, "AUs occur together"),
        ({"text_config": DistilBertConfig()}, "'distilbert'.*BERT's layout.*bert, roberta"),
        ({"text_level": "word"}, "text_level"),
        ({"loss_reduction": "max"}, "loss_reduction"),
        ({"image_size": "large"}, "image_size"),
    ],
)
def test_contradictions_are_refused(settings, message):
    with pytest.raises(StrictDataclassError) as error:
        HiVAConfig(**settings)
    assert re.search(message, str(error.value), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("id2label", "message"),
    [
        ({1: "AU1", 2: "AU2"}, r"`id2label` has the keys \[1, 2\], but the logits are numbered from 0"),
        ({"a": "AU1"}, r"`id2label` has the keys \['a'\]"),
        ({0: "AU1", 1: "AU1"}, "`id2label` names an AU twice: AU1, AU1"),
    ],
)
def test_wrong_labels_are_refused(id2label, message):
    with pytest.raises(ValueError, match=message):
        HiVAConfig(id2label=id2label)


def test_label_weights_may_be_whole_numbers(make_config):
    assert make_config(label_weights=[1, 2, 1, 0]).label_weights == [1, 2, 1, 0]


def test_fields_given_while_loading_are_checked_and_completed(tiny_model_dir, make_config):
    config = HiVAConfig.from_pretrained(tiny_model_dir, num_neighbors=3, label_thresholds=[0.1, 0.2, 0.3, 0.4])
    assert (config.num_neighbors, config.au_thresholds) == (3, [0.1, 0.2, 0.3, 0.4])
    for fields in ({"num_neighbors": 99}, {"label_thresholds": [2.0]}, {"text_level": "sentence"}):
        with pytest.raises(StrictDataclassError):
            HiVAConfig.from_pretrained(tiny_model_dir, **fields)
    # A dictionary changes parts of a tower.
    text_config = HiVAConfig.from_pretrained(tiny_model_dir, text_config={"hidden_act": "relu"}).text_config
    assert (text_config.hidden_act, text_config.hidden_size) == ("relu", 16)


def test_other_aus_leave_nothing_behind_that_was_made_for_the_former(make_config, tmp_path, caplog):
    settings = {"label_weights": [1.0] * 4, "label_thresholds": [0.4] * 4, "experimental_labels": ["AU25"]}
    memory = {"text_memory_length": 3, "description_pieces": ["a b"] * 4}
    make_config(**settings, **memory).save_pretrained(tmp_path)
    labels = {0: "AU1", 1: "AU2", 2: "AU6", 3: "AU12", 4: "AU15"}
    logging.enable_propagation()
    config = HiVAConfig.from_pretrained(tmp_path, id2label=labels, num_labels=5, label_thresholds=[0.3] * 5)
    logging.disable_propagation()
    assert "dropped: label_weights, experimental_labels, description_pieces, text_memory_length." in caplog.text
    assert (config.id2label, config.label2id["AU15"], config.au_thresholds) == (labels, 4, [0.3] * 5)
    assert (config.label_weights, config.experimental_labels, config.description_pieces) == (None, None, None)
    assert config.text_memory_length == 0
    assert HiVAConfig.from_pretrained(tmp_path, num_labels=2).label_thresholds is None
    same = HiVAConfig.from_pretrained(tmp_path, id2label={"0": "AU1", "1": "AU4", "2": "AU12", "3": "AU25"})
    assert (same.label_thresholds, same.text_memory_length) == ([0.4] * 4, 3)


def test_labels_are_in_the_order_of_the_logits_whatever_the_order_of_the_file(make_config):
    labels = [f"AU{number}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17)]
    config = make_config(id2label={key: labels[int(key)] for key in sorted(map(str, range(12)))})
    assert list(config.id2label.values()) == config.au_labels == labels


def test_variants_say_what_they_use(make_config):
    for variant in ("full", "shuffled_descriptions", "names_only", "random_vectors"):
        config = make_config(variant=variant)
        assert config.uses_ddca
        assert config.uses_cdca
    assert not make_config(variant="baseline").uses_text
    assert make_config(variant="random_vectors").uses_text
    assert not make_config(variant="random_vectors").reads_descriptions
