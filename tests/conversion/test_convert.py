"""Research checkpoints are made here by taking a real small network apart, and have to become that network again."""

import json
import re
from collections import OrderedDict

import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, TimmWrapperConfig

from hiva_hf import HiVAForAUDetection
from hiva_hf.conversion import ConversionError, convert_checkpoint


IMAGE_SIZE = 64


@pytest.fixture(scope="module")
def config_settings():
    return {
        "image_size": IMAGE_SIZE,
        "backbone_config": TimmWrapperConfig(
            architecture="swin_base_patch4_window7_224",
            do_pooling=False,
            model_args={
                "img_size": IMAGE_SIZE,
                "window_size": 2,
                "embed_dim": 8,
                "depths": (1, 2, 1, 1),
                "num_heads": (1, 1, 2, 2),
            },
        ),
    }


@pytest.fixture
def config(make_config, config_settings):
    return make_config(**config_settings)


@pytest.fixture
def original(config):
    """A detector all of whose weights and statistics differ from what a new one starts with."""
    model = HiVAForAUDetection(config).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) * 0.2 + 0.05)
    return model


def take_apart(model, swin_naming="original") -> dict[str, torch.Tensor]:
    """The weights as research code has them: one module for each AU, linear layers, packed attention."""
    count = model.config.num_labels
    research = {}
    for key, value in model.state_dict().items():
        if key.startswith("vision_model.backbone.timm_model."):
            key = key.replace("vision_model.backbone.timm_model.", "backbone.")
            if swin_naming == "original":
                key = re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", key)
            research[key] = value
        elif key.startswith("vision_model.stem"):
            linear = value[:, :, 0, 0] if value.ndim == 4 else value
            research[
                key.replace("vision_model.stem_norm", "global_linear.bn").replace(
                    "vision_model.stem", "global_linear.fc"
                )
            ] = linear
        elif key.startswith("vision_model.branches"):
            parts = value.chunk(count) if value.ndim else [value] * count
            kind, name = ("bn" if "_norm" in key else "fc"), key.rpartition(".")[2]
            for au, part in enumerate(parts):
                research[f"head.class_linears.{au}.{kind}.{name}"] = part[:, :, 0, 0] if part.ndim == 4 else part
        elif key.startswith("text_model.encoder."):
            research[key.replace("text_model.encoder.", "bert.")] = value
        elif key.startswith("text_model.projection."):
            research[key.replace("text_model.projection", "text_projection")] = value
        elif key.startswith("text_model.context_layers."):
            research |= pack_context_layer(model, key, value)
        elif key.startswith("interaction.cdca."):
            research[key.removeprefix("interaction.")] = ungroup(value[0], key)
        else:
            name = key.removeprefix("interaction.").replace("classifier", "heads")
            head, _, rest = name.partition(".")
            for au in range(count):
                research[f"{head}.{au}.{rest}"] = ungroup(value[au], key)
    return research


def ungroup(value, key):
    return value[0] if ".norm." in key or key.endswith("bias") else value.T


def pack_context_layer(model, key, value):
    """Keys of torch.nn.TransformerEncoderLayer."""
    *_, index, kind, name = ["", *key.replace("attention.", "attention_").split(".")[2:]]
    prefix = f"context_encoder.layers.{index}"
    if kind == "attention_q_proj":
        attention = model.text_model.context_layers[int(index)].attention
        parts = [getattr(getattr(attention, part), name) for part in ("q_proj", "k_proj", "v_proj")]
        return {f"{prefix}.self_attn.in_proj_{name}": torch.cat(parts).detach()}
    if kind in ("attention_k_proj", "attention_v_proj"):
        return {}
    kinds = {
        "attention_o_proj": "self_attn.out_proj",
        "up_proj": "linear1",
        "down_proj": "linear2",
        "attention_norm": "norm1",
        "output_norm": "norm2",
    }
    return {f"{prefix}.{kinds[kind]}.{name}": value}


def save(content, path):
    torch.save(content, path)
    return path


@pytest.fixture
def research(original):
    return take_apart(original)


@pytest.mark.parametrize("swin_naming", ["original", "timm"])
def test_converted_weights_give_the_same_logits_bit_by_bit(original, config, tokenizer, tmp_path, swin_naming):
    weights = {f"module.{key}": value for key, value in take_apart(original, swin_naming).items()}
    weights["module.backbone.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(4, 4)
    training_state = {"epoch": 19, "state_dict": OrderedDict(weights), "optimizer": {"state": {}, "param_groups": []}}
    checkpoint = save(training_state, tmp_path / "cur_model_fold1.pth")

    assignment = convert_checkpoint(checkpoint, tmp_path / "out", config, tokenizer=tokenizer.name_or_path)

    converted = AutoModel.from_pretrained(tmp_path / "out")
    original.encode_descriptions(tokenizer)
    pixel_values = AutoImageProcessor.from_pretrained(tmp_path / "out")(
        images=torch.randint(0, 256, (3, 100, 100), dtype=torch.uint8), return_tensors="pt"
    )["pixel_values"]
    with torch.no_grad():
        assert torch.equal(converted(pixel_values).logits, original(pixel_values).logits)
    assert assignment.ignored == ["backbone.layers.0.blocks.0.attn.relative_position_index"]
    assert (tmp_path / "out" / "model.safetensors").is_file()
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert record["weights"]["classifier.weight"] == [f"heads.{au}.weight" for au in range(config.num_labels)]


def test_text_encoder_can_be_left_out(research, config, tokenizer, tmp_path):
    checkpoint = save(research, tmp_path / "model.pth")
    with pytest.raises(ConversionError, match="pass `tokenizer`"):
        convert_checkpoint(checkpoint, tmp_path / "out", config, drop_text_encoder=True)
    convert_checkpoint(checkpoint, tmp_path / "out", config, tokenizer=tokenizer.name_or_path, drop_text_encoder=True)
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert model.text_model is None
    assert model(torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE)).logits.shape == (1, config.num_labels)


