"""Detectors as programs of OpenVINO, ONNX Runtime and torch.export, and how they run."""

import importlib


# Loaded on first use: a command that only parses its arguments needs no torch.
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
