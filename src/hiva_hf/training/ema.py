"""A moving average of the weights, which is often better than the last ones."""

from collections.abc import Mapping

import torch
from torch import nn

from .training_state import spread_like, whole


# Statistics of batch norms; other buffers, such as the text memory, follow from the weights.
_STATISTICS = ("running_mean", "running_var")


class ExponentialMovingAverage:
    """Average `a` of the learning parameters and the batch norms' statistics: `a += (1 - decay) (weights - a)`.

    Early on the decay is `(1 + steps) / (10 + steps)` where that is smaller, so that the average forgets the start.

    Args:
        model: The network, as it is when the optimizer gets it.
        decay: Below 1; 0.999 averages over the last thousand steps.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.sources = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.sources |= {name: b for name, b in model.named_buffers() if name.endswith(_STATISTICS)}
        self.averages = {name: source.detach().clone() for name, source in self.sources.items()}

    @torch.no_grad()
    def update(self, steps: int):
        """Takes in the weights after a step, of which `steps` came before."""
        weight = 1 - min(self.decay, (1 + steps) / (10 + steps))
        for name, average in self.averages.items():
            average.lerp_(self.sources[name].detach(), weight)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The averages by name, whole."""
        return {name: whole(average) for name, average in self.averages.items()}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]):
        """Puts back what [`tensors`] gave."""
        for name, average in self.averages.items():
            average.copy_(spread_like(tensors[name], average))
