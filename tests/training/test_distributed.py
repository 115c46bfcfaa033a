"""One process and several train the same network."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn

from hiva_hf import HiVAForAUDetection, HiVAForPreTraining, VLFAUForAUDetection
from hiva_hf.training.deepspeed_updates import take_over_deepspeed
from hiva_hf.training.distributed import (
    SynchronizedBatchNorm,
    _shard_units,
    check_num_processes,
    synchronize_batch_norms,
    take_over_fsdp,
)


# Faces per optimizer step of every run that is compared.
TOTAL = 16


@pytest.fixture(autouse=True)
def forget_the_launcher():
    """What is asked once in a process is asked anew."""
    for ask in (take_over_fsdp, take_over_deepspeed):
        ask.cache_clear()
    yield
    for ask in (take_over_fsdp, take_over_deepspeed):
        ask.cache_clear()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for stage in ("stage1", "stage2"):
        tensors |= {f"{stage}/{name}": t for name, t in load_file(folder / stage / "model.safetensors").items()}
    return tensors


def largest_difference(first: Path, second: Path) -> float:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


@pytest.fixture(scope="module")
def settings(faces_with_gaps) -> dict:
    """Labels are missing, so that processes know different numbers of them; and an odd number of test faces.

    The learning rates are between the paper's and the demo's: at the demo's, a ReLU that rounding tips over once in an
    epoch moves a weight by more than is compared here.
    """
    return {
        "stage1_learning_rate": 5e-5,
        "stage2_learning_rate": 5e-5,
        "backbone_learning_rate_scale": 1.0,
        "data_dir": str(faces_with_gaps),
        "stage1_epochs": 1,
        "stage2_epochs": 1,
        "max_train_samples": 96,
        "max_eval_samples": 75,
        "per_device_eval_batch_size": 16,
    }


@pytest.fixture(scope="module")
def one_process(run_to_the_end, settings) -> Path:
    return run_to_the_end(1, per_device_train_batch_size=TOTAL, **settings)


def test_an_epoch_on_two_processes_gives_the_weights_of_one(run_to_the_end, settings, one_process):
    two = run_to_the_end(2, per_device_train_batch_size=TOTAL // 2, **settings)
    assert largest_difference(one_process, two) < 1e-5


def test_the_weights_move_much_further_than_they_may_differ(one_process, towers):
    start = load_file(towers / "vision" / "model.safetensors")
    end = load_file(one_process / "stage2" / "model.safetensors")
    moved = [
        (end[f"vision_model.backbone.{name}"] - tensor).abs().max()
        for name, tensor in start.items()
        if ".layer.1." in name and name.endswith("weight")
    ]
    assert min(moved) > 1e-4


def test_sharded_weights_are_those_of_one_process(run_to_the_end, settings, one_process):
    """With what an FSDP2 configuration of Accelerate, which makes DDP of it on CPUs, leaves in the environment."""
    environment = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    sharded = run_to_the_end(2, environment, per_device_train_batch_size=TOTAL // 2, **settings)
    assert "fsdp: true" in (sharded / "settings.yaml").read_text()
    assert largest_difference(one_process, sharded) < 1e-5


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed: pip install deepspeed")
def test_moments_sharded_by_deepspeed_make_the_steps_of_one_process(run_to_the_end, settings, one_process):
    environment = {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"}
    sharded = run_to_the_end(2, environment, per_device_train_batch_size=TOTAL // 2, **settings)
    assert largest_difference(one_process, sharded) < 1e-5


def test_what_deepspeed_is_not_used_for_here_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("hiva_hf.training.deepspeed_updates.find_spec", lambda name: True)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    with pytest.raises(ValueError, match="DeepSpeed with ZeRO stage 3, but only stages 1 and 2 are supported"):
        take_over_deepspeed()


def test_a_missing_deepspeed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("hiva_hf.training.deepspeed_updates.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install deepspeed"):
        take_over_deepspeed()


def test_accumulated_passes_are_shared_by_processes_alike(run_to_the_end, settings):
    settings = settings | {"gradient_accumulation_steps": 2, "ema_decay": 0.5}
    one = run_to_the_end(1, per_device_train_batch_size=TOTAL // 2, **settings)
    two = run_to_the_end(2, per_device_train_batch_size=TOTAL // 4, **settings)
    assert largest_difference(one, two) < 1e-5


def test_every_test_face_is_predicted_once_whatever_the_number_of_processes(run_to_the_end, settings, one_process):
    two = run_to_the_end(2, per_device_train_batch_size=TOTAL // 2, **settings)
    tables = [pq.read_table(folder / "predictions_test.parquet").to_pandas() for folder in (one_process, two)]
    assert len(tables[0]) == 75
    exact = [name for name in tables[0] if not name.endswith("_probability")]
    assert tables[0][exact].equals(tables[1][exact])
    probabilities = [table[[name for name in table if name not in exact]].to_numpy() for table in tables]
    assert np.abs(probabilities[0] - probabilities[1]).max() < 1e-4


def test_no_part_is_sharded_twice(make_config, make_vl_fau_config):
    for model in (HiVAForAUDetection(make_config()), VLFAUForAUDetection(make_vl_fau_config())):
        units = _shard_units(model)
        assert units
        assert len(units) == len(set(units))


@pytest.fixture
def process_group():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("make_norm", [lambda: nn.BatchNorm2d(3), lambda: nn.BatchNorm1d(3, momentum=0.3)])
def test_a_synchronized_batch_norm_is_torchs_own_on_one_process(process_group, make_norm):
    own, synchronized = make_norm(), make_norm()
    parent = nn.ModuleDict({"norm": synchronized})
    synchronize_batch_norms(parent)
    assert isinstance(parent["norm"], SynchronizedBatchNorm)
    shape = (4, 3, 5, 5) if isinstance(own, nn.BatchNorm2d) else (4, 3, 6)
    for _ in range(2):
        values = torch.randn(shape) * 3 + 1
        inputs = [values.clone().requires_grad_() for _ in range(2)]
        outputs = [own(inputs[0]), parent["norm"](inputs[1])]
        for output in outputs:
            output.square().sum().backward()
        torch.testing.assert_close(outputs[1], outputs[0])
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, atol=1e-4, rtol=1e-4)
    for name, tensor in own.state_dict().items():
        torch.testing.assert_close(parent["norm"].state_dict()[name], tensor)
    own.eval(), parent.eval()
    torch.testing.assert_close(parent["norm"](values), own(values))


def test_every_batch_norm_of_the_network_is_synchronized(tiny_config):
    model = HiVAForPreTraining(tiny_config)
    names = set(model.state_dict())
    synchronize_batch_norms(model)
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 3
    assert all(isinstance(norm, SynchronizedBatchNorm) for norm in norms)
    assert set(model.state_dict()) == names


def test_a_batch_norm_that_does_more_is_named():
    class Unusual(nn.BatchNorm2d):
        """Norm and activation in one, as timm has them."""

    with pytest.raises(ValueError, match="part.0 is a Unusual, whose statistics can't be synchronised"):
        synchronize_batch_norms(nn.ModuleDict({"part": nn.ModuleList([Unusual(3)])}))


def test_a_run_with_another_number_of_processes_than_expected_fails():
    with pytest.raises(RuntimeError, match=r"has 1 process\(es\), but `expected_num_processes` is 2"):
        check_num_processes(1, 2)
    check_num_processes(2, 2)


def test_a_launcher_that_started_one_process_instead_of_several_is_found_out(monkeypatch):
    """What `accelerate launch --cpu --num_processes 2` leaves in the environment of its one process."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    check_num_processes(1, None)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(RuntimeError, match="asked for several processes, but started one"):
        check_num_processes(1, None)
    check_num_processes(1, 1)


def test_processes_that_do_not_know_of_each_other_are_found_out(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="2 processes were started, but this run has 1"):
        check_num_processes(1, None)


def test_the_first_fsdp_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(ValueError, match="fsdp_version: 2"):
        take_over_fsdp()


def test_every_run_of_a_process_is_sharded_as_the_first(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert [take_over_fsdp(), take_over_fsdp()] == [True, True]
    assert "ACCELERATE_USE_FSDP" not in os.environ


def test_every_run_of_a_process_goes_through_deepspeed_as_the_first(monkeypatch):
    monkeypatch.setattr("hiva_hf.training.deepspeed_updates.find_spec", lambda name: True)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "1")
    assert [take_over_deepspeed(), take_over_deepspeed()] == [1, 1]
    assert "ACCELERATE_USE_DEEPSPEED" not in os.environ
