"""One training stage: steps, validation after each epoch, training checkpoints, and the weights of the best epoch."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch.utils.data import DataLoader, default_collate
from tqdm.auto import tqdm

from .. import atomic_files
from ..evaluation.metrics import compute_au_metrics
from ..modeling_hiva import HiVAPreTrainedModel
from ..saved_checkpoints import save_checkpoint
from . import tracking
from .arguments import AUTrainingArguments
from .augmentation import AugmentedFaces, EvaluationFaces
from .batches import evaluation_loader, plan_batches, training_loader
from .checkpoints import StageCheckpoints, read_progress
from .distributed import any_process
from .ema import ExponentialMovingAverage
from .evaluated_model import EvaluatedModel
from .interruption import StopRequest, TrainingInterrupted
from .optimization import (
    freeze_biases_without_effect,
    freeze_unused_parameters,
    make_schedule,
)
from .prediction import predict
from .randomness import StepRandomness, description_generator
from .run_folder import METRICS_FILE, write_metrics
from .stage_progress import StageProgress
from .step_reports import StepReport, StepReports, describe_trouble
from .updates import Updates, read_tensors, write_tensors


logger = logging.getLogger(__name__)

_AVERAGE_FILE = "average.safetensors"
_WHY_UNDEFINED = {
    "mean_roc_auc": "no AU is both present and absent among their labels",
    "mean_f1": "no AU is present among their labels, and none was found",
}


@dataclass(frozen=True)
class Stage:
    """What distinguishes one stage from another.

    Attributes:
        name: Its name, and that of its folder in the run's folder.
        num_epochs: Number of epochs.
        learning_rate: Peak learning rate of the randomly initialised layers.
        first_epoch: Number of epochs of the stages before it: order and augmentation continue from there.
        step_inputs: Further keyword arguments of `forward` in each step, such as the drawn descriptions.
        before_evaluation: Called with the network and the number of the epoch, from 1, before it is validated.
    """

    name: str
    num_epochs: int
    learning_rate: float
    first_epoch: int = 0
    step_inputs: Callable[[torch.Generator], dict[str, torch.Tensor]] = lambda generator: {}
    before_evaluation: Callable[[HiVAPreTrainedModel, int], None] = lambda model, epoch: None


class StageTrainer:
    """Trains one stage and keeps the epoch that is best on validation subjects.

    Args:
        accelerator: Device and precision of the run.
        model: [`HiVAForPreTraining`], [`HiVAForAUDetection`] or [`VLFAUForAUDetection`]; it is trained in place.
        stage: The stage.
        train_split: The training split, for the names of faces.
        train_faces: Its faces with augmentation.
        validation_faces: Faces of other subjects.
        arguments: Everything else.
        stop_request: Request to stop early.
        make_updates: Creates the [`Updates`], which turn batches into optimizer steps.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: HiVAPreTrainedModel,
        stage: Stage,
        train_split: Dataset,
        train_faces: AugmentedFaces,
        validation_faces: EvaluationFaces,
        arguments: AUTrainingArguments,
        stop_request: StopRequest,
        make_updates: Callable[..., Updates] = Updates,
    ):
        self.accelerator = accelerator
        self.make_updates = make_updates
        self.model = model.to(accelerator.device)
        self.stage = stage
        self.train_split = train_split
        self.train_faces = train_faces
        self.arguments = arguments
        self.stop_request = stop_request
        self.output_dir = Path(arguments.output_dir)
        self.checkpoints = StageCheckpoints(self.output_dir, stage.name, arguments.checkpoints_total_limit)
        self.progress = StageProgress(accelerator.num_processes)
        self.batches = plan_batches(arguments, len(train_faces), accelerator)
        self.validation_loader: DataLoader = evaluation_loader(
            accelerator, validation_faces, arguments.per_device_eval_batch_size, arguments.dataloader_num_workers
        )
        self.reports = StepReports(accelerator)
        self.grad_norm: torch.Tensor | None = None
        self._prepare_model()

    def _prepare_model(self):
        arguments, model = self.arguments, self.model
        freeze_biases_without_effect(model)
        if self.accelerator.num_processes > 1:
            freeze_unused_parameters(model, self._small_batch())
        if arguments.gradient_checkpointing:
            # Older releases of transformers only have the second name.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable()
        self.evaluated = EvaluatedModel(model, needs_copy=arguments.fsdp or arguments.ema_decay > 0)
        self.randomness = StepRandomness(model, arguments.seed, self.accelerator.process_index)
        self.updates = self.make_updates(self.accelerator, model, self.stage.learning_rate, arguments)
        self.average = ExponentialMovingAverage(model, arguments.ema_decay) if arguments.ema_decay > 0 else None

    def _small_batch(self) -> dict[str, torch.Tensor]:
        batch = default_collate([self.train_faces[row] for row in range(2)])
        return self._on_device(batch) | self.stage.step_inputs(description_generator(self.arguments.seed, 0))

    def _on_device(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        device = self.accelerator.device
        # Loaders pin memory only for CUDA. Without it, non-blocking copies to Apple's GPUs may read freed memory.
        return {name: tensor.to(device, non_blocking=device.type == "cuda") for name, tensor in batch.items()}

    @property
    def folder(self) -> Path:
        """Folder of the best epoch's weights, which exists once the stage is finished."""
        return self.output_dir / self.stage.name

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the stage so far."""
        return self.progress.epochs_done * self.batches.steps_per_epoch + self.progress.steps_done

    @property
    def steps_of_run(self) -> int:
        """Optimizer steps of this stage so far and of those before it."""
        return self.stage.first_epoch * self.batches.steps_per_epoch + self.steps_done

    def train(self) -> Path:
        """Runs the rest of the stage and returns the folder of the best epoch's weights.

        Raises:
            TrainingInterrupted: if it was asked to stop; a checkpoint is saved.
            FloatingPointError: if a loss is not finite; the message names the faces.
        """
        if self.arguments.resume_from_checkpoint:
            self._restore()
        num_steps = self.stage.num_epochs * self.batches.steps_per_epoch
        self.schedule = make_schedule(self.updates.optimizer, num_steps, self.steps_done, self.arguments)
        while self.progress.epochs_done < self.stage.num_epochs:
            self._train_epoch()
            self._record(self._validate())
            self._save()
        return self._finish()

    def _restore(self):
        newest = [self.checkpoints.newest_valid() if self.accelerator.is_main_process else None]
        (folder,) = broadcast_object_list(newest)
        if folder is None:
            return
        progress = StageProgress(**read_progress(folder))
        if progress.num_processes != self.accelerator.num_processes:
            raise ValueError(
                f"{folder} was written by {progress.num_processes} process(es), but this run has "
                f"{self.accelerator.num_processes}: resume it with as many as before."
            )
        self.updates.load(folder)
        if self.average is not None:
            self.average.load_tensors(read_tensors(folder / _AVERAGE_FILE))
        self.progress = progress
        logger.info("Resuming %s from %s.", self.stage.name, folder)

    def _save(self):
        self._read_reports(everything=True)
        files = self.updates.gather()
        if self.average is not None:
            files[_AVERAGE_FILE] = self.average.tensors()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.steps_done, asdict(self.progress), lambda folder: write_tensors(files, folder))
        self.accelerator.wait_for_everyone()

    def _train_epoch(self):
        self.model.train()
        epoch = self.stage.first_epoch + self.progress.epochs_done
        self.train_faces.set_epoch(epoch)
        rows = self.batches.rows(self.arguments.seed, epoch, self.progress.steps_done)
        loader = training_loader(
            self.train_faces, rows, self.arguments.dataloader_num_workers, self.accelerator.device
        )
        batches, num_passes = iter(loader), self.batches.num_passes
        with tqdm(
            desc=f"{self.stage.name} epoch {self.progress.epochs_done + 1}/{self.stage.num_epochs}",
            initial=self.progress.steps_done,
            total=self.batches.steps_per_epoch,
            disable=not self.accelerator.is_local_main_process,
        ) as bar:
            for first in range(0, len(rows), num_passes):
                self._train_step(batches, rows[first : first + num_passes])
                self._after_step()
                bar.update()
                if self.progress.losses:
                    bar.set_postfix(loss=f"{self.progress.losses[-1]:.3f}")
        self._read_reports(everything=True)

    def _train_step(self, batches: Iterator[dict[str, torch.Tensor]], rows: list[list[int]]):
        step = self.steps_of_run
        # The same descriptions for all passes and processes: they belong to the step, not to its faces.
        inputs = self.stage.step_inputs(description_generator(self.arguments.seed, step))
        losses = []
        for number in range(len(rows)):
            batch = self._on_device(next(batches))
            self.randomness.begin(step, number)
            losses.append(self.updates.backward(batch | inputs, is_last=number == len(rows) - 1))
        self.grad_norm = self.updates.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update(self.steps_done)
        self.reports.submit(self.steps_done, losses, rows, self.stop_request.is_set)

    def _after_step(self):
        self.progress.steps_done += 1
        if self._read_reports():
            self._save_and_stop()
        between = self.arguments.steps_between_checkpoints()
        is_due = between is not None and self.progress.steps_done % between == 0
        # The end of an epoch is saved after its validation.
        if is_due and self.progress.steps_done < self.batches.steps_per_epoch:
            self._save()

    def _read_reports(self, everything: bool = False) -> bool:
        """Records the losses that have arrived, and returns whether any process was asked to stop."""
        stop = False
        for report in self.reports.read(everything):
            if not report.is_finite:
                where = f"{self.stage.name}, epoch {self.progress.epochs_done + 1}"
                raise FloatingPointError(describe_trouble(report, where, self.train_split))
            self.progress.losses.append(report.loss)
            self._log(report)
            stop |= report.stop_requested
        return stop

    def _log(self, report: StepReport):
        if self.accelerator.trackers and (report.step + 1) % self.arguments.logging_steps == 0:
            # The rate of the reported step, as the schedule is already ahead. All rates follow the same curve.
            rate = self.stage.learning_rate * self.schedule.lr_lambdas[0](report.step)
            scale = self.arguments.backbone_learning_rate_scale
            values = {"loss": report.loss, "learning_rate": rate, "backbone_learning_rate": rate * scale}
            if self.grad_norm is not None:
                values["grad_norm"] = float(self.grad_norm)
            step = self.steps_of_run - self.steps_done + report.step + 1
            tracking.log(self.accelerator, f"{self.stage.name}/train", values, step)

    def _save_and_stop(self):
        self._save()
        raise TrainingInterrupted(
            f"Stopped in {self.stage.name}, epoch {self.progress.epochs_done + 1}, after step {self.steps_done}; the "
            f"checkpoint is in {self.checkpoints.folder}. `--resume_from_checkpoint true` continues from there.",
            self.stop_request.reported_signal,
        )

    def _validate(self) -> dict:
        model = self.evaluated.renewed(self.average)
        self.stage.before_evaluation(model, self.progress.epochs_done + 1)
        labels, probabilities = predict(
            self.accelerator, model, self.validation_loader, f"{self.stage.name} validation", self._stop_if_asked
        )
        return compute_au_metrics(labels, probabilities, model.config.au_labels)

    def _stop_if_asked(self):
        if any_process(self.accelerator, self.stop_request.is_set):
            self._save_and_stop()

    def _record(self, metrics: dict):
        progress, name = self.progress, self.arguments.metric_for_best_model
        score = metrics[name]
        if score is None:
            raise ValueError(
                f"`{name}` is undefined on the validation subjects: {_WHY_UNDEFINED[name]}. Use more validation faces."
            )
        is_best = progress.best_score is None or score > progress.best_score
        loss = sum(progress.losses) / len(progress.losses)
        progress.epochs_done, progress.steps_done, progress.losses = progress.epochs_done + 1, 0, []
        progress.history.append({"epoch": progress.epochs_done, "train_loss": loss, "is_best": is_best, **metrics})
        if is_best:
            progress.best_epoch, progress.best_score = progress.epochs_done, score
            self._keep_weights()
        tracking.log(self.accelerator, f"{self.stage.name}/validation", metrics, self.steps_of_run)
        if self.accelerator.is_main_process:
            write_metrics(self.output_dir / METRICS_FILE, self.stage.name, progress.history)
            tqdm.write(
                f"{self.stage.name} epoch {progress.epochs_done}: loss {loss:.3f}, validation ROC-AUC "
                f"{_score(metrics['mean_roc_auc'])}, F1 {_score(metrics['mean_f1'])}"
                f"{' (best so far)' if is_best else ''}"
            )

    def _keep_weights(self):
        if self.accelerator.is_main_process:
            atomic_files.write_folder(
                self.checkpoints.best_folder(self.progress.best_epoch),
                lambda folder: save_checkpoint(folder, self.evaluated.current),
            )

    def _finish(self) -> Path:
        if self.accelerator.is_main_process and not self.folder.exists():
            self.checkpoints.best_folder(self.progress.best_epoch).rename(self.folder)
            self.checkpoints.remove()
        self.accelerator.wait_for_everyone()
        return self.folder


def _score(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
