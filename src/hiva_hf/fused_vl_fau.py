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
"""VL-FAU's visual side folded for inference: batch norms in their convolutions, timm's Swin with fewer copies.

What follows it (refinement, heads, decoders) has no constants to fold and runs as it is. Shapes: B images, N AUs,
T = h * w tokens of the stem's grid, d = `config.hidden_size`.
"""

from functools import partial

import torch
from torch import nn

from .fused_inference import FoldedConvolution
from .fused_swin import FusedSwin
from .packed_linear import PackedLinears


class FusedVLFAUVision(nn.Module):
    """
    A [`VLFAUVisionModel`] for inference, see [`VLFAUForAUDetection.fuse`].

    The backbone's weights are not copied: [`~FusedVLFAUVision.forward`] takes the vision model that they belong to.

    Args:
        vision_model (`VLFAUVisionModel`):
            The model in evaluation mode.
    """

    def __init__(self, vision_model: nn.Module):
        super().__init__()
        # CODEPATH: backbones other than timm's Swin run as they are, with faster kernels where there are any.
        self.swin = FusedSwin.of(vision_model.backbone)
        self.packed_linears = PackedLinears()
        self.scales = nn.ModuleList(FoldedConvolution(scale.projection, scale.norm) for scale in vision_model.scales)
        self.stem = FoldedConvolution(vision_model.stem, vision_model.stem_norm)
        self.branches = FoldedConvolution(vision_model.branches, vision_model.branches_norm)
        self.num_labels = vision_model.num_labels

    def _feature_maps(self, vision_model: nn.Module, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        if self.swin is None:
            return vision_model.feature_maps(partial(self.packed_linears, vision_model.backbone), pixel_values)
        stages = self.swin.stages(vision_model.backbone.timm_model, pixel_values, vision_model.out_indices)
        return [vision_model.to_feature_map(tokens) for tokens in stages]

    def forward(self, vision_model: nn.Module, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            vision_model (`VLFAUVisionModel`):
                The model that was folded.
            pixel_values (`torch.Tensor` of shape `(B, 3, image_size, image_size)`).

        Returns:
            The stem `(B, d, h, w)` and the AU maps `(B, N, T, d)`.
        """
        vision_model.check_pixel_values(pixel_values)
        feature_maps = self._feature_maps(vision_model, pixel_values)
        grid = vision_model.grid_of(feature_maps)
        pooled = [nn.functional.adaptive_avg_pool2d(feature_map, grid) for feature_map in feature_maps]
        tokens = [scale(part.flatten(2).transpose(1, 2)) for scale, part in zip(self.scales, pooled, strict=True)]
        stem = self.stem(torch.cat(tokens, dim=-1))
        au_maps = self.branches(stem).unflatten(-1, (self.num_labels, -1)).transpose(1, 2)
        return stem.transpose(1, 2).unflatten(2, grid), au_maps
