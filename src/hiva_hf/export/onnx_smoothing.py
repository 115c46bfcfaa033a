"""Smooth the inputs of linear layers before ONNX Runtime quantizes them to 8 bits (see `smoothing.py`).

Layers that read a layer norm are smoothed: the division is folded into its scale and shift, at no cost. Before any
other layer, the division would be an operator of its own over the whole input. ONNX Runtime's option for this needs a
part of neural-compressor that its version 3 no longer has.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx_ir
import onnxruntime
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass

from .smoothing import smoothing_scale


_PRODUCT, _LAYER_NORM = "MatMul", "LayerNormalization"


def smooth(model: onnx_ir.Model, calibration: Iterable[dict[str, torch.Tensor]]) -> None:
    """
    Smooths the inputs of linear layers in place; their outputs stay the same up to rounding.

    Args:
        model: The model; its weights are replaced, not changed.
        calibration: Inputs of the model.
    """
    readers = _readers(model.graph)
    ranges = _channel_ranges(model, list(readers), calibration)
    for (norm, layers), channel_range in zip(readers.items(), ranges, strict=True):
        weights = [_tensor(layer.inputs[1]) for layer in layers]
        scale = smoothing_scale(channel_range, [weight.T for weight in weights])
        for layer, weight in zip(layers, weights, strict=True):
            _replace(model.graph, layer, 1, weight * scale[:, None])
        for index in _scale_and_shift(norm):
            _replace(model.graph, norm, index, _tensor(norm.inputs[index]) / scale)
    # Otherwise the old weights would be saved beside the 8-bit ones.
    RemoveUnusedNodesPass()(model)


def _readers(graph: onnx_ir.Graph) -> dict[onnx_ir.Node, list[onnx_ir.Node]]:
    """Maps each layer norm over channels that only linear layers read to these layers."""
    norms = [node for node in graph if node.op_type == _LAYER_NORM and _is_over_channels(node)]
    readers = {norm: [use.node for use in norm.outputs[0].uses()] for norm in norms}
    return {
        norm: layers
        for norm, layers in readers.items()
        if layers
        and not norm.outputs[0].is_graph_output()
        and all(_is_linear(layer, norm.outputs[0]) for layer in layers)
    }


def _scale_and_shift(norm: onnx_ir.Node) -> list[int]:
    """Indices of scale and shift among the inputs of a layer norm; the shift is optional."""
    return [index for index, value in enumerate(norm.inputs) if index > 0 and value is not None]


def _is_over_channels(norm: onnx_ir.Node) -> bool:
    return all(_is_constant(norm.inputs[index], rank=1) for index in _scale_and_shift(norm))


def _is_linear(node: onnx_ir.Node, read: onnx_ir.Value) -> bool:
    return node.op_type == _PRODUCT and node.inputs[0] is read and _is_constant(node.inputs[1], rank=2)


def _is_constant(value: onnx_ir.Value, rank: int) -> bool:
    return value.is_initializer() and len(value.shape) == rank


def _tensor(value: onnx_ir.Value) -> torch.Tensor:
    return torch.tensor(value.const_value.numpy())


def _channel_ranges(
    model: onnx_ir.Model, norms: list[onnx_ir.Node], calibration: Iterable[dict[str, torch.Tensor]]
) -> list[torch.Tensor]:
    """The largest magnitude of each channel, `(channels,)`, in the output of each of these layer norms."""
    ranges = [torch.zeros(norm.inputs[1].shape[0]) for norm in norms]
    names, num_outputs = [norm.outputs[0].name for norm in norms], len(model.graph.outputs)
    with tempfile.TemporaryDirectory() as folder:
        # As a file with external weights: in memory, a model is limited to 2 GB.
        path = Path(folder) / "model.onnx"
        model.graph.outputs.extend(norm.outputs[0] for norm in norms)
        onnx_ir.save(model, path, external_data=f"{path.name}.data")
        del model.graph.outputs[num_outputs:]
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for inputs in calibration:
            feed = {name: value.numpy() for name, value in inputs.items()}
            for index, seen in enumerate(session.run(names, feed)):
                largest = torch.from_numpy(seen).abs().flatten(0, -2).amax(dim=0)
                ranges[index] = torch.maximum(ranges[index], largest)
        # The session keeps the file open, so that Windows could not remove it.
        del session
    return ranges


def _replace(graph: onnx_ir.Graph, node: onnx_ir.Node, index: int, value: torch.Tensor) -> None:
    """Replaces one input of one node: other nodes may read the same constant."""
    name = f"{node.name}_{index}_smoothed"
    tensor = onnx_ir.tensor(value.contiguous().numpy(), name=name)
    constant = onnx_ir.Value(name=name, shape=tensor.shape, type=onnx_ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(constant)
    node.replace_input_with(index, constant)
