"""Train HiVA or VL-FAU, test it on unseen subjects, and detect the AUs in a photo with it.

accelerate launch examples/train.py                                         # the demo: a few minutes on two CPU cores
accelerate launch examples/train.py --help                                  # every setting
accelerate launch examples/train.py settings.yaml --fold 2                  # settings from a file, some changed
accelerate launch examples/train.py --dataset bp4d --data_dir bp4d --fold 1 # the paper's network and schedule
accelerate launch examples/train.py --model vl_fau                          # the model that writes sentences
accelerate launch examples/train.py --resume_from_checkpoint true           # continue an interrupted run
"""

import os


# Waiting threads must not spin, which is costly on shared cores. It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from PIL import Image  # noqa: E402
from transformers import pipeline  # noqa: E402

import hiva_hf  # noqa: E402
from hiva_hf.data.folds import names_of_subjects  # noqa: E402
from hiva_hf.evaluation.metrics import format_au_table  # noqa: E402
from hiva_hf.reported_errors import REPORTED_ERRORS, message_of  # noqa: E402
from hiva_hf.training.distributed import ProcessCountError  # noqa: E402
from hiva_hf.training.interruption import TrainingInterrupted  # noqa: E402
from hiva_hf.training.model_runs import make_run  # noqa: E402
from hiva_hf.training.resuming import resume_command  # noqa: E402
from hiva_hf.training.run_folder import RESULTS_PICTURE  # noqa: E402
from hiva_hf.training.settings import parse_arguments  # noqa: E402
from hiva_hf.viz import draw_results  # noqa: E402


def photo_to_read(path: str | None) -> Image.Image:
    """The given photo, or a real one: the astronaut Eileen Collins (NASA, public domain), from scikit-image."""
    if path is not None:
        return hiva_hf.load_image(path)
    from skimage import data

    return Image.fromarray(data.astronaut())


def read_photo(checkpoint: Path, photo: Image.Image, picture: Path):
    """Detects the AUs of each face in `photo`, prints them and draws them with the attention maps."""
    detector = pipeline("au-detection", model=str(checkpoint))
    faces = detector(photo, return_attention=True)
    for number, face in enumerate(faces, start=1):
        print(f"\nFace {number} at {face['box']}, detector score {face['score']:.2f}:")
        for unit in sorted(face["aus"], key=lambda unit: -unit["score"]):
            print(f"  {'*' if unit['active'] else ' '} {unit['label']:5} {unit['name']:22} {unit['score']:.2f}")
    hiva_hf.draw_faces(photo, faces, path=picture)
    print(f"\nPicture with boxes, AUs and attention maps: {picture}")


def main():
    arguments = parse_arguments()
    try:
        # Loaded before training, so that errors are reported at once.
        photo = photo_to_read(arguments.photo)
        run = make_run(arguments)
        run.accelerator.print(run.describe())
        results = run.run()
    except TrainingInterrupted as interruption:
        run.accelerator.print(f"\n{interruption}\n\n    {resume_command(run.arguments.fsdp)}\n")
        sys.exit(interruption.exit_code)
    except (*REPORTED_ERRORS, ProcessCountError) as error:
        sys.exit(f"train.py: {message_of(error)}")
    if run.accelerator.is_main_process:
        minutes = results["train_runtime"] / 60
        print(f"\nSubjects of fold {arguments.fold}, which training never saw, after {minutes:.1f} minutes in all:\n")
        print(f"{names_of_subjects(results['test_subjects'])}\n")
        print(format_au_table(results, run.au_labels, prefix="test_"))
        title = f"{arguments.dataset}, fold {arguments.fold}: subjects whom training never saw"
        draw_results(results, run.au_labels, run.output_dir / RESULTS_PICTURE, title=title)
        read_photo(run.output_dir, photo, run.folder.picture_of(arguments.photo))
    run.accelerator.end_training()


if __name__ == "__main__":
    main()
