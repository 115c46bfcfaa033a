"""A whole run of any model: data, the folder that it claims, its stages, test and results."""

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoModel

from ..data import MISSING_LABEL, au_numbers, fold_numbers, load_au_datasets
from ..data.views import evenly_spaced
from ..evaluation.metrics import compute_au_metrics
from ..evaluation.predictions import ROW_COLUMNS, write_predictions
from ..image_processing_hiva import HiVAImageProcessor
from ..modeling_hiva import HiVAPreTrainedModel
from .arguments import AUTrainingArguments
from .augmentation import AugmentedFaces, EvaluationFaces, FaceAugmentation, FaceTransform
from .batches import evaluation_loader, plan_batches, resolve_batch_size
from .deepspeed_updates import DeepSpeedUpdates, take_over_deepspeed
from .distributed import any_process, check_num_processes, check_sharding, take_over_fsdp
from .engine import Stage, StageTrainer
from .environment import PeakMemory, describe_environment
from .hardware import check_compile_backend, choose_mixed_precision, must_use_cpu, use_cpu_cores
from .input_digests import digest_of_faces
from .interruption import StopRequest, TrainingInterrupted
from .label_weights import label_weights_from_positive_rates
from .optimization import freeze_backbone
from .prediction import predict
from .run_folder import (
    TEST_PREDICTIONS_FILE,
    VALIDATION_PREDICTIONS_FILE,
    RunFolder,
)
from .strong_augmentation import StrongFaceAugmentation
from .towers import packaged_vision_tower
from .tracking import check_trackers, finish_trackers, start_trackers
from .updates import Updates
from .weight_interpolation import interpolate_weights


logger = logging.getLogger(__name__)


