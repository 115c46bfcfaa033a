"""Int8 quantization for OpenVINO: linear layers are computed in 8 bits.

The rest stays in 16 bits, which is faster and more accurate there:

- Products of two activations, those of attention: they take little time, and OpenVINO transposes heads of 8-bit
  numbers more slowly than heads of 16-bit ones.
- Layers with few channels, such as those that give logits. Which other layers are faster in 16 bits depends on the CPU
  that runs the program, see `openvino_precision.py`.
"""

from collections.abc import Iterator
from typing import Any

import nncf
import openvino
import torch
from transformers.exporters import NNCFOpenVINOQuantizer, NNCFQuantizationConfig


# Layers with fewer input or output channels are not quantized.
_MIN_CHANNELS = 96
# Operators that may lie between weights and their product.
_ON_WEIGHTS = {"Convert", "Reshape", "Transpose", "Unsqueeze", "Broadcast"}


class LinearLayersQuantizer(NNCFOpenVINOQuantizer):
    """
    Args:
        faces (`torch.Tensor` of shape `(n, 3, image_size, image_size)`):
            Faces to calibrate the ranges on.
    """

    def __init__(self, faces: torch.Tensor):
        # Symmetric ranges: asymmetric ones need a correction of every sum.
        config = NNCFQuantizationConfig(preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=len(faces))
        super().__init__(config, [{"pixel_values": face[None]} for face in faces])

    def quantize(self, model: openvino.Model, *args: Any) -> openvino.Model:
        self.config.ignored_scope = nncf.IgnoredScope(names=list(_left_in_16_bits(model)))
        return super().quantize(model, *args)


def _left_in_16_bits(model: openvino.Model) -> Iterator[str]:
    for node in model.get_ops():
        if node.get_type_name() == "MatMul":
            weights = [value for value in node.input_values() if _is_constant(value)]
            if not weights or min(weights[0].get_shape()[-2:]) < _MIN_CHANNELS:
                yield node.get_friendly_name()


def _is_constant(value: openvino.Output) -> bool:
    node = value.get_node()
    while node.get_type_name() in _ON_WEIGHTS:
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant"
