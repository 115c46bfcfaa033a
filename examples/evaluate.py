"""Test a trained detector on unseen subjects, of its own data set or of another.

python examples/evaluate.py --checkpoint hiva-synthfacs --dataset synthfacs
python examples/evaluate.py --checkpoint hiva-bp4d-fold1 --dataset disfa --data_dir prepared/disfa --fold 1 2 3

Only AUs that both the detector and the data set have are scored. Subjects on whom the detector was trained, or its
epoch was chosen, are rejected unless you allow them.
"""

import os


# Waiting threads must not spin, which is costly on shared cores. It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from accelerate import PartialState  # noqa: E402

from hiva_hf.atomic_files import write_text  # noqa: E402
from hiva_hf.data.folds import names_of_subjects  # noqa: E402
from hiva_hf.data.manifest import title_of  # noqa: E402
from hiva_hf.evaluation.predictions import ROW_COLUMNS, Predictions, write_predictions  # noqa: E402
from hiva_hf.evaluation.protocol import FoldPredictions  # noqa: E402
from hiva_hf.evaluation.result_tables import make_detail_table, score_method  # noqa: E402
from hiva_hf.experiments.checkpoint_evaluation import predict_checkpoint  # noqa: E402
from hiva_hf.reported_errors import REPORTED_ERRORS, message_of  # noqa: E402
from hiva_hf.training.distributed import ProcessCountError  # noqa: E402
from hiva_hf.training.hardware import use_cpu_cores  # noqa: E402


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="Folder or Hub id of a detector.")
    parser.add_argument("--dataset", default="synthfacs", help="Name of the data set [synthfacs].")
    parser.add_argument("--data_dir", help="Its folder; the embedded data set needs none.")
    parser.add_argument("--fold", type=int, nargs="+", default=[1], help="Fold(s) to test [1].")
    parser.add_argument("--split", default="test", choices=("test", "validation", "train"), help="[test]")
    parser.add_argument("--tune_thresholds", action="store_true", help="Also tune them on the validation subjects.")
    parser.add_argument("--allow_training_subjects", action="store_true", help="Also score subjects of its training.")
    parser.add_argument("--batch_size", type=int, default=64, help="Faces per batch and process [64].")
    parser.add_argument("--max_samples", type=int, help="Largest number of faces, evenly spaced (a quick check).")
    parser.add_argument("--mixed_precision", default="auto", choices=("auto", "no", "bf16"), help="[auto]")
    parser.add_argument("--output_dir", help="Folder for scores as JSON and predictions as Parquet; default: none.")
    options = parser.parse_args(words)
    if options.tune_thresholds and options.split == "validation":
        parser.error("--tune_thresholds tunes on the validation subjects, so it cannot score --split validation.")
    if len(set(options.fold)) < len(options.fold):
        parser.error("--fold contains a fold twice.")
    if options.max_samples is not None and options.max_samples < 1:
        parser.error(f"--max_samples is {options.max_samples}, but at least 1 face is needed.")
    if len(options.fold) > 1 and options.split != "test":
        parser.error(f"Folds share people outside of their test parts: pass one --fold with --split {options.split}.")
    return options


def predict(options: argparse.Namespace, fold: int, split: str) -> Predictions:
    return predict_checkpoint(
        options.checkpoint,
        options.dataset,
        options.data_dir,
        fold=fold,
        split=split,
        allow_training_subjects=options.allow_training_subjects,
        batch_size=options.batch_size,
        mixed_precision=options.mixed_precision,
        max_samples=options.max_samples,
    )


def save(predictions: Predictions, path: Path):
    rows = {name: getattr(predictions, name) for name in ROW_COLUMNS}
    write_predictions(path, rows, predictions.labels, predictions.probabilities, predictions.au_labels)


def main():
    options = parse_options()
    use_cpu_cores(None)
    try:
        # Fails before the evaluation if the folder can't be created.
        if options.output_dir is not None:
            Path(options.output_dir).mkdir(parents=True, exist_ok=True)
        folds = [
            FoldPredictions(
                fold,
                seed=None,
                test=predict(options, fold, options.split),
                validation=predict(options, fold, "validation") if options.tune_thresholds else None,
            )
            for fold in options.fold
        ]
    except (*REPORTED_ERRORS, ProcessCountError) as error:
        sys.exit(f"evaluate.py: {message_of(error)}")
    if not PartialState().is_main_process:
        return
    # Written before scoring, so that an error in scoring does not lose them.
    if options.output_dir is not None:
        output_dir = Path(options.output_dir)
        for part in folds:
            save(part.test, output_dir / f"predictions_{options.split}_fold{part.fold}.parquet")
    try:
        result = score_method(Path(options.checkpoint).resolve().name, folds)
    except ValueError as error:
        sys.exit(f"evaluate.py: {error}")
    where = f"{title_of(options.dataset)}, {options.split} subjects of fold {', '.join(map(str, options.fold))}"
    table = make_detail_table("scores", f"{result.name} on {where}", result, options.split)
    for part in folds:
        print(f"\nSubjects of fold {part.fold}: {names_of_subjects(part.test.subjects)}")
    print(f"\n{table.to_markdown()}")
    if options.output_dir is not None:
        write_text(output_dir / "scores.json", json.dumps(vars(options) | result.scores.as_dict(), indent=2))
        write_text(output_dir / "scores.md", table.to_markdown() + "\n")


if __name__ == "__main__":
    main()
