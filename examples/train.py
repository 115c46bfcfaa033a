"""Train HiVA, test it on subjects that it never saw, and read a photo with it.

accelerate launch examples/train.py                     # the demo: embedded faces, two CPU cores, a few minutes
accelerate launch examples/train.py --help              # every setting
accelerate launch examples/train.py settings.yaml       # the same settings from a file
"""

import os


# Waiting threads must not spin: on shared cores that costs more than the work. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from PIL import Image  # noqa: E402
from transformers import HfArgumentParser, pipeline  # noqa: E402

import hiva_hf  # noqa: E402
from hiva_hf.evaluation.metrics import format_au_table  # noqa: E402
from hiva_hf.training.arguments import AUTrainingArguments  # noqa: E402
from hiva_hf.training.runs import TrainingRun  # noqa: E402


def parse_arguments() -> AUTrainingArguments:
    parser = HfArgumentParser(AUTrainingArguments)
    if len(sys.argv) == 2 and sys.argv[1].endswith((".yaml", ".yml")):
        return parser.parse_yaml_file(sys.argv[1])[0]
    return parser.parse_args_into_dataclasses()[0]


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
    run = TrainingRun(arguments)
    run.accelerator.print(run.describe())
    results = run.run()
    if not run.accelerator.is_main_process:
        return
    minutes = results["train_runtime"] / 60
    print(f"\nSubjects of fold {arguments.fold}, which training never saw, after {minutes:.1f} minutes in all:\n")
    print(format_au_table(results, run.au_labels, prefix="test_"))
    read_photo(run.output_dir, photo_to_read(arguments.photo), run.output_dir / "photo.png")


if __name__ == "__main__":
    main()
