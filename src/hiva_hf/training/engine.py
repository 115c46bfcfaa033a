"""One training stage: steps, validation after each epoch, the best epoch's weights on disk."""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup

from ..evaluation.metrics import compute_au_metrics
from ..modeling_hiva import HiVAPreTrainedModel
from .arguments import AUTrainingArguments
from .augmentation import AugmentedFaces, EvaluationFaces
from .checkpoints import load_checkpoint, save_checkpoint


logger = logging.getLogger(__name__)

HISTORY_FILE = "history.json"
# Towers that come with pretrained weights; they learn more slowly than what starts at random.
_TOWERS = ("vision_model.backbone.", "text_model.encoder.")


@dataclass
class StageProgress:
    """How far a stage has come: finished epochs, the best validation score and every epoch's metrics."""

    epochs_done: int = 0
    best_score: float = -math.inf
    history: list[dict] = field(default_factory=list)


def freeze_backbone(model: HiVAPreTrainedModel, trainable_layers: int):
    """Freezes a ViT-like vision tower but for its last layers and what follows them.

    Args:
        model: Either stage's network.
        trainable_layers: Layers that stay trainable; 0 freezes the whole tower, -1 nothing.

    Raises:
        ValueError: if the tower is not one stack of `num_hidden_layers` layers (a Swin, a ConvNeXt).
    """
    if trainable_layers < 0:
        return
    backbone = model.vision_model.backbone
    num_layers = getattr(backbone.config, "num_hidden_layers", None)
    stacks = [m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m) == num_layers]
    if len(stacks) != 1 or trainable_layers > num_layers:
        raise ValueError(
            f"`trainable_backbone_layers` is {trainable_layers}, but {type(backbone).__name__} is not a stack of that "
            "many equal layers. Pass -1 to train all of it."
        )
    backbone.requires_grad_(False)
    if trainable_layers > 0:
        stacks[0][num_layers - trainable_layers :].requires_grad_(True)
        for name, module in backbone.named_children():
            if isinstance(module, nn.LayerNorm):
                logger.debug("The final norm %s is trained too.", name)
                module.requires_grad_(True)


def parameter_groups(model: nn.Module, learning_rate: float, tower_scale: float, weight_decay: float) -> list[dict]:
    """Optimizer groups: towers with a smaller learning rate; no weight decay on biases and norms."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith("bias")
            groups.setdefault((name.startswith(_TOWERS), decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * (tower_scale if is_tower else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (is_tower, decays), parameters in groups.items()
    ]


def evaluate(accelerator: Accelerator, model: nn.Module, loader: DataLoader, description: str) -> dict:
    """Metrics of `model` over all faces of a prepared loader, each counted once over all processes.

    Returns:
        The keys of [`~hiva_hf.evaluation.metrics.compute_au_metrics`].
    """
    labels, probabilities = predict(accelerator, model, loader, description)
    au_labels = accelerator.unwrap_model(model).config.au_labels
    return compute_au_metrics(labels, probabilities, au_labels)


@torch.no_grad()
def predict(
    accelerator: Accelerator, model: nn.Module, loader: DataLoader, description: str
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities `[n, N]` of all faces of a prepared loader."""
    model.eval()
    labels, probabilities = [], []
    for batch in tqdm(loader, desc=description, leave=False, disable=not accelerator.is_local_main_process):
        with accelerator.autocast():
            logits = model(pixel_values=batch["pixel_values"]).logits
        gathered = accelerator.gather_for_metrics((batch["labels"], logits.float().sigmoid()))
        labels.append(gathered[0].cpu().numpy())
        probabilities.append(gathered[1].cpu().numpy())
    return np.concatenate(labels), np.concatenate(probabilities)


