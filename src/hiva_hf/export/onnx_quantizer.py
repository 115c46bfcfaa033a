"""What of a detector ONNX Runtime computes in 8 bits: the linear layers, which read 8 bits and write 32.

The rest stays in 32 bits, which takes little time there and keeps probabilities where they are:

- Sums that leave a linear layer. By default they are rounded to 8 bits as well, and converted back for what follows.
- Products of two activations, those of attention.
- Layers of the heads that are one for each AU, whose scales ONNX Runtime's kernel doesn't take.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers.exporters import OnnxRuntimeQuantizer, OnnxRuntimeStaticConfig

from .onnx_smoothing import smooth


_LINEAR = ("MatMul", "Gemm")
# What weights may pass through before they are multiplied with.
_ON_WEIGHTS = ("Identity", "Transpose")


class LinearLayersQuantizer(OnnxRuntimeQuantizer):
    """
    Args:
        faces (`torch.Tensor` of shape `(n, 3, image_size, image_size)`):
            What ranges are taken from.
    """

    def __init__(self, faces: torch.Tensor):
        config = OnnxRuntimeStaticConfig(
            per_channel=True,
            op_types_to_quantize=list(_LINEAR),
            extra_options={"OpTypesToExcludeOutputQuantization": list(_LINEAR)},
        )
        super().__init__(config, [{"pixel_values": face[None]} for face in faces])

    def quantize(self, model: Any, *args: Any) -> Any:
        """An `onnx_ir.Model`, whose weights are smoothed -> another."""
        smooth(model, self.calibration_dataset)
        self.config.nodes_to_exclude = list(_left_in_32_bits(model))
        return super().quantize(model, *args)


def _left_in_32_bits(model: Any) -> Iterator[str]:
    """Names of nodes of an `onnx_ir.Model`."""
    for node in model.graph:
        if node.op_type in _LINEAR and not any(_is_matrix_of_weights(value) for value in node.inputs[:2]):
            yield node.name


def _is_matrix_of_weights(value: Any) -> bool:
    """Of an `onnx_ir.Value`."""
    while (node := value.producer()) is not None and node.op_type in _ON_WEIGHTS:
        value = node.inputs[0]
    return value.is_initializer() and len(value.shape) == 2
