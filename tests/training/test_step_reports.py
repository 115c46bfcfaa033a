from types import SimpleNamespace

import torch

from hiva_hf.training.step_reports import StepReports


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
