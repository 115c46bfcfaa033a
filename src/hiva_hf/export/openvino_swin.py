"""The folded Swin, rearranged for OpenVINO's kernels. It is mathematically the same; the differences and reasons are:

- The attention of a window has 49 keys, and a softmax over rows of 49 numbers takes longer than the products around
  it. With scores as (keys, queries), the softmax is over columns, which was faster where it was tried.
- Queries, keys and values have a linear layer each, instead of one that is split: the split is a copy.
- Images, windows and heads are flattened to one dimension before the product of keys and queries. Otherwise OpenVINO
  merges the two transpositions of the queries into one, which it copies element by element, while its matrix product
  takes transposed inputs without a copy.
- Scale and shift of the layer norms, and the scale of the queries, are folded into the weights that follow.
- The mask of shifted windows is added by broadcasting over images, so that nothing grows with the batch.
"""

import torch
from torch import nn

from ..fused_inference import FusedDetector
from ..fused_swin import FusedSwinBlock, blocks_of


def arrange_for_openvino(detector: FusedDetector, vision_model: nn.Module) -> None:
    """
    Replaces the Swin blocks of a folded detector in place, except those with padded windows; other backbones stay.

    Args:
        detector: The folded detector.
        vision_model (`HiVAVisionModel`):
            The vision model that was folded.
    """
    if detector.swin is None:
        return
    for index, original in enumerate(blocks_of(vision_model.backbone.timm_model)):
        folded = detector.swin.blocks[index]
        if not folded.has_padding:
            detector.swin.blocks[index] = ArrangedSwinBlock(folded, original)


def _fold_norm(
    norm: nn.LayerNorm, weight: torch.Tensor, bias: torch.Tensor, scale: float = 1.0
) -> tuple[nn.Buffer, nn.Buffer]:
    """Folds a layer norm's scale and shift into the linear layer that follows: returns its new weight and bias."""
    bias = bias + weight @ norm.bias
    return tuple(nn.Buffer(part.detach() * scale, persistent=False) for part in (weight * norm.weight, bias))


class ArrangedSwinBlock(nn.Module):
    """
    One block; its inputs and outputs are the tokens of the windows in sequence, `(B, T, c)`.

    Args:
        folded: The folded block, for the order of the tokens and the attention's biases.
        block (`timm.models.swin_transformer.SwinTransformerBlock`):
            The original block, for the weights.
    """

    def __init__(self, folded: FusedSwinBlock, block: nn.Module):
        super().__init__()
        self.reorder = folded.reorder
        attention = folded.attention
        self.num_heads, self.window_area = attention.num_heads, attention.window_area
        # (W or 1, H, keys, queries)
        self.bias = nn.Buffer(attention.bias.transpose(2, 3).contiguous(), persistent=False)
        qkv = block.attn.qkv
        biases = torch.zeros_like(qkv.weight[:, 0]) if qkv.bias is None else qkv.bias
        weights, biases = qkv.weight.chunk(3), biases.chunk(3)
        scales = ((weights[0].shape[0] // self.num_heads) ** -0.5, 1.0, 1.0)
        for name, weight, bias, scale in zip("qkv", weights, biases, scales, strict=True):
            weight, bias = _fold_norm(block.norm1, weight, bias, scale)
            setattr(self, f"{name}_weight", weight)
            setattr(self, f"{name}_bias", bias)
        self.up_weight, self.up_bias = _fold_norm(block.norm2, block.mlp.fc1.weight, block.mlp.fc1.bias)
        self.eps = (block.norm1.eps, block.norm2.eps)

    def _heads(self, windows: torch.Tensor, name: str) -> torch.Tensor:
        """Windows `(B * W, M, c)` -> `(B * W * H, M, c / H)`."""
        projected = nn.functional.linear(windows, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"))
        return projected.unflatten(2, (self.num_heads, -1)).transpose(1, 2).flatten(0, 1)

    def _attend(self, block: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
        batch_size, num_tokens, num_channels = hidden_states.shape
        windows = hidden_states.reshape(-1, self.window_area, num_channels)
        query, key, value = (self._heads(windows, name) for name in "qkv")
        scores = torch.bmm(key, query.transpose(1, 2)).unflatten(0, (-1, self.num_heads))
        scores = (scores.unflatten(0, (-1, self.bias.shape[0])) + self.bias).flatten(0, 1)
        reads = scores.softmax(dim=2).transpose(2, 3).flatten(0, 1)
        attended = torch.bmm(reads, value).unflatten(0, (-1, self.num_heads))
        return block.attn.proj(attended.transpose(1, 2).reshape(-1, num_tokens, num_channels))

    def forward(self, block: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.reorder(hidden_states)
        shape = hidden_states.shape[-1:]
        normalized = nn.functional.layer_norm(hidden_states, shape, eps=self.eps[0])
        hidden_states = hidden_states + self._attend(block, normalized)
        normalized = nn.functional.layer_norm(hidden_states, shape, eps=self.eps[1])
        inner = block.mlp.act(nn.functional.linear(normalized, self.up_weight, self.up_bias))
        return hidden_states + block.mlp.fc2(inner)
