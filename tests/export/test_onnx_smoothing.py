"""What linear layers read from layer norms, evened out before ONNX Runtime rounds it to 8 bits."""

import pytest
import torch
from torch import nn


onnx_ir = pytest.importorskip("onnx_ir")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from transformers.exporters import ExportFormat  # noqa: E402

from hiva_hf.export.onnx_quantizer import LinearLayersQuantizer  # noqa: E402
from hiva_hf.export.onnx_smoothing import smooth  # noqa: E402


CHANNELS = 32
# What large activations of a transformer look like: one channel, fifty times as large as the others.
LOUD = 5


class Block(nn.Module):
    """Readers of every kind: two of one norm, one beside a sum, one of a GELU; two norms share the weights of one."""

    def __init__(self):
        super().__init__()
        self.norm, self.last_norm = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS, bias=False)
        self.first, self.second = nn.Linear(CHANNELS, 48), nn.Linear(CHANNELS, 48)
        self.down, self.inner = nn.Linear(48, CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.last = nn.Linear(CHANNELS, CHANNELS)
        self.last_norm.weight = self.norm.weight
        with torch.no_grad():
            self.norm.weight[LOUD] = 50
            self.norm.bias.normal_()

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        normalized = self.norm(pixel_values)
        hidden_states = self.down(nn.functional.gelu(self.first(normalized) * self.second(normalized).tanh()))
        summed = self.norm(hidden_states)
        hidden_states = summed + self.inner(summed)
        return self.last(self.last_norm(hidden_states))


@pytest.fixture
def block() -> nn.Module:
    torch.manual_seed(0)
    return Block().eval().requires_grad_(False)


@pytest.fixture
def inputs() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(16, 7, CHANNELS)


def export(block: nn.Module, inputs: torch.Tensor):
    """An `onnx_ir.Model`."""
    shapes = {"pixel_values": {0: torch.export.Dim("batch")}}
    program = torch.onnx.export(
        block, (), kwargs={"pixel_values": inputs}, dynamic_shapes=shapes, dynamo=True, verbose=False
    )
    return program.model


def run(model, inputs: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    return torch.from_numpy(session.run(None, {"pixel_values": inputs.numpy()})[0])


def one_by_one(inputs: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [{"pixel_values": part} for part in inputs.split(1)]


def smoothed_products(model) -> list:
    """Their weights, in the order of the graph, each `(in_channels, out_channels)`."""
    products = [node for node in model.graph if node.op_type == "MatMul"]
    weights = [node.inputs[1] for node in products if node.inputs[1].name.endswith("_smoothed")]
    return [torch.from_numpy(weight.const_value.numpy()) for weight in weights]


def test_results_and_outputs_stay(block, inputs):
    model = export(block, inputs)
    outputs = [value.name for value in model.graph.outputs]
    smooth(model, one_by_one(inputs))
    torch.testing.assert_close(run(model, inputs), block(inputs), atol=1e-4, rtol=1e-4)
    assert [value.name for value in model.graph.outputs] == outputs


def test_channels_meet_half_way(block, inputs):
    model = export(block, inputs)
    smooth(model, one_by_one(inputs))
    first, second, _ = smoothed_products(model)
    seen = block.norm(inputs).abs().amax(dim=(0, 1))
    before = torch.cat([block.first.weight, block.second.weight]).abs().amax(dim=0)
    # Both ranges are the geometric mean of what they were.
    torch.testing.assert_close(torch.cat([first, second], dim=1).abs().amax(dim=1), (seen * before).sqrt())


def test_layers_that_read_a_norm_which_nothing_else_reads_are_smoothed(block, inputs):
    model = export(block, inputs)
    smooth(model, one_by_one(inputs))
    weights = [node.inputs[1].const_value.numpy() for node in model.graph if node.op_type == "MatMul"]
    layers = (block.first, block.second, block.down, block.inner, block.last)
    is_kept = [
        torch.equal(torch.tensor(weight).T, layer.weight) for weight, layer in zip(weights, layers, strict=True)
    ]
    assert is_kept == [False, False, True, True, False]


def test_weights_as_they_were_are_dropped(block, inputs):
    model = export(block, inputs)
    smooth(model, one_by_one(inputs))
    assert all(value.uses() for value in model.graph.initializers.values())


def test_loud_channel_costs_less(block, inputs, monkeypatch):
    exact, errors = block(inputs), {}
    for name in ("smoothed", "as it is"):
        if name == "as it is":
            monkeypatch.setattr("hiva_hf.export.onnx_quantizer.smooth", lambda *args: None)
        sample = {"pixel_values": inputs}
        quantized = LinearLayersQuantizer(inputs).quantize(export(block, inputs), sample, ExportFormat.ONNX)
        errors[name] = (run(quantized, inputs) - exact).abs().mean().item()
    assert errors["smoothed"] < 0.75 * errors["as it is"]


def test_silent_channels_are_no_trouble(block, inputs):
    with torch.no_grad():
        block.norm.weight[3] = block.norm.bias[3] = 0
        block.last.weight[:, 9] = 0
    model = export(block, inputs)
    smooth(model, one_by_one(inputs))
    torch.testing.assert_close(run(model, inputs), block(inputs), atol=1e-4, rtol=1e-4)
