"""How much what linear layers read is evened out before it is rounded to 8 bits (SmoothQuant, Xiao et al. 2023).

What a layer reads has one range for all its channels; its weights have one for each row. So a channel of large values
takes precision from all others. Smoothed, each channel is divided by a constant, with which its weights are
multiplied. `torch_smoothing.py` and `onnx_smoothing.py` do so; OpenVINO's quantizer has it built in.
"""

import torch


# How much of the difference between channels moves to the weights: the paper's alpha.
_STRENGTH = 0.5
# Of channels that are always zero.
_MIN_RANGE = 1e-5


def smoothing_scale(channel_range: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """What channels are divided by (the paper's Eq. 4).

    Args:
        channel_range: The largest magnitude that each was seen with, `(in_channels,)`.
        weights: Of all layers that read them, each `(out_channels, in_channels)`.

    Returns:
        `(in_channels,)`.
    """
    weight_range = torch.cat(weights).abs().amax(dim=0)
    return channel_range.clamp_min(_MIN_RANGE) ** _STRENGTH / weight_range.clamp_min(_MIN_RANGE) ** (1 - _STRENGTH)
