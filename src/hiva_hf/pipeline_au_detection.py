# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The task "au-detection": from a photo to the Action Units of every face in it."""

import math
import os
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedModel
from transformers.pipelines.base import ChunkPipeline
from transformers.utils import logging

from .face_alignment import alignment_matrix, warp_face
from .face_detection import CenterFaceDetector, FaceDetector
from .facs import get_action_unit
from .image_loading import load_image


logger = logging.get_logger(__name__)

# The crops that the networks are trained on.
ALIGNED_SIZE = 256
ATTENTIONS = {"ddca_attentions": "ddca_attention", "cdca_attentions": "cdca_attention"}


class AUDetectionPipeline(ChunkPipeline):
    """Detect facial Action Units in photos.

    Every face is found, aligned, and given to the model; `batch_size` counts faces, which are batched across photos.

    Example:

    ```python
    >>> import hiva_hf
    >>> from transformers import pipeline

    >>> detector = pipeline("au-detection", model="path/to/checkpoint")
    >>> faces = detector("photo.jpg")
    >>> faces[0]["box"]
    {'xmin': 181, 'ymin': 57, 'xmax': 271, 'ymax': 179}
    >>> [au["name"] for au in faces[0]["aus"] if au["active"]]
    ['Cheek Raiser', 'Lip Corner Puller']
    ```

    Any of these can be given to `pipeline(...)`, as a default, or to a single call:

    Args:
        threshold (`float` or `dict[str, float]`, *optional*, defaults to 0.5):
            An AU is active from this probability on. A dict gives thresholds to single AUs, as in `{"AU12": 0.4}`;
            the others keep 0.5.
        detect_faces (`bool`, *optional*, defaults to `True`):
            `False` takes the whole image for one face that was cropped and aligned before.
        face_detector ([`FaceDetector`], *optional*):
            Finds the faces; [`CenterFaceDetector`] by default, which needs `pip install "hiva-hf[faces]"`.
        return_attention (`bool`, *optional*, defaults to `False`):
            Whether to return the attention maps.
        timeout (`float`, *optional*, defaults to 30):
            Seconds that a URL may take to answer.
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: PreTrainedModel, *args, **kwargs):
        if model.config.model_type != "hiva":
            raise ValueError(
                f"The au-detection pipeline needs a HiVA model, but {model.name_or_path!r} is a "
                f"{type(model).__name__}. Pass a folder or repository that `HiVAForAUDetection` was saved to."
            )
        super().__init__(model, *args, **kwargs)
        self._default_detector: FaceDetector | None = None

    def __call__(self, inputs: Any, **kwargs: Any) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Detect AUs in one image, or in each of several.

        Args:
            inputs: An image, as a path, URL, bytes of a file, PIL image or RGB array (see `load_image`), or a list,
                data set or generator of images.
            **kwargs: The parameters of the class, `batch_size` and `num_workers`.

        Returns:
            The faces of the image, the largest first, and an empty list if there is none; for a list of images a list
            of such lists, in its order. A face is a dict:

            - **box** (`dict[str, int]`) -- `xmin`, `ymin`, `xmax`, `ymax` in pixels of the upright image.
            - **score** (`float`) -- The face detector's confidence; `None` without face detection.
            - **aus** (`list[dict]`) -- In the model's order, for each AU its `label` ("AU12"), `name` ("Lip Corner
              Puller"), `score` (the probability that it is there) and `active` (whether that reaches the threshold).
            - **ddca_attention**, **cdca_attention** (`np.ndarray`) -- With `return_attention`, and if the model has
              them: maps `[num_aus, height, width]`, each of which sums to 1.
            - **view_matrix** (`np.ndarray`) -- With `return_attention`: `[2, 3]`, so that `view_matrix @ (x, y, 1)` is
              the place of a pixel within the maps, both coordinates running from 0 to 1.

        Raises:
            ImageLoadError: An image cannot be used. The message says which and why.
            ValueError: A parameter is wrong.
            ImportError: The face detector's packages are missing.
        """
        if isinstance(inputs, (list, tuple)):
            # The base class takes a tuple for one input, and fails on an empty list.
            return super().__call__(list(inputs), **kwargs) if inputs else []
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self, threshold=None, detect_faces=None, face_detector=None, return_attention=None, timeout=None
    ):
        preprocess_params, forward_params, postprocess_params = {}, {}, {}
        if detect_faces is not None:
            preprocess_params["detect_faces"] = detect_faces
        if face_detector is not None:
            if not callable(face_detector):
                raise ValueError(f"`face_detector` must be callable, got {face_detector!r}.")
            preprocess_params["face_detector"] = face_detector
        if timeout is not None:
            preprocess_params["timeout"] = timeout
        if return_attention is not None:
            forward_params["return_attention"] = return_attention
        if threshold is not None:
            postprocess_params["thresholds"] = self._thresholds(threshold)
        return preprocess_params, forward_params, postprocess_params

    def preprocess(
        self,
        inputs: Any,
        detect_faces: bool = True,
        face_detector: FaceDetector | None = None,
        timeout: float = 30.0,
    ) -> Iterator[dict[str, Any]]:
        """Yield one chunk per face; a photo without a face gives one whose `face` is `None`."""
        photo = np.asarray(load_image(inputs, timeout=timeout))
        faces = self._aligned_faces(photo, face_detector) if detect_faces else [self._whole_image(photo)]
        if not faces:
            faces = [(None, np.zeros((ALIGNED_SIZE, ALIGNED_SIZE, 3), dtype=np.uint8))]
        for index, (face, crop) in enumerate(faces):
            pixels = self.image_processor(images=Image.fromarray(crop), return_tensors="pt").to(self.dtype)
            yield {"face": face, "is_last": index == len(faces) - 1, "pixel_values": pixels["pixel_values"]}

    def _forward(self, model_inputs: dict[str, Any], return_attention: bool = False) -> dict[str, Any]:
        """Run the model on those rows of the batch that hold a face; the others stay zero."""
        pixel_values = model_inputs.pop("pixel_values")
        # Lists if the chunks come in batches.
        faces = model_inputs["face"] if isinstance(model_inputs["face"], list) else [model_inputs["face"]]
        rows = [row for row, face in enumerate(faces) if face is not None]
        if rows:
            outputs = self.model(pixel_values=pixel_values[rows], output_attentions=return_attention)
            for name in ("logits", *ATTENTIONS):
                if (values := outputs.get(name)) is not None:
                    model_inputs[name] = values.new_zeros((len(faces), *values.shape[1:]), dtype=torch.float32)
                    model_inputs[name][rows] = values.float()
        return model_inputs

    def postprocess(
        self, model_outputs: list[dict[str, Any]], thresholds: list[float] | None = None
    ) -> list[dict[str, Any]]:
        """Turn the chunks of one photo into its list of faces."""
        thresholds = self._thresholds(0.5) if thresholds is None else thresholds
        return [self._result(output, thresholds) for output in model_outputs if output["face"] is not None]

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model and its image processor.

        The base class also writes `custom_pipelines` into the config, and then everyone who has this package installed
        would have to pass `trust_remote_code=True`.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.image_processor.save_pretrained(save_directory, **kwargs)

    def _thresholds(self, threshold: float | Mapping[str, float]) -> list[float]:
        """One threshold per AU of the model."""
        labels = self.model.config.au_labels
        if not isinstance(threshold, Mapping):
            threshold = dict.fromkeys(labels, threshold)
        if unknown := sorted(threshold.keys() - set(labels)):
            raise ValueError(f"`threshold` names AUs that the model does not detect: {unknown}. It detects {labels}.")
        for label, value in threshold.items():
            if not (isinstance(value, Real) and 0 <= value <= 1):
                raise ValueError(f"`threshold` must lie between 0 and 1, got {value!r} for {label}.")
        return [threshold.get(label, 0.5) for label in labels]

    def _aligned_faces(
        self, photo: np.ndarray, face_detector: FaceDetector | None
    ) -> list[tuple[dict[str, Any], np.ndarray]]:
        """Find and align the faces of a photo `[height, width, 3]`; returns what is known of them and their crops."""
        if face_detector is None:
            self._default_detector = self._default_detector or CenterFaceDetector()
            face_detector = self._default_detector
        faces = []
        for detected in sorted(face_detector(photo), key=lambda face: -face.area):
            try:
                matrix = alignment_matrix(detected.landmarks, ALIGNED_SIZE)
            except ValueError as error:
                logger.warning(f"Leaving out a face that cannot be aligned, at {detected.box}: {error}")
                continue
            face = _face(photo, detected.box, detected.score)
            face["view_matrix"] = self._view_matrix(matrix, ALIGNED_SIZE, ALIGNED_SIZE)
            faces.append((face, warp_face(photo, matrix, ALIGNED_SIZE)))
        return faces

    def _whole_image(self, image: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """Take an image `[height, width, 3]` for a face."""
        height, width = image.shape[:2]
        face = _face(image, (0, 0, width, height), None)
        face["view_matrix"] = self._view_matrix(np.eye(2, 3), height, width)
        return face, image

    def _view_matrix(self, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
        """Continue a `[2, 3]` transform, from a photo to a crop, to the part of the crop that the model sees."""
        processor = self.image_processor
        resized = np.array([width, height], dtype=np.float64)
        if processor.do_resize:
            resized = np.array([processor.size["width"], processor.size["height"]], dtype=np.float64)
        seen = resized
        if processor.do_center_crop:
            seen = np.array([processor.crop_size["width"], processor.crop_size["height"]], dtype=np.float64)
        view = matrix * (resized / (width, height))[:, None]
        view[:, 2] -= (resized - seen) / 2
        return view / seen[:, None]

    def _result(self, output: dict[str, Any], thresholds: list[float]) -> dict[str, Any]:
        face = dict(output["face"])
        view_matrix = face.pop("view_matrix")
        probabilities = output["logits"][0].sigmoid().tolist()
        face["aus"] = [
            {"label": label, "name": _name(label), "score": score, "active": score >= threshold}
            for label, score, threshold in zip(self.model.config.au_labels, probabilities, thresholds, strict=True)
        ]
        for name, key in ATTENTIONS.items():
            if name in output:
                tokens = output[name][0]
                side = math.isqrt(tokens.shape[-1])
                face[key] = tokens.reshape(-1, side, side).numpy()
                face["view_matrix"] = view_matrix
        return face


def _face(photo: np.ndarray, box: tuple[float, float, float, float], score: float | None) -> dict[str, Any]:
    """Describe a face by its box in whole pixels inside `photo`, and its score."""
    height, width = photo.shape[:2]
    xmin, ymin, xmax, ymax = box
    corners = {
        "xmin": max(math.floor(xmin), 0),
        "ymin": max(math.floor(ymin), 0),
        "xmax": min(math.ceil(xmax), width),
        "ymax": min(math.ceil(ymax), height),
    }
    return {"box": corners, "score": score}


def _name(label: str) -> str:
    """Name an AU, as in "AU12" -> "Lip Corner Puller"; a label of another kind is its own name."""
    try:
        return get_action_unit(label).name
    except ValueError:
        return label
