"""A small detector on timm's Swin, which is folded for exports, and its export; shared by all tests here."""

import importlib.util
from collections.abc import Callable
from functools import partial

import pytest
import torch
from transformers import TimmWrapperConfig

from hiva_hf import HiVAConfig, HiVAForAUDetection
from hiva_hf.export import export_detector


AU_LABELS = ("AU1", "AU4", "AU12", "AU25")


def make_detector(backbone: TimmWrapperConfig) -> HiVAForAUDetection:
    """A detector whose weights show every mistake: no bias, no statistic and no text vector is zero."""
    torch.manual_seed(0)
    config = HiVAConfig(
        backbone_config=backbone,
        image_size=56,
        hidden_size=24,
        num_neighbors=2,
        id2label=dict(enumerate(AU_LABELS)),
        use_text_encoder=False,
        text_memory_length=5,
    )
    model = HiVAForAUDetection(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name == "text_memory_mask":
                tensor.copy_(torch.tensor([True, True, True, True, False]))
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim > 1 and name.endswith("weight"):
                # Signals keep their size from layer to layer.
                tensor.normal_(0, tensor.shape[1] ** -0.5)
            elif tensor.is_floating_point() and not name.endswith("weight"):
                tensor.normal_(0, 0.3)
    return model


@pytest.fixture(scope="package")
def make_wide_swin_config(make_swin_config) -> Callable[..., TimmWrapperConfig]:
    """The second stage is as wide as layers have to be to be computed in 8 bits."""
    return partial(make_swin_config, embed_dim=96, depths=(2, 1), num_heads=(3, 6))


@pytest.fixture(scope="package")
def detector(make_wide_swin_config) -> HiVAForAUDetection:
    return make_detector(make_wide_swin_config())


@pytest.fixture(scope="package")
def detector_without_biases(make_wide_swin_config) -> HiVAForAUDetection:
    """Its queries, keys and values have none."""
    return make_detector(make_wide_swin_config(qkv_bias=False))


@pytest.fixture(scope="package")
def detector_dir(detector, image_processor, tmp_path_factory):
    """It as a checkpoint."""
    folder = tmp_path_factory.mktemp("detector")
    detector.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="package")
def exports(detector, image_processor, tmp_path_factory):
    """The export of a format and precision, made when it is first asked for: `(folder, report)`."""
    made, root = {}, tmp_path_factory.mktemp("exports")

    def export(format: str, dtype: str):
        if (format, dtype) not in made:
            for package in {"openvino": ("openvino", "nncf"), "onnx": ("onnxscript", "onnxruntime")}.get(format, ()):
                if importlib.util.find_spec(package) is None:
                    pytest.skip(f"needs {package}")
            folder = root / f"{format}-{dtype}"
            report = export_detector(
                detector,
                image_processor,
                folder,
                format,
                dtype,
                num_calibration_faces=8,
                num_comparison_faces=4,
                progress=False,
            )
            made[format, dtype] = folder, report
        return made[format, dtype]

    return export
