"""Scales that smooth the inputs of linear layers before their quantization to 8 bits (SmoothQuant, Xiao et al. 2023).

The input of a layer has one range for all its channels; the weights have one for each row. A channel of large values
therefore costs all others precision. Smoothing divides each channel by a constant, and multiplies its weights by it.
`torch_smoothing.py` and `onnx_smoothing.py` apply it; OpenVINO's quantizer has it built in.
"""

import torch


# How much of the difference between channels is moved to the weights: the paper's alpha.
_STRENGTH = 0.5
# For channels that are always zero.
_MIN_RANGE = 1e-5


def smoothing_scale(channel_range: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """The divisor of each channel (the paper's Eq. 4).

    Args:
        channel_range: The largest observed magnitude of each channel, `(in_channels,)`.
        weights: Weights of all layers that read the channels, each `(out_channels, in_channels)`.

    Returns:
        `(in_channels,)`.
    """
    weight_range = torch.cat(weights).abs().amax(dim=0)
    return channel_range.clamp_min(_MIN_RANGE) ** _STRENGTH / weight_range.clamp_min(_MIN_RANGE) ** (1 - _STRENGTH)
