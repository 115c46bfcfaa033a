"""The folded Swin once more, arranged for ONNX, which has no operator for attention that all runtimes know.

PyTorch's own fused attention is written as one that also masks queries without any key, at seven operators for each
block. No window of a Swin has such a query.
"""

from torch import nn

from ..fused_inference import FusedDetector
from ..fused_swin import FusedSwinAttention, blocks_of


def arrange_for_onnx(detector: FusedDetector, vision_model: nn.Module) -> None:
    """Writes out the attention of a folded detector's Swin, in place; as [`arrange_for_openvino`] otherwise."""
    if detector.swin is None:
        return
    for folded, original in zip(detector.swin.blocks, blocks_of(vision_model.backbone.timm_model), strict=True):
        folded.attention = WrittenOutSwinAttention(original)


class WrittenOutSwinAttention(FusedSwinAttention):
    """[`FusedSwinAttention`] by products and a softmax."""

    _attend = FusedSwinAttention._attend_in_steps
