"""Which layers of an int8 program of OpenVINO are computed in 16 bits after all, for the processor that runs it."""

import numpy as np
import openvino
from openvino import opset13


# Fewer channels than these, in or out, are narrow: the first stage of a Swin.
_MIN_WIDE_CHANNELS = 192


def keep_narrow_layers_in_16_bits(model: openvino.Model) -> None:
    """
    Has the narrow linear layers of an int8 program computed as those that were not quantized are, in place.

    Meant for processors with matrix units (AMX), which multiply so fast that a narrow layer has more to convert than
    to multiply. Others multiply numbers of 8 bits twice as fast as those of 16, and four times as fast as those of 32,
    which is worth converting.

    Args:
        model: As the export wrote it. Programs without layers in 8 bits stay as they are.
    """
    for product in model.get_ops():
        if product.get_type_name() == "MatMul" and _is_in_8_bits(product) and _is_narrow(product):
            _compute_in_16_bits(product)


def _is_in_8_bits(product: openvino.Node) -> bool:
    """Whether NNCF has quantized it: weights are integers, which are converted and multiplied with a scale."""
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
