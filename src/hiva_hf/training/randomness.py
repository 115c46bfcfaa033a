"""All random numbers of training as functions of the seed and the step: no generator state has to be saved."""

import torch
from torch import nn


# Independent streams of random numbers.
_ORDER, _DESCRIPTIONS, _TEXT, _VISION = range(4)


def seed_of(*numbers: int) -> int:
    """A seed of its own for these numbers, in their order."""
    # The hash of a tuple of integers is the same in every process and every run.
    return hash(numbers)


def shuffled(num_samples: int, seed: int, epoch: int) -> list[int]:
    """The order of the samples in an epoch."""
    return torch.randperm(num_samples, generator=_generator(seed, _ORDER, epoch)).tolist()


def description_generator(seed: int, step: int) -> torch.Generator:
    """Generator for the descriptions of an optimizer step, the same in all processes."""
    return _generator(seed, _DESCRIPTIONS, step)


class StepRandomness:
    """Dropout and drop path of each step.

    The text side is the same for all faces of a step, however they are distributed over processes and passes: its
    dropout is drawn once for each optimizer step. That of the vision tower differs between processes and passes.

    Args:
        model: The network; a hook is registered on its text side.
        seed: Seed of the run.
        process_index: Index of this process.
    """

    def __init__(self, model: nn.Module, seed: int, process_index: int):
        self.seed = seed
        self.process_index = process_index
        self.step = 0
        text_model = getattr(model, "text_model", None)
        if text_model is not None:
            text_model.register_forward_pre_hook(self._seed_text)

    def begin(self, step: int, forward_pass: int):
        """Must be called before each forward pass of a step."""
        self.step = step
        torch.manual_seed(seed_of(self.seed, _VISION, step, forward_pass, self.process_index))

    @torch.compiler.disable
    def _seed_text(self, module: nn.Module, inputs: tuple):
        if module.training:
            torch.manual_seed(seed_of(self.seed, _TEXT, self.step))


def _generator(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*numbers))