class TrainingRun(ABC):
    """Trains a model, selects its best epoch and tests it: each model has a run of its own.

    Args:
        arguments: All settings; results go to `arguments.output_dir`.

    Raises:
        ProcessCountError: if the run has another number of processes than requested.
        ValueError: if settings are inconsistent, or the output folder holds another run.
    """

    # Name of the model, for messages.
    title: str

    def __init__(self, arguments: AUTrainingArguments):
        shards = take_over_fsdp() or arguments.fsdp
        zero_stage = take_over_deepspeed()
        self.make_updates = partial(DeepSpeedUpdates, zero_stage=zero_stage) if zero_stage else Updates
        self.accelerator = Accelerator(
            cpu=must_use_cpu(),
            mixed_precision=choose_mixed_precision(arguments.mixed_precision),
            log_with=check_trackers(arguments.report_to) or None,
            project_dir=arguments.output_dir,
        )
        check_num_processes(self.accelerator.num_processes, arguments.expected_num_processes)
        check_sharding(shards, self.accelerator.num_processes)
        if arguments.torch_compile:
            check_compile_backend(arguments.torch_compile_backend)
        size, num_passes = resolve_batch_size(arguments, self.accelerator.num_processes)
        self.arguments = replace(
            arguments,
            vision_model_name_or_path=_absolute(arguments.vision_model_name_or_path),
            text_model_name_or_path=_absolute(arguments.text_model_name_or_path),
            fsdp=shards,
            mixed_precision=self.accelerator.mixed_precision,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=num_passes,
        )
        self.output_dir = Path(arguments.output_dir)
        self.folder = RunFolder(self.output_dir)
        self.folder.check(self.arguments, self.accelerator.num_processes)
        self.is_open = False
        self.stop_request = StopRequest()
        if self.accelerator.device.type == "cpu":
            use_cpu_cores(arguments.num_cpu_threads)
        set_seed(arguments.seed)
        self.image_processor = HiVAImageProcessor.for_image_size(arguments.image_size)
        # The test split is loaded only for the test, so that nothing before can depend on it.
        self.splits = {split: self.load_split(split) for split in ("train", "validation")}

    def load_split(self, split: str) -> Dataset:
        """Faces of `"train"`, `"validation"` or `"test"`, as many of them as the settings allow.

        Additional sets are used for training only.
        """
        arguments = self.arguments
        sources = arguments.training_sources() if split == "train" else [(arguments.dataset, arguments.data_dir)]
        folds = [arguments.fold, *(self._fold_of_additional(*source) for source in sources[1:])]
        dataset = load_au_datasets(sources, folds, split, self.aus)
        limit = arguments.max_train_samples if split == "train" else arguments.max_eval_samples
        if limit is not None and limit < len(dataset):
            # Evenly spaced over the subjects, whose faces are contiguous.
            dataset = dataset.select(evenly_spaced(len(dataset), limit))
        return dataset

    def _fold_of_additional(self, name: str, data_dir: str | None) -> int:
        """The fold of the run, or the set's first if it has no such fold: none of its subjects is tested."""
        folds = fold_numbers(name, data_dir)
        return self.arguments.fold if self.arguments.fold in folds or not folds else folds[0]

    @cached_property
    def aus(self) -> tuple[int, ...]:
        """The AUs of all sets that are trained on, in the order of the labels."""
        return tuple(sorted({au for source in self.arguments.training_sources() for au in au_numbers(*source)}))

    @property
    def au_labels(self) -> list[str]:
        """Names of [`aus`]."""
        return [f"AU{number}" for number in self.aus]

    def describe(self) -> str:
        """One paragraph on what will be trained, on which hardware, and on how many faces."""
        sizes = ", ".join(
            f"{split}: {len(faces)} faces of {len(set(faces['subject']))} subjects"
            for split, faces in self.splits.items()
        )
        spread = ", sharded" if self.arguments.fsdp else ""
        names = " and ".join(name for name, _ in self.arguments.training_sources())
        return (
            f"{self.title} on {names}, fold {self.arguments.fold}, {len(self.au_labels)} AUs. {sizes}. "
            f"{self.accelerator.num_processes} process(es){spread}, {self.accelerator.device} "
            f"({torch.get_num_threads()} threads each), mixed precision "
            f"{self.accelerator.mixed_precision}. Results go to {self.output_dir}."
        )

    def _label_weights(self) -> list[float]:
        labels = np.array(self.splits["train"]["labels"][:])
        known = labels != MISSING_LABEL
        rates = (labels == 1).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return label_weights_from_positive_rates(rates.tolist(), self.au_labels)

    def _vision_tower(self) -> str:
        vision = self.arguments.vision_model_name_or_path
        if vision is None:
            with self.accelerator.main_process_first():
                vision = packaged_vision_tower()
        return str(vision)

    @abstractmethod
    def build_detector(self) -> HiVAPreTrainedModel:
        """The network on its pretrained towers, before training."""

    @abstractmethod
    def train(self) -> Path:
        """Trains all stages. Returns the folder of the last one's best epoch."""

    @abstractmethod
    def export(self, trained: Path):
        """Writes the checkpoint to the run's folder.

        Args:
            trained: Folder that [`train`] returned.
        """

    def _open_folder(self, model: HiVAPreTrainedModel):
        if self.is_open:
            return
        # Settings that don't fit the network or the data are refused before anything in the folder changes.
        plan_batches(self.arguments, len(self.splits["train"]), self.accelerator)
        freeze_backbone(model, self.arguments.trainable_backbone_layers)
        # Only the main process needs them; the others wait for it.
        digests = self.digests_of_inputs() if self.accelerator.is_main_process else {}
        refusal = None
        if self.accelerator.is_main_process:
            try:
                self._claim_folder(digests)
            except (OSError, ValueError) as error:
                self.folder.unlock()
                refusal = error
        # All processes end together.
        if any_process(self.accelerator, refusal is not None):
            raise refusal or ValueError(f"The main process can't use {self.output_dir}; see its message.")
        self.is_open = True
        start_trackers(self.accelerator, self.arguments)

    def digests_of_inputs(self) -> dict[str, str]:
        """Digests of the inputs that must be unchanged when the run is resumed."""
        return {"faces or labels": digest_of_faces(self.splits.values())}

    def _claim_folder(self, digests: dict[str, str]):
        """Locks the folder for this run, checks it again, since another run may have changed it, and opens it.

        Only the main process does; the others learn of its `OSError` or `ValueError`.
        """
        self.folder.lock()
        self.folder.check(self.arguments, self.accelerator.num_processes)
        self.folder.check_inputs(self.arguments, digests)
        environment = describe_environment(
            self.accelerator.num_processes, self.accelerator.device, self.accelerator.mixed_precision
        )
        self.folder.open(self.arguments, environment | {"inputs": digests})

    def _is_finished(self, stage: Stage) -> bool:
        return self.arguments.resume_from_checkpoint and (self.output_dir / stage.name).exists()

    def _train_stage(self, model: HiVAPreTrainedModel, stage: Stage) -> Path:
        freeze_backbone(model, self.arguments.trainable_backbone_layers)
        memory, started = PeakMemory(self.accelerator.device), time.monotonic()
        memory.start()
        with self.stop_request:
            trainer = StageTrainer(
                self.accelerator,
                model,
                stage,
                self.splits["train"],
                self._train_faces(),
                EvaluationFaces(self.splits["validation"], self.image_processor),
                self.arguments,
                self.stop_request,
                self.make_updates,
            )
            try:
                return trainer.train()
            finally:
                # The accelerator keeps a reference to every loader that it prepared.
                self.accelerator.free_memory()
                self._note_resources(stage, time.monotonic() - started, memory.bytes())

    def _train_faces(self) -> AugmentedFaces:
        return AugmentedFaces(self.splits["train"], self._augmentation(), self.arguments.seed)

    def _augmentation(self) -> FaceTransform:
        kind = StrongFaceAugmentation if self.arguments.augmentation == "strong" else FaceAugmentation
        return kind(self.image_processor)

    def _note_resources(self, stage: Stage, seconds: float, peak_memory: int | None):
        if self.accelerator.is_main_process:
            self.folder.add_resources(stage.name, seconds, peak_memory)
            if peak_memory is not None:
                kind = "GPU memory" if self.accelerator.device.type == "cuda" else "memory of the process"
                self.accelerator.print(f"{stage.name}: peak {kind} {peak_memory / 2**30:.2f} GiB")

    def _mix_with_pretrained_backbone(self, model: HiVAPreTrainedModel):
        if self.arguments.trained_backbone_share < 1:
            pretrained = AutoModel.from_pretrained(self._vision_tower()).state_dict()
            interpolate_weights(model.vision_model.backbone, pretrained, self.arguments.trained_backbone_share)

    def predict(self, faces: Dataset, description: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Labels and probabilities `[n, N]` of the exported checkpoint, loaded as a user would; also writes a file.

        Args:
            faces: A split.
            description: Label of the progress bar.
            path: Parquet file to write.
        """
        model = AutoModel.from_pretrained(self.output_dir).to(self.accelerator.device)
        loader = self._evaluation_loader(faces)
        labels, probabilities = predict(self.accelerator, model, loader, description, self._stop_if_asked)
        if self.accelerator.is_main_process:
            rows = {name: faces[name][:] for name in ROW_COLUMNS}
            write_predictions(path, rows, labels, probabilities, self.au_labels)
        return labels, probabilities

    def _evaluation_loader(self, faces: Dataset) -> DataLoader:
        return evaluation_loader(
            self.accelerator,
            EvaluationFaces(faces, self.image_processor),
            self.arguments.per_device_eval_batch_size,
            self.arguments.dataloader_num_workers,
        )

    def _stop_if_asked(self):
        self.stop_if_asked(
            "Stopped during the test; training is finished and saved. `--resume_from_checkpoint true` tests again."
        )

    def stop_if_asked(self, message: str):
        """Stops here if any process was asked to stop; all processes must call this.

        Args:
            message: What is done, and how to resume.

        Raises:
            TrainingInterrupted: if one was.
        """
        if any_process(self.accelerator, self.stop_request.is_set):
            raise TrainingInterrupted(message, self.stop_request.reported_signal)

    def test(self) -> dict:
        """Metrics of the exported checkpoint on subjects that training never saw.

        The predictions for them, and for the validation subjects, on whom thresholds may be tuned, are kept in the
        run's folder.
        """
        self.predict(self.splits["validation"], "validation", self.output_dir / VALIDATION_PREDICTIONS_FILE)
        faces = self.load_split("test")
        labels, probabilities = self.predict(faces, "test", self.output_dir / TEST_PREDICTIONS_FILE)
        metrics = self._metrics(labels, probabilities) | self._further_metrics(faces, labels, probabilities)
        return {f"test_{name}": value for name, value in metrics.items()} | {"test_subjects": _subjects(faces)}

    def _metrics(self, labels: np.ndarray, probabilities: np.ndarray) -> dict:
        return compute_au_metrics(labels, probabilities, self.au_labels)

    def _further_metrics(self, faces: Dataset, labels: np.ndarray, probabilities: np.ndarray) -> dict:
        """Further metrics on the test subjects."""
        return {}

    def run(self) -> dict:
        """Trains, exports and tests; also writes the results to `all_results.json` in the run's folder. Resuming a
        finished run only returns them.

        Returns:
            Test metrics under `test_...`, the total time under `train_runtime` (seconds), the subjects of each split,
            and the resources that each stage took.

        Raises:
            TrainingInterrupted: if it was asked to stop; it can be resumed.
        """
        results = self.folder.results()
        if self.arguments.resume_from_checkpoint and results is not None:
            logger.warning("%s is finished: nothing is left to resume.", self.output_dir)
            return results
        try:
            return self._train_and_test()
        finally:
            self.folder.unlock()

    def _train_and_test(self) -> dict:
        started = time.monotonic()
        try:
            with self.stop_request:
                self.export(self.train())
                results = self.test()
        finally:
            # If it was never opened, nothing was trained, and the folder stays as it was.
            if self.is_open:
                if self.accelerator.is_main_process:
                    self.folder.add_resources("run", time.monotonic() - started)
                finish_trackers(self.accelerator)
        self.accelerator.wait_for_everyone()
        return self._finish(results)

    def _finish(self, results: dict) -> dict:
        resources = self.folder.resources()
        results |= {
            "model": self.arguments.model,
            "dataset": self.arguments.dataset,
            "training_datasets": [name for name, _ in self.arguments.training_sources()],
            "fold": self.arguments.fold,
            "train_runtime": resources["run"]["seconds"],
            "training_subjects": _subjects(self.splits["train"]),
            "validation_subjects": _subjects(self.splits["validation"]),
            "resources": resources,
        }
        if self.accelerator.is_main_process:
            self.folder.write_results(results)
        self.accelerator.wait_for_everyone()
        return results


def _absolute(tower: str | None) -> str | None:
    """Makes the folder of a tower valid wherever the run is resumed or published from; Hub ids are unchanged."""
    if tower is None or not Path(tower).expanduser().is_dir():
        return tower
    return str(Path(tower).expanduser().resolve())


def _subjects(faces: Dataset) -> list[str]:
    return sorted(set(faces["subject"][:]))
