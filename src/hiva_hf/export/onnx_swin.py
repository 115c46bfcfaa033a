"""The folded Swin, rearranged for ONNX, which has no attention operator that all runtimes support.

PyTorch's fused attention is exported with masking of queries without any key, which takes seven operators per block.
No window of a Swin has such a query.
"""

from torch import nn

from ..fused_inference import FusedDetector
from ..fused_swin import FusedSwinAttention, blocks_of


def arrange_for_onnx(detector: FusedDetector, vision_model: nn.Module) -> None:
    """Expands the attention of a folded detector's Swin, in place; other backbones stay as they are."""
    if detector.swin is None:
        return
    for folded, original in zip(detector.swin.blocks, blocks_of(vision_model.backbone.timm_model), strict=True):
        folded.attention = WrittenOutSwinAttention(original)


class WrittenOutSwinAttention(FusedSwinAttention):
    """[`FusedSwinAttention`] as matrix products and a softmax."""

    _attend = FusedSwinAttention._attend_in_steps
