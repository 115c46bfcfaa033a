"""The network that is validated and saved, if it is not the one in training."""

import copy

from ..modeling_hiva import HiVAPreTrainedModel
from .ema import ExponentialMovingAverage
from .training_state import load_model_tensors, model_tensors


class EvaluatedModel:
    """Gathered weights if training shards them, averaged weights if an average is kept; otherwise the network itself.

    Args:
        model: The network in training, before it is distributed over processes.
        needs_copy: Whether weights will be sharded or averaged.
    """

    def __init__(self, model: HiVAPreTrainedModel, needs_copy: bool):
        self.model = model
        self.copy = copy.deepcopy(model) if needs_copy else None

    @property
    def current(self) -> HiVAPreTrainedModel:
        """The network as it was last renewed."""
        return self.model if self.copy is None else self.copy

    def renewed(self, average: ExponentialMovingAverage | None) -> HiVAPreTrainedModel:
        """The network with the current weights; all processes must call this."""
        if self.copy is not None:
            tensors = model_tensors(self.model)
            if average is not None:
                tensors |= average.tensors()
            load_model_tensors(self.copy, tensors)
        return self.current
