"""The paper's experiments on one data set: a run for every variant, fold and seed, each in its own folder.

Stage 1 does not use text, so by default all variants of a fold and seed start stage 2 from the same stage 1. This
isolates the effect of a variant: the alternative, a separate stage 1 for each (`share_stage1=False`), adds the noise
of another initialisation to every comparison and takes more than half of the total time.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..data import fold_numbers
from ..data.sets import SYNTHFACS
from ..evaluation.predictions import read_predictions
from ..evaluation.protocol import FoldPredictions
from ..file_locks import lock_folder
from ..modeling_hiva import HiVAForAUDetection
from ..training.arguments import AUTrainingArguments
from ..training.descriptions import DescriptionBank, write_description_embeddings
from ..training.hiva_runs import HiVATrainingRun
from ..training.run_folder import (
    RESULTS_FILE,
    SETTINGS_FILE,
    TEST_PREDICTIONS_FILE,
    VALIDATION_PREDICTIONS_FILE,
    RunFolder,
    changed_settings,
    write_json,
)
from ..training.tracking import finish_trackers


logger = logging.getLogger(__name__)

FULL, BASELINE, NO_DIFFERENCE_LOSS = "full", "baseline", "no_difference_loss"
# Variants of HiVAConfig and their printed names, in the order of Table IV.
ABLATIONS = {
    "no_augmentation_no_difference_loss": "HiVA, w/o AUG, w/o L_diff",
    "no_augmentation": "HiVA, w/o AUG",
    NO_DIFFERENCE_LOSS: "HiVA, w/o L_diff",
    FULL: "HiVA",
    BASELINE: "Baseline (vision only)",
    "no_ddca": "HiVA, w/o DDCA",
    "no_cdca": "HiVA, w/o CDCA",
    "no_attention": "HiVA, w/o CDCA, w/o DDCA",
}
# Controls that the paper lacks: do the descriptions help, or the parameters that read them? And do single words?
SENTENCE_LEVEL = "sentence_level"
CONTROLS = {
    "shuffled_descriptions": "HiVA, shuffled descriptions",
    "random_vectors": "HiVA, random vectors for descriptions",
    "names_only": "HiVA, AU names for descriptions",
    SENTENCE_LEVEL: "HiVA, one key for each description (sentence level)",
}
VARIANT_NAMES = ABLATIONS | CONTROLS
# The most important comparison comes first, so that a stopped reproduction has it.
VARIANTS = (FULL, BASELINE, *(variant for variant in VARIANT_NAMES if variant not in (FULL, BASELINE)))

# A finished run has all of these; the results are written last.
FILES_OF_A_FINISHED_RUN = (TEST_PREDICTIONS_FILE, VALIDATION_PREDICTIONS_FILE, RESULTS_FILE)
# The "epoch" of stage 2 before its first one.
BEFORE_TRAINING = 0

# Settings of the variants that are not variants of HiVAConfig.
_VARIANT_SETTINGS = {SENTENCE_LEVEL: {"variant": FULL, "text_level": "sentence"}}

_SETTINGS_FILE = "reproduction.json"
# Seconds to wait for another run that opens its folder, and may itself wait for a lock.
_PATIENCE = 60.0
# Settings that differ between runs by design, or that don't affect results.
_FREE_SETTINGS = ("fold", "seed", "variant", "data_dir", "per_device_eval_batch_size")


@dataclass(frozen=True)
class Job:
    """One network to be trained and tested."""

    variant: str
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"{self.variant}, fold {self.fold}, seed {self.seed}"


class ReproductionRun(HiVATrainingRun):
    """A training run that can start stage 2 from a given stage 1.

    For Figure 5 it also saves the description embeddings before training.

    Args:
        arguments: All settings.
        reproduction: The reproduction that it belongs to, whose settings it claims with its folder.
        stage1: Folder of a trained stage 1; None trains one.
    """

    def __init__(self, arguments: AUTrainingArguments, reproduction: "Reproduction", stage1: Path | None = None):
        super().__init__(arguments)
        self.reproduction = reproduction
        self.stage1 = stage1

    def _claim_folder(self, digests: dict[str, str]):
        with self.reproduction.claimed_settings():
            super()._claim_folder(digests)

    def train_stage1(self, detector: HiVAForAUDetection) -> Path:
        return super().train_stage1(detector) if self.stage1 is None else self.stage1

    def train_stage2(self, stage1: Path, model: HiVAForAUDetection) -> Path:
        self._open_folder(model)
        if model.config.reads_descriptions and self.accelerator.is_main_process:
            embeddings = DescriptionBank(model, self.tokenizer).renew_text_memory(model)
            write_description_embeddings(self.output_dir, BEFORE_TRAINING, embeddings)
        return super().train_stage2(stage1, model)


class Reproduction:
    """All runs of a reproduction, finished or not.

    Args:
        arguments: Settings of every run; `output_dir` is the folder of the reproduction.
        folds: Folds to test.
        seeds: Seeds to train each fold with.
        variants: Some of `VARIANTS`.
        share_stage1: Train stage 1 only once for each fold and seed.

    Raises:
        ValueError: If a fold or variant does not exist, a list is empty or has duplicates, the settings are VL-FAU's
            or name several data sets, or the folder holds runs with other settings.
    """

    def __init__(
        self,
        arguments: AUTrainingArguments,
        folds: Sequence[int],
        seeds: Sequence[int],
        variants: Sequence[str] = VARIANTS,
        share_stage1: bool = True,
    ):
        if arguments.model != "hiva":
            raise ValueError(f"A reproduction trains HiVA, but `model` is {arguments.model!r}.")
        if arguments.additional_data:
            raise ValueError(
                "A reproduction trains on the set that it tests, as the papers do: leave out `additional_data`, or "
                "train with examples/train.py."
            )
        unknown = [variant for variant in variants if variant not in VARIANT_NAMES]
        if unknown or not (folds and seeds and variants):
            raise ValueError(
                f"A reproduction needs folds, seeds and variants, got {list(folds)}, {list(seeds)} and "
                f"{list(variants)}. Variants are {', '.join(VARIANTS)}."
            )
        self._check_folds_and_seeds(arguments, folds, seeds)
        self.arguments = arguments
        self.output_dir = Path(arguments.output_dir)
        self.folds, self.seeds = tuple(folds), tuple(seeds)
        self.variants = tuple(variant for variant in VARIANTS if variant in variants)
        self.share_stage1 = share_stage1
        self._check_settings()

    @staticmethod
    def _check_folds_and_seeds(arguments: AUTrainingArguments, folds: Sequence[int], seeds: Sequence[int]):
        for name, numbers in (("folds", folds), ("seeds", seeds)):
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"A number occurs twice among the {name} {list(numbers)}.")
        known = fold_numbers(arguments.dataset, arguments.data_dir)
        if not set(folds) <= set(known):
            found = ", ".join(map(str, known)) or "none"
            raise ValueError(f"The folds {list(folds)} were requested, but {arguments.dataset} has the folds {found}.")

    @property
    def jobs(self) -> list[Job]:
        """All runs, in the order in which they are made."""
        return [Job(variant, fold, seed) for fold in self.folds for seed in self.seeds for variant in self.variants]

    def folder(self, job: Job) -> Path:
        """Folder of a run's detector, results and predictions."""
        return self._folder_of_fold(job) / job.variant

    def is_finished(self, job: Job) -> bool:
        return all((self.folder(job) / name).is_file() for name in FILES_OF_A_FINISHED_RUN)

    def pending(self) -> list[Job]:
        """The runs that are not finished."""
        return [job for job in self.jobs if not self.is_finished(job)]

    def run(self, job: Job) -> dict:
        """Trains and tests one network, or continues where it was stopped.

        Returns:
            The run's results.

        Raises:
            TrainingInterrupted: If it was asked to stop; its progress is saved.
            RuntimeError: If the run ended without writing its predictions.
        """
        stage1 = self._shared_stage1(job) if self.share_stage1 else None
        run = ReproductionRun(self._arguments_of(job, self.folder(job)), self, stage1)
        results = run.run()
        # A request to stop that came after the last step and face: this run is finished, and no other is started.
        run.stop_if_asked(f"Stopped after {job}, which is finished.")
        absent = [name for name in FILES_OF_A_FINISHED_RUN if not (self.folder(job) / name).is_file()]
        if run.accelerator.is_main_process and absent:
            raise RuntimeError(
                f"The run in {self.folder(job)} ended, but wrote no {' and no '.join(absent)}. If it was made by "
                "another version of the package, delete the folder and start again."
            )
        return results

    def predictions(self, variant: str) -> list[FoldPredictions]:
        """The predictions of all folds and seeds of a finished variant."""
        return [
            FoldPredictions(
                fold=job.fold,
                seed=job.seed,
                test=read_predictions(self.folder(job) / TEST_PREDICTIONS_FILE),
                validation=read_predictions(self.folder(job) / VALIDATION_PREDICTIONS_FILE),
            )
            for job in self.jobs
            if job.variant == variant
        ]

    def finished_variants(self) -> list[str]:
        """Variants with all folds and seeds finished, in the order of `VARIANTS`."""
        unfinished = {job.variant for job in self.pending()}
        return [variant for variant in self.variants if variant not in unfinished]

    def results(self, job: Job) -> dict:
        """The results of a finished run."""
        return RunFolder(self.folder(job)).results()

    def environment(self) -> dict | None:
        """Software and hardware of the first finished run that noted them; None if there is none."""
        environments = (RunFolder(self.folder(job)).environment() for job in self.jobs if self.is_finished(job))
        return next(filter(None, environments), None)

    def seconds(self) -> float:
        """Total time so far: the finished runs and shared first stages."""
        finished = [job for job in self.jobs if self.is_finished(job)]
        shared = {self._shared_folder(job) for job in self.jobs}
        stage1 = [RunFolder(folder).resources().get("stage1", {"seconds": 0.0})["seconds"] for folder in shared]
        return sum(stage1) + sum(self.results(job)["train_runtime"] for job in finished)

    def _shared_folder(self, job: Job) -> Path:
        return self._folder_of_fold(job) / "shared"

    def _folder_of_fold(self, job: Job) -> Path:
        return self.output_dir / f"fold{job.fold}-seed{job.seed}"

    def _arguments_of(self, job: Job, folder: Path) -> AUTrainingArguments:
        return replace(
            self.arguments,
            output_dir=str(folder),
            fold=job.fold,
            seed=job.seed,
            **_VARIANT_SETTINGS.get(job.variant, {"variant": job.variant}),
            # Also if there is nothing to resume yet.
            resume_from_checkpoint=True,
        )

    def _shared_stage1(self, job: Job) -> Path:
        folder = self._shared_folder(job)
        stage1 = folder / "stage1"
        # The folder exists only once the stage is finished.
        if not stage1.exists():
            logger.info("Stage 1 of fold %d, seed %d, for all its variants.", job.fold, job.seed)
            run = ReproductionRun(self._arguments_of(replace(job, variant=FULL), folder), self)
            try:
                stage1 = run.train_stage1(run.build_detector())
            finally:
                finish_trackers(run.accelerator)
                run.folder.unlock()
            run.stop_if_asked(f"Stopped after stage 1 of fold {job.fold}, seed {job.seed}, which is finished.")
        return stage1

    def _settings(self) -> dict:
        binding = self.arguments.binding_settings().items()
        settings = {name: value for name, value in binding if name not in _FREE_SETTINGS}
        return settings | {"share_stage1": self.share_stage1}

    @contextmanager
    def claimed_settings(self) -> Iterator[None]:
        """Context in which a run opens its folder: the first one writes the settings, and later ones must have them.

        Raises:
            ValueError: If the folder holds runs with other settings.
            BlockingIOError: If another process is opening a run here all the time.
        """
        self.output_dir.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(self.output_dir, _PATIENCE)
        try:
            self._check_settings()
            is_first = not self._are_binding()
            yield
            if is_first:
                write_json(self.output_dir / _SETTINGS_FILE, self._settings())
        finally:
            lock.release()

    def _check_settings(self):
        if not self._are_binding():
            return
        path = self.output_dir / _SETTINGS_FILE
        before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(self._settings()))
        if differing := changed_settings(before, now):
            raise ValueError(
                f"{self.output_dir} holds runs with other settings: {'; '.join(differing)}. Their results must not "
                "be in one table: use the same settings, or another output_dir."
            )

    def _are_binding(self) -> bool:
        """Whether the folder holds settings, and runs with them: those of deleted runs bind nobody."""
        return (self.output_dir / _SETTINGS_FILE).is_file() and self._has_runs()

    def _has_runs(self) -> bool:
        """Whether any run has started in this folder."""
        return any(self.output_dir.glob(f"fold*/*/{SETTINGS_FILE}"))


def default_folds(dataset: str, data_dir: str | None = None) -> tuple[int, ...]:
    """The first fold of SynthFACS, which is meant for demonstration; all folds of other sets, as in the literature.

    Args:
        dataset: Name of the data set.
        data_dir: Its folder; the embedded set needs none.
    """
    return (1,) if dataset == SYNTHFACS.name else tuple(fold_numbers(dataset, data_dir))