def test_own_state_dict_needs_no_rule(original, config, tmp_path):
    checkpoint = save(original.state_dict(), tmp_path / "own.pt")
    convert_checkpoint(checkpoint, tmp_path / "out", config)
    converted = AutoModel.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(converted[key], value) for key, value in original.state_dict().items())


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_users_rules_come_first(original, research, config, tmp_path, suffix):
    renamed = {key.replace("heads.", "au_head_").replace("fusion.", "fuse_"): value for key, value in research.items()}
    renamed["momentum.queue"] = torch.zeros(2)
    rules = {
        r"au_head_(?P<au>\d+)\.(.*)": r"classifier.\2",
        r"fuse_(?P<au>\d+)\.(.*)": r"interaction.fusion.\2",
        r"momentum\..*": None,
    }
    mapping = tmp_path / f"rules.{suffix}"
    # JSON is YAML as well; what differs is how people write it.
    mapping.write_text(
        json.dumps(rules)
        if suffix == "json"
        else "\n".join(f"{key}: {value or 'null'}" for key, value in rules.items())
    )
    checkpoint = save(renamed, tmp_path / "model.pth")
    with pytest.raises(ConversionError, match=r"(?s)no rule matches.*au_head_0.*nothing goes to.*classifier\.weight"):
        convert_checkpoint(checkpoint, tmp_path / "out", config)
    assignment = convert_checkpoint(checkpoint, tmp_path / "out", config, mapping)
    assert assignment.ignored == ["momentum.queue"]
    converted = AutoModel.from_pretrained(tmp_path / "out")
    assert torch.equal(converted.classifier.weight, original.classifier.weight)


def drop(name):
    return lambda weights: weights.pop(name)


def replace(name, value):
    return lambda weights: weights.update({name: value})


def cast(name, change):
    return lambda weights: weights.update({name: change(weights[name])})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            replace("heads.1.weight", torch.zeros(1, 7)),
            r"heads\.1\.weight has the shape \[1, 7\].*classifier\.weight of",
        ),
        (replace("cdca.text_to_vision.norm.bias", torch.zeros(7)), r"norm\.bias has the shape \[7\].*cdca"),
        # A tensor that claims 4 TB without having them.
        (replace("text_projection.weight", torch.zeros(1).expand(10**6, 10**6)), r"text_projection\.weight has"),
        (drop("global_linear.fc.bias"), r"nothing goes to.*vision_model\.stem\.bias"),
        (replace("sentiment.weight", torch.zeros(1)), r"no rule matches.*sentiment\.weight"),
        (replace("backbone.extra.weight", torch.zeros(1)), r"backbone\.extra\.weight -> vision_model\.backbone"),
        (drop("heads.2.weight"), r"one tensor for each of 4 AUs.*\[0, 1, 3\]"),
        (replace("text_encoder.embeddings.word_embeddings.weight", torch.zeros(1)), "both go to text_model"),
        (cast("heads.1.weight", lambda weight: weight.to_sparse()), r"heads\.1\.weight is .* that is sparse"),
        (cast("heads.1.weight", lambda weight: weight.to("meta")), r"heads\.1\.weight is .* empty \(meta\)"),
        (cast("heads.1.weight", lambda weight: weight.to(torch.int8)), r"heads\.1\.weight is a tensor of torch\.int8"),
        (
            cast("heads.1.weight", lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)),
            r"heads\.1\.weight is .* quantized",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(research, config, tmp_path, damage, message):
    damage(research)
    checkpoint = save(research, tmp_path / "model.pth")
    with pytest.raises(ConversionError, match=f"(?s){message}"):
        convert_checkpoint(checkpoint, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_that_is_there_is_filled(research, config, tmp_path, monkeypatch):
    """It may be a mounted one, or a link to another disk."""
    checkpoint = save(research, tmp_path / "model.pth")
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path / "link")
    convert_checkpoint(checkpoint, ".", config)
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "conversion.json"}
    assert {path.name for path in (tmp_path / "disk").iterdir()} == names
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "link", "model.pth"}


def test_full_folder_is_not_written_to(research, config, tmp_path):
    checkpoint = save(research, tmp_path / "model.pth")
    with pytest.raises(ConversionError, match="is not empty"):
        convert_checkpoint(checkpoint, tmp_path, config)
