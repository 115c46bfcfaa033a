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

A Swin block partitions its map into windows and puts it together again; every second one shifts it as well, there and
back. But all of a block works on single tokens, except for its attention, which works on the tokens of a window: so
tokens may stay in the order of the windows, and one permutation from a block to the next is all that is copied. The
2x2 tokens that are merged between stages come by the same kind of permutation. Biases of relative positions and masks
of shifted windows are constants, added up once.

Weights stay where they are, in timm's model; what is here are index lists and attention biases, and on processors the
copies of weights that their kernels want (`packed_linear.py`).
Shapes: B images, T tokens, W windows of M tokens, H heads, c channels.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from .packed_linear import PackedLinear


# What is added to the score of a token that is not to be read. timm adds -100, whose exponential is a subnormal number
# in fp32: exact products of such numbers take a processor ten times as long.
_MASKED = -1e4
# Queries and keys that one program of a generated attention kernel holds, and its least width of a head.
_KERNEL_BLOCK, _LEAST_HEAD_DIM = 64, 16
# Vector units of x86 and no matrix units, where attention in either form was timed.
_IS_VECTOR_PROCESSOR = (
    torch.backends.cpu.get_cpu_capability().startswith("AVX") and not torch.cpu._is_amx_tile_supported()
)


def _is_compiled_for_inference() -> bool:
    # `is_exporting` can't be asked: while PyTorch 2.11 compiles, it is always true.
    return torch.compiler.is_dynamo_compiling() and not torch.is_grad_enabled()


def _positions(num_tokens: int) -> torch.Tensor:
    # Index lists are worked out where their values can be read, whatever device a model is built on.
    return torch.arange(num_tokens, device="cpu")


def _window_order(block: nn.Module) -> torch.Tensor:
    """
    The tokens of a map, by their row-major position, in the order in which a block's windows hold them, `(W * M,)`;
    the position T stands for padding, where windows reach over the edge.
    """
    height, width = block.input_resolution
    window_height, window_width = block.window_size
    shifts = [-shift for shift in block.shift_size]
    positions = _positions(height * width).view(height, width).roll(shifts, dims=(0, 1))
    padding = (0, -width % window_width, 0, -height % window_height)
    positions = nn.functional.pad(positions, padding, value=height * width)
    return positions.unflatten(0, (-1, window_height)).unflatten(2, (-1, window_width)).transpose(1, 2).flatten()


def _merging_order(resolution: tuple[int, int]) -> torch.Tensor:
    """The four positions that `PatchMerging` makes each of its tokens of, `(T / 4, 4)`; the position T is padding."""
    height, width = resolution
    positions = _positions(height * width).view(height, width)
    positions = nn.functional.pad(positions, (0, width % 2, 0, height % 2), value=height * width)
    # Column by column, the order in which timm concatenates them.
    return positions.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 3, 1).reshape(-1, 4)


def _places(order: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """Where the positions 0 to T stand in an order, `(T + 1,)`; padding has the place T."""
    places = torch.full((num_tokens + 1,), num_tokens, device="cpu")
    is_token = order < num_tokens
    places[order[is_token]] = _positions(len(order))[is_token]
    return places


def _resident_order(block: nn.Module) -> torch.Tensor:
    """
    The order in which tokens stand outside of a block's attention: that of its windows. Padding takes part in the
    attention alone: around windows that hold some, tokens stand row-major.
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
    """The timm Swin inside of a backbone; None if it is another one."""
    swin = getattr(backbone, "timm_model", None)
    # Compared by name, so that checkpoints with other backbones need no timm.
    is_swin = (type(swin).__module__, type(swin).__name__) == ("timm.models.swin_transformer", "SwinTransformer")
    return swin if is_swin else None


def _lowered(mask: torch.Tensor) -> torch.Tensor:
    return mask.masked_fill(mask != 0, _MASKED)


def lower_masks(backbone: nn.Module):
    """
    Has a timm Swin mask its shifted windows by a number whose exponential is zero, in place; other backbones stay as
    they are. To be called whenever timm has made the masks anew: no checkpoint holds them.

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
    Takes tokens in one order to another; an index of T, the number of tokens, makes a token of zeros.

    Args:
        indices (`torch.LongTensor` of shape `(new_T,)`):
            For each new token the place of an old one.
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
    """Attention within windows, of tokens that come window by window."""

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
        # CODEPATH: in half precision, windows are attended to by the kernel that PyTorch generates for them when it
        # compiles for a GPU: on an H200 about five times as fast as the one it has at hand, which is for long
        # sequences. Without a compiler it would be slow, and gradients are left to the usual one.
        is_half = query.dtype in (torch.bfloat16, torch.float16)
        return _is_compiled_for_inference() and query.is_cuda and is_half and query.shape[-1] >= _LEAST_HEAD_DIM

    @staticmethod
    def _is_written_out_for(query: torch.Tensor) -> bool:
        # CODEPATH: compiled for vector units, scores, bias and softmax are as fast written out, in bfloat16 faster.
        return _is_compiled_for_inference() and query.is_cpu and _IS_VECTOR_PROCESSOR

    def _attend_by_generated_kernel(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        bias, num_windows = self.bias, self.bias.shape[0]

        def add_bias(score, window, head, query_index, key_index):
            return score + bias[window % num_windows, head, query_index, key_index]

        one_block = BlockMask.from_kv_blocks(
            self.num_key_blocks,
            self.key_blocks,
            # Longer than any window, whose length is then not compared with these: as PyTorch's own for no mask.
            BLOCK_SIZE=1 << 30,
            seq_lengths=(1, 1),
            # They are for gradients.
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
            The row-major positions of the tokens that come, in their order.
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
        # The first list takes patches to where the first block wants them, the others those that are merged.
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
        The fused form of a backbone; None if it isn't a timm Swin that reads images of one size.

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
                The stages whose tokens are wanted, from 0.

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
