"""Forward and backward passes and optimizer steps, on one process or several, with their state."""

from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load, save_file

from ..modeling_hiva import HiVAPreTrainedModel
from .arguments import AUTrainingArguments
from .distributed import accumulating, spread_over_processes
from .optimization import make_optimizer
from .training_state import (
    load_model_tensors,
    load_optimizer_tensors,
    model_tensors,
    optimizer_tensors,
    whole,
)


_MODEL_FILE, _OPTIMIZER_FILE = "model.safetensors", "optimizer.safetensors"

# Tensors by name, by file.
TensorFiles = dict[str, dict[str, torch.Tensor]]


class Updates:
    """Forward and backward passes of a network, and AdamW's steps; alone, replicated (DDP) or sharded (FSDP2).

    Args:
        accelerator: Device and precision of the run.
        model: The network on its device; it is distributed over the processes in place.
        learning_rate: Peak learning rate of the randomly initialised layers.
        arguments: Everything else.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: HiVAPreTrainedModel,
        learning_rate: float,
        arguments: AUTrainingArguments,
    ):
        self.accelerator = accelerator
        self.model = model
        self.num_passes = arguments.gradient_accumulation_steps
        self.max_grad_norm = arguments.max_grad_norm
        self.spread_model = spread_over_processes(accelerator, model, shard=arguments.fsdp)
        if arguments.torch_compile:
            # In place, so that the names of the weights do not change.
            model.compile(backend=arguments.torch_compile_backend)
        self.optimizer = make_optimizer(model, learning_rate, arguments)

    def backward(self, inputs: Mapping[str, torch.Tensor], is_last: bool) -> torch.Tensor:
        """One forward and backward pass of a step; returns its loss, detached.

        All passes and processes have equally many faces, so that the mean of their means is the mean over the step.
        (Nearly so for VL-FAU's sentences, which differ in length: each pass averages over its own words.)
        """
        with accumulating(self.spread_model, is_last):
            with self.accelerator.autocast():
                loss = self.spread_model(**inputs).loss
            (loss / self.num_passes).backward()
        return loss.detach()

    def step(self) -> torch.Tensor | None:
        """AdamW's step; returns the norm of the gradients if they are clipped."""
        norm = None
        if self.max_grad_norm > 0:
            norm = whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def gather(self) -> TensorFiles:
        """Weights and AdamW's moments, unsharded; all processes must call this."""
        return {_MODEL_FILE: model_tensors(self.model), _OPTIMIZER_FILE: self._gather_moments()}

    def load(self, folder: Path):
        """Restores what was gathered and written with [`write_tensors`]."""
        load_model_tensors(self.model, read_tensors(folder / _MODEL_FILE))
        self._load_moments(read_tensors(folder / _OPTIMIZER_FILE))

    def _gather_moments(self) -> dict[str, torch.Tensor]:
        return optimizer_tensors(self.model, self.optimizer)

    def _load_moments(self, tensors: Mapping[str, torch.Tensor]):
        load_optimizer_tensors(self.model, self.optimizer, tensors)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Reads safetensors into memory.

    The optimizer keeps using these very tensors. If they were memory-mapped, the folder of their file could not be
    deleted on Windows or NFS once newer checkpoints have replaced it.
    """
    return load(path.read_bytes())


def write_tensors(files: TensorFiles, folder: Path):
    """Writes gathered tensors as safetensors."""
    for name, tensors in files.items():
        save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, folder / name)
