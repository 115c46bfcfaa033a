"""Interpolation between pretrained and trained weights, to preserve what a tower has learned in pretraining.

Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT, CVPR 2022): on pictures unlike the training set,
the average of both towers performs better than the trained one, and on similar pictures hardly worse.
"""

from collections.abc import Mapping

import torch
from torch import nn


@torch.no_grad()
def interpolate_weights(module: nn.Module, pretrained: Mapping[str, torch.Tensor], trained_share: float):
    """Moves the weights of a trained module towards those that it started from, in place.

    Args:
        module: The trained module.
        pretrained: The state dict that it started from.
        trained_share: 1 leaves the module as it is, 0 restores the pretrained weights.

    Raises:
        KeyError: if a weight of the module is not among the pretrained ones.
    """
    for name, tensor in module.state_dict().items():
        # Others are counters and indices.
        if tensor.is_floating_point():
            start = pretrained[name].to(tensor)
            tensor.copy_(torch.lerp(start, tensor, trained_share))
