"""The tensors of a training checkpoint, by name and unsharded, however the network is distributed over processes."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor


_OPTIMIZER_STATES = ("step", "exp_avg", "exp_avg_sq")


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Gathers a sharded tensor from all processes, which must all call this; returns any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread_like(tensor: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """Shards a whole tensor like `example`."""
    if isinstance(example, DTensor):
        return distribute_tensor(tensor.to(example.device), example.device_mesh, example.placements)
    return tensor


def model_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: trainable parameters and saved buffers. Frozen parameters come from their towers."""
    tensors = {name: whole(tensor).detach() for name, tensor in model.named_parameters() if tensor.requires_grad}
    return tensors | saved_buffers(model)


def saved_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """The buffers that belong to the model's checkpoint."""
    saved = model.state_dict(keep_vars=True).keys()
    return {name: tensor for name, tensor in model.named_buffers() if name in saved}


@torch.no_grad()
def load_model_tensors(model: nn.Module, tensors: Mapping[str, torch.Tensor]):
    """Restores what [`model_tensors`] returned.

    Raises:
        ValueError: if names or shapes don't match this network.
    """
    own = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad} | saved_buffers(model)
    _check_names(own.keys(), tensors.keys())
    for name, tensor in own.items():
        _check_shape(name, tensor, tensors[name])
        tensor.copy_(spread_like(tensors[name], tensor))


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """AdamW's moments and step counts as `exp_avg/PARAMETER` and so on."""
    return {
        f"{key}/{name}": whole(optimizer.state[parameter][key])
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
        for key in _OPTIMIZER_STATES
    }


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]):
    """Restores what [`optimizer_tensors`] returned.

    Raises:
        ValueError: if names or shapes don't match this network.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    unknown = {key.split("/", 1)[1] for key in tensors} - {names[parameter] for parameter in parameters}
    if unknown:
        raise ValueError(f"The saved optimizer state belongs to other parameters: {', '.join(sorted(unknown)[:3])}.")
    state = {}
    for index, parameter in enumerate(parameters):
        # A parameter that never had a gradient has no state.
        if f"step/{names[parameter]}" in tensors:
            state[index] = {key: tensors[f"{key}/{names[parameter]}"] for key in _OPTIMIZER_STATES}
            for key in ("exp_avg", "exp_avg_sq"):
                _check_shape(names[parameter], parameter, state[index][key])
                state[index][key] = spread_like(state[index][key], parameter)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _check_names(own: set[str], saved: set[str]):
    differing = sorted(set(own) ^ set(saved))
    if differing:
        raise ValueError(
            f"The saved state is for another network: {len(differing)} names are in only one of them, such as "
            f"{differing[0]}. It was written by another version or with other settings."
        )


def _check_shape(name: str, own: torch.Tensor, saved: torch.Tensor):
    if own.shape != saved.shape:
        raise ValueError(
            f"The saved state is for another network: {name} has the shape {tuple(saved.shape)} in it, but "
            f"{tuple(own.shape)} here."
        )
