"""How far a stage has come; with its tensors, all that it needs to go on exactly where it was."""

from dataclasses import dataclass, field


@dataclass
class StageProgress:
    """How far a stage has come.

    Nothing random is in it: order, augmentation, descriptions and dropout follow from the seed and the step.

    Attributes:
        num_processes: Processes of the run, which a resumed one must have again.
        epochs_done: Finished epochs.
        steps_done: Optimizer steps in the epoch after those.
        losses: Their losses.
        best_epoch: The best epoch so far, from 1; 0 for none.
        best_score: Its validation score.
        history: Every finished epoch's metrics.
    """

    num_processes: int
    epochs_done: int = 0
    steps_done: int = 0
    losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | None = None
    history: list[dict] = field(default_factory=list)
