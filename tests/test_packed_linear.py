"""Packed linear layers give what linear layers do, by other kernels where there are some."""

import copy
import pickle
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from hiva_hf import packed_linear
from hiva_hf.packed_linear import PackedLinear, PackedLinears


TOLERANCE = {torch.float32: {"atol": 1e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 0.03, "rtol": 0.03}}
needs_kernels = pytest.mark.skipif(not packed_linear._HAS_KERNELS, reason="needs an x86 processor and oneDNN")


class RecordedOperators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def runs_packed(layer: nn.Module, hidden_states: torch.Tensor, is_recorded: bool = False) -> bool:
    with RecordedOperators() as operators, nullcontext() if is_recorded else torch.no_grad():
        PackedLinear().run(layer, hidden_states)
    return any("_linear_pointwise" in name for name in operators.names)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(24, 40)


@pytest.fixture
def hidden_states():
    return torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("activation", [None, nn.GELU(), nn.GELU("tanh"), nn.ReLU()])
@pytest.mark.parametrize("shape", [(24,), (5, 24), (2, 7, 24), (0, 7, 24)])
@torch.no_grad()
def test_results_are_those_of_the_layer(dtype, has_bias, activation, shape):
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=has_bias).to(dtype)
    hidden_states = torch.randn(shape).to(dtype)
    expected = layer(hidden_states) if activation is None else activation(layer(hidden_states))
    torch.testing.assert_close(PackedLinear().run(layer, hidden_states, activation), expected, **TOLERANCE[dtype])


@torch.no_grad()
def test_inputs_may_lie_in_memory_in_any_order(layer, hidden_states):
    hidden_states = hidden_states.transpose(0, 1)
    torch.testing.assert_close(
        PackedLinear().run(layer, hidden_states), layer(hidden_states), **TOLERANCE[torch.float32]
    )


@needs_kernels
@pytest.mark.parametrize("dtype", packed_linear._DTYPES)
def test_inference_takes_the_kernels(layer, hidden_states, dtype):
    assert runs_packed(layer.to(dtype), hidden_states.to(dtype))
    with torch.inference_mode():
        assert runs_packed(nn.Linear(24, 40).to(dtype), hidden_states.to(dtype))


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_all_else_runs_the_layer_itself(layer, hidden_states):
    assert not runs_packed(layer, hidden_states, is_recorded=True)
    assert not runs_packed(copy.deepcopy(layer).half(), hidden_states.half())
    with torch.autocast("cpu", torch.bfloat16):
        assert not runs_packed(layer, hidden_states)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not runs_packed(layer, hidden_states)
    with torch.device("meta"):
        assert not runs_packed(nn.Linear(24, 40), torch.empty(2, 24))

    class Adapted(nn.Linear):
        pass

    assert not runs_packed(Adapted(24, 40), hidden_states)
    # As Accelerate's hooks do.
    patched = copy.deepcopy(layer)
    patched.forward = lambda states: 2 * layer(states)
    assert not runs_packed(patched, hidden_states)
    seen = []
    layer.register_forward_hook(lambda *args: seen.append(args))
    assert not runs_packed(layer, hidden_states)
    assert seen


def test_gradients_are_recorded(layer, hidden_states):
    PackedLinear().run(layer, hidden_states, nn.GELU()).sum().backward()
    assert layer.weight.grad.any()
    assert layer.bias.grad.any()


@torch.no_grad()
@pytest.mark.parametrize("run", [PackedLinear().run, PackedLinears()])
def test_forward_mode_differentiation_goes_through(layer, hidden_states, run):
    direction = torch.ones_like(hidden_states)
    _, tangents = torch.func.jvp(lambda states: run(layer, states), (hidden_states,), (direction,))
    torch.testing.assert_close(tangents, direction @ layer.weight.T)


@torch.no_grad()
def test_new_weights_are_never_hidden_by_old_ones(layer, hidden_states):
    packed = PackedLinear()

    def check():
        dtype = layer.weight.dtype
        states = hidden_states.to(dtype)
        torch.testing.assert_close(packed.run(layer, states), layer(states), **TOLERANCE[dtype])

    check()
    layer.weight.mul_(2)
    check()
    layer.bias.add_(1)
    check()
    layer.weight.data = torch.randn(40, 24)
    check()
    layer.load_state_dict(nn.Linear(24, 40).state_dict())
    check()
    # As one model, in which both are moved.
    nn.ModuleList([layer, packed]).to(torch.bfloat16)
    check()
    nn.ModuleList([layer, packed]).to(torch.float32)
    check()


@torch.no_grad()
def test_copies_and_pickles(layer, hidden_states):
    packed = PackedLinear()
    expected = packed.run(layer, hidden_states)
    for twin in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        torch.testing.assert_close(twin.run(layer, hidden_states), expected, atol=0, rtol=0)
    assert not packed.state_dict()


class Network(nn.Module):
    """Linear layers by module and by function, with a parameter and with what is computed from one."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(24, 40), nn.Linear(40, 24, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.down(self.up(hidden_states).relu())
        hidden_states = nn.functional.linear(input=hidden_states, weight=self.up.weight, bias=self.up.bias)
        return nn.functional.linear(hidden_states, 2 * self.down.weight)


@torch.no_grad()
def test_networks_are_run_with_all_their_layers(hidden_states):
    torch.manual_seed(0)
    network, packed = Network(), PackedLinears()
    expected = network(hidden_states)
    for runner in (packed, packed, copy.deepcopy(packed)):
        with RecordedOperators() as operators:
            torch.testing.assert_close(runner(network, hidden_states), expected, **TOLERANCE[torch.float32])
        packed_calls = sum("_linear_pointwise" in name for name in operators.names)
        assert packed_calls == (3 if packed_linear._HAS_KERNELS else 0)
    network.up.weight.mul_(2)
    torch.testing.assert_close(packed(network, hidden_states), network(hidden_states), **TOLERANCE[torch.float32])
    nn.ModuleList([network, packed]).to(torch.bfloat16)
    states = hidden_states.bfloat16()
    torch.testing.assert_close(packed(network, states), network(states), **TOLERANCE[torch.bfloat16])


@torch.no_grad()
def test_replicas_of_data_parallel_run_as_they_are(layer, hidden_states):
    """They have no parameters."""
    replica = layer._replicate_for_data_parallel()
    replica.weight, replica.bias = layer.weight.data, layer.bias.data
    assert not list(replica.parameters())
    assert torch.equal(PackedLinears()(replica, hidden_states), layer(hidden_states))


def test_networks_pass_gradients_on(hidden_states):
    torch.manual_seed(0)
    network = Network()
    PackedLinears()(network, hidden_states).sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


@torch.no_grad()
def test_work_is_counted(layer, hidden_states):
    packed = PackedLinear()
    counts = []
    for run in (layer, lambda states: packed.run(layer, states)):
        with FlopCounterMode(display=False) as counter:
            run(hidden_states)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 2 * 7 * 24 * 40
