import argparse
import pickle
import zipfile

import pytest
import torch

from hiva_hf.conversion import ConversionError
from hiva_hf.conversion.research_checkpoint import read_research_checkpoint


class RunsCode:
    """What it says, when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_checkpoint_does_not_run(tmp_path, save):
    trace = tmp_path / "ran"
    save({"state_dict": {"weight": torch.zeros(2)}, "extra": RunsCode(trace)}, tmp_path / "evil.pth")
    with pytest.raises(ConversionError, match="contains more than tensors.*is rejected") as error:
        read_research_checkpoint(tmp_path / "evil.pth")
    # The remedy is not to run it.
    assert "weights_only" not in str(error.value)
    assert not trace.exists()


def test_what_it_asks_for_is_named(tmp_path):
    torch.save({"state_dict": {"w": torch.zeros(2)}, "args": argparse.Namespace(lr=1)}, tmp_path / "args.pth")
    with pytest.raises(ConversionError, match=r"asks for argparse\.Namespace"):
        read_research_checkpoint(tmp_path / "args.pth")


@pytest.mark.parametrize("nest", [(), ("state_dict",), ("model",), ("model", "state_dict")])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_weights_are_found_where_training_scripts_put_them(tmp_path, nest, prefix):
    content = {f"{prefix}{key}": torch.full((2,), number) for number, key in enumerate(("a.weight", "b.bias"))}
    for name in reversed(nest):
        content = {name: content, "epoch": 3}
    torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=prefix != "module.")
    found = read_research_checkpoint(tmp_path / "model.pth")
    assert {key: value.tolist() for key, value in found.items()} == {"a.weight": [0, 0], "b.bias": [1, 1]}


def test_a_prefix_that_only_some_keys_have_stays(tmp_path):
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "model.pth")
    assert set(read_research_checkpoint(tmp_path / "model.pth")) == {"module.a", "b"}


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_research_checkpoint(tmp_path / "none.pth")
    itself = {"epoch": torch.zeros(1)}
    itself["model"] = itself
    for content in ({"epoch": 3}, {0: torch.zeros(1)}, itself):
        torch.save(content, tmp_path / "empty.pth")
        with pytest.raises(ConversionError, match="contains no state dict"):
            read_research_checkpoint(tmp_path / "empty.pth")
    with zipfile.ZipFile(tmp_path / "archive.pth", "w") as archive:
        archive.writestr("../../outside.txt", "no")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    torch.save({"w": torch.zeros(1000)}, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:1000])
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    for name in ("archive.pth", "text.pth", "cut.pth", "text.safetensors"):
        with pytest.raises(ConversionError, match=name):
            read_research_checkpoint(tmp_path / name)
    assert not (tmp_path.parents[1] / "outside.txt").exists()
