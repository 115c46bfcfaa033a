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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from numbers import Real
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pipelines.base import ChunkPipeline
from transformers.utils import logging

from .au_explanation import FaceEvidence, explain_face
from .face_alignment import TEMPLATE, alignment_matrix, warp_face
from .face_detection import CenterFaceDetector, FaceDetector
from .facs import au_name
from .image_loading import MAX_PIXELS, ImageLoadError, image_name, load_image
from .modeling_hiva import adjacency, evaluation_mode
from .remote_code import PushesRemoteCode, keep_pipeline_code
from .sensitivity import read_with_sensitivity


logger = logging.get_logger(__name__)

# Side of the aligned crops that the networks are trained on, in pixels.
ALIGNED_SIZE = 256
ATTENTIONS = {
    "ddca_attentions": "ddca_attention",
    "cdca_attentions": "cdca_attention",
    "spatial_attentions": "spatial_attention",
}
# Model outputs (and the sensitivity) from which explanations are made.
EVIDENCE = ("sensitivity", "ddca_attentions", "spatial_attentions", "word_attentions", "visual_features")
# Keys of a face with `return_features`, and the model outputs that they come from.
FEATURES = {"features": "au_features", "visual_features": "visual_features"}
MODEL_TYPES = ("hiva", "vl_fau")
# More than the faces of a useful size in a photo of a crowd; each takes up to 1 MB of memory on its way.
MAX_FACES = 256
# Types that count as one input although some are iterable.
SINGLE_INPUTS = (str, bytes, bytearray, os.PathLike, Image.Image, np.ndarray, torch.Tensor, Mapping)
# Of all AUs, of each in the model's order, or of some by label.
Threshold = float | Sequence[float] | Mapping[str, float]


@dataclass(frozen=True)
class _NumberedInput:
    """One of several inputs: its index, counted from 0, and a function that fetches it.

    It is fetched where it is preprocessed, so that an error in fetching it (a row that does not decode) is attributed
    to it.
    """

    number: int
    fetch: Callable[[], Any]


