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
"""Gradient saliency: which parts of the face a probability depends on.

Attention shows where a network looked, which need not be what its decision depends on. The squared gradient of an AU's
score with respect to the pixels shows that (Simonyan et al., "Deep Inside Convolutional Networks", arXiv 1312.6034,
take its absolute value; the square keeps the many small ones from adding up). `examples/map_agreement.py` measures
both.
"""

from typing import Any

import torch
from torch import nn


# Cells along each side of a map, for every network.
GRID = 14


def read_with_sensitivity(
    model: nn.Module, pixel_values: torch.Tensor, thresholds: torch.Tensor, **kwargs: Any
) -> tuple[Any, torch.Tensor | None]:
    """Runs a detector, and finds what each active AU of each face depends on.

    A face with an active AU costs another forward pass, and each of its active AUs a backward pass. Faces are
    processed one at a time, because a large batch with all its gradients needs more memory than most machines have.

    Args:
        model: In evaluation mode.
        pixel_values: Tensor `[batch_size, 3, height, width]`.
        thresholds: Tensor `[num_aus]`, the probabilities from which an AU is active.
        kwargs: Further arguments of the model.

    Returns:
        The model's outputs, and maps `[batch_size, num_aus, GRID, GRID]` that sum to 1, or are 0 for an AU that is not
        active. None instead of maps for a model that has no gradients, such as an exported one.
    """
    with torch.no_grad():
        outputs = model(pixel_values=pixel_values, **kwargs)
    logits = outputs["logits"]
    active = logits.float().sigmoid() >= thresholds.to(logits.device)
    maps = torch.zeros(*active.shape, GRID, GRID, device=logits.device)
    for row, is_active in enumerate(active):
        # The first face is always read, to find out whether there are gradients at all.
        if row > 0 and not is_active.any():
            continue
        # In the caller's inference mode, enabled gradients would not be computed.
        with torch.inference_mode(False), torch.enable_grad():
            pixels = pixel_values[row : row + 1].detach().clone().requires_grad_()
            # One scalar per AU, so that each can be differentiated on its own.
            scores = model(pixel_values=pixels)["logits"][0].unbind()
        if not scores[0].requires_grad:
            return outputs, None
        for index in is_active.nonzero().flatten().tolist():
            (gradient,) = torch.autograd.grad(scores[index], pixels, retain_graph=True)
            maps[row, index] = _energy(gradient[0])
    return outputs, maps


def _energy(gradient: torch.Tensor) -> torch.Tensor:
    """The squared gradient `[3, height, width]`, pooled to `[GRID, GRID]`; sums to 1, or is 0 if the gradient is."""
    # Scaled by the largest entry, so that squares don't underflow.
    scaled = gradient.float() / gradient.float().abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    # Apple's GPUs only support adaptive pooling by integer factors.
    energy = nn.functional.adaptive_avg_pool2d(scaled.pow(2).sum(dim=0, keepdim=True).cpu(), GRID)[0]
    return energy / energy.sum().clamp(min=torch.finfo(torch.float32).tiny)
