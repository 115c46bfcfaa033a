"""Test a finished checkpoint on any data set, on the AUs that both have, but not on its own training subjects."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from transformers import AutoImageProcessor, AutoModel

from ..data import au_numbers, load_au_dataset
from ..data.views import evenly_spaced
from ..evaluation.predictions import ROW_COLUMNS, Predictions
from ..facs import get_action_unit
from ..training.augmentation import EvaluationFaces
from ..training.batches import evaluation_loader
from ..training.distributed import check_num_processes
from ..training.hardware import choose_mixed_precision, must_use_cpu
from ..training.prediction import predict
from ..training.run_folder import RESULTS_FILE, read_json


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubjectRecord:
    """The subjects that a checkpoint has seen, as recorded by its training run.

    Attributes:
        datasets: Names of the data sets that it was trained on; subjects of other sets are other people.
        training: Subjects that it was trained on.
        validation: Subjects on which its epoch was selected.
    """

    datasets: frozenset[str]
    training: frozenset[str]
    validation: frozenset[str]


def read_subject_record(checkpoint: str) -> SubjectRecord | None:
    """Reads which subjects a checkpoint was trained on.

    Args:
        checkpoint: Folder or Hub id.

    Returns:
        The record in `all_results.json` beside the weights, or None if there is none.

    Raises:
        OSError: If the Hub can't be reached, or has no such repository.
        ValueError: If the record is damaged.
    """
    path = Path(checkpoint) / RESULTS_FILE
    if not Path(checkpoint).is_dir():
        try:
            path = Path(hf_hub_download(checkpoint, RESULTS_FILE))
        except LocalEntryNotFoundError:
            # The Hub could not be reached: a record may exist there.
            raise
        except EntryNotFoundError:
            return None
    results = read_json(path) if path.is_file() else {}
    if "dataset" not in results or "training_subjects" not in results:
        return None
    return SubjectRecord(
        datasets=frozenset(results.get("training_datasets", [results["dataset"]])),
        training=frozenset(results["training_subjects"]),
        validation=frozenset(results.get("validation_subjects", ())),
    )


def check_unseen_subjects(checkpoint: str, dataset: str, subjects: Sequence[str], split: str):
    """Checks that a checkpoint has not seen the subjects of an evaluation, which would inflate its score.

    Args:
        checkpoint: Folder or Hub id.
        dataset: Name of the data set of the subjects.
        subjects: Subjects to evaluate on.
        split: Their split. Subjects on which the checkpoint's epoch was selected are allowed as `"validation"` only.

    Raises:
        ValueError: If the checkpoint has seen some of them, or it is not known which subjects it was trained on.
    """
    record = read_subject_record(checkpoint)
    if record is None:
        raise ValueError(
            f"{checkpoint} does not record which subjects it was trained on: there is no {RESULTS_FILE} with "
            "`dataset` and `training_subjects` beside it. Pass `--allow_training_subjects` to evaluate it anyway, and "
            "report that with the result."
        )
    if dataset not in record.datasets:
        return
    for known, what in ((record.training, "was trained on"), (record.validation, "had its epoch selected on")):
        met = sorted(known & set(subjects))
        if met and (split != "validation" or known is record.training):
            raise ValueError(
                f"{checkpoint} {what} {len(met)} of these {len(set(subjects))} subjects of {dataset} "
                f"({', '.join(met[:5])}{', ...' if len(met) > 5 else ''}), so its score on them would be inflated. "
                "Evaluate it on the fold that it was tested on, or pass `--allow_training_subjects`."
            )


def common_aus(model_aus: Sequence[str], dataset_aus: Sequence[int]) -> list[str]:
    """The AUs of a model that a data set also codes, in the model's order.

    Raises:
        ValueError: If there are none.
    """
    of_dataset = {f"AU{number}" for number in dataset_aus}
    shared = [label for label in model_aus if label in of_dataset]
    if not shared:
        raise ValueError(
            f"The model detects {', '.join(model_aus)}, none of which this data set codes "
            f"({', '.join(f'AU{number}' for number in dataset_aus)}): there is nothing to score."
        )
    return shared


def predict_checkpoint(
    checkpoint: str,
    dataset: str,
    data_dir: str | None = None,
    fold: int = 1,
    split: str = "test",
    allow_training_subjects: bool = False,
    batch_size: int = 64,
    mixed_precision: str = "auto",
    max_samples: int | None = None,
) -> Predictions:
    """Predicts one split of a data set with a saved detector.

    Args:
        checkpoint: Folder or Hub id of the detector and its image processor.
        dataset: Name of the data set.
        data_dir: Its folder; the embedded set needs none.
        fold: Fold whose split is evaluated.
        split: `"test"`, `"validation"` or `"train"`.
        allow_training_subjects: Evaluate even on subjects that it was trained or selected on.
        batch_size: Faces per step and process.
        mixed_precision: As in training; `"auto"` reproduces the scores that the run itself reported.
        max_samples: Maximum number of faces, evenly spaced (for a quick check).

    Returns:
        Predictions for the AUs that model and data set share.

    Raises:
        ValueError: If the checkpoint has seen the subjects, no AU is shared, or `max_samples` is less than 1.
        ProcessCountError: If several processes were started that don't communicate with each other.
    """
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"`max_samples` is {max_samples}, but at least 1 face is needed.")
    model = AutoModel.from_pretrained(checkpoint)
    model_aus = model.config.au_labels
    shared = common_aus(model_aus, au_numbers(dataset, data_dir))
    left_out = [label for label in model_aus if label not in shared]
    if left_out:
        logger.warning("%s does not code %s: left out of every score.", dataset, ", ".join(left_out))
    numbers = [get_action_unit(label).number for label in shared]
    faces = load_au_dataset(dataset, data_dir, fold=fold, split=split, aus=numbers)
    if max_samples is not None and max_samples < len(faces):
        faces = faces.select(evenly_spaced(len(faces), max_samples))
    if not allow_training_subjects:
        check_unseen_subjects(checkpoint, dataset, faces["subject"][:], split)
    accelerator = Accelerator(
        cpu=must_use_cpu(),
        mixed_precision=choose_mixed_precision(mixed_precision),
    )
    check_num_processes(accelerator.num_processes, None)
    prepared = EvaluationFaces(faces, AutoImageProcessor.from_pretrained(checkpoint))
    loader = evaluation_loader(accelerator, prepared, batch_size, num_workers=0)
    model.to(accelerator.device)
    labels, probabilities = predict(accelerator, model, loader, f"{dataset} {split}")
    return Predictions(
        **{name: np.array(faces[name][:], dtype=kind.to_pandas_dtype()) for name, kind in ROW_COLUMNS.items()},
        labels=labels.astype(np.int8),
        probabilities=probabilities[:, [model_aus.index(label) for label in shared]].astype(np.float32),
        au_labels=tuple(shared),
    )
