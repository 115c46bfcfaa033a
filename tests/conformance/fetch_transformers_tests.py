"""Fetches transformers' own test mixins, in exactly the installed version, into a cache beside this file.

The wheel of transformers has no tests, its source distribution has. Only the three modules with the mixins are kept,
and what they import from the rest of the repository is replaced by stand-ins. Nothing of it is under version control.

    python tests/conformance/fetch_transformers_tests.py
"""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


CACHE = Path(__file__).parent / ".cache"
PACKAGE = "transformers_tests"
MODULES = ("test_modeling_common.py", "test_configuration_common.py", "test_image_processing_common.py")
# The parts of transformers' repository that the modules import but that a source distribution lacks. They serve models
# with `generate`, exporters and tests that load pictures from the Hub.
STAND_INS = {
    "__init__.py": "",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    # A real photo that scikit-image carries, whichever the Hub would send.
    "../fetch_hub_objects_for_ci.py": (
        "from importlib.resources import files\n\n\n"
        'def url_to_local_path(url):\n    return str(files("skimage.data") / "astronaut.png")\n'
    ),
}


class FetchError(RuntimeError):
    """The tests of transformers cannot be had. The message says why and what to do."""


def fetch_transformers_tests() -> Path:
    """Downloads and unpacks the tests unless that was done before.

    Returns:
        Folder to put on `sys.path`: it holds the package `transformers_tests`.

    Raises:
        FetchError: if pip is missing or reaches no package index.
    """
    version = importlib.metadata.version("transformers")
    folder = CACHE / f"transformers-{version}"
    if folder.exists():
        return folder
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    # Written aside and moved: an interrupted call leaves nothing that a later one would trust.
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        archive = _download(version, Path(work))
        unfinished = Path(work) / "unpacked"
        _unpack(archive, unfinished / PACKAGE)
        shutil.move(unfinished, folder)
    return folder


def _download(version: str, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise FetchError(f"{sys.executable} has no pip to download transformers' tests with: install pip.")
    command = [sys.executable, "-m", "pip", "download", f"transformers=={version}", "--no-deps"]
    command += ["--no-binary", "transformers", "--dest", str(folder), "--quiet", "--retries", "1", "--timeout", "20"]
    if importlib.util.find_spec("setuptools") is not None:
        command.append("--no-build-isolation")
    finished = subprocess.run(command, capture_output=True, text=True)
    archives = list(folder.glob("transformers-*.tar.gz"))
    if finished.returncode != 0 or len(archives) != 1:
        raise FetchError(
            f"The source distribution of transformers {version} could not be downloaded. Check the connection to the "
            f"package index. pip says:\n{finished.stderr.strip()[-2000:]}"
        )
    return archives[0]


def _unpack(archive: Path, package: Path):
    package.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        root = tar.next().name.split("/")[0]
        for name in MODULES:
            (package / name).write_bytes(tar.extractfile(f"{root}/tests/{name}").read())
    for name, text in STAND_INS.items():
        path = package / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{fetch_transformers_tests()}\n")
    except FetchError as error:
        sys.exit(str(error))
