"""Export a detector to a folder with its program, with transformers' exporters."""

import copy
import importlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from packaging.version import Version
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import logging as transformers_logging

from ..atomic_files import fill_folder
from ..extras import import_from_extra
from ..modeling_hiva import HiVAForAUDetection
from ..pipeline_au_detection import AUDetectionPipeline
from ..remote_code import drop_local_towers
from .calibration import calibration_faces
from .formats import (
    MANIFEST_FILE,
    NUM_CALIBRATION_FACES,
    NUM_COMPARISON_FACES,
    SYNTHFACS,
    Format,
    add_to_manifest,
    check_target,
    default_dtype,
)
from .onnx_swin import arrange_for_onnx
from .openvino_swin import arrange_for_openvino
from .programs import check_compiler
from .runtime import load_exported


if TYPE_CHECKING:
    from transformers.exporters import ExportedModel

logger = logging.getLogger(__name__)

_COMPARISON_BATCH = 8
# Loggers with a message for every node of the graph.
_CHATTY_LOGGERS = ("onnxscript", "onnx_ir", "torch.onnx", "nncf")
# Packages whose versions are written into the manifest, by format.
_PACKAGES = {
    "openvino": ("openvino", "nncf"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch": ("torchao",),
}
# The first version of transformers whose exports can be saved.
_TRANSFORMERS = Version("5.23")
# Modules that an export needs, by format; missing ones are reported before any work.
_MODULES = {"openvino": ("openvino",), "onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": ()}
_INT8_MODULES = {"openvino": ("nncf",), "torch": ("torchao",)}


@dataclass(frozen=True)
class ExportReport:
    """Report on an export, which is also in the manifest.

    Attributes:
        format: "openvino", "onnx" or "torch".
        dtype: "fp32", "bf16" or "int8".
        source: Hub id of the detector, or the name of its folder without the path.
        calibration: "synthfacs" or "photos".
        num_calibration_faces: Number of faces on which the int8 ranges were calibrated.
        num_comparison_faces: Number of other faces on which the next two figures were measured.
        largest_probability_change: Largest difference to the detector in float32, over all AUs and faces.
        mean_probability_change: Mean of this difference.
        packages: Versions of the packages that made the export.
    """

    format: str
    dtype: str
    source: str
    calibration: str
    num_calibration_faces: int
    num_comparison_faces: int
    largest_probability_change: float
    mean_probability_change: float
    packages: dict[str, str]


def export_detector(
    model: HiVAForAUDetection,
    image_processor: BaseImageProcessor,
    output_dir: str | os.PathLike,
    format: str = "openvino",
    dtype: str | None = None,
    calibration: str | os.PathLike = SYNTHFACS,
    aligned: bool = False,
    num_calibration_faces: int = NUM_CALIBRATION_FACES,
    num_comparison_faces: int = NUM_COMPARISON_FACES,
    progress: bool = True,
) -> ExportReport:
    """Exports a detector.

    The folder gets the program, the configuration, the image processor and a manifest; `from_pretrained`,
    `pipeline("au-detection", model=folder)` and `hiva-hf detect --model folder` load it like a checkpoint. The program
    takes batches of any size and returns all outputs of the detector, including attention maps.

    Args:
        model: The detector, in evaluation mode, in float32 and on the CPU. It is folded for the export (see
            [`HiVAForAUDetection.fuse`]) and left as it was.
        image_processor: Its image processor.
        output_dir: A new folder.
        format: `"openvino"` (the fastest on CPUs), `"onnx"` (runs anywhere) or `"torch"`.
        dtype: `"fp32"`; `"bf16"`, which CPUs without it compute in float32; or `"int8"`, calibrated. By default
            `"bf16"`, or `"fp32"` for `"onnx"`, which has no bfloat16.
        calibration: `"synthfacs"`, the rendered faces of the package, or a folder of photos like those that the
            export will process.
        aligned: Whether the photos are cropped and aligned faces.
        num_calibration_faces: Number of faces to calibrate int8 on.
        num_comparison_faces: Number of other faces to compare the export with the detector on.
        progress: Whether to show progress bars.

    Returns:
        A report on what was made, and how much it differs from the detector.

    Raises:
        ValueError: The format doesn't support the precision, or there are too few faces.
        FileExistsError: The folder exists and is not empty.
        ImportError: Packages of the format are missing.
        OSError: There is no C++ compiler, which int8 programs of PyTorch need.
    """
    dtype = dtype or default_dtype(format)
    target = check_target(format, dtype)
    _check_packages(format, dtype, target)
    _check_model(model)
    output_dir = Path(os.path.abspath(output_dir))
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise FileExistsError(f"{output_dir} exists. Pass a new folder, or remove this one.")
    if num_comparison_faces < 1:
        raise ValueError(f"`num_comparison_faces` must be at least 1, got {num_comparison_faces}.")
    if dtype == "int8" and num_calibration_faces < 1:
        raise ValueError(f"`num_calibration_faces` must be at least 1 for int8, got {num_calibration_faces}.")
    packages = _versions(format, dtype)
    num_calibration_faces = num_calibration_faces if dtype == "int8" else 0
    detector = AUDetectionPipeline(model, image_processor=image_processor, device=torch.device("cpu"))
    faces, compared = calibration_faces(
        detector, calibration, num_calibration_faces, num_comparison_faces, aligned, progress
    )
    expected = _probabilities(model, compared, "Detector", progress)

    reports = []

    def write(folder: Path) -> None:
        with _quiet_exporters(), _prepared(model):
            _export_program(model, format, dtype, faces, progress).save_pretrained(folder)
        image_processor.save_pretrained(folder)
        drop_local_towers(folder)
        report = {
            "format": format,
            "dtype": dtype,
            "source": _source(model),
            "calibration": SYNTHFACS if os.fspath(calibration) == SYNTHFACS else "photos",
            "num_calibration_faces": len(faces),
            "num_comparison_faces": len(compared),
            "packages": packages,
        }
        add_to_manifest(folder / MANIFEST_FILE, report)
        # Loaded as users will load it; trusted, because this process made the program.
        exported = load_exported(folder, trust_remote_code=target.is_pickle)
        change = (_probabilities(exported, compared, target.title, progress) - expected).abs()
        report |= {
            "largest_probability_change": change.max().item(),
            "mean_probability_change": change.mean().item(),
        }
        reports.append(ExportReport(**report))
        add_to_manifest(folder / MANIFEST_FILE, asdict(reports[0]))

    # A folder with a manifest is complete.
    fill_folder(output_dir, write, MANIFEST_FILE)
    return reports[0]


def _check_packages(format: str, dtype: str, target: Format) -> None:
    if Version(version("transformers")) < _TRANSFORMERS:
        raise ImportError(
            f"Exporting needs transformers {_TRANSFORMERS} or newer, found {version('transformers')}: "
            "`pip install --upgrade transformers`."
        )
    for module in _MODULES[format] + (_INT8_MODULES.get(format, ()) if dtype == "int8" else ()):
        import_from_extra(module, target.extra, f"Exporting to {target.title}")
    if (format, dtype) == ("torch", "int8"):
        # The comparison below has to run the program.
        check_compiler()


def _check_model(model: PreTrainedModel) -> None:
    if not isinstance(model, HiVAForAUDetection):
        raise ValueError(f"Only a HiVAForAUDetection can be exported, not a {type(model).__name__}.")
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(
            f"The detector is in {model.dtype} on {model.device}, but must be in float32 on the CPU: load it with "
            "`HiVAForAUDetection.from_pretrained(path, dtype=torch.float32)`."
        )


@contextmanager
def _prepared(model: HiVAForAUDetection) -> Iterator[None]:
    """Folds the detector, and sets its attention to "eager", which configurations require for attention maps."""
    was_fused, attention = model.is_fused, model.config._attn_implementation
    model.fuse()
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        # Exporters may have rearranged the folded modules.
        model.unfuse()
        if was_fused:
            model.fuse()


@contextmanager
def _quiet_exporters() -> Iterator[None]:
    """Silences exporters, which warn of every version they were not written for; the tests here check those."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    chatty = {name: logging.getLogger(name).level for name in _CHATTY_LOGGERS}
    for name in chatty:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        for name, own_level in chatty.items():
            logging.getLogger(name).setLevel(own_level)


def _export_program(
    model: HiVAForAUDetection, format: str, dtype: str, faces: torch.Tensor, progress: bool
) -> "ExportedModel":
    size = model.config.image_size
    # A batch size of 1 would become a constant.
    sample = {"pixel_values": torch.zeros(2, 3, size, size), "output_attentions": True}
    settings = {"dynamic_shapes": {"pixel_values": {0: torch.export.Dim("batch")}}}
    logger.info("Tracing the network: a minute or two for a large one ...")
    start = time.monotonic()
    exported = _EXPORTS[format](model, sample, settings, dtype, faces)
    logger.info("Traced and converted in %.0f s.", time.monotonic() - start)
    return exported


def _to_openvino(
    model: HiVAForAUDetection, sample: dict[str, Any], settings: dict[str, Any], dtype: str, faces: torch.Tensor
) -> "ExportedModel":
    from transformers.exporters import OpenVINOConfig, OpenVINOExporter

    quantizer = None
    if dtype == "int8":
        from .openvino_quantizer import LinearLayersQuantizer

        quantizer = LinearLayersQuantizer(faces)
    arrange_for_openvino(model.fused_detector, model.vision_model)
    return OpenVINOExporter().export(model, sample, OpenVINOConfig(quantizer=quantizer, **settings))


def _to_onnx(
    model: HiVAForAUDetection, sample: dict[str, Any], settings: dict[str, Any], dtype: str, faces: torch.Tensor
) -> "ExportedModel":
    from transformers.exporters import OnnxConfig, OnnxExporter

    quantizer = None
    if dtype == "int8":
        from .onnx_quantizer import LinearLayersQuantizer

        quantizer = LinearLayersQuantizer(faces)
    arrange_for_onnx(model.fused_detector, model.vision_model)
    return OnnxExporter().export(model, sample, OnnxConfig(quantizer=quantizer, **settings))


def _to_torch(
    model: HiVAForAUDetection, sample: dict[str, Any], settings: dict[str, Any], dtype: str, faces: torch.Tensor
) -> "ExportedModel":
    from transformers.exporters import DynamoConfig, DynamoExporter

    quantizer = None
    if dtype == "int8":
        from .torch_quantizer import InductorQuantizer

        quantizer = InductorQuantizer(faces)
    if dtype == "bf16":
        # Folded in float32 first, then converted.
        model = copy.deepcopy(model).to(torch.bfloat16)
        sample = sample | {"pixel_values": sample["pixel_values"].to(torch.bfloat16)}
    return DynamoExporter().export(model, sample, DynamoConfig(quantizer=quantizer, **settings))


_EXPORTS: dict[str, Callable[..., "ExportedModel"]] = {"openvino": _to_openvino, "onnx": _to_onnx, "torch": _to_torch}


@torch.no_grad()
def _probabilities(model: PreTrainedModel, faces: torch.Tensor, name: str, progress: bool) -> torch.Tensor:
    batches = faces.split(_COMPARISON_BATCH)
    bar = tqdm(batches, desc=f"Comparing: {name}", disable=None if progress else True)
    return torch.cat([model(pixel_values=batch).logits.sigmoid() for batch in bar])


def _source(model: PreTrainedModel) -> str:
    name = model.name_or_path
    return Path(os.path.abspath(name)).name if os.path.isdir(name) else name


def _versions(format: str, dtype: str) -> dict[str, str]:
    names = ("hiva-hf", "torch", "timm", "transformers", *_PACKAGES[format])
    wanted = [name for name in names if name not in ("nncf", "torchao") or dtype == "int8"]
    # ONNX Runtime is also distributed under other names, such as onnxruntime-gpu.
    return {name: _version(name) for name in wanted}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return getattr(importlib.import_module(name.replace("-", "_")), "__version__", "unknown")
