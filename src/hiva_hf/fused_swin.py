# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""timm's Swin with less copying, for inference.

A Swin block partitions its map into windows and reassembles it; every second one also shifts it, there and back. But
everything in a block works on single tokens, except attention, which works on the tokens of a window. So tokens can
stay in window order, and are copied only by one permutation from a block to the next. The 2x2 tokens that are merged
between stages are gathered by the same kind of permutation. Relative position biases and masks of shifted windows are
constants, added up once.

Weights stay in timm's model; this module adds index lists and attention biases, and on CPUs the packed copies of
weights that the kernels there need (`packed_linear.py`).
Shapes: B images, T tokens, W windows of M tokens, H heads, c channels.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from .packed_linear import PackedLinear


# Added to the scores of masked tokens. timm adds -100, whose exponential is a subnormal number in fp32: exact products
# of such numbers take a CPU ten times as long.
_MASKED = -1e4
# Block size of a generated attention kernel over queries and keys, and its smallest head dimension.
_KERNEL_BLOCK, _LEAST_HEAD_DIM = 64, 16
# x86 with vector units but no matrix units, on which both forms of attention were timed.
_IS_VECTOR_PROCESSOR = (
    torch.backends.cpu.get_cpu_capability().startswith("AVX") and not torch.cpu._is_amx_tile_supported()
)


def _is_compiled_for_inference() -> bool:
    # Not by `is_exporting`, which is always true while PyTorch 2.11 compiles.
    return torch.compiler.is_dynamo_compiling() and not torch.is_grad_enabled()


def _positions(num_tokens: int) -> torch.Tensor:
    # Index lists are computed where their values can be read, whatever device a model is built on.
    return torch.arange(num_tokens, device="cpu")


def _window_order(block: nn.Module) -> torch.Tensor:
    """
    The row-major positions of a map's tokens in the order of a block's windows, `(W * M,)`; position T stands for
    padding, where windows extend beyond the edge.
    """
    height, width = block.input_resolution
    window_height, window_width = block.window_size
    shifts = [-shift for shift in block.shift_size]
    positions = _positions(height * width).view(height, width).roll(shifts, dims=(0, 1))
    padding = (0, -width % window_width, 0, -height % window_height)
    positions = nn.functional.pad(positions, padding, value=height * width)
    return positions.unflatten(0, (-1, window_height)).unflatten(2, (-1, window_width)).transpose(1, 2).flatten()


def _merging_order(resolution: tuple[int, int]) -> torch.Tensor:
    """The four positions that `PatchMerging` merges into each of its tokens, `(T / 4, 4)`; position T is padding."""
    height, width = resolution
    positions = _positions(height * width).view(height, width)
    positions = nn.functional.pad(positions, (0, width % 2, 0, height % 2), value=height * width)
    # Column by column, the order in which timm concatenates them.
    return positions.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 3, 1).reshape(-1, 4)


