"""Choose the layers of an int8 OpenVINO program that are computed in 16 bits, for the CPU that runs it."""

import numpy as np
import openvino
from openvino import opset13


# A layer with fewer input or output channels is narrow, as in the first stage of a Swin.
_MIN_WIDE_CHANNELS = 192


def keep_narrow_layers_in_16_bits(model: openvino.Model) -> None:
    """
    Undoes the quantization of the narrow linear layers of an int8 program, in place.

    For CPUs with matrix units (AMX), which multiply so fast that a narrow layer spends more time on conversion than on
    multiplication. On other CPUs, conversion pays: they multiply 8-bit numbers twice as fast as 16-bit ones, and four
    times as fast as 32-bit ones.

    Args:
        model: As written by the export. Programs without 8-bit layers stay as they are.
    """
    for product in model.get_ops():
        if product.get_type_name() == "MatMul" and _is_in_8_bits(product) and _is_narrow(product):
            _compute_in_16_bits(product)


def _is_in_8_bits(product: openvino.Node) -> bool:
    """Whether NNCF quantized it: its weights are integers that are converted and multiplied by a scale."""
    quantized, scaled = (value.get_node() for value in product.input_values())
    if (quantized.get_type_name(), scaled.get_type_name()) != ("FakeQuantize", "Multiply"):
        return False
    converted = scaled.input_value(0).get_node()
    return converted.get_type_name() == "Convert" and _integers(scaled).get_type_name() == "Constant"


def _integers(scaled: openvino.Node) -> openvino.Node:
    return scaled.input_value(0).get_node().input_value(0).get_node()


def _is_narrow(product: openvino.Node) -> bool:
    return min(product.input_value(1).get_shape()[-2:]) < _MIN_WIDE_CHANNELS


def _compute_in_16_bits(product: openvino.Node) -> None:
    quantized, scaled = (value.get_node() for value in product.input_values())
    scale = scaled.input_value(1).get_node()
    weights = opset13.constant(_integers(scaled).data.astype(np.float32) * scale.data)
    product.input(0).replace_source_output(quantized.input_value(0))
    product.input(1).replace_source_output(weights.output(0))
