"""Narrow layers of int8 programs, which processors with matrix units compute in 16 bits."""

import pytest
import torch

from hiva_hf.export import load_exported


openvino = pytest.importorskip("openvino")
precision = pytest.importorskip("hiva_hf.export.openvino_precision")


def channels_in_8_bits(model) -> list[int]:
    """Of linear layers, in or out, whichever are fewer."""
    products = [node for node in model.get_ops() if node.get_type_name() == "MatMul"]
    quantized = [node for node in products if node.input_value(0).get_node().get_type_name() == "FakeQuantize"]
    return [min(node.input_value(1).get_shape()[-2:]) for node in quantized]


def test_narrow_layers_alone_are_kept_in_16_bits(exports):
    model = openvino.Core().read_model(exports("openvino", "int8")[0] / "openvino_model.xml")
    before = channels_in_8_bits(model)
    assert min(before) == 96
    precision.keep_narrow_layers_in_16_bits(model)
    assert channels_in_8_bits(model) == [number for number in before if number >= 192]


def test_weights_of_kept_layers_are_those_of_the_program(exports):
    model = openvino.Core().read_model(exports("openvino", "int8")[0] / "openvino_model.xml")
    narrow = {
        node.get_friendly_name(): openvino.Model([node.input_value(1)], [])
        for node in model.get_ops()
        if node.get_type_name() == "MatMul" and node.input_value(1).get_node().get_type_name() == "Multiply"
    }
    expected = {name: openvino.compile_model(weights, "CPU")({})[0] for name, weights in narrow.items()}
    precision.keep_narrow_layers_in_16_bits(model)
    kept = {
        node.get_friendly_name(): node.input_value(1).get_node().data
        for node in model.get_ops()
        if node.get_friendly_name() in narrow and node.input_value(1).get_node().get_type_name() == "Constant"
    }
    assert 0 < len(kept) < len(narrow)
    for name, weights in kept.items():
        assert (weights == expected[name]).all()


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_programs_without_layers_in_8_bits_stay_as_they_are(exports, dtype):
    model = openvino.Core().read_model(exports("openvino", dtype)[0] / "openvino_model.xml")
    before = [node.get_type_name() for node in model.get_ordered_ops()]
    precision.keep_narrow_layers_in_16_bits(model)
    assert [node.get_type_name() for node in model.get_ordered_ops()] == before


def test_matrix_units_decide(exports, detector, monkeypatch):
    folder, pixels = exports("openvino", "int8")[0], torch.randn(2, 3, 56, 56)
    logits = []
    for has_matrix_units in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda answer=has_matrix_units: answer)
        logits.append(load_exported(folder)(pixel_values=pixels).logits)
    assert not torch.equal(*logits)
    with torch.no_grad():
        expected = detector(pixel_values=pixels).logits
    torch.testing.assert_close(torch.stack(logits), expected.expand(2, -1, -1), atol=0.3, rtol=0)
