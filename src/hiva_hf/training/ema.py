"""An exponential moving average of the weights, which is often better than the last weights."""

from collections.abc import Mapping

import torch
from torch import nn

from .training_state import spread_like, whole


# Statistics of batch norms; other buffers, such as the text memory, follow from the weights.
_STATISTICS = ("running_mean", "running_var")


class ExponentialMovingAverage:
    """Average `a` of the trainable parameters and the batch norms' statistics: `a += (1 - decay) (weights - a)`.

    The decay is `(1 + steps) / (10 + steps)` while that is smaller, so that the average forgets the initial weights.

    Args:
        model: The network, in the state in which the optimizer gets it.
        decay: Below 1; 0.999 averages over about the last thousand steps.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.sources = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.sources |= {name: b for name, b in model.named_buffers() if name.endswith(_STATISTICS)}
        self.averages = {name: source.detach().clone() for name, source in self.sources.items()}

    @torch.no_grad()
    def update(self, steps: int):
        """Updates the average with the weights after a step, before which there were `steps` others."""
        weight = 1 - min(self.decay, (1 + steps) / (10 + steps))
        for name, average in self.averages.items():
            average.lerp_(self.sources[name].detach(), weight)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The averages by name, gathered if they are sharded."""
        return {name: whole(average) for name, average in self.averages.items()}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]):
        """Restores what [`tensors`] returned."""
        for name, average in self.averages.items():
            average.copy_(spread_like(tensors[name], average))
