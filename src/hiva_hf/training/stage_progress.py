"""Progress of a stage; together with its tensors, everything needed to resume exactly where it was."""

from dataclasses import dataclass, field


@dataclass
class StageProgress:
    """Progress of a stage.

    It holds no random state: order, augmentation, descriptions and dropout follow from the seed and the step.

    Attributes:
        num_processes: Number of processes of the run, which must be the same when it is resumed.
        epochs_done: Number of finished epochs.
        steps_done: Number of optimizer steps in the epoch after those.
        losses: Losses of these steps.
        best_epoch: The best epoch so far, from 1; 0 for none.
        best_score: Its validation score.
        history: Metrics of all finished epochs.
    """

    num_processes: int
    epochs_done: int = 0
    steps_done: int = 0
    losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | None = None
    history: list[dict] = field(default_factory=list)
