import pytest
import torch

from hiva_hf.training.hardware import choose_mixed_precision, must_use_cpu


@pytest.mark.parametrize(
    ("accelerator", "num_processes", "is_cpu"),
    [(None, 1, True), (None, 2, True), ("mps", 1, False), ("mps", 2, True), ("cuda", 1, False), ("cuda", 2, False)],
)
def test_several_processes_of_a_mac_are_a_run_of_cpus(monkeypatch, accelerator, num_processes, is_cpu):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(accelerator))
    monkeypatch.setenv("WORLD_SIZE", str(num_processes))
    assert must_use_cpu() == is_cpu


def test_the_launchers_precision_is_taken_where_the_run_has_none_of_its_own(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert choose_mixed_precision("auto") == "bf16"
    assert choose_mixed_precision("no") == "no"


@pytest.mark.parametrize("precision", ["fp16", "fp8"])
def test_a_precision_that_there_is_not_is_refused(monkeypatch, precision):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    with pytest.raises(ValueError, match=f"asked for mixed precision {precision}, but only no and bf16 are supported"):
        choose_mixed_precision("auto")
    assert choose_mixed_precision("bf16") == "bf16"