def _places(order: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """The inverse of an order: the places of positions 0 to T in it, `(T + 1,)`; padding has place T."""
    places = torch.full((num_tokens + 1,), num_tokens, device="cpu")
    is_token = order < num_tokens
    places[order[is_token]] = _positions(len(order))[is_token]
    return places


def _resident_order(block: nn.Module) -> torch.Tensor:
    """
    The order of tokens outside a block's attention: that of its windows, or row-major if windows hold padding, which
    takes part in the attention only.
    """
    height, width = block.input_resolution
    windows = _window_order(block)
    return windows if len(windows) == height * width else _positions(height * width)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def blocks_of(swin: nn.Module) -> list[nn.Module]:
    """The blocks of a timm Swin, in their order through all stages."""
    return [block for stage in swin.layers for block in stage.blocks]


def _timm_swin(backbone: nn.Module) -> nn.Module | None:
    """The timm Swin inside a backbone; None for other backbones."""
    swin = getattr(backbone, "timm_model", None)
    # Compared by name, so that checkpoints with other backbones need no timm.
    is_swin = (type(swin).__module__, type(swin).__name__) == ("timm.models.swin_transformer", "SwinTransformer")
    return swin if is_swin else None


def _lowered(mask: torch.Tensor) -> torch.Tensor:
    return mask.masked_fill(mask != 0, _MASKED)


def lower_masks(backbone: nn.Module):
    """
    Makes a timm Swin mask its shifted windows with a number whose exponential is zero, in place; other backbones stay
    as they are. Call it whenever timm has rebuilt the masks, which no checkpoint holds.

    Args:
        backbone (`PreTrainedModel`):
            Any backbone.
    """
    swin = _timm_swin(backbone)
    for block in [] if swin is None else blocks_of(swin):
        if block.attn_mask is not None:
            block.attn_mask = _lowered(block.attn_mask)


class Reordering(nn.Module):
    """
    Reorders tokens; index T, the number of tokens, gives a token of zeros.

    Args:
        indices (`torch.LongTensor` of shape `(new_T,)`):
            For each new token, the index of an old one.
        num_tokens (`int`):
            T.
        device (`torch.device`).
    """

    def __init__(self, indices: torch.Tensor, num_tokens: int, device: torch.device):
        super().__init__()
        self.is_needed = not torch.equal(indices, _positions(num_tokens))
        self.needs_padding = bool((indices == num_tokens).any())
        self.indices = nn.Buffer(indices.to(device), persistent=False) if self.is_needed else None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, T, c)` -> `(B, new_T, c)`."""
        if self.needs_padding:
            hidden_states = nn.functional.pad(hidden_states, (0, 0, 0, 1))
        return hidden_states.index_select(1, self.indices) if self.is_needed else hidden_states


class FusedSwinAttention(nn.Module):
    """Attention within windows, over tokens in window order."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.num_heads, self.window_area = block.attn.num_heads, block.attn.window_area
        self.qkv, self.proj = PackedLinear(), PackedLinear()
        bias = block.attn._get_rel_pos_bias().detach()
        if block.attn_mask is not None:
            bias = bias + _lowered(block.attn_mask).unsqueeze(1)
        # (W or 1, H, M, M)
        self.bias = nn.Buffer(bias.contiguous(), persistent=False)
        # For the generated kernel: a mask of one block of keys. Built here so that calls don't build it.
        number, index = torch.ones(1, 1, 1, dtype=torch.int32), torch.zeros(1, 1, 1, 1, dtype=torch.int32)
        self.num_key_blocks = nn.Buffer(number.to(bias.device), persistent=False)
        self.key_blocks = nn.Buffer(index.to(bias.device), persistent=False)

    @staticmethod
    def _is_generated_for(query: torch.Tensor) -> bool:
        # CODEPATH: compiled for a GPU in half precision, attention uses a kernel that PyTorch generates for the
        # windows: on an H200 about five times as fast as the built-in one, which is made for long sequences. Without
        # compilation it would be slow; with gradients, the built-in one is used.
        is_half = query.dtype in (torch.bfloat16, torch.float16)
        return _is_compiled_for_inference() and query.is_cuda and is_half and query.shape[-1] >= _LEAST_HEAD_DIM

    @staticmethod
    def _is_written_out_for(query: torch.Tensor) -> bool:
        # CODEPATH: compiled for vector units, explicit scores, bias and softmax are as fast as the fused kernel, in
        # bfloat16 faster.
        return _is_compiled_for_inference() and query.is_cpu and _IS_VECTOR_PROCESSOR

    def _attend_by_generated_kernel(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        bias, num_windows = self.bias, self.bias.shape[0]

        def add_bias(score, window, head, query_index, key_index):
            return score + bias[window % num_windows, head, query_index, key_index]

        one_block = BlockMask.from_kv_blocks(
            self.num_key_blocks,
            self.key_blocks,
            # Longer than any window, as PyTorch's own for no mask, so that the length of windows is not compared.
            BLOCK_SIZE=1 << 30,
            seq_lengths=(1, 1),
            # Needed for gradients only.
            compute_q_blocks=False,
        )
        options = {"BACKEND": "TRITON", "BLOCK_M": _KERNEL_BLOCK, "BLOCK_N": _KERNEL_BLOCK}
        return flex_attention(query, key, value, add_bias, one_block, kernel_options=options)

    def _attend_in_steps(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        scores = (scores.unflatten(0, (-1, self.bias.shape[0])) + self.bias).flatten(0, 1)
        return scores.softmax(dim=-1) @ value

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Each `(B * W, H, M, c / H)` -> `(B * W, H, M, c / H)`."""
        if self._is_generated_for(query):
            return self._attend_by_generated_kernel(query, key, value)
        if self._is_written_out_for(query):
            return self._attend_in_steps(query, key, value)
        bias = self.bias
        if bias.shape[0] > 1:
            bias = bias.expand(query.shape[0] // bias.shape[0], -1, -1, -1, -1).flatten(0, 1)
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    def forward(self, attention: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, W * M, c)` -> `(B, W * M, c)`, with the weights of timm's `WindowAttention`."""
        batch_size, num_tokens, _ = hidden_states.shape
        num_windows = num_tokens // self.window_area
        qkv = self.qkv.run(attention.qkv, hidden_states)
        qkv = qkv.view(batch_size * num_windows, self.window_area, 3, self.num_heads, -1)
        attended = self._attend(*qkv.permute(2, 0, 3, 1, 4).unbind(0))
        return self.proj.run(attention.proj, attended.transpose(1, 2).reshape(batch_size, num_tokens, -1))


