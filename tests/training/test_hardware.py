from types import SimpleNamespace

import pytest
import torch

from hiva_hf.training.hardware import choose_mixed_precision, must_use_cpu
from hiva_hf.training.step_reports import StepReports


@pytest.mark.parametrize(
    ("accelerator", "num_processes", "is_cpu"),
    [(None, 1, True), (None, 2, True), ("mps", 1, False), ("mps", 2, True), ("cuda", 1, False), ("cuda", 2, False)],
)
def test_several_processes_of_a_mac_are_a_run_of_cpus(monkeypatch, accelerator, num_processes, is_cpu):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(accelerator))
    monkeypatch.setenv("WORLD_SIZE", str(num_processes))
    assert must_use_cpu() == is_cpu


def test_a_loss_is_not_read_before_it_has_come(monkeypatch):
    copy = torch.Tensor.to

    def copy_as_apples_gpus_do(tensor, *arguments, non_blocking=False, **options):
        copied = copy(tensor, *arguments, **options)
        return torch.full_like(copied, torch.nan) if non_blocking else copied

    monkeypatch.setattr(torch.Tensor, "to", copy_as_apples_gpus_do)
    reports = StepReports(SimpleNamespace(device=torch.device("mps"), num_processes=1))
    reports.submit(7, [torch.tensor(0.5), torch.tensor(1.5)], [[0], [1]], stop_requested=False)
    (report,) = reports.read()
    assert (report.step, report.loss, report.pass_losses) == (7, 1.0, [0.5, 1.5])
    assert report.is_finite and not report.stop_requested


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
