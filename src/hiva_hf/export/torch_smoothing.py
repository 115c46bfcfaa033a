"""Smooth the inputs of linear layers before PyTorch quantizes them to 8 bits (see `smoothing.py`).

The division is one more step of the loop that quantizes. The outputs of linear layers and of their activations are not
smoothed: the layer quantizes them as it computes, and a division would write and read them once more, which took 4 %
of a Swin-B's time, for a third of what smoothing gains.
"""

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import torch
from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase

from .smoothing import smoothing_scale


# Operators that quantize their own results.
_ROUNDING = {torch.ops.aten.linear.default, torch.ops.aten.gelu.default, torch.ops.aten.relu.default}


@torch.no_grad()
def smooth(prepared: torch.fx.GraphModule, calibration: Iterable[dict[str, Any]]) -> None:
    """
    Smooths the inputs of linear layers in place; their outputs stay the same up to rounding.

    Args:
        prepared: The result of `prepare_pt2e`, not yet calibrated. Its weights are replaced, not changed.
        calibration: Inputs of the model.
    """
    readers = _linear_layers(prepared)
    ranges = _channel_ranges(prepared, list(readers), calibration)
    for observer, layers in readers.items():
        scale = smoothing_scale(ranges[observer], [_weight(prepared, layer) for layer in layers])
        for layer in layers:
            _replace(prepared, _weight_name(layer), _weight(prepared, layer) * scale)
        _divide(prepared, observer, scale)
    prepared.graph.lint()
    prepared.recompile()


def _linear_layers(prepared: torch.fx.GraphModule) -> dict[torch.fx.Node, list[torch.fx.Node]]:
    """Maps each observer whose values only linear layers read, with weights not used elsewhere, to these layers."""
    uses = Counter(node.target for node in prepared.graph.nodes if node.op == "get_attr" for _ in node.users)
    observers = [node for node in prepared.graph.nodes if _is_observer(prepared, node) and node.users]
    return {
        node: list(node.users)
        for node in observers
        if node.args[0].target not in _ROUNDING
        and all(_is_linear(prepared, user, node) and uses[_weight_name(user)] == 1 for user in node.users)
    }


def _is_observer(prepared: torch.fx.GraphModule, node: torch.fx.Node) -> bool:
    if node.op != "call_module":
        return False
    return isinstance(prepared.get_submodule(node.target), UniformQuantizationObserverBase)


def _is_linear(prepared: torch.fx.GraphModule, node: torch.fx.Node, observer: torch.fx.Node) -> bool:
    """Whether a node is a linear layer that reads the observed values, with a weight that is observed for it alone."""
    if node.target is not torch.ops.aten.linear.default or node.args[0] is not observer:
        return False
    weight = node.args[1]
    return _is_observer(prepared, weight) and len(weight.users) == 1 and weight.args[0].op == "get_attr"


def _weight_name(layer: torch.fx.Node) -> str:
    return layer.args[1].args[0].target


def _weight(prepared: torch.fx.GraphModule, layer: torch.fx.Node) -> torch.Tensor:
    """`(out_channels, in_channels)`."""
    return attrgetter(_weight_name(layer))(prepared)


def _channel_ranges(
    prepared: torch.fx.GraphModule, observers: list[torch.fx.Node], calibration: Iterable[dict[str, Any]]
) -> dict[torch.fx.Node, torch.Tensor]:
    """The largest magnitude of each channel, `(in_channels,)`, for each of these observers."""
    ranges = {}

    def look(node: torch.fx.Node, values: torch.Tensor) -> None:
        largest = values.abs().flatten(0, -2).amax(dim=0)
        ranges[node] = torch.maximum(ranges[node], largest) if node in ranges else largest

    hooks = [
        prepared.get_submodule(node.target).register_forward_pre_hook(lambda _, args, node=node: look(node, *args))
        for node in observers
    ]
    for inputs in calibration:
        prepared(**inputs)
    for hook in hooks:
        hook.remove()
    # The observers have seen values that were not yet smoothed.
    for module in prepared.modules():
        if isinstance(module, UniformQuantizationObserverBase):
            module.reset_min_max_vals()
    return ranges


def _replace(prepared: torch.fx.GraphModule, name: str, value: torch.Tensor) -> None:
    owner, _, attribute = name.rpartition(".")
    owner = prepared.get_submodule(owner)
    delattr(owner, attribute)
    owner.register_buffer(attribute, value)


def _divide(prepared: torch.fx.GraphModule, observer: torch.fx.Node, scale: torch.Tensor) -> None:
    """Divides the input of an observer."""
    name = f"{observer.target}_smoothing"
    prepared.register_buffer(name, 1 / scale)
    with prepared.graph.inserting_before(observer):
        factor = prepared.graph.get_attr(name)
        divided = prepared.graph.call_function(torch.ops.aten.mul.Tensor, (observer.args[0], factor))
    observer.replace_input_with(observer.args[0], divided)