class FusedSwinBlock(nn.Module):
    """
    One block.

    Args:
        block (`timm.models.swin_transformer.SwinTransformerBlock`):
            The block, which keeps its weights.
        order (`torch.LongTensor` of shape `(T,)`):
            The row-major positions of the incoming tokens, in their order.
    """

    def __init__(self, block: nn.Module, order: torch.Tensor):
        super().__init__()
        device, num_tokens = _device(block), len(order)
        self.reorder = Reordering(_places(order, num_tokens)[_resident_order(block)], num_tokens, device)
        windows = _window_order(block)
        self.has_padding = len(windows) > num_tokens
        if self.has_padding:
            self.to_windows = Reordering(windows, num_tokens, device)
            self.from_windows = Reordering(_places(windows, num_tokens)[:-1], len(windows), device)
        self.attention = FusedSwinAttention(block)
        self.up, self.down = PackedLinear(), PackedLinear()

    def forward(self, block: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens `(B, T, c)` -> tokens `(B, T, c)` in the order of [`_resident_order`]."""
        hidden_states = self.reorder(hidden_states)
        normalized = block.norm1(hidden_states)
        if self.has_padding:
            attended = self.from_windows(self.attention(block.attn, self.to_windows(normalized)))
        else:
            attended = self.attention(block.attn, normalized)
        hidden_states = hidden_states + attended
        inner = self.up.run(block.mlp.fc1, block.norm2(hidden_states), block.mlp.act)
        return hidden_states + self.down.run(block.mlp.fc2, inner)


class FusedSwin(nn.Module):
    """
    Index lists and attention biases of a timm Swin.

    Args:
        swin (`timm.models.swin_transformer.SwinTransformer`):
            The model in evaluation mode, which keeps its weights. [`FusedSwin.of`] tells whether it can be fused.
    """

    def __init__(self, swin: nn.Module):
        super().__init__()
        self.patch_size = swin.patch_embed.patch_size
        device, num_tokens = _device(swin), swin.patch_embed.num_patches
        order = _positions(num_tokens)
        # The first one brings patches into the order of the first block, the others gather tokens to be merged.
        self.gatherings, self.blocks, self.to_rows = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.reductions = nn.ModuleList(PackedLinear() for _ in swin.layers)
        for stage in swin.layers:
            num_tokens, first_order = len(order), _resident_order(stage.blocks[0])
            sources = _positions(num_tokens)
            if not isinstance(stage.downsample, nn.Identity):
                sources = _merging_order(stage.input_resolution)
            places = _places(order, num_tokens)[sources[first_order]]
            self.gatherings.append(Reordering(places.flatten(), num_tokens, device))
            order = first_order
            for block in stage.blocks:
                self.blocks.append(FusedSwinBlock(block, order))
                order = _resident_order(block)
            self.to_rows.append(Reordering(_places(order, len(order))[:-1], len(order), device))

    @classmethod
    def of(cls, backbone: nn.Module) -> "FusedSwin | None":
        """
        The fused form of a backbone; None if it isn't a timm Swin with a fixed image size.

        Args:
            backbone (`PreTrainedModel`):
                Any backbone.
        """
        swin = _timm_swin(backbone)
        return cls(swin) if swin is not None and swin.patch_embed.strict_img_size else None

    def _embed(self, patch_embed: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
        """Images -> tokens of the first stage: the convolution over patches that don't overlap is a linear layer."""
        height, width = self.patch_size
        patches = pixel_values.unflatten(3, (-1, width)).unflatten(2, (-1, height))
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        projection = patch_embed.proj
        patches = self.gatherings[0](patches)
        return patch_embed.norm(nn.functional.linear(patches, projection.weight.flatten(1), projection.bias))

    def stages(self, swin: nn.Module, pixel_values: torch.Tensor, indices: Sequence[int]) -> list[torch.Tensor]:
        """
        Args:
            swin (`timm.models.swin_transformer.SwinTransformer`):
                The model that was fused.
            pixel_values (`torch.Tensor` of shape `(B, 3, height, width)`).
            indices (`Sequence[int]`):
                The stages whose tokens to return, counted from 0.

        Returns:
            A list of `torch.Tensor` of shape `(B, T, c)`: the tokens of each of these stages, row-major; those of the
            last stage normalized.
        """
        last = len(self.gatherings) - 1
        hidden_states, found = self._embed(swin.patch_embed, pixel_values), []
        blocks = iter(self.blocks)
        parts = zip(swin.layers, self.gatherings, self.reductions, self.to_rows, strict=True)
        for index, (stage, gathering, reduction, to_rows) in enumerate(parts):
            if not isinstance(stage.downsample, nn.Identity):
                hidden_states = gathering(hidden_states).unflatten(1, (-1, 4)).flatten(2)
                hidden_states = reduction.run(stage.downsample.reduction, stage.downsample.norm(hidden_states))
            for block in stage.blocks:
                hidden_states = next(blocks)(block, hidden_states)
            if index in indices:
                tokens = to_rows(hidden_states)
                found.append(swin.norm(tokens) if index == last else tokens)
        return found

    def forward(self, swin: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
        """
        Args:
            swin (`timm.models.swin_transformer.SwinTransformer`):
                The model that was fused.
            pixel_values (`torch.Tensor` of shape `(B, 3, height, width)`).

        Returns:
            `torch.Tensor` of shape `(B, T, c)`: the last stage's tokens, row-major.
        """
        (tokens,) = self.stages(swin, pixel_values, (len(self.gatherings) - 1,))
        return tokens
