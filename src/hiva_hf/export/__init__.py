"""Export detectors to programs of OpenVINO, ONNX Runtime and torch.export, and run these."""

import importlib
import os
import sys


# No telemetry: these libraries send usage data to their vendors unless that is turned off before they are imported.
# OpenVINO and NNCF fall back to stubs if the package that sends it is missing.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)

# Imported on first use, so that a command that only parses its arguments does not import torch.
_LAZY_ATTRIBUTES = {
    "ExportReport": "exporting",
    "ExportedDetector": "runtime",
    "calibration_faces": "calibration",
    "export_detector": "exporting",
    "load_exported": "runtime",
}

__all__ = sorted(_LAZY_ATTRIBUTES)


def __getattr__(name: str):
    if name not in _LAZY_ATTRIBUTES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY_ATTRIBUTES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
