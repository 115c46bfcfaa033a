"""Labels and probabilities of whole splits."""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm


@torch.no_grad()
def predict(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader,
    description: str,
    after_batch: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities `[n, N]` of all faces of a prepared loader, each once and in the loader's order.

    Args:
        accelerator: Accelerator of the run.
        model: A detector or a stage-1 network; it is left in evaluation mode.
        loader: Prepared by `accelerator`.
        description: Label of the progress bar.
        after_batch: Called after each batch, in all processes equally often.
    """
    model.eval()
    labels, probabilities = [], []
    for batch in tqdm(loader, desc=description, leave=False, disable=not accelerator.is_local_main_process):
        with accelerator.autocast():
            logits = model(pixel_values=batch["pixel_values"]).logits
        gathered = accelerator.gather_for_metrics((batch["labels"], logits.float().sigmoid()))
        labels.append(gathered[0].cpu().numpy())
        probabilities.append(gathered[1].cpu().numpy())
        after_batch()
    return np.concatenate(labels), np.concatenate(probabilities)