class AUDetectionPipeline(PushesRemoteCode, ChunkPipeline):
    """Detect facial Action Units in photos.

    Every face is found, aligned, and given to the model. `batch_size` is the number of faces in a batch, across
    photos. `num_workers` is the number of threads that load photos and find faces while the model runs.

    Without a model, the package's starter checkpoint is used, which needs no internet connection. It was trained on
    rendered faces only; its AUs that fail on real photos are marked experimental.

    Example:

    ```python
    >>> import hiva_hf
    >>> from transformers import pipeline

    >>> detector = pipeline("au-detection")
    >>> faces = detector("photo.jpg")
    >>> faces[0]["box"]
    {'xmin': 181, 'ymin': 57, 'xmax': 271, 'ymax': 179}
    >>> [au["name"] for au in faces[0]["aus"] if au["active"]]
    ['Cheek Raiser', 'Lip Corner Puller']
    ```

    These arguments can be given to `pipeline(...)`, as defaults, or to a single call:

    Args:
        threshold (`float`, `list[float]`, `np.ndarray` or `dict[str, float]`, *optional*):
            An AU is active if its probability reaches this threshold. A list gives one threshold for each AU in the
            model's order, a dict those of single AUs, as in `{"AU12": 0.4}`. The default, also for AUs that a dict
            leaves out, is `config.label_thresholds`, or 0.5 in checkpoints without it.
        detect_faces (`bool`, *optional*, defaults to `True`):
            `False` treats the whole image as one face that is already cropped and aligned.
        face_detector ([`FaceDetector`], *optional*):
            Finds the faces; [`CenterFaceDetector`] by default, which needs `pip install "hiva-hf[faces]"`. With
            `num_workers` it is called from several threads.
        max_faces (`int`, *optional*, defaults to 256):
            At most this many faces of a photo are read, the largest ones; a warning is logged if there are more.
        max_pixels (`int`, *optional*, defaults to 128,000,000):
            Larger images are rejected before they are decoded.
        on_error (`str`, *optional*, defaults to `"raise"`):
            What happens if an image can't be used. `"raise"`: an exception names it. `"return"`: its result is
            `{"error": message}`, where the message names it, and the other images are read.
        return_attention (`bool`, *optional*, defaults to `False`):
            Whether to return the attention maps.
        return_features (`bool`, *optional*, defaults to `False`):
            Whether to return the features of each AU.
        explain (`bool`, *optional*, defaults to `False`):
            Whether to explain the results in plain English. HiVA's explanations use no language model; those of VL-FAU
            quote the sentences that it writes about each AU and about the face. The same photo gives the same
            sentences. Each active AU costs about as much as two more forward passes.
        timeout (`float`, *optional*, defaults to 30):
            Seconds that a URL may take to answer.
    """

    _load_processor = False
    _load_image_processor = True
    _load_video_processor = False
    _load_feature_extractor = False
    # None: transformers loads a tokenizer if there is one (VL-FAU has one) and does not complain if not (HiVA).
    _load_tokenizer = None

    def __init__(self, model: PreTrainedModel, *args, **kwargs):
        if model.config.model_type not in MODEL_TYPES:
            raise ValueError(
                f"The au-detection pipeline needs a HiVA model, or a VL-FAU, but {model.name_or_path!r} is a "
                f"{type(model).__name__}. Pass a folder or repository that `HiVAForAUDetection` or "
                "`VLFAUForAUDetection` was saved to."
            )
        super().__init__(model, *args, **kwargs)
        _check_sides(self.image_processor)
        # Loaded models already are; a model that was just trained would update its batch statistics from the photos.
        self.model.eval()
        # It loads its network only when the first photo comes.
        self.default_face_detector = CenterFaceDetector()

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Detect AUs in one image, or in each of several.

        Args:
            inputs: An image, as a path, URL, bytes of a file, PIL image or RGB array (see `load_image`), or several: a
                list, tuple, `datasets` column (`dataset["image"]`), dataset whose rows are images or have a column
                `image`, generator, or any other iterable. For folders and videos, use `hiva-hf detect`.
            **kwargs: The parameters of the class, `batch_size` and `num_workers`.

        Returns:
            A list of the faces in the image, the largest first, empty if there is none. For a list, tuple or column of
            images, a list of such lists; for datasets, generators and other iterables, a lazy iterator over such
            lists. Both are in the order of the images. A face is a dict:

            - **box** (`dict[str, int]`) -- `xmin`, `ymin`, `xmax`, `ymax` in pixels of the upright image.
            - **score** (`float`) -- The face detector's confidence; `None` without face detection.
            - **landmarks** (`list[list[float]]`) -- Five points (x, y) in pixels of the upright image: the eye on the
              image's left, the eye on its right, the tip of the nose, the mouth corner on its left, the one on its
              right; `None` without face detection.
            - **aus** (`list[dict]`) -- In the model's order, for each AU its `label` ("AU12"), `name` ("Lip Corner
              Puller"), `score` (the probability that it is present), `active` (whether that reaches the threshold) and
              `experimental` (whether the checkpoint is known to be unreliable for it on real photos).
            - **ddca_attention**, **cdca_attention** (`np.ndarray`) -- With `return_attention`, and if the model has
              them: maps `[num_aus, height, width]`, each of which sums to 1.
            - **spatial_attention** (`np.ndarray`) -- The same for VL-FAU, where each weight lies between 0 and 1.
            - **view_matrix** (`np.ndarray`) -- With attention maps: `[2, 3]`, so that `view_matrix @ (x, y, 1)` is
              the position of a pixel of the image in the maps, in coordinates from 0 to 1.
            - **sensitivity** (`np.ndarray`) -- With attention maps and `explain`, if the model has gradients: maps
              `[num_aus, height, width]` of what each active AU depends on, each of which sums to 1; 0 for the other
              AUs. They may have another size than the attention maps; `view_matrix` is the same.
            - **features** (`np.ndarray`) -- With `return_features`: `[num_aus, hidden_size]`, the fused features that
              the AUs are read from.
            - **visual_features** (`np.ndarray`) -- The same before the descriptions are read (VL-FAU reads none). The
              graph over the AUs is built from them.
            - **summary** (`str`) -- With `explain`: what the face shows, and the active AUs.
            - **warnings** (`list[str]`) -- With `explain`: one sentence for each pair of active AUs that contradict
              each other, such as pressed and parted lips. The results are left as they are.

            With `explain` each AU also has an `explanation`, a dict (see [`explain_face`]):

            - **sentence** (`str`) -- Its state, and the evidence in words.
            - **evidence** (`str` or `None`) -- What its map shows. "sensitivity": what its probability depends on (see
              [`read_with_sensitivity`]), known for active AUs. "attention": its DDCA map, in detectors without
              gradients. `None` without a map.
            - **region** (`str` or `None`) -- The part of the face that this map lies on ("brows", "eyes", "nose",
              "cheeks", "mouth" or "chin"); `None` if it is not specific. With **region_share** (`float`), how much of
              the map lies there, **side** ("left" or "right" of the image, if nearly all of that does) and
              **region_agrees** (`bool`), whether the AU shows there.
            - **words** (`list[dict]` or `None`) -- The words of its description with the most attention, the highest
              first, each with `word` and `attention`, as a multiple of uniform attention; `None` if the model reads no
              words or does not know them.
            - **related** (`list[str]`) -- The AUs whose features are the most similar on this face.

            With `on_error="return"`, an image that can't be used gives a dict `{"error": message}` in place of a list.

        Raises:
            ImageLoadError: An image cannot be used. The message says which and why.
            RuntimeError: The face detector failed. The message says on which image.
            ValueError: A parameter is wrong.
            ImportError: The face detector's packages are missing.
        """
        if _is_single(inputs):
            return super().__call__(inputs, **kwargs)
        results = super().__call__(_numbered(inputs), **kwargs)
        return list(results) if isinstance(inputs, Sequence) else results

    def get_iterator(
        self,
        inputs: Iterable[Any],
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[list[dict[str, Any]] | dict[str, str]]:
        """Run the three steps over `inputs`, lazily and in order.

        This replaces the base class's loader, which prepares photos in one process at most and counts photos without
        faces towards a batch. Here threads prepare photos (decoding, face detection and alignment release the GIL),
        and batches are full of faces.
        """
        chunks = self._chunks(inputs, num_workers, preprocess_params)
        return self.read_chunks(chunks, batch_size, forward_params, postprocess_params)

    def read_chunks(
        self,
        chunks: Iterable[dict[str, Any]],
        batch_size: int = 1,
        forward_params: Mapping[str, Any] = MappingProxyType({}),
        postprocess_params: Mapping[str, Any] = MappingProxyType({}),
    ) -> Iterator[list[dict[str, Any]] | dict[str, str]]:
        """Read faces that were found and aligned: the part of the pipeline after `preprocess`.

        Args:
            chunks: What `preprocess` yields, image after image.
            batch_size: How many faces the model reads at a time, across images.
            forward_params: Parameters of `_forward`, as from `_sanitize_parameters`.
            postprocess_params: Parameters of `postprocess`.

        Yields:
            The result of each image, in order, as soon as the batch with its last face has run.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        outputs = []
        for batch in _batches(chunks, batch_size):
            for output in _rows(self.forward(_collate(batch), **forward_params), len(batch)):
                outputs.append(output)
                if output["is_last"]:
                    yield self.postprocess(outputs, **postprocess_params)
                    outputs = []

    def _chunks(self, inputs: Iterable[Any], num_workers: int, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Chain the chunks of all inputs. At most `num_workers` photos are prepared ahead of the model."""
        if num_workers < 1:
            for image in inputs:
                yield from self.preprocess(image, **params)
            return
        with ThreadPoolExecutor(num_workers, thread_name_prefix="au-detection") as executor:
            pending = deque()
            try:
                for image in inputs:
                    pending.append(executor.submit(lambda image: list(self.preprocess(image, **params)), image))
                    if len(pending) > num_workers:
                        yield from pending.popleft().result()
                while pending:
                    yield from pending.popleft().result()
            finally:
                executor.shutdown(cancel_futures=True)

    def _sanitize_parameters(
        self,
        threshold=None,
        detect_faces=None,
        face_detector=None,
        max_faces=None,
        max_pixels=None,
        on_error=None,
        return_attention=None,
        return_features=None,
        explain=None,
        timeout=None,
    ):
        if face_detector is not None and not callable(face_detector):
            raise ValueError(f"`face_detector` must be callable, got {face_detector!r}.")
        if on_error not in (None, "raise", "return"):
            raise ValueError(f'`on_error` must be "raise" or "return", got {on_error!r}.')
        for name, value in {"max_faces": max_faces, "max_pixels": max_pixels}.items():
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        preprocess_params = {
            "detect_faces": detect_faces,
            "face_detector": face_detector,
            "max_faces": max_faces,
            "max_pixels": max_pixels,
            "on_error": on_error,
            "timeout": timeout,
        }
        # Only checked here: the model, and its order of AUs, may be another one when they are used.
        self.au_thresholds(threshold)
        forward_params = {
            "return_attention": return_attention,
            "return_features": return_features,
            "explain": explain,
            "threshold": threshold,
        }
        postprocess_params = {"threshold": threshold, "explain": explain}
        steps = (preprocess_params, forward_params, postprocess_params)
        # Parameters that are not given here must not override those given to `pipeline(...)`.
        return tuple({name: value for name, value in params.items() if value is not None} for params in steps)

    def merged_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The pipeline's parameters of `preprocess`, `forward` and `postprocess`, overridden by those of a call."""
        own = (self._preprocess_params, self._forward_params, self._postprocess_params)
        given = self._sanitize_parameters(**parameters)
        return tuple(mine | others for mine, others in zip(own, given, strict=True))

    def preprocess(
        self,
        inputs: Any,
        detect_faces: bool = True,
        face_detector: FaceDetector | None = None,
        max_faces: int = MAX_FACES,
        max_pixels: int = MAX_PIXELS,
        timeout: float = 30.0,
        on_error: Literal["raise", "return"] = "raise",
    ) -> Iterator[dict[str, Any]]:
        """Yield one chunk per face. Several threads may call it at once.

        A photo without a face gives one chunk whose `face` is `None`. An image that can't be used gives, with
        `on_error="return"`, a last chunk whose `face` is `None` and whose `error` is the message.
        """
        try:
            photo = _load(inputs, max_pixels, timeout)
            faces = self._find(photo, face_detector, max_faces, inputs) if detect_faces else [_whole(photo)]
            for index, (face, matrix) in enumerate(faces):
                crop = photo if matrix is None else warp_face(photo, matrix, ALIGNED_SIZE)
                face["view_matrix"] = self._view_matrix(np.eye(2, 3) if matrix is None else matrix, *crop.shape[:2])
                pixels = self.image_processor(images=Image.fromarray(crop), return_tensors="pt").to(self.dtype)
                yield _chunk(face, pixels["pixel_values"], is_last=index == len(faces) - 1)
            if not faces:
                yield _chunk(None, self._no_pixels())
        except ImportError:
            # Not the image's fault: every other image would fail as well.
            raise
        except Exception as error:
            message = _error_message(inputs, error)
            if on_error == "raise":
                kind = ImageLoadError if isinstance(error, ImageLoadError) else RuntimeError
                raise kind(message) from (error.__cause__ if isinstance(error, ImageLoadError) else error)
            yield self.error_chunk(message)

    def forward(self, model_inputs: dict[str, Any], **forward_params: Any) -> dict[str, Any]:
        # The model may have been trained further since the pipeline was made, and would learn from what it reads.
        with evaluation_mode([self.model] if self.model.training else []):
            return super().forward(model_inputs, **forward_params)

    def _forward(
        self,
        model_inputs: dict[str, Any],
        return_attention: bool = False,
        return_features: bool = False,
        explain: bool = False,
        threshold: Threshold | None = None,
    ) -> dict[str, Any]:
        """Run the model on those rows of the batch that hold a face; the others stay zero."""
        pixel_values = model_inputs.pop("pixel_values")
        # A list if the chunks were batched.
        faces = model_inputs["face"] if isinstance(model_inputs["face"], list) else [model_inputs["face"]]
        rows = [row for row, face in enumerate(faces) if face is not None]
        if rows:
            outputs, sensitivity = self._run(pixel_values[rows], return_attention, explain, threshold)
            names = {"logits": "logits"}
            if return_attention:
                names |= {name: name for name in ATTENTIONS}
            if return_features:
                names |= {name: name for name in FEATURES.values()}
            if explain:
                names |= {f"evidence_{name}": name for name in EVIDENCE}
            for key, name in names.items():
                if (values := sensitivity if name == "sensitivity" else outputs.get(name)) is not None:
                    model_inputs[key] = values.new_zeros((len(faces), *values.shape[1:]), dtype=torch.float32)
                    model_inputs[key][rows] = values.float()
            # CODEPATH: VL-FAU writes its own sentences, HiVA does not.
            if explain and self.model.can_generate():
                for level, texts in self._write_sentences(outputs).items():
                    written = dict(zip(rows, texts, strict=True))
                    model_inputs[f"evidence_{level}_sentences"] = [written.get(row) for row in range(len(faces))]
        return model_inputs

    def _run(
        self,
        pixel_values: torch.Tensor,
        return_attention: bool,
        explain: bool,
        threshold: Threshold | None,
    ) -> tuple[Any, torch.Tensor | None]:
        """Run the model; with `explain`, also return maps of what active AUs depend on, if it has gradients."""
        if not explain:
            return self.model(pixel_values=pixel_values, output_attentions=return_attention), None
        thresholds = torch.tensor(self.au_thresholds(threshold))
        return read_with_sensitivity(self.model, pixel_values, thresholds, output_attentions=True)

    def postprocess(
        self,
        model_outputs: list[dict[str, Any]],
        threshold: Threshold | None = None,
        explain: bool = False,
    ) -> list[dict[str, Any]] | dict[str, str]:
        """Turn the chunks of one photo into its list of faces, or into its error."""
        for output in model_outputs:
            if output.get("error") is not None:
                return {"error": output["error"]}
        thresholds = self.au_thresholds(threshold)
        outputs = [output for output in model_outputs if output["face"] is not None]
        faces = [self._result(output, thresholds) for output in outputs]
        if explain:
            for face, output in zip(faces, outputs, strict=True):
                self._explain(face, output, thresholds)
        return faces

    def _write_sentences(self, outputs: Any) -> dict[str, list[Any]]:
        """Generate sentences about each face from the model's `outputs` for it.

        Returns:
            `"local"`: for each face one sentence about each AU, and `"global"`: one about the face. A level that the
            model has no decoder for is left out.
        """
        config, tokenizer = self.model.config, self._writing_tokenizer()
        written = {}
        for level in config.sentence_levels:
            ids = self.model.generate(encoder_outputs=outputs, level=level)
            texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
            if level == "local":
                num_aus = config.num_labels
                texts = [texts[start : start + num_aus] for start in range(0, len(texts), num_aus)]
            written[level] = texts
        return written

    def _writing_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the model's sentences, which is saved with it; loaded when it is first needed."""
        if self.tokenizer is None:
            config = self.model.config
            if not self.model.name_or_path:
                raise ValueError(
                    "The model writes sentences, but was not loaded from a folder that holds their tokenizer: pass "
                    "`tokenizer=` to the pipeline."
                )
            # Passing the configuration avoids loading it again, which would ask again to trust published code.
            self.tokenizer = AutoTokenizer.from_pretrained(
                self.model.name_or_path, config=config, revision=getattr(config, "_commit_hash", None)
            )
        return self.tokenizer

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model, its image processor, and the tokenizer of a model that writes.

        The base class would also add the pipeline's code. Here `push_to_hub` adds all of the code at once; only the
        code of a pipeline that was loaded with `trust_remote_code=True` is saved with it.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.image_processor.save_pretrained(save_directory, **kwargs)
        if self.model.can_generate():
            self._writing_tokenizer().save_pretrained(save_directory, **kwargs)
        # CODEPATH: transformers copies such code for models and image processors.
        if __name__.startswith("transformers_modules."):
            keep_pipeline_code(self, save_directory)

    def au_thresholds(self, threshold: Threshold | None = None) -> list[float]:
        """One threshold for each AU of the model, from the parameter `threshold` of the class.

        Raises:
            ValueError: if thresholds are missing, name other AUs, or don't lie between 0 and 1.
        """
        labels, defaults = self.model.config.au_labels, self.model.config.au_thresholds
        if threshold is None:
            return defaults
        if isinstance(threshold, (np.ndarray, torch.Tensor)):
            threshold = threshold.tolist()
        if isinstance(threshold, (list, tuple)):
            if len(threshold) != len(labels):
                raise ValueError(f"`threshold` has {len(threshold)} entries, but the model detects {labels}.")
            threshold = dict(zip(labels, threshold, strict=True))
        elif not isinstance(threshold, Mapping):
            threshold = dict.fromkeys(labels, threshold)
        if unknown := sorted(threshold.keys() - set(labels)):
            raise ValueError(f"`threshold` names AUs that the model does not detect: {unknown}. It detects {labels}.")
        for label, value in threshold.items():
            if not (isinstance(value, Real) and 0 <= value <= 1):
                raise ValueError(f"`threshold` must lie between 0 and 1, got {value!r} for {label}.")
        return [float(threshold.get(label, default)) for label, default in zip(labels, defaults, strict=True)]

    def _find(
        self, photo: np.ndarray, face_detector: FaceDetector | None, max_faces: int, inputs: Any
    ) -> list[tuple[dict[str, Any], np.ndarray]]:
        """Find the faces of a photo `[height, width, 3]`; returns each face with the matrix that aligns it."""
        detections = sorted((face_detector or self.default_face_detector)(photo), key=lambda face: -face.area)
        if len(detections) > max_faces:
            logger.warning(
                f"{_input_name(inputs)}: it shows {len(detections)} faces, of which the {max_faces} largest are read. "
                "Raise `max_faces` to read more."
            )
        faces = []
        for detected in detections[:max_faces]:
            try:
                matrix = alignment_matrix(detected.landmarks, ALIGNED_SIZE)
            except ValueError as error:
                logger.warning(f"Leaving out a face that cannot be aligned, at {detected.box}: {error}")
                continue
            faces.append((_face(photo, detected.box, detected.score, detected.landmarks), matrix))
        return faces

    def error_chunk(self, message: str) -> dict[str, Any]:
        """The chunk for an image that can't be used."""
        return _chunk(None, self._no_pixels(), error=message)

    def _no_pixels(self) -> torch.Tensor:
        """Placeholder pixels, which the model does not read, for a chunk without a face: zeros of its input shape."""
        size = self.image_processor.crop_size if self.image_processor.do_center_crop else self.image_processor.size
        # On the CPU like the image processor's faces, with which it is batched, not on the user's default device.
        return torch.zeros(1, dtype=self.dtype, device="cpu").expand(1, 3, size["height"], size["width"])

    def _view_matrix(self, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
        """Extend a `[2, 3]` transform from photo to crop to the part of the crop that the model sees."""
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
        config = self.model.config
        probabilities = output["logits"][0].sigmoid().tolist()
        face["aus"] = [
            {
                "label": label,
                "name": au_name(label),
                "score": score,
                "active": score >= threshold,
                "experimental": label in (config.experimental_labels or ()),
            }
            for label, score, threshold in zip(config.au_labels, probabilities, thresholds, strict=True)
        ]
        for name, key in ATTENTIONS.items():
            if name in output:
                face[key] = square_maps(output[name][0])
                face["view_matrix"] = view_matrix
        if "evidence_sensitivity" in output and "view_matrix" in face:
            face["sensitivity"] = output["evidence_sensitivity"][0].numpy()
        for key, name in FEATURES.items():
            if name in output:
                face[key] = output[name][0].numpy()
        # CODEPATH: VL-FAU reads no descriptions, so its AU features are visual features.
        if "features" in face and self.model.config.model_type == "vl_fau":
            face["visual_features"] = face["features"]
        return face

    def _explain(self, face: dict[str, Any], output: dict[str, Any], thresholds: list[float]):
        """Add the explanations to a result."""
        config = self.model.config
        evidence = {name: output[f"evidence_{name}"][0] for name in EVIDENCE if f"evidence_{name}" in output}
        sensitivity, maps, gates, words, features = (evidence.get(name) for name in EVIDENCE)
        if gates is not None:
            # Normalize gates between 0 and 1 into shares that sum to 1.
            maps = gates / gates.sum(dim=-1, keepdim=True)
        if sensitivity is not None:
            maps = sensitivity.flatten(1)
        explained = explain_face(
            FaceEvidence(
                labels=config.au_labels,
                probabilities=[au["score"] for au in face["aus"]],
                thresholds=thresholds,
                experimental=config.experimental_labels or (),
                maps=None if maps is None else square_maps(maps),
                kind="attention" if sensitivity is None else "sensitivity",
                landmarks=_landmarks_in_view(output["face"]),
                word_weights=None if words is None else words.numpy(),
                description_pieces=getattr(config, "description_pieces", None),
                graph=self._graph(features),
                sentences=output.get("evidence_local_sentences"),
                face_text=output.get("evidence_global_sentences"),
            )
        )
        face["summary"], face["warnings"] = explained["summary"], explained["warnings"]
        for au, explanation in zip(face["aus"], explained["explanations"], strict=True):
            au["explanation"] = explanation

    def _graph(self, features: torch.Tensor | None) -> np.ndarray | None:
        """The graph over the AUs from their features `[num_aus, hidden_size]`; `None` in models without one."""
        num_neighbors = getattr(self.model.config, "num_neighbors", None)
        if features is None or num_neighbors is None:
            return None
        # Under autocast the dtype may be bfloat16, which NumPy lacks.
        return adjacency(features[None], num_neighbors)[0].float().numpy()


def _check_sides(image_processor: Any):
    """Raises a `ValueError` if the sizes of an image processor don't tell which part of a crop the model sees."""
    for name, is_used in {"size": "do_resize", "crop_size": "do_center_crop"}.items():
        if not getattr(image_processor, is_used, False):
            continue
        sides = dict(getattr(image_processor, name) or {})
        given = {side: pixels for side, pixels in sides.items() if pixels is not None}
        if not given.keys() >= {"height", "width"}:
            raise ValueError(
                f"The image processor's `{name}` is {given}, but the au-detection pipeline needs a height and a "
                f"width: set `{name}={{'height': ..., 'width': ...}}`."
            )


def square_maps(tokens: torch.Tensor) -> np.ndarray:
    """Maps of tokens in rows, `[..., num_tokens]` -> `[..., height, width]`."""
    side = math.isqrt(tokens.shape[-1])
    return tokens.unflatten(-1, (side, side)).numpy()


def _landmarks_in_view(face: dict[str, Any]) -> np.ndarray:
    """The landmarks `[5, 2]` of a face in the coordinates of its maps; without any, those that alignment aims at."""
    if face["landmarks"] is None:
        box = face["box"]
        points = TEMPLATE * (box["xmax"] - box["xmin"], box["ymax"] - box["ymin"])
    else:
        points = np.asarray(face["landmarks"])
    matrix = face["view_matrix"]
    return points @ matrix[:, :2].T + matrix[:, 2]


def _is_single(inputs: Any) -> bool:
    """Whether `inputs` is one image (or no collection either, and will be rejected as an image)."""
    # Open files are iterable, but over their lines.
    if isinstance(inputs, SINGLE_INPUTS) or hasattr(inputs, "read"):
        return True
    return not (hasattr(inputs, "__iter__") or hasattr(inputs, "__getitem__"))


def _numbered(inputs: Any) -> Iterator[_NumberedInput]:
    """Number several inputs; those that can be indexed are fetched later, when they are preprocessed."""
    # Sequences and the datasets of torch and `datasets`; the indices of other types may not be numbers.
    is_indexed = isinstance(inputs, (Sequence, Dataset)) or hasattr(inputs, "column_names")
    if is_indexed and hasattr(inputs, "__len__") and not isinstance(inputs, IterableDataset):
        for number in range(len(inputs)):
            yield _NumberedInput(number, partial(inputs.__getitem__, number))
    else:
        for number, image in enumerate(inputs):
            yield _NumberedInput(number, partial(_identity, image))


def _identity(value: Any) -> Any:
    return value


def _source(inputs: Any) -> Any:
    """Fetch an input; if it is a row of a data set, its image."""
    source = inputs
    if isinstance(inputs, _NumberedInput):
        try:
            source = inputs.fetch()
        # Datasets decode images while they fetch them.
        except Exception as error:
            raise ImageLoadError(f"Fetching it failed ({type(error).__name__}: {error}).") from error
    if isinstance(source, Mapping) and not source.keys() <= {"bytes", "path"}:
        if "image" not in source:
            raise ImageLoadError(
                f"It is a dict or a row with {sorted(map(str, source))} and without `image`. Pass one column, as in "
                '`dataset["photo"]`.'
            )
        return source["image"]
    return source


def _load(inputs: Any, max_pixels: int, timeout: float | None) -> np.ndarray:
    """Load an input as an RGB array `[height, width, 3]`."""
    return np.asarray(load_image(_source(inputs), max_pixels=max_pixels, timeout=timeout))


def _input_name(inputs: Any) -> str:
    """Name an input in a message."""
    try:
        name = image_name(_source(inputs))
    except ImageLoadError:
        name = ""
    if isinstance(inputs, _NumberedInput):
        return f"Input {inputs.number} (counted from 0){name and ', ' + name}"
    return name or "The input"


def _error_message(inputs: Any, error: Exception) -> str:
    """Say which input failed and why."""
    if not isinstance(error, ImageLoadError):
        return f"{_input_name(inputs)}: reading its AUs failed ({type(error).__name__}: {error})."
    # The error names the image, but an image without a name can only be identified by its number.
    return f"Input {inputs.number} (counted from 0): {error}" if isinstance(inputs, _NumberedInput) else str(error)


def _chunk(
    face: dict[str, Any] | None, pixel_values: torch.Tensor, is_last: bool = True, error: str | None = None
) -> dict[str, Any]:
    """What goes through the steps: a face, or a placeholder for a photo without a face or for an error."""
    return {"face": face, "error": error, "is_last": is_last, "pixel_values": pixel_values}


def _batches(chunks: Iterable[dict[str, Any]], batch_size: int) -> Iterator[list[dict[str, Any]]]:
    """Cut chunks into batches of `batch_size` faces, in order. Chunks without a face don't count."""
    batch, num_faces = [], 0
    for chunk in chunks:
        batch.append(chunk)
        num_faces += chunk["face"] is not None
        # Without a face so far there is nothing to wait for; after that, wait for a full batch, but not forever.
        if num_faces in (0, batch_size) or len(batch) == 4 * batch_size:
            yield batch
            batch, num_faces = [], 0
    if batch:
        yield batch


def _collate(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Turn chunks into a batch: pixels in one tensor, all else in lists."""
    batch = {key: [chunk[key] for chunk in chunks] for key in chunks[0]}
    return batch | {"pixel_values": torch.cat(batch["pixel_values"])}


def _rows(batch: dict[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """Take a batch apart; tensors keep their first dimension."""
    for row in range(size):
        yield {
            key: values[row : row + 1] if isinstance(values, torch.Tensor) else values[row]
            for key, values in batch.items()
        }


def _whole(image: np.ndarray) -> tuple[dict[str, Any], None]:
    """Treat an image `[height, width, 3]` as a face that needs no alignment."""
    height, width = image.shape[:2]
    return _face(image, (0, 0, width, height), None, None), None


def _face(
    photo: np.ndarray, box: tuple[float, float, float, float], score: float | None, landmarks: np.ndarray | None
) -> dict[str, Any]:
    """Describe a face by its box in whole pixels inside `photo`, its score and its landmarks."""
    height, width = photo.shape[:2]
    xmin, ymin, xmax, ymax = box
    corners = {
        "xmin": max(math.floor(xmin), 0),
        "ymin": max(math.floor(ymin), 0),
        "xmax": min(math.ceil(xmax), width),
        "ymax": min(math.ceil(ymax), height),
    }
    points = None if landmarks is None else np.asarray(landmarks, dtype=np.float64).tolist()
    return {"box": corners, "score": score, "landmarks": points}
