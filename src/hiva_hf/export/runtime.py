"""An exported detector, which is called like the detector that it was made from."""

import copy
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.utils import CONFIG_NAME, cached_file, logging
from transformers.utils.generic import can_return_tuple

from ..atomic_files import write_file
from ..configuration_hiva import HiVAConfig
from ..modeling_hiva import (
    HUB_ARGUMENTS,
    HiVAAUDetectionOutput,
    HiVAPreTrainedModel,
    au_detection_loss,
    check_pixel_values,
)
from .formats import MANIFEST_FILE, Manifest, pickle_refusal, read_manifest
from .programs import CompiledTorchProgram, OnnxProgram, OpenVINOProgram, Program, TorchProgram


logger = logging.get_logger(__name__)

# Fields of the configuration that are not baked into a program.
CHANGEABLE_FIELDS = ("label_weights", "label_thresholds", "experimental_labels", "loss_reduction", "output_attentions")
ATTENTIONS = ("ddca_attentions", "cdca_attentions", "word_attentions")


class ExportedDetector(HiVAPreTrainedModel):
    """A detector whose network is an exported program, see [`load_exported`].

    It is called like [`HiVAForAUDetection`] without text inputs, and returns the same outputs. It has no parameters
    and can't be trained.

    Args:
        config: The detector's configuration.
        folder: Folder of the export.
        manifest: The manifest in this folder.
        program: The program.

    Attributes:
        manifest: Format and precision of the program.
    """

    def __init__(self, config: HiVAConfig, folder: Path, manifest: Manifest, program: Program):
        super().__init__(config)
        self.manifest = manifest
        self.loss_function = au_detection_loss
        self._folder, self._program = folder, program
        self.post_init()
        self.eval()

    @property
    def device(self) -> torch.device:
        return self._program.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of inputs and outputs; for that of the computation see `manifest.dtype`."""
        return torch.float32

    def to(self, *args: Any, **kwargs: Any) -> "ExportedDetector":
        """Moves a torch program; other programs stay on the CPU, with a warning. The dtype doesn't change."""
        device, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and not self._program.to(device):
            logger.warning_once(
                f"{self.manifest.target.title} programs of a detector run on the CPU, not on {device}."
            )
        return self

    def train(self, mode: bool = True) -> "ExportedDetector":
        if mode:
            raise ValueError("An exported detector can't be trained: load the checkpoint that it was exported from.")
        return super().train(False)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> HiVAAUDetectionOutput:
        """See [`HiVAForAUDetection.forward`].

        Raises:
            ValueError: The images don't have the detector's size, or text inputs are passed.
        """
        for name in ("input_ids", "attention_mask", "text_hidden_states"):
            if kwargs.get(name) is not None:
                raise ValueError(f"`{name}` was passed to an exported detector, whose descriptions are fixed.")
        check_pixel_values(pixel_values, self.config.image_size)
        values = self._program(pixel_values.detach().to(self.device, torch.float32))
        if not (self.config.output_attentions if output_attentions is None else output_attentions):
            values = {name: value for name, value in values.items() if name not in ATTENTIONS}
        loss = None if labels is None else self._au_loss(values["logits"], labels)
        return HiVAAUDetectionOutput(loss=loss, **values)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Copies the program, and saves the configuration as it is now."""
        if kwargs.get("push_to_hub"):
            raise ValueError("An export can't be pushed: upload its folder with `hf upload REPOSITORY FOLDER`.")
        target = Path(save_directory)
        target.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(target)
        if target.resolve() != self._folder.resolve():
            for name in (*self.manifest.target.program_files, MANIFEST_FILE):
                # A file that is there may be mapped into memory by a detector, which keeps it.
                write_file(target / name, partial(shutil.copyfile, self._folder / name))


def load_exported(
    name_or_path: str | os.PathLike,
    *,
    trust_remote_code: bool = False,
    num_threads: int | None = None,
    config: HiVAConfig | None = None,
    **kwargs: Any,
) -> ExportedDetector:
    """Loads what `hiva-hf export` wrote.

    Args:
        name_or_path: The folder, or a Hub repository with its files.
        trust_remote_code: Whether to load programs that can run code when they are loaded, such as those of
            `torch.export`, which contain pickles. Set it only for programs that you made, or whose maker you trust.
        num_threads: Largest number of threads; by default one for each core. For torch programs, use
            `torch.set_num_threads` instead.
        config: Replaces the configuration of the export; it may differ in `CHANGEABLE_FIELDS`.
        **kwargs: As for `from_pretrained`: `revision`, `token`, `cache_dir`, `subfolder`, ..., and single fields of
            the configuration among `CHANGEABLE_FIELDS`.

    Raises:
        OSError: There is no export, a file is missing, or an int8 program of PyTorch lacks a C++ compiler.
        TypeError: An argument is unknown.
        ValueError: The manifest was not written by this package, the program is a pickle and not trusted, a field of
            the configuration is baked into the program, or `num_threads` is not PyTorch's for a torch program.
        ImportError: A package that is needed to run the program is missing.
    """
    name_or_path = os.fspath(name_or_path)
    hub_arguments = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs}
    fields = set() if config is not None else {*HiVAConfig.__dataclass_fields__, *CHANGEABLE_FIELDS}
    unknown = sorted(kwargs.keys() - fields)
    if unknown:
        raise TypeError(f"Unknown arguments for loading an export: {', '.join(unknown)}.")
    manifest_file = Path(cached_file(name_or_path, MANIFEST_FILE, **hub_arguments))
    manifest = read_manifest(manifest_file)
    if manifest.target.is_pickle and not trust_remote_code:
        raise ValueError(pickle_refusal(name_or_path, manifest.target))
    for file in (*manifest.target.program_files, CONFIG_NAME):
        cached_file(name_or_path, file, **hub_arguments)
    # The program may be opened again, for a copy, when the working directory is another one.
    folder = manifest_file.parent.absolute()
    # A copy: what is passed stays as it is, as in transformers.
    config = HiVAConfig.from_pretrained(folder, **kwargs) if config is None else copy.deepcopy(config)
    _check_config(config, HiVAConfig.from_pretrained(folder))
    config.name_or_path = name_or_path
    return ExportedDetector(config, folder, manifest, _open_program(folder, manifest, num_threads))


def _check_config(config: HiVAConfig, exported: HiVAConfig) -> None:
    """Raises a `ValueError` if a configuration doesn't match the exported network."""
    for name in HiVAConfig.__annotations__:
        # The towers are baked into the program, so their configurations don't matter.
        if name in HiVAConfig.sub_configs_defaults or name in CHANGEABLE_FIELDS:
            continue
        if getattr(config, name) != getattr(exported, name):
            raise ValueError(
                f"`{name}` is {getattr(config, name)!r}, but it is {getattr(exported, name)!r} in the export, whose "
                "program can't be changed: load the checkpoint that it was exported from."
            )


def _open_program(folder: Path, manifest: Manifest, num_threads: int | None) -> Program:
    path = folder / manifest.target.program_files[0]
    if manifest.format == "openvino":
        return OpenVINOProgram(path, "f32" if manifest.dtype == "fp32" else "bf16", num_threads)
    if manifest.format == "onnx":
        return OnnxProgram(path, num_threads)
    if num_threads is not None and num_threads != torch.get_num_threads():
        raise ValueError(
            f"`num_threads` is {num_threads}, but torch programs run on the {torch.get_num_threads()} threads of "
            "PyTorch: change these with `torch.set_num_threads`."
        )
    if manifest.dtype == "int8":
        return CompiledTorchProgram(path)
    return TorchProgram(path, torch.bfloat16 if manifest.dtype == "bf16" else torch.float32)
