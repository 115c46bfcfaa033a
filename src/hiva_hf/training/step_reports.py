"""What the processes of a run exchange after each step: its loss, and whether to stop."""

import math
from collections import deque
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import distributed


@dataclass(frozen=True)
class StepReport:
    """Report on a step, over all processes.

    Attributes:
        step: Number of optimizer steps of the stage before it.
        loss: Mean loss over the faces of the step.
        is_finite: Whether the loss was finite in every process and pass.
        stop_requested: Whether any process was asked to stop.
        pass_losses: The losses of this process's own forward passes.
        rows: The faces of this process's own forward passes, as row indices of the training split.
    """

    step: int
    loss: float
    is_finite: bool
    stop_requested: bool
    pass_losses: list[float]
    rows: list[list[int]]


class StepReports:
    """Collects reports without stalling a GPU, for which a step's report is read while the next step runs.

    Args:
        accelerator: Accelerator of the run.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        # Only CUDA reads late: CPUs run synchronously, and other devices are waited for.
        self.num_unread = 1 if accelerator.device.type == "cuda" else 0
        self._pending: deque = deque()

    def submit(self, step: int, losses: list[torch.Tensor], rows: list[list[int]], stop_requested: bool):
        """Reports a step to the other processes; all must do so after every step."""
        own = torch.stack(losses).detach().float()
        stop = own.new_tensor(float(stop_requested))
        shared = torch.stack([own.mean(), (~own.isfinite()).sum(), stop])
        if self.accelerator.num_processes > 1:
            distributed.all_reduce(shared)
        # A report that is read at once must be complete: only CUDA has an event here for the end of a copy.
        report = torch.cat([shared, own]).to("cpu", non_blocking=bool(self.num_unread))
        copied = None
        if self.num_unread:
            copied = torch.cuda.Event()
            copied.record()
        self._pending.append((step, report, copied, rows))

    def read(self, everything: bool = False) -> list[StepReport]:
        """The reports that have arrived, oldest first; with `everything` also those still under way."""
        reports = []
        while len(self._pending) > (0 if everything else self.num_unread):
            step, report, copied, rows = self._pending.popleft()
            if copied is not None:
                copied.synchronize()
            loss, num_bad, num_stops, *pass_losses = report.tolist()
            mean_loss = loss / self.accelerator.num_processes
            reports.append(StepReport(step, mean_loss, num_bad == 0, num_stops > 0, pass_losses, rows))
        return reports


def describe_trouble(report: StepReport, where: str, faces: Dataset) -> str:
    """The message about a loss that is not finite.

    Args:
        report: Report of the step.
        where: Stage and epoch.
        faces: The training split, with `subject`, `task` and `frame`.
    """
    passes = zip(report.rows, report.pass_losses, strict=True)
    rows = [row for pass_rows, loss in passes if not math.isfinite(loss) for row in pass_rows]
    step = f"The loss of {where}, step {report.step + 1} of the stage, is not finite"
    if not rows:
        return f"{step} in another process, whose message names the faces."
    chosen = faces.select_columns(["subject", "task", "frame"]).select(rows)
    names = ", ".join(f"{face['subject']}/{face['task']}/{face['frame']}" for face in chosen)
    return (
        f"{step}. Its faces (subject/task/frame): {names}. If they look normal, lower the learning rates or "
        "clip gradients (`max_grad_norm`)."
    )
