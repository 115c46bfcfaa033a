import re
import tomllib
from pathlib import Path

import pytest

import hiva_hf
from hiva_hf.extras import import_from_extra


PACKAGE = Path(hiva_hf.__file__).parent
REPOSITORY = Path(__file__).parents[1]


def test_a_module_that_is_there_is_imported():
    assert import_from_extra("os.path", "faces", "Finding faces") is __import__("os").path


def test_a_missing_module_is_named_with_the_extra_in_one_line():
    with pytest.raises(ImportError) as caught:
        import_from_extra("no_such_detector.net", "faces", "Finding faces")
    assert str(caught.value) == (
        "Finding faces needs more packages (No module named 'no_such_detector'): `pip install \"hiva-hf[faces]\"`."
    )


def test_every_extra_that_is_mentioned_exists():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    mentions = r'hiva-hf\[(\w+)\]|"\.\[(\w+)\]"|install_command\("(\w+)"\)|import_from_extra\("\S+", "(\w+)"'
    files = [REPOSITORY / "README.md", *PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.md")]
    mentioned = {name for path in files for found in re.findall(mentions, path.read_text()) for name in found if name}
    assert {"faces", "train", "synthesis", "tracking"} <= mentioned
    assert mentioned <= set(extras)
