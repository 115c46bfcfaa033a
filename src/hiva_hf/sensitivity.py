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
"""What a probability depends on: how much it would change if single places of the face did.

Attention tells where a network looked, which need not be what it decided by. The squared gradient of an AU's score
with respect to the pixels does (Simonyan et al., "Deep Inside Convolutional Networks", arXiv 1312.6034, take its
absolute value; the square keeps the many small ones from adding up). `examples/map_agreement.py` measures both.
"""

from typing import Any

import torch
from torch import nn


# Cells along each side of a map, whatever network it is of.
GRID = 14


def read_with_sensitivity(
    model: nn.Module, pixel_values: torch.Tensor, thresholds: torch.Tensor, **kwargs: Any
) -> tuple[Any, torch.Tensor | None]:
    """Runs a detector, and finds what each active AU of each face depends on.

    Args:
        model: In evaluation mode.
        pixel_values: Tensor `[batch_size, 3, height, width]`.
        thresholds: Tensor `[num_aus]`, the probabilities from which an AU is active. Each AU that is active in any of
            the faces costs one backward pass over the batch.
        kwargs: Further arguments of the model.

    Returns:
        The model's outputs, without gradients, and maps `[batch_size, num_aus, GRID, GRID]` that sum to 1, or are 0
        for an AU that is not active. None instead of maps for a model that has no gradients, such as an exported one.
    """
    with torch.enable_grad():
        pixels = pixel_values.detach().requires_grad_()
        outputs = model(pixel_values=pixels, **kwargs)
        logits = outputs["logits"]
        maps = _maps(logits, pixels, thresholds) if logits.requires_grad else None
    for name, values in outputs.items():
        if isinstance(values, torch.Tensor):
            outputs[name] = values.detach()
    return outputs, maps


def _maps(logits: torch.Tensor, pixels: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    active = logits.detach().float().sigmoid() >= thresholds.to(logits.device)
    maps = torch.zeros(*active.shape, GRID, GRID, device=logits.device)
    for index in active.any(dim=0).nonzero().flatten().tolist():
        # Faces don't depend on each other: one pass gives the gradient of each face's own score.
        (gradient,) = torch.autograd.grad(logits[active[:, index], index].sum(), pixels, retain_graph=True)
        energy = gradient.float().pow(2).sum(dim=1, keepdim=True)
        energy = nn.functional.adaptive_avg_pool2d(energy, GRID).squeeze(1)
        # Tiny gradients must not vanish in the sum; a gradient of exactly 0 gives no map.
        total = energy.sum(dim=(1, 2), keepdim=True)
        maps[:, index] = torch.where(total > 0, energy / total.clamp(min=torch.finfo(total.dtype).tiny), 0)
    return maps
