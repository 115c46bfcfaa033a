"""A whole run: data, stage 1, stage 2, test, and the checkpoint that goes out."""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from ..data import AU_SETS, MISSING_LABEL, load_au_dataset
from ..image_processing_hiva import HiVAImageProcessor
from ..modeling_hiva import (
    HiVAForAUDetection,
    HiVAForPreTraining,
    HiVAPreTrainedModel,
    label_weights_from_positive_rates,
)
from .arguments import AUTrainingArguments
from .augmentation import AugmentedFaces, EvaluationFaces, FaceAugmentation
from .checkpoints import remove_checkpoints
from .descriptions import DescriptionBank
from .engine import StageTrainer, evaluate, freeze_backbone
from .towers import packaged_text_tower, packaged_vision_tower


logger = logging.getLogger(__name__)

RESULTS_FILE = "all_results.json"
# The crop is the central 7/8 of the resized face: 224 of 256, as in the paper.
CROP_SHARE = 7 / 8


def choose_mixed_precision(requested: str) -> str:
    """`"auto"` becomes bf16 where the hardware multiplies it natively, which is then about twice as fast."""
    if requested != "auto":
        return requested
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    has_native_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_native_bf16 else "no"


def use_cpu_cores(num_threads: int | None):
    """Lets torch compute on `num_threads` threads, by default this process's share of the machine's cores.

    `accelerate launch` sets `OMP_NUM_THREADS=1` where nothing else is asked for, which leaves all cores but one idle.
    """
    if num_threads is None:
        # The cores this process may use, which in a container can be fewer than the machine's.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        num_threads = cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(max(1, num_threads))


