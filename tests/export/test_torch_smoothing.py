"""What linear layers read, evened out before it is rounded to 8 bits."""

import copy

import pytest
import torch
from torch import nn


pytest.importorskip("torchao")

from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase  # noqa: E402
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e  # noqa: E402

from hiva_hf.export.torch_quantizer import InductorQuantizer  # noqa: E402
from hiva_hf.export.torch_smoothing import smooth  # noqa: E402


CHANNELS = 32
# What large activations of a transformer look like: one channel, fifty times as large as the others.
LOUD = 5


class Block(nn.Module):
    """Readers of every kind: two of one norm, of a product, a GELU and a layer each one, and two with one weight."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.first, self.second = nn.Linear(CHANNELS, 48), nn.Linear(CHANNELS, 48)
        self.down, self.up = nn.Linear(48, CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.last = nn.Linear(CHANNELS, CHANNELS)
        self.shared = nn.Linear(CHANNELS, CHANNELS)
        with torch.no_grad():
            self.norm.weight[LOUD] = 50

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        normalized = self.norm(pixel_values)
        hidden_states = self.down(nn.functional.gelu(self.first(normalized)) * self.second(normalized).tanh())
        hidden_states = self.last(self.up(nn.functional.gelu(hidden_states)))
        return self.shared(self.shared(hidden_states).tanh())


@pytest.fixture
def block() -> nn.Module:
    torch.manual_seed(0)
    return Block().eval().requires_grad_(False)


@pytest.fixture
def inputs() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(16, 7, CHANNELS)


def export(block: nn.Module, inputs: torch.Tensor) -> torch.fx.GraphModule:
    shapes = {"pixel_values": {0: torch.export.Dim("batch")}}
    return torch.export.export(block, (), {"pixel_values": inputs}, dynamic_shapes=shapes).module()


def prepare(block: nn.Module, inputs: torch.Tensor) -> torch.fx.GraphModule:
    return prepare_pt2e(export(block, inputs), InductorQuantizer(inputs).quantizer)


def smoothed_weights(prepared: torch.fx.GraphModule) -> set[str]:
    return {name for name, _ in prepared.named_buffers() if name.endswith(".weight")}


def test_results_stay(block, inputs):
    prepared = prepare(block, inputs)
    smooth(prepared, [{"pixel_values": inputs}])
    torch.testing.assert_close(prepared(pixel_values=inputs), block(inputs), atol=1e-4, rtol=1e-4)


def test_channels_meet_half_way(block, inputs):
    prepared = prepare(block, inputs)
    smooth(prepared, [{"pixel_values": part} for part in inputs.split(4)])
    weights = torch.cat([prepared.get_buffer("first.weight"), prepared.get_buffer("second.weight")])
    seen = block.norm(inputs).abs().amax(dim=(0, 1))
    before = torch.cat([block.first.weight, block.second.weight]).abs().amax(dim=0)
    # Both ranges are the geometric mean of what they were.
    torch.testing.assert_close(weights.abs().amax(dim=0), (seen * before).sqrt())


def test_layers_of_what_is_not_rounded_yet_with_weights_of_their_own_are_smoothed(block, inputs):
    prepared = prepare(block, inputs)
    smooth(prepared, [{"pixel_values": inputs}])
    assert smoothed_weights(prepared) == {"first.weight", "second.weight", "down.weight"}


def test_model_keeps_its_weights(block, inputs):
    before = copy.deepcopy(block.state_dict())
    smooth(prepare(block, inputs), [{"pixel_values": inputs}])
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())


def test_calibration_begins_anew(block, inputs):
    """What observers saw on the way was not smoothed yet."""
    prepared = prepare(block, inputs)
    smooth(prepared, [{"pixel_values": inputs}])
    observers = [module for module in prepared.modules() if isinstance(module, UniformQuantizationObserverBase)]
    assert observers and not any(observer.max_val.isfinite().any() for observer in observers)


def test_loud_channel_costs_less(block, inputs, monkeypatch):
    exact, errors = block(inputs), {}
    for name in ("smoothed", "as it is"):
        if name == "as it is":
            monkeypatch.setattr("hiva_hf.export.torch_quantizer.smooth", lambda *args: None)
        quantized = InductorQuantizer(inputs).quantize(export(block, inputs), {"pixel_values": inputs})
        errors[name] = (quantized(pixel_values=inputs) - exact).abs().mean().item()
    assert errors["smoothed"] < 0.75 * errors["as it is"]


def test_silent_channels_are_no_trouble(block, inputs):
    with torch.no_grad():
        block.norm.weight[3] = block.norm.bias[3] = 0
        block.down.weight[:, 9] = 0
    prepared = prepare(block, inputs)
    smooth(prepared, [{"pixel_values": inputs}])
    torch.testing.assert_close(prepared(pixel_values=inputs), block(inputs), atol=1e-4, rtol=1e-4)