class StageTrainer:
    """Trains one stage and keeps the epoch that is best on validation subjects.

    Args:
        accelerator: Where and in which precision it runs.
        model: [`HiVAForPreTraining`] or [`HiVAForAUDetection`].
        stage: Its name, and that of its folder in `arguments.output_dir`.
        num_epochs: Epochs of the stage.
        learning_rate: Peak learning rate of the layers that start at random.
        train_faces: Training faces with augmentation.
        validation_faces: Faces of other subjects.
        arguments: Everything else.
        step_inputs: Gives further keyword arguments of `forward` for each step, such as the drawn descriptions.
        before_evaluation: Called with the unwrapped model before each validation, such as to renew its text memory.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: HiVAPreTrainedModel,
        stage: str,
        num_epochs: int,
        learning_rate: float,
        train_faces: AugmentedFaces,
        validation_faces: EvaluationFaces,
        arguments: AUTrainingArguments,
        step_inputs: Callable[[torch.Generator], dict[str, torch.Tensor]] = lambda generator: {},
        before_evaluation: Callable[[HiVAPreTrainedModel], None] = lambda model: None,
    ):
        self.accelerator = accelerator
        self.stage = stage
        self.num_epochs = num_epochs
        self.arguments = arguments
        self.step_inputs = step_inputs
        self.before_evaluation = before_evaluation
        self.output_dir = Path(arguments.output_dir)
        self.progress = StageProgress()

        self.order = torch.Generator()
        train_loader = DataLoader(
            train_faces,
            batch_size=arguments.per_device_train_batch_size,
            shuffle=True,
            generator=self.order,
            num_workers=arguments.dataloader_num_workers,
            # Batch norm over a batch of one face is undefined.
            drop_last=len(train_faces) > arguments.per_device_train_batch_size * accelerator.num_processes,
        )
        validation_loader = DataLoader(validation_faces, batch_size=arguments.per_device_eval_batch_size)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, learning_rate, arguments.backbone_learning_rate_scale, arguments.weight_decay)
        )
        self.model, self.optimizer, self.train_loader, self.validation_loader = accelerator.prepare(
            model, optimizer, train_loader, validation_loader
        )
        steps_per_epoch = math.ceil(len(self.train_loader) / arguments.gradient_accumulation_steps)
        num_steps = num_epochs * steps_per_epoch
        # Accelerate steps a prepared scheduler once for each process.
        scheduler = get_cosine_schedule_with_warmup(
            optimizer,
            num_warmup_steps=round(arguments.warmup_ratio * num_steps) * accelerator.num_processes,
            num_training_steps=num_steps * accelerator.num_processes,
        )
        self.scheduler = accelerator.prepare(scheduler)

    @property
    def folder(self) -> Path:
        """Where the best epoch's weights and the stage's history are."""
        return self.output_dir / self.stage

    def train(self) -> Path:
        """Runs the epochs that are left and returns the folder of the best one."""
        if self.arguments.resume_from_checkpoint:
            restored = load_checkpoint(self.accelerator, self.output_dir, self.stage)
            self.progress = self.progress if restored is None else StageProgress(**restored)
        for epoch in range(self.progress.epochs_done, self.num_epochs):
            loss = self._train_epoch(epoch)
            self.before_evaluation(self.accelerator.unwrap_model(self.model))
            metrics = evaluate(self.accelerator, self.model, self.validation_loader, f"{self.stage} validation")
            self._record(epoch, loss, metrics)
            save_checkpoint(self.accelerator, self.output_dir, self.stage, vars(self.progress))
        return self.folder

    def _train_epoch(self, epoch: int) -> float:
        self.model.train()
        # Also sets the epoch of the faces. Left alone, Accelerate's loader counts from 0 again in a resumed run.
        self.train_loader.set_epoch(epoch)
        self.order.manual_seed(hash((self.arguments.seed, epoch)))
        drawing = torch.Generator().manual_seed(hash((self.arguments.seed, epoch, self.stage == "stage2")))
        bar = tqdm(
            self.train_loader,
            desc=f"{self.stage} epoch {epoch + 1}/{self.num_epochs}",
            disable=not self.accelerator.is_local_main_process,
        )
        losses = []
        for batch in bar:
            with self.accelerator.accumulate(self.model):
                loss = self.model(**batch, **self.step_inputs(drawing)).loss
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and self.arguments.max_grad_norm > 0:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), self.arguments.max_grad_norm)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach())
            bar.set_postfix(loss=f"{losses[-1].item():.3f}")
        mean_loss = self.accelerator.gather(torch.stack(losses)).mean().item()
        if not math.isfinite(mean_loss):
            raise FloatingPointError(
                f"The loss of {self.stage}, epoch {epoch + 1} is {mean_loss}: lower the learning rate."
            )
        return mean_loss

    def _record(self, epoch: int, loss: float, metrics: dict):
        score = metrics[self.arguments.metric_for_best_model]
        if score is None:
            raise ValueError(
                f"`{self.arguments.metric_for_best_model}` is undefined on the validation subjects: no AU is both "
                "present and absent among their labels. Use more validation faces."
            )
        is_best = score > self.progress.best_score
        self.progress.epochs_done = epoch + 1
        self.progress.best_score = max(score, self.progress.best_score)
        self.progress.history.append({"epoch": epoch + 1, "loss": loss, "is_best": is_best, **metrics})
        if self.accelerator.is_main_process:
            tqdm.write(
                f"{self.stage} epoch {epoch + 1}: loss {loss:.3f}, validation ROC-AUC "
                f"{metrics['mean_roc_auc']:.3f}, F1 {metrics['mean_f1']:.3f}{' (best so far)' if is_best else ''}"
            )
            if is_best:
                self.accelerator.unwrap_model(self.model).save_pretrained(self.folder)
            (self.folder / HISTORY_FILE).write_text(json.dumps(self.progress.history, indent=2))
        self.accelerator.wait_for_everyone()
