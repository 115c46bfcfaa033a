# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Linear layers for inference on a CPU, with the kernels that PyTorch's compiler uses.

A matrix product needs its weights in blocks. PyTorch's usual linear layer packs them again in every call, or, in
fp32, leaves that to a library that is slow on CPUs of other makers than its own. oneDNN, which comes with PyTorch,
takes weights that were packed once, and applies a GELU in the same pass.
"""

import platform

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import flop_registry, register_flop_formula


# Internal operators of PyTorch's compiler, so their presence is checked.
_OPERATORS = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
_HAS_KERNELS = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()
    and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
)
_DTYPES = [torch.float32] if _HAS_KERNELS else []
if _HAS_KERNELS and torch.ops.mkldnn._is_mkldnn_bf16_supported():
    _DTYPES.append(torch.bfloat16)


def _count_flops(hidden_states_shape, weight_shape, *args, out_shape=None, **kwargs) -> int:
    return 2 * hidden_states_shape.numel() * weight_shape[0]


# Once per process: a repository's copy of this file may be imported beside the package's.
if _HAS_KERNELS and torch.ops.mkldnn._linear_pointwise not in flop_registry:
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_count_flops)


def _is_inference() -> bool:
    """Without gradients or autocast, and neither compiled nor exported: compilers choose kernels themselves."""
    return not (
        torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
    )


def _has_kernel_for(hidden_states: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        # Not the tensor subclasses of quantizers.
        type(weight) in (nn.Parameter, torch.Tensor)
        and hidden_states.device.type == weight.device.type == "cpu"
        and hidden_states.dtype == weight.dtype
        and hidden_states.dtype in _DTYPES
        and torch.backends.mkldnn.enabled
        # Kernels would lose the tangents of forward-mode differentiation, which `no_grad` leaves on.
        and forward_ad.unpack_dual(hidden_states).tangent is None
    )


class _PackedWeights:
    """Weights packed for the CPU, when they are first needed and whenever they have changed."""

    def __init__(self):
        self._by_id = {}

    def __reduce__(self):
        # PyTorch can't copy packed weights: copies and pickles start without them.
        return type(self), ()

    @staticmethod
    def _state(weight: torch.Tensor) -> tuple[int, int]:
        """Changes if the weight is replaced, or changed in place in a way that PyTorch tracks (not by `.data`)."""
        return weight.data_ptr(), 0 if weight.is_inference() else weight._version

    def _packed(self, weight: torch.Tensor) -> torch.Tensor:
        state = self._state(weight)
        _, packed_state, packed = self._by_id.get(id(weight), (None, None, None))
        if packed_state != state:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
            # Keeping a reference to the weight keeps its id unique.
            self._by_id[id(weight)] = (weight, state, packed)
        return packed

    def linear(self, hidden_states, weight, bias, activation=None) -> torch.Tensor:
        """See [`PackedLinear.forward`]."""
        follows = ("none", [], "")
        if type(activation) is nn.GELU:
            follows, activation = ("gelu", [], activation.approximate), None
        elif type(activation) is nn.ReLU:
            follows, activation = ("relu", [], ""), None
        projected = torch.ops.mkldnn._linear_pointwise(hidden_states, self._packed(weight), bias, *follows)
        return projected if activation is None else activation(projected)


class _HoldsPackedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self._weights = _PackedWeights()

    def _apply(self, *args, **kwargs) -> "_HoldsPackedWeights":
        # The network that holds this layer is moved or cast.
        self._weights = _PackedWeights()
        return super()._apply(*args, **kwargs)


class PackedLinear(_HoldsPackedWeights):
    """
    Runs one linear layer, which keeps its weights; the first call for which there is a kernel packs a copy of them for
    the CPU. Other calls, such as those with gradients and compiled or exported ones, run the layer as it is.
    """

    def _can_pack(self, hidden_states: torch.Tensor, weight: torch.Tensor) -> bool:
        # CODEPATH: on an x86 CPU, in fp32 and bf16.
        return _is_inference() and _has_kernel_for(hidden_states, weight)

    def forward(
        self,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        activation: nn.Module | None = None,
    ) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(..., in_features)`).
            weight (`torch.Tensor` of shape `(out_features, in_features)`):
                The same one in every call.
            bias (`torch.Tensor` of shape `(out_features,)`, *optional*).
            activation (`nn.Module`, *optional*):
                Applied to the result.

        Returns:
            `torch.Tensor` of shape `(..., out_features)`.
        """
        if self._can_pack(hidden_states, weight):
            return self._weights.linear(hidden_states, weight, bias, activation)
        projected = nn.functional.linear(hidden_states, weight, bias)
        return projected if activation is None else activation(projected)

    def run(self, layer: nn.Module, hidden_states: torch.Tensor, activation: nn.Module | None = None) -> torch.Tensor:
        """The same for an `nn.Linear`."""
        # Layers with adapters or hooks run themselves; quantizers, too, rely on the layer being called. Accelerate's
        # hooks replace the method.
        has_hooks = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
        is_usual = type(layer) is nn.Linear and not has_hooks
        if is_usual and self._can_pack(hidden_states, layer.weight):
            return self._weights.linear(hidden_states, layer.weight, layer.bias, activation)
        projected = layer(hidden_states)
        return projected if activation is None else activation(projected)


class _PackedCalls(TorchFunctionMode):
    """Computes calls of `nn.functional.linear` with packed weights."""

    def __init__(self, weights: _PackedWeights):
        super().__init__()
        self._weights = weights

    def _linear(self, input, weight, bias=None) -> torch.Tensor:
        # A tensor computed from a weight is new in each call, so that packing it would not pay.
        if type(weight) is not nn.Parameter or not _has_kernel_for(input, weight):
            return nn.functional.linear(input, weight, bias)
        return self._weights.linear(input, weight, bias)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        function = self._linear if func is nn.functional.linear else func
        return function(*args, **(kwargs or {}))


class PackedLinears(_HoldsPackedWeights):
    """Runs a network, each of whose linear layers is run as by [`PackedLinear`]."""

    def forward(self, network: nn.Module, inputs: torch.Tensor, **kwargs) -> object:
        """
        Args:
            network (`nn.Module`):
                The same one in every call.
            inputs (`torch.Tensor`):
                Its input.
            kwargs:
                Its further arguments.

        Returns:
            Its output.
        """
        # CODEPATH: on an x86 CPU, in fp32 and bf16. Elsewhere nothing is gained by intercepting every call.
        # Replicas of `nn.DataParallel` have no parameters.
        weight = next(network.parameters(), None)
        if weight is None or not (_is_inference() and _has_kernel_for(inputs, weight)):
            return network(inputs, **kwargs)
        with _PackedCalls(self._weights):
            return network(inputs, **kwargs)
