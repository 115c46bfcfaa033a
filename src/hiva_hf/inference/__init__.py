"""Detect Action Units in photos and videos, write tables of them, smooth these and find events."""

import importlib


# Imported on first use, so that a command that only parses its arguments does not import pandas.
_LAZY_ATTRIBUTES = {
    "DetectionEngine": "engine",
    "FaceRecord": "records",
    "FaceTracker": "face_tracking",
    "detect": "detection",
    "find_events": "events",
    "open_table": "writers",
    "read_table": "tables",
    "records_of_frame": "records",
    "records_to_table": "tables",
    "smooth": "smoothing",
    "write_table": "tables",
}

__all__ = sorted(_LAZY_ATTRIBUTES)


def __getattr__(name: str):
    if name not in _LAZY_ATTRIBUTES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY_ATTRIBUTES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
