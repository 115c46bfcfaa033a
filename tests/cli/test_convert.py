import argparse
import json

import pytest
import torch
from transformers import AutoModel

from hiva_hf import HiVAForAUDetection
from hiva_hf.cli import convert


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    convert.add_parser(parser.add_subparsers())
    args = parser.parse_args(["convert", *map(str, arguments)])
    return args.run(args)


@pytest.fixture
def checkpoint(tiny_detector, tmp_path):
    tiny_detector.text_memory = tiny_detector.text_memory_mask = None
    torch.save(tiny_detector.state_dict(), tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_command_converts_and_says_what_to_do_next(checkpoint, make_config, tmp_path, capsys):
    (tmp_path / "config.json").write_text(make_config().to_json_string())
    assert run(checkpoint, tmp_path / "out", "--config", tmp_path / "config.json") == 0
    assert type(AutoModel.from_pretrained(tmp_path / "out")) is HiVAForAUDetection
    assert "call model.encode_descriptions(tokenizer)" in capsys.readouterr().out


def test_dataset_gives_labels_and_graph():
    config = convert._read_config("disfa", None)
    assert config.au_labels == ["AU1", "AU2", "AU4", "AU6", "AU9", "AU12", "AU25", "AU26"]
    assert config.num_neighbors == 3
    assert convert._read_config("bp4d", None).num_neighbors == 4


@pytest.mark.parametrize("content", ["no JSON", json.dumps(["hidden_size"])])
def test_config_that_is_none_is_named(checkpoint, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is not a JSON object"):
        run(checkpoint, tmp_path / "out", "--config", tmp_path / "config.json")