class TrainingRun:
    """Trains, chooses and tests a HiVA.

    Args:
        arguments: All settings; results go to `arguments.output_dir`.
    """

    def __init__(self, arguments: AUTrainingArguments):
        self.arguments = arguments
        self.output_dir = Path(arguments.output_dir)
        self.accelerator = Accelerator(
            mixed_precision=choose_mixed_precision(arguments.mixed_precision),
            gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        )
        if self.accelerator.device.type == "cpu":
            use_cpu_cores(arguments.num_cpu_threads)
        set_seed(arguments.seed)
        self.image_processor = self._make_image_processor()
        self.splits = {split: self._load(split) for split in ("train", "validation", "test")}

    def _make_image_processor(self) -> HiVAImageProcessor:
        side = self.arguments.image_size
        resized = round(side / CROP_SHARE)
        return HiVAImageProcessor(
            size={"height": resized, "width": resized}, crop_size={"height": side, "width": side}
        )

    def _load(self, split: str) -> Dataset:
        arguments = self.arguments
        dataset = load_au_dataset(arguments.dataset, arguments.data_dir, fold=arguments.fold, split=split)
        limit = arguments.max_train_samples if split == "train" else arguments.max_eval_samples
        if limit is not None and limit < len(dataset):
            # Spread over the subjects, which stand one after another.
            dataset = dataset.select(np.linspace(0, len(dataset) - 1, limit).astype(int))
        return dataset

    def describe(self) -> str:
        """One paragraph on what is about to be trained, where, and on which subjects it will be tested."""
        sizes = ", ".join(
            f"{split}: {len(faces)} faces of {len(set(faces['subject']))} subjects"
            for split, faces in self.splits.items()
        )
        return (
            f"HiVA on {self.arguments.dataset}, fold {self.arguments.fold}, {len(self.au_labels)} AUs. {sizes}. "
            f"{self.accelerator.num_processes} process(es), {self.accelerator.device} "
            f"({torch.get_num_threads()} threads each), mixed precision "
            f"{self.accelerator.mixed_precision}. Results go to {self.output_dir}."
        )

    @property
    def au_labels(self) -> list[str]:
        return [f"AU{number}" for number in AU_SETS[self.arguments.dataset]]

    def _label_weights(self) -> list[float]:
        labels = np.array(self.splits["train"]["labels"])
        known = labels != MISSING_LABEL
        rates = (labels == 1).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return label_weights_from_positive_rates(rates.tolist(), self.au_labels)

    def _towers(self) -> tuple[str, str]:
        vision, text = self.arguments.vision_model_name_or_path, self.arguments.text_model_name_or_path
        if vision is None:
            with self.accelerator.main_process_first():
                vision = packaged_vision_tower()
        return str(vision), str(text if text is not None else packaged_text_tower())

    def build_detector(self) -> tuple[HiVAForAUDetection, PreTrainedTokenizerBase]:
        """The stage-2 network on pretrained towers, and the tokenizer of its text tower."""
        vision, text = self._towers()
        arguments = self.arguments
        detector = HiVAForAUDetection.from_vision_text_pretrained(
            vision,
            text,
            id2label=dict(enumerate(self.au_labels)),
            image_size=arguments.image_size,
            hidden_size=arguments.hidden_size,
            intermediate_size=arguments.intermediate_size,
            num_attention_heads=arguments.num_attention_heads,
            num_neighbors=arguments.num_neighbors,
            text_level=arguments.text_level,
            variant=arguments.variant,
            difference_loss_weight=arguments.difference_loss_weight,
            loss_reduction=arguments.loss_reduction,
            label_weights=self._label_weights(),
            attn_implementation=arguments.attn_implementation,
        )
        return detector, AutoTokenizer.from_pretrained(text)

    def _train_stage(
        self, model: HiVAPreTrainedModel, stage: str, num_epochs: int, learning_rate: float, **hooks: Callable
    ) -> Path:
        freeze_backbone(model, self.arguments.trainable_backbone_layers)
        trainer = StageTrainer(
            self.accelerator,
            model,
            stage,
            num_epochs,
            learning_rate,
            AugmentedFaces(self.splits["train"], FaceAugmentation(self.image_processor), self.arguments.seed),
            EvaluationFaces(self.splits["validation"], self.image_processor),
            self.arguments,
            **hooks,
        )
        folder = trainer.train()
        self.accelerator.free_memory(trainer.model, trainer.optimizer, trainer.scheduler)
        return folder

    def train_stage1(self, detector: HiVAForAUDetection) -> Path:
        """Vision and graph, from the detector's untrained vision. Returns the folder of the best epoch."""
        model = HiVAForPreTraining(detector.config)
        model.vision_model.load_state_dict(detector.vision_model.state_dict())
        return self._train_stage(model, "stage1", self.arguments.stage1_epochs, self.arguments.stage1_learning_rate)

    def train_stage2(self, stage1: Path, model: HiVAForAUDetection, tokenizer: PreTrainedTokenizerBase) -> Path:
        """Vision, text and interaction, from stage 1's vision. Returns the folder of the best epoch.

        Args:
            stage1: Folder of the stage-1 network.
            model: A detector on its pretrained towers; it is trained in place.
            tokenizer: Tokenizer of its text encoder.
        """
        model.vision_model.load_state_dict(HiVAForPreTraining.from_pretrained(stage1).vision_model.state_dict())
        model.to(self.accelerator.device)
        bank = DescriptionBank(model, tokenizer) if model.config.reads_descriptions else None
        # From here on the text memory is part of the state that a stopped run restores.
        model.encode_descriptions(tokenizer)
        model.freeze_text_encoder()
        return self._train_stage(
            model,
            "stage2",
            self.arguments.stage2_epochs,
            self.arguments.stage2_learning_rate,
            step_inputs=(lambda generator: {}) if bank is None else bank.draw,
            before_evaluation=lambda model: model.encode_descriptions(tokenizer),
        )

    def export(self, stage2: Path):
        """Writes the inference checkpoint to the run's folder: no text side, its cached memory, image processor."""
        if self.accelerator.is_main_process:
            model = HiVAForAUDetection.from_pretrained(stage2)
            model.drop_text_encoder()
            model.save_pretrained(self.output_dir)
            self.image_processor.save_pretrained(self.output_dir)
        self.accelerator.wait_for_everyone()

    def test(self) -> dict:
        """Metrics of the exported checkpoint, reloaded as a user would, on subjects that training never saw."""
        model, loader = self.accelerator.prepare(
            AutoModel.from_pretrained(self.output_dir),
            DataLoader(
                EvaluationFaces(self.splits["test"], self.image_processor),
                batch_size=self.arguments.per_device_eval_batch_size,
            ),
        )
        return evaluate(self.accelerator, model, loader, "test")

    def run(self) -> dict:
        """Everything in order; `all_results.json` in the run's folder holds what it returns. A finished run that is
        resumed returns that and trains nothing.

        Returns:
            Test metrics under `test_...`, and how long training took under `train_runtime` (seconds).
        """
        started = time.monotonic()
        results_file = self.output_dir / RESULTS_FILE
        if self.arguments.resume_from_checkpoint and results_file.exists():
            logger.warning("%s is finished: nothing is left to resume.", self.output_dir)
            return json.loads(results_file.read_text())
        if self.accelerator.is_main_process and not self.arguments.resume_from_checkpoint:
            remove_checkpoints(self.output_dir)
            results_file.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        detector, tokenizer = self.build_detector()
        stage1 = self.train_stage1(detector)
        stage2 = self.train_stage2(stage1, detector, tokenizer)
        self.export(stage2)
        results = {f"test_{name}": value for name, value in self.test().items()}
        results |= {"fold": self.arguments.fold, "train_runtime": time.monotonic() - started}
        results["test_subjects"] = sorted(set(self.splits["test"]["subject"]))
        if self.accelerator.is_main_process:
            results_file.write_text(json.dumps(results, indent=2))
            remove_checkpoints(self.output_dir)
        return results
