"""Every random number of training as a function of the seed and the step: nothing to save, nothing to lose."""

import torch
from torch import nn


# Streams of random numbers that must not be the same one.
_ORDER, _DESCRIPTIONS, _TEXT, _VISION = range(4)


def shuffled(num_samples: int, seed: int, epoch: int) -> list[int]:
    """The order of the samples in an epoch."""
    return torch.randperm(num_samples, generator=_generator(seed, _ORDER, epoch)).tolist()


def description_generator(seed: int, step: int) -> torch.Generator:
    """What the descriptions of an optimizer step are drawn with, the same in all processes."""
    return _generator(seed, _DESCRIPTIONS, step)


class StepRandomness:
    """Dropout and drop path of each step.

    The text side is the same for all faces of a step, however they are dealt to processes and passes: its dropout is
    drawn once for each optimizer step. What the vision tower draws for each face differs between processes and passes.

    Args:
        model: The network; a hook on its text side is left in it.
        seed: Seed of the run.
        process_index: Number of this process.
    """

    def __init__(self, model: nn.Module, seed: int, process_index: int):
        self.seed = seed
        self.process_index = process_index
        self.step = 0
        text_model = getattr(model, "text_model", None)
        if text_model is not None:
            text_model.register_forward_pre_hook(self._seed_text)

    def begin(self, step: int, forward_pass: int):
        """To be called before each forward pass of a step."""
        self.step = step
        torch.manual_seed(_mix(self.seed, _VISION, step, forward_pass, self.process_index))

    @torch.compiler.disable
    def _seed_text(self, module: nn.Module, inputs: tuple):
        if module.training:
            torch.manual_seed(_mix(self.seed, _TEXT, self.step))


def _generator(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(_mix(*numbers))


def _mix(*numbers: int) -> int:
    # A tuple's hash of integers is the same in every process and every run.
    return hash(numbers)
