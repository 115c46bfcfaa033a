"""Int8 quantization for ONNX Runtime: linear layers read 8 bits and write 32.

The rest stays in 32 bits, which takes little time and keeps the probabilities accurate:

- The outputs of linear layers. By default they are quantized as well, and converted back for the next operator.
- Products of two activations, those of attention.
- Layers of the heads with separate weights for each AU, whose scales ONNX Runtime's kernel doesn't support.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers.exporters import OnnxRuntimeQuantizer, OnnxRuntimeStaticConfig

from .onnx_smoothing import smooth


_LINEAR = ("MatMul", "Gemm")
# Operators that may lie between weights and their product.
_ON_WEIGHTS = ("Identity", "Transpose")


class LinearLayersQuantizer(OnnxRuntimeQuantizer):
    """
    Args:
        faces (`torch.Tensor` of shape `(n, 3, image_size, image_size)`):
            Faces to calibrate the ranges on.
    """

    def __init__(self, faces: torch.Tensor):
        config = OnnxRuntimeStaticConfig(
            per_channel=True,
            op_types_to_quantize=list(_LINEAR),
            extra_options={"OpTypesToExcludeOutputQuantization": list(_LINEAR)},
        )
        super().__init__(config, [{"pixel_values": face[None]} for face in faces])

    def quantize(self, model: Any, *args: Any) -> Any:
        """Smooths an `onnx_ir.Model` in place, and returns a quantized one."""
        smooth(model, self.calibration_dataset)
        self.config.nodes_to_exclude = list(_left_in_32_bits(model))
        return super().quantize(model, *args)


def _left_in_32_bits(model: Any) -> Iterator[str]:
    """Names of the linear nodes of an `onnx_ir.Model` that are not quantized."""
    for node in model.graph:
        if node.op_type in _LINEAR and not any(_is_matrix_of_weights(value) for value in node.inputs[:2]):
            yield node.name


def _is_matrix_of_weights(value: Any) -> bool:
    """Whether an `onnx_ir.Value` is a matrix of weights."""
    while (node := value.producer()) is not None and node.op_type in _ON_WEIGHTS:
        value = node.inputs[0]
    return value.is_initializer() and len(value.shape) == 2
