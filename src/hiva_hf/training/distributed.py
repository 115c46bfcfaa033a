"""One network over several processes: replicated (DDP) or sharded (FSDP2), with batch norm over the whole batch.

Every process draws the same number of faces in every step, so that means over processes are means over the batch.
"""

import functools
import os
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from transformers.modeling_layers import GradientCheckpointingLayer

from ..modeling_hiva import HiVAPreTrainedModel


_USUAL_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class ProcessCountError(RuntimeError):
    """A run has another number of processes than requested."""


def check_num_processes(found: int, expected: int | None):
    """Checks that a run has the requested number of processes.

    Args:
        found: Number of processes of this run.
        expected: Value of `--expected_num_processes`, if given.

    Raises:
        ProcessCountError: if `expected` differs, the processes that were started don't communicate with each other, or
            the launcher was asked for several but started one.
    """
    started = int(os.environ.get("WORLD_SIZE", found))
    if started != found:
        raise ProcessCountError(
            f"{started} processes were started, but this run has {found}: the others would train separately. Launch "
            "only as many as this machine has devices for."
        )
    if expected is not None:
        if found != expected:
            raise ProcessCountError(f"This run has {found} process(es), but `expected_num_processes` is {expected}.")
        return
    # `accelerate launch` sets a master address when asked for several processes, and then starts a single one unless
    # its configuration says MULTI_GPU (also on CPUs).
    started_alone = "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ
    if found == 1 and started_alone and "MASTER_ADDR" in os.environ:
        raise ProcessCountError(
            "`accelerate launch` was asked for several processes, but started one: on CPUs it ignores that option. "
            "Use `torchrun --nproc_per_node N examples/train.py`, or `accelerate launch --config_file "
            "examples/accelerate_configs/cpu.yaml`. If one process is what you want, pass --expected_num_processes 1."
        )


def check_sharding(shards: bool, num_processes: int):
    """Checks that a network is not to be sharded over a single process.

    Raises:
        ValueError: if it is.
    """
    if shards and num_processes == 1:
        raise ValueError("`fsdp` shards the network over several processes, but this run has one.")


@functools.cache
def take_over_fsdp() -> bool:
    """Whether Accelerate's configuration requests FSDP; hides the request from Accelerate.

    On CPUs Accelerate would silently use DDP instead. Here the same code shards on every device. The answer is cached
    for all runs of the process.

    Raises:
        ValueError: if the configuration requests the first version of FSDP.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false") != "true":
        return False
    if os.environ.get("FSDP_VERSION") != "2":
        raise ValueError("Accelerate's configuration requests FSDP 1: set `fsdp_version: 2` in its `fsdp_config`.")
    del os.environ["ACCELERATE_USE_FSDP"]
    return True


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        # The loss of each process depends on the terms of all processes.
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm with mean and variance over the batches of all processes, which must be equally large.

    torch's own SyncBatchNorm runs on GPUs only. This one runs wherever collectives do, so that tests on CPUs cover
    what trains on GPUs. In evaluation mode it is torch's batch norm.
    """

    def _check_input_dim(self, hidden_states: torch.Tensor):
        if hidden_states.dim() < 2:
            raise ValueError(f"Batch norm needs [batch, channels, ...], got the shape {tuple(hidden_states.shape)}.")

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Args: hidden_states: `[batch, channels, ...]`. Returns the same shape and dtype."""
        self._check_input_dim(hidden_states)
        if not self.training:
            return super().forward(hidden_states)
        # Statistics in fp32 also under autocast, as in torch's batch norm.
        values = hidden_states.float()
        axes = [0, *range(2, values.dim())]
        shape = [1, -1] + [1] * (values.dim() - 2)
        num_processes = distributed.get_world_size()
        mean = _SumOverProcesses.apply(values.mean(axes)) / num_processes
        centered = values - mean.view(shape)
        # In two passes, because the difference of two large sums would suffer from cancellation.
        variance = _SumOverProcesses.apply(centered.square().mean(axes)) / num_processes
        count = num_processes * values.numel() // values.shape[1]
        self._update_running_statistics(mean.detach(), variance.detach(), count)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centered * scale.view(shape) + self.bias.view(shape)).to(hidden_states.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, mean: torch.Tensor, variance: torch.Tensor, count: int):
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


def synchronize_batch_norms(model: nn.Module):
    """Replaces every batch norm by one over all processes, with the same parameters and buffers.

    Raises:
        ValueError: if one is not a standard batch norm of torch with scale and moving statistics.
    """
    for path, norm in list(model.named_modules()):
        if not isinstance(norm, _BatchNorm) or isinstance(norm, SynchronizedBatchNorm):
            continue
        if type(norm) not in _USUAL_BATCH_NORMS or norm.momentum is None or norm.weight is None:
            raise ValueError(
                f"{path} is a {type(norm).__name__}, whose statistics can't be synchronised over processes: only "
                "torch's batch norms with scale and moving statistics can. Train on one process, or use another tower."
            )
        synchronized = SynchronizedBatchNorm(norm.num_features, norm.eps, norm.momentum, device="meta")
        synchronized._parameters, synchronized._buffers = norm._parameters, norm._buffers
        synchronized.train(norm.training)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, synchronized)


def spread_over_processes(accelerator: Accelerator, model: HiVAPreTrainedModel, shard: bool) -> nn.Module:
    """Distributes a network over the processes of a run.

    Args:
        accelerator: Accelerator of the run; the network is on its device.
        model: The network; changed in place.
        shard: Use FSDP2 instead of DDP.

    Returns:
        The module to call for a forward pass; `model` itself for a single process or with FSDP2.
    """
    if accelerator.num_processes == 1:
        return model
    synchronize_batch_norms(model)
    if not shard:
        device_ids = None if accelerator.device.type == "cpu" else [accelerator.device.index]
        # Buffers are equal already: batch norms see the same statistics everywhere.
        return DistributedDataParallel(
            model, device_ids=device_ids, broadcast_buffers=False, gradient_as_bucket_view=True
        )
    for tensor in (*model.parameters(), *model.buffers()):
        distributed.broadcast(tensor.detach(), src=0)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for part in _shard_units(model):
        fully_shard(part, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _shard_units(model: HiVAPreTrainedModel) -> list[nn.Module]:
    """Modules whose weights are gathered together, inner ones first.

    Each layer is one, so that the frozen layers of the text encoder, which never run in training, are never gathered.
    """
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    innermost = [
        layer
        for layer in layers
        if not any(isinstance(part, GradientCheckpointingLayer) for part in layer.modules() if part is not layer)
    ]
    text_model = getattr(model, "text_model", None)
    frozen = [] if text_model is None else [part for part in text_model.frozen_modules if part not in innermost]
    whole = [part for part in model.modules() if type(part).__name__ in model._no_split_modules]
    # Without duplicates: transformers adds the layers of inner models to the outer one's `_no_split_modules`.
    return list(dict.fromkeys(innermost + frozen + whole))


def accumulating(model: nn.Module, is_last: bool) -> AbstractContextManager:
    """Context of a forward and backward pass: gradients are only synchronised in the last pass of a step."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(is_last)
    if isinstance(model, DistributedDataParallel) and not is_last:
        return model.no_sync()
    return nullcontext()


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set in any process; all processes must call this."""
    if accelerator.num_processes == 1:
        return flag
    flags = torch.tensor([float(flag)], device=accelerator.device)
    distributed.all_reduce(flags)
    return bool(flags.item() > 0)
