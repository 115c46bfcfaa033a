"""Which faces each process sees in each step: a step has the same faces for any number of processes."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from .arguments import AUTrainingArguments
from .interruption import ignore_in_worker
from .randomness import shuffled


@dataclass(frozen=True)
class BatchPlan:
    """How an epoch is divided into batches.

    An epoch is one order of all samples, cut into optimizer steps of `total_size` samples; a step is cut into forward
    passes, and a pass into equal shares for the processes. Samples after the last full step are left out of that
    epoch.

    Attributes:
        num_samples: Samples of the training split.
        size: Samples per process and forward pass.
        num_passes: Forward passes per optimizer step.
        num_processes: Number of processes of the run.
        process_index: Index of this process.
    """

    num_samples: int
    size: int
    num_passes: int
    num_processes: int
    process_index: int

    def __post_init__(self):
        if self.num_samples < self.total_size:
            raise ValueError(
                f"The training split has {self.num_samples} faces, but one optimizer step needs {self.total_size} "
                f"({self.size} per process, {self.num_processes} process(es), {self.num_passes} pass(es)). Lower "
                "`total_train_batch_size` if that is set, as by `--preset paper`, or else "
                "`per_device_train_batch_size`."
            )

    @property
    def total_size(self) -> int:
        return self.size * self.num_passes * self.num_processes

    @property
    def steps_per_epoch(self) -> int:
        return self.num_samples // self.total_size

    def rows(self, seed: int, epoch: int, first_step: int = 0) -> list[list[int]]:
        """Row indices of this process's forward passes, from `first_step` to the end of the epoch."""
        order = shuffled(self.num_samples, seed, epoch)
        starts = (
            step * self.total_size + (number * self.num_processes + self.process_index) * self.size
            for step in range(first_step, self.steps_per_epoch)
            for number in range(self.num_passes)
        )
        return [order[start : start + self.size] for start in starts]


def plan_batches(arguments: AUTrainingArguments, num_samples: int, accelerator: Accelerator) -> BatchPlan:
    """The plan of a run.

    Args:
        arguments: Settings with a resolved batch size.
        num_samples: Number of samples of the training split.
        accelerator: Accelerator of the run.

    Raises:
        ValueError: if one optimizer step needs more samples than there are.
    """
    return BatchPlan(
        num_samples=num_samples,
        size=arguments.per_device_train_batch_size,
        num_passes=arguments.gradient_accumulation_steps,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
    )


def resolve_batch_size(arguments: AUTrainingArguments, num_processes: int) -> tuple[int, int]:
    """Samples per process and forward pass, and forward passes per optimizer step.

    Raises:
        ValueError: if `total_train_batch_size` can't be divided equally.
    """
    total, size = arguments.total_train_batch_size, arguments.per_device_train_batch_size
    num_passes = arguments.gradient_accumulation_steps
    if total is None:
        return size, num_passes or 1
    if num_passes is None:
        if total % (num_processes * size):
            raise ValueError(
                f"`total_train_batch_size` is {total}, which is not divisible by {num_processes} process(es) times "
                f"`per_device_train_batch_size` {size}: change one of the two."
            )
        return size, total // (num_processes * size)
    if total % (num_processes * num_passes):
        raise ValueError(
            f"`total_train_batch_size` is {total}, which is not divisible by {num_processes} process(es) times "
            f"{num_passes} pass(es)."
        )
    return total // (num_processes * num_passes), num_passes


def training_loader(faces: Dataset, rows: list[list[int]], num_workers: int, device: torch.device) -> DataLoader:
    """Loads the given batches in order."""
    return DataLoader(
        faces,
        batch_sampler=rows,
        num_workers=num_workers,
        worker_init_fn=ignore_in_worker,
        pin_memory=device.type == "cuda",
    )


def evaluation_loader(accelerator: Accelerator, faces: Dataset, batch_size: int, num_workers: int = 0) -> DataLoader:
    """Distributes all faces over the processes, each once; [`~hiva_hf.training.prediction.predict`] gathers them."""
    loader = DataLoader(
        faces,
        batch_size=batch_size,
        num_workers=num_workers,
        worker_init_fn=ignore_in_worker,
        pin_memory=accelerator.device.type == "cuda",
    )
    return accelerator.prepare_data_loader(loader)
